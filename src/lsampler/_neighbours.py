"""Exact nearest neighbours and ball counts in many dimensions, block by block.

Distances of whole blocks come from one matrix product in single precision, whose error is
bounded; wherever that bound leaves a doubt, distances are computed anew, term by term in double
precision. So the results are those of brute force, at the price of the matrix product, in memory
that does not grow with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler._errors import LsamplerError

__all__ = ["Balls", "Neighbours", "ball_counts", "mutual_ball_counts", "nearest_neighbours"]

BLOCK_VALUES = 2**24
SPARE = 3
# Twice the worst-case error of a float32 dot product of D terms is 2 D 2^-24 |x| |y|.
ROUNDING = 2.0**-23
ROOM = 1e-4  # for norms that are computed in single precision
CHUNK = 2**14


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each query.

    Attributes:
        distances: (n, k) Euclidean, float64, ascending.
        indices: (n, k) of the points.
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Balls:
    """Which points lie inside which balls.

    Attributes:
        per_ball: (n,) how many points each ball holds.
        per_point: (m,) how many balls hold each point.
    """

    per_ball: NDArray[np.int64]
    per_point: NDArray[np.int64]


def nearest_neighbours(
    queries: NDArray[Any], points: NDArray[Any], k: int = 1, *, exclude_self: bool = False, device: str = "cpu"
) -> Neighbours:
    """The ``k`` nearest of ``points`` (m, D) to each of ``queries`` (n, D), exactly.

    Args:
        queries: finite numbers.
        points: likewise.
        k: how many, at most m.
        exclude_self: queries are the points themselves; row i is not a neighbour of row i (a
            duplicate of it is).
        device: where the matrix product is done.

    Raises:
        LsamplerError: shapes that do not fit, or fewer than k points.
    """
    available = len(points) - int(exclude_self)
    _check(queries, points)
    if not 1 <= k <= available:
        raise LsamplerError(f"k={k}: there are {available} points to choose from")
    pair = _Pair(queries, points, device)
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    kept = min(len(points), k + int(exclude_self) + SPARE)
    for start, stop, squared in pair.blocks():
        near, found = squared.topk(kept, dim=1, largest=False)
        candidates = found.cpu().numpy()
        exact = pair.exact(start, candidates)
        if exclude_self:
            exact[candidates == np.arange(start, stop)[:, np.newaxis]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        exact = np.take_along_axis(exact, order, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
        # A point that was not kept is at least this far.
        beyond = near[:, -1].double().cpu().numpy() - pair.error(start, stop)
        for row in np.flatnonzero(np.square(exact[:, -1]) >= beyond) if kept < len(points) else ():
            exact[row], candidates[row] = pair.brute(start + int(row), k, exclude_self)
        distances[start:stop], indices[start:stop] = exact, candidates
    return Neighbours(distances, indices)


def ball_counts(
    centres: NDArray[Any],
    radii: NDArray[Any],
    points: NDArray[Any],
    *,
    closed: bool = False,
    exclude_self: bool = False,
    device: str = "cpu",
) -> Balls:
    """Count points (m, D) in balls of ``radii`` (n,) around ``centres`` (n, D), exactly.

    Args:
        centres: finite numbers.
        radii: at least 0.
        points: finite numbers.
        closed: whether the surface belongs to the ball.
        exclude_self: centres are the points; ball i does not count point i.
        device: where the matrix product is done.
    """
    _check(centres, points)
    pair = _Pair(centres, points, device)
    per_ball = np.zeros(len(centres), dtype=np.int64)
    per_point = np.zeros(len(points), dtype=np.int64)
    for start, stop, squared in pair.blocks():
        inside = pair.inside(start, squared, np.asarray(radii[start:stop])[:, np.newaxis], closed)
        if exclude_self:
            own = np.arange(start, stop)
            inside[own - start, own] = False
        per_ball[start:stop] = np.count_nonzero(inside, axis=1)
        per_point += np.count_nonzero(inside, axis=0)
    return Balls(per_ball, per_point)


def mutual_ball_counts(
    first: NDArray[Any],
    first_radii: NDArray[Any],
    second: NDArray[Any],
    second_radii: NDArray[Any],
    *,
    device: str = "cpu",
) -> tuple[Balls, Balls]:
    """Open balls around each of two sets that count the other's points, from one set of distances.

    Equal to ``ball_counts(first, first_radii, second)`` and ``ball_counts(second, second_radii, first)``.

    Args:
        first: (n, D) finite numbers.
        first_radii: (n,) at least 0.
        second: (m, D) finite numbers.
        second_radii: (m,) at least 0.
        device: where the matrix product is done.
    """
    _check(first, second)
    pair = _Pair(first, second, device)
    there = Balls(np.zeros(len(first), dtype=np.int64), np.zeros(len(second), dtype=np.int64))
    back = Balls(np.zeros(len(second), dtype=np.int64), np.zeros(len(first), dtype=np.int64))
    for start, stop, squared in pair.blocks():
        inside = pair.inside(start, squared, np.asarray(first_radii[start:stop])[:, np.newaxis], closed=False)
        there.per_ball[start:stop] = np.count_nonzero(inside, axis=1)
        there.per_point[:] += np.count_nonzero(inside, axis=0)
        inside = pair.inside(start, squared, np.asarray(second_radii)[np.newaxis], closed=False)
        back.per_ball[:] += np.count_nonzero(inside, axis=0)
        back.per_point[start:stop] = np.count_nonzero(inside, axis=1)
    return there, back


class _Pair:
    """Two sets of vectors, centred so that little is lost in |x|^2 + |y|^2 - 2 x y."""

    def __init__(self, queries: NDArray[Any], points: NDArray[Any], device: str) -> None:
        self.device = torch.device(device)
        # What is exact is computed from the vectors as they are: shifted ones are rounded.
        self.queries, self.points = queries, points
        self._shift = np.asarray(points.mean(axis=0, dtype=np.float64))
        self._points = torch.cat([self._single(points[k : k + CHUNK]) for k in range(0, len(points), CHUNK)])
        self._norms = (self._points * self._points).sum(dim=1)
        self._largest = float(self._norms.max().sqrt()) * (1 + ROOM)

    def _single(self, rows: NDArray[Any]) -> Tensor:
        return torch.from_numpy((rows - self._shift).astype(np.float32)).to(self.device)

    def blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, squared distances (stop - start, m) float32) of all queries."""
        rows = max(1, min(4096, BLOCK_VALUES // len(self.points)))
        for start in range(0, len(self.queries), rows):
            block = self._single(self.queries[start : start + rows])
            squared = torch.addmm(self._norms, block, self._points.T, alpha=-2)
            squared += (block * block).sum(dim=1, keepdim=True)
            yield start, start + len(block), squared

    def inside(self, start: int, squared: Tensor, radii: NDArray[Any], closed: bool) -> NDArray[np.bool_]:
        """Which distances of a block are within ``radii``, (b, 1) or (1, m); the doubtful ones are computed anew."""
        limit = np.square(radii.astype(np.float64))
        error = self.error(start, start + len(squared)).max()
        low, high = (torch.from_numpy((limit + e).astype(np.float32)).to(self.device) for e in (-error, error))
        held: Tensor = squared < low
        rows, columns = (part.cpu().numpy() for part in ((squared <= high) ^ held).nonzero(as_tuple=True))
        found: NDArray[np.bool_] = held.cpu().numpy()
        # NumPy counts booleans much faster than torch, so it goes on from here.
        distance = self.exact_pairs(start + rows, columns)
        reach = np.broadcast_to(radii, found.shape)[rows, columns]
        found[rows, columns] = distance <= reach if closed else distance < reach
        return found

    def error(self, start: int, stop: int) -> NDArray[np.float64]:
        """(stop - start,) how far a squared distance of a block may be off."""
        size = np.linalg.norm(self.queries[start:stop] - self._shift, axis=1) + self._largest
        bound: NDArray[np.float64] = (self.points.shape[1] + 8) * ROUNDING * np.square(size) + 1e-30
        return bound

    def exact(self, start: int, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        """(b, c) distances of queries start, start + 1, ... to their candidates (b, c)."""
        result = np.empty(candidates.shape)
        step = max(1, BLOCK_VALUES // (candidates.shape[1] * self.points.shape[1]))
        for row in range(0, len(candidates), step):
            part = candidates[row : row + step]
            queries = self.queries[start + row : start + row + len(part)].repeat(part.shape[1], axis=0)
            result[row : row + step] = _distances(queries, self.points[part.ravel()]).reshape(part.shape)
        return result

    def exact_pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """(p,) distances of single pairs."""
        result = np.empty(len(rows))
        step = max(1, BLOCK_VALUES // self.points.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            result[part] = _distances(self.queries[rows[part]], self.points[columns[part]])
        return result

    def brute(self, row: int, k: int, exclude_self: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest of one query among all points, term by term."""
        distance = _distances(np.broadcast_to(self.queries[row], self.points.shape), self.points)
        if exclude_self:
            distance[row] = np.inf
        order = np.argsort(distance, kind="stable")[:k]
        return distance[order], order


def _distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row, always summed in the same order: one pair has one distance, to the last digit."""
    offset = np.subtract(first, second, dtype=np.float64)
    distance: NDArray[np.float64] = np.sqrt(np.einsum("pd,pd->p", offset, offset))
    return distance


def _check(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise LsamplerError(f"vectors of shapes {first.shape} and {second.shape}; give (n, D) and (m, D)")
    if not len(first) or not len(second):
        raise LsamplerError("no vectors to measure distances between")
