"""The one exception that users see, and what helps to word it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class LsamplerError(Exception):
    """Bad input, described in one line that names the file, argument or plugin and how to fix it.

    Messages name Python arguments in backticks, such as ```force=True```; the command line translates them to its
    options, prints the line and exits with code 2, without a traceback.
    """


class PluginCrash(LsamplerError):  # noqa: N818
    """A plugin raised something that is not an LsamplerError; its cause is attached.

    Users see one line, as for any bad input; the compliance kit reports a defect of the plugin.
    """


@contextlib.contextmanager
def plugin_errors(doing: str) -> Iterator[None]:
    """Turn whatever a plugin raises, also a call of ``sys.exit``, into one line; Ctrl-C passes.

    Args:
        doing: what the plugin was doing, the beginning of the message.
    """
    try:
        yield
    except (LsamplerError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        reason = " ".join((str(error).strip().splitlines() or [""])[0].split())
        found = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise PluginCrash(f"{doing} failed with {found}; report it to the plugin's author") from error


def printable(text: str) -> str:
    """A text without what a terminal would act on: of its unprintable characters only line ends and tabs are kept."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'gaussian'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
