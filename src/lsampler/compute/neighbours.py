"""Exact nearest neighbours and ball counts in many dimensions, tile by tile.

The distances of a tile (some rows of one set by some of the other) come from one matrix product in
single precision, whose error is bounded; wherever that bound leaves a doubt, distances are computed
anew, term by term in double precision. So the results are those of brute force, whatever the
device, the tiles and the number of threads, at the price of the matrix product, in memory that does
not grow with the number of pairs. Distances of a set to itself are symmetric: half of the tiles do.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.compute.engine import Threads
from lsampler.errors import LsamplerError

__all__ = ["Balls", "Neighbours", "ball_counts", "mutual_ball_counts", "nearest_neighbours"]

# A tile of the CPU stays in its cache; a GPU wants large ones.
BLOCK_VALUES = 2**20
DEVICE_BLOCK_VALUES = 2**24
PAIR_VALUES = 2**17
# A float32 dot product of D terms is off by at most D 2^-24 times the sum of their sizes, here below (|x| + |y|)^2.
# Twice that leaves room for rounded factors and limits.
ROUNDING = 2.0**-23
# Where more than this many entries per neighbour sought lie below the limits, a look at so many columns lowers them.
CROWD = 16
LOOK = 64
# Up to this share, entries are counted one by one.
FEW = 1 / 32

Item = TypeVar("Item")
Rows = NDArray[Any]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each query.

    Attributes:
        distances: (n, k) Euclidean, float64, ascending.
        indices: (n, k) of the points; of equally distant ones, the first come first.
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

    Give one and the same array twice for the neighbours within a set: that takes half the time.

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
    tiles = _Tiles(queries, points, device)
    searches = [_Search(tiles, rows, k) for rows in tiles.first.blocks]

    def see(tile: _Tile) -> None:
        if exclude_self:
            tile.forget_self()
        searches[tile.row].see(tile)
        if tile.mirrored:
            searches[tile.column].see(tile.turned())

    tiles.visit(see)
    found = Neighbours(np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64))

    def settle(search: _Search) -> None:
        found.distances[search.rows], found.indices[search.rows] = search.result()

    _in_threads(settle, searches)
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

    Give one and the same array as centres and points for balls within a set: that takes half the
    time.

    Args:
        centres: finite numbers.
        radii: at least 0.
        points: finite numbers.
        closed: whether the surface belongs to the ball.
        exclude_self: centres are the points; ball i does not count point i.
        device: where the matrix product is done.
    """
    _check(centres, points)
    tiles = _Tiles(centres, points, device)
    count = _Count(tiles.first, radii, tiles.second, closed)

    def see(tile: _Tile) -> None:
        if exclude_self:
            tile.forget_self()
        count.see(tile)
        if tile.mirrored:
            count.see(tile.turned())

    tiles.visit(see)
    return count.balls


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
    tiles = _Tiles(first, second, device)
    there = _Count(tiles.first, first_radii, tiles.second)
    back = _Count(tiles.second, second_radii, tiles.first)

    def see(tile: _Tile) -> None:
        there.see(tile)
        back.see(tile.turned())
        if tile.mirrored:
            there.see(tile.turned())
            back.see(tile)

    tiles.visit(see)
    return there.balls, back.balls


