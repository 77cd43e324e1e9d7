"""What several test modules share beside fixtures."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str
