"""The mixture of normals, the flow, and the likelihood that scores them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from lsampler import (
    LatentSampler,
    LsamplerError,
    MemoryStore,
    RealData,
    Samples,
    Score,
    evaluate,
    load_bundle,
    load_evaluator,
    load_sampler,
)
from lsampler.compute.seeded_blocks import BLOCK_ROWS
from lsampler_plugins.samplers.flow import inverse, inwards, outwards, radial_map, split, spread_of

Rows = NDArray[Any]
ALPHA = 1e-3
CELLS = 160
MIXTURES = [(covariance, coordinates) for covariance in ("full", "diagonal") for coordinates in ("raw", "whitened")]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small layers gain nothing from more; where the number matters, a test sets it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def three_clusters(n: int, seed: int, d: int = 3) -> NDArray[np.float32]:
    """A quarter, a quarter and a half of the rows around three centres, each with correlations of its own."""
    rng = np.random.default_rng(seed)
    of = rng.choice(3, n, p=[0.25, 0.25, 0.5])
    shape = np.random.default_rng(60)
    centres, mixing = 6 * shape.normal(size=(3, d)), shape.normal(size=(3, d, d))
    return (centres[of] + np.einsum("ni,nij->nj", rng.normal(size=(n, d)), mixing[of])).astype(np.float32)


def moons(n: int, seed: int) -> NDArray[np.float32]:
    """Two arcs that interlock, off the origin and of unequal units."""
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi, n), rng.integers(2, size=n)
    x = np.where(side, 1 - np.cos(angle), np.cos(angle)) + 0.1 * rng.normal(size=n)
    y = np.where(side, 0.5 - np.sin(angle), np.sin(angle)) + 0.1 * rng.normal(size=n)
    return np.column_stack([3 * x + 5, 0.5 * y - 2]).astype(np.float32)


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def likelihood(reference: MemoryStore, sampler: LatentSampler, **parameters: Any) -> dict[str, Score]:
    evaluator = load_evaluator("log-likelihood", **parameters)
    evaluator.prepare(RealData(reference))
    return by_metric(evaluator.score(Samples.drawn_by(sampler.fit(reference), 50)))


@pytest.fixture(scope="module")
def clusters() -> MemoryStore:
    return MemoryStore(three_clusters(2000, 1), three_clusters(400, 2), name="clusters")


# The mixture.


@pytest.mark.parametrize(("covariance", "coordinates"), MIXTURES)
def test_mixture_has_the_density_that_scikit_learn_computes(
    clusters: MemoryStore, covariance: str, coordinates: str
) -> None:
    sampler = load_sampler("gaussian-mixture", components=4, covariance=covariance, coordinates=coordinates, seed=3)
    pca, rows = clusters.statistics().pca, clusters.latents().astype(np.float64)
    if coordinates == "raw":
        shrink = np.eye(3) / math.sqrt(pca.variances.mean())
    else:
        shrink = pca.axes.T / np.sqrt(pca.variances)
    theirs = sampler.fit(clusters)._fit((rows - pca.mean) @ shrink, 4)  # type: ignore[attr-defined]
    expected = theirs.score_samples((clusters.held_out() - pca.mean) @ shrink) + np.linalg.slogdet(shrink)[1]
    assert sampler.log_prob(clusters.held_out()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_mixture_fits_as_well_as_the_best_of_ten_of_scikit_learn(clusters: MemoryStore, covariance: str) -> None:
    rows = clusters.latents().astype(np.float64)
    kind = "diag" if covariance == "diagonal" else "full"
    theirs = GaussianMixture(3, covariance_type=kind, n_init=10, random_state=0).fit(rows)
    ours = load_sampler("gaussian-mixture", components=3, covariance=covariance, coordinates="raw").fit(clusters)
    assert ours.log_prob(rows).mean() == pytest.approx(theirs.score(rows), abs=0.005)


@pytest.mark.parametrize(("covariance", "coordinates"), MIXTURES)
def test_rows_of_the_mixture_follow_its_density(clusters: MemoryStore, covariance: str, coordinates: str) -> None:
    """The density of rows drawn from it against that of scikit-learn's rows, and the first component of both.

    10,000 against 10,000: a Kolmogorov distance of 0.04 is found with power over 99 %.
    """
    sampler = load_sampler(
        "gaussian-mixture", components=3, covariance=covariance, coordinates=coordinates, temperature=0.7
    ).fit(clusters)
    drawn, again = sampler.sample(10_000, seed=4).numpy(), by_hand(sampler, 10_000)
    for ours, theirs in [(sampler.log_prob(drawn), sampler.log_prob(again)), *zip(drawn.T, again.T, strict=True)]:
        assert stats.ks_2samp(ours, theirs).pvalue > ALPHA


def by_hand(sampler: LatentSampler, n: int) -> Rows:
    """As many rows of a fitted mixture as ``n``, component by component with numpy's own multivariate normal."""
    state = sampler._state
    assert state is not None
    rng = np.random.default_rng(5)
    parts = []
    for k, count in enumerate(rng.multinomial(n, state["weights"])):
        root = state["roots"][k]
        root = np.diag(root) if root.ndim == 1 else root
        parts.append(rng.multivariate_normal(state["centres"][k], root.T @ root, size=count))
    rows = np.concatenate(parts)
    return rows @ state["axes"] + state["mean"] if "axes" in state else rows


