"""Numbers of normality, before and after a PCA, against a second computation."""

from __future__ import annotations

import itertools
import math
import statistics as python_statistics
from typing import Any

import analysis_support as support
import numpy as np
import pytest
from analysis_support import TRAIN, D, N, Rows, analyzed, kernel_density, own_distances, principal_axes, trimmed
from scipy import stats
from scipy.optimize import curve_fit
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA


def fitted_gaussian(values: Rows, width: float) -> tuple[float, float, float]:
    """Centre, sigma and residual by scipy's curve_fit on numpy's histogram."""
    edges, counts = support.histogram(values, width)
    middles = edges[:-1] + width / 2
    model = lambda x, height, mu, sigma: height * np.exp(-((x - mu) ** 2) / (2 * sigma * sigma))  # noqa: E731
    fitted, _ = curve_fit(model, middles, counts, p0=(counts.max(), np.median(values), values.std()))
    return fitted[1], abs(fitted[2]), np.sqrt(np.mean((counts - model(middles, *fitted)) ** 2)) / counts.max()


@pytest.mark.parametrize("asked", [None, 0.5])
def test_gaussians_are_fitted_as_by_curve_fit_on_numpy_s_histogram(
    measured: dict[str, Any], asked: float | None
) -> None:
    found = measured["gaussianity"]["fit"]
    if asked:
        found = analyzed(support.reference(), sections=["gaussianity"], bin_width=asked).measured["gaussianity"]["fit"]
    residuals = []
    for j in range(D):
        values = TRAIN[:, j]
        width = support.own_width(values, asked or 2.0 ** math.floor(math.log2(values.std() / 2)))
        centre, sigma, residual = fitted_gaussian(values, width)
        residuals.append(residual)
        assert found["centre"][j] == pytest.approx(centre, abs=1e-4 * values.std())
        assert found["sigma"][j] == pytest.approx(sigma, rel=1e-4)
        assert found["residual"][j] == pytest.approx(residual, rel=1e-3)
    assert found["failed"] == 0
    assert found["median_residual"] == pytest.approx(np.median(residuals), rel=1e-3)


def test_ks_distances_are_scipy_s_to_within_a_bin(measured: dict[str, Any]) -> None:
    found = measured["gaussianity"]

    def distances(rows: Rows) -> list[float]:
        return [stats.kstest(x, stats.norm(x.mean(), x.std(ddof=1)).cdf).statistic for x in rows.T]

    own, along = distances(TRAIN), distances(principal_axes(TRAIN).transform(TRAIN))
    # The largest difference is read at the edges of bins of sigma / 32 to sigma / 16, so a little is missed.
    assert all(0 <= ours - theirs < 0.006 for ours, theirs in zip(own, found["ks"], strict=True))
    assert max(own) > 0.05 > 3 * min(own)
    assert found["median_ks"] == pytest.approx(np.median(found["ks"]))
    assert found["largest_ks"] == max(found["ks"])
    assert 0 <= max(along) - found["largest_ks_principal"] < 0.006
    critical = 0.886 / math.sqrt(N)
    assert found["lilliefors_critical"] == pytest.approx(critical)
    assert found["rejected_at_5_percent"] == sum(value > critical for value in found["ks"])
    assert 0 < found["rejected_at_5_percent"] < D


def test_a_test_of_normality_rejects_one_of_twenty_at_5_percent() -> None:
    rows = np.random.default_rng(46).normal(size=(1000, 200))
    found = analyzed(rows, sections=["gaussianity"]).measured["gaussianity"]
    # 10 of 200 expected, less what the bins miss; a factor of 2 in the critical value gives 0 or more than 100.
    low, high = stats.binom.interval(0.999, 200, 0.05)
    assert 0 < found["rejected_at_5_percent"] <= high
    assert low <= sum(ks + 0.002 > found["lilliefors_critical"] for ks in found["ks"])


def test_skewness_and_kurtosis_are_scipy_s(measured: dict[str, Any]) -> None:
    found = measured["gaussianity"]
    np.testing.assert_allclose(found["skewness"], stats.skew(TRAIN), atol=1e-9)
    np.testing.assert_allclose(found["excess_kurtosis"], stats.kurtosis(TRAIN), atol=1e-9)
    assert max(np.abs(found["skewness"])) > 0.3


def test_mahalanobis_radii_are_those_of_the_inverse_covariance(measured: dict[str, Any]) -> None:
    found, radii = measured["gaussianity"]["mahalanobis"], own_distances(TRAIN)
    law = stats.beta(D / 2, (N - D - 1) / 2, scale=(N - 1) ** 2 / N)
    assert found["rank"] == D
    for name, share in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
        # Bins are sqrt(6) / 2000 wide, neighbours in the tail a little farther apart.
        assert found[name] == pytest.approx(np.quantile(radii, share), abs=0.01), name
        assert found[f"normal_{name}"] == pytest.approx(math.sqrt(law.ppf(share)), rel=1e-9), name
    assert found["ks"] == pytest.approx(stats.kstest(radii**2, law.cdf).statistic, abs=0.002)
    assert found["ks"] > 0.02
    ratio = np.mean(radii**4) / law.expect(np.square)
    assert found["mardia_kurtosis_ratio"] == pytest.approx(ratio, rel=1e-6)
    assert ratio > 1.1


