"""Tables of quantiles at normal scores, which give each of several variables a distribution of its own.

A table has knots (L, k) for k variables at L equally spaced normal scores x: column j holds the increasing function
h_j, joined by straight lines that go on beyond the outermost scores. If x_j ~ N(0, 1), h_j(x_j) has distribution j.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BEYOND = 4
LEAST_SLOPE = 1e-3


def normal_scores(count: int, largest: float = math.inf) -> NDArray[np.float64]:
    """The scores (L,) for ``count`` vectors: more for more vectors, with four vectors beyond the outermost ones."""
    from scipy.special import ndtri

    reach = min(-ndtri(min(0.25, BEYOND / count)), largest)
    return np.linspace(-reach, reach, 2 * max(1, round(count ** (1 / 3))) + 1)


def increasing(knots: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The knots (L, k) with a slope of at least a thousandth, so that there is a density where values are repeated."""
    floor = LEAST_SLOPE * scores[:, np.newaxis]
    return np.maximum.accumulate(knots - floor, axis=0) + floor


def values_at(x: Tensor, scores: Tensor, knots: Tensor) -> Tensor:
    """The values h(x) of normal scores x: (n, k) each."""
    at = (x - scores[0]) / (scores[1] - scores[0])
    below = at.floor().clamp_(0, len(knots) - 2).long()
    return torch.lerp(knots.gather(0, below), knots.gather(0, below + 1), at - below)


def scores_of(values: Tensor, scores: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """The normal scores x of values h(x), and the slopes dh/dx there: (n, k) each."""
    below = torch.searchsorted(knots.T.contiguous(), values.T.contiguous()).T.sub(1).clamp(0, len(knots) - 2)
    low = knots.gather(0, below)
    slopes = (knots.gather(0, below + 1) - low) / (scores[1] - scores[0])
    return scores[below] + (values - low) / slopes, slopes
