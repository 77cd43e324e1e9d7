"""The strategies of the posts, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import hyp2f1

from lsampler import (
    FWHM_PER_SIGMA,
    LsamplerError,
    MemoryStore,
    Reference,
    load_sampler,
    plugin_names,
)
from lsampler.compute.seeded_blocks import BLOCK_ROWS, Block
from lsampler_plugins.samplers.pca_ellipse import cube_share, exact, iteration

# Level of every two-sample test. With fixed seeds a passing test stays passing; the power is
# stated where the test is.
ALPHA = 1e-3


def draw_exact(q: int, rows: int, seed: int = 0) -> NDArray[np.float64]:
    blocks = [Block(seed, k, torch.device("cpu")) for k in range(-(-rows // BLOCK_ROWS))]
    return torch.cat([exact(block, q, cube_share(q)) for block in blocks])[:rows].double().numpy()


def draw_iteration(q: int, rows: int, seed: int = 0) -> NDArray[np.float64]:
    blocks = [Block(seed, k, torch.device("cpu")) for k in range(-(-rows // BLOCK_ROWS))]
    return torch.cat([iteration(block, q) for block in blocks])[:rows].double().numpy()


def by_rejection(q: int, rows: int, seed: int) -> NDArray[np.float64]:
    """Uniform on the region: from the cube [-1, 1]^q, whatever satisfies every pair."""
    rng = np.random.default_rng(seed)
    kept: list[NDArray[np.float64]] = []
    while sum(map(len, kept)) < rows:
        u = rng.uniform(-1, 1, (4 * rows, q))
        squares = u**2
        inside = np.ones(len(u), dtype=bool)
        for i in range(q):
            for j in range(i + 1, q):
                inside &= squares[:, i] + squares[:, j] <= 1
        kept.append(u[inside])
    return np.concatenate(kept)[:rows]


def by_gibbs(q: int, rows: int, seed: int, sweeps: int = 60) -> NDArray[np.float64]:
    """A long Gibbs chain per row: each component uniform in what all others leave it."""
    rng = np.random.default_rng(seed)
    u = np.zeros((rows, q))
    for _ in range(sweeps):
        for k in range(q):
            rest = np.delete(u, k, axis=1)
            u[:, k] = rng.uniform(-1, 1, rows) * np.sqrt(1 - (rest**2).max(axis=1))
    return u


def features(u: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    ordered = np.sort(np.abs(u), axis=1)
    return {
        "a component": u[:, 0],
        "the largest": ordered[:, -1],
        "the second largest": ordered[:, -2],
        "the radius": np.linalg.norm(u, axis=1),
        "a product": u[:, 0] * u[:, -1],
    }


@pytest.mark.parametrize("q", [2, 3])
def test_exact_agrees_with_rejection_sampling(q: int) -> None:
    """With 20,000 against 20,000, a Kolmogorov distance of 0.03 is found with power over 99 %."""
    ours, theirs = features(draw_exact(q, 20_000)), features(by_rejection(q, 20_000, seed=1))
    for name in ours:
        assert stats.ks_2samp(ours[name], theirs[name]).pvalue > ALPHA, name


def test_exact_agrees_with_a_long_gibbs_chain() -> None:
    """10,000 against 10,000: a Kolmogorov distance of 0.04 is found with power over 99 %."""
    ours, theirs = features(draw_exact(10, 10_000)), features(by_gibbs(10, 10_000, seed=2))
    for name in ours:
        assert stats.ks_2samp(ours[name], theirs[name]).pvalue > ALPHA, name


def test_these_tests_tell_the_iteration_from_the_exact_method() -> None:
    """The iteration is not uniform on the region; if the tests above missed that, they were blind."""
    exact_ones, iterated = features(draw_exact(10, 10_000)), features(draw_iteration(10, 10_000))
    assert stats.ks_2samp(exact_ones["the radius"], iterated["the radius"]).pvalue < ALPHA


def test_iteration_agrees_with_the_posts_loop() -> None:
    """Post X's loop, one component after the other, checked pair by pair as it goes."""
    q, rows = 6, 4_000
    rng = np.random.default_rng(3)
    loop = np.zeros((rows, q))
    for row in loop:
        drawn: list[int] = []
        for j in rng.permutation(q):
            c = min([1.0, *(np.sqrt(1 - row[i] ** 2) for i in drawn)])
            row[j] = rng.uniform(-c, c)
            drawn.append(j)
    ours, theirs = features(draw_iteration(q, 20_000)), features(loop)
    for name in ours:
        assert stats.ks_2samp(ours[name], theirs[name]).pvalue > ALPHA, name


