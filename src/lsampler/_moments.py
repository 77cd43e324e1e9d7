"""Count, mean, covariance and extremes of vectors, part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler._errors import LsamplerError

__all__ = ["Moments", "moments_of", "total"]

SINGLE_ROWS = 512
"""Rows of a product in single precision: its rounding grows with them, the cost of adding it up shrinks."""


@dataclass(frozen=True)
class Moments:
    """Moments of at least one vector.

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
        """Of the vectors of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(
            count,
            self.mean + shift * (other.count / count),
            scatter,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )


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
    found: Moments | None = None
    for block in blocks:
        expected = None if found is None else len(found.mean)
        if block.ndim != 2 or block.shape[1] != (expected or max(block.shape[1], 1)):
            raise LsamplerError(f"{name}: a block of shape {block.shape}, expected (rows, {expected or 'D'})")
        if len(block):
            part = _in_single(block) if single and block.dtype == np.float32 else None
            part = part or _in_double(block, name, start + (found.count if found else 0))
            found = part if found is None else found + part
    return found


def _in_double(block: NDArray[Any], name: str, start: int) -> Moments:
    rows = np.asarray(block, dtype=np.float64)
    if not np.isfinite(rows).all():
        row = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise LsamplerError(f"{name}: row {row} holds NaN or infinite values; encode it again")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(len(rows), mean, centred.T @ centred, rows.min(axis=0), rows.max(axis=0))


def _in_single(block: NDArray[np.float32]) -> Moments | None:
    """The same of a float32 block; None if it holds something too large for single precision."""
    starts = range(0, len(block), SINGLE_ROWS)
    scatter, left = np.zeros((block.shape[1], block.shape[1])), np.zeros(block.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        means = [block[start : start + SINGLE_ROWS].mean(axis=0) for start in starts]
        about = np.mean(means, axis=0, dtype=np.float64).astype(np.float32)
        centred = block - about
        for start in starts:
            part = centred[start : start + SINGLE_ROWS]
            scatter += part.T @ part
            left += part.sum(axis=0)
        left /= len(block)
    scatter -= len(block) * np.outer(left, left)
    # A value that is not finite makes its square so, and a large one overflows it.
    if not np.isfinite(np.diagonal(scatter)).all():
        return None
    low, high = block.min(axis=0).astype(np.float64), block.max(axis=0).astype(np.float64)
    return Moments(len(block), about + left, scatter, low, high)
