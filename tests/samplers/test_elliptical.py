"""elliptical: radii, directions, density, and the quantiles of the radius that a bundle holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributions import ALPHA, banana
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy import stats

from lsampler import LsamplerError, load_sampler
from lsampler.bundles import Bundle, build_bundle
from lsampler.models import ConvAutoencoder
from lsampler.store import LatentStore, MemoryStore

MIXTURE: dict[str, Any] = {"direction": "mixture", "mixture_components": 3}


def radii(z: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    statistics = MemoryStore(rows).statistics()
    solved = np.linalg.solve(statistics.covariance, (np.asarray(z, dtype=np.float64) - statistics.mean).T)
    radii: NDArray[np.float64] = np.sqrt(((np.asarray(z, dtype=np.float64) - statistics.mean).T * solved).sum(0))
    return radii


@pytest.mark.parametrize("parameters", [{}, MIXTURE])
def test_radii_are_those_of_the_data(parameters: dict[str, Any]) -> None:
    """Two samples of 5,000 and 20,000: a distribution function 3 % off is seen."""
    rows = banana(5000, 9)
    z = load_sampler("elliptical", **parameters).fit(rows).sample(20_000, seed=1).numpy()
    assert stats.ks_2samp(radii(z, rows), radii(rows, rows)).pvalue > ALPHA
    warm = load_sampler("elliptical", temperature=2, **parameters).fit(rows).sample(20_000, seed=1).numpy()
    np.testing.assert_allclose(radii(warm, rows), 2 * radii(z, rows), rtol=1e-4)


def test_a_radius_with_sharp_ends_keeps_them() -> None:
    """Radii of 1 to 3 at D = 4: quantiles within 2 % of the data's, where a log-normal is 20 % off."""
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(5000, 4))
    rows *= rng.uniform(1, 3, size=(5000, 1)) / np.linalg.norm(rows, axis=1, keepdims=True)
    z = load_sampler("elliptical").fit(rows).sample(20_000, seed=1).numpy()
    levels = [0.005, 0.05, 0.5, 0.95, 0.995]
    real, drawn = (np.quantile(radii(part, rows), levels) for part in (rows, z))
    np.testing.assert_allclose(drawn, real, rtol=0.02)


def test_comes_near_the_multivariate_t_that_made_the_data() -> None:
    """Mean log densities of new vectors: the truth's is the best; a normal loses 0.6 here, this less than 0.1."""
    truth = stats.multivariate_t(np.arange(6.0), np.diag(np.arange(1.0, 7.0)), df=5, seed=3)
    rows, fresh = truth.rvs(8000), truth.rvs(4000)
    loss = {
        name: truth.logpdf(fresh).mean() - load_sampler(name).fit(rows).log_prob(fresh).mean()
        for name in ("elliptical", "multivariate-normal")
    }
    assert -0.02 < loss["elliptical"] < 0.1
    assert loss["multivariate-normal"] > 0.3


def test_the_density_is_positive_far_out_and_zero_at_the_centre() -> None:
    rows = banana(500, 3)
    sampler = load_sampler("elliptical").fit(rows)
    mean = MemoryStore(rows).statistics().mean
    found = sampler.log_prob(mean + np.array([[1e3], [1e-5], [0.0]]))
    assert np.isfinite(found[:2]).all()
    assert found[2] == -np.inf


def test_the_mixture_finds_directions_that_the_normal_misses() -> None:
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


def test_radius_quantiles_of_leading_components(correlated: NDArray[np.float32]) -> None:
    reference = MemoryStore(correlated)
    pca = reference.statistics().pca
    white = pca.transform(correlated, 3) / np.sqrt(pca.variances[:3])
    levels, found = reference.radius_quantiles(3)
    np.testing.assert_allclose(found, np.quantile(np.linalg.norm(white, axis=1), levels, method="hazen"), rtol=1e-6)
    assert reference.radius_quantiles() is reference.radius_quantiles(12)
    with pytest.raises(LsamplerError, match="`components=13` is more"):
        reference.radius_quantiles(13)


@pytest.fixture
def tiny_bundle(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
    return build_bundle("tiny", tiny_model, tiny_store, [], [])


def test_a_bundle_holds_radius_quantiles(tiny_bundle: Bundle, tiny_store: LatentStore, tmp_path: Path) -> None:
    tiny_bundle.save(tmp_path / "tiny.safetensors")
    loaded = Bundle.load(tmp_path / "tiny.safetensors")
    np.testing.assert_array_equal(loaded.reference.radius_quantiles(), tiny_store.radius_quantiles())
    np.testing.assert_array_equal(
        load_sampler("elliptical").fit(loaded).sample(50, seed=0),
        load_sampler("elliptical").fit(tiny_store).sample(50, seed=0),
    )
    with pytest.raises(LsamplerError, match="in 3 components"):
        load_sampler("elliptical", components=3).fit(loaded)
    with pytest.raises(LsamplerError, match="needs real vectors; tiny holds statistics only"):
        load_sampler("elliptical", **MIXTURE).fit(loaded)


def test_an_older_bundle_loads_and_says_that_it_lacks_them(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tiny_bundle.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "numpy") as handle:
        metadata = handle.metadata()
    tensors = load_file(tmp_path / "new.safetensors")
    del tensors["radius_quantiles"]
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    old = Bundle.load(tmp_path / "old.safetensors")
    assert load_sampler("multivariate-normal").fit(old).sample(3).shape == (3, 6)
    with pytest.raises(LsamplerError, match=r"^tiny knows no quantiles of the radius[^\n]*$"):
        load_sampler("elliptical").fit(old)
    old.save(tmp_path / "again.safetensors")  # what it lacks is not invented
    assert "radius_quantiles" not in load_file(tmp_path / "again.safetensors")