@pytest.mark.parametrize("q", [1, 2, 3, 10, 120, 1000, 5000])
def test_cube_share_agrees_with_numerical_integration(q: int) -> None:
    # The region's volume outside the cube, divided by the cube's sqrt(2)^q, without overflow.
    outside, _ = quad(lambda t: q * np.exp(q * np.log(np.sqrt(2) * np.sin(t))), 0.3 if q > 500 else 1e-12, np.pi / 4)
    assert cube_share(q) == pytest.approx(1 / (1 + outside), rel=1e-6)


def test_cube_share_agrees_with_scipys_hypergeometric_function() -> None:
    q = np.arange(1, 301)
    outside = q / (np.sqrt(2) * (q + 1)) * hyp2f1((q + 1) / 2, 0.5, (q + 3) / 2, 0.5)
    np.testing.assert_allclose([cube_share(int(k)) for k in q], 1 / (1 + outside), rtol=1e-13)


@pytest.mark.parametrize("method", ["exact", "iteration"])
@pytest.mark.parametrize("components", [1, 2, 5, 12])
def test_every_pair_condition_holds_in_every_row(reference: MemoryStore, method: str, components: int) -> None:
    sampler = load_sampler("pca-ellipse", method=method, components=components, fact=0.6).fit(reference)
    z = sampler.sample(5_000, seed=4).double().numpy()
    statistics = reference.statistics(1.7)
    v = statistics.pca.transform(z)
    u = v[:, :components] / (0.6 * FWHM_PER_SIGMA * np.sqrt(statistics.pca.variances[:components]))
    largest = np.sort(u**2, axis=1)[:, -2:].sum(axis=1)
    assert largest.max() <= 1 + 1e-5
    assert np.abs(v[:, components:]).max(initial=0) < 1e-5  # nothing along the components left out
    # and it fills the region: in 5,000 rows some come close to the boundary
    assert largest.max() > 0.95


def test_methods_are_those_of_the_region_at_full_size(correlated: NDArray[np.float32]) -> None:
    u = draw_exact(120, 20_000)
    largest = np.sort(u**2, axis=1)[:, -2:].sum(axis=1)
    assert largest.max() <= 1 + 1e-6
    share_in_cube = np.mean(np.abs(u).max(axis=1) < np.sqrt(0.5))
    assert share_in_cube == pytest.approx(cube_share(120), abs=0.011)  # 3 standard errors


def test_uniform_cube_is_uniform(reference: MemoryStore) -> None:
    z = load_sampler("uniform-cube", b=2.0).fit(reference).sample(4_000, seed=5).numpy()
    assert np.abs(z).max() <= 2.0
    for component in z.T:
        assert stats.kstest(component, stats.uniform(-2, 4).cdf).pvalue > ALPHA
    assert np.abs(np.corrcoef(z.T) - np.eye(12)).max() < 0.06


def test_component_uniform_fills_an_interval_per_component(reference: MemoryStore) -> None:
    z = load_sampler("component-uniform", fact=0.4).fit(reference).sample(4_000, seed=6).double().numpy()
    statistics = reference.statistics()
    low = statistics.mean - 0.4 * FWHM_PER_SIGMA * statistics.std
    width = 0.8 * FWHM_PER_SIGMA * statistics.std
    for component, start, extent in zip(z.T, low, width, strict=True):
        assert stats.kstest(component, stats.uniform(start, extent).cdf).pvalue > ALPHA


def test_gaussian_has_the_marginals_and_no_correlation(reference: MemoryStore) -> None:
    z = load_sampler("gaussian").fit(reference).sample(6_000, seed=7).double().numpy()
    statistics = reference.statistics()
    for component, mean, std in zip(z.T, statistics.mean, statistics.std, strict=True):
        assert stats.kstest(component, stats.norm(mean, std).cdf).pvalue > ALPHA
    assert np.abs(np.corrcoef(z.T) - np.eye(12)).max() < 0.06


def test_multivariate_normal_agrees_with_numpy(reference: MemoryStore) -> None:
    """Two samples of 6,000: random projections, and the energy distance against permutations."""
    z = load_sampler("multivariate-normal").fit(reference).sample(6_000, seed=8).double().numpy()
    statistics = reference.statistics()
    rng = np.random.default_rng(9)
    other = rng.multivariate_normal(statistics.mean, statistics.covariance, 6_000)
    for direction in rng.normal(size=(20, 12)):
        assert stats.ks_2samp(z @ direction, other @ direction).pvalue > ALPHA
    assert energy_p_value(z[:400], other[:400], rng) > ALPHA