def test_temperature_shrinks_each_component_to_its_own_centre(clusters: MemoryStore) -> None:
    cold = load_sampler("gaussian-mixture", components=3, temperature=1e-3, covariance="full").fit(clusters)
    rows = cold.sample(4000, seed=1).double().numpy()
    centres = np.unique(rows.round(1), axis=0)
    assert len(centres) < 20  # three places, a few tenths more where rounding splits one
    assert np.ptp(rows, axis=0).max() > 5


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_rows_of_the_mixture_are_not_grouped_by_component(covariance: str) -> None:
    """Grouped rows, as scikit-learn's are, would share their component with the next one 1,000 times in 1,000."""
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 20])
    sampler = load_sampler("gaussian-mixture", components=2, covariance=covariance).fit(rows)
    of = sampler.sample(4000, seed=6)[:, 0] > 10
    assert float(of.float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((of[1:] == of[:-1]).float().mean()) == pytest.approx(0.5, abs=0.04)  # 5 standard errors


def test_no_component_of_the_mixture_sits_on_an_outlier() -> None:
    """Clusters of vectors, scikit-learn's start, would be outliers, and a normal that starts there is a copy of one."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1000, 100)) * np.exp(0.25 * rng.normal(size=(1000, 1)))  # radii as CelebA's latents have
    pca = MemoryStore(rows).statistics().pca
    white = (rows - pca.mean) @ pca.axes.T / np.sqrt(pca.variances)
    ours, usual = [], []
    for seed in range(2):
        state = load_sampler("gaussian-mixture", components=10, seed=seed).fit(rows)._state
        assert state is not None
        ours.append(1000 * state["weights"].min())
        usual.append(1000 * GaussianMixture(10, covariance_type="diag", random_state=seed).fit(white).weights_.min())
    assert max(usual) < 2  # what is avoided does happen
    assert min(ours) > 10


def test_first_rows_of_the_mixture_stay_and_a_saved_one_draws_the_same(clusters: MemoryStore, tmp_path: Path) -> None:
    sampler = load_sampler("gaussian-mixture", components=3).fit(clusters)
    sampler.save(tmp_path / "mixture.safetensors")
    loaded = LatentSampler.load(tmp_path / "mixture.safetensors")
    few, many = sampler.sample(10, seed=7), loaded.sample(BLOCK_ROWS + 10, seed=7)
    assert torch.equal(few, many[:10])
    assert np.array_equal(loaded.log_prob(few), sampler.log_prob(few))


def test_mixture_that_is_true_has_the_likelihood_of_the_truth(clusters: MemoryStore) -> None:
    """Three full components: their fitted weights, and the likelihood to 0.05 nats, a standard error of the mean."""
    sampler = load_sampler("gaussian-mixture", components=3, covariance="full", restarts=3).fit(clusters)
    state = sampler._state
    assert state is not None
    assert np.sort(state["weights"]) == pytest.approx([0.25, 0.25, 0.5], abs=0.04)
    shape = np.random.default_rng(60)
    centres, mixing = 6 * shape.normal(size=(3, 3)), shape.normal(size=(3, 3, 3))
    rows = clusters.held_out()
    parts = [stats.multivariate_normal(c, m.T @ m).logpdf(rows) for c, m in zip(centres, mixing, strict=True)]
    truth = logsumexp(np.array(parts), axis=0, b=np.array([[0.25], [0.25], [0.5]]))
    assert sampler.log_prob(clusters.held_out()).mean() == pytest.approx(truth.mean(), abs=0.05)


def test_more_restarts_never_fit_worse(clusters: MemoryStore) -> None:
    rows = clusters.latents()
    fitted = [
        load_sampler("gaussian-mixture", components=6, seed=seed, restarts=restarts).fit(clusters).log_prob(rows).mean()
        for seed, restarts in [(0, 1), (1, 1), (2, 1), (0, 3)]
    ]
    assert len(set(np.round(fitted[:3], 6))) > 1  # else nothing is chosen between
    assert fitted[3] == pytest.approx(max(fitted[:3]), abs=0.01)


@pytest.mark.parametrize("coordinates", ["raw", "whitened"])
def test_unit_of_the_latent_space_does_not_matter_to_the_mixture(clusters: MemoryStore, coordinates: str) -> None:
    small = MemoryStore(clusters.latents() * np.float32(2**-20))
    kept, shrunk = (
        load_sampler("gaussian-mixture", components=3, coordinates=coordinates).fit(reference)
        for reference in (clusters, small)
    )
    drawn, again = kept.sample(100, seed=1).numpy(), shrunk.sample(100, seed=1).numpy() * 2**20
    assert again == pytest.approx(drawn, rel=1e-3, abs=1e-3)


def test_mixture_needs_as_many_vectors_as_components() -> None:
    with pytest.raises(LsamplerError, match=r"components=10 for 7 vectors of latents; leave it out"):
        load_sampler("gaussian-mixture", components=10).fit(np.eye(7))


def test_mixture_on_a_line_finds_its_clusters() -> None:
    """In one dimension there are two directions only, and more clusters."""
    rows = np.repeat([-10.0, 0, 10, 20], 250)[:, None] + np.random.default_rng(3).normal(size=(1000, 1))
    state = load_sampler("gaussian-mixture", components=4).fit(rows)._state
    assert state is not None
    assert state["weights"] == pytest.approx(np.full(4, 0.25), abs=0.01)


def test_mixture_of_flat_data_draws_but_has_no_density() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2)) @ np.array([[1.0, 2, 3], [1, 0, -1]])
    sampler = load_sampler("gaussian-mixture", components=2).fit(rows)
    drawn = sampler.sample(50).double().numpy()
    assert np.abs(drawn @ np.cross([1, 2, 3], [1, 0, -1])).max() < 1e-4
    with pytest.raises(LsamplerError, match="draws in 2 of 3 dimensions: there is no density"):
        sampler.log_prob(drawn)


def test_mixture_that_collapses_on_a_point_names_the_mend() -> None:
    rows = np.repeat(np.eye(4), 5, axis=0)
    with pytest.raises(LsamplerError, match="gaussian-mixture: a covariance is singular; use fewer components, or"):
        load_sampler("gaussian-mixture", components=4, floor=0, coordinates="raw", covariance="full").fit(rows)


def test_mixture_agrees_with_pythae(tmp_path: Path) -> None:
    """pythae's sampler fits the codes of an autoencoder; here the code is the image itself."""
    samplers, ours = pytest.importorskip("pythae.samplers"), pytest.importorskip("pythae.models.base.base_utils")

    class Identity(torch.nn.Module):
        def forward(self, inputs: Any) -> Any:
            return ours.ModelOutput(z=inputs["data"].flatten(1))

    rows = three_clusters(1500, 8, d=4)
    images = torch.tensor(rows - rows.min())[:, None, :, None]  # pythae demands at least 0
    theirs = samplers.GaussianMixtureSampler(Identity(), samplers.GaussianMixtureSamplerConfig(n_components=3))
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002 - it has no seed of its own
    theirs.fit(images)
    np.random.set_state(before)  # noqa: NPY002
    latents = images[:, 0, :, 0].numpy()
    mixture = load_sampler("gaussian-mixture", components=3, covariance="full", coordinates="raw")
    held_out = three_clusters(400, 10, d=4) - rows.min()
    expected = theirs.gmm.score_samples(held_out)
    # Both start from the same clusters; the floor of variances is absolute there.
    assert mixture.fit(latents).log_prob(held_out).mean() == pytest.approx(expected.mean(), abs=0.01)


# The flow.


BENT = {"kind": "neural-spline", "dropout": 0.1, "learning_rate": 3e-3, "hidden": 32, "max_epochs": 20}


@pytest.fixture(scope="module")
def two_moons() -> MemoryStore:
    return MemoryStore(moons(2000, 11), moons(600, 12), name="moons")


@pytest.fixture(scope="module")
def bent(two_moons: MemoryStore) -> LatentSampler:
    return load_sampler("flow", **BENT).fit(two_moons)


@pytest.fixture(scope="module")
def heavy() -> MemoryStore:
    """Student's t with 4 degrees of freedom in five dimensions, stretched and turned."""
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(2000, 5)) / np.sqrt(rng.chisquare(4, (2000, 1)) / 4)
    return MemoryStore((rows @ rng.normal(size=(5, 5)) + 3)[:1500], (rows @ np.eye(5))[:0], name="heavy")


