"""The one exception that users see, and what helps to word it."""

from __future__ import annotations

import contextlib
import difflib
import signal
from collections.abc import Iterable, Iterator
from typing import ClassVar


class LsamplerError(ValueError):
    """Bad input, described in one line that names the file, argument or plugin and how to fix it.

    It is a ValueError, as scikit-learn expects of bad data and parameters.

    Messages name Python arguments in backticks, such as ```force=True```; the command line translates them to its
    options, prints the line and exits with code 2, without a traceback.
    """


class PluginCrash(LsamplerError):  # noqa: N818
    """A plugin raised something that is not an LsamplerError; its cause is attached.

    Users see one line, as for any bad input; the compliance kit reports a defect of the plugin.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a signal that ends the process, as the command line raises it; its number is :attr:`signal`.

    An exception that a signal raises can be lost, where C code has called Python. So it is kept as :attr:`pending`
    too, and :func:`check_interrupts` raises it again.
    """

    pending: ClassVar[Interrupted | None] = None

    def __init__(self, number: int) -> None:
        self.signal = number


def check_interrupts() -> None:
    """Raise an interruption that was lost."""
    if Interrupted.pending is not None:
        raise Interrupted.pending


@contextlib.contextmanager
def plugin_errors(doing: str) -> Iterator[None]:
    """Turn whatever a plugin raises, also a call of ``sys.exit``, into one line; Ctrl-C passes.

    Args:
        doing: what the plugin was doing, the beginning of the message.
    """
    try:
        yield
    except (LsamplerError, Interrupted):
        raise
    except BaseException as error:
        # Where the command line handles Ctrl-C, a plain KeyboardInterrupt is the plugin's own.
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise
        check_interrupts()  # C code may have made another error of it
        reason = one_line(error)
        if isinstance(error, MemoryError) or "out of memory" in reason or "allocate memory" in reason:
            problem = f"needs more memory than there is ({reason}); give it less, or smaller parameters"
        else:
            problem = f"failed with {reason}; report it to the plugin's author"
        raise PluginCrash(f"{doing} {problem}") from error


def one_line(error: BaseException, most: int = 300) -> str:
    """The type and the first line of an exception of another library; of a long line the middle is left out."""
    try:
        text = str(error)
    except Exception:  # which a plugin may have written
        text = ""
    first = " ".join((text.strip().splitlines() or [""])[0].split())
    return f"{type(error).__name__}: {shortened(first, most)}" if first else type(error).__name__


def printable(text: str) -> str:
    """A text without what a terminal would act on: of its unprintable characters only line ends and tabs are kept."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'gaussian'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""


def shortened(value: object, most: int = 60) -> str:
    """A value as it is shown in a message: on one line; of a long one the middle is left out."""
    try:
        text = " ".join(str(value).split())
    except (ValueError, RecursionError):  # a number of more digits than Python prints, or too deep a list
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"
