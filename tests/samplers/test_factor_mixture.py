"""factor-mixture: its density, draws and fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from distributions import require_density_of_draws, three_clusters
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import FactorAnalysis

from lsampler import LsamplerError, load_sampler
from lsampler.store import MemoryStore

pytestmark = pytest.mark.usefixtures("one_torch_thread")
SMALL: dict[str, Any] = {"mixture_components": 3, "factors": 2, "iterations": 30}


@pytest.fixture(scope="module")
def clusters() -> NDArray[np.float32]:
    """Three clusters, each with correlations of its own, in five dimensions."""
    return three_clusters(3000, 7, d=5)


@pytest.fixture(scope="module")
def heavy() -> NDArray[np.float64]:
    """Student's t with 5 degrees of freedom in five dimensions, stretched and turned."""
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(3000, 5)) / np.sqrt(rng.chisquare(5, (3000, 1)) / 5)
    return rows @ rng.normal(size=(5, 5)) + 3


@pytest.mark.parametrize("tails", ["student", "normal"])
@pytest.mark.parametrize("radius", ["data", "own"])
def test_the_density_is_that_of_the_draws(heavy: NDArray[Any], tails: str, radius: str) -> None:
    sampler = load_sampler("factor-mixture", **SMALL, tails=tails, radius=radius, temperature=1.1).fit(heavy)
    require_density_of_draws(sampler, heavy.mean(axis=0), 0.2)


def test_one_normal_component_is_factor_analysis(heavy: NDArray[Any]) -> None:
    """scikit-learn's fit of the same model, which starts elsewhere and ends by another rule, within 0.01 nats."""
    given = {"tails": "normal", "radius": "own", "axes": "principal", "prior": 0.0}
    found = load_sampler("factor-mixture", mixture_components=1, factors=2, iterations=2000, tolerance=1e-9, **given)
    white = (heavy - heavy.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(heavy.T, bias=True))).T
    # A rotation decides which noise is independent: the principal axes of correlated columns.
    rows = heavy @ np.diag([3.0, 1.0, 1.0, 1.0, 1.0])
    store = MemoryStore(rows.astype(np.float32))
    whitening = store.statistics().whitening()
    white = whitening.forward(rows.astype(np.float32))
    peer = FactorAnalysis(2, tol=1e-10, max_iter=5000, svd_method="lapack").fit(white)
    ours = found.fit(store).log_prob(rows).mean() + whitening.log_det
    assert ours == pytest.approx(peer.score(white), abs=0.01)


def test_it_finds_clusters_that_one_normal_misses(clusters: NDArray[np.float32]) -> None:
    """And their correlations, which a mixture of as many diagonal normals misses; in nats per held-out vector."""
    store = MemoryStore(clusters[:2000], clusters[2000:])
    held_out = store.held_out()
    gains = {
        name: load_sampler(name, **given).fit(store).log_prob(held_out).mean()
        for name, given in {
            "factor-mixture": {**SMALL, "iterations": 200, "tails": "normal"},
            "multivariate-normal": {},
            "gaussian-mixture": {"components": 3},
        }.items()
    }
    assert gains["factor-mixture"] > gains["multivariate-normal"] + 1
    assert gains["factor-mixture"] > gains["gaussian-mixture"] + 0.2


def test_the_radius_is_that_of_the_data(heavy: NDArray[Any]) -> None:
    """A Kolmogorov-Smirnov test of 3,000 radii against 20,000: at a level of 0.001 it sees a shift of a tenth sigma."""
    store = MemoryStore(heavy.astype(np.float32))
    whitening = store.statistics().whitening()
    data = np.linalg.norm(whitening.forward(heavy), axis=1)
    for radius, same in (("data", True), ("own", False)):
        sampler = load_sampler("factor-mixture", **{**SMALL, "mixture_components": 1}, tails="normal", radius=radius)
        drawn = sampler.fit(store).sample(20_000, seed=2).numpy()
        found = stats.ks_2samp(np.linalg.norm(whitening.forward(drawn), axis=1), data).pvalue
        assert (found > 1e-3) == same


def test_sizes_are_chosen_by_vectors_that_are_left_out(clusters: NDArray[np.float32]) -> None:
    """Of one cluster one component is enough, of three it is not."""
    one = np.random.default_rng(3).normal(size=(3000, 5)).astype(np.float32)
    sizes = [load_sampler("factor-mixture").fit(rows).state["weights"].shape[0] for rows in (one, clusters)]
    assert sizes[0] == 1
    assert sizes[1] > 1


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(np.random.default_rng(1).normal(size=(50, 1)), id="one dimension"),
        pytest.param(np.random.default_rng(1).normal(size=(12, 2)), id="two dimensions, few rows"),
        pytest.param(np.repeat(np.random.default_rng(1).normal(size=(5, 3)), 10, axis=0), id="repeated rows"),
        pytest.param(np.column_stack([np.ones(50), np.random.default_rng(1).normal(size=(50, 2))]), id="a dead unit"),
    ],
)
def test_small_and_odd_data_give_finite_draws(rows: NDArray[Any]) -> None:
    sampler = load_sampler("factor-mixture").fit(rows)
    assert torch.isfinite(sampler.sample(2000, seed=0)).all()
    assert np.isfinite(sampler.log_prob(rows)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mixture_components": 40}, r"30 vectors of .*`mixture_components=40` needs 40 or more"),
        ({"factors": 4}, "`factors=4` for 3 components; use at most 2"),
    ],
)
def test_impossible_sizes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        load_sampler("factor-mixture", **given).fit(np.random.default_rng(1).normal(size=(30, 3)))


def test_the_fit_does_not_depend_on_threads(clusters: NDArray[np.float32]) -> None:
    fitted = []
    for count in (1, 2):
        torch.set_num_threads(count)
        fitted.append(load_sampler("factor-mixture", **SMALL).fit(clusters).sample(100, seed=1))
    torch.set_num_threads(1)
    assert torch.equal(*fitted)
