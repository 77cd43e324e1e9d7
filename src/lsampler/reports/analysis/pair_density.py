"""Kernel densities of pairs of components, in memory that does not grow with the number of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.reports.analysis.passes import ALL, total
from lsampler.statistics.passes import Segment, View

GRID = 200
REACH = 5.0
CELL = 2 * REACH / GRID
Pair = tuple[int, int]
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean (2,) and covariance (2, 2), positive definite."""


def mass_of_ellipse(sigmas: float) -> float:
    """The share of a normal inside its n-sigma ellipse in the plane, 1 - exp(-n^2 / 2)."""
    return float(-np.expm1(-sigmas * sigmas / 2))


def pair_densities(
    segments: Sequence[Segment], pairs: dict[Pair, Moments], view: View = ALL
) -> dict[Pair, PairDensity]:
    """The densities of several pairs of components, by their moments, from one pass."""
    counts = total(segments, partial(count_pairs, pairs), view)
    return {pair: PairDensity(*moments, found) for (pair, moments), found in zip(pairs.items(), counts, strict=True)}


def count_pairs(pairs: dict[Pair, Moments], rows: NDArray[Any]) -> NDArray[np.int64]:
    """(pairs, GRID^2 + 4): points in each cell, then inside 1, 2 and 3 sigma, then all."""
    return np.stack([_counts(rows[:, pair], *moments) for pair, moments in pairs.items()])


def _counts(points: NDArray[Any], mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.int64]:
    u = (points - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    squared = np.square(u).sum(axis=1)
    index = np.floor((u + REACH) * (GRID / (2 * REACH))).astype(np.int64)
    index = index[((index >= 0) & (index < GRID)).all(axis=1)]
    cells = np.bincount(index[:, 0] * GRID + index[:, 1], minlength=GRID * GRID)
    return np.append(cells, [*(np.sum(squared <= n * n) for n in (1, 2, 3)), len(points)])


class PairDensity:
    """The kernel density of two components, as of ``scipy.stats.gaussian_kde``, from a grid.

    Points were counted by :func:`count_pairs` in whitened coordinates u = L^-1 (x - mean), covariance = L L^T, where
    scipy's kernel (Scott's bandwidth n^(-1/6) times the covariance) is round, and are smoothed there.
    """

    def __init__(self, mean: NDArray[np.float64], covariance: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        self.mean, self.covariance = mean, covariance
        self.lower = np.linalg.cholesky(covariance)
        self.counts, self.n = counts[:-4].reshape(GRID, GRID), int(counts[-1])
        self.shares = [float(count / self.n) for count in counts[-4:-1]]
        """Of the points inside the confidence ellipses of 1, 2 and 3 sigma."""
        centres = (np.arange(GRID) + 0.5) * CELL - REACH
        self.whitened = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)

    @property
    def grid(self) -> NDArray[np.float64]:
        """Coordinates x and y of the grid's cells, (2, GRID, GRID), in latent units."""
        points = self.whitened[:, np.newaxis, :] @ self.lower.T
        return np.moveaxis(points.reshape(GRID, GRID, 2) + self.mean, -1, 0)

    @cached_property
    def density(self) -> NDArray[np.float64]:
        """(GRID, GRID), points per unit area, of all points together 1."""
        from scipy.ndimage import gaussian_filter

        # Counting in cells has itself smoothed by CELL^2 / 12.
        bandwidth = np.sqrt(max(float(self.n) ** (-1 / 3) - CELL * CELL / 12, 0.0))
        smooth = gaussian_filter(self.counts.astype(np.float64), bandwidth / CELL, mode="constant", truncate=5.0)
        return np.asarray(smooth / (self.n * CELL * CELL * abs(np.linalg.det(self.lower))))

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
        distance = np.square(self.whitened).sum(axis=1)
        ellipse = np.zeros(len(density), dtype=bool)
        ellipse[np.argsort(distance, kind="stable")[: int(region.sum())]] = True
        return float((region & ellipse).sum() / (region | ellipse).sum())

    def inner_core(self) -> dict[str, float]:
        """Moments of the inner core, the densest region that holds half of the mass.

        Pearson r inside it (0 for an upright or round core); the angle between its longer axis and the nearest
        coordinate axis, -45 to 45; its shorter axis over the longer (near 1 the tilt has no meaning); and the distance
        of its centre from the mean.
        """
        density = self.density.ravel()
        weights = np.where(density >= self.level(0.5), density, 0.0)
        weights /= weights.sum()
        centre = weights @ self.whitened
        offset = self.whitened - centre
        covariance = self.lower @ (offset.T @ (offset * weights[:, np.newaxis])) @ self.lower.T
        variances, axes = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        return {
            "inner_correlation": float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])),
            "tilt_degrees": float((angle + 45.0) % 90.0 - 45.0),
            "axis_ratio": float(np.sqrt(variances[0] / variances[1])),
            "offset_sigma": float(np.linalg.norm(centre)),
        }
