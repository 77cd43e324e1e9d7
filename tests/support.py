"""What several test modules share and no fixture is."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """What a command line left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str
