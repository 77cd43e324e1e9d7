"""The strategies beyond the posts, against independent computations."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from lsampler import (
    Bundle,
    ConvAutoencoder,
    LatentSampler,
    LatentStore,
    LsamplerError,
    MemoryStore,
    load_sampler,
)
from lsampler.bundles.bundle import RADII, build_bundle
from lsampler.safetensors_files import read_safetensors, write_safetensors
from lsampler_plugins.samplers.elliptical import log_radial_integral
from lsampler_plugins.samplers.truncated_normal import KNOTS, REACH

ALPHA = 1e-3
MIXTURE: dict[str, Any] = {"direction": "mixture", "mixture_components": 3}
WITH_DENSITY: list[tuple[str, dict[str, Any]]] = [
    ("elliptical", {}),
    ("elliptical", {"temperature": 0.7}),
    ("elliptical", MIXTURE),
    ("truncated-normal", {}),
    ("truncated-normal", {"radius": 0.8}),
    ("truncated-normal", {"distribution": "uniform"}),
    ("gaussian-copula", {}),
    ("kde", {}),
    ("kde", {"bandwidth": 0.3}),
]
BEYOND = [*WITH_DENSITY, ("neighbour-interpolation", {}), ("neighbour-interpolation", {"space": "whitened"})]


def each(cases: list[tuple[str, dict[str, Any]]]) -> Any:
    return pytest.mark.parametrize(("name", "parameters"), cases, ids=[" ".join(map(str, case)) for case in cases])


def banana(n: int, dimension: int, seed: int = 5) -> NDArray[np.float32]:
    """Bent, skew and heavy-tailed: nothing that any of the strategies assumes; the centre off the origin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dimension)) * np.exp(0.3 * rng.normal(size=(n, 1)))
    x[:, 0] = np.where(rng.uniform(size=n) < 0.3, x[:, 0] - 3, np.exp(0.5 * x[:, 0]))
    x[:, -1] += 0.3 * (x[:, 0] + 1) ** 2 * (dimension > 1)
    return (x * np.linspace(3, 0.5, dimension) + 2).astype(np.float32)


@each(WITH_DENSITY)
def test_on_a_line_the_density_is_that_of_what_is_drawn(name: str, parameters: dict[str, Any]) -> None:
    """Kolmogorov-Smirnov with 20,000 draws: it sees a distribution function that is 1.4 % off anywhere."""
    sampler = load_sampler(name, **parameters).fit(banana(400, 1))
    z = sampler.sample(20_000, seed=2).double().numpy()[:, 0]
    reach = np.abs(z).max() * 3
    grid = np.linspace(-reach, reach, 20_001)
    density = np.exp(sampler.log_prob(grid[:, np.newaxis]))
    cumulated = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])
    assert cumulated[-1] == pytest.approx(1, abs=2e-3)
    assert stats.kstest(z, lambda x: np.interp(x, grid, cumulated)).pvalue > ALPHA


@each(WITH_DENSITY)
def test_in_the_plane_the_density_is_that_of_what_is_drawn(name: str, parameters: dict[str, Any]) -> None:
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
def test_in_four_dimensions_the_density_is_that_of_what_is_drawn(name: str, parameters: dict[str, Any]) -> None:
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