def energy_p_value(x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> float:
    both = np.concatenate([x, y])
    distances = cdist(both, both)
    first = np.arange(len(both)) < len(x)

    def energy(mask: NDArray[np.bool_]) -> float:
        within = distances[np.ix_(mask, mask)].mean() + distances[np.ix_(~mask, ~mask)].mean()
        return float(2 * distances[np.ix_(mask, ~mask)].mean() - within)

    seen = energy(first)
    permuted = [energy(rng.permutation(first)) for _ in range(999)]
    return (1 + sum(value >= seen for value in permuted)) / 1000


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-100, 100))
def test_multivariate_normal_is_affine_equivariant(seed: int, scale: float, shift: float) -> None:
    """Fitted to A z + b, it has mean A mu + b and covariance A Sigma A^T."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    matrix, offset = scale * rng.normal(size=(4, 4)), shift * rng.normal(size=4)

    def fitted(latents: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sampler = load_sampler("multivariate-normal")
        state = sampler.learn(MemoryStore(latents))
        return state["mean"], state["axes"].T @ state["axes"]

    (mean, covariance), (moved_mean, moved_covariance) = fitted(z), fitted(z @ matrix.T + offset)
    size = np.abs(moved_covariance).max() + np.abs(offset).max() + 1
    np.testing.assert_allclose(moved_mean, matrix @ mean + offset, atol=1e-5 * size)
    np.testing.assert_allclose(moved_covariance, matrix @ covariance @ matrix.T, atol=1e-4 * size)


def test_temperature_and_components_shrink_the_normal(reference: MemoryStore) -> None:
    pca = reference.statistics().pca
    z = load_sampler("multivariate-normal", components=3, temperature=0.5).fit(reference).sample(20_000, seed=1)
    v = pca.transform(z.double().numpy())
    np.testing.assert_allclose(v[:, :3].var(axis=0), 0.25 * pca.variances[:3], rtol=0.05)
    assert np.abs(v[:, 3:]).max() < 1e-5


class TestLinePath:
    def path(self, reference: Reference, n: int = 8, **parameters: object) -> NDArray[np.float64]:
        return load_sampler("line-path", **parameters).fit(reference).sample(n).double().numpy()

    def test_leads_from_the_origin_to_the_centre(self, reference: MemoryStore) -> None:
        z = self.path(reference, 6, path="origin-to-centre", points=6)
        mean = reference.statistics().mean
        np.testing.assert_allclose(z, np.linspace(0, 1, 6)[:, None] * mean, atol=1e-5)

    def test_crosses_the_centre_in_a_plane_at_an_angle(self, reference: MemoryStore) -> None:
        z = self.path(reference, 5, path="plane", i=2, j=7, angle=30, reach=0.5, points=5)
        statistics = reference.statistics()
        offset = (z - statistics.mean) / (FWHM_PER_SIGMA * statistics.std)
        steps = np.linspace(-0.5, 0.5, 5)
        np.testing.assert_allclose(offset[:, 2], steps * np.cos(np.pi / 6), atol=1e-5)
        np.testing.assert_allclose(offset[:, 7], steps * np.sin(np.pi / 6), atol=1e-5)
        assert np.abs(np.delete(offset, [2, 7], axis=1)).max() < 1e-5

    def test_follows_a_principal_axis(self, reference: MemoryStore) -> None:
        z = self.path(reference, 3, path="principal", axis=1, reach=1.0, points=3)
        pca = reference.statistics().pca
        v = pca.transform(z)
        np.testing.assert_allclose(
            v[:, 1], FWHM_PER_SIGMA * np.sqrt(pca.variances[1]) * np.array([-1, 0, 1]), atol=1e-4
        )
        assert np.abs(np.delete(v, 1, axis=1)).max() < 1e-4

    def test_leads_from_one_vector_to_another(self, reference: MemoryStore) -> None:
        z = self.path(reference, 4, path="between", first=10, second=20, points=4)
        rows = reference.latents()
        np.testing.assert_allclose(z[[0, 3]], rows[[10, 20]], atol=1e-5)

    def test_starts_again_after_its_last_point(self, reference: MemoryStore) -> None:
        z = self.path(reference, BLOCK_ROWS + 9, points=7)
        np.testing.assert_array_equal(z[7:14], z[:7])
        np.testing.assert_array_equal(z[BLOCK_ROWS], z[BLOCK_ROWS % 7])  # across blocks too

    def test_random_spacing_is_uniform_on_the_line(self, reference: MemoryStore) -> None:
        z = self.path(reference, 2_000, path="origin-to-centre", spacing="random")
        mean = reference.statistics().mean
        t = z @ mean / (mean @ mean)
        np.testing.assert_allclose(z, t[:, None] * mean, atol=1e-5)
        assert stats.kstest(t, "uniform").pvalue > ALPHA

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"path": "plane", "i": 3, "j": 3}, "two different components"),
            ({"path": "plane", "i": 12}, "below D = 12"),
            ({"path": "principal", "axis": 12}, "more than the latent dimension 12"),
            ({"path": "between", "second": 3000}, "below 3000"),
        ],
    )
    def test_refuses_lines_that_do_not_exist(
        self, reference: MemoryStore, parameters: dict[str, object], message: str
    ) -> None:
        with pytest.raises(LsamplerError, match=message):
            self.path(reference, **parameters)


@pytest.mark.parametrize("name", plugin_names("sampler"))
class TestEveryStrategy:
    """What only the core can break; what a strategy promises is in test_compliance.py."""

    def test_same_seed_gives_same_rows_for_any_number_of_kernel_threads(
        self, name: str, reference: MemoryStore
    ) -> None:
        sampler, before = load_sampler(name).fit(reference), torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = sampler.sample(5_000, seed=3)
            torch.set_num_threads(4)
            four = sampler.sample(5_000, seed=3)
            assert torch.get_num_threads() == 4  # and the caller's setting is left as it was
        finally:
            torch.set_num_threads(before)
        assert torch.equal(one, four)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7), (256,)])
def test_a_blocks_uniforms_are_the_single_precision_ones_of_numpy(shape: tuple[int, ...]) -> None:
    block, numpys = (
        Block(3, 7, torch.device("cpu")),
        np.random.Generator(np.random.SFC64(np.random.SeedSequence([3, 7]))),
    )
    for _ in range(2):  # and each call takes up where the last one ended
        expected = numpys.random((BLOCK_ROWS, *shape), dtype=np.float32)
        assert np.array_equal(block.uniform(*shape).numpy(), expected)
    low, high = torch.full(shape[-1:], -3.7), torch.full(shape[-1:], 1.9)
    scaled = numpys.random((BLOCK_ROWS, *shape), dtype=np.float32) * (high - low).numpy() + low.numpy()
    assert np.array_equal(block.uniform(*shape, low=low, high=high).numpy(), scaled)


def test_an_unknown_device_or_a_negative_seed_is_refused(reference: MemoryStore) -> None:
    sampler = load_sampler("gaussian").fit(reference)
    with pytest.raises(LsamplerError, match="negative"):
        sampler.sample(1, seed=-1)
    with pytest.raises(LsamplerError, match="unknown"):
        sampler.sample(1, device="abacus")


@pytest.mark.parametrize("strategy", ["component-uniform", "gaussian"])
def test_no_block_of_a_seed_is_one_of_a_larger_seed(reference: MemoryStore, strategy: str) -> None:
    """Regression: block 1 of seed 5 was block 0 of seed 5 + 2^32."""
    sampler = load_sampler(strategy).fit(reference)
    seeds = [5, 5 + 2**32, 5 + 2 * 2**32, 2**63 - 1, 2**64 + 5]
    drawn = torch.cat([sampler.sample(3 * BLOCK_ROWS, seed=seed) for seed in seeds])
    assert len(torch.unique(drawn, dim=0)) == len(drawn)


def test_different_seeds_give_different_rows(reference: MemoryStore) -> None:
    sampler = load_sampler("gaussian").fit(reference)
    assert not torch.equal(sampler.sample(5, seed=0), sampler.sample(5, seed=1))


def test_blocks_are_independent(reference: MemoryStore) -> None:
    """Rows of neighbouring blocks, and of neighbouring seeds, are uncorrelated: |r| < 5 / sqrt(n)."""
    sampler = load_sampler("gaussian").fit(reference)
    z = sampler.sample(2 * BLOCK_ROWS, seed=0).numpy()
    other = sampler.sample(BLOCK_ROWS, seed=1).numpy()
    for pair in ((z[:BLOCK_ROWS], z[BLOCK_ROWS:]), (z[:BLOCK_ROWS], other)):
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(pair[0].T, pair[1].T, strict=True)]
        assert np.abs(r).max() < 5 / np.sqrt(BLOCK_ROWS)


@pytest.mark.parametrize("half_width", ["histogram", "gaussian-fit"])
@pytest.mark.parametrize("name", ["component-uniform", "gaussian", "pca-ellipse"])
def test_half_widths_from_histograms_are_near_those_from_moments(
    name: str, half_width: str, reference: MemoryStore
) -> None:
    """On normal data the three ways agree within the resolution of the histogram."""
    by_moments = load_sampler(name).fit(reference).sample(4_000).std(dim=0)
    by_histogram = load_sampler(name, half_width=half_width).fit(reference).sample(4_000).std(dim=0)
    np.testing.assert_allclose(by_histogram, by_moments, rtol=0.15)


def test_fewer_vectors_than_components_is_refused_with_the_mend() -> None:
    few = MemoryStore(np.random.default_rng(0).normal(size=(6, 12)))
    for name in ("multivariate-normal", "pca-ellipse"):
        with pytest.raises(LsamplerError, match=r"rank 5, .* `components=5`"):
            load_sampler(name).fit(few)
        assert load_sampler(name, components=5).fit(few).sample(3).shape == (3, 12)


class TestDensities:
    """Of the posts' strategies, against scipy; and one over the volume for those that are uniform."""

    @pytest.fixture
    def latents(self) -> NDArray[np.float64]:
        rng = np.random.default_rng(60)
        rows = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4)) + [3, 0, -2, 1]
        return rows.astype(np.float32).astype(np.float64)

    @pytest.mark.parametrize("temperature", [1.0, 0.7])
    def test_normals_have_the_density_of_scipy(self, latents: NDArray[np.float64], temperature: float) -> None:
        mean, covariance = latents.mean(axis=0), np.cov(latents, rowvar=False) * temperature**2
        for name, expected in (("multivariate-normal", covariance), ("gaussian", np.diag(np.diag(covariance)))):
            found = load_sampler(name, temperature=temperature).fit(latents).log_prob(latents[:50])
            np.testing.assert_allclose(found, stats.multivariate_normal(mean, expected).logpdf(latents[:50]), rtol=1e-5)

    def test_uniform_strategies_have_one_over_their_volume(self, latents: NDArray[np.float64]) -> None:
        cube = load_sampler("uniform-cube", b=1.5).fit(latents)
        np.testing.assert_allclose(cube.log_prob(np.zeros((1, 4))), -4 * np.log(3))
        assert cube.log_prob(np.full((1, 4), 1.6)) == -np.inf
        box = load_sampler("component-uniform", fact=0.5).fit(latents)
        edges = FWHM_PER_SIGMA * latents.std(axis=0, ddof=1)
        np.testing.assert_allclose(box.log_prob(latents.mean(axis=0)[None]), -np.log(edges).sum(), rtol=1e-6)

    def test_pca_ellipse_with_all_components_has_one_over_its_volume(self, latents: NDArray[np.float64]) -> None:
        """The volume by counting: of 400,000 points in the box half a per cent off would be seen."""
        sampler = load_sampler("pca-ellipse", components=4, trim=None, fact=0.5).fit(latents)
        widths = FWHM_PER_SIGMA * np.sqrt(np.linalg.eigvalsh(np.cov(latents, rowvar=False)))
        u = np.sort(np.random.default_rng(61).uniform(-1, 1, (400_000, 4)) ** 2, axis=1)
        volume = (u[:, -1] + u[:, -2] <= 1).mean() * np.prod(2 * 0.5 * widths)
        density = sampler.log_prob(sampler.sample(500, seed=1))
        np.testing.assert_allclose(density, -np.log(volume), atol=0.005)
        assert (sampler.log_prob(latents.mean(axis=0) + 100 * np.eye(4)) == -np.inf).all()

    @pytest.mark.parametrize(
        ("name", "parameters", "reason"),
        [
            ("line-path", {}, "line-path has no density"),
            ("multivariate-normal", {"components": 2}, "draws in 2 of 4 dimensions"),
            ("pca-ellipse", {"components": 2}, "with method=exact and components=4 only"),
            ("pca-ellipse", {"components": 4, "method": "iteration"}, "with method=exact"),
        ],
    )
    def test_where_there_is_none_it_is_refused(
        self, latents: NDArray[np.float64], name: str, parameters: dict[str, object], reason: str
    ) -> None:
        with pytest.raises(LsamplerError, match=reason):
            load_sampler(name, **parameters).fit(latents).log_prob(latents[:3])


def test_categories_come_as_often_as_their_weights_say() -> None:
    """Of 200,000 draws a share is known to 0.1 %: half a per cent off would be seen."""
    weights = torch.tensor([0.5, 0.0, 2.0, 1.5])
    drawn = torch.cat([Block(5, k, torch.device("cpu")).categories(weights) for k in range(100)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.125, 0, 0.5, 0.375], atol=0.005)
    assert shares[1] == 0