def plane(density: Any, low: Rows, high: Rows, cells: int = CELLS) -> tuple[Rows, NDArray[np.float64], float]:
    """Midpoints of a grid, the density there, and the area of a cell."""
    sides = [low[k] + (np.arange(cells) + 0.5) * (high[k] - low[k]) / cells for k in range(2)]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.exp(density(points)), float(np.prod((high - low) / cells))


def test_flow_beats_the_normal_on_bent_data(two_moons: MemoryStore, bent: LatentSampler) -> None:
    evaluator = load_evaluator("log-likelihood")
    evaluator.prepare(RealData(two_moons))
    gain = by_metric(evaluator.score(Samples.drawn_by(bent, 50)))["log-likelihood-gain"]
    assert gain.low > 0.4


def test_flow_beats_the_normal_on_heavy_tails_untouched() -> None:
    rng = np.random.default_rng(14)
    rows = rng.normal(size=(2500, 8)) / np.sqrt(rng.chisquare(5, (2500, 1)) / 5)
    found = likelihood(MemoryStore(rows[:1500], rows[1500:]), load_sampler("flow", max_epochs=5))
    assert found["log-likelihood-gain"].low > 0.2


def test_density_of_the_flow_integrates_to_one(bent: LatentSampler) -> None:
    _, density, area = plane(bent.log_prob, np.array([-3.0, -4.0]), np.array([16.0, 0.5]))
    assert density.sum() * area == pytest.approx(1, abs=0.01)


