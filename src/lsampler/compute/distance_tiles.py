"""All distances between two sets of vectors, tile by tile, from matrix products with a bounded error.

A tile holds the squared distances of some rows of one set to some of the other, a strip all tiles of some rows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.compute.engine import Threads
from lsampler.compute.one_thread import single_precision_is_full
from lsampler.errors import LsamplerError

# Rows and columns of a tile: on the CPU a tile fits the cache, a GPU wants large ones.
TILE_ROWS = 1024
DEVICE_TILE_ROWS = 4096
SMALLEST_STRIP = 256
EXACT_VALUES = 2**17
# A float32 dot product of D terms is off by at most D 2^-24 times the sum of their sizes, here below (|x| + |y|)^2.
# Twice that leaves room for rounded factors and limits.
ROUNDING = 2.0**-23

Result = TypeVar("Result")
Rows = NDArray[Any]


class Tiles:
    """Squared distances between two sets of vectors, shifted and scaled.

    Args:
        first: (n, D) finite numbers.
        second: (m, D) finite numbers.
        device: where the products are computed.
        exclude_self: the sets are one; row i has no distance to itself.

    Raises:
        LsamplerError: shapes that do not fit, or no vectors.
    """

    def __init__(self, first: Rows, second: Rows, device: str, exclude_self: bool = False) -> None:
        if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
            raise LsamplerError(f"vectors of shapes {first.shape} and {second.shape}; give (n, D) and (m, D)")
        if not len(first) or not len(second):
            raise LsamplerError("no vectors to measure distances between")
        self.first, self.second, self._exclude_self = first, second, exclude_self
        self._device = torch.device(device)
        kind = self._device.type
        # On a GPU products may be in reduced precision, a setting of the whole process: double precision never is.
        single = kind == "mps" or (kind == "cpu" and single_precision_is_full())
        self.dtype = np.dtype(np.float32 if single else np.float64)
        self._side = TILE_ROWS if kind == "cpu" else DEVICE_TILE_ROWS
        self._threads = (os.cpu_count() or 1) if kind == "cpu" else 1
        size = min(self._side, max(SMALLEST_STRIP, -(-len(first) // self._threads)))
        self.strips = [slice(k, min(k + size, len(first))) for k in range(0, len(first), size)]
        # Shifted and scaled, little is lost in |x|^2 + |y|^2 - 2 x y, and no square overflows.
        self._shift = second.mean(axis=0, dtype=np.float64)
        bounds = [bound - self._shift for rows in (first, second) for bound in (rows.min(axis=0), rows.max(axis=0))]
        spread = math.frexp(max(float(np.abs(bound).max()) for bound in bounds))[1]
        self.scale = math.ldexp(1.0, max(-200, min(200, -spread)))
        self._norms = [self._lengths(first), self._lengths(second)]

    def map(self, function: Callable[[slice], Result]) -> Iterator[tuple[slice, Result]]:
        """Yield the rows of each strip and ``function`` of them, in order, while others are computed."""
        return zip(self.strips, Threads(self._threads).map(function, self.strips), strict=True)

    def strip(self, rows: slice, half: bool = False) -> Iterator[tuple[Rows, slice]]:
        """Yield the tiles (b, c) of a strip and which of the second set they are of; NaN for what is excluded.

        With ``half``, for two sets that are one, only its square tile and those to the right of it.
        """
        left = self._factors(self.first, rows, self._norms[0], -2.0)
        sides = range(0, len(self.second), self._side)
        every = [slice(start, min(start + self._side, len(self.second))) for start in sides]
        for columns in [strip for strip in self.strips if strip.start >= rows.start] if half else every:
            squared = (left @ self._factors(self.second, columns, self._norms[1]).T).cpu().numpy()
            if self._exclude_self:
                own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
                squared[own - rows.start, own - columns.start] = np.nan
            yield squared, columns

    def error(self, turned: bool = False) -> NDArray[np.float64]:
        """(n,) how far a squared distance of each vector may be off; ``turned``: (m,), of the second set's."""
        ours, others = self._norms[::-1] if turned else self._norms
        error: NDArray[np.float64] = (self.first.shape[1] + 8) * ROUNDING * np.square(ours + others.max()) + 1e-30
        return error

    def _moved(self, vectors: Rows, rows: slice) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = np.subtract(vectors[rows], self._shift, dtype=np.float64)
        moved *= self.scale
        return moved

    def _lengths(self, vectors: Rows) -> NDArray[np.float64]:
        starts = range(0, len(vectors), TILE_ROWS)
        moved = (self._moved(vectors, slice(start, start + TILE_ROWS)) for start in starts)
        return np.concatenate([np.linalg.norm(rows, axis=1) for rows in moved])

    def _factors(self, vectors: Rows, rows: slice, norms: NDArray[np.float64], sign: float = 1.0) -> Tensor:
        """(b, D + 2) whose products are squared distances: (-2 x, |x|^2, 1) of the first set, (y, 1, |y|^2)."""
        moved, squares = self._moved(vectors, rows), np.square(norms[rows])[:, np.newaxis]
        ends = (squares, np.ones_like(squares))
        factors = np.concatenate([sign * moved, *(ends if sign < 0 else ends[::-1])], axis=1)
        return torch.from_numpy(factors.astype(self.dtype)).to(self._device)


def exact_distances(
    first: Rows, rows: NDArray[np.int64], second: Rows, columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances (p,) of pairs in double precision, summed in one order: a pair has one distance, to the last digit."""
    result = np.empty(len(rows))
    step = max(1, EXACT_VALUES // first.shape[1])
    for start in range(0, len(rows), step):
        few = slice(start, start + step)
        offset = np.subtract(first[rows[few]], second[columns[few]], dtype=np.float64)
        np.sqrt(np.einsum("pd,pd->p", offset, offset), out=result[few])
    return result
