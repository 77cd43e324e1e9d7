"""Exact nearest neighbours and ball counts in many dimensions, by matrix products tile by tile.

The squared distances of a tile (some rows of one set by some of the other) come from one matrix product whose
rounding error is bounded. Where the bound leaves a doubt, distances are computed again, term by term in double
precision. So the results are those of brute force, on any device and any number of threads, at the cost of the
product and in memory that does not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.distance_tiles import Tiles, exact_distances
from lsampler.errors import LsamplerError

MOST_WAITING = 2**20
"""Pairs that may wait for their exact distances."""
# Where more than this many entries per neighbour lie below the limits, a look at some columns lowers the limits first.
CROWD = 8
LOOK = 64
# Up to this share, entries of a mask are counted one by one.
FEW = 1 / 32
PAIR = np.dtype([("row", np.int64), ("point", np.int64), ("squared", np.float64)])

Rows = NDArray[Any]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each query.

    Attributes:
        distances: (n, k) Euclidean, float64, ascending.
        indices: (n, k) of the points; among equally distant ones the first come first.
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
    """Find the ``k`` nearest of ``points`` (m, D) to each of ``queries`` (n, D), exactly.

    Args:
        queries: finite numbers.
        points: finite numbers.
        k: how many, at most m.
        exclude_self: queries are the points themselves; row i is not a neighbour of row i (a
            duplicate of it is).
        device: where the matrix product is computed.

    Raises:
        LsamplerError: shapes that do not fit, or fewer than k points.
    """
    tiles = Tiles(queries, points, device, exclude_self)
    available = len(points) - int(exclude_self)
    if not 1 <= k <= available:
        raise LsamplerError(f"k={k}: there are {available} points to choose from")
    found = Neighbours(np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64))
    for rows, (distances, indices) in tiles.map(lambda rows: _nearest(tiles, rows, k)):
        found.distances[rows], found.indices[rows] = distances, indices
    return found


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
        device: where the matrix product is computed.
    """
    tiles = Tiles(centres, points, device, exclude_self)
    return _counted(tiles, [_Inside(centres, radii, points, tiles, closed)])[0]


def mutual_ball_counts(
    first: NDArray[Any],
    first_radii: NDArray[Any],
    second: NDArray[Any],
    second_radii: NDArray[Any],
    *,
    device: str = "cpu",
) -> tuple[Balls, Balls]:
    """Count each of two sets in open balls around the other's vectors, from one set of distances.

    Equal to ``ball_counts(first, first_radii, second)`` and ``ball_counts(second, second_radii, first)``.

    Args:
        first: (n, D) finite numbers.
        first_radii: (n,) at least 0.
        second: (m, D) finite numbers.
        second_radii: (m,) at least 0.
        device: where the matrix product is computed.
    """
    tiles = Tiles(first, second, device)
    of_first, of_second = _Inside(first, first_radii, second, tiles), _Inside(second, second_radii, first, tiles)
    there, back = _counted(tiles, [of_first, lambda squared, rows, columns: of_second(squared.T, columns, rows).T])
    return there, Balls(back.per_point, back.per_ball)


