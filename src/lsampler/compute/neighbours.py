"""Exact nearest neighbours and ball counts in many dimensions, by matrix products tile by tile.

The squared distances of a tile (some rows of one set by some of the other) come from one matrix product whose
rounding error is bounded. Where the bound leaves a doubt, distances are computed again, term by term in double
precision. So the results are those of brute force, on any device and any number of threads, at the cost of the
product and in memory that does not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
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
PAIR = np.dtype([("row", np.int64), ("point", np.int64), ("squared", np.float64)])

Rows = NDArray[Any]
Indices = NDArray[np.int64]
Counts = tuple[Indices, Indices]


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

    Give one array twice for the neighbours within a set, which takes half the products.

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
    one_set = queries is points
    searches = {rows.start: _Search(tiles, rows, k) for rows in tiles.strips}

    def search(rows: slice) -> None:
        for squared, columns in tiles.strip(rows, half=one_set):
            searches[rows.start].see(squared, columns)
            if one_set and columns != rows:
                searches[columns.start].see(squared.T, rows)

    for _ in tiles.map(search):
        pass
    found = Neighbours(np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64))
    for rows, (distances, indices) in tiles.map(lambda rows: searches[rows.start].result()):
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
    there, back = _counted(tiles, [of_first, lambda squared, rows, columns: of_second(squared.T, columns, rows)[::-1]])
    return there, Balls(back.per_point, back.per_ball)


class _Search:
    """The k nearest points of the vectors of a strip, from its tiles in any order and from several threads.

    The k-th smallest squared distance so far plus twice the error is a limit that none of the truly nearest
    exceeds. What lies beyond it is dropped, which soon covers nearly everything.
    """

    def __init__(self, tiles: Tiles, rows: slice, k: int) -> None:
        self._tiles, self._rows, self._k, self._lock = tiles, rows, k, Lock()
        self._room = 2 * tiles.error()[rows]
        self._limits, self._pairs = np.full(len(self._room), np.inf), np.empty(0, PAIR)

    def see(self, squared: Rows, columns: slice) -> None:
        """Take what may be near from the squared distances (b, c) to the points in ``columns``."""
        k, limits = self._k, self._limits
        near, width = squared <= limits.astype(squared.dtype)[:, np.newaxis], squared.shape[1]
        if k < width and np.count_nonzero(near) > CROWD * k * len(limits):
            # Evenly spread columns, since near rows may lie side by side.
            some = np.partition(squared[:, :: max(1, width // (LOOK * k))], k - 1, axis=1)
            limits = np.fmin(limits, some[:, k - 1] + self._room)
            near = squared <= limits.astype(squared.dtype)[:, np.newaxis]
        found = np.empty(np.count_nonzero(near), PAIR)
        found["row"], found["point"] = _where(near)
        found["squared"] = squared[found["row"], found["point"]]
        found["point"] += columns.start
        with self._lock:
            self._add(found, np.fmin(limits, self._limits))

    def _add(self, found: NDArray[np.void], limits: NDArray[np.float64]) -> None:
        pairs = np.concatenate([self._pairs, found])
        last = pairs[_of_rank(np.lexsort((pairs["squared"], pairs["row"])), pairs["row"], self._k - 1, self._k)]
        limits[last["row"]] = np.minimum(limits[last["row"]], last["squared"] + self._room[last["row"]])
        pairs = pairs[pairs["squared"] <= limits[pairs["row"]]]
        if len(pairs) > MOST_WAITING:
            pairs, _ = _settled(self._tiles, self._rows, pairs, self._k)
        self._pairs, self._limits = pairs, limits

    def result(self) -> tuple[NDArray[np.float64], Indices]:
        """(b, k) distances and indices, after all tiles were seen."""
        pairs, exact = _settled(self._tiles, self._rows, self._pairs, self._k)
        return exact.reshape(-1, self._k), pairs["point"].reshape(-1, self._k)


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
    """Counts the points of a tile that lie inside balls."""

    def __init__(self, centres: Rows, radii: Rows, points: Rows, tiles: Tiles, closed: bool = False) -> None:
        self._centres, self._points, self._closed = centres, points, closed
        self._radii = np.asarray(radii, dtype=np.float64)
        # No distance comes near 1e18 once scaled. Larger radii may overflow.
        reach = np.square(np.minimum(self._radii * tiles.scale, 1e18))
        error = tiles.error(turned=centres is not tiles.first)
        self._low, self._high = reach - error, reach + error

    def __call__(self, squared: Rows, rows: slice, columns: slice) -> Counts:
        """How many points in ``columns`` each ball in ``rows`` holds, and how many balls hold each point."""
        low, high = (limit[rows].astype(squared.dtype) for limit in (self._low, self._high))
        balls, points = _where(squared <= high[:, np.newaxis])
        inside = squared[balls, points] < low[balls]
        unsure = np.flatnonzero(~inside)
        its_balls = balls[unsure] + rows.start
        exact = exact_distances(self._centres, its_balls, self._points, points[unsure] + columns.start)
        inside[unsure] = exact <= self._radii[its_balls] if self._closed else exact < self._radii[its_balls]
        return (
            np.bincount(balls[inside], minlength=squared.shape[0]),
            np.bincount(points[inside], minlength=squared.shape[1]),
        )


def _counted(tiles: Tiles, counts: Sequence[Callable[[Rows, slice, slice], Counts]]) -> list[Balls]:
    """The sums of each of the counts of all tiles, by row and by column."""

    def of_strip(rows: slice) -> list[Balls]:
        found = [_no_balls(rows.stop - rows.start, len(tiles.second)) for _ in counts]
        for squared, columns in tiles.strip(rows):
            for balls, count in zip(found, counts, strict=True):
                per_ball, per_point = count(squared, rows, columns)
                balls.per_ball[:] += per_ball
                balls.per_point[columns] += per_point
        return found

    total = [_no_balls(len(tiles.first), len(tiles.second)) for _ in counts]
    for rows, found in tiles.map(of_strip):
        for balls, few in zip(total, found, strict=True):
            balls.per_ball[rows] += few.per_ball
            balls.per_point[:] += few.per_point
    return total


def _no_balls(balls: int, points: int) -> Balls:
    return Balls(np.zeros(balls, dtype=np.int64), np.zeros(points, dtype=np.int64))


def _where(mask: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Rows and columns of the entries of a mask, the columns of a row in order if it is contiguous."""
    order: Any = "C" if mask.flags.c_contiguous else "F"
    rows, columns = np.unravel_index(np.flatnonzero(mask.ravel(order)), mask.shape, order=order)
    return rows, columns