class _Arithmetic(Protocol):
    """What is done with whole tiles; everything else is host work on few entries."""

    side: int
    threads: int

    def put(self, rows: NDArray[np.float32]) -> Any:
        """Single-precision rows, where the products are done."""

    def product(self, left: Any, right: Any) -> Any:
        """(b, c) of rows (b, D) and (c, D)."""

    def within(self, tile: Any, limits: NDArray[np.float32]) -> tuple[Any, int]:
        """Which entries are at most their row's limit, and how many."""

    def entries(self, tile: Any, mask: Any) -> tuple[Indices, Indices, NDArray[np.float32]]:
        """Row, column and value of the entries of a mask."""

    def smallest(self, tile: Any, k: int) -> NDArray[np.float32]:
        """(b,) at least the k-th smallest of a row; there are far more than k columns."""

    def count(
        self, tile: Any, low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> tuple[Indices, Indices, Indices, Indices]:
        """Entries below ``low`` per row and per column; row and column of those from there up to ``high``."""

    def exact_products(self) -> contextlib.AbstractContextManager[Any]:
        """While this is open, products are as precise as their error bound supposes."""


class _OnCPU:
    """NumPy: its products, comparisons and searches on one thread are faster than torch's."""

    def __init__(self) -> None:
        self.side, self.threads = math.isqrt(BLOCK_VALUES), os.cpu_count() or 1

    def put(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows

    def product(self, left: Rows, right: Rows) -> Rows:
        product: Rows = left @ right.T
        return product

    def within(self, tile: Rows, limits: NDArray[np.float32]) -> tuple[Any, int]:
        mask = tile <= limits[:, np.newaxis]
        return mask, int(np.count_nonzero(mask))

    def entries(self, tile: Rows, mask: NDArray[np.bool_]) -> tuple[Indices, Indices, NDArray[np.float32]]:
        rows, columns = _where(mask)
        return rows, columns, tile[rows, columns]

    def smallest(self, tile: Rows, k: int) -> NDArray[np.float32]:
        values = np.array(_sample(tile, k), order="C")
        values.partition(k - 1, axis=1)
        return values[:, k - 1]

    def count(
        self, tile: Rows, low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> tuple[Indices, Indices, Indices, Indices]:
        near = tile <= high[:, np.newaxis]
        if np.count_nonzero(near) > FEW * near.size:
            held = tile < low[:, np.newaxis]
            return held.sum(axis=1), held.sum(axis=0), *_where(near ^ held)
        rows, columns = _where(near)
        held = tile[rows, columns] < low[rows]
        per_row = np.bincount(rows[held], minlength=len(tile))
        per_column = np.bincount(columns[held], minlength=tile.shape[1])
        return per_row, per_column, rows[~held], columns[~held]

    def exact_products(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()


class _OnDevice:
    """torch, for GPUs: few large tiles, from one thread; only the entries asked for come to the host."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.threads = device, 1
        self.side = math.isqrt(DEVICE_BLOCK_VALUES)

    def put(self, rows: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right.T

    def within(self, tile: Tensor, limits: NDArray[np.float32]) -> tuple[Any, int]:
        mask = tile <= self.put(limits)[:, None]
        return mask, int(mask.sum())

    def entries(self, tile: Tensor, mask: Tensor) -> tuple[Indices, Indices, NDArray[np.float32]]:
        rows, columns = mask.nonzero(as_tuple=True)
        return _host(rows), _host(columns), _host(tile[rows, columns])

    def smallest(self, tile: Tensor, k: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = _host(_sample(tile, k).topk(k, dim=1, largest=False).values[:, -1])
        return found

    def count(
        self, tile: Tensor, low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> tuple[Indices, Indices, Indices, Indices]:
        held = tile < self.put(low)[:, None]
        doubtful = (tile <= self.put(high)[:, None]) ^ held
        found = (held.sum(dim=1), held.sum(dim=0), *doubtful.nonzero(as_tuple=True))
        return _host(found[0]), _host(found[1]), _host(found[2]), _host(found[3])

    @contextlib.contextmanager
    def exact_products(self) -> Iterator[None]:
        matmul: Any = torch.backends.cuda.matmul
        # torch 2.9 renamed the switch of TensorFloat-32, and refuses to read the old name once the new one was set.
        name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
        before = getattr(matmul, name)
        setattr(matmul, name, exact)
        try:
            with torch.autocast(self.device.type, enabled=False), torch.no_grad():
                yield
        finally:
            setattr(matmul, name, before)


class _Side:
    """One of two sets of vectors, in blocks; shifted and scaled so that little is lost in |x|^2 + |y|^2 - 2 x y."""

    def __init__(self, vectors: Rows, shift: NDArray[np.float64], scale: float, side: int) -> None:
        # What is exact is computed from the vectors as they are: shifted ones are rounded.
        self.vectors, self.scale = vectors, scale
        self._shift = shift
        self.blocks = [slice(k, min(k + side, len(vectors))) for k in range(0, len(vectors), side)]
        self.norms = np.concatenate([np.linalg.norm(self._moved(rows), axis=1) for rows in self.blocks])

    def _moved(self, rows: slice) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = np.subtract(self.vectors[rows], self._shift, dtype=np.float64)
        moved *= self.scale
        return moved

    def factors(self, block: int, of_first: bool) -> NDArray[np.float32]:
        """(b, D + 2), such that the products of both sides' are squared distances: (-2 x, |x|^2, 1), (y, 1, |y|^2)."""
        rows = self.blocks[block]
        moved, norms = self._moved(rows), np.square(self.norms[rows])
        factors = np.ones((len(moved), moved.shape[1] + 2), dtype=np.float32)
        factors[:, :-2] = -2 * moved if of_first else moved
        factors[:, -2 if of_first else -1] = norms
        return factors

    def error(self, other: _Side) -> NDArray[np.float64]:
        """(n,) how far a squared distance to the other side may be off, rounded limits included."""
        terms = self.vectors.shape[1] + 8
        error: NDArray[np.float64] = terms * ROUNDING * np.square(self.norms + other.norms.max()) + 1e-30
        return error


@dataclass(frozen=True)
class _Tile:
    """Squared distances of a block of one side to a block of the other.

    Attributes:
        mirrored: the sides are one set and the tile lies off the diagonal: turned, it is another tile.
    """

    arithmetic: _Arithmetic
    squared: Any
    row: int
    column: int
    rows: slice
    columns: slice
    mirrored: bool

    def turned(self) -> _Tile:
        """The other side's distances to the one."""
        return _Tile(
            self.arithmetic, self.squared.T, self.column, self.row, self.columns, self.rows, mirrored=self.mirrored
        )

    def forget_self(self) -> None:
        """Row i and point i have no distance; NaN is below no limit."""
        own = np.arange(max(self.rows.start, self.columns.start), min(self.rows.stop, self.columns.stop))
        self.squared[own - self.rows.start, own - self.columns.start] = np.nan


class _Tiles:
    """All distances between two sets of vectors, a tile at a time."""

    def __init__(self, first: Rows, second: Rows, device: str) -> None:
        where = torch.device(device)
        self._arithmetic: _Arithmetic = _OnCPU() if where.type == "cpu" else _OnDevice(where)
        self._symmetric = first is second
        shift = np.asarray(second.mean(axis=0, dtype=np.float64))
        scale, side = _scale(first, second, shift), self._arithmetic.side
        self.first = _Side(first, shift, scale, side)
        self.second = self.first if self._symmetric else _Side(second, shift, scale, side)

    def visit(self, see: Callable[[_Tile], None]) -> None:
        """Every tile, from several threads, in no particular order; of one set, one of each mirrored two."""
        arithmetic, first, second = self._arithmetic, self.first, self.second
        by_row = len(first.blocks) >= len(second.blocks)
        # The blocks of the larger set pass by, those of the smaller stay.
        passing, staying = 2 * arithmetic.threads, None
        left = lru_cache(passing if by_row else staying)(lambda k: arithmetic.put(first.factors(k, of_first=True)))
        right = lru_cache(staying if by_row else passing)(lambda k: arithmetic.put(second.factors(k, of_first=False)))

        def work(place: tuple[int, int]) -> None:
            row, column = place
            squared = arithmetic.product(left(row), right(column))
            mirrored = self._symmetric and row != column
            see(_Tile(arithmetic, squared, row, column, first.blocks[row], second.blocks[column], mirrored))

        rows, columns = range(len(first.blocks)), range(len(second.blocks))
        if by_row:
            places = [(i, j) for i in rows for j in columns if j >= i or not self._symmetric]
        else:
            places = [(i, j) for j in columns for i in rows]
        with arithmetic.exact_products():
            _in_threads(work, places, arithmetic.threads)


class _Search:
    """The k nearest to every row of one block, from tiles in any order.

    The k-th smallest squared distance so far, plus twice the error, is a limit that no distance of
    the k truly nearest exceeds: whatever lies beyond it is passed over, and that is soon nearly all.
    """

    def __init__(self, tiles: _Tiles, rows: slice, k: int) -> None:
        self.rows, self._k = rows, k
        self._queries, self._points = tiles.first.vectors, tiles.second.vectors
        self._room = 2 * tiles.first.error(tiles.second)[rows]
        self._best = np.full((len(self._room), k), np.inf, dtype=np.float32)
        self._limits = self._best[:, -1].copy()
        self._lock = Lock()
        # Row within the block, point and squared distance of all that was within the limit of its time.
        self._seen: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._waiting = 0
        self._settled = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def see(self, tile: _Tile) -> None:
        """Take what is near enough from a tile whose rows are the block's."""
        arithmetic, squared, limits = tile.arithmetic, tile.squared, self._limits
        mask, total = arithmetic.within(squared, limits)
        if total > CROWD * self._best.size:
            limits = np.minimum(limits, _single(arithmetic.smallest(squared, self._k) + self._room))
            mask, total = arithmetic.within(squared, limits)
        if total:
            rows, columns, near = arithmetic.entries(squared, mask)
            with self._lock:
                self._note(rows, near)
                self._keep(rows, columns + tile.columns.start, near)

    def _note(self, rows: Indices, squared: Rows) -> None:
        """Lower the limits of these rows."""
        order = np.lexsort((squared, rows))
        rows, squared = rows[order], squared[order]
        starts, rank = _ranked(rows)
        near = rank < self._k
        touched = rows[starts]
        fresh = np.full((len(touched), self._k), np.inf, dtype=np.float32)
        fresh[np.searchsorted(touched, rows[near]), rank[near]] = squared[near]
        best = np.concatenate([self._best[touched], fresh], axis=1)
        best.partition(self._k - 1, axis=1)
        self._best[touched] = best[:, : self._k]
        limits = self._limits.copy()
        limits[touched] = _single(best[:, self._k - 1] + self._room[touched])
        self._limits = limits  # in one step, for the other threads

    def _keep(self, rows: Indices, points: Indices, squared: Rows) -> None:
        self._seen.append((rows.astype(np.int32), points.astype(np.int32), squared))
        self._waiting += len(rows)
        if self._waiting > 8 * self._best.size + PAIR_VALUES // 8:
            self._settle()

    def _settle(self) -> None:
        """Exact distances of what may still be near, of which the k nearest stay."""
        seen = [np.concatenate(parts) for parts in zip(*self._seen, strict=True)]
        self._seen, self._waiting = [], 0
        within = seen[2] <= self._limits[seen[0]]
        rows, points = seen[0][within].astype(np.int64), seen[1][within].astype(np.int64)
        exact = _distances(self._queries, rows + self.rows.start, self._points, points)
        parts = zip(self._settled, (rows, points, exact), strict=True)
        rows, points, exact = (np.concatenate(part) for part in parts)
        order = np.lexsort((points, exact, rows))
        order = order[_ranked(rows[order])[1] < self._k]
        self._settled = (rows[order], points[order], exact[order])

    def result(self) -> tuple[NDArray[np.float64], Indices]:
        """(b, k) distances, ascending, and points; once all tiles were seen."""
        if self._seen:
            self._settle()
        _, points, exact = self._settled
        return exact.reshape(-1, self._k), points.reshape(-1, self._k)


class _Count:
    """How many points of one side are in balls around the vectors of another, from tiles in any order."""

    def __init__(self, centres: _Side, radii: Rows, points: _Side, closed: bool = False) -> None:
        self._centres, self._points, self._closed = centres.vectors, points.vectors, closed
        self._radii = np.asarray(radii, dtype=np.float64)
        # No distance comes near 1e18 once scaled; larger radii may overflow.
        reach = np.square(np.minimum(self._radii * centres.scale, 1e18))
        error = centres.error(points)
        self._low, self._high = _single(reach - error), _single(reach + error)
        self.balls = Balls(np.zeros(len(self._centres), dtype=np.int64), np.zeros(len(self._points), dtype=np.int64))
        self._lock = Lock()

    def see(self, tile: _Tile) -> None:
        """Count in a tile whose rows are balls."""
        found = tile.arithmetic.count(tile.squared, self._low[tile.rows], self._high[tile.rows])
        per_ball, per_point, rows, columns = found
        centres = rows + tile.rows.start
        exact = _distances(self._centres, centres, self._points, columns + tile.columns.start)
        reach = self._radii[centres]
        inside = exact <= reach if self._closed else exact < reach
        per_ball = per_ball + np.bincount(rows[inside], minlength=len(per_ball))
        per_point = per_point + np.bincount(columns[inside], minlength=len(per_point))
        with self._lock:
            self.balls.per_ball[tile.rows] += per_ball
            self.balls.per_point[tile.columns] += per_point


def _in_threads(work: Callable[[Item], None], items: Sequence[Item], threads: int | None = None) -> None:
    """``work`` on every item, each begun in the items' order; the products of a thread are its own."""
    for _ in Threads(threads).map(work, items):
        pass


def _scale(first: Rows, second: Rows, shift: NDArray[np.float64]) -> float:
    """A power of two that brings all shifted numbers into -1 ... 1, where no square overflows."""
    spread = max(float(np.abs(bound - shift).max()) for rows in (first, second) for bound in (rows.min(0), rows.max(0)))
    return math.ldexp(1.0, max(-200, min(200, -math.frexp(spread)[1])))


def _distances(first: Rows, rows: Indices, second: Rows, columns: Indices) -> NDArray[np.float64]:
    """(p,) of single pairs, always summed in the same order: one pair has one distance, to the last digit."""
    result = np.empty(len(rows))
    step = max(1, PAIR_VALUES // first.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        offset = np.subtract(first[rows[part]], second[columns[part]], dtype=np.float64)
        np.sqrt(np.einsum("pd,pd->p", offset, offset), out=result[part])
    return result


def _where(mask: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    order: Any = "C" if mask.flags.c_contiguous else "F"
    rows, columns = np.unravel_index(np.flatnonzero(mask.ravel(order)), mask.shape, order=order)
    return rows, columns


def _ranked(groups: Indices) -> tuple[Indices, Indices]:
    """Where each run of equal numbers starts, and every number's place within its run."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    return starts, np.arange(len(groups)) - np.repeat(starts, lengths)


def _sample(tile: Any, k: int) -> Any:
    """LOOK columns or more per neighbour sought, evenly spread since near rows may lie side by side."""
    return tile[:, :: max(1, tile.shape[1] // (LOOK * k))]


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _host(values: Tensor) -> Any:
    return values.cpu().numpy()


def _check(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise LsamplerError(f"vectors of shapes {first.shape} and {second.shape}; give (n, D) and (m, D)")
    if not len(first) or not len(second):
        raise LsamplerError("no vectors to measure distances between")
