"""kde: its density against scipy, and the bandwidth that it chooses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from distributions import banana
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from lsampler import load_sampler
from lsampler.store import MemoryStore


@pytest.mark.parametrize("dimension", [1, 3])
def test_the_density_is_scipys_of_shrunk_vectors(dimension: int) -> None:
    rows = banana(5000, dimension).astype(np.float64)  # more than a chunk
    h, mean = 0.4, rows.mean(axis=0)
    shrunk = mean + math.sqrt(1 - h * h) * (rows - mean)
    truth = stats.gaussian_kde(shrunk.T, bw_method=h / math.sqrt(1 - h * h))
    fresh = banana(200, dimension, seed=6)
    np.testing.assert_allclose(
        load_sampler("kde", bandwidth=h).fit(rows).log_prob(fresh), truth.logpdf(fresh.T), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("parameters", [{}, {"bandwidth": 0.2}, {"bandwidth": 1.0}])
def test_the_covariance_is_kept(parameters: dict[str, float], correlated: NDArray[np.float32]) -> None:
    z = load_sampler("kde", **parameters).fit(correlated).sample(40_000, seed=2).double().numpy()
    truth = np.cov(correlated.T.astype(np.float64))
    assert np.abs(np.cov(z.T) - truth).max() < 0.05 * np.diag(truth).max()


def test_the_bandwidth_has_the_largest_leave_one_out_likelihood() -> None:
    rows = banana(300, 2)
    chosen = float(load_sampler("kde").fit(rows).state["h"])
    statistics = MemoryStore(rows).statistics()
    white = statistics.pca.transform(rows) / np.sqrt(statistics.pca.variances)

    def likelihood(h: float) -> float:
        exponents = -cdist(white, math.sqrt(1 - h * h) * white, "sqeuclidean") / (2 * h * h)
        np.fill_diagonal(exponents, -np.inf)
        return float((logsumexp(exponents, axis=1) - 2 * math.log(h)).mean())

    grid = np.exp(np.linspace(math.log(0.05), 0, 120))
    best = grid[np.argmax([likelihood(h) for h in grid])]
    assert chosen == pytest.approx(best, rel=0.03)
    assert likelihood(chosen) >= max(likelihood(0.9 * chosen), likelihood(1.1 * chosen))


def test_the_bandwidth_suits_the_data() -> None:
    """Nothing is lost by a wide kernel on normal data; two narrow peaks far apart need a narrow one."""
    rng = np.random.default_rng(3)
    normal = rng.normal(size=(1000, 5))
    peaks = 0.05 * rng.normal(size=(1000, 1)) + rng.choice([-1, 1], size=(1000, 1))
    wide, narrow = (float(load_sampler("kde").fit(rows).state["h"]) for rows in (normal, peaks))
    assert wide > 0.85
    assert 0.01 < narrow < 0.05
