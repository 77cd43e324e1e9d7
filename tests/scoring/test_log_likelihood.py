"""The score log-likelihood: the density of held-out vectors, and the gain on a normal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lsampler import LsamplerError, evaluate, load_bundle, load_sampler
from lsampler.plugins import load_evaluator
from lsampler.samplers import LatentSampler
from lsampler.scoring import RealData, Samples, Score
from lsampler.store import MemoryStore

Rows = NDArray[Any]


def likelihood(reference: MemoryStore, sampler: LatentSampler) -> dict[str, Score]:
    evaluator = load_evaluator("log-likelihood")
    evaluator.prepare(RealData(reference))
    scores = evaluator.score(Samples.drawn_by(sampler.fit(reference), 50))
    return {score.metric: score for score in scores}


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


def test_at_most_rows_held_out_vectors_are_scored(reference: MemoryStore) -> None:
    asked: list[Rows] = []

    def log_prob(rows: Rows) -> NDArray[np.float64]:
        asked.append(rows)
        return np.zeros(len(rows))

    evaluator = load_evaluator("log-likelihood", rows=100)
    evaluator.prepare(RealData(reference))
    scores = evaluator.score(Samples("some", reference.latents()[:5], log_prob=log_prob))
    assert {score.n for score in scores} == {100}
    indices = [int(np.flatnonzero((reference.held_out() == row).all(axis=1))[0]) for row in asked[0]]
    assert len(set(indices)) == 100
    assert max(indices) > 500  # from all over


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
        (load_bundle("celeba96").reference, "needs real vectors"),
        (MemoryStore(np.eye(4)), "holds no held-out vectors"),
        (MemoryStore(np.random.default_rng(0).normal(size=(9, 4)), np.eye(4)[:1]), "1 held-out vector, an interval"),
        (MemoryStore(np.eye(4), np.eye(4)), "vary in 3 directions, which is fewer than their 4"),
    ],
)
def test_likelihood_says_what_it_lacks(reference: Any, problem: str) -> None:
    with pytest.raises(LsamplerError, match=problem):
        load_evaluator("log-likelihood").prepare(RealData(reference))
