"""One pass over the vectors of a reference, in segments that any thread or worker can take.

The segments are fixed by the data alone and what is found in them is put together in their order,
so that the numbers do not depend on who did the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.engine import Threads, current_engine
from lsampler.progress import advancing
from lsampler.statistics.histograms import Histograms
from lsampler.statistics.moments import Moments, moments_of, total

__all__ = [
    "Segment",
    "View",
    "gather_histograms",
    "gather_moments",
    "gather_radii",
    "in_double_precision",
    "segment_rows",
]

SMALLEST_SEGMENT = 1 << 15
FEW_SEGMENTS, LARGE_SEGMENT = 64, 1 << 18
"""So many keep the cores of a machine equally busy; one of so many rows is worth a worker's while."""
MOST_SEGMENTS = 4096
DOUBLE_ROWS = 1 << 17
"""Up to so many vectors, products in double precision cost less than half a second."""


class Segment(Protocol):
    """Consecutive vectors of a reference."""

    @property
    def start(self) -> int:
        """Number of the first one, for messages."""
        ...

    @property
    def rows(self) -> int:
        """How many there are, at most."""
        ...

    @property
    def portable(self) -> bool:
        """Whether another process can read them: by the name of a file."""
        ...

    def chunks(self) -> Iterator[NDArray[Any]]:
        """The vectors, as arrays (n, D), each valid until the next is asked for."""
        ...


@dataclass(frozen=True)
class View:
    """Which vectors of a reference are looked at, and in which coordinates.

    Attributes:
        low: (D,) vectors with a component below are left out; None leaves out none.
        high: (D,) likewise above.
        centre: (D,) subtracted, if there are ``axes``.
        axes: (q, D) that the vectors are projected on; None leaves them as they are.
    """

    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    centre: NDArray[np.float64] | None = None
    axes: NDArray[np.float64] | None = None

    def __call__(self, block: NDArray[Any]) -> NDArray[Any]:
        """The rows of (n, D) that count, (m, D) or (m, q)."""
        if self.low is not None and self.high is not None:
            low, high = _bounds_in(block.dtype, self.low, self.high)
            kept = ((block >= low) & (block <= high)).all(axis=1)
            block = block if kept.all() else block[kept]
        if self.axes is not None:
            block = (block - self.centre) @ self.axes.T
        return block


def _bounds_in(
    dtype: np.dtype[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The bounds in the type of the values, so that both types let the same values through."""
    if dtype != np.float32:
        return low, high
    with np.errstate(over="ignore"):
        near_low, near_high = low.astype(np.float32), high.astype(np.float32)
    near_low = np.where(near_low < low, np.nextafter(near_low, np.float32(np.inf)), near_low)
    near_high = np.where(near_high > high, np.nextafter(near_high, np.float32(-np.inf)), near_high)
    return near_low, near_high


_all_double: ContextVar[bool] = ContextVar("double", default=False)


@contextlib.contextmanager
def in_double_precision() -> Iterator[None]:
    """Products of any number of vectors are in double precision while the context lasts.

    Single precision puts 1e-8 of the largest variance into the smallest ones: nothing for drawing,
    but an analysis looks at these as well.
    """
    token = _all_double.set(True)
    try:
        yield
    finally:
        _all_double.reset(token)


def segment_rows(rows: int) -> int:
    """How many rows a segment of a file with ``rows`` rows has."""
    size = SMALLEST_SEGMENT
    while rows > size * (FEW_SEGMENTS if size < LARGE_SEGMENT else MOST_SEGMENTS):
        size *= 2
    return size


def gather_moments(segments: Sequence[Segment], view: View, name: str) -> Moments | None:
    """Moments of all vectors that ``view`` lets through; None if there are none."""
    single = sum(segment.rows for segment in segments) > DOUBLE_ROWS and not _all_double.get()
    tasks = [_MomentsTask(segment, view, name, single) for segment in segments]
    return total(_run(tasks, segments, "statistics"))


def gather_histograms(segments: Sequence[Segment], view: View, empty: Histograms) -> Histograms:
    """Counts and extremes of all vectors that ``view`` lets through, in bins that begin as those of ``empty``."""
    found = empty.copy()
    for part in _run([_HistogramsTask(segment, view, empty) for segment in segments], segments, "histograms"):
        found.merge(part)
    return found


def gather_radii(segments: Sequence[Segment], view: View) -> NDArray[np.float64]:
    """(N,) lengths of all vectors, as ``view`` sees them."""
    parts = list(_run([_RadiiTask(segment, view) for segment in segments], segments, "radii"))
    return np.concatenate([np.empty(0), *parts])


def _run(tasks: Sequence[Any], segments: Sequence[Segment], what: str) -> Iterator[Any]:
    engine = current_engine()
    if engine.remote and not all(segment.portable for segment in segments):
        engine = Threads()
    return advancing(engine.map(_find, tasks), what, [segment.rows for segment in segments])


def _find(task: _MomentsTask | _HistogramsTask | _RadiiTask) -> Any:
    return task.find()


@dataclass(frozen=True)
class _MomentsTask:
    segment: Segment
    view: View
    name: str
    single: bool

    def find(self) -> Moments | None:
        rows = map(self.view, self.segment.chunks())
        return moments_of(rows, self.name, start=self.segment.start, single=self.single)


@dataclass(frozen=True)
class _HistogramsTask:
    segment: Segment
    view: View
    empty: Histograms

    def find(self) -> Histograms:
        found = self.empty.copy()
        for block in self.segment.chunks():
            rows = self.view(block)
            if len(rows):
                found.add(rows)
        return found


@dataclass(frozen=True)
class _RadiiTask:
    segment: Segment
    view: View

    def find(self) -> NDArray[np.float64]:
        return np.concatenate(
            [np.empty(0), *(np.linalg.norm(self.view(block), axis=1) for block in self.segment.chunks())]
        )
