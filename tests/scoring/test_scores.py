"""Each score against a second computation, and on samples whose flaw is known."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import prdc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.signal import convolve2d
from scipy.spatial.distance import cdist, mahalanobis
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from lsampler import (
    ConvAutoencoder,
    Evaluation,
    LatentStore,
    LsamplerError,
    MemoryStore,
    RealData,
    Reference,
    Samples,
    Score,
    ball_counts,
    bootstrap_score,
    decode_images,
    evaluate,
    frechet_distance,
    load_bundle,
    load_evaluator,
    mutual_ball_counts,
    nearest_neighbours,
    plugin_names,
)
from lsampler.models.decoding import encode_pixels
from lsampler.scoring.evaluator import HELD_OUT_ROW, OTHER_ROW, Kind
from lsampler_plugins.evaluators.distances import _Steps, wasserstein
from lsampler_plugins.evaluators.fidelity_diversity import expected_coverage
from lsampler_plugins.evaluators.sharpness import laplacian_variances
from lsampler_plugins.evaluators.two_sample import area_under_curve

Rows = NDArray[Any]
NEW = [
    "fidelity-diversity",
    "latent-distances",
    "two-sample-classifier",
    "novelty",
    "cycle-consistency",
    "sharpness",
    "image-distance",
]


def draw(n: int, d: int = 12, seed: int = 50) -> NDArray[np.float32]:
    """The distribution of :func:`known`, once more."""
    mixing = np.eye(d) + 0.3 * np.random.default_rng(51).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 2.0).astype(np.float32)


def known(n: int = 1200, held_out: int = 400, d: int = 12) -> MemoryStore:
    rows = draw(n + held_out, d, seed=52)
    return MemoryStore(rows[:n], rows[n:], name="known")


def scored(
    name: str,
    rows: Rows,
    reference: Reference,
    *,
    kind: Kind = "drawn",
    real: RealData | None = None,
    **parameters: Any,
) -> dict[str, Score]:
    """The scores of one set of samples by their metric."""
    evaluator = load_evaluator(name, **parameters)
    real = real or RealData(reference, rows=len(rows))
    evaluator.prepare(real)
    samples = Samples("mine", np.asarray(rows, dtype=np.float32), real.decode, real.encode, kind)
    return {score.metric: score for score in evaluator.score(samples)}


def values(name: str, rows: Rows, reference: Reference, **options: Any) -> dict[str, float]:
    return {metric: score.value for metric, score in scored(name, rows, reference, **options).items()}


def of_model(model: ConvAutoencoder, store: Reference, rows: int = 2000) -> RealData:
    return RealData(
        store, decode=lambda z: decode_images(model, z), encode=lambda images: encode_pixels(model, images), rows=rows
    )


# Neighbours and balls.


def brute_neighbours(queries: Rows, points: Rows, k: int, exclude_self: bool) -> Rows:
    """(n, k) distances by scikit-learn, term by term in double precision."""
    found = NearestNeighbors(algorithm="brute", metric="minkowski", p=2).fit(points.astype(np.float64))
    distances, indices = found.kneighbors(queries.astype(np.float64), len(points))
    if not exclude_self:
        return np.asarray(distances[:, :k])
    return np.stack([row[index != i][:k] for i, (row, index) in enumerate(zip(distances, indices, strict=True))])


def offset_rows(offset: float, seed: int = 53) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(150, 7)) + offset).astype(np.float32)


def repeated_rows() -> NDArray[np.float32]:
    return np.random.default_rng(54).integers(0, 3, size=(150, 3)).astype(np.float32)


@pytest.mark.parametrize("rows", [offset_rows(0.0), offset_rows(1e4), offset_rows(-1e4), repeated_rows()])
@pytest.mark.parametrize("k", [1, 6, 150])
def test_neighbours_are_those_of_brute_force(rows: NDArray[np.float32], k: int) -> None:
    queries = rows[::2] + np.float32(0.25)
    found = nearest_neighbours(queries, rows, k)
    np.testing.assert_allclose(found.distances, brute_neighbours(queries, rows, k, False), rtol=1e-11)
    between = cdist(queries.astype(np.float64), rows.astype(np.float64))
    np.testing.assert_allclose(np.take_along_axis(between, found.indices, axis=1), found.distances, rtol=1e-11)
    assert all(len(set(row)) == k for row in found.indices.tolist())


@pytest.mark.parametrize("rows", [offset_rows(0.0), offset_rows(1e4), repeated_rows()])
@pytest.mark.parametrize("k", [1, 5, 149])
def test_a_vector_is_not_its_own_neighbour_but_its_duplicate_is(rows: NDArray[np.float32], k: int) -> None:
    found = nearest_neighbours(rows, rows, k, exclude_self=True)
    np.testing.assert_allclose(found.distances, brute_neighbours(rows, rows, k, True), rtol=1e-11, atol=1e-12)
    assert not (found.indices == np.arange(len(rows))[:, np.newaxis]).any()
    if rows.shape[1] == 3 and k == 1:  # 150 of 27 places
        assert np.mean(found.distances == 0) > 0.9


@pytest.mark.parametrize(("k", "exclude_self"), [(0, False), (151, False), (150, True)])
def test_more_neighbours_than_there_are_is_one_line(k: int, exclude_self: bool) -> None:
    rows = offset_rows(0.0)
    with pytest.raises(LsamplerError, match=rf"^k={k}: there are {150 - exclude_self} points to choose from$"):
        nearest_neighbours(rows, rows, k, exclude_self=exclude_self)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_balls_hold_the_points_of_brute_force(offset: float, closed: bool, exclude_self: bool) -> None:
    points = offset_rows(offset)
    radii = np.random.default_rng(55).uniform(0, 5, size=len(points))
    between = cdist(points.astype(np.float64), points.astype(np.float64))
    inside = between <= radii[:, np.newaxis] if closed else between < radii[:, np.newaxis]
    if exclude_self:
        np.fill_diagonal(inside, False)
    found = ball_counts(points, radii, points, closed=closed, exclude_self=exclude_self)
    np.testing.assert_array_equal(found.per_ball, inside.sum(axis=1))
    np.testing.assert_array_equal(found.per_point, inside.sum(axis=0))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_mutual_balls_are_those_of_both_directions(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsampler.compute.neighbours.BLOCK_VALUES", 2000)  # several blocks
    first, second = offset_rows(offset)[:90], offset_rows(offset)[60:]
    rng = np.random.default_rng(58)
    radii, back_radii = rng.uniform(0, 5, size=len(first)), rng.uniform(0, 5, size=len(second))
    between = cdist(first.astype(np.float64), second.astype(np.float64))
    there, back = mutual_ball_counts(first, radii, second, back_radii)
    np.testing.assert_array_equal(there.per_ball, (between < radii[:, np.newaxis]).sum(axis=1))
    np.testing.assert_array_equal(there.per_point, (between < radii[:, np.newaxis]).sum(axis=0))
    np.testing.assert_array_equal(back.per_ball, (between < back_radii).sum(axis=0))
    np.testing.assert_array_equal(back.per_point, (between < back_radii).sum(axis=1))


def test_a_surface_belongs_to_a_closed_ball_and_not_to_an_open_one() -> None:
    centres = np.zeros((2, 2))
    points = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 6.0], [0.0, -6.0], [0.0, 0.0], [0.0, 0.0]])
    radii = np.array([5.0, 0.0])
    assert ball_counts(centres, radii, points).per_ball.tolist() == [2, 0]
    assert ball_counts(centres, radii, points, closed=True).per_ball.tolist() == [4, 2]
    assert ball_counts(centres, radii, points, closed=True).per_point.tolist() == [1, 1, 0, 0, 2, 2]


def test_a_closed_ball_up_to_the_kth_neighbour_holds_k_points() -> None:
    rows = np.random.default_rng(56).normal(size=(300, 40)).astype(np.float32)
    radii = nearest_neighbours(rows, rows, 5, exclude_self=True).distances[:, -1]
    assert set(ball_counts(rows, radii, rows, closed=True, exclude_self=True).per_ball.tolist()) == {5}
    assert set(ball_counts(rows, radii, rows, exclude_self=True).per_ball.tolist()) == {4}


POINTS = st.lists(st.tuples(*[st.integers(-4, 4)] * 3), min_size=1, max_size=12)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(centres=POINTS, points=POINTS, squares=st.lists(st.integers(0, 60), min_size=12, max_size=12))
def test_balls_on_a_lattice_hold_what_whole_numbers_say(
    centres: list[tuple[int, int, int]], points: list[tuple[int, int, int]], squares: list[int]
) -> None:
    inside = [
        [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) <= q for y in points]
        for x, q in zip(centres, squares, strict=False)
    ]
    # Half a unit beyond: between the shells of the lattice.
    radii = np.sqrt(np.array(squares[: len(centres)]) + 0.5)
    found = ball_counts(np.array(centres), radii, np.array(points))
    assert found.per_ball.tolist() == [sum(row) for row in inside]
    assert found.per_point.tolist() == [sum(column) for column in zip(*inside, strict=True)]


# Intervals.


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    trials, rows = 800, np.random.default_rng(57).exponential(size=(800, 60))
    covered = 0
    for seed in range(trials):
        mine = rows[seed]

        def mean(i: NDArray[np.int64], mine: Rows = mine) -> float:
            return float(mine[i].mean())

        score = bootstrap_score("m", mean, 60, group="", label="", better="real", seed=seed)
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


@pytest.mark.parametrize(("samples", "real", "k"), [(40, 50, 3), (50, 40, 5), (30, 30, 1)])
def test_the_expected_coverage_is_that_of_its_definition(samples: int, real: int, k: int) -> None:
    expected = [brute_expected_coverage(m, real, k) for m in range(samples + 1)]
    np.testing.assert_allclose(expected_coverage(samples, real, k), expected, rtol=1e-9, atol=1e-12)


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


def test_other_real_vectors_score_at_the_yardstick() -> None:
    """Two sets of 600 of one distribution, D = 12: what theory expects of equal distributions."""
    reference = known(1200)
    real = RealData(reference)
    found = values("fidelity-diversity", real.other, reference, real=real)
    # A ball up to the 5th of 599 neighbours misses 600 further vectors with 2^-5, of dependent balls.
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.025)
    assert found["density"] == pytest.approx(1.0, abs=0.15)
    assert found["precision"] == pytest.approx(found["recall"], abs=0.1)
    assert found["clipped-density"] > 0.9
    assert found["clipped-coverage"] > 0.9
    near = values("latent-distances", real.other, reference, real=real)
    # Two samples of n have a KS distance of 0.87 sqrt(2 / n) on average: 0.05.
    assert near["ks"] == pytest.approx(0.87 * math.sqrt(2 / 600), abs=0.01)
    assert near["sliced-wasserstein"] < 0.15
    assert near["radius-distance"] < 0.05
    assert near["radius-ratio"] == pytest.approx(1.0, abs=0.05)
    assert near["correlation-error"] < 0.05


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


def test_a_uniform_cube_fails_fidelity() -> None:
    reference, cube = known(), np.random.default_rng(58).uniform(-9, 9, size=(600, 12))
    found = values("fidelity-diversity", cube, reference)
    assert max(found["precision"], found["density"], found["clipped-density"], found["clipped-coverage"]) < 0.02
    assert values("two-sample-classifier", cube, reference)["classifier-auc"] > 0.99


def test_shares_have_wilson_intervals_and_the_others_are_resampled() -> None:
    found = scored("fidelity-diversity", draw(300), known(600))
    assert {metric: score.interval for metric, score in found.items()} == {
        **dict.fromkeys(("precision", "recall", "coverage"), "Wilson"),
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


def brute_frechet(mean1: Rows, cov1: Rows, mean2: Rows, cov2: Rows) -> float:
    return float(np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * np.real(sqrtm(cov1 @ cov2))))


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


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 5), (7, 5), (4, 8), (1, 9), (60, 47)])
def test_the_wasserstein_distance_is_scipy_s(n: int, m: int) -> None:
    rng = np.random.default_rng(60)
    first, second = np.sort(rng.normal(size=(3, n)), axis=1), np.sort(1.5 * rng.normal(size=(3, m)) + 0.3, axis=1)
    expected = [wasserstein_distance(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(wasserstein(first, second), expected, rtol=1e-10)


@pytest.mark.parametrize("whole", [False, True])
def test_the_ks_distance_is_scipy_s_for_resampled_rows_too(whole: bool) -> None:
    rng = np.random.default_rng(61)
    rows, train = rng.normal(size=(70, 4)), rng.normal(size=(90, 4)) * 1.3
    if whole:
        rows, train = np.round(rows), np.round(train)  # many ties
    steps = _Steps(rows, train)
    for i in (np.arange(70), rng.integers(70, size=70)):
        expected = np.mean([ks_2samp(rows[i, j], train[:, j]).statistic for j in range(4)])
        assert steps.distance(i) == pytest.approx(expected, rel=1e-10)


def test_the_distances_are_those_of_second_computations() -> None:
    reference = known(900)
    real, rows = RealData(reference, rows=300), (1.2 * draw(300) + 0.4).astype(np.float32)
    train, all_rows, mine = real.train.astype(np.float64), reference.latents().astype(np.float64), rows.astype(float)
    mean, covariance = all_rows.mean(axis=0), np.cov(all_rows.T)
    found = values("latent-distances", rows, reference, real=real, directions=4000)
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


def test_one_component_is_sliced_along_itself_and_has_no_correlation() -> None:
    reference, rows = known(600, 20, 1), draw(250, 1) + 1
    found = values("latent-distances", rows, reference)
    real = RealData(reference, rows=250)
    expected = wasserstein_distance(rows[:, 0], real.train[:, 0]) / reference.latents().std(ddof=1)
    assert found["sliced-wasserstein"] == pytest.approx(expected, rel=1e-5)
    assert set(found) == {"frechet", "sliced-wasserstein", "ks", "radius-distance", "radius-ratio"}


def test_a_shrunk_sampler_is_seen_in_the_ratio_of_radii() -> None:
    reference = known()
    mean = reference.statistics().mean
    found = scored("latent-distances", mean + 0.5 * (draw(600) - mean), reference)
    assert found["radius-ratio"].value == pytest.approx(0.5, abs=0.03)
    assert found["radius-ratio"].better == "real"
    assert all(score.low >= 0 for score in found.values())
    assert {score.interval for score in found.values()} == {"bootstrap, 50 resamples"}


def test_constant_components_and_equal_vectors_are_no_division_by_zero() -> None:
    rows = draw(700)
    rows[:, 3] = 1.5
    reference = MemoryStore(rows[:500], rows[500:])
    with np.errstate(all="raise"):
        assert np.isfinite(list(values("latent-distances", rows[500:], reference).values())).all()
        assert np.isfinite(list(values("latent-distances", np.full((200, 12), 1.5), reference).values())).all()
    with pytest.raises(LsamplerError, match="the vectors of latents are all equal"):
        scored("latent-distances", rows[:50], MemoryStore(np.ones((100, 12))))


# A classifier.


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_scikit_learn_s(ties: bool) -> None:
    rng = np.random.default_rng(63)
    real, drawn = rng.normal(size=80), rng.normal(size=80) + 0.5
    if ties:
        real, drawn = np.round(real), np.round(drawn)
    expected = roc_auc_score(np.repeat([0, 1], 80), np.concatenate([real, drawn]))
    assert area_under_curve(real, drawn) == pytest.approx(expected, rel=1e-12)


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


def test_copies_are_exposed_and_new_vectors_are_not() -> None:
    reference = known()
    train = reference.latents()
    copies = scored("novelty", train[:300] + np.float32(1e-4), reference)
    assert copies["near-copies"].value == 1.0
    assert copies["novelty-ratio"].value < 0.01
    fresh = scored("novelty", draw(300), reference)
    assert fresh["near-copies"].value == 0.0
    assert fresh["novelty-ratio"].value == pytest.approx(1.0, abs=0.08)
    assert (fresh["near-copies"].better, fresh["novelty-ratio"].better) == ("lower", "real")
    half = values("novelty", np.concatenate([train[:150], draw(150)]), reference)
    assert half["near-copies"] == 0.5


def test_novelty_is_a_ratio_of_medians_over_all_train_vectors() -> None:
    reference, rows = known(), 1.3 * draw(200)
    nearest = [cdist(part, reference.latents()).min(axis=1) for part in (rows, reference.held_out())]
    found = values("novelty", rows, reference)
    assert found["novelty-ratio"] == pytest.approx(np.median(nearest[0]) / np.median(nearest[1]), rel=1e-6)
    limit = np.quantile(nearest[1], 0.01) / 2
    assert found["near-copies"] == np.mean(nearest[0] <= limit)


def test_the_held_out_row_is_compared_with_the_other_half() -> None:
    reference = known()
    table = evaluate([], reference, [load_evaluator("novelty"), load_evaluator("fidelity-diversity")])
    held_out, other = table.rows
    assert (held_out.name, other.name) == (HELD_OUT_ROW, OTHER_ROW)
    found = {score.metric: score.value for score in held_out.scores}
    halves = [cdist(reference.held_out()[first::2], reference.latents()).min(axis=1) for first in (0, 1)]
    assert found["novelty-ratio"] == pytest.approx(np.median(halves[1]) / np.median(halves[0]), rel=1e-6)
    assert other.problems == ["novelty: these are train vectors themselves"]


def test_held_out_copies_leave_nothing_to_measure_novelty_by() -> None:
    rows = draw(200)
    with pytest.raises(LsamplerError, match="most held-out vectors are copies of train vectors"):
        scored("novelty", draw(50), MemoryStore(rows, rows[:50]))


# Decoded images.


def test_cycle_consistency_is_the_mean_of_relative_distances(
    tiny_model: ConvAutoencoder, tiny_store: LatentStore
) -> None:
    real, rows = of_model(tiny_model, tiny_store), tiny_store.held_out()[:60]
    again = encode_pixels(tiny_model, decode_images(tiny_model, rows))
    mean = tiny_store.latents().astype(np.float64).mean(axis=0)
    expected = [np.linalg.norm(b - a) / np.linalg.norm(a - mean) for a, b in zip(rows, again, strict=True)]
    found = scored("cycle-consistency", rows, tiny_store, real=real)["cycle-distance"]
    assert found.value == pytest.approx(np.mean(expected), rel=1e-4)
    some = scored("cycle-consistency", rows, tiny_store, real=real, images=20)["cycle-distance"]
    assert (some.n, some.value) == (20, pytest.approx(np.mean(expected[:20]), rel=1e-4))
    with pytest.raises(LsamplerError, match="a sample lies at the centre itself"):
        scored("cycle-consistency", tiny_store.statistics().mean[np.newaxis], tiny_store, real=real)


def test_no_more_images_are_decoded_than_asked_for_and_none_twice() -> None:
    decoded: list[int] = []

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        decoded.append(len(latents))
        return np.zeros((len(latents), 2, 2, 1), dtype=np.uint8)

    whole = Samples("mine", draw(40), decode, lambda images: np.zeros((len(images), 12), np.float32), "held-out")
    head = whole.head(10)
    assert (head.name, head.kind, len(head.images), len(head.encoded_again)) == ("mine", "held-out", 10, 10)
    np.testing.assert_array_equal(head.latents, whole.latents[:10])
    assert whole.head(10).images is head.images
    assert decoded == [10]
    assert whole.head(40) is whole.head(99) is whole


@pytest.mark.parametrize("channels", [1, 3])
def test_the_laplacian_is_that_of_a_convolution(channels: int) -> None:
    images = np.random.default_rng(64).integers(0, 256, size=(4, 9, 7, channels), dtype=np.uint8)
    kernel = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    grey = images @ ([0.299, 0.587, 0.114] if channels == 3 else [1.0]) / 255
    expected = [convolve2d(image, kernel, mode="same", boundary="symm").var() for image in grey]
    np.testing.assert_allclose(laplacian_variances(images), expected, rtol=1e-10)


def picture(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Noise of the strength that the first component tells: 16 x 16 grey images."""
    noise = np.random.default_rng(65).normal(size=(len(latents), 16, 16, 1))
    strength = np.abs(latents[:, 0]).reshape(-1, 1, 1, 1)
    return np.clip(128 + 10 * strength * noise, 0, 255).astype(np.uint8)


