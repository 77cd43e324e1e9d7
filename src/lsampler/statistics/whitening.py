"""Whitening: principal coordinates divided by their standard deviations, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.errors import LsamplerError

SINGLE_PRECISION = 2.0**-21
"""How far rounding to float32 may move a sum of a few float32 numbers, relative to their size."""


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

    def require_all(self, name: str) -> None:
        """Raise unless there are as many axes as components that vary: vectors of fewer have no density.

        Constant components do not count: densities are those of the others. ``name`` begins the message.
        """
        varying = int(np.any(self.axes, axis=0).sum())
        if len(self.axes) < varying:
            raise LsamplerError(f"{name} draws in {len(self.axes)} of {varying} dimensions: there is no density")

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
