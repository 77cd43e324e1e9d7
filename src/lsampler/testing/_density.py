"""Whether a density belongs to what is drawn, by integrating it over cells and counting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.samplers.base import LatentSampler

__all__ = ["cell_shares"]

CELLS = {1: 12, 2: 4}
"""Along each axis, of equal shares of the drawn values."""
POINTS = {1: 6000, 2: 168}
"""Along each axis, that the density is taken at."""
TAIL = 1e-3


def cell_shares(sampler: LatentSampler, drawn: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of drawn vectors (n, D) in each cell of a box, and the density's integral over it; D is 1 or 2.

    The box leaves out a thousandth at either end of each axis, where heavy tails would take all points.
    """
    dimension = drawn.shape[1]
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)
    reach = np.maximum(high - low, 1e-9)
    low, high = low - 0.02 * reach, high + 0.02 * reach
    edges = [_cell_edges(drawn[:, axis], low[axis], high[axis], CELLS[dimension]) for axis in range(dimension)]
    points, volume = _midpoints(low, high, POINTS[dimension])
    density = np.exp(sampler.log_prob(points))
    counted, _ = np.histogramdd(drawn, bins=edges)
    integral, _ = np.histogramdd(points, bins=edges, weights=density * volume)
    return counted / len(drawn), integral


def _cell_edges(values: NDArray[Any], low: float, high: float, cells: int) -> NDArray[np.float64]:
    inner = np.quantile(values, np.linspace(0, 1, cells + 1)[1:-1])
    edges: NDArray[np.float64] = np.unique(np.clip([low, *inner, high], low, high))
    return edges


def _midpoints(low: NDArray[Any], high: NDArray[Any], points: int) -> tuple[NDArray[np.float64], float]:
    """A grid over a box, (points^D, D), and the volume that each point stands for."""
    steps = (high - low) / points
    axes = [start + step * (np.arange(points) + 0.5) for start, step in zip(low, steps, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return grid, float(np.prod(steps))
