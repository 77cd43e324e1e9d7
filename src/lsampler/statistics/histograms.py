"""Histograms of many components at once, on grids that cover values of a known spread and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1024
BINS_PER_SIGMA = 16
INDEX_BITS = 52


@dataclass(frozen=True)
class Histograms:
    """Counts of D components on grids that are anchored at zero.

    Bin ``i`` of component ``j`` covers [(first_j + i) w_j, (first_j + i + 1) w_j).

    Attributes:
        width: (D,) float64, bin widths.
        first: (D,) int64, index of the first bin on the component's grid.
        counts: (D, bins) int64, or int32 as read from a file.
    """

    width: NDArray[np.float64]
    first: NDArray[np.int64]
    counts: NDArray[Any]

    @classmethod
    def covering(
        cls, std: NDArray[np.float64], minimum: NDArray[np.float64], maximum: NDArray[np.float64]
    ) -> Histograms:
        """Grids for values between ``minimum`` and ``maximum``, all (D,); nothing is counted yet.

        The width is the power of two below sigma / 16, doubled until :data:`BINS` bins cover the range and
        floats can number them.
        """
        reach = np.maximum(np.abs(minimum), np.abs(maximum))
        least = np.maximum(np.where(std > 0, std / BINS_PER_SIGMA, 0.0), np.maximum(reach, 1e-300) * 2.0**-INDEX_BITS)
        width = np.exp2(np.floor(np.log2(least)))
        while (wide := np.floor(maximum / width) - np.floor(minimum / width) >= BINS).any():
            width = np.where(wide, 2 * width, width)
        first = np.floor(minimum / width).astype(np.int64)
        bins = int((np.floor(maximum / width).astype(np.int64) - first).max(initial=0)) + 1
        return cls(width, first, np.zeros((len(width), bins), dtype=np.int64))

    def counted(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Counts (D, bins) of values (n, D) on these grids."""
        bins = self.counts.shape[1]
        index = np.floor(rows / self.width).astype(np.int64)
        index -= self.first
        # Another processor may round principal coordinates across the last edge.
        np.clip(index, 0, bins - 1, out=index)
        index += np.arange(len(self.width)) * bins
        return np.bincount(index.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as named arrays."""
        small = self.counts.astype(np.int32) if self.counts.max(initial=0) < 2**31 else self.counts
        return {"histogram_width": self.width, "histogram_first": self.first, "histogram_counts": small}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Histograms:
        """The inverse of :meth:`as_arrays`."""
        return cls(arrays["histogram_width"], arrays["histogram_first"], arrays["histogram_counts"])

    def merged(self, component: int, bin_width: float) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """One component with bins of about ``bin_width``: (left edges, counts, actual width).

        The actual width is the multiple of the grid's own nearest to ``bin_width``. Only the
        bins from the first to the last occupied one are returned.
        """
        fine = float(self.width[component])
        factor = max(1, round(min(bin_width / fine, 2**INDEX_BITS)))
        coarse = np.floor_divide(self.first[component] + np.arange(self.counts.shape[1]), factor)
        counts = np.bincount(coarse - coarse[0], weights=self.counts[component]).astype(np.int64)
        used = np.flatnonzero(counts)
        kept = slice(used[0], used[-1] + 1)
        edges = (coarse[0] + np.arange(len(counts))) * fine * factor
        return edges[kept], counts[kept], fine * factor
