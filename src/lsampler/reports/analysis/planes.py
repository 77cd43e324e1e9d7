"""Planes of two coordinates with the data in them, and the strategies' vectors that are shown over the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.reports.analysis.context import Context
from lsampler.samplers.base import LatentSampler

SCATTER_ROWS = 5000


@dataclass(frozen=True)
class Drawn:
    """Vectors (n, D) of one strategy, and which of them are inside a core, if that was determined."""

    name: str
    latents: NDArray[np.float32]
    inside: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Plane:
    """Two coordinates of latent space: z @ directions.T - shift.

    Attributes:
        labels: of the two axes.
        directions: (2, D).
        shift: (2,), subtracted after the projection.
        mean: (2,) of the data in the plane.
        covariance: (2, 2) of the data in the plane.
        points: (n, 2) of the data, empty without latents.
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


def plane_of_components(context: Context, i: int, j: int) -> Plane:
    """The plane of two original components."""
    directions = np.eye(context.dimension)[[i, j]]
    return _plane(context, directions, np.zeros(2), (f"component {i}", f"component {j}"))


def plane_of_principal(context: Context, i: int, j: int) -> Plane:
    """The plane of two principal components (counted from 0), centred."""
    directions = context.pca.axes[[i, j]]
    return _plane(context, directions, directions @ context.pca.mean, (f"PC {i}", f"PC {j}"))


def _plane(
    context: Context, directions: NDArray[np.float64], shift: NDArray[np.float64], labels: tuple[str, str]
) -> Plane:
    statistics = context.statistics
    rows = context.some(SCATTER_ROWS) if context.has_latents else np.empty((0, context.dimension))
    mean, covariance = directions @ statistics.mean - shift, directions @ statistics.covariance @ directions.T
    return Plane(labels, directions, shift, mean, covariance, rows @ directions.T - shift)


def overlays(context: Context, n: int) -> tuple[list[Drawn], list[str]]:
    """``n`` vectors of every strategy of the options, and why some of them cannot be fitted."""
    drawn, problems = [], []
    strategies = context.options.samplers()
    names = [strategy.name for strategy in strategies]
    for strategy in strategies:
        name = strategy.name if names.count(strategy.name) == 1 else _with_parameters(strategy)
        try:
            # A copy, so that the caller's sampler stays as it was fitted.
            latents = strategy.model_copy().fit(context.reference).sample(n, seed=context.options.seed)
        except LsamplerError as error:
            problems.append(f"No vectors of {name}: {error}")
        else:
            drawn.append(Drawn(name, latents.numpy()))
    return drawn, problems


def _with_parameters(strategy: LatentSampler) -> str:
    changed = strategy.model_dump(mode="json", exclude_defaults=True)
    return " ".join([strategy.name, *(f"{key}={value}" for key, value in changed.items())])
