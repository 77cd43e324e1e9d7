"""Figures of the correlation matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsampler.plots import BLUE, ORANGE, panels, single


def draw_matrix(correlation: NDArray[np.float64]) -> Any:
    """The matrix twice: as it is, and sorted."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - np.abs(correlation), 0, None)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance, checks=False), "average"))
    limit = float(max(0.2, np.abs(correlation - np.eye(len(correlation))).max()))
    figure, (left, right) = panels(2, 2, height=4.0)
    for axes, matrix in ((left, correlation), (right, correlation[np.ix_(order, order)])):
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="equal")
    left.set(title="components in the encoder's order", xlabel="component", ylabel="component")
    right.set(title="correlated components together", xlabel="position in the order")
    figure.colorbar(picture, ax=(left, right), shrink=0.8, label="Pearson r (the diagonal is 1)")
    return figure


def draw_counts(thresholds: Sequence[float], shares: Mapping[str, ArrayLike]) -> Any:
    """Bars of the share of pairs above each limit, for these latents and for the post."""
    figure, axes = single(height=3.0)
    positions = np.arange(len(thresholds))
    for (label, values), offset, colour in zip(shares.items(), (-0.2, 0.2), (BLUE, ORANGE), strict=True):
        axes.bar(positions + offset, 100 * np.asarray(values), 0.38, color=colour, label=label)
    axes.set_xticks(positions, [f"{limit:g}" for limit in thresholds])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="|r| above", ylabel="share of all pairs (%)")
    axes.grid(axis="y")
    axes.legend(loc="upper right")
    return figure
