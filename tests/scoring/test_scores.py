"""Scores of latent vectors, each against a second computation, and on samples whose flaw is known."""

from __future__ import annotations

import math

import numpy as np
import prdc
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, mahalanobis
from scipy.stats import ks_2samp, norm, wasserstein_distance
from scored import Rows, brute_frechet, draw, known, scored, values

from lsampler import LsamplerError, evaluate
from lsampler.compute import frechet_distance
from lsampler.plugins import load_evaluator
from lsampler.scoring import Metric, RealData, bootstrap_score, normal_score
from lsampler.store import MemoryStore

# Intervals.


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    metric = Metric("m", group="", label="", better="real")
    trials, rows = 800, np.random.default_rng(57).exponential(size=(800, 60))
    covered = 0
    for seed in range(trials):
        mine = rows[seed]

        def mean(i: NDArray[np.int64], mine: Rows = mine) -> float:
            return float(mine[i].mean())

        score = bootstrap_score(metric, mean, 60, seed=seed)
        assert score.low <= score.value <= score.high
        covered += score.low <= 1.0 <= score.high
    # The basic interval of a skewed mean of 60 falls a little short of 95 %: 91 to 93 %. Three standard deviations of
    # 800 trials are 2.6 %, so that intervals for 85 % or 99 % would be seen.
    assert covered / trials == pytest.approx(0.93, abs=0.035)


# Fidelity and diversity.


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_four_scores_are_those_of_the_package_prdc(k: int, shift: float) -> None:
    reference, rows = known(600), (draw(300) + shift).astype(np.float32)
    real = RealData(reference, rows=300)
    expected = prdc.compute_prdc(real.train.astype(np.float64), rows.astype(np.float64), nearest_k=k)
    found = values("fidelity-diversity", rows, reference, k=k)
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected, rel=1e-12)
    assert 0 < found["precision"] < 1
    assert 0 < found["coverage"] < 1


def beta_binomial(j: int, m: int, a: int, b: int) -> float:
    """C(m, j) B(a + j, b + m - j) / B(a, b), in logarithms."""
    log_beta = [math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y) for x, y in ((a + j, b + m - j), (a, b))]
    return math.comb(m, j) * math.exp(log_beta[0] - log_beta[1])


def brute_expected_coverage(m: int, n: int, k: int) -> float:
    return sum(min(j, k) * beta_binomial(j, m, k, n - k) for j in range(m + 1)) / k if m >= k else 0.0


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("scale", "bad", "d"), [(1.0, 0, 4), (0.7, 0, 4), (1.3, 20, 4), (1.1, 0, 40)])
def test_the_clipped_scores_are_those_of_plain_loops(k: int, scale: float, bad: int, d: int) -> None:
    reference = known(160, 20, d)
    real = RealData(reference, rows=80)
    train, rows = real.train.astype(np.float64), draw(80, d)
    rows = (scale * (rows - 2) + 2).astype(np.float32)
    rows[:bad] += 50
    n, among, across = len(train), cdist(train, train), cdist(train, rows.astype(np.float64))
    radius = [sorted(among[i])[k] for i in range(n)]
    clipped = [min(r, float(np.median(radius))) for r in radius]
    drawn = [min(sum(across[i, j] <= clipped[i] for i in range(n)) / k, 1) for j in range(len(rows))]
    own = [min(sum(among[i, j] <= clipped[i] for i in range(n) if i != j) / k, 1) for j in range(n)]
    held = np.mean([min(sum(across[i, j] < radius[i] for j in range(len(rows))), k) / k for i in range(n)])
    good = next((m for m in range(len(rows) + 1) if brute_expected_coverage(m, n, k) >= held), len(rows) + 1)
    found = values("fidelity-diversity", rows, reference, k=k)
    assert found["clipped-density"] == pytest.approx(min(np.mean(drawn) / np.mean(own), 1), rel=1e-12)
    assert found["clipped-coverage"] == pytest.approx(good / (len(rows) + 1), rel=1e-12)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_symmetric_scores_are_those_of_plain_loops(k: int, scale: float) -> None:
    reference = known(600)
    real = RealData(reference, rows=300)
    train, rows = real.train.astype(np.float64), (scale * (draw(300) - 2) + 2).astype(np.float32)
    across = cdist(train, rows.astype(np.float64))
    radii = [np.sort(cdist(part, part), axis=1)[:, k] for part in (train, rows.astype(np.float64))]
    inside_real, inside_drawn = across < radii[0][:, np.newaxis], across < radii[1]
    found = values("fidelity-diversity", rows, reference, k=k)
    assert found["symmetric-precision"] == min(inside_real.any(axis=0).mean(), inside_drawn.any(axis=0).mean())
    assert found["symmetric-recall"] == min(inside_drawn.any(axis=1).mean(), inside_real.any(axis=1).mean())


