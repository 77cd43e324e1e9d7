"""Principal axes of a covariance, and whitening: principal coordinates divided by their standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import one_thread, product
from lsampler.errors import LsamplerError
from lsampler.showing import About, Shown, counted

SINGLE_PRECISION = 2.0**-21
"""How far rounding to float32 may move a sum of a few float32 numbers, relative to their size."""
RESOLUTION = 2.0**-23
"""Neighbouring float32 numbers differ by at most this share of their size."""
LARGEST_SIGMA = 4
"""Values are taken to lie within this many standard deviations of their mean, where their resolution matters."""
CONSTANT = 1e-7
LEAST_VARIANCE, NEARLY_FLAT = 1e-12, 1e-6
SIMILAR_VARIANCES = 1e-8
MOST_VARIANCE = 0.8


def spread(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) standard deviations; exactly 0 where float32 values cannot differ by as little, of a constant component."""
    return constant_as_zero(mean, np.diagonal(covariance))


def constant_as_zero(mean: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The roots of variances (D,), as :func:`spread` gives them."""
    std = np.sqrt(np.maximum(variances, 0.0))
    return np.where(std > CONSTANT * np.maximum(np.abs(mean), 1e-30), std, 0.0)


def nearly_flat(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> bool:
    """Whether vectors vary so little in a direction, in units of their components, that it needs double precision."""
    std = spread(mean, covariance)
    varying = np.flatnonzero(std)
    shares, _ = _eigen(covariance[np.ix_(varying, varying)] / np.outer(std[varying], std[varying]))
    return bool((shares < NEARLY_FLAT).any())


@dataclass(frozen=True, repr=False)
class Pca(Shown):
    """Principal axes of a covariance.

    Attributes:
        mean: (D,) the centre.
        axes: (D, D), row k is the k-th principal axis, of unit length; its sign is fixed so
            that the entry of largest size is positive. Of fewer vectors than components, where there are more than
            2,048 of these, (rank, D).
        variances: (D,) along the axes, descending.
        rank: in how many directions the vectors vary by more than float32 rounds them. It does not depend on the
            units of the components, and a constant component adds nothing to it.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]
    rank: int

    @classmethod
    def of(cls, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Pca:
        """The principal axes of a mean (D,) and a covariance (D, D).

        The variances may differ as widely as the components' units do: each entry of the axes is accurate relative
        to the spread of its component.
        """
        std = spread(mean, covariance)
        varying = np.flatnonzero(std)
        scale = std[varying]
        shares, directions = _eigen(covariance[np.ix_(varying, varying)] / np.outer(scale, scale))
        rounding = RESOLUTION * (np.abs(mean[varying]) / scale + LARGEST_SIGMA)
        rank = int(np.sum(shares > np.maximum(np.square(directions * rounding).sum(axis=1), LEAST_VARIANCE)))
        variances, found = _eigen(covariance[np.ix_(varying, varying)])
        if rank and variances[rank - 1] < SIMILAR_VARIANCES * variances[0]:
            variances, found = _graded(shares[:rank], directions[:rank], scale)
        axes = np.zeros((len(mean), len(mean)))
        axes[: len(varying), varying] = found
        axes[np.arange(len(varying), len(mean)), np.flatnonzero(std == 0)] = 1.0
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        variances = np.pad(np.maximum(variances, 0.0), (0, len(mean) - len(variances)))
        return cls(mean, axes * signs[:, np.newaxis], variances, rank)

    def _about(self) -> About:
        shares = np.cumsum(self.variances) / max(float(self.variances.sum()), 1e-300)
        needed = int(np.searchsorted(shares, MOST_VARIANCE)) + 1
        carry = f"{needed} components carry {100 * MOST_VARIANCE:.0f} % of the variance" if self.rank else ""
        return About("Pca", "", [f"D = {len(self.mean)}", f"rank {self.rank}", carry])

    @classmethod
    def of_deviations(cls, mean: NDArray[np.float64], std: NDArray[np.float64], deviations: NDArray[np.float64]) -> Pca:
        """The principal axes of N vectors of D > N components, from their deviations (N, D) from the mean.

        With X = U S V' the axes are the rows of V' and the variances S^2 / (N - 1). U and S^2 are the eigenvectors
        and eigenvalues of the N x N matrix X X'. Directions in which the vectors spread less than a millionth of that
        in the widest, or than float32 rounds them, are left out.
        """
        with one_thread():
            values, vectors = _eigen(product(deviations, np.ascontiguousarray(deviations.T)))
            kept = values > LEAST_VARIANCE * max(values[0], 0.0)
            axes = product(vectors[kept], deviations) / np.sqrt(values[kept, np.newaxis])
            found = values[kept] / (len(deviations) - 1)
            rounding = np.square(axes) @ np.square(RESOLUTION * (np.abs(mean) + LARGEST_SIGMA * std))
        rank = int(np.sum(found > rounding))
        signs = np.sign(axes[np.arange(rank), np.abs(axes[:rank]).argmax(axis=1)])
        variances = np.pad(found[:rank], (0, len(mean) - rank))
        return cls(mean, axes[:rank] * signs[:, np.newaxis], variances, rank)

    def transform(self, latents: NDArray[Any], components: int | None = None) -> NDArray[np.float64]:
        """Coordinates (n, components) of latent vectors (n, D) along the leading principal axes."""
        return (latents - self.mean) @ self.axes[:components].T

    def inverse(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """Latent vectors (n, D) of coordinates (n, q) along the first q axes."""
        return coordinates @ self.axes[: coordinates.shape[1]] + self.mean


@dataclass(frozen=True, repr=False)
class Whitening(Shown):
    """The map between latent vectors z (n, D) and whitened vectors w (n, q): z = mean + w @ axes.

    Attributes:
        mean: (D,) the centre.
        axes: (q, D) orthogonal; row k is the k-th principal axis times the standard deviation along it.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    def _about(self) -> About:
        return About("Whitening", "", [f"D = {len(self.mean)}", counted(len(self.axes), "component")])

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


def _eigen(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Descending eigenvalues (n,), and the eigenvectors as rows (n, n), of a symmetric matrix."""
    import torch

    with one_thread():
        values, vectors = torch.linalg.eigh(torch.tensor(matrix))
    return values.numpy()[::-1].copy(), np.ascontiguousarray(vectors.numpy().T[::-1])


def _graded(
    shares: NDArray[np.float64], directions: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances (rank,) and axes (n, n) from the eigenvalues (rank,) and eigenvectors (rank, n) of the correlations.

    An eigensolver's errors are relative to the largest variance. Those of a Jacobi SVD (Drmac and Veselic 2008) of the
    root of the covariance, whose rows are scaled correlations, are relative to the spread of each component.
    """
    from scipy.linalg.lapack import dgejsv

    root = np.sqrt(shares)[:, np.newaxis] * directions * scale
    singular, _, turn, work, _, _ = dgejsv(np.asfortranarray(root.T), joba=2)
    sigma = (singular * work[0] / work[1])[:, np.newaxis]
    # Of two computations of every entry, the one whose error is the smaller.
    forward = turn.T @ root / sigma
    backward = turn.T @ (directions / np.sqrt(shares)[:, np.newaxis] / scale) * sigma
    axes = np.where(scale < sigma, forward, backward)
    flat = np.linalg.qr(axes.T, mode="complete")[0].T[len(axes) :]
    return np.square(sigma[:, 0]), np.concatenate([axes, flat])
