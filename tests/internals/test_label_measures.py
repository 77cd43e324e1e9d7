"""The measures of the section on labels, each beside another computation or the truth it should find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linprog
from scipy.spatial.distance import mahalanobis
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import cosine_similarity

from lsampler.reports.analysis.entangled import Entangled, cosines, neighbouring_order
from lsampler.reports.analysis.humps import DIPS, LEVELS, SIZES, dip, dip_p_value, humps, peaks_of, two_normals
from lsampler.reports.analysis.label_measures import auc_interval
from lsampler.samplers.conditions.labelled import labelled
from lsampler.store import MemoryStore

Rows = NDArray[np.float64]


def least_difference(values: Rows) -> float:
    """The dip by its definition: a linear programme for each place of the mode.

    The unknowns are the unimodal distribution at the n values and the largest difference. Its slopes between
    neighbours rise up to a segment, and fall from there; it may differ from the empirical distribution just before
    and at each value.
    """
    x, n = np.sort(values), len(values)
    slope = np.zeros((n - 1, n + 1))
    for k in range(n - 1):
        slope[k, k], slope[k, k + 1] = -1 / (x[k + 1] - x[k]), 1 / (x[k + 1] - x[k])
    at = np.eye(n, n + 1)
    apart = np.zeros((n, n + 1))
    apart[:, n] = 1.0
    steps = np.arange(n)
    limits = np.vstack([at - apart, -at - apart])  # F(x) <= (k-1)/n + d and F(x) >= k/n - d
    bounds = np.concatenate([steps / n, -(steps + 1) / n])
    found = []
    for mode in range(n - 1):
        rising = [slope[k] - slope[k + 1] for k in range(mode)]
        falling = [slope[k + 1] - slope[k] for k in range(mode, n - 2)]
        shape = np.array([*rising, *falling, *(-slope)])
        answer = linprog(
            np.eye(n + 1)[n],
            A_ub=np.vstack([limits, shape]),
            b_ub=np.concatenate([bounds, np.zeros(len(shape))]),
            bounds=[(0, 1)] * n + [(0, None)],
        )
        found.append(answer.fun)
    return float(min(found))


@pytest.mark.parametrize("seed", range(6))
def test_the_dip_is_the_least_difference_from_a_unimodal_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 8 + seed
    values = rng.normal(size=n) + 4 * rng.integers(1 + seed % 3, size=n)
    assert dip(values) == pytest.approx(least_difference(values), abs=1e-9)
    assert dip(-3 * values + 1) == pytest.approx(dip(values), abs=1e-12)


def test_the_dip_of_evenly_spaced_values_and_of_two_points() -> None:
    assert dip(np.arange(50.0)) == pytest.approx(1 / 100)
    assert dip(np.concatenate([np.linspace(0, 1e-6, 50), np.linspace(1, 1 + 1e-6, 50)])) == pytest.approx(
        0.25, abs=0.01
    )


@pytest.mark.parametrize("n", [20, 100])
def test_the_quantiles_of_the_dip_are_those_of_uniform_samples(n: int) -> None:
    rng = np.random.default_rng(n)
    drawn = math.sqrt(n) * np.array([dip(rng.random(n)) for _ in range(2000)])
    row = DIPS[SIZES.tolist().index(n)]
    for level, quantile in zip(LEVELS[:7], row, strict=False):
        # Four standard errors of a share of 2,000.
        assert np.mean(drawn > quantile) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 2000))
        assert dip_p_value(quantile / math.sqrt(n), n) == pytest.approx(level)
    assert dip_p_value(1.0, n) == pytest.approx(LEVELS[-1])
    assert dip_p_value(0.0, n) == 1.0


def two_groups(distance: float, share: float, n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n) + distance * (np.arange(n) < share * n)


@pytest.mark.parametrize(
    ("distance", "share", "found"),
    [(0.0, 0.5, False), (1.5, 0.5, False), (4.0, 0.5, True), (1.5, 0.1, False), (6.0, 0.1, True)],
)
def test_two_humps_are_found_where_there_are_two(distance: float, share: float, *, found: bool) -> None:
    for seed in range(5):
        values = two_groups(distance, share, 1000, seed)
        answer = humps(values, share, (0.0, distance), seed)
        assert answer.two is found
        assert answer.dip == dip(values)


def test_flat_and_skewed_values_have_one_hump() -> None:
    rng = np.random.default_rng(3)
    flat = [humps(rng.random(500), 0.5, (0.2, 0.8), seed).two for seed in range(20)]
    assert sum(flat) <= 2  # one in a hundred is expected
    assert not any(humps(rng.exponential(size=500), 0.1, (0.5, 3.0), seed).two for seed in range(20))


def test_the_criterion_is_that_of_its_likelihoods() -> None:
    values = 7 + 3 * two_groups(3.0, 0.3, 400, 5)
    gain, means, sigmas, weights = two_normals(values, 0.3, (7.0, 16.0), 0)
    z = (values - values.mean()) / values.std()
    one = stats.norm.logpdf(z).sum()
    two = np.log(stats.norm.pdf(z[:, np.newaxis], means, sigmas) @ weights).sum()
    assert gain == pytest.approx(2 * (two - one) - 3 * math.log(len(z)), rel=1e-3)


def test_two_equal_normals_have_two_peaks_beyond_two_sigma() -> None:
    for distance, peaks in ((0.0, 1), (1.95, 1), (2.1, 2), (5.0, 2)):
        assert peaks_of(np.array([0.0, distance]), np.ones(2), np.array([0.5, 0.5])) == peaks


def test_intervals_of_the_auc_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    for distance, counts in ((0.0, (40, 60)), (1.8, (30, 200)), (2.5, (15, 400))):
        truth, inside = stats.norm.cdf(distance / math.sqrt(2)), 0
        labels = np.repeat([1, 0], counts)
        for _ in range(300):
            scores = rng.normal(size=sum(counts)) + distance * labels
            without = np.sort(scores[labels == 0])
            area = float(np.searchsorted(without, scores[labels == 1]).mean() / counts[1])
            low, high = auc_interval(area, *counts)
            assert low <= area <= high
            inside += low <= truth <= high
        assert 0.91 <= inside / 300 <= 0.995
    low, high = auc_interval(1.0, 30, 300)
    assert 0.8 < low < 1.0
    assert high == 1.0


@pytest.fixture(scope="module")
def rows() -> tuple[Rows, Rows, NDArray[np.int64], Entangled]:
    """Three labels, two of them correlated and one of three levels, in six correlated components."""
    rng = np.random.default_rng(17)
    n = 4000
    first = rng.random(n) < 0.3
    second = rng.random(n) < np.where(first, 0.7, 0.2)
    level = rng.integers(3, size=n)
    latents = rng.normal(size=(n, 6)) @ (np.eye(6) + 0.4 * rng.normal(size=(6, 6)))
    latents = latents + np.outer(first, rng.normal(size=6)) + np.outer(second, rng.normal(size=6))
    latents[:, 0] += level
    store = MemoryStore(latents, labels={"first": first, "second": second, "level": np.array(["a", "b", "c"])[level]})
    found = Entangled(labelled(store, None, ()).effects, store.statistics().whitening())
    codes = np.column_stack([first, second, level == 0, level == 1, level == 2]).astype(np.float64)
    return store.latents().astype(np.float64), codes, level, found


def test_plain_differences_are_those_of_class_means(rows: tuple[Rows, Rows, NDArray[np.int64], Entangled]) -> None:
    latents, codes, _, found = rows
    for column in range(5):
        own = codes[:, column] == 1
        difference = latents[own].mean(axis=0) - latents[~own].mean(axis=0)
        np.testing.assert_allclose(found.plain_latent[column], difference, atol=1e-5)
        within = [np.cov(latents[part].T) * (part.sum() - 1) for part in (own, ~own)]
        pooled = sum(within) / (len(own) - 2)
        distance = mahalanobis(difference, np.zeros(6), np.linalg.inv(pooled))
        # What chance adds to its square is left out.
        n = len(own)
        expected = math.sqrt(distance**2 * (n - 9) / (n - 2) - 6 * (1 / own.sum() + 1 / (~own).sum()))
        measured = found.distances(column)
        assert measured is not None
        assert measured["sigma_within"] == pytest.approx(expected, rel=1e-4)
        between = own.mean() * (1 - own.mean())
        whole = mahalanobis(difference, np.zeros(6), np.linalg.inv(np.cov(latents.T)))
        # By the covariance of all vectors the same difference is shorter.
        assert whole == pytest.approx(distance / math.sqrt(1 + between * distance**2), rel=1e-3)
        whitened = expected / math.sqrt(1 + between * expected**2)
        assert measured["sigma_whitened"] == pytest.approx(whitened, rel=1e-4)


def test_the_distance_of_random_groups_is_nothing() -> None:
    rng = np.random.default_rng(23)
    squares = []
    for _ in range(30):
        latents, label = rng.normal(size=(300, 40)), rng.random(300) < 0.2
        store = MemoryStore(latents, labels={"label": label})
        found = Entangled(labelled(store, None, ()).effects, store.statistics().whitening()).distances(0)
        assert found is not None
        squares.append(found["sigma_whitened"] ** 2)
    # Without the correction it would be 40 (1/60 + 1/240) = 0.83; cut off at 0, it is a little above 0.
    assert np.mean(squares) < 0.15


def test_the_explained_share_is_the_mean_r2_of_a_regression(
    rows: tuple[Rows, Rows, NDArray[np.int64], Entangled],
) -> None:
    latents, codes, _, found = rows
    white = found.whitening.forward(latents)
    model = LinearRegression().fit(codes[:, :4], white)
    r2 = 1 - ((white - model.predict(codes[:, :4])) ** 2).sum(axis=0) / ((white - white.mean(axis=0)) ** 2).sum(axis=0)
    explained = found.explained()
    assert explained["share"] == pytest.approx(r2.mean(), rel=1e-4)
    assert explained["columns"] == 4  # the third level follows from the others
    assert explained["adjusted"] == pytest.approx(1 - (1 - r2.mean()) * 3999 / 3995, rel=1e-4)
    of_latent = model.predict(codes[:, :4]) @ found.whitening.axes
    assert explained["of_latent_variance"] == pytest.approx(
        of_latent.var(axis=0).sum() / latents.var(axis=0).sum(), rel=1e-3
    )


def test_cosines_are_those_between_whitened_directions(
    rows: tuple[Rows, Rows, NDArray[np.int64], Entangled],
) -> None:
    latents, codes, _, found = rows
    white = found.whitening.forward(latents)
    plain = [white[own == 1].mean(axis=0) - white[own == 0].mean(axis=0) for own in codes.T]
    np.testing.assert_allclose(cosines(found.plain), cosine_similarity(plain), atol=1e-4)
    partial = LinearRegression().fit(codes[:, [0, 1, 2, 3]], white).coef_.T[:2]
    np.testing.assert_allclose(cosines(found.partial)[:2, :2], cosine_similarity(partial), atol=1e-4)
    assert cosines(np.zeros((2, 3))).tolist() == [[0, 0], [0, 0]]


def test_alike_and_opposite_directions_come_together() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 9))
    order = neighbouring_order(cosines(np.array([one, other, -one + 0.01 * other, 1.1 * other, 2 * one])))
    places = {k: place for place, k in enumerate(order.tolist())}
    assert max(places[k] for k in (0, 2, 4)) - min(places[k] for k in (0, 2, 4)) == 2
    assert abs(places[1] - places[3]) == 1