def test_shrinking_does_not_raise_the_symmetric_precision() -> None:
    """Heavy radii in 64 dimensions, as real latents have them: shrunk samples hide in the balls of outliers."""
    rng = np.random.default_rng(8)
    rows = (rng.normal(size=(3000, 64)) * np.exp(0.3 * rng.normal(size=(3000, 1)))).astype(np.float32)
    reference = MemoryStore(rows[:2000])
    found = values("fidelity-diversity", 0.6 * rows[2000:], reference)
    assert found["precision"] > 0.9
    assert found["symmetric-precision"] < 0.4


def test_a_sampler_that_returns_the_mean_has_all_fidelity_and_no_diversity() -> None:
    reference = known()
    mean = np.repeat(reference.statistics().mean[np.newaxis], 600, axis=0)
    found = values("fidelity-diversity", mean, reference)
    assert (found["precision"], found["clipped-density"], found["recall"]) == (1.0, 1.0, 0.0)
    assert found["density"] > 2
    assert found["coverage"] < 0.1
    assert found["clipped-coverage"] < 0.15
    membership = values("core-membership", mean, reference)
    assert set(membership.values()) == {1.0}
    assert values("latent-distances", mean, reference)["radius-ratio"] == pytest.approx(0.0, abs=1e-6)
    assert values("novelty", mean, reference)["novelty-ratio"] != pytest.approx(1.0, abs=0.1)


def test_shares_have_wilson_intervals_and_the_others_are_resampled() -> None:
    found = scored("fidelity-diversity", draw(300), known(600))
    assert {metric: score.interval for metric, score in found.items()} == {
        **dict.fromkeys(("precision", "recall", "coverage", "symmetric-precision", "symmetric-recall"), "Wilson"),
        **dict.fromkeys(("density", "clipped-density", "clipped-coverage"), "bootstrap, 200 resamples"),
    }
    assert {metric for metric, score in found.items() if score.better != "higher"} == {"density"}
    assert {metric for metric, score in found.items() if score.unit != "share"} == {"density"}
    assert found["clipped-density"].high <= 1


def test_the_held_out_row_is_not_compared_with_a_larger_set() -> None:
    with pytest.raises(LsamplerError, match="too few held-out vectors for sets of equal size; see the row of other"):
        scored("fidelity-diversity", draw(200), known(), kind="held-out", real=RealData(known(), rows=201))
    assert scored("fidelity-diversity", draw(200), known(), kind="held-out")["precision"].n == 200


@pytest.mark.parametrize(("n", "rows", "message"), [(600, 5, "5 samples; k=5 needs 6"), (12, 6, "6 real vectors .* 7")])
def test_too_few_vectors_for_k_are_one_line(n: int, rows: int, message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        scored("fidelity-diversity", draw(rows), known(n), real=RealData(known(n)))


# Distances of the distributions.


@pytest.mark.parametrize("d", [1, 3, 20])
def test_the_frechet_distance_is_the_formula(d: int) -> None:
    rng = np.random.default_rng(59)
    first, second = rng.normal(size=(60, d)) @ rng.normal(size=(d, d)), rng.normal(size=(60, d)) + 1
    moments = [part for rows in (first, second) for part in (rows.mean(axis=0), np.atleast_2d(np.cov(rows.T)))]
    assert frechet_distance(*moments) == pytest.approx(brute_frechet(*moments), rel=1e-9)
    assert frechet_distance(*moments[2:], *moments[:2]) == pytest.approx(brute_frechet(*moments), rel=1e-9)
    assert frechet_distance(*moments[:2], *moments[:2]) == pytest.approx(0.0, abs=1e-6)
    # Normals along the same axes: the means' and the standard deviations' distances.
    a, b = np.arange(1.0, d + 1), np.arange(d, 0.0, -1)
    expected = np.square(a - b).sum() + d
    assert frechet_distance(np.zeros(d), np.diag(a**2), np.ones(d), np.diag(b**2)) == pytest.approx(expected)
    # A point: the covariance is singular.
    assert frechet_distance(np.zeros(d), np.diag(a**2), np.ones(d), np.zeros((d, d))) == pytest.approx(d + (a**2).sum())


def test_moments_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(LsamplerError, match=r"^moments of shapes .*; give means \(D,\) and covariances \(D, D\)$"):
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(3), np.eye(2))
    with pytest.raises(LsamplerError, match="NaN or infinite"):
        frechet_distance(np.zeros(1), np.eye(1), np.array([np.nan]), np.eye(1))


