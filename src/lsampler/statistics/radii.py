"""Quantiles of many radii in constant memory, from counts on a logarithmic grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXACT_RADII = 1 << 20
"""Up to so many radii are kept as they are: 8 MB."""
BINS_PER_UNIT = 1 << 13
"""Bins per unit of the natural logarithm: half a bin is a relative error of 6.1e-5."""
SMALLEST, LARGEST = 1e-3, 1e6
"""In units of sigma, of the grid. No radius of n vectors is above the root of n."""
BINS = int(BINS_PER_UNIT * np.log(LARGEST / SMALLEST)) + 1


def radius_counts(radii: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the radii (n,) lie in each bin of the grid."""
    bins = np.rint(BINS_PER_UNIT * np.log(np.clip(radii, SMALLEST, LARGEST) / SMALLEST)).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def radius_quantiles(counts: NDArray[np.int64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of counted radii, within half a bin of ``numpy.quantile(method="hazen")``."""
    upto = np.cumsum(counts)
    place = np.clip(levels * upto[-1] - 0.5, 0, upto[-1] - 1)
    ranks = np.floor(place), np.ceil(place)
    below, above = (SMALLEST * np.exp(np.searchsorted(upto, rank, side="right") / BINS_PER_UNIT) for rank in ranks)
    found: NDArray[np.float64] = below + (place - ranks[0]) * (above - below)
    return found