def _nearest(tiles: Tiles, rows: slice, k: int) -> tuple[NDArray[np.float64], Indices]:
    """(b, k) distances and indices of the nearest points of a strip.

    The k-th smallest squared distance so far plus twice the error is a limit that none of the truly nearest
    exceeds. What lies beyond it is dropped, which soon covers nearly everything.
    """
    room = 2 * tiles.error()[rows]
    limits, pairs = np.full(len(room), np.inf), np.empty(0, PAIR)
    for squared, columns in tiles.strip(rows):
        near, width = squared <= limits.astype(tiles.dtype)[:, np.newaxis], squared.shape[1]
        if k < width and np.count_nonzero(near) > CROWD * k * len(room):
            # Evenly spread columns, since near rows may lie side by side.
            some = np.partition(squared[:, :: max(1, width // (LOOK * k))], k - 1, axis=1)
            limits = np.fmin(limits, some[:, k - 1] + room)
            near = squared <= limits.astype(tiles.dtype)[:, np.newaxis]
        found = np.empty(np.count_nonzero(near), PAIR)
        found["row"], found["point"] = _where(near)
        found["squared"] = squared[found["row"], found["point"]]
        found["point"] += columns.start
        pairs = np.concatenate([pairs, found])
        last = pairs[_of_rank(np.lexsort((pairs["squared"], pairs["row"])), pairs["row"], k - 1, k)]
        limits[last["row"]] = np.minimum(limits[last["row"]], last["squared"] + room[last["row"]])
        pairs = pairs[pairs["squared"] <= limits[pairs["row"]]]
        if len(pairs) > MOST_WAITING:
            pairs, _ = _settled(tiles, rows, pairs, k)
    pairs, exact = _settled(tiles, rows, pairs, k)
    return exact.reshape(-1, k), pairs["point"].reshape(-1, k)


def _settled(
    tiles: Tiles, rows: slice, pairs: NDArray[np.void], k: int
) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """The k nearest pairs of every row by their exact distances, and these distances, ascending."""
    exact = exact_distances(tiles.first, pairs["row"] + rows.start, tiles.second, pairs["point"])
    kept = _of_rank(np.lexsort((pairs["point"], exact, pairs["row"])), pairs["row"], 0, k)
    return pairs[kept], exact[kept]


def _of_rank(order: Indices, rows: Indices, first: int, stop: int) -> Indices:
    """Those of ``order``, which sorts by row, that come ``first`` to ``stop`` within their row."""
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[(rank >= first) & (rank < stop)]


class _Inside:
    """Decides which points of a tile lie inside which balls."""

    def __init__(self, centres: Rows, radii: Rows, points: Rows, tiles: Tiles, closed: bool = False) -> None:
        self._centres, self._points, self._tiles, self._closed = centres, points, tiles, closed
        self._radii = np.asarray(radii, dtype=np.float64)
        # No distance comes near 1e18 once scaled. Larger radii may overflow.
        reach = np.square(np.minimum(self._radii * tiles.scale, 1e18))
        error = tiles.error(turned=centres is not tiles.first)
        self._low, self._high = reach - error, reach + error

    def __call__(self, squared: Rows, rows: slice, columns: slice) -> Mask:
        """(b, c) for squared distances of balls in rows and points in columns."""
        low, high = (limit[rows].astype(squared.dtype)[:, np.newaxis] for limit in (self._low, self._high))
        inside: Mask = squared < low
        balls, points = _where((squared <= high) ^ inside)
        exact = exact_distances(self._centres, balls + rows.start, self._points, points + columns.start)
        radii = self._radii[balls + rows.start]
        inside[balls, points] = exact <= radii if self._closed else exact < radii
        return inside


def _counted(tiles: Tiles, masks: Sequence[Callable[[Rows, slice, slice], Mask]]) -> list[Balls]:
    """What each of the masks (b, c) of all tiles hold, by row and by column."""

    def counts(rows: slice) -> list[Balls]:
        found = [_no_balls(rows.stop - rows.start, len(tiles.second)) for _ in masks]
        for squared, columns in tiles.strip(rows):
            for balls, mask in zip(found, masks, strict=True):
                per_ball, per_point = _sums(mask(squared, rows, columns))
                balls.per_ball[:] += per_ball
                balls.per_point[columns] += per_point
        return found

    total = [_no_balls(len(tiles.first), len(tiles.second)) for _ in masks]
    for rows, found in tiles.map(counts):
        for balls, few in zip(total, found, strict=True):
            balls.per_ball[rows] += few.per_ball
            balls.per_point[:] += few.per_point
    return total


def _no_balls(balls: int, points: int) -> Balls:
    return Balls(np.zeros(balls, dtype=np.int64), np.zeros(points, dtype=np.int64))


def _sums(mask: Mask) -> tuple[Indices, Indices]:
    """How many entries of a mask are set in each row and in each column."""
    if np.count_nonzero(mask) > FEW * mask.size:
        return mask.sum(axis=1), mask.sum(axis=0)
    rows, columns = _where(mask)
    return np.bincount(rows, minlength=mask.shape[0]), np.bincount(columns, minlength=mask.shape[1])


def _where(mask: Mask) -> tuple[Indices, Indices]:
    """Rows and columns of the entries of a mask, the columns of a row in order if it is contiguous."""
    order: Any = "C" if mask.flags.c_contiguous else "F"
    rows, columns = np.unravel_index(np.flatnonzero(mask.ravel(order)), mask.shape, order=order)
    return rows, columns