def test_the_distances_are_those_of_second_computations() -> None:
    reference = known(900)
    real, rows = RealData(reference, rows=300), (1.2 * draw(300) + 0.4).astype(np.float32)
    train, all_rows, mine = real.train.astype(np.float64), reference.latents().astype(np.float64), rows.astype(float)
    mean, covariance = all_rows.mean(axis=0), np.cov(all_rows.T)
    scores = scored("latent-distances", rows, reference, real=real, directions=4000)
    found = {metric: score.value for metric, score in scores.items()}
    assert found["frechet"] == pytest.approx(
        brute_frechet(mean, covariance, mine.mean(axis=0), np.cov(mine.T)), rel=1e-6
    )
    pairs = np.triu_indices(12, 1)
    errors = np.corrcoef(mine.T)[pairs] - np.corrcoef(all_rows.T)[pairs]
    assert found["correlation-error"] == pytest.approx(math.sqrt(np.mean(errors**2)), rel=1e-6)
    directions = np.random.default_rng(62).normal(size=(2000, 12))
    sliced = [wasserstein_distance(mine @ w, train @ w) / math.sqrt(w @ covariance @ w) for w in directions]
    # 4,000 and 2,000 directions: four standard errors of the mean.
    tolerance = 4 * np.std(sliced) * math.sqrt(1 / 2000 + 1 / 4000)
    assert found["sliced-wasserstein"] == pytest.approx(np.mean(sliced), abs=tolerance)
    assert tolerance < 0.1 * np.mean(sliced)
    assert found["ks"] == pytest.approx(np.mean([ks_2samp(mine[:, j], train[:, j]).statistic for j in range(12)]))
    inverse = np.linalg.inv(covariance)
    radii = [[mahalanobis(row, mean, inverse) for row in part] for part in (mine, train)]
    expected = wasserstein_distance(*radii) / np.median(radii[1])
    assert found["radius-distance"] == pytest.approx(expected, rel=1e-6)
    ratio = np.median(np.linalg.norm(mine - mean, axis=1)) / np.median(np.linalg.norm(train - mean, axis=1))
    assert found["radius-ratio"] == pytest.approx(ratio, rel=1e-6)
    assert [metric for metric, score in scores.items() if score.better == "real"] == ["radius-ratio"]
    assert all(score.low >= 0 for score in scores.values())
    assert {score.interval for score in scores.values()} == {"bootstrap, 50 resamples"}


def test_one_component_is_sliced_along_itself_and_has_no_correlation() -> None:
    reference, rows = known(600, 20, 1), draw(250, 1) + 1
    found = values("latent-distances", rows, reference)
    real = RealData(reference, rows=250)
    expected = wasserstein_distance(rows[:, 0], real.train[:, 0]) / reference.latents().std(ddof=1)
    assert found["sliced-wasserstein"] == pytest.approx(expected, rel=1e-5)
    assert set(found) == {"frechet", "sliced-wasserstein", "ks", "radius-distance", "radius-ratio"}


def test_equal_vectors_are_nothing_to_compare_with() -> None:
    with np.errstate(all="raise"):
        assert np.isfinite(list(values("latent-distances", np.full((200, 12), 1.5), known()).values())).all()
    with pytest.raises(LsamplerError, match="all 100 vectors are equal"):
        scored("latent-distances", draw(50), MemoryStore(np.ones((100, 12))))


# A classifier.


@pytest.mark.parametrize("learner", ["boosting", "logistic"])
def test_a_classifier_guesses_equal_distributions_and_knows_shifted_ones(learner: str) -> None:
    reference = known()
    (same,) = scored("two-sample-classifier", draw(400), reference, learner=learner).values()
    # The area of random scores has a standard deviation of sqrt((2 n + 1) / 12 n^2) = 0.02 at n = 400; folds add some.
    assert same.value == pytest.approx(0.5, abs=0.08)
    assert same.low <= same.value <= same.high
    assert same.high - same.low == pytest.approx(4 * 0.0204, rel=0.3)
    shifted = values("two-sample-classifier", draw(400) + 2, reference, learner=learner)
    assert shifted["classifier-auc"] > 0.99


