"""Progress bars: the library reports, the caller decides how it looks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Protocol, TypeVar

__all__ = ["Progress", "advancing", "rich_progress", "track"]

Item = TypeVar("Item")
FEW = 4


class Progress(Protocol):
    """Anything that can show the advance of named work; rich's ``Progress`` is one."""

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start a bar of ``total`` units, ``done`` of them finished; returns the advance function."""
        ...


def track(
    items: Iterable[Item],
    progress: Progress | None,
    what: str,
    total: int,
    size: Callable[[Item], int],
    done: int = 0,
) -> Iterator[Item]:
    """Yield ``items``, reporting the ``size`` of each after it was worked on."""
    advance = progress.begin(what, total, done) if progress else None
    for item in items:
        yield item
        if advance:
            advance(size(item))


_shown: ContextVar[Progress | None] = ContextVar("progress", default=None)


def advancing(results: Iterable[Item], what: str, sizes: Sequence[int]) -> Iterator[Item]:
    """Yield the results of tasks of these sizes, on a bar if one is being shown and there are many."""
    progress = _shown.get() if len(sizes) > FEW else None
    advance = progress.begin(what, sum(sizes)) if progress else None
    for result, size in zip(results, sizes, strict=True):
        if advance:
            advance(size)
        yield result


class _RichProgress:
    def __init__(self) -> None:
        import sys

        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # it would leave an empty line in a log
            # Printed lines make room for the bars on a terminal, but never leave a redirected standard output.
            redirect_stdout=sys.stdout.isatty(),
        )

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        task = self.bars.add_task(what, total=total, completed=done)
        return lambda amount: self.bars.advance(task, amount)


@contextlib.contextmanager
def rich_progress() -> Iterator[Progress]:
    """Bars on the terminal's standard error, gone when the work is done."""
    progress = _RichProgress()
    token = _shown.set(progress)
    try:
        with progress.bars:
            yield progress
    finally:
        _shown.reset(token)
