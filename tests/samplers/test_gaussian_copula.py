"""gaussian-copula: the components' distributions and the dependence between them."""

from __future__ import annotations

import numpy as np
import pytest
from distributions import ALPHA, banana
from numpy.typing import NDArray
from scipy import stats

from lsampler import load_sampler
from lsampler.store import MemoryStore


def test_every_principal_component_has_its_own_distribution() -> None:
    """Skew, two peaks, heavy tails. 5,000 data and 20,000 drawn: a distribution function 3 % off is seen."""
    rng = np.random.default_rng(8)
    peaks = rng.normal(size=5000) + rng.choice([-2, 2], size=5000)
    rows = np.stack([2 * rng.gamma(2, size=5000), peaks, 0.5 * rng.standard_t(5, size=5000)], axis=1)
    pca = MemoryStore(rows).statistics().pca
    z, normal = (
        pca.transform(load_sampler(name).fit(rows).sample(20_000, seed=1).numpy())
        for name in ("gaussian-copula", "multivariate-normal")
    )
    assert min(stats.ks_2samp(a, b).pvalue for a, b in zip(pca.transform(rows).T, z.T, strict=True)) > ALPHA
    assert max(stats.ks_2samp(a, b).pvalue for a, b in zip(pca.transform(rows).T, normal.T, strict=True)) < ALPHA


def test_correlations_of_normal_scores_are_those_of_the_data() -> None:
    """Scores from ranks, of 5,000 and 20,000: differences of 0.04 are seen.

    A few vectors far out in the other direction leave no correlation, but one of the scores.
    """
    rng = np.random.default_rng(4)
    rows = rng.multivariate_normal(np.zeros(2), [[1, 0.95], [0.95, 1]], 5000)
    rows[:100] = 6.8 * rng.normal(size=(100, 1)) * np.array([1, -1])
    rows[:, 0] *= 2
    pca = MemoryStore(rows).statistics().pca
    z = load_sampler("gaussian-copula").fit(rows).sample(20_000, seed=1).numpy()
    real, drawn = (
        np.corrcoef(stats.norm.ppf((stats.rankdata(pca.transform(part), axis=0) - 0.5) / len(part)).T)[0, 1]
        for part in (rows.astype(np.float32), z)
    )
    assert abs(real) > 0.6
    assert drawn == pytest.approx(real, abs=0.04)


def test_on_normal_data_it_is_the_normal(correlated: NDArray[np.float32]) -> None:
    copula, normal = (
        load_sampler(name).fit(correlated[:3000]).log_prob(correlated[3000:])
        for name in ("gaussian-copula", "multivariate-normal")
    )
    assert copula.mean() == pytest.approx(normal.mean(), abs=0.15)
    assert np.corrcoef(copula, normal)[0, 1] > 0.95


def test_an_outlier_leaves_the_dependence_as_it_is() -> None:
    rows = banana(2000, 2)
    with_outlier = np.concatenate([rows, [[1e3, 1e3]]])
    state = load_sampler("gaussian-copula").fit(with_outlier).state
    pca = MemoryStore(with_outlier).statistics().pca
    real = stats.spearmanr(pca.transform(with_outlier)).statistic
    assert (state["cholesky"] @ state["cholesky"].T)[0, 1] == pytest.approx(real, abs=0.15)