def test_trees_see_a_wider_distribution_and_even_a_single_point() -> None:
    reference = known()
    mean = reference.statistics().mean
    assert values("two-sample-classifier", mean + 1.5 * (draw(400) - mean), reference)["classifier-auc"] > 0.8
    assert values("two-sample-classifier", np.ones((400, 12)), reference)["classifier-auc"] > 0.99


def test_a_classifier_needs_vectors_to_learn_from() -> None:
    with pytest.raises(LsamplerError, match="49 vectors of a kind; cross-validation in 5 folds needs 50"):
        scored("two-sample-classifier", draw(49), known())


# Novelty.


def test_novelty_is_a_ratio_of_medians_over_all_train_vectors() -> None:
    reference, rows = known(), 1.3 * draw(200)
    nearest = [cdist(part, reference.latents()).min(axis=1) for part in (rows, reference.held_out())]
    found = scored("novelty", rows, reference)
    expected = np.median(nearest[0]) / np.median(nearest[1])
    assert found["novelty-ratio"].value == pytest.approx(expected, rel=1e-6)
    assert found["near-copies"].value == np.mean(nearest[0] <= np.quantile(nearest[1], 0.01) / 2)
    assert (found["near-copies"].better, found["novelty-ratio"].better) == ("lower", "real")
    half = np.concatenate([reference.latents()[:100] + np.float32(1e-4), draw(100)])
    assert values("novelty", half, reference)["near-copies"] == 0.5


def test_copies_are_nearer_to_train_and_shrunken_samples_are_not() -> None:
    reference = known(600, 300)
    rng = np.random.default_rng(3)
    train, held_out = reference.latents(), reference.held_out()
    rows = (train[rng.permutation(600)[:200]] + 0.01 * rng.normal(size=(200, 12))).astype(np.float32)
    shares = {
        name: values("novelty", samples, reference)["nearer-train"]
        for name, samples in {"copies": rows, "new": draw(400), "shrunk": 0.5 * draw(400) + 1}.items()
    }
    # Half of the train vectors are chosen, so that a copy finds its original in every second split.
    assert shares["copies"] == pytest.approx(0.5 + 0.5 * 0.5, abs=0.05)
    # The standard deviation of a share of 400 is 0.025; the choice of vectors adds about as much.
    assert shares["new"] == pytest.approx(0.5, abs=0.1)
    assert shares["shrunk"] == pytest.approx(0.5, abs=0.1)
    one = values("novelty", rows, reference, splits=1)["nearer-train"]
    picks = np.random.default_rng(0)
    held_out = held_out[picks.permutation(300)]
    chosen = train[picks.choice(600, 300, replace=False)]
    assert one == pytest.approx((cdist(rows, chosen).min(axis=1) < cdist(rows, held_out).min(axis=1)).mean())


def test_the_held_out_row_is_compared_with_the_other_half() -> None:
    reference = known()
    table = evaluate([], reference, [load_evaluator("novelty"), load_evaluator("fidelity-diversity")])
    held_out, other = table.rows
    assert (held_out.name, other.name) == ("held-out real vectors", "other real vectors")
    found = {score.metric: score.value for score in held_out.scores}
    halves = [cdist(reference.held_out()[first::2], reference.latents()).min(axis=1) for first in (0, 1)]
    assert found["novelty-ratio"] == pytest.approx(np.median(halves[1]) / np.median(halves[0]), rel=1e-6)
    assert other.problems == []
    assert "nearer-train" in other.by_metric
    assert "novelty-ratio" not in other.by_metric


def test_held_out_copies_leave_nothing_to_measure_novelty_by() -> None:
    rows = draw(200)
    with pytest.raises(LsamplerError, match="most held-out vectors are copies of train vectors"):
        scored("novelty", draw(50), MemoryStore(rows, rows[:50]))


def test_the_interval_of_a_normal_is_scipy_s() -> None:
    metric = Metric("m", group="g", label="l", better="lower")
    score = normal_score(metric, 2.0, 0.5, 7)
    low, high = norm(2.0, 0.5).interval(0.95)
    assert (score.low, score.high) == pytest.approx((low, high), abs=1e-6)
    assert (score.value, score.n, score.interval) == (2.0, 7, "normal")
