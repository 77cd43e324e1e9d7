"""Planes of two coordinates with the data in them, and the strategies' vectors that are shown over the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.reports.analysis.context import Context

SCATTER_ROWS = 5000


@dataclass(frozen=True)
class Drawn:
    """Vectors (n, D) of one strategy, and which of them are inside a core, if that was determined."""

    name: str
    latents: NDArray[Any]
    inside: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Plane:
    """Two coordinates of latent space, z @ directions.T - shift, and the data in them.

    ``directions`` are (2, D); ``mean``, ``covariance`` and ``points`` (n, 2) are those of the data in the plane; there
    are no points where only statistics are at hand.
    """

    labels: tuple[str, str]
    directions: NDArray[np.float64]
    shift: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    points: NDArray[np.float64]

    def project(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Latent vectors (n, D) -> (n, 2)."""
        return np.asarray(latents @ self.directions.T - self.shift, dtype=np.float64)


def plane_of(context: Context, i: int, j: int, *, principal: bool = False) -> Plane:
    """The plane of two components, or of two principal components (counted from 0), which is centred."""
    statistics = context.statistics
    directions = context.pca.axes[[i, j]] if principal else np.eye(context.dimension)[[i, j]]
    shift = directions @ context.pca.mean if principal else np.zeros(2)
    name = "PC" if principal else "component"
    rows = context.some(SCATTER_ROWS) if context.has_latents else np.empty((0, context.dimension))
    mean, covariance = directions @ statistics.mean - shift, directions @ statistics.covariance @ directions.T
    return Plane((f"{name} {i}", f"{name} {j}"), directions, shift, mean, covariance, rows @ directions.T - shift)


def overlays(context: Context, n: int) -> tuple[list[Drawn], list[str]]:
    """``n`` vectors of every strategy of the options, and why some of them cannot be fitted."""
    drawn, problems = [], []
    strategies = context.options.samplers
    names = [strategy.name for strategy in strategies]
    for strategy in strategies:
        changed = strategy.model_dump(mode="json", exclude_defaults=True) if names.count(strategy.name) > 1 else {}
        name = " ".join([strategy.name, *(f"{key}={value}" for key, value in changed.items())])
        try:
            # A copy, so that the caller's sampler stays as it was fitted.
            latents = strategy.model_copy().fit(context.reference).sample(n, seed=context.options.seed)
        except LsamplerError as error:
            problems.append(f"No vectors of {name}: {error}")
        else:
            drawn.append(Drawn(name, latents.numpy()))
    return drawn, problems