def test_rows_of_the_flow_follow_its_density(bent: LatentSampler) -> None:
    """8,000 rows against as many of the grid: a Kolmogorov distance of 0.05 is found with power over 99 %."""
    low, high = np.array([-3.0, -4.0]), np.array([16.0, 0.5])
    points, density, _ = plane(bent.log_prob, low, high)
    rng = np.random.default_rng(15)
    theirs = points[rng.choice(len(points), 8000, p=density / density.sum())]
    theirs = theirs + rng.uniform(-0.5, 0.5, theirs.shape) * (high - low) / CELLS
    ours = bent.sample(8000, seed=3).double().numpy()
    turned = np.array([[1.0, 4.0], [1.0, -4.0]])
    for a, b in [*zip(ours.T, theirs.T, strict=True), *zip((ours @ turned).T, (theirs @ turned).T, strict=True)]:
        assert stats.ks_2samp(a, b).pvalue > ALPHA
    assert stats.ks_2samp(bent.log_prob(ours), bent.log_prob(theirs)).pvalue > ALPHA


@pytest.mark.parametrize("axes", ["independent", "principal"])
def test_density_of_the_flow_is_that_of_its_map(heavy: MemoryStore, axes: str) -> None:
    """log p(f(x)) = log N(x) - log |det f'(x)|, the derivative by differences."""
    sampler = load_sampler("flow", axes=axes, max_epochs=4).fit(heavy)
    assert sampler._state is not None
    state = {key: torch.tensor(value) for key, value in sampler._state.items()}
    state = {key: value.double() if value.is_floating_point() else value for key, value in state.items()}
    assert state["radial"][1] < 0.9
    assert state["spread"] != 1
    network = sampler._restored(state)  # type: ignore[attr-defined]

    def mapped(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return outwards(inverse(network, state["spread"] * x), state["radial"]) @ state["axes"] + state["mean"]

    step = 1e-6
    x = torch.tensor(np.random.default_rng(16).normal(size=(20, 5)))
    slopes = [(mapped(x + step * e) - mapped(x - step * e)) / (2 * step) for e in torch.eye(5, dtype=torch.float64)]
    log_volume = torch.linalg.slogdet(torch.stack(slopes, dim=1)).logabsdet.numpy()
    expected = stats.norm.logpdf(x.numpy()).sum(axis=1) - log_volume
    assert sampler.log_prob(mapped(x)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["masked-autoregressive", "neural-spline"])
def test_quick_inverse_is_zukos(heavy: MemoryStore, kind: str) -> None:
    sampler = load_sampler("flow", kind=kind, layers=3, max_epochs=4, learning_rate=0.01).fit(heavy)
    assert sampler._state is not None
    network = sampler._restored({key: torch.tensor(value) for key, value in sampler._state.items()})  # type: ignore[attr-defined]
    x = torch.tensor(np.random.default_rng(17).normal(size=(500, 5)), dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(inverse(network, x), network().transform.inv(x), atol=1e-4)


@given(st.floats(0.2, 1.0), st.floats(-1.0, 1.0), st.floats(0.05, 20.0), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_radial_map_is_undone_and_its_derivative_is_right(s: float, factor: float, radius: float, q: int) -> None:
    radial = torch.tensor([0.0, s, factor], dtype=torch.float64)  # linear below radius 1
    row = torch.tensor(np.random.default_rng(18).normal(size=(1, q)))
    row *= radius / row.norm()
    moved, log_derivative = inwards(row, radial)
    assert torch.allclose(outwards(moved, radial), row, rtol=1e-9)
    slope = torch.autograd.functional.jacobian(lambda v: inwards(v[None], radial)[0][0], row[0])
    if abs(radius - 1) > 1e-9:
        assert float(log_derivative) == pytest.approx(float(torch.linalg.slogdet(slope).logabsdet), abs=1e-9)


def test_radial_map_gives_heavy_tails_the_radius_of_a_normal_and_leaves_a_normal() -> None:
    rng = np.random.default_rng(19)
    normal = np.linalg.norm(rng.normal(size=(20_000, 40)), axis=1)
    heavy = normal * np.exp(0.3 * rng.normal(size=20_000))
    least, exponent, factor = radial_map(heavy, 40)
    moved = factor + exponent * np.log(heavy)
    assert least == pytest.approx(np.log(heavy.min()))
    assert moved.mean() == pytest.approx(np.log(normal).mean(), abs=0.005)
    assert moved.std() == pytest.approx(np.log(normal).std(), rel=0.03)
    assert radial_map(0.5 * normal**0.9, 40).tolist()[1:] == [1, 0]


def test_flow_is_the_same_for_a_seed_and_leaves_the_global_generators(heavy: MemoryStore) -> None:
    before, numpys = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002 - it shall stay as it is
    threads = torch.get_num_threads()
    fitted = []
    for count, seed in [(1, 5), (2, 5), (2, 6)]:
        torch.set_num_threads(count)
        fitted.append(load_sampler("flow", seed=seed, max_epochs=2).fit(heavy))
    torch.set_num_threads(threads)
    rows = [sampler.sample(3000, seed=1) for sampler in fitted]
    fitted[0].log_prob(rows[0])
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(np.random.get_state()) == numpys  # noqa: NPY002


def test_first_rows_of_the_flow_stay_and_a_saved_one_draws_the_same(bent: LatentSampler, tmp_path: Path) -> None:
    bent.save(tmp_path / "flow.safetensors")
    loaded = LatentSampler.load(tmp_path / "flow.safetensors")
    few, many = bent.sample(10, seed=7), loaded.sample(BLOCK_ROWS + 10, seed=7, threads=2)
    assert torch.equal(few, many[:10])
    assert np.array_equal(loaded.log_prob(few), bent.log_prob(few))


class Bars:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.total, self.steps = 0, list[int]()

    def begin(self, what: str, total: int, done: int = 0) -> Any:
        self.total = total
        return self.steps.append


def test_flow_keeps_the_best_epoch_and_stops(two_moons: MemoryStore) -> None:
    """A network without dropout on 100 vectors: it learns what they have in common, then each by heart."""
    rows = two_moons.latents()[:100]
    eager = {**BENT, "dropout": 0, "learning_rate": 0.01, "patience": 60}
    losses = []
    for epochs in (1, 5, 20, 30):
        sampler = load_sampler("flow", **eager | {"max_epochs": epochs}).fit(rows)
        losses.append(validation_loss(sampler, rows))
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[2]
    assert losses[-2] == losses[-1]  # the best epoch is behind
    bars = Bars()
    patient = load_sampler("flow", **eager | {"patience": 8, "max_epochs": 60}).fit(rows, progress=bars)
    assert validation_loss(patient, rows) >= losses[-1]
    assert len(bars.steps) < 60
    assert sum(bars.steps) == bars.total == 60


def validation_loss(sampler: LatentSampler, rows: Rows) -> float:
    """Of the base as it was trained, of spread 1, in coordinates that the spread does not enter."""
    assert sampler._state is not None
    state = {key: torch.tensor(value) for key, value in sampler._state.items()}
    white = torch.linalg.solve(state["axes"], torch.tensor(rows).double() - state["mean"], left=False)
    moved = inwards(white, state["radial"])[0].float()
    _, judged = split(len(rows), 0.1, 0)
    network = sampler._restored(state)  # type: ignore[attr-defined]
    with torch.no_grad():
        return -float(network().log_prob(moved[torch.from_numpy(judged)]).mean())


@given(st.integers(2, 500), st.floats(0.001, 0.999), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_every_vector_is_trained_on_or_validates(n: int, share: float, seed: int) -> None:
    train, judged = split(n, share, seed)
    assert sorted([*train, *judged]) == list(range(n))
    assert len(train) >= 1
    assert len(judged) >= 1
    assert abs(len(judged) - share * n) <= 1


def test_spread_of_the_base_is_that_of_many_vectors_and_hardly_moved_by_few() -> None:
    base = torch.tensor(np.random.default_rng(21).normal(size=(1000, 256)) * 1.05)
    assert spread_of(base) == pytest.approx(1.05, abs=0.004)
    assert spread_of(3 * torch.ones(1, 2)) == pytest.approx(math.sqrt(118 / 102))


@pytest.mark.parametrize("kind", ["masked-autoregressive", "neural-spline"])
@pytest.mark.parametrize("shape", [(20, 1), (20, 2), (10, 3)])
def test_flow_of_few_vectors_is_no_worse_than_sane(shape: tuple[int, int], kind: str) -> None:
    rows = np.random.default_rng(22).normal(size=shape)
    sampler = load_sampler("flow", kind=kind).fit(rows)
    new = np.random.default_rng(23).normal(size=(500, shape[1]))
    truth = stats.norm.logpdf(new).sum(axis=1).mean()
    assert sampler.log_prob(new).mean() > truth - 2 * shape[1]
    assert np.abs(sampler.sample(500).numpy()).max() < 30


def test_flow_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, heavy: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match="flow: 9 vectors of latents, it needs 10"):
        load_sampler("flow").fit(heavy.latents()[:9])
    with pytest.raises(LsamplerError, match="training diverged in epoch 1; use a smaller learning_rate"):
        load_sampler("flow", learning_rate=1e30).fit(heavy)
    flat = load_sampler("flow", max_epochs=1).fit(np.repeat(heavy.latents()[:, :2], 2, axis=1))
    assert flat.sample(5).shape == (5, 4)
    with pytest.raises(LsamplerError, match="flow draws in 2 of 4 dimensions: there is no density"):
        flat.log_prob(np.zeros((1, 4)))
    with pytest.raises(LsamplerError, match="flow needs latent vectors"):
        load_sampler("flow").fit(load_bundle("celeba96"))
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(LsamplerError, match=r"flow needs zuko; install it with: pip install 'lsampler\[flow\]'"):
        load_sampler("flow").fit(heavy)


# The likelihood.


def test_likelihood_of_one_normal_is_the_textbooks(reference: MemoryStore) -> None:
    found = likelihood(reference, load_sampler("multivariate-normal"))
    statistics, rows = reference.statistics(), reference.held_out().astype(np.float64)
    density = stats.multivariate_normal(statistics.mean, statistics.covariance).logpdf(rows)
    expected = density + 0.5 * np.linalg.slogdet(statistics.covariance)[1]
    score = found["held-out-log-likelihood"]
    assert score.value == pytest.approx(expected.mean(), abs=1e-6)
    assert score.n == len(rows)
    assert (score.high - score.low) / 2 == pytest.approx(1.96 * expected.std() / math.sqrt(len(rows)), rel=0.25)
    gain = found["log-likelihood-gain"]
    assert (gain.text, gain.range_text) == ("0", "0-0")
    assert (score.better, gain.better, score.unit) == ("higher", "higher", "number")


def test_affine_maps_of_the_latent_space_leave_the_likelihood(reference: MemoryStore) -> None:
    sampler = load_sampler("multivariate-normal", temperature=0.9)
    mapping = 1e3 * np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0] * np.linspace(1, 5, 12)
    mapped = MemoryStore(reference.latents() @ mapping + 7, reference.held_out() @ mapping + 7)
    ours, theirs = likelihood(reference, sampler), likelihood(mapped, sampler)
    for metric, score in ours.items():
        assert theirs[metric].value == pytest.approx(score.value, abs=1e-3)


def test_gain_is_seen_where_the_likelihoods_intervals_overlap() -> None:
    """Vectors differ far more from each other than two densities do at each."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(4000, 6)) * rng.choice([0.65, 1.3], size=(4000, 1))
    reference = MemoryStore(rows[:3000], rows[3000:])
    mixture = likelihood(reference, load_sampler("gaussian-mixture", components=2, covariance="full"))
    normal = likelihood(reference, load_sampler("multivariate-normal"))
    ours, theirs = mixture["held-out-log-likelihood"], normal["held-out-log-likelihood"]
    gain = mixture["log-likelihood-gain"]
    assert ours.low < theirs.high
    assert gain.low > 0
    assert gain.value == pytest.approx(ours.value - theirs.value, abs=1e-9)
    assert gain.high - gain.low < (ours.high - ours.low) / 2


def test_shrunk_samples_lose_likelihood(reference: MemoryStore) -> None:
    cold = likelihood(reference, load_sampler("multivariate-normal", temperature=0.8))["log-likelihood-gain"]
    # But for the sampling error of the held-out spread, 3.4 / sqrt(1000) nats.
    assert cold.value == pytest.approx(12 * (math.log(1 / 0.8) - (1 / 0.64 - 1) / 2), abs=0.3)
    assert cold.high < 0


def test_at_most_so_many_held_out_vectors_are_looked_at(reference: MemoryStore) -> None:
    asked: list[Rows] = []

    def log_prob(rows: Rows) -> NDArray[np.float64]:
        asked.append(rows)
        return np.zeros(len(rows))

    evaluator = load_evaluator("log-likelihood", rows=100)
    evaluator.prepare(RealData(reference))
    scores = evaluator.score(Samples("some", reference.latents()[:5], log_prob=log_prob))
    assert {score.n for score in scores} == {100}
    places = [int(np.flatnonzero((reference.held_out() == row).all(axis=1))[0]) for row in asked[0]]
    assert len(set(places)) == 100
    assert max(places) > 500  # from all over


def test_without_a_density_there_is_no_likelihood_and_no_problem(reference: MemoryStore) -> None:
    found = evaluate([Samples("drawn", reference.latents()[:50])], reference, [load_evaluator("log-likelihood")])
    assert [(row.scores, row.problems) for row in found.rows] == [([], []), ([], [])]


@pytest.mark.parametrize(
    ("log_prob", "problem"),
    [
        (lambda rows: np.where(np.arange(len(rows)) < 7, -np.inf, 0.0), "gives 7 of 1000 held-out vectors density 0"),
        (lambda rows: np.full(len(rows), np.nan), "is NaN, infinite or of a wrong shape"),
        (lambda rows: np.full(len(rows), np.inf), "is NaN, infinite or of a wrong shape"),
        (lambda rows: np.zeros((len(rows), 1)), "is NaN, infinite or of a wrong shape"),
    ],
)
def test_densities_without_a_mean_are_a_problem_of_the_row(reference: MemoryStore, log_prob: Any, problem: str) -> None:
    samples = Samples("some", reference.latents()[:50], log_prob=log_prob)
    row = evaluate([samples], reference, [load_evaluator("log-likelihood")]).rows[-1]
    assert not row.scores
    assert len(row.problems) == 1
    assert problem in row.problems[0]


def test_parameters_without_a_density_are_a_problem_of_the_row(reference: MemoryStore) -> None:
    sampler = load_sampler("multivariate-normal", components=3).fit(reference)
    row = evaluate([Samples.drawn_by(sampler, 50)], reference, [load_evaluator("log-likelihood")]).rows[-1]
    assert row.problems == ["log-likelihood: multivariate-normal draws in 3 of 12 dimensions: there is no density"]


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (load_bundle("celeba96"), "needs real vectors"),
        (MemoryStore(np.eye(4)), "holds no held-out vectors"),
        (MemoryStore(np.random.default_rng(0).normal(size=(9, 4)), np.eye(4)[:1]), "1 held-out vector, an interval"),
        (MemoryStore(np.eye(4), np.eye(4)), "has rank 3, 4 components are wanted"),
    ],
)
def test_likelihood_says_what_it_lacks(reference: Any, problem: str) -> None:
    with pytest.raises(LsamplerError, match=problem):
        load_evaluator("log-likelihood").prepare(RealData(reference))
