"""The densities of the strategies: against scipy, and against the rows that they draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import BENT, banana, require_density_of_draws
from numpy.typing import NDArray
from scipy import stats

from lsampler import LsamplerError, load_sampler
from lsampler.statistics import FWHM_PER_SIGMA
from lsampler.testing import checks_of

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
NORMALS: list[tuple[str, dict[str, Any]]] = [("gaussian", {}), ("multivariate-normal", {"temperature": 0.8})]
MIXTURES: list[tuple[str, dict[str, Any]]] = [
    ("gaussian-mixture", {"components": 3, "covariance": covariance, "coordinates": coordinates, "temperature": 0.7})
    for covariance in ("full", "diagonal")
    for coordinates in ("raw", "whitened")
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


@each([*WITH_DENSITY, *MIXTURES, ("flow", BENT)])
def test_in_one_and_two_dimensions_the_density_is_that_of_the_draws(name: str, parameters: dict[str, Any]) -> None:
    """The kit's check: of 20,000 draws a cell's share that is 2 % off is seen, and so is an integral of 0.98."""
    (check,) = (c for c in checks_of(load_sampler(name, **parameters)) if c.name == "density-is-of-the-draws")
    check()


@each([*NORMALS, *(case for case in WITH_DENSITY if case[1] != {"radius": 0.8})])
def test_in_four_dimensions_the_density_is_that_of_the_draws(name: str, parameters: dict[str, Any]) -> None:
    rows = banana(1000, 4)
    sampler = load_sampler(name, **parameters).fit(rows)
    require_density_of_draws(sampler, rows.mean(axis=0), 0.4)


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
