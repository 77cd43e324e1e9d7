"""Passes over the latent vectors, on this machine's cores or on a cluster, in memory that does not grow with them.

The segments' results are added in the order of the segments, so that no number depends on the threads or workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.statistics.passes import Segment, View, over_segments

ALL = View()
BINS = 2**16
RADIUS_BIN = 0.05
"""Of the posts' finer radius density, for latents of unit spread; the coarser one has 10 times wider bins."""
COARSE = 10


def total(segments: Sequence[Segment], function: Callable[[NDArray[Any]], Any], view: View = ALL) -> Any:
    """The sum over all vectors of ``function(rows)``, which is a number or an array of fixed shape."""
    return sum(over_segments(partial(_total, function, view), segments, "latent vectors"))


def _total(function: Callable[[NDArray[Any]], Any], view: View, segment: Segment) -> Any:
    return sum(function(view(chunk)) for chunk in segment.chunks())


def lengths(segments: Sequence[Segment], width: float, view: View = ALL) -> Radii:
    """The lengths of all vectors, in bins of ``width``."""
    radii = Radii(width)
    for part in over_segments(partial(_lengths, width, view), segments, "latent vectors"):
        radii.merge(part)
    return radii


def _lengths(width: float, view: View, segment: Segment) -> Radii:
    radii = Radii(width)
    for chunk in segment.chunks():
        radii.add(view(chunk))
    return radii


class Radii:
    """Lengths of vectors, counted in 65,536 bins of one width, which doubles where they are not enough."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.counts: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)
        self.n = 0
        self.powers = np.zeros(3)
        self.low, self.high = np.inf, 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Count the lengths of vectors (n, D)."""
        if not len(rows):
            return
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        while lengths.max() >= BINS * self.width:  # one far vector must not take all memory
            self._widen()
        self.counts += np.bincount((lengths / self.width).astype(np.int64), minlength=BINS)
        self.n += len(lengths)
        self.powers += [np.sum(lengths**k) for k in (1, 2, 4)]
        self.low, self.high = min(self.low, float(lengths.min())), max(self.high, float(lengths.max()))

    def merge(self, other: Radii) -> None:
        """Count the lengths of a later segment."""
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
