"""Histograms of many components at once, in one pass, without knowing their range beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histograms"]

BINS = 1024
AUTO_BINS_PER_SIGMA = 16
INDEX_BITS = 52


@dataclass
class Histograms:
    """Counts of D components on grids that are anchored at zero.

    Bin ``i`` of component ``j`` covers [(first_j + i) w_j, (first_j + i + 1) w_j). When values
    leave the grid it moves, and when their range no longer fits (or lies so far from zero that
    floats cannot count the bins), w_j doubles and neighbouring bins merge; so the counts are
    exactly those of one binning with the final width.

    Attributes:
        width: (D,) float64, bin widths.
        first: (D,) int64, index of the first bin on the component's grid.
        counts: (D, BINS) int64.
        minimum: (D,) float64, of the values counted; infinity before the first.
        maximum: (D,) float64, likewise minus infinity.
    """

    width: NDArray[np.float64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def empty(cls, block: NDArray[np.float64], bin_width: float | None = None) -> Histograms:
        """Grids suited to a first ``block`` (n, D); nothing is counted yet.

        ``bin_width`` in latent units; by default the power of two below sigma / 16. A component
        without spread in ``block`` says nothing of its scale: it starts very fine, since widths
        can grow but not shrink.
        """
        low, high = block.min(axis=0), block.max(axis=0)
        width = _suited_width(block.std(axis=0), low) if bin_width is None else np.full(len(low), float(bin_width))
        return cls._around(block.mean(axis=0), _countable(width, np.maximum(-low, high)))

    @classmethod
    def around(cls, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Histograms:
        """Grids suited to values of this mean and spread, each (D,); nothing is counted yet."""
        return cls._around(mean, _countable(_suited_width(std, mean), np.abs(mean)))

    @classmethod
    def _around(cls, mean: NDArray[np.float64], width: NDArray[np.float64]) -> Histograms:
        first = np.floor(mean / width).astype(np.int64) - BINS // 2
        nothing = np.full(len(mean), np.inf)
        return cls(width, first, np.zeros((len(mean), BINS), dtype=np.int64), nothing, -nothing)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays, empty bins at both ends left out."""
        used = np.flatnonzero(self.counts.any(axis=0))
        start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        counts = self.counts[:, start:stop]
        small = counts.astype(np.int32) if counts.max() < 2**31 else counts
        return {
            "width": self.width,
            "first": self.first + start,
            "counts": small,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Histograms:
        """The inverse of :meth:`as_arrays`."""
        counts = np.zeros((len(arrays["width"]), BINS), dtype=np.int64)
        counts[:, : arrays["counts"].shape[1]] = arrays["counts"]
        return cls(arrays["width"], arrays["first"], counts, arrays["minimum"], arrays["maximum"])

    def copy(self) -> Histograms:
        """The same, to go on counting."""
        return Histograms(*(getattr(self, field.name).copy() for field in fields(self)))

    def add(self, block: NDArray[Any]) -> None:
        """Count a block (n, D) of finite values."""
        low, high = block.min(axis=0), block.max(axis=0)
        inside = (np.floor(low / self.width) >= self.first) & (np.floor(high / self.width) < self.first + BINS)
        for component in np.flatnonzero(~inside):
            width = float(self.width[component])
            ends = (float(value[component]) / width for value in (low, high))
            self._make_room(int(component), *(int(np.floor(end)) for end in ends))
        self._reach(low, high)
        index = np.floor(block / self._width_for(block.dtype)).astype(np.int64) - self.first
        index += np.arange(len(self.width)) * BINS
        self.counts += np.bincount(index.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: Histograms) -> None:
        """Count all that ``other`` has counted; its widths must be ours times or by powers of two."""
        alike = (self.width == other.width) & (self.first == other.first)
        for component in np.flatnonzero(~alike):
            used = np.flatnonzero(other.counts[component])
            if not len(used):
                continue
            width, first = float(other.width[component]), other.first[component]
            while self.width[component] < width:
                self._coarsen(int(component))
            indices = (first + used) // round(float(self.width[component]) / width)
            fine = float(self.width[component])
            self._make_room(int(component), int(indices[0]), int(indices[-1]))
            indices //= round(float(self.width[component]) / fine)
            np.add.at(self.counts[component], indices - self.first[component], other.counts[component, used])
        self.counts[alike] += other.counts[alike]
        self._reach(other.minimum, other.maximum)

    def _coarsen(self, component: int) -> None:
        indices, counts = self.first[component] + np.arange(BINS), self.counts[component].copy()
        self.width[component] *= 2
        self.first[component] = indices[0] // 2
        self.counts[component] = 0
        np.add.at(self.counts[component], indices // 2 - self.first[component], counts)

    def _reach(self, low: NDArray[Any], high: NDArray[Any]) -> None:
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)

    def _width_for(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The widths, in single precision where dividing float32 values by them loses nothing."""
        exact = dtype == np.float32 and self.width.min() > 2.0**-64 and self.width.max() <= 1
        powers = exact and bool((np.frexp(self.width)[0] == 0.5).all())
        return self.width.astype(np.float32) if powers else self.width

    def _make_room(self, component: int, bottom: int, top: int) -> None:
        """Move the grid, and double its bins, until it holds those that are now numbered so."""
        used = np.flatnonzero(self.counts[component])
        indices = used + self.first[component]
        counts = self.counts[component, used]
        width = float(self.width[component])
        if len(indices):
            bottom, top = min(bottom, int(indices[0])), max(top, int(indices[-1]))
        while top - bottom >= BINS or max(top, -bottom) > 2**INDEX_BITS:
            width *= 2
            bottom, top, indices = bottom // 2, top // 2, indices // 2
        first = bottom - (BINS - 1 - (top - bottom)) // 2
        row = np.zeros(BINS, dtype=np.int64)
        np.add.at(row, indices - first, counts)
        self.width[component], self.first[component], self.counts[component] = width, first, row

    def merged(self, component: int, bin_width: float) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """One component with bins of about ``bin_width``: (left edges, counts, actual width).

        The actual width is the multiple of the grid's own nearest to ``bin_width``. Only the
        range from the first to the last occupied bin is returned.
        """
        fine = float(self.width[component])
        factor = min(max(1, round(bin_width / fine)), 2**INDEX_BITS)
        coarse = np.floor_divide(self.first[component] + np.arange(BINS), factor)
        counts = np.bincount(coarse - coarse[0], weights=self.counts[component]).astype(np.int64)
        used = np.flatnonzero(counts)
        if len(used) == 0:
            return np.empty(0), np.empty(0, dtype=np.int64), fine * factor
        kept = slice(used[0], used[-1] + 1)
        edges = (coarse[0] + np.arange(len(counts))) * fine * factor
        return edges[kept], counts[kept], fine * factor


def _suited_width(spread: NDArray[np.float64], somewhere: NDArray[np.float64]) -> NDArray[np.float64]:
    """The powers of two below sigma / 16; very small ones for components without spread."""
    unknown = np.where(somewhere == 0, 2.0**-60, np.abs(somewhere)) * 2.0**-40
    width: NDArray[np.float64] = np.exp2(
        np.floor(np.log2(np.where(spread == 0, unknown, spread) / AUTO_BINS_PER_SIGMA))
    )
    return width


def _countable(width: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """The widths, doubled until floats can number the bins as far from zero as ``reach``."""
    bins = np.maximum(reach / width, 1.0)
    found: NDArray[np.float64] = width * np.exp2(np.maximum(np.ceil(np.log2(bins)) - INDEX_BITS, 0))
    return found
