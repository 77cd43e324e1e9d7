"""uniform-cube, component-uniform, gaussian, multivariate-normal and line-path, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from distributions import ALPHA, BLOCK_ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from lsampler import LsamplerError, load_sampler
from lsampler.statistics import FWHM_PER_SIGMA
from lsampler.store import MemoryStore, Reference


def drawn(reference: Reference, name: str, n: int = 6_000, **parameters: object) -> NDArray[np.float64]:
    return load_sampler(name, **parameters).fit(reference).sample(n, seed=5).double().numpy()


@pytest.mark.parametrize("name", ["uniform-cube", "component-uniform", "gaussian"])
def test_components_have_their_distributions_and_no_correlation(name: str, reference: MemoryStore) -> None:
    statistics = reference.statistics()
    mean, std = statistics.mean, statistics.std
    reach = 0.5 * FWHM_PER_SIGMA * std
    laws = {
        "uniform-cube": stats.uniform(np.full(12, -1.5), 3),
        "component-uniform": stats.uniform(mean - reach, 2 * reach),
        "gaussian": stats.norm(mean, std),
    }
    z = drawn(reference, name)
    levels = laws[name].cdf(z)
    assert min(stats.kstest(component, "uniform").pvalue for component in levels.T) > ALPHA
    assert np.abs(np.corrcoef(z.T) - np.eye(12)).max() < 0.06


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["multivariate-normal", "elliptical"]),
    st.integers(0, 2**31),
    st.floats(0.1, 10),
    st.floats(-10, 10),
)
def test_an_affine_map_of_the_data_maps_the_density(name: str, seed: int, scale: float, shift: float) -> None:
    """Fitted to A z + b, a strategy has the density of what it has fitted to z, times 1 / |det A|."""
    rng = np.random.default_rng(seed)
    z = rng.standard_t(4, size=(300, 3))
    matrix, offset = scale * (np.eye(3) + 0.3 * rng.normal(size=(3, 3))), shift * rng.normal(size=3)
    if np.linalg.cond(matrix) > 30:
        return  # single precision loses too much
    plain = load_sampler(name).fit(z).log_prob(z[:50])
    moved = load_sampler(name).fit(z @ matrix.T + offset).log_prob(z[:50] @ matrix.T + offset)
    np.testing.assert_allclose(moved, plain - np.linalg.slogdet(matrix)[1], atol=2e-2)


def test_temperature_and_components_shrink_the_normal(reference: MemoryStore) -> None:
    pca = reference.statistics().pca
    v = pca.transform(drawn(reference, "multivariate-normal", 20_000, components=3, temperature=0.5))
    np.testing.assert_allclose(v[:, :3].var(axis=0), 0.25 * pca.variances[:3], rtol=0.05)
    assert np.abs(v[:, 3:]).max() < 1e-5


@pytest.mark.parametrize("half_width", ["histogram", "gaussian-fit"])
@pytest.mark.parametrize("name", ["component-uniform", "gaussian", "pca-ellipse"])
def test_half_widths_from_histograms_are_near_those_from_moments(
    name: str, half_width: str, reference: MemoryStore
) -> None:
    """On normal data the three ways agree within the resolution of the histogram."""
    by_moments = drawn(reference, name, 4_000).std(axis=0)
    np.testing.assert_allclose(drawn(reference, name, 4_000, half_width=half_width).std(axis=0), by_moments, rtol=0.15)


class TestLinePath:
    def path(self, reference: Reference, n: int = 8, **parameters: object) -> NDArray[np.float64]:
        return drawn(reference, "line-path", n, **parameters)

    def test_leads_from_one_end_to_the_other(self, reference: MemoryStore) -> None:
        statistics = reference.statistics()
        mean, std, pca, rows = statistics.mean, statistics.std, statistics.pca, reference.latents()
        in_plane, along = np.zeros(12), FWHM_PER_SIGMA * np.sqrt(pca.variances[1]) * pca.axes[1]
        in_plane[[2, 7]] = 0.5 * FWHM_PER_SIGMA * std[[2, 7]] * [np.cos(np.pi / 6), np.sin(np.pi / 6)]
        for parameters, start, end in (
            ({"path": "origin-to-centre"}, np.zeros(12), mean),
            ({"path": "plane", "i": 2, "j": 7, "angle": 30, "reach": 0.5}, mean - in_plane, mean + in_plane),
            ({"path": "principal", "axis": 1, "reach": 1}, mean - along, mean + along),
            ({"path": "between", "first": 10, "second": 20}, rows[10], rows[20]),
        ):
            np.testing.assert_allclose(
                self.path(reference, 6, points=6, **parameters), np.linspace(start, end, 6), atol=1e-5
            )

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
            ({"path": "principal", "axis": 12}, "`axis=12`: .* vary along 12; give one below"),
            ({"path": "between", "second": 3000}, "below 3000"),
        ],
    )
    def test_refuses_lines_that_do_not_exist(
        self, reference: MemoryStore, parameters: dict[str, object], message: str
    ) -> None:
        with pytest.raises(LsamplerError, match=message):
            self.path(reference, **parameters)
