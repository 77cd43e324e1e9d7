"""Progress of long work: the library reports it, the caller decides how it is shown."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from lsampler.errors import check_interrupts, printable

Item = TypeVar("Item")
FEW = 4
SECONDS_PER_LINE = 60.0
SWITCH = "LSAMPLER_PROGRESS"


class Progress(Protocol):
    """Anything that can show the progress of named work."""

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start ``total`` units of work, ``done`` of them finished; returns the function that advances it."""
        ...


class LogLines:
    """One line per minute on standard error, so that long work is silent nowhere.

    Work that takes less than a minute prints nothing. The environment variable ``LSAMPLER_PROGRESS=off``
    turns the lines off.
    """

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start ``total`` units of work; returns the function that advances it."""
        last = time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, last
            done += amount
            if time.monotonic() - last >= SECONDS_PER_LINE and os.environ.get(SWITCH) != "off":
                last = time.monotonic()
                share = f" ({100 * done / total:.0f} %)" if total else ""
                print(f"lsampler: {printable(what.strip())}: {done:,} of {total:,}{share}", file=sys.stderr, flush=True)

        return advance


def begin(progress: Progress | None, what: str, total: int, done: int = 0) -> Callable[[int], None]:
    """Start work on a progress bar, or on one line per minute if none was passed; returns the advance function."""
    advance = (progress or LogLines()).begin(what, total, done)

    def checked(amount: int) -> None:
        check_interrupts()
        advance(amount)

    return checked


def track(
    items: Iterable[Item],
    progress: Progress | None,
    what: str,
    total: int,
    size: Callable[[Item], int],
    done: int = 0,
) -> Iterator[Item]:
    """Yield ``items``, and report the ``size`` of each after the caller has used it."""
    advance = begin(progress, what, total, done)
    for item in items:
        yield item
        advance(size(item))


_shown: ContextVar[Progress | None] = ContextVar("progress", default=None)


def advancing(results: Iterable[Item], what: str, sizes: Sequence[int]) -> Iterator[Item]:
    """Yield the results of tasks of these sizes, and report them where there are more than a few."""
    advance = begin(_shown.get(), what, sum(sizes)) if len(sizes) > FEW else lambda amount: None
    for result, size in zip(results, sizes, strict=True):
        advance(size)
        yield result


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()  # a stream that was closed before the start is None


class _RichProgress:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # Printed lines make room for the bars on a terminal, but never leave a redirected standard output.
            redirect_stdout=_is_terminal(sys.stdout),
        )

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        task = self.bars.add_task(printable(what), total=total, completed=done)
        return lambda amount: self.bars.advance(task, amount)


@contextlib.contextmanager
def rich_progress() -> Iterator[Progress]:
    """Bars on a terminal's standard error, removed when the work is done; elsewhere one line per minute."""
    progress = _RichProgress() if _is_terminal(sys.stderr) else LogLines()
    token = _shown.set(progress)
    try:
        with progress.bars if isinstance(progress, _RichProgress) else contextlib.nullcontext():
            yield progress
    finally:
        _shown.reset(token)