def test_the_normal_s_radii_are_those_of_simulated_samples_of_the_same_size() -> None:
    rng, n, d = np.random.default_rng(47), 30, 4
    simulated = np.concatenate([own_distances(rng.normal(size=(n, d))) for _ in range(4000)])
    rows = rng.normal(size=(n, d))
    found = analyzed(rows, sections=["gaussianity"]).measured["gaussianity"]["mahalanobis"]
    # 120,000 radii: the standard error of a quantile is at most 0.004. Chi-squared, which forgets that mean and
    # covariance were estimated from as few vectors, puts the last 0.17 too far out.
    for name, share in (("normal_q05", 0.05), ("normal_median", 0.5), ("normal_q95", 0.95)):
        assert found[name] == pytest.approx(np.quantile(simulated, share), abs=0.016), name
    assert math.sqrt(stats.chi2.ppf(0.95, d)) > found["normal_q95"] + 0.1
    expected = np.mean(own_distances(rows) ** 4) / np.mean(simulated**4)
    assert found["mardia_kurtosis_ratio"] == pytest.approx(expected, rel=0.01)


def test_every_pair_s_ellipse_holds_what_brute_force_counts(measured: dict[str, Any]) -> None:
    found = measured["gaussianity"]["ellipses"]
    shares, joint = [], np.ones((3, N), dtype=bool)
    for pair in itertools.combinations(range(D), 2):
        radii = own_distances(TRAIN[:, pair])
        inside = np.array([radii <= sigmas for sigmas in (1, 2, 3)])
        shares.append(inside.mean(axis=1))
        joint &= inside
    one = 1.01 / N  # of 3,000 vectors one may lie on an ellipse, in single precision
    for name, expected in (
        ("lowest", np.min(shares, axis=0)),
        ("mean", np.mean(shares, axis=0)),
        ("highest", np.max(shares, axis=0)),
        ("joint", joint.mean(axis=1)),
    ):
        np.testing.assert_allclose(found[name], expected, atol=one)
    assert joint[1].mean() < np.min(shares, axis=0)[1] - 0.1
    assert found["sigmas"] == [1, 2, 3]
    # The mass of a normal inside its ellipse is that of chi-squared with two degrees of freedom.
    np.testing.assert_allclose(found["normal"], stats.chi2.cdf([1, 4, 9], 2), rtol=1e-12)
    assert found["rows"] == N


def test_the_pairs_shown_are_the_strongest_and_some_of_the_middle(measured: dict[str, Any]) -> None:
    found = measured["gaussianity"]["pairs"]
    matrix = np.corrcoef(TRAIN.T)
    ordered = sorted(itertools.combinations(range(D), 2), key=lambda pair: -abs(matrix[pair]))
    assert [tuple(row["pair"]) for row in found] == [*ordered[:4], *ordered[7:11]]
    for row in found:
        radii = own_distances(TRAIN[:, row["pair"]])
        assert row["inside"] == pytest.approx([np.mean(radii <= sigmas) for sigmas in (1, 2, 3)], abs=1e-9)
    for row in (found[0], found[-1]):
        points = TRAIN[:, row["pair"]]
        places, density = kernel_density(points, reach=5.0, cells=110)
        distance = cdist(places, points.mean(axis=0)[np.newaxis], "mahalanobis", VI=np.linalg.inv(np.cov(points.T)))
        for place, sigmas in enumerate((1.0, 2.0)):
            region = support.densest(density, 1 - math.exp(-(sigmas**2) / 2))
            ellipse = np.zeros_like(region)
            ellipse[np.argsort(distance[:, 0])[: region.sum()]] = True
            overlap = (region & ellipse).sum() / (region | ellipse).sum()
            # Grids differ: cells on the boundaries, of some thousand inside, are counted here or there.
            assert row["ellipticity"][place] == pytest.approx(overlap, abs=0.025)
            assert overlap < 0.97


@pytest.mark.parametrize("trim", [1.7, 0.5])
def test_explained_variance_is_that_of_scikit_learn_s_pca(measured: dict[str, Any], trim: float) -> None:
    """At 0.5 half-widths, 1.18 sigma, a box is left; its shape, and how many axes it needs, is its own."""
    found, left = measured["principal"], trimmed(trim)
    if trim != found["trim"]:
        found = analyzed(support.reference(), sections=["principal"], trim=trim).measured["principal"]
        assert found["components_for"] != found["components_for_untrimmed"]
    assert N / 10 < len(left) < N
    assert (found["trim"], found["vectors"], found["of"], found["rank"]) == (trim, len(left), N, D)
    pca, whole = PCA().fit(left), PCA().fit(TRAIN)
    np.testing.assert_allclose(found["explained_variance_ratio"], pca.explained_variance_ratio_, rtol=1e-9)
    assert found["largest_ratio"] == pytest.approx(pca.explained_variance_ratio_[0])
    assert found["share_of_first_15"] == pytest.approx(1.0)
    for name, fitted in (("components_for", pca), ("components_for_untrimmed", whole)):
        cumulative = np.cumsum(fitted.explained_variance_ratio_)
        assert found[name] == {f"{share:.2f}": 1 + sum(cumulative < share) for share in (0.8, 0.9, 0.95)}
    assert len(set(found["components_for"].values())) > 1
    assert found["largest_off_diagonal"] < 1e-10
    coordinates = principal_axes(left).transform(left)
    rows = {tuple(row["pair"]): row for row in found["pairs"]}
    for pair in dict.fromkeys([(0, 1), tuple(found["worst_pair"])]):
        assert_same_core(rows[pair], coordinates[:, pair])


