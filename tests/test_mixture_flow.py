"""The mixture of normals, the flow, and the likelihood that scores them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from lsampler import (
    ArrayReference,
    LatentSampler,
    LsamplerError,
    RealData,
    Samples,
    Score,
    evaluate,
    load_bundle,
    load_evaluator,
    load_sampler,
)
from lsampler._random import BLOCK_ROWS

Rows = NDArray[Any]
ALPHA = 1e-3
MIXTURES = [(covariance, coordinates) for covariance in ("full", "diagonal") for coordinates in ("raw", "whitened")]


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


@pytest.fixture(scope="module")
def clusters() -> ArrayReference:
    return ArrayReference(three_clusters(2000, 1), three_clusters(400, 2), name="clusters")


# The mixture.


@pytest.mark.parametrize(("covariance", "coordinates"), MIXTURES)
def test_mixture_has_the_density_that_scikit_learn_computes(
    clusters: ArrayReference, covariance: str, coordinates: str
) -> None:
    sampler = load_sampler("gaussian-mixture", components=4, covariance=covariance, coordinates=coordinates, seed=3)
    pca, rows = clusters.statistics().pca, clusters.latents().astype(np.float64)
    if coordinates == "raw":
        shrink = np.eye(3) / math.sqrt(pca.variances.mean())
    else:
        shrink = pca.axes.T / np.sqrt(pca.variances)
    theirs = sampler.fit(clusters)._fit((rows - pca.mean) @ shrink)
    expected = theirs.score_samples((clusters.held_out() - pca.mean) @ shrink) + np.linalg.slogdet(shrink)[1]
    assert sampler.log_prob(clusters.held_out()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_mixture_fits_as_well_as_the_best_of_ten_of_scikit_learn(clusters: ArrayReference, covariance: str) -> None:
    rows = clusters.latents().astype(np.float64)
    kind = "diag" if covariance == "diagonal" else "full"
    theirs = GaussianMixture(3, covariance_type=kind, n_init=10, random_state=0).fit(rows)
    ours = load_sampler("gaussian-mixture", components=3, covariance=covariance, coordinates="raw").fit(clusters)
    assert ours.log_prob(rows).mean() == pytest.approx(theirs.score(rows), abs=0.005)


@pytest.mark.parametrize(("covariance", "coordinates"), MIXTURES)
def test_rows_of_the_mixture_follow_its_density(clusters: ArrayReference, covariance: str, coordinates: str) -> None:
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


def test_temperature_shrinks_each_component_to_its_own_centre(clusters: ArrayReference) -> None:
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
    """Clusters of vectors, scikit-learn's start, would be the outliers, and each normal there a copy of one."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1000, 60)) * np.where(np.arange(1000) < 20, 2.5, 1)[:, None]
    state = load_sampler("gaussian-mixture", components=10).fit(rows)._state
    assert state is not None
    usual = GaussianMixture(10, covariance_type="diag", random_state=0).fit(rows / rows.std(axis=0))
    assert usual.weights_.min() < 0.0015  # what is avoided does happen
    assert state["weights"].min() > 0.015


def test_first_rows_of_the_mixture_stay_and_a_saved_one_draws_the_same(
    clusters: ArrayReference, tmp_path: Path
) -> None:
    sampler = load_sampler("gaussian-mixture", components=3).fit(clusters)
    sampler.save(tmp_path / "mixture.safetensors")
    loaded = LatentSampler.load(tmp_path / "mixture.safetensors")
    few, many = sampler.sample(10, seed=7), loaded.sample(BLOCK_ROWS + 10, seed=7)
    assert torch.equal(few, many[:10])
    assert np.array_equal(loaded.log_prob(few), sampler.log_prob(few))


def test_mixture_that_is_true_has_the_likelihood_of_the_truth(clusters: ArrayReference) -> None:
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


def test_more_restarts_never_fit_worse(clusters: ArrayReference) -> None:
    rows = clusters.latents()
    fitted = [
        load_sampler("gaussian-mixture", components=6, seed=seed, restarts=restarts).fit(clusters).log_prob(rows).mean()
        for seed, restarts in [(0, 1), (1, 1), (2, 1), (0, 3)]
    ]
    assert len(set(np.round(fitted[:3], 6))) > 1  # else nothing is chosen between
    assert fitted[3] == pytest.approx(max(fitted[:3]), abs=0.01)


@pytest.mark.parametrize("coordinates", ["raw", "whitened"])
def test_unit_of_the_latent_space_does_not_matter_to_the_mixture(clusters: ArrayReference, coordinates: str) -> None:
    small = ArrayReference(clusters.latents() * np.float32(2**-20))
    kept, shrunk = (
        load_sampler("gaussian-mixture", components=3, coordinates=coordinates).fit(reference)
        for reference in (clusters, small)
    )
    drawn, again = kept.sample(100, seed=1).numpy(), shrunk.sample(100, seed=1).numpy() * 2**20
    assert again == pytest.approx(drawn, rel=1e-3, abs=1e-3)