def test_sharpness_is_one_for_real_vectors_and_falls_with_blur() -> None:
    rows = np.abs(draw(900))
    reference = MemoryStore(rows[:500], rows[500:700])
    real = RealData(reference, decode=picture)
    same = scored("sharpness", rows[700:], reference, real=real)["sharpness"]
    assert same.value == pytest.approx(1.0, abs=0.35)
    assert same.better == "real"
    blurred = scored("sharpness", 0.5 * rows[500:700], reference, real=real)["sharpness"]
    assert blurred.value == pytest.approx(0.25, abs=0.03)  # the variance of half the contrast
    blank = RealData(reference, decode=lambda z: np.zeros((len(z), 4, 4, 1), np.uint8))
    with pytest.raises(LsamplerError, match="decoded held-out vectors are flat images"):
        scored("sharpness", rows[:20], reference, real=blank)


def brute_image_distance(first: Rows, second: Rows) -> float:
    moments = [part for rows in (first, second) for part in (rows.mean(axis=0), np.atleast_2d(np.cov(rows.T)))]
    return brute_frechet(*moments)


@pytest.fixture
def drawn(tiny_store: LatentStore) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = tiny_store.held_out()[:200] * np.float32(1.3)
    return rows


def test_the_image_distance_is_that_of_the_encoder_s_features(
    tiny_model: ConvAutoencoder, tiny_store: LatentStore, drawn: NDArray[np.float32]
) -> None:
    real = of_model(tiny_model, tiny_store, rows=200)
    found = scored("image-distance", drawn, tiny_store, real=real)["image-frechet"]
    features = [
        encode_pixels(tiny_model, decode_images(tiny_model, part)).astype(np.float64) for part in (real.train, drawn)
    ]
    assert found.value == pytest.approx(brute_image_distance(*features), rel=1e-5)
    assert found.label == "Frechet distance\nown encoder"
    assert (found.n, found.better, found.interval) == (200, "lower", "bootstrap, 50 resamples")
    fewer = scored("image-distance", drawn, tiny_store, real=real, images=50)["image-frechet"]
    assert fewer.value == pytest.approx(brute_image_distance(features[0][:50], features[1][:50]), rel=1e-5)


