"""Progress of long work: the library reports it, and it is shown where somebody looks.

A call shows bars in a notebook and on a terminal. Elsewhere a call of the library is silent, and the command line
prints one line per minute. ``LSAMPLER_PROGRESS=0`` turns all of this off.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from lsampler.errors import check_interrupts, printable

Item = TypeVar("Item")
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
FEW = 4
SECONDS_PER_LINE = 60.0
SECONDS_PER_DRAWING = 0.2
SWITCH = "LSAMPLER_PROGRESS"
OFF = ("0", "off", "no", "false")


class Progress(Protocol):
    """Anything that can show the progress of named work."""

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start ``total`` units of work, ``done`` of them finished; returns the function that advances it."""
        ...


ProgressLike: TypeAlias = Progress | bool | None
"""What calls take: something that shows progress, False for silence, True for lines even where there is no terminal,
None for bars where somebody looks."""


class LogLines:
    """One line per minute on standard error, so that long work is not silent.

    Work that takes less than a minute prints nothing.
    """

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start ``total`` units of work; returns the function that advances it."""
        last = time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, last
            done += amount
            if time.monotonic() - last >= SECONDS_PER_LINE:
                last = time.monotonic()
                share = f" ({100 * done / total:.0f} %)" if total else ""
                print(f"lsampler: {printable(what.strip())}: {done:,} of {total:,}{share}", file=sys.stderr, flush=True)

        return advance


class Silence:
    """Shows nothing."""

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Returns a function that does nothing."""
        return lambda amount: None


_shown: ContextVar[Progress | None] = ContextVar("progress", default=None)


def begin(progress: ProgressLike, what: str, total: int, done: int = 0) -> Callable[[int], None]:
    """Start work, shown as the call around it is if no progress bar was passed; returns the function to advance it."""
    advance = _passed(progress).begin(what, total, done)

    def checked(amount: int) -> None:
        check_interrupts()
        advance(amount)

    return checked


def _passed(progress: ProgressLike) -> Progress:
    if progress is None or progress is True:
        return _shown.get() or Silence()
    return Silence() if progress is False else progress


def track(
    items: Iterable[Item],
    progress: ProgressLike,
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


def advancing(results: Iterable[Item], what: str, sizes: Sequence[int]) -> Iterator[Item]:
    """Yield the results of tasks of these sizes, and report them where there are more than a few."""
    advance = begin(None, what, sum(sizes)) if len(sizes) > FEW else lambda amount: None
    for result, size in zip(results, sizes, strict=True):
        advance(size)
        yield result


def shows_progress(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Let a function with the keyword argument ``progress`` show its progress where somebody looks."""

    @functools.wraps(function)
    def showing(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        wanted: Any = kwargs.get("progress")
        with progress_of(wanted) as progress:
            kwargs["progress"] = progress
            return function(*args, **kwargs)

    return showing


@contextlib.contextmanager
def progress_of(wanted: ProgressLike) -> Iterator[Progress]:
    """What shows the progress of a call and of all calls that it makes."""
    outer = _shown.get()
    if wanted is None or wanted is True:
        if outer is not None:
            yield outer
        elif _is_off():
            yield Silence()
        else:
            with _shown_by(_bars() or (LogLines() if wanted else Silence())) as progress:
                yield progress
    elif wanted is False:
        with _shown_by(Silence()) as progress:
            yield progress
    else:
        yield wanted


@contextlib.contextmanager
def rich_progress() -> Iterator[Progress]:
    """Bars on a terminal's standard error, removed when the work is done; elsewhere one line per minute."""
    bars = RichBars() if _is_terminal(sys.stderr) else LogLines()
    with _shown_by(Silence() if _is_off() else bars) as progress:
        yield progress


@contextlib.contextmanager
def _shown_by(progress: Progress) -> Iterator[Progress]:
    token = _shown.set(progress)
    try:
        yield progress
    finally:
        _shown.reset(token)
        if isinstance(progress, RichBars | NotebookBars):
            progress.close()


def _is_off() -> bool:
    return os.environ.get(SWITCH, "").lower() in OFF


def _bars() -> Progress | None:
    """Bars for a call of the library; None where nobody looks: in files, and in the threads and workers of a call."""
    if threading.current_thread() is not threading.main_thread():
        return None
    display = _notebook_display()
    if display is not None:
        return NotebookBars(display)
    return RichBars() if _is_terminal(sys.stderr) else None


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()  # a stream that was closed before the start is None


def _notebook_display() -> Callable[..., Any] | None:
    """IPython's display function inside a notebook; None elsewhere, also in IPython on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    found: Callable[..., Any] = display
    return found


class RichBars:
    """Bars on a terminal, from the first work that begins until :meth:`close`, which removes them."""

    def __init__(self) -> None:
        self._bars: Any = None

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start a bar; returns the function that advances it."""
        if self._bars is None:
            self._bars = _rich_bars()
            self._bars.start()
        bars = self._bars
        task = bars.add_task(printable(what), total=total, completed=done)
        return lambda amount: bars.advance(task, amount)

    def close(self) -> None:
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _rich_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Printed lines make room for the bars on a terminal, but never leave a redirected standard output.
        redirect_stdout=_is_terminal(sys.stdout),
    )


class NotebookBars:
    """Bars below a notebook's cell, until :meth:`close`, which removes them. Rich's need a package of widgets.

    Args:
        display: IPython's function that displays an object and returns its handle.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle, self._drawn = display, None, 0.0
        self._tasks: list[tuple[str, int, list[int]]] = []

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Start a bar; returns the function that advances it."""
        count = [done]
        self._tasks.append((printable(what.strip()), total, count))
        self._draw()

        def advance(amount: int) -> None:
            count[0] += amount
            if time.monotonic() - self._drawn >= SECONDS_PER_DRAWING:
                self._draw()

        return advance

    def close(self) -> None:
        """Remove the bars."""
        self._tasks = []
        if self._handle is not None:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = self._display(self._bundle(), raw=True, display_id=True)
        else:
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        """What the notebook displays, of the tasks that are not finished."""
        from markupsafe import Markup

        line = Markup("<div>{} <progress value={} max={}></progress> {:,} of {:,}</div>")
        now = [(what, done[0], total) for what, total, done in self._tasks if done[0] < total]
        html = Markup().join(line.format(what, done, total, done, total) for what, done, total in now)
        return {"text/html": str(html), "text/plain": "; ".join(f"{w}: {d:,} of {t:,}" for w, d, t in now)}