@each(BEYOND)
def test_a_saved_one_is_the_same(name: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    rows = banana(300, 3)
    sampler = load_sampler(name, **parameters).fit(rows)
    sampler.save(tmp_path / "fitted.safetensors")
    loaded = LatentSampler.load(tmp_path / "fitted.safetensors")
    assert loaded.settings() == sampler.settings()
    assert torch.equal(loaded.sample(2100, seed=1), sampler.sample(2100, seed=1))
    if sampler.has_density():
        np.testing.assert_array_equal(loaded.log_prob(rows), sampler.log_prob(rows))


@each(BEYOND)
def test_the_same_seed_gives_the_same_rows_and_more_keep_the_first(name: str, parameters: dict[str, Any]) -> None:
    first, again = (load_sampler(name, **parameters).fit(banana(300, 3)) for _ in range(2))
    many = first.sample(4200, seed=9, threads=1)
    assert torch.equal(again.sample(2050, seed=9, threads=3), many[:2050])
    assert not torch.equal(first.sample(5, seed=8), many[:5])
    again.fit(banana(400, 2)).fit(banana(300, 3))
    assert torch.equal(again.sample(5, seed=9), many[:5])


@each(BEYOND)
@pytest.mark.parametrize(("n", "dimension"), [(2, 1), (3, 1), (3, 2), (6, 2), (12, 5), (40, 39)])
def test_few_vectors_do_or_are_refused_in_one_line(
    name: str, parameters: dict[str, Any], n: int, dimension: int
) -> None:
    sampler = load_sampler(name, **parameters)
    rows = np.random.default_rng(n).normal(size=(n, dimension)) + 3
    if (name == "neighbour-interpolation" and n < 6) or (parameters == MIXTURE and n < 3):
        with pytest.raises(LsamplerError, match=r"^[^\n]*: \d vectors[^\n]*$"):
            sampler.fit(rows)
        return
    sampler.fit(rows)
    z = sampler.sample(3000)
    assert bool(torch.isfinite(z).all())
    if sampler.has_density():
        assert np.isfinite(sampler.log_prob(z[:500])).all()
        assert not np.isnan(sampler.log_prob(np.array([rows.mean(axis=0), rows[0], rows[0] + 1e4]))).any()


@each(BEYOND)
def test_one_vector_is_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(LsamplerError, match=r"1 latent vectors|1 vectors"):
        load_sampler(name, **parameters).fit(np.ones((1, 3)))


@each(WITH_DENSITY)
def test_a_flat_covariance_is_refused_with_the_mend(name: str, parameters: dict[str, Any]) -> None:
    """A constant component, and one that is the sum of others; with fewer components it draws, in their plane."""
    rows = banana(200, 4).astype(np.float64)
    rows[:, 1], rows[:, 2] = 7.0, rows[:, 0] + rows[:, 3]
    with pytest.raises(LsamplerError, match=r"rank 2, .* --param components=2"):
        load_sampler(name, **parameters).fit(rows)
    sampler = load_sampler(name, components=2, **parameters).fit(rows)
    z = sampler.sample(500).double().numpy()
    np.testing.assert_allclose(z[:, 1], 7.0, atol=1e-4)
    np.testing.assert_allclose(z[:, 2], z[:, 0] + z[:, 3], atol=1e-4)
    with pytest.raises(LsamplerError, match="2 of 4 dimensions: there is no density"):
        sampler.log_prob(z)


def test_interpolation_does_not_mind_a_flat_covariance() -> None:
    rows = banana(200, 4)
    rows[:, 1] = 7.0
    for space in ("raw", "whitened"):
        z = load_sampler("neighbour-interpolation", space=space).fit(rows).sample(50)
        assert bool((z[:, 1] == 7.0).all())


@each(BEYOND)
def test_repeated_vectors_do(name: str, parameters: dict[str, Any]) -> None:
    rows = np.repeat(banana(20, 2), 30, axis=0)
    sampler = load_sampler(name, **parameters).fit(rows)
    z = sampler.sample(500)
    assert bool(torch.isfinite(z).all())
    if sampler.has_density():
        assert np.isfinite(sampler.log_prob(z)).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("elliptical", {"direction": "sideways"}),
        ("elliptical", {"mixture_components": 0}),
        ("elliptical", {"temperature": 0}),
        ("truncated-normal", {"share": 1.0}),
        ("truncated-normal", {"share": 0.0}),
        ("truncated-normal", {"radius": -1}),
        ("truncated-normal", {"distribution": "cauchy"}),
        ("gaussian-copula", {"components": 0}),
        ("kde", {"bandwidth": 0}),
        ("kde", {"bandwidth": 1.5}),
        ("kde", {"judges": 0}),
        ("neighbour-interpolation", {"k": 0}),
        ("neighbour-interpolation", {"space": "outer"}),
        ("neighbour-interpolation", {"most": 1}),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(LsamplerError, match=f"^{name}: {next(iter(parameters))}=.* is not valid: give [^\n]*$"):
        load_sampler(name, **parameters)


class TestElliptical:
    def radii(self, z: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
        statistics = MemoryStore(rows).statistics()
        solved = np.linalg.solve(statistics.covariance, (np.asarray(z, dtype=np.float64) - statistics.mean).T)
        radii: NDArray[np.float64] = np.sqrt(((np.asarray(z, dtype=np.float64) - statistics.mean).T * solved).sum(0))
        return radii

    @pytest.mark.parametrize("parameters", [{}, MIXTURE])
    def test_radii_are_those_of_the_data(self, parameters: dict[str, Any]) -> None:
        """Two samples of 5,000 and 20,000: a distribution function 3 % off is seen."""
        rows = banana(5000, 9)
        z = load_sampler("elliptical", **parameters).fit(rows).sample(20_000, seed=1).numpy()
        assert stats.ks_2samp(self.radii(z, rows), self.radii(rows, rows)).pvalue > ALPHA
        warm = load_sampler("elliptical", temperature=2, **parameters).fit(rows).sample(20_000, seed=1).numpy()
        np.testing.assert_allclose(self.radii(warm, rows), 2 * self.radii(z, rows), rtol=1e-4)

    def test_a_radius_with_sharp_ends_keeps_them(self) -> None:
        """Radii of 1 to 3 at D = 4: quantiles within 2 % of the data's, where a log-normal is 20 % off."""
        rng = np.random.default_rng(9)
        rows = rng.normal(size=(5000, 4))
        rows *= rng.uniform(1, 3, size=(5000, 1)) / np.linalg.norm(rows, axis=1, keepdims=True)
        z = load_sampler("elliptical").fit(rows).sample(20_000, seed=1).numpy()
        levels = [0.005, 0.05, 0.5, 0.95, 0.995]
        real, drawn = (np.quantile(self.radii(part, rows), levels) for part in (rows, z))
        np.testing.assert_allclose(drawn, real, rtol=0.02)

    def test_directions_are_uniform_and_independent_of_the_radius(self, correlated: NDArray[np.float32]) -> None:
        """Covariance within 5 % of the data's; |r| between any cosine squared and the radius below 5 / sqrt(n)."""
        z = load_sampler("elliptical").fit(correlated).sample(40_000, seed=2).double().numpy()
        statistics = MemoryStore(correlated).statistics()
        scale = np.outer(statistics.std, statistics.std)
        assert np.abs(np.cov(z.T) - statistics.covariance).max() < 0.05 * scale.max()
        white = statistics.pca.transform(z) / np.sqrt(statistics.pca.variances)
        radius = np.linalg.norm(white, axis=1)
        for cosine in (white / radius[:, np.newaxis]).T:
            assert stats.kstest((1 + cosine) / 2, stats.beta(5.5, 5.5).cdf).pvalue > ALPHA
            assert abs(np.corrcoef(cosine**2, radius)[0, 1]) < 5 / np.sqrt(len(z))

    def test_comes_near_the_multivariate_t_that_made_the_data(self) -> None:
        """Mean log densities of new vectors: the truth's is the best; a normal loses 0.6 here, this less than 0.1."""
        truth = stats.multivariate_t(np.arange(6.0), np.diag(np.arange(1.0, 7.0)), df=5, seed=3)
        rows, fresh = truth.rvs(8000), truth.rvs(4000)
        loss = {
            name: truth.logpdf(fresh).mean() - load_sampler(name).fit(rows).log_prob(fresh).mean()
            for name in ("elliptical", "multivariate-normal")
        }
        assert -0.02 < loss["elliptical"] < 0.1
        assert loss["multivariate-normal"] > 0.3

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-10, 10))
    def test_is_affine_equivariant(self, seed: int, scale: float, shift: float) -> None:
        """Fitted to A z + b, it has the density of what it has fitted to z, times 1 / |det A|."""
        rng = np.random.default_rng(seed)
        z = rng.standard_t(4, size=(300, 3))
        matrix, offset = scale * (np.eye(3) + 0.3 * rng.normal(size=(3, 3))), shift * rng.normal(size=3)
        if np.linalg.cond(matrix) > 30:
            return  # single precision loses too much
        plain = load_sampler("elliptical").fit(z).log_prob(z[:50])
        moved = load_sampler("elliptical").fit(z @ matrix.T + offset).log_prob(z[:50] @ matrix.T + offset)
        np.testing.assert_allclose(moved, plain - np.linalg.slogdet(matrix)[1], atol=2e-2)

    def test_the_density_is_positive_far_out_and_nought_at_the_centre(self) -> None:
        rows = banana(500, 3)
        sampler = load_sampler("elliptical").fit(rows)
        mean = MemoryStore(rows).statistics().mean
        found = sampler.log_prob(mean + np.array([[1e3], [1e-5], [0.0]]))
        assert np.isfinite(found[:2]).all()
        assert found[2] == -np.inf

    @pytest.mark.parametrize("q", [1, 2, 7, 256])
    def test_the_radial_integral_agrees_with_quadrature(self, q: int) -> None:
        for beta in (-80.0, -3.0, 0.0, 1.0, 12.0, 90.0):
            mode = (beta + math.sqrt(beta**2 + 4 * q)) / 2

            def relative(t: float, beta: float = beta, mode: float = mode) -> float:
                return math.exp((q - 1) * math.log(t / mode) - (t * t - mode * mode) / 2 + beta * (t - mode))

            width = 1 / math.sqrt(1 + q / mode**2)
            parts = np.maximum(mode + width * np.array([-60, -12, -4, 0, 4, 12, 60]), 1e-300)
            whole = sum(quad(relative, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in pairwise(parts))
            expected = math.log(whole) + (q - 1) * math.log(mode) - mode * mode / 2 + beta * mode
            (found,) = log_radial_integral(torch.tensor([beta], dtype=torch.float64), q)
            assert float(found) == pytest.approx(expected, abs=1e-8)

    def test_the_mixture_finds_directions_that_the_normal_misses(self) -> None:
        """Two bunches of directions at any radius; new vectors are likelier by more than 0.2 nats."""
        rng = np.random.default_rng(7)
        side = rng.normal(size=(6000, 8)) * 0.3
        side[:, 0] += rng.choice([-1.0, 1.0], size=6000)
        rows = side * np.exp(0.4 * rng.normal(size=(6000, 1)))
        normal, mixture = (
            load_sampler("elliptical", **parameters).fit(rows[:4000]).log_prob(rows[4000:]).mean()
            for parameters in ({}, {"direction": "mixture", "mixture_components": 2})
        )
        assert mixture > normal + 0.2

    def test_a_mixture_of_one_normal_is_the_normal(self) -> None:
        """With mean 0 and unit covariance its directions are uniform: both densities agree to the noise of the fit."""
        rows = np.random.default_rng(1).normal(size=(4000, 5))
        normal, mixture = (
            load_sampler("elliptical", **parameters).fit(rows).log_prob(rows[:500])
            for parameters in ({}, {"direction": "mixture", "mixture_components": 1})
        )
        np.testing.assert_allclose(mixture, normal, atol=0.15)
        assert not np.array_equal(mixture, normal)

    def test_the_mixture_is_a_function_of_its_seed(self) -> None:
        rows = banana(300, 4)
        one, same, other = (load_sampler("elliptical", seed=seed, **MIXTURE).fit(rows).sample(9) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


class TestRadiusQuantiles:
    def test_agree_with_mahalanobis_distances(self, correlated: NDArray[np.float32]) -> None:
        reference = MemoryStore(correlated)
        levels, radii = reference.radius_quantiles()
        rows = correlated.astype(np.float64)
        offset = rows - rows.mean(axis=0)
        expected = np.sqrt(np.einsum("nd,de,ne->n", offset, np.linalg.inv(np.cov(rows.T)), offset))
        assert levels[70] == 0.5
        assert radii[70] == pytest.approx(np.median(expected), rel=1e-6)
        np.testing.assert_allclose(radii, np.quantile(expected, levels, method="hazen"), rtol=1e-6)
        assert reference.radius_quantiles() is reference.radius_quantiles(12)

    def test_of_leading_components(self, correlated: NDArray[np.float32]) -> None:
        reference = MemoryStore(correlated)
        pca = reference.statistics().pca
        white = pca.transform(correlated, 3) / np.sqrt(pca.variances[:3])
        _, radii = reference.radius_quantiles(3)
        assert radii[70] == pytest.approx(np.median(np.linalg.norm(white, axis=1)), rel=1e-6)
        with pytest.raises(LsamplerError, match="components=13 is more"):
            reference.radius_quantiles(13)

    @pytest.fixture
    def tiny_bundle(self, tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
        return build_bundle("tiny", tiny_model, tiny_store, [], [])

    def test_a_bundle_remembers_them(self, tiny_bundle: Bundle, tiny_store: LatentStore, tmp_path: Path) -> None:
        tiny_bundle.save(tmp_path / "tiny.safetensors")
        loaded = Bundle.load(tmp_path / "tiny.safetensors")
        np.testing.assert_array_equal(loaded.reference.radius_quantiles(), tiny_store.radius_quantiles())
        np.testing.assert_array_equal(
            load_sampler("elliptical").fit(loaded).sample(50), load_sampler("elliptical").fit(tiny_store).sample(50)
        )
        with pytest.raises(LsamplerError, match=r"in 3 components; .*, or leave out `components=3`"):
            load_sampler("elliptical", components=3).fit(loaded)
        with pytest.raises(LsamplerError, match="tiny holds statistics only, no latent vectors; give"):
            load_sampler("elliptical", **MIXTURE).fit(loaded)

    def test_an_older_bundle_loads_and_says_that_it_lacks_them(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        tiny_bundle.save(tmp_path / "new.safetensors")
        metadata, tensors = read_safetensors(tmp_path / "new.safetensors")
        del tensors[RADII]
        write_safetensors(tmp_path / "old.safetensors", tensors, metadata)
        old = Bundle.load(tmp_path / "old.safetensors")
        assert load_sampler("multivariate-normal").fit(old).sample(3).shape == (3, 6)
        with pytest.raises(LsamplerError, match=r"^tiny knows no quantiles of the radius[^\n]*; give `store=...`$"):
            load_sampler("elliptical").fit(old)
        old.save(tmp_path / "again.safetensors")  # what it lacks it does not invent
        assert RADII not in read_safetensors(tmp_path / "again.safetensors")[1]


class TestTruncatedNormal:
    @pytest.mark.parametrize("parameters", [{"share": 0.5}, {"share": 0.999}, {"radius": 0.3}, {"radius": 4.0}])
    def test_on_a_line_it_is_scipy_s(self, parameters: dict[str, float]) -> None:
        rows = np.random.default_rng(2).normal(3, 2, size=(900, 1))
        sampler = load_sampler("truncated-normal", **parameters).fit(rows)
        mean, sigma = rows.mean(), rows.std(ddof=1)
        reach = parameters.get("radius", stats.norm.ppf((1 + parameters.get("share", 0)) / 2))
        truth = stats.truncnorm(-reach, reach, loc=mean, scale=sigma)
        z = np.linspace(-10, 20, 2001)
        np.testing.assert_allclose(sampler.log_prob(z[:, np.newaxis]), truth.logpdf(z), rtol=1e-5)
        # 20,000 draws see a distribution function 1.4 % off.
        assert stats.kstest(sampler.sample(20_000, seed=1).double().numpy()[:, 0], truth.cdf).pvalue > ALPHA

    @pytest.mark.parametrize("q", [1, 3, 12, 256, 2000])
    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("share", [1e-9, 0.95, 0.999999])
    def test_its_table_is_exact_to_single_precision(self, q: int, distribution: str, share: float) -> None:
        sampler: Any = load_sampler("truncated-normal", distribution=distribution, share=share)
        largest, inside = sampler.ellipsoid(q)
        assert stats.chi2(q).cdf(largest**2) == pytest.approx(share, rel=1e-9)
        x = np.linspace(-5.5, 5.5, 9871)
        found = np.interp(x, np.linspace(-REACH, REACH, KNOTS), sampler.log_radii(q, largest, inside))
        level = stats.norm.cdf(x)
        exact = (
            0.5 * np.log(stats.chi2(q).ppf(level * share))
            if distribution == "normal"
            else (math.log(largest) + np.log(level) / q)
        )
        np.testing.assert_allclose(found, exact, atol=4e-6)

    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("share", [1e-6, 0.95])
    def test_radii_follow_the_truncated_law(
        self, correlated: NDArray[np.float32], distribution: str, share: float
    ) -> None:
        """20,000 draws see a distribution function 1.4 % off; none lies outside."""
        sampler = load_sampler("truncated-normal", distribution=distribution, share=share).fit(correlated)
        z = sampler.sample(20_000, seed=3)
        assert np.isfinite(sampler.log_prob(z)).all()
        statistics = MemoryStore(correlated).statistics()
        offset = z.double().numpy() - statistics.mean
        squared = np.einsum("nd,de,ne->n", offset, np.linalg.inv(statistics.covariance), offset)
        law = stats.chi2(12)
        limit = law.ppf(share)
        level = law.cdf(squared) / share if distribution == "normal" else (squared / limit) ** 6
        assert stats.kstest(level, "uniform").pvalue > ALPHA

    def test_the_uniform_density_is_one_over_the_volume(self) -> None:
        rows = banana(300, 2)
        sampler = load_sampler("truncated-normal", distribution="uniform", radius=2.5).fit(rows)
        area = math.pi * 2.5**2 * math.sqrt(np.linalg.det(np.cov(rows.T.astype(np.float64))))
        mean = rows.mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(
            sampler.log_prob(np.stack([mean, mean + 100])), [-math.log(area), -np.inf], rtol=1e-6
        )

    def test_a_radius_that_holds_nothing_is_refused_unless_uniform(self) -> None:
        rows = np.random.default_rng(0).normal(size=(700, 600))
        with pytest.raises(LsamplerError, match=r"radius=0\.5 holds too little .* near 24\.5; give a larger one"):
            load_sampler("truncated-normal", radius=0.5).fit(rows)
        sampler = load_sampler("truncated-normal", radius=0.5, distribution="uniform").fit(rows)
        assert np.isfinite(sampler.log_prob(sampler.sample(3))).all()


class TestGaussianCopula:
    def test_every_principal_component_has_its_own_distribution(self) -> None:
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

    def test_correlations_of_normal_scores_are_those_of_the_data(self) -> None:
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

    def test_on_normal_data_it_is_the_normal(self, correlated: NDArray[np.float32]) -> None:
        copula, normal = (
            load_sampler(name).fit(correlated[:3000]).log_prob(correlated[3000:])
            for name in ("gaussian-copula", "multivariate-normal")
        )
        assert copula.mean() == pytest.approx(normal.mean(), abs=0.15)
        assert np.corrcoef(copula, normal)[0, 1] > 0.95

    def test_the_density_agrees_with_scipy(self) -> None:
        """The normal's density at the scores, times their derivatives taken by differences."""
        rows = banana(400, 3)
        sampler = load_sampler("gaussian-copula").fit(rows)
        state = sampler._state
        assert state is not None
        pca = MemoryStore(rows).statistics().pca
        sigma = np.sqrt(pca.variances)

        def scores(v: NDArray[np.float64]) -> NDArray[np.float64]:
            columns = [np.interp(v[:, k], state["knots"][:, k], state["scores"]) for k in range(3)]
            return np.stack(columns, axis=1)

        v = pca.transform(rows) / sigma
        inside = ((v > state["knots"][0]) & (v < state["knots"][-1])).all(axis=1)
        step = 1e-7
        slopes = (scores(v + step) - scores(v - step))[inside] / (2 * step) / sigma
        joint = stats.multivariate_normal(np.zeros(3), state["cholesky"] @ state["cholesky"].T).logpdf(scores(v))[
            inside
        ]
        off = sampler.log_prob(rows)[inside] - joint - np.log(slopes).sum(axis=1)
        assert np.median(np.abs(off)) < 1e-6  # all but those whose step crosses a knot

    def test_an_outlier_leaves_the_dependence_as_it_is(self) -> None:
        rows = banana(2000, 2)
        with_outlier = np.concatenate([rows, [[1e3, 1e3]]])
        state = load_sampler("gaussian-copula").fit(with_outlier)._state
        assert state is not None
        pca = MemoryStore(with_outlier).statistics().pca
        real = stats.spearmanr(pca.transform(with_outlier)).statistic
        assert (state["cholesky"] @ state["cholesky"].T)[0, 1] == pytest.approx(real, abs=0.15)


class TestKde:
    @pytest.mark.parametrize("dimension", [1, 3])
    def test_the_density_is_scipy_s_of_shrunk_vectors(self, dimension: int) -> None:
        rows = banana(5000, dimension).astype(np.float64)  # more than a block
        h, mean = 0.4, rows.mean(axis=0)
        shrunk = mean + math.sqrt(1 - h * h) * (rows - mean)
        truth = stats.gaussian_kde(shrunk.T, bw_method=h / math.sqrt(1 - h * h))
        fresh = banana(200, dimension, seed=6)
        np.testing.assert_allclose(
            load_sampler("kde", bandwidth=h).fit(rows).log_prob(fresh), truth.logpdf(fresh.T), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize("parameters", [{}, {"bandwidth": 0.2}, {"bandwidth": 1.0}])
    def test_the_covariance_is_kept(self, parameters: dict[str, float], correlated: NDArray[np.float32]) -> None:
        z = load_sampler("kde", **parameters).fit(correlated).sample(40_000, seed=2).double().numpy()
        truth = np.cov(correlated.T.astype(np.float64))
        assert np.abs(np.cov(z.T) - truth).max() < 0.05 * np.diag(truth).max()

    def test_the_bandwidth_has_the_largest_leave_one_out_likelihood(self) -> None:
        rows = banana(300, 2)
        chosen = float(load_sampler("kde").fit(rows)._state["h"])  # type: ignore[index]
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

    def test_the_bandwidth_suits_the_data(self) -> None:
        """Nothing is lost by a wide kernel on normal data; two narrow peaks far apart need a narrow one."""
        rng = np.random.default_rng(3)
        normal = rng.normal(size=(1000, 5))
        peaks = 0.05 * rng.normal(size=(1000, 1)) + rng.choice([-1, 1], size=(1000, 1))
        wide, narrow = (float(load_sampler("kde").fit(rows)._state["h"]) for rows in (normal, peaks))  # type: ignore[index]
        assert wide > 0.85
        assert 0.01 < narrow < 0.05

    def test_the_judges_are_a_function_of_the_seed(self) -> None:
        rows = banana(300, 2)
        one, same, other = (
            load_sampler("kde", judges=20, seed=seed).fit(rows)._state["h"]  # type: ignore[index]
            for seed in (1, 1, 2)
        )
        assert one == same != other


class TestNeighbourInterpolation:
    @pytest.mark.parametrize("space", ["raw", "whitened"])
    def test_every_sample_lies_between_a_vector_and_one_of_its_neighbours(self, space: str) -> None:
        rows = banana(60, 3) * np.array([1, 1, 100], dtype=np.float32)
        sampler = load_sampler("neighbour-interpolation", k=4, space=space).fit(rows)
        places = rows.astype(np.float64)
        if space == "whitened":
            places = places @ np.linalg.cholesky(np.linalg.inv(np.cov(places.T)))
        distances = cdist(places, places)
        np.fill_diagonal(distances, np.inf)
        nearest = np.argsort(distances, axis=1)[:, :4]
        z = sampler.sample(3000, seed=1).double().numpy()
        starts = np.repeat(np.arange(60), 4)
        first, second = rows[starts].astype(np.float64), rows[nearest.ravel()].astype(np.float64)
        step = second - first
        t = ((z[:, np.newaxis] - first) * step).sum(axis=2) / (step**2).sum(axis=1)
        off = np.linalg.norm(z[:, np.newaxis] - first - t[:, :, np.newaxis] * step, axis=2)
        off[(t < -1e-4) | (t > 1 + 1e-4)] = np.inf
        assert off.min(axis=1).max() < 1e-3
        # Every pair is drawn: with 3,000 draws of 240 pairs one is missing with a probability of 1e-3.
        mutual = {frozenset(pair) for pair in zip(starts.tolist(), nearest.ravel().tolist(), strict=True)}
        seen = off.argmin(axis=1)
        assert {frozenset((int(starts[i]), int(nearest.ravel()[i]))) for i in seen} == mutual

    def test_the_step_is_uniform(self) -> None:
        """Some 10,000 draws, all from the far vector, see a distribution function 2 % off."""
        rows = np.array([[0.0, 0.0], [1.0, 2.0], [11.0, 22.0]])  # only the last has a neighbour that has not it
        z = load_sampler("neighbour-interpolation", k=1).fit(rows).sample(30_000).numpy()
        assert stats.kstest(z[z[:, 0] > 1][:, 0], stats.uniform(1, 10).cdf).pvalue > ALPHA
        np.testing.assert_allclose(z[:, 1], 2 * z[:, 0], atol=1e-5)

    def test_of_a_large_store_only_some_are_used(self) -> None:
        rows = np.arange(1000.0)[:, np.newaxis]
        one, same, other = (
            load_sampler("neighbour-interpolation", most=50, seed=seed).fit(rows)._state["rows"]  # type: ignore[index]
            for seed in (1, 1, 2)
        )
        assert one.shape == (50, 1)
        assert len(np.unique(one)) == 50
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_too_many_neighbours_are_refused_with_the_mend(self) -> None:
        with pytest.raises(LsamplerError, match=r"4 vectors, each needs k=5 .* --param k=3"):
            load_sampler("neighbour-interpolation").fit(banana(4, 2))

    def test_it_has_no_density(self) -> None:
        sampler = load_sampler("neighbour-interpolation").fit(banana(50, 2))
        assert not sampler.has_density()
        with pytest.raises(LsamplerError, match="neighbour-interpolation has no density"):
            sampler.log_prob(banana(2, 2))


@each(BEYOND)
def test_global_random_states_are_left_alone(name: str, parameters: dict[str, Any]) -> None:
    rows = banana(200, 2)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    load_sampler(name, **parameters).fit(rows).sample(10)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
