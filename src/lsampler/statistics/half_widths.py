"""Full widths at half maximum, which the posts call half-widths, and Gaussian fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
HalfWidth = Literal["moments", "histogram", "gaussian-fit"]


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian fitted to a histogram.

    Attributes:
        height: at its centre, in counts per bin.
        centre: in latent units.
        sigma: in latent units.
        residual: root mean square of counts minus fit over the occupied bins, relative to the largest count.
    """

    height: float
    centre: float
    sigma: float
    residual: float


def width_at_half_maximum(counts: NDArray[np.int64], bin_width: float) -> float:
    """The length over which the histogram, joined by straight lines, exceeds half its maximum.

    For one peak this is the distance between its two crossings. Unlike that distance it does not shrink
    when noise dips below the half near the peak.
    """
    padded = np.concatenate([[0], counts, [0]]).astype(np.float64)
    above = padded - padded.max() / 2
    left, right = above[:-1], above[1:]
    low, high = np.minimum(left, right), np.maximum(left, right)
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(low >= 0, 1.0, np.clip(high / rise, 0.0, 1.0))
    return float(share.sum() * bin_width)
