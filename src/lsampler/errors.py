"""The one exception users see, and the helper that suggests the name they meant."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

__all__ = ["LsamplerError", "PluginCrash", "nearest_name", "plugin_errors"]


class LsamplerError(Exception):
    """Bad input, told in one line that names the file, option or plugin and the mend.

    The command line prints the message and exits with code 2; no traceback is shown.
    """


class PluginCrash(LsamplerError):  # noqa: N818
    """A plugin raised something else, its cause: users see a line as ever, the compliance kit a defect."""


@contextlib.contextmanager
def plugin_errors(doing: str) -> Iterator[None]:
    """Anybody's plugin may fail in any way: what it raises becomes one line; the cause stays attached."""
    try:
        yield
    except LsamplerError:
        raise
    except Exception as error:
        reason = " ".join((str(error).strip().splitlines() or [""])[0].split())
        raise PluginCrash(
            f"{doing} failed with {type(error).__name__}{': ' if reason else ''}{reason}; tell the plugin's author"
        ) from error


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'gaussian'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
