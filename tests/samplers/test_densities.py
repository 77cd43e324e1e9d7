"""The densities of the strategies: against scipy, and against the rows that they draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import ALPHA, banana
from numpy.typing import NDArray
from scipy import stats

from lsampler import FWHM_PER_SIGMA, LsamplerError, load_sampler

MIXTURE: dict[str, Any] = {"direction": "mixture", "mixture_components": 3}
WITH_DENSITY: list[tuple[str, dict[str, Any]]] = [
    ("elliptical", {}),
    ("elliptical", {"temperature": 0.7}),
    ("elliptical", {"trim": 1.0}),
    ("elliptical", MIXTURE),
    ("truncated-normal", {}),
    ("truncated-normal", {"radius": 0.8}),
    ("truncated-normal", {"distribution": "uniform"}),
    ("gaussian-copula", {}),
    ("kde", {}),
    ("kde", {"bandwidth": 0.3}),
]
BOUNDED: list[tuple[str, dict[str, Any]]] = [
    ("uniform-cube", {"b": 0.1}),
    ("component-uniform", {}),
    ("pca-ellipse", {"trim": None}),
    ("truncated-normal", {"share": 0.5}),
    ("truncated-normal", {"distribution": "uniform"}),
]


def each(cases: list[tuple[str, dict[str, Any]]]) -> Any:
    return pytest.mark.parametrize(("name", "parameters"), cases, ids=[" ".join(map(str, case)) for case in cases])


@pytest.fixture
def latents() -> NDArray[np.float64]:
    rng = np.random.default_rng(60)
    rows = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4)) + [3, 0, -2, 1]
    return rows.astype(np.float32).astype(np.float64)


@each(WITH_DENSITY)
def test_in_the_plane_the_density_is_that_of_the_draws(name: str, parameters: dict[str, Any]) -> None:
    """Chi-squared of 30,000 draws over some 150 cells: it sees cells of 2 % probability that are 15 % off."""
    sampler = load_sampler(name, **parameters).fit(banana(400, 2))
    z = sampler.sample(30_000, seed=3).double().numpy()
    cells, fine = 24, 12
    edges = [np.linspace(low - 1e-3, high + 1e-3, cells + 1) for low, high in zip(z.min(0), z.max(0), strict=True)]
    # One random point in each of 12 x 12 parts of a cell: densities with steps are integrated without bias.
    count = cells * fine
    parts = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), axis=-1).reshape(-1, 2)
    low, extent = (np.array([f(e) for e in edges]) for f in (lambda e: e[0], lambda e: e[-1] - e[0]))
    points = low + extent * (parts + np.random.default_rng(1).uniform(size=parts.shape)) / count
    density = np.exp(sampler.log_prob(points)) * np.prod(extent / count)
    share = density.reshape(cells, fine, cells, fine).sum(axis=(1, 3)).ravel()
    # The box holds all draws, so all but a few 1/30,000 of the probability.
    assert share.sum() == pytest.approx(1, abs=4e-3)
    seen = np.histogram2d(z[:, 0], z[:, 1], bins=edges)[0].ravel()
    common = share * len(z) >= 10
    observed = np.append(seen[common], seen[~common].sum())
    expected = np.append(share[common], 1 - share[common].sum()) * len(z)
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > ALPHA


@each([case for case in WITH_DENSITY if case[1] != {"radius": 0.8}])
def test_in_four_dimensions_the_density_is_that_of_the_draws(name: str, parameters: dict[str, Any]) -> None:
    """E_p[q(z) / p(z)] is, for z from p and any density q, the share of q in p's support.

    Within 5 standard errors of the mean over 20,000 draws, at most 15 %: it sees a wrong power of the radius, volume
    or determinant.
    """
    rows = banana(1000, 4)
    sampler = load_sampler(name, **parameters).fit(rows)
    z = sampler.sample(20_000, seed=4).double().numpy()
    inner = stats.multivariate_normal(rows.mean(axis=0), 0.4 * np.cov(z.T), seed=5)
    inside = np.isfinite(sampler.log_prob(inner.rvs(2000))).mean()
    assert inside > 0.95
    ratio = np.exp(inner.logpdf(z) - sampler.log_prob(z))
    error = ratio.std() / np.sqrt(len(z))
    assert error < 0.03
    assert abs(ratio.mean() - inside) < 5 * error


@each(BOUNDED)
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_every_drawn_row_has_a_density_wherever_the_data_are(
    name: str, parameters: dict[str, Any], offset: float
) -> None:
    """Regression: draws that single precision rounded beyond the bound had a density of 0."""
    sigma = np.array([1.0, 3.0, 0.5])
    rows = sigma * (np.random.default_rng(3).normal(size=(5000, 3)) + offset * np.array([1, -1, 1]))
    sampler = load_sampler(name, **parameters).fit(rows)
    drawn = sampler.sample(200_000, seed=1)
    assert np.isfinite(sampler.log_prob(drawn)).all()
    far = rows.mean(axis=0) + 8 * sigma if name != "uniform-cube" else np.full(3, 0.2)
    assert sampler.log_prob(far[np.newaxis]) == -np.inf


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_normals_have_the_density_of_scipy(latents: NDArray[np.float64], temperature: float) -> None:
    mean, covariance = latents.mean(axis=0), np.cov(latents, rowvar=False) * temperature**2
    for name, expected in (("multivariate-normal", covariance), ("gaussian", np.diag(np.diag(covariance)))):
        found = load_sampler(name, temperature=temperature).fit(latents).log_prob(latents[:50])
        np.testing.assert_allclose(found, stats.multivariate_normal(mean, expected).logpdf(latents[:50]), rtol=1e-5)


def test_uniform_strategies_have_one_over_their_volume(latents: NDArray[np.float64]) -> None:
    cube = load_sampler("uniform-cube", b=1.5).fit(latents)
    np.testing.assert_allclose(cube.log_prob(np.zeros((1, 4))), -4 * np.log(3))
    assert cube.log_prob(np.full((1, 4), 1.6)) == -np.inf
    box = load_sampler("component-uniform", fact=0.5).fit(latents)
    edges = FWHM_PER_SIGMA * latents.std(axis=0, ddof=1)
    np.testing.assert_allclose(box.log_prob(latents.mean(axis=0)[None]), -np.log(edges).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("line-path", {}, "line-path has no density"),
        ("neighbour-interpolation", {}, "neighbour-interpolation has no density"),
        ("multivariate-normal", {"components": 2}, "draws in 2 of 4 dimensions: there is no density"),
        ("pca-ellipse", {"components": 2}, "draws in 2 of 4 dimensions: there is no density"),
        ("pca-ellipse", {"components": 4, "method": "iteration"}, "with `method=exact` only"),
    ],
)
def test_a_strategy_without_a_density_says_so(
    latents: NDArray[np.float64], name: str, parameters: dict[str, object], reason: str
) -> None:
    with pytest.raises(LsamplerError, match=reason):
        load_sampler(name, **parameters).fit(latents).log_prob(latents[:3])


@pytest.mark.parametrize("name", ["multivariate-normal", "elliptical", "kde"])
def test_a_flat_covariance_is_refused_with_the_fix(name: str) -> None:
    """A constant component, and one that is the sum of others; with fewer components it draws in their plane."""
    rows = banana(200, 4).astype(np.float64)
    rows[:, 1], rows[:, 2] = 7.0, rows[:, 0] + rows[:, 3]
    with pytest.raises(LsamplerError, match="component 1 is constant"):
        load_sampler(name, trim=1.0).fit(rows)
    with pytest.raises(LsamplerError, match=r"rank 2, .* components=2"):
        load_sampler(name).fit(rows)
    sampler = load_sampler(name, components=2).fit(rows)
    z = sampler.sample(500).double().numpy()
    np.testing.assert_allclose(z[:, 1], 7.0, atol=1e-4)
    np.testing.assert_allclose(z[:, 2], z[:, 0] + z[:, 3], atol=1e-4)
    with pytest.raises(LsamplerError, match="2 of 4 dimensions: there is no density"):
        sampler.log_prob(z)
