"""Count, mean and covariance of vectors, part by part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.scratch import scratch
from lsampler.errors import LsamplerError

__all__ = ["Moments", "moments_of", "total"]

SINGLE_ROWS = 4096
"""Rows of a product in single precision: its rounding grows with them, the cost of adding it up shrinks."""
SUMMED_ROWS = 512
"""Likewise of a sum; so many also fit the cache of a core."""
SAMPLED_ROWS = 16
"""Of so many rows one is looked at to find about where the mean is."""


@dataclass(frozen=True)
class Moments:
    """Moments of at least one vector.

    Attributes:
        count: number of vectors.
        mean: (D,) float64.
        scatter: (D, D) float64, the sum of the outer products of deviations from the mean.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def __add__(self, other: Moments) -> Moments:
        """Of the vectors of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), scatter)


def total(parts: Iterable[Moments | None]) -> Moments | None:
    """Of the vectors of all parts, added in their order; None stands for no vectors."""
    found: Moments | None = None
    for part in parts:
        if part is not None:
            found = part if found is None else found + part
    return found


def moments_of(blocks: Iterable[NDArray[Any]], name: str, *, start: int = 0, single: bool = False) -> Moments | None:
    """Moments of the vectors of blocks (n, D); None if there are none.

    Args:
        blocks: of finite numbers.
        name: where the vectors came from, for messages.
        start: number of the first vector, likewise.
        single: multiply float32 blocks in single precision, centred and :data:`SINGLE_ROWS` at a
            time, and add the products up in double precision; otherwise all is done in double.

    Raises:
        LsamplerError: NaN or infinite values, or blocks of unequal D.
    """
    with contextlib.ExitStack() as memory:
        return _moments_of(blocks, name, start, single, memory)


def _moments_of(
    blocks: Iterable[NDArray[Any]], name: str, start: int, single: bool, memory: contextlib.ExitStack
) -> Moments | None:
    running: _InSingle | None = None
    found: Moments | None = None
    dimension, count = None, 0
    for block in blocks:
        if block.ndim != 2 or block.shape[1] != (dimension or max(block.shape[1], 1)):
            raise LsamplerError(f"{name}: a block of shape {block.shape}, expected (rows, {dimension or 'D'})")
        if not len(block):
            continue
        dimension = block.shape[1]
        in_single = single and block.dtype == np.float32
        if in_single:
            size = 4 * SINGLE_ROWS * dimension
            running = running or _InSingle(block, memory.enter_context(scratch(size)))
        step = SINGLE_ROWS if in_single else len(block)
        for first in range(0, len(block), step):
            rows = block[first : first + step]
            if not (in_single and running and running.add(rows)):
                found = total([found, _in_double(rows, name, start + count)])
            count += len(rows)
    return total([running.moments() if running else None, found])


def _in_double(block: NDArray[Any], name: str, start: int) -> Moments:
    rows = np.asarray(block, dtype=np.float64)
    if not np.isfinite(rows).all():
        row = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise LsamplerError(f"{name}: row {row} holds NaN or infinite values; encode it again")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(len(rows), mean, centred.T @ centred)


class _InSingle:
    """Float32 vectors, added up about a point near the mean of the first ones."""

    def __init__(self, first: NDArray[np.float32], memory: NDArray[np.uint8]) -> None:
        dimension = first.shape[1]
        self._about = _round_centre(first[::SAMPLED_ROWS].astype(np.float64))
        self._count = 0
        self._sums, self._scatter = np.zeros(dimension), np.zeros((dimension, dimension))
        self._centred = memory.view(np.float32).reshape(SINGLE_ROWS, dimension)
        self._ones = np.ones(SUMMED_ROWS, np.float32)

    def add(self, rows: NDArray[np.float32]) -> bool:
        """Add up to :data:`SINGLE_ROWS` vectors (n, D); False, with none of them added, if one is too large."""
        sums = np.zeros_like(self._sums)
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, len(rows), SUMMED_ROWS):
                few = rows[first : first + SUMMED_ROWS]
                part = np.subtract(few, self._about, out=self._centred[first : first + len(few)])
                sums += self._ones[: len(few)] @ part
            centred = self._centred[: len(rows)]
            scatter = centred.T @ centred
        # A value that is not finite makes its square so, and a large one overflows it.
        if not np.isfinite(np.diagonal(scatter)).all():
            return False
        self._count += len(rows)
        self._scatter += scatter
        self._sums += sums
        return True

    def moments(self) -> Moments | None:
        """Of all vectors added; None if there are none."""
        if not self._count:
            return None
        shift = self._sums / self._count
        scatter = self._scatter - self._count * np.outer(shift, shift)
        return Moments(self._count, self._about + shift, scatter)


def _round_centre(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Near the mean, and of few digits: taken from float32 values these would be rounded off, each time alike."""
    with np.errstate(all="ignore"):
        mean = rows.mean(axis=0)
        unit = np.exp2(np.floor(np.log2(rows.std(axis=0))) - 3)
        rounded = np.round(mean / unit) * unit
        found = np.where(np.isfinite(rounded), rounded, mean).astype(np.float32)
    return np.where(np.isfinite(found), found, np.float32(0))
