"""gaussian-mixture: its fit, density and draws, against scikit-learn, scipy and pythae."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import three_clusters
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from lsampler import LsamplerError, load_sampler
from lsampler.samplers import LatentSampler
from lsampler.store import MemoryStore

Rows = NDArray[Any]
MIXTURES = pytest.mark.parametrize(
    ("covariance", "coordinates"),
    [(covariance, coordinates) for covariance in ("full", "diagonal") for coordinates in ("raw", "whitened")],
)


@pytest.fixture(scope="module")
def clusters() -> MemoryStore:
    return MemoryStore(three_clusters(2000, 1), three_clusters(400, 2), name="clusters")


def mixture_of(sampler: LatentSampler) -> tuple[Rows, list[Rows], list[Rows]]:
    """Weights, means and covariances in latent coordinates, from what the strategy has learned."""
    state = sampler.state
    roots = [np.diag(root) if root.ndim == 1 else root for root in state["roots"]]
    means = [centre @ state["axes"] + state["mean"] for centre in state["centres"]]
    return state["weights"], means, [(root @ state["axes"]).T @ (root @ state["axes"]) for root in roots]


@MIXTURES
def test_density_is_that_of_scipy(clusters: MemoryStore, covariance: str, coordinates: str) -> None:
    sampler = load_sampler("gaussian-mixture", components=4, covariance=covariance, coordinates=coordinates)
    weights, means, covariances = mixture_of(sampler.fit(clusters))
    rows = clusters.held_out()
    parts = [stats.multivariate_normal(m, c).logpdf(rows) for m, c in zip(means, covariances, strict=True)]
    expected = logsumexp(np.array(parts), axis=0, b=weights[:, np.newaxis])
    assert sampler.log_prob(rows) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_fit_is_as_good_as_the_best_of_ten_of_scikit_learn(clusters: MemoryStore, covariance: str) -> None:
    rows = clusters.latents().astype(np.float64)
    kind = "diag" if covariance == "diagonal" else "full"
    theirs = GaussianMixture(3, covariance_type=kind, n_init=10, random_state=0).fit(rows)
    ours = load_sampler("gaussian-mixture", components=3, covariance=covariance, coordinates="raw").fit(clusters)
    assert ours.log_prob(rows).mean() == pytest.approx(theirs.score(rows), abs=0.005)


def test_temperature_shrinks_each_component_to_its_own_centre(clusters: MemoryStore) -> None:
    cold = load_sampler("gaussian-mixture", components=3, temperature=1e-3, covariance="full").fit(clusters)
    rows = cold.sample(4000, seed=1).double().numpy()
    assert len(np.unique(rows.round(1), axis=0)) < 20  # three centres, a few tenths more where rounding splits one
    assert np.ptp(rows, axis=0).max() > 5


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_rows_are_not_grouped_by_component(covariance: str) -> None:
    """Grouped rows, as scikit-learn's are, would share their component with the next one 1,000 times in 1,000."""
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 20])
    sampler = load_sampler("gaussian-mixture", components=2, covariance=covariance).fit(rows)
    of = sampler.sample(4000, seed=6)[:, 0] > 10
    assert float(of.float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((of[1:] == of[:-1]).float().mean()) == pytest.approx(0.5, abs=0.04)  # 5 standard errors


def test_no_component_sits_on_an_outlier() -> None:
    """Clusters of vectors, scikit-learn's start, would be outliers, and a normal that starts there copies one."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1000, 100)) * np.exp(0.25 * rng.normal(size=(1000, 1)))  # radii as CelebA's latents have
    white = MemoryStore(rows).statistics().whitening().forward(rows)
    ours, usual = [], []
    for seed in range(2):
        ours.append(1000 * load_sampler("gaussian-mixture", components=10, seed=seed).fit(rows).state["weights"].min())
        usual.append(1000 * GaussianMixture(10, covariance_type="diag", random_state=seed).fit(white).weights_.min())
    assert max(usual) < 2  # what is avoided does happen
    assert min(ours) > 10


def test_more_restarts_never_fit_worse(clusters: MemoryStore) -> None:
    rows = clusters.latents()
    fitted = [
        load_sampler("gaussian-mixture", components=6, seed=seed, restarts=restarts).fit(clusters).log_prob(rows).mean()
        for seed, restarts in [(0, 1), (1, 1), (2, 1), (0, 3)]
    ]
    assert len(set(np.round(fitted[:3], 6))) > 1  # otherwise there is nothing to choose between
    assert fitted[3] == pytest.approx(max(fitted[:3]), abs=0.01)


@pytest.mark.parametrize("coordinates", ["raw", "whitened"])
def test_unit_of_the_latent_space_does_not_matter(clusters: MemoryStore, coordinates: str) -> None:
    small = MemoryStore(clusters.latents() * np.float32(2**-20))
    kept, shrunk = (
        load_sampler("gaussian-mixture", components=3, coordinates=coordinates)
        .fit(reference)
        .sample(100, seed=1)
        .numpy()
        for reference in (clusters, small)
    )
    assert shrunk * 2**20 == pytest.approx(kept, rel=1e-3, abs=1e-3)


def test_a_mixture_on_a_line_finds_its_clusters() -> None:
    """In one dimension there are two directions only, and more clusters."""
    rows = np.repeat([-10.0, 0, 10, 20], 250)[:, None] + np.random.default_rng(3).normal(size=(1000, 1))
    found = load_sampler("gaussian-mixture", components=4).fit(rows)
    assert found.state["weights"] == pytest.approx(np.full(4, 0.25), abs=0.01)


def test_too_many_components_and_singular_ones_are_refused_with_the_fix() -> None:
    with pytest.raises(LsamplerError, match=r"`components=10` for 7 vectors of latents; use `components=none`"):
        load_sampler("gaussian-mixture", components=10).fit(np.eye(7))
    rows = np.repeat(np.eye(4), 5, axis=0)
    with pytest.raises(LsamplerError, match="gaussian-mixture: a covariance is singular; use fewer components, or"):
        load_sampler("gaussian-mixture", components=4, floor=0, coordinates="raw", covariance="full").fit(rows)
