"""Sets of vectors (n, D) float64, each from one line of mathematics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]
Rng = np.random.Generator

# The paper's ten centres, which it drew once.
CENTRES: Rows = np.array(
    [
        (5.46794328, -4.08481523),
        (4.87211875, -13.64864684),
        (-16.39432073, 9.09802249),
        (-2.15447941, 12.46200019),
        (11.55784483, -4.96049923),
        (-24.60558474, 14.18020818),
        (16.84215967, -3.18710751),
        (-5.47807206, -6.77247129),
        (9.46726546, 1.05922347),
        (-5.40346201, -17.29490131),
    ]
)


def normal(rng: Rng, n: int, dimension: int, mean: ArrayLike = 0.0, std: ArrayLike = 1.0) -> Rows:
    """Independent normals; ``mean`` and ``std`` are one number or one per component."""
    return np.asarray(mean) + np.asarray(std) * rng.standard_normal((n, dimension))


def mixture(rng: Rng, n: int, centres: Rows, std: float, weights: Sequence[float] | Rows) -> Rows:
    """Round normals of one size around ``centres`` (k, D), which are chosen with probabilities ``weights``."""
    share = np.asarray(weights, dtype=np.float64)
    chosen = rng.choice(len(centres), size=n, p=share / share.sum())
    return normal(rng, n, centres.shape[1], centres[chosen], std)


def on_diagonal(positions: ArrayLike, dimension: int) -> Rows:
    """Centres (k, D) all of whose components are equal to their position."""
    return np.repeat(np.asarray(positions, dtype=np.float64)[:, np.newaxis], dimension, axis=1)


def cube(rng: Rng, n: int, dimension: int, corner: float = 0.0) -> Rows:
    """Uniform in the cube of side 1 with this corner nearest to the origin."""
    return corner + rng.random((n, dimension))


def sphere(rng: Rng, n: int, dimension: int, radius: float = 1.0) -> Rows:
    """Uniform on the surface."""
    directions = rng.standard_normal((n, dimension))
    result: Rows = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return result


def ball(rng: Rng, n: int, dimension: int, radius: float = 1.0) -> Rows:
    """Uniform inside: the radius to the power of D is uniform."""
    return sphere(rng, n, dimension) * (radius * rng.random((n, 1)) ** (1 / dimension))


def torus(rng: Rng, n: int, tube: float = 0.1) -> Rows:
    """A disc of radius ``tube`` at distance 1 from the third axis, turned around it by uniform angles."""
    disc, angle = ball(rng, n, 2, tube), rng.uniform(0, 2 * np.pi, n)
    outwards = 1 + disc[:, 0]
    return np.stack([outwards * np.cos(angle), outwards * np.sin(angle), disc[:, 1]], axis=1)


def heavy_tailed(rng: Rng, n: int, mean: float, exponent: float = 1.01) -> Rows:
    """A normal component beside a Pareto component from 1, whose mean hardly exists."""
    return np.stack([mean + rng.standard_normal(n), 1 + rng.pareto(exponent, n)], axis=1)


def standardised(real: Rows, rows: Rows) -> Rows:
    """Vectors in units in which the real ones have mean 0 and standard deviation 1 in each component."""
    std = real.std(axis=0)
    result: Rows = (rows - real.mean(axis=0)) / np.where(std == 0, 1, std)
    return result