def test_the_first_fifteen_components_are_summed() -> None:
    rows = np.random.default_rng(52).normal(size=(400, 20)) * np.linspace(2, 1, 20)
    found = analyzed(rows, sections=["principal"], trim=None).measured["principal"]
    assert found["share_of_first_15"] == pytest.approx(PCA().fit(rows).explained_variance_ratio_[:15].sum(), rel=1e-6)
    assert found["trim"] is None
    assert found["vectors"] == 400


def test_principal_components_are_measured_as_components_are(measured: dict[str, Any]) -> None:
    found, left = measured["principal"], trimmed(1.7)
    coordinates = principal_axes(left).transform(left)
    own = [stats.kstest(x, stats.norm(0, x.std(ddof=1)).cdf).statistic for x in coordinates.T]
    assert all(0 <= ours - theirs < 0.006 for ours, theirs in zip(own, found["ks"], strict=True))
    assert found["median_ks"] == pytest.approx(np.median(found["ks"]))
    assert found["largest_ks"] == max(found["ks"])
    assert found["least_normal"] == sorted(range(D), key=lambda k: -found["ks"][k])[:4]
    for k, values in enumerate(coordinates.T):
        width = support.own_width(values, 2.0 ** math.floor(math.log2(values.std() / 2)))
        centre, _, _ = fitted_gaussian(values, width)
        assert found["fit_centre_in_sigma"][k] == pytest.approx(abs(centre) / values.std(ddof=1), abs=2e-4)
    assert found["largest_fit_centre"] == max(found["fit_centre_in_sigma"])
    assert found["share_single_peaked"] == 1.0


def assert_same_core(found: dict[str, float], points: Rows) -> None:
    """The core of scipy's kernel density, on a grid of other cells, orientation and reach."""
    expected = support.inner_core(*kernel_density(points), np.cov(points.T), points.mean(axis=0))
    for name in ("inner_correlation", "axis_ratio", "offset_sigma"):
        assert found[name] == pytest.approx(expected[name], abs=0.02), name
    if expected["axis_ratio"] < 0.9:
        assert found["tilt_degrees"] == pytest.approx(expected["tilt_degrees"], abs=2.0)


def test_inner_cores_of_principal_pairs_are_summed_up(measured: dict[str, Any]) -> None:
    found = measured["principal"]
    rows = {tuple(row["pair"]): row for row in found["pairs"]}
    assert list(rows) == list(itertools.combinations(range(D), 2))
    sizes = {pair: abs(row["inner_correlation"]) for pair, row in rows.items()}
    worst = max(sizes, key=sizes.__getitem__)
    assert tuple(found["worst_pair"]) == worst
    assert found["largest_inner_correlation"] == pytest.approx(sizes[worst])
    assert sizes[worst] > 0.05
    assert found["median_inner_correlation"] == pytest.approx(python_statistics.median(sizes.values()))
    tilts = [abs(row["tilt_degrees"]) for row in rows.values() if row["axis_ratio"] < 0.9]
    assert len(tilts) > 3
    assert found["median_tilt"] == pytest.approx(python_statistics.median(tilts))


def test_trimming_keeps_the_rows_that_a_loop_keeps(measured: dict[str, Any]) -> None:
    found = measured["principal"]["trimming"]
    assert [row["trim"] for row in found] == [1.35, 1.45, 1.55, 1.7, 1.8]
    for row in found:
        left = trimmed(row["trim"])
        assert row["survivors"] == len(left)
        assert row["share"] == pytest.approx(len(left) / N)
    assert len({row["survivors"] for row in found}) == 5
    worst = measured["principal"]["worst_pair"]
    assert all([part["pair"] for part in row["pairs"]] == [[2, 3], worst] for row in found)
    left = trimmed(1.35)
    coordinates = principal_axes(left).transform(left)
    for part in found[0]["pairs"]:
        assert_same_core(part, coordinates[:, part["pair"]])


def test_the_tilt_of_a_round_core_is_left_out() -> None:
    rows = np.random.default_rng(65).normal(size=(8000, 4)) * [3.0, 1.0, 1.0, 1.0]
    found = analyzed(rows, sections=["principal"]).measured["principal"]
    long = [abs(row["tilt_degrees"]) for row in found["pairs"] if row["axis_ratio"] < 0.9]
    assert 3 <= len(long) < 6
    assert found["median_tilt"] == pytest.approx(python_statistics.median(long))
    assert found["median_tilt"] < python_statistics.median(abs(row["tilt_degrees"]) for row in found["pairs"])
