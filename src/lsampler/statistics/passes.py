"""Passes over the vectors of a reference, in segments that any thread or worker can take.

The segments depend on the data alone and their results are added in their order, so that the numbers do not depend
on what computed them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.engine import Threads, current_engine
from lsampler.compute.one_thread import product, single_precision_is_full
from lsampler.progress import advancing
from lsampler.statistics.histograms import Histograms
from lsampler.statistics.moments import Moments, moments_of, total
from lsampler.statistics.pca import nearly_flat
from lsampler.statistics.radii import EXACT_RADII, radius_counts, radius_quantiles

Result = TypeVar("Result")
SMALLEST_SEGMENT = 1 << 15
FEW_SEGMENTS, LARGE_SEGMENT = 64, 1 << 18
"""So many segments keep the cores of a machine equally busy; one of so many rows outweighs the cost of a task."""
MOST_SEGMENTS = 4096
DOUBLE_ROWS = 1 << 17
"""Up to so many vectors, products in double precision cost less than half a second."""


@dataclass(frozen=True)
class Segment:
    """The share of a pass over a reference that one task takes: consecutive vectors.

    Attributes:
        chunks: gives the vectors, as arrays (n, D), each valid until the next is requested.
        start: number of the first one, for messages.
        rows: how many there are at most; 0 if unknown.
        portable: whether another process can read them from a file.
    """

    chunks: Callable[[], Iterator[NDArray[Any]]]
    start: int = 0
    rows: int = 0
    portable: bool = True


@dataclass(frozen=True)
class View:
    """Which vectors of a reference count, and in which coordinates.

    Attributes:
        low: (D,) vectors with a component below are left out; None leaves out none.
        high: (D,) vectors with a component above are left out; None leaves out none.
        centre: (D,) subtracted before the projection.
        axes: (q, D) that the vectors are projected on; None leaves them as they are.
    """

    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    centre: NDArray[np.float64] | None = None
    axes: NDArray[np.float64] | None = None

    def __call__(self, chunk: NDArray[Any]) -> NDArray[Any]:
        """The rows of (n, D) that count, (m, D) or (m, q)."""
        if self.low is not None and self.high is not None:
            kept = ((chunk >= self.low) & (chunk <= self.high)).all(axis=1)
            chunk = chunk if kept.all() else chunk[kept]
        if self.centre is not None and self.axes is not None:
            chunk = product(np.subtract(chunk, self.centre, dtype=np.float64), self.axes.T)
        return chunk


_all_double: ContextVar[bool] = ContextVar("double", default=False)


@contextlib.contextmanager
def in_double_precision() -> Iterator[None]:
    """Compute products of any number of vectors in double precision while the context lasts.

    Single precision adds errors of about 1e-8 of the largest variance to the smallest ones. That does not matter for
    drawing, but an analysis reports the smallest variances as well.
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
    many = sum(segment.rows for segment in segments) > DOUBLE_ROWS
    single = many and not _all_double.get() and single_precision_is_full()
    found = total(over_segments(partial(_moments, view, name, single), segments, "statistics"))
    if single and found and found.count > 1 and nearly_flat(found.mean, found.scatter / (found.count - 1)):
        found = total(over_segments(partial(_moments, view, name, False), segments, "statistics"))
    return found


def gather_histograms(segments: Sequence[Segment], view: View, empty: Histograms) -> Histograms:
    """Counts of all vectors that ``view`` lets through, on the grids of ``empty``."""
    counts = sum(over_segments(partial(_counts, view, empty), segments, "histograms"), np.zeros_like(empty.counts))
    return Histograms(empty.width, empty.first, counts)


def gather_radius_quantiles(
    segments: Sequence[Segment], view: View, count: int, levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of the lengths of all ``count`` vectors, as ``view`` sees them.

    They are exact for up to 2^20 vectors; above, their relative error is at most 6.2e-5, and memory is constant.
    """
    exact = count <= EXACT_RADII
    found = over_segments(partial(_radii, view, exact), segments, "radii")
    if exact:
        exactly: NDArray[np.float64] = np.quantile(np.concatenate(list(found)), levels, method="hazen")
        return exactly
    return radius_quantiles(sum(found, np.zeros(1, np.int64)), levels)


def over_segments(find: Callable[[Segment], Result], segments: Sequence[Segment], what: str) -> Iterator[Result]:
    """The results of ``find`` for all segments, in their order, from this machine's cores or a cluster."""
    engine = current_engine()
    if engine.remote and not all(segment.portable for segment in segments):
        engine = Threads()
    return advancing(engine.map(find, segments), what, [segment.rows for segment in segments])


def _moments(view: View, name: str, single: bool, segment: Segment) -> Moments | None:
    return moments_of(map(view, segment.chunks()), name, start=segment.start, single=single)


def _counts(view: View, empty: Histograms, segment: Segment) -> NDArray[np.int64]:
    return sum((empty.counted(view(chunk)) for chunk in segment.chunks()), np.zeros_like(empty.counts))


def _radii(view: View, exact: bool, segment: Segment) -> NDArray[Any]:
    lengths = (np.linalg.norm(view(chunk), axis=1) for chunk in segment.chunks())
    if exact:
        return np.concatenate([np.empty(0), *lengths])
    return sum(map(radius_counts, lengths), np.zeros(1, np.int64))
