"""Principal axes of a covariance, and whitening: principal coordinates divided by their standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import one_thread, product

RANK_TOLERANCE = 1e-9
ROUNDING = 1e-14
SINGLE_PRECISION = 2.0**-21
"""How far rounding to float32 may move a sum of a few float32 numbers, relative to their size."""


@dataclass(frozen=True)
class Pca:
    """Principal axes of a covariance.

    Attributes:
        mean: (D,) the centre.
        axes: (D, D), row k is the k-th principal axis, of unit length; its sign is fixed so
            that the entry of largest size is positive.
        variances: (D,) along the axes, descending.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]

    @classmethod
    def of(cls, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Pca:
        """The principal axes of a mean (D,) and a covariance (D, D)."""
        import torch

        with one_thread():
            variances, vectors = torch.linalg.eigh(torch.tensor(covariance))
        axes = vectors.numpy().T[::-1]
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        axes = np.ascontiguousarray(axes * signs[:, np.newaxis])
        return cls(mean, axes, np.maximum(variances.numpy()[::-1], 0.0))

    def transform(self, latents: NDArray[Any], components: int | None = None) -> NDArray[np.float64]:
        """Coordinates (n, components) of latent vectors (n, D) along the leading principal axes."""
        return (latents - self.mean) @ self.axes[:components].T

    def inverse(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """Latent vectors (n, D) of coordinates (n, q) along the first q axes."""
        return coordinates @ self.axes[: coordinates.shape[1]] + self.mean

    @property
    def rank(self) -> int:
        """How many variances are above rounding error."""
        rounding = np.square(ROUNDING * np.abs(self.mean).max())
        return int(np.sum(self.variances > max(rounding, RANK_TOLERANCE * self.variances[0])))


@dataclass(frozen=True)
class Whitening:
    """The map between latent vectors z (n, D) and whitened vectors w (n, q): z = mean + w @ axes.

    Attributes:
        mean: (D,) the centre.
        axes: (q, D) orthogonal; row k is the k-th principal axis times the standard deviation along it.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    @cached_property
    def variances(self) -> NDArray[np.float64]:
        """(q,) along the axes."""
        variances: NDArray[np.float64] = np.square(self.axes).sum(axis=1)
        return variances

    @property
    def log_det(self) -> float:
        """The logarithm of the volume that a unit cube of whitened coordinates has in the latent space."""
        return float(0.5 * np.log(self.variances).sum())

    def forward(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Latent vectors (n, D) -> whitened vectors (n, q)."""
        return product(latents - self.mean, self.axes.T / self.variances)

    def back(self, white: NDArray[Any]) -> NDArray[np.float64]:
        """Whitened vectors (n, q) -> latent vectors (n, D)."""
        return white @ self.axes + self.mean

    def rounding(self, white: NDArray[Any]) -> NDArray[np.float64]:
        """How far each whitened coordinate (n, q) may move when :meth:`back` is computed in single precision."""
        size = np.abs(self.mean) + np.abs(white) @ np.abs(self.axes)
        moved: NDArray[np.float64] = SINGLE_PRECISION * size @ np.abs(self.axes.T / self.variances)
        return moved
