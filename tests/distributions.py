"""Latent vectors of known shapes, which the tests of strategies share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lsampler.samplers import LatentSampler

ALPHA = 1e-3
"""Level of every test of a distribution. Seeds are fixed, so a passing test stays passing; each states its power."""
BLOCK_ROWS = 2048
BENT: dict[str, Any] = {"kind": "neural-spline", "dropout": 0.1, "learning_rate": 3e-3, "hidden": 32, "max_epochs": 20}
"""Parameters of a small flow that learns bent data quickly."""


def require_density_of_draws(sampler: LatentSampler, centre: NDArray[Any], width: float) -> None:
    """E_p[q(z) / p(z)] is, for z from p and any density q, the share of q in p's support.

    q is a normal at ``centre`` whose covariance is that of the draws times ``width``. Within 5 standard errors of the
    mean over 20,000 draws, at most 15 %: it sees a wrong power of the radius, volume or determinant.
    """
    z = sampler.sample(20_000, seed=4).double().numpy()
    inner = stats.multivariate_normal(centre, width * np.cov(z.T), seed=5)
    inside = np.isfinite(sampler.log_prob(inner.rvs(2000))).mean()
    assert inside > 0.95
    ratio = np.exp(inner.logpdf(z) - sampler.log_prob(z))
    error = ratio.std() / np.sqrt(len(z))
    assert error < 0.03
    assert abs(ratio.mean() - inside) < 5 * error


def banana(n: int, dimension: int, seed: int = 5) -> NDArray[np.float32]:
    """Bent, skew and heavy-tailed vectors off the origin, which violate the assumptions of all strategies."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dimension)) * np.exp(0.3 * rng.normal(size=(n, 1)))
    x[:, 0] = np.where(rng.uniform(size=n) < 0.3, x[:, 0] - 3, np.exp(0.5 * x[:, 0]))
    x[:, -1] += 0.3 * (x[:, 0] + 1) ** 2 * (dimension > 1)
    return (x * np.linspace(3, 0.5, dimension) + 2).astype(np.float32)


def three_clusters(n: int, seed: int, d: int = 3) -> NDArray[np.float32]:
    """A quarter, a quarter and a half of the rows around three centres, each with correlations of its own."""
    rng = np.random.default_rng(seed)
    of = rng.choice(3, n, p=[0.25, 0.25, 0.5])
    shape = np.random.default_rng(60)
    centres, mixing = 6 * shape.normal(size=(3, d)), shape.normal(size=(3, d, d))
    return (centres[of] + np.einsum("ni,nij->nj", rng.normal(size=(n, d)), mixing[of])).astype(np.float32)


def moons(n: int, seed: int) -> NDArray[np.float32]:
    """Two arcs that interlock, off the origin and of unequal units."""
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi, n), rng.integers(2, size=n)
    x = np.where(side, 1 - np.cos(angle), np.cos(angle)) + 0.1 * rng.normal(size=n)
    y = np.where(side, 0.5 - np.sin(angle), np.sin(angle)) + 0.1 * rng.normal(size=n)
    return np.column_stack([3 * x + 5, 0.5 * y - 2]).astype(np.float32)


def odd_units() -> dict[str, NDArray[np.float32]]:
    """Correlated vectors (1200, 6) with dead units, repeated components, units of very unequal size, or an outlier."""
    rng = np.random.default_rng(70)
    plain = rng.normal(size=(1200, 6)) @ (np.eye(6) + 0.3 * rng.normal(size=(6, 6))) + rng.normal(size=6)
    dead, dead_units, repeated, both, outlier = (plain.copy() for _ in range(5))
    dead[:, 3] = 0.0
    dead_units[:, [1, 2, 5]] = 0.0, 2.7, -1e4
    repeated[:, 4] = 1 - 3 * repeated[:, 1]
    both[:, 4], both[:, 0] = both[:, 1], 0.1
    outlier[7, 2] = 1e6
    units = {
        "a dead unit": dead,
        "dead units": dead_units,
        "a repeated component": repeated,
        "both": both,
        "a large unit": plain * np.array([1, 1, 1, 1, 4e4, 1]),
        "all units": plain * 10.0 ** np.array([2, -6, 6, 0, -3, 4]),
        "far from the origin": 1e4 + 0.01 * plain,
        "an outlier": outlier,
    }
    return {name: rows.astype(np.float32) for name, rows in units.items()}
