"""Count, mean, covariance and extremes of vectors, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.compute.memory import require_matrix
from lsampler.compute.one_thread import product
from lsampler.errors import LsamplerError

SINGLE_ROWS = 4096
"""Rows of a product in single precision: its rounding grows with them, the cost of adding it up shrinks."""
SUMMED_ROWS = 512
"""Rows of a sum in single precision. So many also fit the cache of a core."""
SAMPLED_ROWS = 16
"""One of so many rows is used to estimate the mean."""
INSTEAD = "give them as a store or an array, of which a covariance is formed only where it is needed"
SMALLEST_BLOCK = 64
"""Columns of a product below which smaller ones take as long."""


@dataclass(frozen=True)
class Moments:
    """Moments and extremes of at least one vector.

    Attributes:
        count: number of vectors.
        mean: (D,) float64.
        scatter: (D, D) float64, the sum of the outer products of deviations from the mean.
        minimum: (D,) float64.
        maximum: (D,) float64.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    def __add__(self, other: Moments) -> Moments:
        """Moments of the vectors of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift, shift) * (self.count * other.count / count)
        low, high = np.minimum(self.minimum, other.minimum), np.maximum(self.maximum, other.maximum)
        return Moments(count, self.mean + shift * (other.count / count), scatter, low, high)


def total(parts: Iterable[Moments | None]) -> Moments | None:
    """Moments of the vectors of all parts, added in their order; None stands for no vectors."""
    found: Moments | None = None
    for part in parts:
        if part is not None:
            found = part if found is None else found + part
    return found


def moments_of(chunks: Iterable[NDArray[Any]], name: str, *, start: int = 0, single: bool = False) -> Moments | None:
    """Moments of the vectors of chunks (n, D); None if there are none.

    Args:
        chunks: arrays of finite numbers.
        name: where the vectors came from, for messages.
        start: number of the first vector, for messages.
        single: multiply float32 chunks in single precision, centred and :data:`SINGLE_ROWS` at a
            time, and add the products up in double precision; otherwise everything is in double precision.

    Raises:
        LsamplerError: NaN or infinite values, or chunks of unequal D.
    """
    found, about = None, None
    dimension, count = None, 0
    for chunk in chunks:
        if chunk.ndim != 2 or chunk.shape[1] != (dimension or max(chunk.shape[1], 1)):
            raise LsamplerError(f"{name}: a chunk of shape {chunk.shape}, expected (rows, {dimension or 'D'})")
        if dimension is None:
            require_matrix(chunk.shape[1], 0, f"{name}: the covariance of vectors of D = {chunk.shape[1]}", INSTEAD)
        for first in range(0, len(chunk), SINGLE_ROWS):
            rows, part = chunk[first : first + SINGLE_ROWS], None
            dimension = chunk.shape[1]
            if single and rows.dtype == np.float32:
                about = _round_centre(rows[::SAMPLED_ROWS].astype(np.float64)) if about is None else about
                part = _single_precision(rows, about)
            found = total([found, part or _double_precision(rows, name, start + count)])
            count += len(rows)
    return found


def _double_precision(chunk: NDArray[Any], name: str, start: int) -> Moments:
    rows = np.asarray(chunk, dtype=np.float64)
    if len(bad := not_finite(rows)):
        raise LsamplerError(f"{name}: row {start + bad[0]} holds NaN or infinite values; encode it again")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(len(rows), mean, gram(centred), rows.min(axis=0), rows.max(axis=0))


def gram(rows: NDArray[Any]) -> NDArray[Any]:
    """``rows.T @ rows`` (D, D). It is symmetric: blocks below the diagonal are copied, which saves up to 3/8 of it."""
    dimension = rows.shape[1]
    found, width = np.empty((dimension, dimension), rows.dtype), max(SMALLEST_BLOCK, -(-dimension // 4))
    for start in range(0, dimension, width):
        own = slice(start, start + width)
        found[own, start:] = product(rows[:, own].T, rows[:, start:])
        found[start:, own] = found[own, start:].T
    return found


def _single_precision(rows: NDArray[np.float32], about: NDArray[np.float32]) -> Moments | None:
    """Moments of up to :data:`SINGLE_ROWS` vectors, added about a point near their mean; None if one is too large."""
    sums, low, high = np.zeros(len(about)), rows[0], rows[0]
    centred = np.empty_like(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(rows), SUMMED_ROWS):
            few = rows[first : first + SUMMED_ROWS]
            sums += np.add.reduce(np.subtract(few, about, out=centred[first : first + len(few)]), axis=0)
            low, high = np.minimum(low, few.min(axis=0)), np.maximum(high, few.max(axis=0))
        scatter = gram(centred).astype(np.float64)
    # The square of a value that is not finite is not finite either, and that of a large one overflows.
    if not np.isfinite(np.diagonal(scatter)).all():
        return None
    shift = sums / len(rows)
    scatter -= len(rows) * np.outer(shift, shift)
    return Moments(len(rows), about + shift, scatter, low.astype(np.float64), high.astype(np.float64))


def _round_centre(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """A point near the mean with few digits, so that subtracting it does not round float32 values systematically."""
    with np.errstate(all="ignore"):
        mean = rows.mean(axis=0)
        unit = np.exp2(np.floor(np.log2(rows.std(axis=0))) - 3)
        rounded = np.round(mean / unit) * unit
        found = np.where(np.isfinite(rounded), rounded, mean).astype(np.float32)
    return np.where(np.isfinite(found), found, np.float32(0))