def test_mixture_needs_as_many_vectors_as_components() -> None:
    with pytest.raises(LsamplerError, match=r"components=20 for 7 vectors of latents; use --param components=1"):
        load_sampler("gaussian-mixture").fit(np.eye(7))


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
    images = torch.tensor((rows - rows.min()) / np.ptp(rows))[:, None, :, None]  # pythae demands [0, 1]
    theirs = samplers.GaussianMixtureSampler(Identity(), samplers.GaussianMixtureSamplerConfig(n_components=5))
    theirs.fit(images)
    latents = images[:, 0, :, 0].numpy()
    mixture = load_sampler("gaussian-mixture", components=5, covariance="full", coordinates="raw")
    held_out = (three_clusters(400, 10, d=4) - rows.min()) / np.ptp(rows)
    expected = theirs.gmm.score_samples(held_out)
    # It starts from other clusters, unseeded, and its floor of variances is absolute.
    assert mixture.fit(latents).log_prob(held_out).mean() == pytest.approx(expected.mean(), rel=0.01)


# The likelihood.


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def likelihood(reference: ArrayReference, sampler: LatentSampler, **parameters: Any) -> dict[str, Score]:
    evaluator = load_evaluator("log-likelihood", **parameters)
    evaluator.prepare(RealData(reference))
    return by_metric(evaluator.score(Samples.drawn_by(sampler.fit(reference), 50)))


def test_likelihood_of_one_normal_is_the_textbooks(reference: ArrayReference) -> None:
    found = likelihood(reference, load_sampler("multivariate-normal"))
    statistics, rows = reference.statistics(), reference.held_out().astype(np.float64)
    density = stats.multivariate_normal(statistics.mean, statistics.covariance).logpdf(rows)
    expected = density + 0.5 * np.linalg.slogdet(statistics.covariance)[1]
    score = found["held-out-log-likelihood"]
    assert score.value == pytest.approx(expected.mean(), abs=1e-6)
    assert score.n == len(rows)
    assert (score.high - score.low) / 2 == pytest.approx(1.96 * expected.std() / math.sqrt(len(rows)), rel=0.25)
    gain = found["log-likelihood-gain"]
    assert (gain.value, gain.low, gain.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert (score.better, gain.better, score.unit) == ("higher", "higher", "number")


def test_affine_maps_of_the_latent_space_leave_the_likelihood(reference: ArrayReference) -> None:
    sampler = load_sampler("multivariate-normal", temperature=0.9)
    mapping = 1e3 * np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0] * np.linspace(1, 5, 12)
    mapped = ArrayReference(reference.latents() @ mapping + 7, reference.held_out() @ mapping + 7)
    ours, theirs = likelihood(reference, sampler), likelihood(mapped, sampler)
    for metric, score in ours.items():
        assert theirs[metric].value == pytest.approx(score.value, abs=1e-3)


def test_gain_is_seen_where_the_likelihoods_intervals_overlap() -> None:
    """Vectors differ far more from each other than two densities do at each."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(4000, 6)) * rng.choice([0.65, 1.3], size=(4000, 1))
    reference = ArrayReference(rows[:3000], rows[3000:])
    mixture = likelihood(reference, load_sampler("gaussian-mixture", components=2, covariance="full"))
    normal = likelihood(reference, load_sampler("multivariate-normal"))
    ours, theirs = mixture["held-out-log-likelihood"], normal["held-out-log-likelihood"]
    gain = mixture["log-likelihood-gain"]
    assert ours.low < theirs.high
    assert gain.low > 0
    assert gain.value == pytest.approx(ours.value - theirs.value, abs=1e-9)
    assert gain.high - gain.low < (ours.high - ours.low) / 2


def test_shrunk_samples_lose_likelihood(reference: ArrayReference) -> None:
    cold = likelihood(reference, load_sampler("multivariate-normal", temperature=0.8))["log-likelihood-gain"]
    # But for the sampling error of the held-out spread, 3.4 / sqrt(1000) nats.
    assert cold.value == pytest.approx(12 * (math.log(1 / 0.8) - (1 / 0.64 - 1) / 2), abs=0.3)
    assert cold.high < 0


def test_at_most_so_many_held_out_vectors_are_looked_at(reference: ArrayReference) -> None:
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


def test_without_a_density_there_is_no_likelihood_and_no_problem(reference: ArrayReference) -> None:
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
def test_densities_without_a_mean_are_a_problem_of_the_row(
    reference: ArrayReference, log_prob: Any, problem: str
) -> None:
    samples = Samples("some", reference.latents()[:50], log_prob=log_prob)
    row = evaluate([samples], reference, [load_evaluator("log-likelihood")]).rows[-1]
    assert not row.scores
    assert len(row.problems) == 1
    assert problem in row.problems[0]


def test_parameters_without_a_density_are_a_problem_of_the_row(reference: ArrayReference) -> None:
    sampler = load_sampler("multivariate-normal", components=3).fit(reference)
    row = evaluate([Samples.drawn_by(sampler, 50)], reference, [load_evaluator("log-likelihood")]).rows[-1]
    assert row.problems == ["log-likelihood: multivariate-normal draws in 3 of 12 dimensions: there is no density"]


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (load_bundle("celeba96"), "needs real vectors"),
        (ArrayReference(np.eye(4)), "holds no held-out vectors"),
        (ArrayReference(np.random.default_rng(0).normal(size=(9, 4)), np.eye(4)[:1]), "1 held-out vector, an interval"),
        (ArrayReference(np.eye(4), np.eye(4)), "has rank 3, 4 components are wanted"),
    ],
)
def test_likelihood_says_what_it_lacks(reference: Any, problem: str) -> None:
    with pytest.raises(LsamplerError, match=problem):
        load_evaluator("log-likelihood").prepare(RealData(reference))