MODULE = """
import torch
SEEN = []
def quarters(images):
    SEEN.append((images.shape[1:], images.dtype, float(images.min()), float(images.max())))
    return torch.nn.functional.avg_pool2d(images, 4).flatten(1)
def flat(images): return images
def broken(images): raise ValueError("no weights\\nat all")
def nothing(images): return torch.full((len(images), 2), float("nan"))
"""


def quarters(model: ConvAutoencoder, latents: Rows) -> Rows:
    """Mean grey of the four quarters of each decoded 8 x 8 image."""
    images = decode_images(model, latents.astype(np.float32))[..., 0] / 255.0
    return images.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(len(latents), 4)


def test_features_come_from_a_module_of_the_user(
    tiny_model: ConvAutoencoder,
    tiny_store: LatentStore,
    drawn: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_features.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    real = of_model(tiny_model, tiny_store, rows=200)
    found = scored("image-distance", drawn, tiny_store, real=real, features="my_features:quarters")["image-frechet"]
    expected = brute_image_distance(quarters(tiny_model, real.train), quarters(tiny_model, drawn))
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.label == "Frechet distance\nmy_features:quarters"
    for shape, dtype, low, high in sys.modules["my_features"].SEEN:
        assert (tuple(shape), dtype) == ((1, 8, 8), torch.float32)
        assert 0 <= low <= high <= 1
    for name, message in (
        ("flat", r"gave shape \(64, 1, 8, 8\) for 64 images; expected finite numbers \(B, F\)"),
        ("nothing", "expected finite numbers"),
        ("broken", "ValueError: no weights$"),
        ("missing", "has no attribute 'missing'"),
    ):
        with pytest.raises(LsamplerError, match=f"features=my_features:{name}: .*{message}") as raised:
            scored("image-distance", drawn, tiny_store, real=real, features=f"my_features:{name}")
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_features_come_from_a_torchscript_file(
    tiny_model: ConvAutoencoder, tiny_store: LatentStore, drawn: NDArray[np.float32], tmp_path: Path
) -> None:
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
    torch.jit.trace(network, torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]
    real = of_model(tiny_model, tiny_store, rows=200)
    path = str(tmp_path / "net.pt")
    found = scored("image-distance", drawn, tiny_store, real=real, features=path)["image-frechet"]
    expected = brute_image_distance(quarters(tiny_model, real.train), quarters(tiny_model, drawn))
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.label == "Frechet distance\nnet.pt"


def test_features_come_from_an_onnx_file_or_a_line_names_the_package(
    tiny_model: ConvAutoencoder,
    tiny_store: LatentStore,
    drawn: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"network")
    real = of_model(tiny_model, tiny_store, rows=200)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LsamplerError, match="needs onnxruntime; install it with pip install onnxruntime"):
        scored("image-distance", drawn, tiny_store, real=real, features=str(path))

    class Session:
        """What is used of onnxruntime, on the four quarters."""

        def __init__(self, path: str, providers: list[str]) -> None:
            if Path(path).read_bytes() != b"network":
                raise RuntimeError("not a network")

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="pixels")]

        def run(self, outputs: None, inputs: dict[str, Rows]) -> list[Rows]:
            images = inputs["pixels"]
            return [images.reshape(len(images), 2, 4, 2, 4).mean(axis=(2, 4)).reshape(len(images), 4)]

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    found = values("image-distance", drawn, tiny_store, real=real, features=str(path))
    expected = brute_image_distance(quarters(tiny_model, real.train), quarters(tiny_model, drawn))
    assert found["image-frechet"] == pytest.approx(expected, rel=1e-4)
    path.write_bytes(b"rubbish")
    with pytest.raises(LsamplerError, match=r"net\.onnx: not a readable ONNX file"):
        scored("image-distance", drawn, tiny_store, real=real, features=str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("somewhere", "give module:callable, or a .pt, .ts or .onnx file"),
        ("no_such_module:f", "No module named 'no_such_module'; is it on PYTHONPATH"),
        ("missing.ts", "missing.ts: no such file"),
        ("rubbish.pt", "not a TorchScript file"),
    ],
)
def test_features_that_cannot_be_had_are_one_line(
    features: str, message: str, tiny_store: LatentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rubbish.pt").write_bytes(b"rubbish")
    with pytest.raises(LsamplerError, match=message) as raised:
        load_evaluator("image-distance", features=features).prepare(RealData(tiny_store))
    assert "\n" not in str(raised.value)


# All of them.


def test_the_new_evaluators_run_when_named_only() -> None:
    assert set(NEW) <= set(plugin_names("evaluator"))
    assert not any(load_evaluator(name).by_default for name in NEW)
    compared = {name for name in NEW if load_evaluator(name).compares_with_train}
    assert compared == {"fidelity-diversity", "latent-distances", "image-distance"}


@pytest.fixture
def everything(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Callable[[Rows], Evaluation]:
    real = of_model(tiny_model, tiny_store)

    def run(rows: Rows) -> Evaluation:
        mine = Samples("mine", np.asarray(rows, dtype=np.float32), real.decode, real.encode)
        evaluators = [load_evaluator(name) for name in NEW]
        return evaluate([mine], tiny_store, evaluators, decode=real.decode, encode=real.encode)

    return run


def test_every_score_says_what_it_is(everything: Callable[[Rows], Evaluation], tiny_store: LatentStore) -> None:
    table = everything(tiny_store.held_out()[:120] * 1.1)
    assert [(row.name, row.problems) for row in table.rows] == [
        (HELD_OUT_ROW, []),
        (OTHER_ROW, ["novelty: these are train vectors themselves"]),
        ("mine", []),
    ]
    assert table.caveats == []
    scores = table.rows[2].scores
    assert len({score.metric for score in scores}) == len(scores) == 18
    assert len({(score.group, score.label) for score in scores}) == len(scores)
    for score in scores:
        assert score.low <= score.value <= score.high
        assert score.n > 0
        assert score.interval
        assert len(score.about) > 60
        assert score.about.endswith(".")
        assert score.about.count(". ") <= 3
        if score.unit == "share":
            assert 0 <= score.low <= score.high <= 1


def test_one_sample_is_scored_or_refused_in_one_line(everything: Callable[[Rows], Evaluation], tiny_store: Any) -> None:
    table = everything(tiny_store.held_out()[:1])
    row = table.rows[-1]
    assert {score.metric for score in row.scores} == {"novelty-ratio", "near-copies", "cycle-distance", "sharpness"}
    assert [score.n for score in row.scores] == [1] * 4
    reasons = [*row.problems, *table.caveats]
    for name in ("fidelity-diversity", "latent-distances", "two-sample-classifier", "image-distance"):
        (reason,) = (reason for reason in reasons if name in reason)
        assert "\n" not in reason
        assert len(reason) > 30


def test_a_bundle_gives_what_statistics_allow_and_says_what_is_missing() -> None:
    bundle = load_bundle()
    rows = np.random.default_rng(66).normal(size=(300, 256)).astype(np.float32)
    decode, encode = (
        lambda z: decode_images(bundle.autoencoder, z),
        lambda images: encode_pixels(bundle.autoencoder, images),
    )
    samples = Samples("mine", rows, decode, encode)
    evaluators = [
        load_evaluator(name, images=8) if name == "cycle-consistency" else load_evaluator(name) for name in NEW
    ]
    table = evaluate([samples], bundle, evaluators, decode=decode, encode=encode)
    (row,) = table.rows
    assert (row.name, row.problems) == ("mine", [])
    assert {score.metric for score in row.scores} == {"frechet", "correlation-error", "cycle-distance"}
    needs = "needs real vectors; celeba96 holds statistics only, give the --store of its latents"
    missing = ("fidelity-diversity", "two-sample-classifier", "novelty", "sharpness", "image-distance")
    assert table.caveats[:-1] == [f"no scores of {name}: {needs}" for name in missing]


def test_without_held_out_vectors_a_line_says_so() -> None:
    reference = MemoryStore(draw(300), name="mine")
    for name in ("two-sample-classifier", "novelty", "sharpness"):
        with pytest.raises(LsamplerError, match=r"^mine holds no held-out vectors; encode with --held-out$"):
            load_evaluator(name).prepare(RealData(reference))


def test_without_a_model_images_are_missing_with_the_reason() -> None:
    evaluators = [load_evaluator(name) for name in ("novelty", "cycle-consistency", "sharpness", "image-distance")]
    table = evaluate([Samples("mine", draw(60))], known(), evaluators)
    assert table.caveats == [
        "no scores of sharpness: needs decoded images; give a --model",
        "no scores of image-distance: needs an encoder; give a --model",
    ]
    assert table.rows[-1].problems == ["cycle-consistency: needs an encoder; give a --model"]
    assert len(table.rows[-1].scores) == 2
