"""The one exception users see, and the helper that suggests the name they meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["LsamplerError", "nearest_name"]


class LsamplerError(Exception):
    """Bad input, told in one line that names the file, option or plugin and the mend.

    The command line prints the message and exits with code 2; no traceback is shown.
    """


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'gaussian'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
