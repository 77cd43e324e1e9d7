"""channel-normal: the moments it keeps, its density, and the shape of a latent that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import require_density_of_draws
from numpy.typing import NDArray
from scipy import stats

from lsampler import LsamplerError, load_bundle, load_sampler
from lsampler.plugins import load_fitted
from lsampler.store import MemoryStore

SHAPE = (2, 3, 4)
D = 24
A = [
    np.array([[2.0, 0.0], [1.5, 0.5]]),
    np.linalg.cholesky(0.8 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))),
    np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))),
]
"""Roots of the covariances along channels, rows and columns; of the last two, with variance 1."""


def separable(n: int, seed: int = 0) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).normal(size=(n, *SHAPE))
    x = np.einsum("ab,cd,ef,nbdf->nace", *A, x)
    return (x + np.array([3.0, -20.0])[:, None, None]).reshape(n, D).astype(np.float32)


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore(separable(20_000), latent_shape=SHAPE)


def test_each_channel_has_its_mean_and_variance_and_positions_are_independent(store: MemoryStore) -> None:
    """Of 40,000 x 12 values a variance is known to 0.3 %, of 40,000 a correlation to 0.005."""
    drawn = load_sampler("channel-normal").fit(store).sample(40_000, seed=1).double().numpy()
    own = drawn.reshape(-1, 2, 12)
    data = store.read().astype(np.float64).reshape(-1, 2, 12)
    np.testing.assert_allclose(own.mean(axis=(0, 2)), data.mean(axis=(0, 2)), atol=0.02)
    np.testing.assert_allclose(own.std(axis=(0, 2)), data.std(axis=(0, 2)), rtol=0.01)
    off = np.corrcoef(drawn.T) - np.eye(D)
    assert np.abs(off).max() < 0.03


def test_what_is_learned_are_the_channel_statistics_exactly(store: MemoryStore) -> None:
    state, known = load_sampler("channel-normal").fit(store).state, store.channel_statistics()
    np.testing.assert_allclose(state["mean"], known.mean, rtol=1e-12)
    np.testing.assert_allclose(state["sigma"], known.std, rtol=1e-10)
    half = load_sampler("channel-normal", temperature=0.5).fit(store)
    np.testing.assert_allclose(half.state["sigma"], known.std / 2, rtol=1e-10)


@pytest.mark.parametrize("dependence", ["channels", "separable"])
def test_correlations_along_the_axes_are_kept(dependence: str, store: MemoryStore) -> None:
    drawn = load_sampler("channel-normal", dependence=dependence).fit(store).sample(60_000, seed=2).double().numpy()
    channels = A[0] @ A[0].T
    along = [channels, *([A[1] @ A[1].T, A[2] @ A[2].T] if dependence == "separable" else [np.eye(3), np.eye(4)])]
    expected = np.kron(np.kron(*along[:2]), along[2])
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.12)


def test_positions_may_have_means_of_their_own() -> None:
    rng = np.random.default_rng(4)
    place = np.linspace(-5, 5, D)
    rows = (place + rng.normal(size=(5000, D))).astype(np.float32)
    reference = MemoryStore(rows, latent_shape=SHAPE)
    for dependence in ("none", "channels", "separable"):
        sampler = load_sampler("channel-normal", centre="position", dependence=dependence).fit(reference)
        drawn = sampler.sample(20_000, seed=1).numpy()
        np.testing.assert_allclose(drawn.mean(axis=0), place, atol=0.1)
        np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.06)
    wide = load_sampler("channel-normal").fit(reference).sample(20_000, seed=1).numpy()
    assert wide.std(axis=0).min() > 1.5  # the means of the positions count as spread


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"temperature": 0.7},
        {"centre": "position"},
        {"dependence": "channels"},
        {"dependence": "separable"},
        {"dependence": "separable", "temperature": 1.3, "centre": "position"},
    ],
    ids=str,
)
def test_the_density_is_that_of_the_draws(parameters: dict[str, Any]) -> None:
    shape = (2, 2, 1)
    rows = separable(3000).reshape(-1, *SHAPE)[:, :, :2, :1].reshape(-1, 4)
    sampler = load_sampler("channel-normal", **parameters).fit(MemoryStore(rows, latent_shape=shape))
    drawn = sampler.sample(50_000, seed=5).double().numpy()
    normal = stats.multivariate_normal(drawn.mean(axis=0), np.cov(drawn.T))
    np.testing.assert_allclose(sampler.log_prob(rows[:50]), normal.logpdf(rows[:50]), atol=0.15, rtol=0.02)
    require_density_of_draws(sampler, drawn.mean(axis=0), 0.5)


def test_a_constant_channel_stays_and_leaves_no_separable_density() -> None:
    rows = separable(500).reshape(-1, *SHAPE)
    rows[:, 1] = 1.25
    reference = MemoryStore(rows.reshape(-1, D), latent_shape=SHAPE)
    for dependence in ("none", "channels", "separable"):
        sampler = load_sampler("channel-normal", dependence=dependence).fit(reference)
        np.testing.assert_allclose(sampler.sample(100).numpy()[:, 12:], 1.25, atol=1e-6)
        if dependence == "none":
            assert np.isfinite(sampler.log_prob(rows.reshape(-1, D)[:5])).all()
            continue
        with pytest.raises(LsamplerError, match="draws in fewer dimensions than there are: there is no density"):
            sampler.log_prob(rows.reshape(-1, D)[:5])


def test_channels_may_be_given_where_no_shape_is_recorded(store: MemoryStore, tmp_path: Any) -> None:
    rows = store.read()
    given = load_sampler("channel-normal", channels=2).fit(rows)
    np.testing.assert_allclose(given.state["sigma"], load_sampler("channel-normal").fit(store).state["sigma"])
    assert given.note() == ""
    plain = load_sampler("channel-normal").fit(rows)
    np.testing.assert_allclose(plain.state["sigma"], rows.std(axis=0, dtype=np.float64), rtol=1e-9)
    assert "every component is a channel of its own; give `channels=...`" in plain.note()
    with pytest.raises(LsamplerError, match=r"D = 24 of latents is no multiple of `channels=5`"):
        load_sampler("channel-normal", channels=5).fit(rows)
    with pytest.raises(LsamplerError, match=r"the latents have 2 channels; leave out `channels=3`"):
        load_sampler("channel-normal", channels=3).fit(store)
    separate = load_sampler("channel-normal", dependence="separable").fit(store)
    separate.save(tmp_path / "s.safetensors")
    again = load_fitted(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(again.sample(5, seed=1), separate.sample(5, seed=1))


def test_correlations_need_vectors_and_a_bundle_has_none() -> None:
    assert load_sampler("channel-normal", channels=1).fit(load_bundle("digits")).sample(3).shape[0] == 3
    with pytest.raises(LsamplerError, match=r"holds statistics only, give `store=...`"):
        load_sampler("channel-normal", channels=1, dependence="channels").fit(load_bundle("digits"))
