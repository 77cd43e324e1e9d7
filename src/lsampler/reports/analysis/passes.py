"""Passes over the latent vectors, on this machine's cores or on a cluster, in memory that does not grow with them.

A pass feeds the vectors to an object that gathers something: each segment of the store to a copy of its own, and the
copies are merged in the order of the segments. So the numbers do not depend on the number of threads or workers.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsampler.statistics.passes import Segment, View, over_segments

BINS = 2**16
RADIUS_BIN = 0.05
"""Of the posts' finer radius density, for latents of unit spread; the coarser one has 10 times wider bins."""
COARSE = 10


class Gathered(ABC):
    """Something that is gathered from latent vectors."""

    def started(self, start: int) -> Self:
        """An empty copy for the segment that begins with this row."""
        return copy.deepcopy(self)

    @abstractmethod
    def add(self, rows: NDArray[Any]) -> None:
        """Take in vectors (n, D)."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what was found in a later segment."""


Found = TypeVar("Found", bound=Gathered)


def gather(segments: Sequence[Segment], empty: Found, view: View) -> Found:
    """One pass: what ``empty`` gathers from all vectors that ``view`` lets through."""
    found = copy.deepcopy(empty)
    for part in over_segments(partial(_find, view, empty), segments, "latent vectors"):
        found.merge(part)
    return found


def _find(view: View, empty: Found, segment: Segment) -> Found:
    found = empty.started(segment.start)
    for chunk in segment.chunks():
        found.add(view(chunk))
    return found


class Sums(Gathered):
    """The sum of a function of the vectors: ``function(rows)`` is a number or an array of fixed shape."""

    def __init__(self, function: Callable[[NDArray[Any]], Any]) -> None:
        self.function = function
        self.total: Any = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Take in vectors (n, D)."""
        self.total = self.total + self.function(rows)

    def merge(self, other: Self) -> None:
        """Take in what was found in a later segment."""
        self.total = self.total + other.total


class Sample(Gathered):
    """Up to ``most`` of ``count`` vectors, drawn at random without replacement, in their order."""

    def __init__(self, most: int, count: int, seed: Sequence[int]) -> None:
        self.most, self.seed = most, seed
        self.rng = np.random.default_rng(seed)
        # Every vector has a random number. The smallest win, so that larger ones need not be kept.
        self.bound = 1.0 if count <= most else min(1.0, (most + 6 * math.sqrt(most)) / count)
        self.keys: list[NDArray[np.float64]] = []
        self.kept: list[NDArray[Any]] = []

    def started(self, start: int) -> Self:
        """An empty copy with random numbers of its own."""
        started = copy.deepcopy(self)
        started.rng = np.random.default_rng([*self.seed, start])
        return started

    def add(self, rows: NDArray[Any]) -> None:
        """Take in vectors (n, D)."""
        keys = self.rng.random(len(rows))
        self.keys.append(keys[keys < self.bound])
        self.kept.append(rows[keys < self.bound])

    def merge(self, other: Self) -> None:
        """Take in what was found in a later segment."""
        self.keys += other.keys
        self.kept += other.kept

    @property
    def rows(self) -> NDArray[Any]:
        """The vectors drawn."""
        keys, rows = np.concatenate(self.keys), np.concatenate(self.kept)
        return rows if len(rows) <= self.most else rows[np.sort(np.argpartition(keys, self.most)[: self.most])]


class Radii(Gathered):
    """Lengths of vectors, counted in 65,536 bins of one width, which doubles where they are not enough."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.counts: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)
        self.n = 0
        self.powers = np.zeros(3)
        self.low, self.high = np.inf, 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Take in vectors (n, D)."""
        if not len(rows):
            return
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        while lengths.max() >= BINS * self.width:  # one far vector must not take all memory
            self._widen()
        self.counts += np.bincount((lengths / self.width).astype(np.int64), minlength=BINS)
        self.n += len(lengths)
        self.powers += [np.sum(lengths**k) for k in (1, 2, 4)]
        self.low, self.high = min(self.low, float(lengths.min())), max(self.high, float(lengths.max()))

    def merge(self, other: Self) -> None:
        """Take in what was found in a later segment."""
        for narrow, wide in ((self, other), (other, self)):
            while narrow.width < wide.width:
                narrow._widen()
        self.counts += other.counts
        self.n += other.n
        self.powers += other.powers
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def _widen(self) -> None:
        self.width *= 2
        self.counts = np.append(self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64))

    @property
    def mean(self) -> float:
        """Of the lengths themselves, not of the bins."""
        return float(self.powers[0] / self.n)

    @property
    def std(self) -> float:
        """Of the lengths themselves, normalised by n - 1."""
        first, second, _ = self.powers
        return float(np.sqrt(max((second - first * first / self.n) / max(self.n - 1, 1), 0.0)))

    @property
    def mean_fourth_power(self) -> float:
        """Of the lengths themselves."""
        return float(self.powers[2] / self.n)

    def density(self, merge: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """Centres and counts of bins of ``merge`` widths, from the first occupied to the last; their width."""
        counts = np.append(self.counts, np.zeros(-len(self.counts) % merge, np.int64)).reshape(-1, merge).sum(axis=1)
        used = np.flatnonzero(counts)
        kept = slice(used[0], used[-1] + 1)
        width = merge * self.width
        middles = (np.arange(len(counts), dtype=np.float64)[kept] + 0.5) * width
        return middles, counts[kept], width

    @property
    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Edges of the bins, and the share of lengths below each."""
        edges = np.arange(len(self.counts) + 1, dtype=np.float64) * self.width
        return edges, np.append(0, np.cumsum(self.counts)) / self.n

    def share_below(self, length: float) -> float:
        """The share of lengths below ``length``, by straight lines between the edges of bins."""
        return float(np.interp(length, *self.distribution))

    def quantile(self, share: float) -> float:
        """The length below which ``share`` of all lie, to within a bin."""
        edges, shares = self.distribution
        index = min(max(int(np.searchsorted(shares, share)), 1), BINS)
        below, above = shares[index - 1], shares[index]
        part = (share - below) / (above - below) if above > below else 1.0
        return float(edges[index - 1] + part * self.width)

    def quantiles(self) -> dict[str, float]:
        """The quantiles that reports show."""
        return {"q05": self.quantile(0.05), "median": self.quantile(0.5), "q95": self.quantile(0.95)}
