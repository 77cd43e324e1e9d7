"""Kernel densities of pairs of components, in memory that does not grow with the number of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lsampler.reports.analysis.passes import Gathered

GRID = 200
REACH = 5.0
Pair = tuple[int, int]


def mass_of_ellipse(sigmas: float) -> float:
    """The share of a normal inside its n-sigma ellipse in the plane, 1 - exp(-n^2 / 2)."""
    return float(-np.expm1(-sigmas * sigmas / 2))


@dataclass(frozen=True)
class InnerCore:
    """The densest region that holds half of the mass of a pair density.

    Attributes:
        inner_correlation: Pearson r of the density inside it; 0 for an upright or round core.
        tilt_degrees: the angle between its longer axis and the nearest coordinate axis, -45 to 45.
        axis_ratio: shorter axis over longer; near 1 the tilt has no meaning.
        offset_sigma: distance of its centre from the mean.
    """

    inner_correlation: float
    tilt_degrees: float
    axis_ratio: float
    offset_sigma: float


class PairDensity:
    """The kernel density of two components, as of ``scipy.stats.gaussian_kde``, from a grid.

    Values are counted on a grid in whitened coordinates u = L^-1 (x - mean), covariance = L L^T, where scipy's kernel
    (Scott's bandwidth n^(-1/6) times the covariance) is round, and smoothed
    there: one pass, whatever the number of rows.

    Args:
        mean: (2,).
        covariance: (2, 2), positive definite.
    """

    def __init__(self, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
        self.mean = np.asarray(mean, dtype=np.float64)
        self.lower = np.linalg.cholesky(covariance)
        self._inverse = np.linalg.inv(self.lower)
        self.covariance = np.asarray(covariance, dtype=np.float64)
        self.counts: NDArray[np.int64] = np.zeros(1, dtype=np.int64)  # a grid once there are points
        self.n = 0
        self.inside: NDArray[np.int64] = np.zeros(3, dtype=np.int64)
        self._smooth: NDArray[np.float64] | None = None

    def add(self, points: NDArray[np.floating]) -> None:
        """Count points (n, 2)."""
        u = (points - self.mean) @ self._inverse.T
        squared = np.square(u).sum(axis=1)
        self.inside += [int(np.sum(squared <= n * n)) for n in (1, 2, 3)]
        index = np.floor((u + REACH) * (GRID / (2 * REACH))).astype(np.int64)
        index = index[((index >= 0) & (index < GRID)).all(axis=1)]
        self.counts = self.counts + np.bincount(index[:, 0] * GRID + index[:, 1], minlength=GRID * GRID)
        self.n += len(points)
        self._smooth = None

    def merge(self, other: PairDensity) -> None:
        """Count the points of another density of the same mean and covariance."""
        self.counts = self.counts + other.counts
        self.n += other.n
        self.inside += other.inside
        self._smooth = None

    @property
    def shares(self) -> list[float]:
        """Of the points inside the confidence ellipses of 1, 2 and 3 sigma."""
        return [float(count / self.n) for count in self.inside]

    @property
    def grid(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates x and y of the grid's cells, (GRID, GRID) each, in latent units."""
        x = self._whitened()[:, np.newaxis, :] @ self.lower.T
        points = x.reshape(GRID, GRID, 2) + self.mean
        return points[..., 0], points[..., 1]

    def _whitened(self) -> NDArray[np.float64]:
        centres = (np.arange(GRID) + 0.5) * (2 * REACH / GRID) - REACH
        return np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)

    @property
    def density(self) -> NDArray[np.float64]:
        """(GRID, GRID), points per unit area, of all points together 1."""
        if self._smooth is None:
            from scipy.ndimage import gaussian_filter

            cell = 2 * REACH / GRID
            # Counting in cells has itself smoothed by cell^2 / 12.
            bandwidth = np.sqrt(max(float(self.n) ** (-1 / 3) - cell * cell / 12, 0.0))
            raw = self.counts.reshape(GRID, GRID).astype(np.float64)
            smooth = gaussian_filter(raw, bandwidth / cell, mode="constant", truncate=5.0)
            self._smooth = smooth / (self.n * cell * cell * abs(np.linalg.det(self.lower)))
        return self._smooth

    def level(self, mass: float) -> float:
        """The density on the contour that encloses ``mass``, the densest region of that share."""
        falling = np.sort(self.density, axis=None)[::-1]
        return float(falling[np.searchsorted(np.cumsum(falling) / falling.sum(), mass)])

    def ellipticity(self, sigmas: float) -> float:
        """How far the densest region of the n-sigma ellipse's mass is an ellipse, 0 to 1.

        Overlap (intersection over union) with the ellipse of the covariance's shape and centre and of the same area.
        """
        density = self.density.ravel()
        region = density >= self.level(mass_of_ellipse(sigmas))
        distance = np.square(self._whitened()).sum(axis=1)
        ellipse = np.zeros(len(density), dtype=bool)
        ellipse[np.argsort(distance, kind="stable")[: int(region.sum())]] = True
        return float((region & ellipse).sum() / (region | ellipse).sum())

    def inner_core(self) -> InnerCore:
        """Moments of the density inside the contour of half of its mass."""
        density = self.density.ravel()
        weights = np.where(density >= self.level(0.5), density, 0.0)
        weights /= weights.sum()
        u = self._whitened()
        centre = weights @ u
        spread = (u - centre).T @ ((u - centre) * weights[:, np.newaxis])
        covariance = self.lower @ spread @ self.lower.T
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        variances, axes = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        tilt = (angle + 45.0) % 90.0 - 45.0
        return InnerCore(
            float(correlation),
            float(tilt),
            float(np.sqrt(variances[0] / variances[1])),
            float(np.linalg.norm(centre)),
        )


class PairDensities(Gathered):
    """The densities of several pairs of components.

    Args:
        empty: a density without points for each pair.
    """

    def __init__(self, empty: Mapping[Pair, PairDensity]) -> None:
        self.of = dict(empty)

    def add(self, rows: NDArray[Any]) -> None:
        """Take in vectors (n, D)."""
        for pair, density in self.of.items():
            density.add(rows[:, pair])

    def merge(self, other: Self) -> None:
        """Take in what was found in a later segment."""
        for pair, density in self.of.items():
            density.merge(other.of[pair])
