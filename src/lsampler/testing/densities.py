"""Whether a density belongs to what is drawn: the density is integrated over cells, and the draws in them counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.samplers.base import LatentSampler
from lsampler.testing.checks import require

# Of shares among 20,000 draws the standard deviation is at most 0.0035: 0.02 is more than five of them, and leaves
# room for the error of the integral at the edge of a region.
ROWS, TOLERANCE = 20_000, 0.02
CELLS = {1: 12, 2: 4}  # along each axis, with equal shares of the drawn values
POINTS = {1: 6000, 2: 168}  # along each axis, at which the density is evaluated
TAIL = 1e-3  # left out at either end of each axis, where heavy tails would take all points


def require_same_distribution(sampler: LatentSampler) -> None:
    """Raise AssertionError unless the draws of a fitted strategy, D = 1 or 2, have its density."""
    drawn, integral = _cell_shares(sampler, sampler.sample(ROWS, seed=9).double().numpy())
    total, off = float(integral.sum() / drawn.sum()), float(np.abs(drawn - integral).max())
    where = f"for D = {sampler.dimension}"
    integrated = f"{where} the density integrates to {total:.3f} instead of 1; see log_density()"
    require(abs(total - 1) < TOLERANCE, integrated)
    differ = f"{where} the share of rows drawn in a cell and the density's integral over it differ by {off:.1%}"
    require(off < TOLERANCE, f"{differ}; draw() and log_density() do not belong together")


def _cell_shares(sampler: LatentSampler, drawn: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The share of drawn vectors (n, D) in each cell of a box, and the density's integral over it."""
    dimension = drawn.shape[1]
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)
    margin = 0.02 * np.maximum(high - low, 1e-9)
    low, high = low - margin, high + margin
    inner = np.quantile(drawn, np.linspace(0, 1, CELLS[dimension] + 1)[1:-1], axis=0)
    edges = [np.unique(np.clip(edge, *edge[[0, -1]])) for edge in np.vstack([low, inner, high]).T]
    steps = (high - low) / POINTS[dimension]
    axes = low + steps * (np.arange(POINTS[dimension])[:, np.newaxis] + 0.5)
    points = np.stack(np.meshgrid(*axes.T, indexing="ij"), axis=-1).reshape(-1, dimension)
    weights = np.exp(sampler.log_prob(points)) * steps.prod()
    counted, _ = np.histogramdd(drawn, bins=edges)
    integral, _ = np.histogramdd(points, bins=edges, weights=weights)
    return counted / len(drawn), integral
