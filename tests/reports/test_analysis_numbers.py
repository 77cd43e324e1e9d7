"""Every number of an analysis against a second computation, and verdicts where the truth is known."""

from __future__ import annotations

import itertools
import math
import statistics as python_statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import curve_fit
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.decomposition import PCA

from lsampler import Analysis, FileStore, LatentStore, MemoryStore, StoreWriter, analyze, load_sampler
from lsampler.reports.analysis import components as component_section
from lsampler.reports.analysis import density as _density
from lsampler.reports.analysis import filaments as filament_section
from lsampler.reports.analysis import tsne
from lsampler.reports.analysis.context import Context, Options
from lsampler.reports.analysis.density import Counts, InnerCore, PairDensity, mass_of_ellipse
from lsampler.store.reference import Split

Rows = NDArray[np.float64]
D, N, HELD_OUT = 6, 3000, 400
PAIRS = [(0, 3), (4, 1)]
EVERY_SECTION = [
    "components", "correlations", "origin", "cubes", "gaussianity", "principal", "generated", "filaments",
]  # fmt: skip
STRATEGIES = ("uniform-cube", "component-uniform", "gaussian", "multivariate-normal", "pca-ellipse")
FWHM = 2 * math.sqrt(2 * math.log(2))


def latents() -> NDArray[np.float32]:
    """Correlated, off the origin, one component wide and far away, one skewed, outliers; the unit is 2."""
    rng = np.random.default_rng(41)
    base = rng.normal(size=(N + HELD_OUT, D))
    base[:, 5] = rng.exponential(size=len(base))
    base[::20] *= 1.8
    mixing = np.eye(D) + 0.25 * rng.normal(size=(D, D))
    rows = 1.4 * (base @ mixing) + np.array([0.3, -0.2, 0.9, 0.1, -1.6, 0.4])
    rows[:, 2] = 2.5 * rows[:, 2] + 6.0
    return rows.astype(np.float32)


LATENTS = latents()
TRAIN: Rows = LATENTS[:N].astype(np.float64)
CALIBRATING, JUDGING = LATENTS[N::2].astype(np.float64), LATENTS[N + 1 :: 2].astype(np.float64)


def reference() -> MemoryStore:
    return MemoryStore(LATENTS[:N], LATENTS[N:], name="mine")


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    """All sections on the same latents, with pairs of its own for the origin."""
    return {
        key: dict(found) for key, found in analyze(reference(), sections=EVERY_SECTION, pairs=PAIRS).measured.items()
    }


# Second computations that several sections need.


def histogram(values: Rows, width: float) -> tuple[Rows, NDArray[np.int64]]:
    """Edges at multiples of ``width``, and counts from the first to the last occupied bin."""
    first, last = math.floor(values.min() / width), math.floor(values.max() / width)
    edges = width * np.arange(first, last + 2)
    return edges, np.histogram(values, edges)[0]


def own_width(values: Rows, wanted: float) -> float:
    """The multiple nearest to ``wanted`` of the power of two below sigma / 16."""
    fine = 2.0 ** math.floor(math.log2(values.std() / 16))
    return max(1, round(wanted / fine)) * fine


def length_above_half(values: Rows, width: float) -> float:
    """On a dense line through the middles of the bins: how much of it is above half of the maximum."""
    edges, counts = histogram(values, width)
    middles = np.concatenate([[edges[0] - width / 2], edges[:-1] + width / 2, [edges[-1] + width / 2]])
    dense = np.linspace(middles[0], middles[-1], 400_001)
    line = np.interp(dense, middles, np.concatenate([[0], counts, [0]]))
    return float(np.mean(line > counts.max() / 2) * (middles[-1] - middles[0]))


def principal_axes(rows: Rows) -> PCA:
    """Of scikit-learn, with the sign that lsampler promises: the largest entry of an axis is positive."""
    pca = PCA().fit(rows)
    for axis in pca.components_:
        axis *= np.sign(axis[np.abs(axis).argmax()])
    return pca


def trimmed(trim: float) -> Rows:
    """Rows without any component beyond ``trim`` half-widths from its mean, one by one."""
    mean, width = TRAIN.mean(axis=0), FWHM * TRAIN.std(axis=0, ddof=1)
    return np.array([row for row in TRAIN if all(abs(row[j] - mean[j]) <= trim * width[j] for j in range(D))])


def core_levels(core: str, z: Rows) -> Rows:
    """Levels of the cores from their definitions, fitted to the train rows."""
    mean, sigma = TRAIN.mean(axis=0), TRAIN.std(axis=0, ddof=1)
    if core == "interval":
        return np.abs((z - mean) / (FWHM * sigma)).max(axis=1)
    if core == "ellipsoid":
        inverse = np.linalg.inv(np.cov(TRAIN.T))
        return np.array([mahalanobis(row, mean, inverse) for row in z])
    if core == "knn":
        radii = np.sort(cdist(TRAIN, TRAIN), axis=1)[:, 5]  # the nearest is the vector itself
        return (cdist(z, TRAIN) / radii).min(axis=1)
    rows = TRAIN
    if core == "pca-ellipses":
        pca = PCA().fit(TRAIN)
        z, rows = pca.transform(z), pca.transform(TRAIN)
    x = (z - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    r = np.corrcoef(rows.T)
    squares = [
        (x[:, i] ** 2 - 2 * r[i, j] * x[:, i] * x[:, j] + x[:, j] ** 2) / (1 - r[i, j] ** 2)
        for i, j in itertools.combinations(range(z.shape[1]), 2)
    ]
    return np.sqrt(np.max(squares, axis=0))


CORES = ["interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"]
NOMINAL = dict(zip(CORES, (1.7, 2.0, 2.2, math.sqrt(stats.chi2.ppf(0.95, D)), 1.0), strict=True))


@cache
def calibrated(core: str) -> float:
    """The ceil((m + 1) 0.95)-th smallest of the calibrating half."""
    levels = sorted(core_levels(core, CALIBRATING))
    return float(levels[math.ceil((len(levels) + 1) * 0.95) - 1])


def drawn(strategy: str, n: int, **parameters: Any) -> Rows:
    return load_sampler(strategy, **parameters).fit(reference()).sample(n, seed=0).numpy().astype(np.float64)


def kernel_density(points: Rows, reach: float = 4.5, cells: int = 90) -> tuple[Rows, Rows]:
    """scipy's kernel density on a grid of its own, upright: places (cells^2, 2), densities."""
    lines = [
        m + s * reach * (2 * (np.arange(cells) + 0.5) / cells - 1)
        for m, s in zip(points.mean(axis=0), points.std(axis=0), strict=True)
    ]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    return places, stats.gaussian_kde(points.T)(places.T)


def densest(density: Rows, mass: float) -> NDArray[np.bool_]:
    """The fewest cells that hold ``mass`` of all."""
    order = np.argsort(-density)
    region = np.zeros(len(density), dtype=bool)
    region[order[: int(np.searchsorted(np.cumsum(density[order]), mass * density.sum())) + 1]] = True
    return region


def inner_core(places: Rows, density: Rows, covariance: Rows, mean: Rows) -> InnerCore:
    """Moments of the densest half of a density given on a regular grid."""
    inside = densest(density, 0.5)
    centre = np.average(places[inside], axis=0, weights=density[inside])
    spread = np.cov(places[inside].T, aweights=density[inside], bias=True)
    tilt = math.degrees(0.5 * math.atan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))
    low, high = np.linalg.eigvalsh(spread)
    return InnerCore(
        float(spread[0, 1] / math.sqrt(spread[0, 0] * spread[1, 1])),
        (tilt + 45) % 90 - 45,
        math.sqrt(low / high),
        mahalanobis(centre, mean, np.linalg.inv(covariance)),
    )


# Components.


def test_components_have_numpy_s_moments(measured: dict[str, Any]) -> None:
    found = measured["components"]
    assert (found["vectors"], found["dimension"]) == (N, D)
    np.testing.assert_allclose(found["components"]["mean"], TRAIN.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found["components"]["std"], TRAIN.std(axis=0, ddof=1), rtol=1e-9)


def test_the_unit_is_the_power_of_two_nearest_to_the_median_sigma(measured: dict[str, Any]) -> None:
    median = python_statistics.median(TRAIN.std(axis=0, ddof=1))
    unit = min((2.0**k for k in range(-20, 20)), key=lambda power: abs(math.log(power / median)))
    assert unit == 2.0  # a unit of 1 would not show a forgotten factor
    assert measured["components"]["unit"] == unit
    assert measured["components"]["bin_width"] == 0.25 * unit


@pytest.mark.parametrize("asked", [None, 0.3])
def test_peaks_and_half_widths_are_those_of_numpy_s_histogram(measured: dict[str, Any], asked: float | None) -> None:
    found = measured["components"]
    if asked:
        found = analyze(reference(), sections=["components"], bin_width=asked).measured["components"]
        assert found["bin_width"] == asked
    for j in range(D):
        width = own_width(TRAIN[:, j], asked or 0.5)
        assert width == pytest.approx(asked or 0.5, rel=0.5)
        edges, counts = histogram(TRAIN[:, j], width)
        assert found["components"]["centre"][j] == pytest.approx(edges[counts.argmax()] + width / 2, rel=1e-12)
        half_width = length_above_half(TRAIN[:, j], width)
        assert found["components"]["half_width"][j] == pytest.approx(half_width, rel=1e-3)
        if j < 5:  # the last one is skewed, its peak narrow
            assert half_width == pytest.approx(FWHM * TRAIN[:, j].std(), rel=0.2)
    assert found["median_half_width"] == pytest.approx(np.median(found["components"]["half_width"]), rel=1e-12)
    quarter = found["median_half_width"] / 4
    near = sum(abs(mean) < quarter for mean in TRAIN.mean(axis=0))
    assert 0 < near < D
    assert found["share_centred_near_zero"] == pytest.approx(near / D)


def dominant_by_loop(mean: Rows, half_widths: Rows) -> list[int]:
    """Post III's dominant components by the rule, with sorted lists."""

    def outstanding(values: list[float]) -> set[int]:
        middle = python_statistics.median(values)
        spread = 1.4826 * python_statistics.median([abs(value - middle) for value in values])
        return {j for j, value in enumerate(values) if value > middle + 3 * spread}

    chosen = outstanding([abs(value) for value in mean]) | outstanding(list(half_widths))
    return sorted(chosen, key=lambda j: (-(abs(mean[j]) + half_widths[j] / 2), j))


def test_dominant_components_stand_out_by_the_rule(measured: dict[str, Any]) -> None:
    found = measured["components"]
    expected = dominant_by_loop(TRAIN.mean(axis=0), np.array(found["components"]["half_width"]))
    assert found["dominant"] == expected
    assert 2 in expected
    sizes = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mean, widths = rng.standard_t(2, size=20), 2 + 0.3 * np.abs(rng.standard_t(2, size=20))
        expected = dominant_by_loop(mean, widths)
        assert component_section.dominant_components(mean, widths).tolist() == expected
        sizes.add(len(expected))
    assert len(sizes) > 3


def test_radii_are_numpy_s_norms(measured: dict[str, Any]) -> None:
    found, radii = measured["components"]["radius"], np.linalg.norm(TRAIN, axis=1)
    exact = {
        "expected": math.sqrt(sum(m * m for m in TRAIN.mean(axis=0)) + sum(TRAIN.var(axis=0, ddof=1))),
        "sqrt_dimension": math.sqrt(D),
        "of_centre": float(np.linalg.norm(TRAIN.mean(axis=0))),
        "mean": radii.mean(),
        "std": radii.std(ddof=1),
        "minimum": radii.min(),
        "maximum": radii.max(),
    }
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    # Quantiles and the share are read off bins of 0.05 units; vectors lie closer together than that.
    for name, share in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
        assert found[name] == pytest.approx(np.quantile(radii, share), abs=0.1), name
    edges, counts = histogram(radii, 0.5 * 2)
    assert found["peak"] == pytest.approx(edges[counts.argmax()] + 0.5)
    assert found["peak_bin_width"] == pytest.approx(1.0)
    beyond = np.mean(radii > 2 * found["peak"])
    assert beyond > 0
    assert found["share_above_twice_peak"] == pytest.approx(beyond, abs=1.01 / N)


def test_clusters_are_several_peaks_and_a_bell_is_one() -> None:
    rng = np.random.default_rng(42)
    bell, which = rng.normal(size=(3000, 4)), rng.integers(6, size=3000)
    two, three = bell[:, 1] + 5 * (which % 2), bell[:, 2] + 5 * (which % 3)
    rows = np.stack([bell[:, 0], two, three, rng.uniform(-2, 2, size=3000), rng.exponential(size=3000)], axis=1)
    found = analyze(rows, sections=["components"]).measured["components"]
    assert found["components"]["peaks"] == [1, 2, 3, 1, 1]
    assert found["share_single_peaked"] == pytest.approx(3 / 5)


def test_a_further_peak_must_reach_a_quarter_of_the_highest_and_more_than_chance() -> None:
    rng = np.random.default_rng(66)
    rows = rng.normal(size=(8000, 2))
    rows[:1200, 0] += 7  # 15 % beside 85 %, of the same width: 0.18 of the height
    rows[:2400, 1] += 7  # 30 % beside 70 %: 0.43 of it
    assert analyze(rows, sections=["components"]).measured["components"]["components"]["peaks"] == [1, 2]
    few = analyze(rng.normal(size=(60, 100)), sections=["components"]).measured["components"]
    assert few["share_single_peaked"] == 1.0


# Correlations.


def test_counts_and_strong_pairs_are_those_of_a_loop_over_corrcoef(measured: dict[str, Any]) -> None:
    threshold = 0.25
    found = analyze(reference(), sections=["correlations"], threshold=threshold).measured["correlations"]
    matrix = np.corrcoef(TRAIN.T)
    pairs = sorted(itertools.combinations(range(D), 2), key=lambda pair: -abs(matrix[pair]))
    for place, limit in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.6)):
        count = sum(abs(matrix[pair]) > limit for pair in pairs)
        assert found["thresholds"][place] == limit
        assert found["counts"][place] == count
        assert found["shares"][place] == pytest.approx(count / 15)
    assert len(set(found["counts"])) > 2
    strong = [pair for pair in pairs if abs(matrix[pair]) > threshold]
    assert 1 < len(strong) < 15
    assert [(i, j) for i, j, _ in found["strong_pairs"]] == strong
    np.testing.assert_allclose([r for _, _, r in found["strong_pairs"]], [matrix[pair] for pair in strong], rtol=1e-9)
    assert found["largest"] == pytest.approx(matrix[pairs[0]], rel=1e-9)
    assert found["root_mean_square"] == pytest.approx(math.sqrt(sum(matrix[p] ** 2 for p in pairs) / 15), rel=1e-9)
    assert found["standard_error_of_zero"] == pytest.approx(1 / math.sqrt(N))
    assert (found["vectors"], found["pairs"], found["threshold"]) == (N, 15, threshold)
    dominant = measured["components"]["dominant"]
    assert found["dominant"] == sorted(dominant)
    with_one = sum(bool({i, j} & set(dominant)) for i, j in strong)
    assert 0 < with_one < len(strong)
    share = found["share_of_strong_pairs_with_a_dominant_component"]
    assert share == pytest.approx(with_one / len(strong))


def test_without_strong_pairs_there_is_no_share_of_them() -> None:
    rows = np.random.default_rng(43).normal(size=(400, 4))
    found = analyze(rows, sections=["correlations"], threshold=0.9).measured["correlations"]
    assert found["strong_pairs"] == []
    assert found["share_of_strong_pairs_with_a_dominant_component"] is None


# The origin.


def own_matching_b() -> float:
    return math.sqrt(3 * (np.square(TRAIN.mean(axis=0)) + TRAIN.var(axis=0, ddof=1)).mean())


def in_slice(row: Rows, pair: tuple[int, int], b: float) -> bool:
    return all(abs(value) <= b for k, value in enumerate(row) if k not in pair)


def test_slices_hold_what_a_loop_counts(measured: dict[str, Any]) -> None:
    found = measured["origin"]
    assert found["pairs"] == [list(pair) for pair in PAIRS]
    assert found["half_sides"] == pytest.approx([3.0, 4.0, own_matching_b()])
    counts = [[sum(in_slice(row, pair, b) for row in TRAIN) for b in found["half_sides"]] for pair in PAIRS]
    assert found["counts"] == counts
    assert 0 < min(map(min, counts)) < max(map(max, counts)) < N
    np.testing.assert_allclose(found["share"], np.array(counts) / N)
    assert found["vectors"] == N


def test_the_pairs_of_themselves_are_the_strongest_and_the_farthest() -> None:
    found = analyze(reference(), sections=["origin"]).measured["origin"]
    matrix, mean = np.abs(np.corrcoef(TRAIN.T)), np.abs(TRAIN.mean(axis=0))
    strongest = sorted(itertools.combinations(range(D), 2), key=lambda pair: -matrix[pair])[:2]
    far = sorted(range(D), key=lambda j: -mean[j])
    expected = [*strongest, tuple(sorted(far[:2])), tuple(sorted(far[2:4]))]
    assert [tuple(pair) for pair in found["pairs"]] == list(dict.fromkeys(expected))


def test_the_normal_s_slices_agree_with_an_own_monte_carlo(measured: dict[str, Any]) -> None:
    found = measured["origin"]
    assert found["normal_vectors"] == 500_000
    rng = np.random.default_rng(44)
    covariance = np.cov(TRAIN.T)

    def shares(covariance: Rows) -> Rows:
        size = np.abs(rng.multivariate_normal(TRAIN.mean(axis=0), covariance, size=300_000))
        keep = [[k for k in range(D) if k not in pair] for pair in PAIRS]
        return np.array([[(size[:, others] <= b).all(axis=1).mean() for b in found["half_sides"]] for others in keep])

    own, theirs = shares(covariance), np.array(found["normal_counts"]) / 500_000
    # The standard error of a difference of two shares is at most sqrt(0.25 / 500,000 + 0.25 / 300,000) = 0.0012; of
    # six, one is beyond four of its own in 1 of 2,600 seeds, and this seed is fixed. Normals without correlations
    # differ by more, as the last line shows.
    error = np.sqrt(own * (1 - own) * (1 / 500_000 + 1 / 300_000))
    assert (np.abs(theirs - own) <= 4 * error + 1e-6).all()
    assert (np.abs(shares(np.diag(np.diag(covariance))) - theirs) > 8 * error).any()


def test_the_origin_lies_where_projections_put_it(measured: dict[str, Any]) -> None:
    found, mean = measured["origin"]["position"], TRAIN.mean(axis=0)
    along = TRAIN @ (mean / np.linalg.norm(mean))
    assert found["distance"] == pytest.approx(np.linalg.norm(mean))
    assert found["sigmas_along_centre"] == pytest.approx(np.linalg.norm(mean) / along.std(ddof=1))
    beyond = sum(float(value) <= 0 for value in along)
    assert 0 < beyond < N / 4
    assert found["share_beyond"] == pytest.approx(beyond / N)
    widths = FWHM * TRAIN.std(axis=0, ddof=1)
    outside = sum(abs(mean[j]) > widths[j] / 2 for j in range(D))
    assert 0 < outside < D
    assert found["components_outside_half"] == outside
    assert found["largest_half_widths"] == pytest.approx(max(abs(mean[j]) / widths[j] for j in range(D)))


def test_the_origin_has_the_level_of_each_core_s_definition(measured: dict[str, Any]) -> None:
    found = measured["origin"]["position"]["cores"]
    assert list(found) == CORES
    for core in CORES:
        assert found[core]["level"] == pytest.approx(core_levels(core, np.zeros((1, D)))[0], rel=1e-5)
        assert found[core]["nominal"] == pytest.approx(NOMINAL[core])
        assert found[core]["calibrated"] == pytest.approx(calibrated(core), rel=1e-5)


# Cubes.


def test_cubes_have_the_radii_of_their_vectors_and_of_an_own_draw(measured: dict[str, Any]) -> None:
    found = measured["cubes"]
    assert [cube["b"] for cube in found["cubes"]] == pytest.approx([2.0, 3.0, 4.0, 10.0, own_matching_b()])
    own = np.linalg.norm(np.random.default_rng(45).uniform(-1, 1, size=(300_000, D)), axis=1)
    for cube in found["cubes"]:
        b = cube["b"]
        radii = np.linalg.norm(drawn("uniform-cube", 20_000, b=b), axis=1)
        assert cube["mean_radius"] == pytest.approx(radii.mean(), rel=1e-9)
        assert cube["std_radius"] == pytest.approx(radii.std(ddof=1), rel=1e-9)
        # Of the mean of 20,000 the standard error is 0.14 % here, of the standard deviation 0.5 %.
        assert cube["mean_radius"] == pytest.approx(b * own.mean(), rel=0.006)
        assert cube["std_radius"] == pytest.approx(b * own.std(), rel=0.02)
        closed = cube["closed_form_root_mean_square"]
        assert closed == pytest.approx(b * math.sqrt(D / 3))
        assert math.hypot(cube["mean_radius"], cube["std_radius"]) == pytest.approx(closed, rel=0.006)
    assert (found["vectors_a_cube"], found["scored_a_cube"]) == (20_000, 1000)


def test_the_matching_b_gives_the_data_s_root_mean_square_radius(measured: dict[str, Any]) -> None:
    found, match = measured["cubes"], measured["cubes"]["matching_b"]
    root_mean_square = math.sqrt(np.square(np.linalg.norm(TRAIN, axis=1)).mean())
    # The closed form divides by n - 1.
    assert match["closed_form"] * math.sqrt(D / 3) == pytest.approx(root_mean_square, rel=1 / N)
    assert match["closed_form"] == pytest.approx(own_matching_b())
    assert match["relative_to_rms_component"] == pytest.approx(match["closed_form"] / found["rms_component"])
    unit_cube = np.linalg.norm(drawn("uniform-cube", 20_000, b=1.0), axis=1).mean()
    radii = np.linalg.norm(TRAIN, axis=1)
    assert match["measured"] == pytest.approx(radii.mean() / unit_cube, rel=1e-5)
    assert match["q05"] == pytest.approx(np.quantile(radii, 0.05) / unit_cube, abs=0.1)
    assert match["q95"] == pytest.approx(np.quantile(radii, 0.95) / unit_cube, abs=0.1)


def test_as_many_cube_vectors_are_inside_a_core_as_its_definition_says(measured: dict[str, Any]) -> None:
    found = measured["cubes"]
    assert found["cores"] == pytest.approx({core: calibrated(core) for core in CORES}, rel=1e-5)
    for cube in found["cubes"]:
        scored = drawn("uniform-cube", 1000, b=cube["b"])
        inside = {core: np.mean(core_levels(core, scored) <= calibrated(core)) for core in CORES}
        assert cube["inside"] == pytest.approx(inside, abs=1.01e-3)  # one of 1,000 may lie on the boundary
    assert len({cube["inside"]["ellipsoid"] for cube in found["cubes"]}) == 5


def test_without_held_out_vectors_the_nominal_levels_are_used() -> None:
    found = analyze(LATENTS[:N], sections=["cubes"]).measured["cubes"]
    assert found["cores"] == pytest.approx(NOMINAL)


# Gaussian or not.


@pytest.mark.parametrize("asked", [None, 0.5])
def test_gaussians_are_fitted_as_by_curve_fit_on_numpy_s_histogram(
    measured: dict[str, Any], asked: float | None
) -> None:
    found = measured["gaussianity"]["fit"]
    if asked:
        found = analyze(reference(), sections=["gaussianity"], bin_width=asked).measured["gaussianity"]["fit"]
    residuals = []
    for j in range(D):
        values = TRAIN[:, j]
        width = own_width(values, asked or 2.0 ** math.floor(math.log2(values.std() / 2)))
        edges, counts = histogram(values, width)
        middles = edges[:-1] + width / 2
        model = lambda x, height, mu, sigma: height * np.exp(-((x - mu) ** 2) / (2 * sigma * sigma))  # noqa: E731
        fitted, _ = curve_fit(model, middles, counts, p0=(counts.max(), np.median(values), values.std()))
        residuals.append(np.sqrt(np.mean((counts - model(middles, *fitted)) ** 2)) / counts.max())
        assert found["centre"][j] == pytest.approx(fitted[1], abs=1e-4 * values.std())
        assert found["sigma"][j] == pytest.approx(abs(fitted[2]), rel=1e-4)
        assert found["residual"][j] == pytest.approx(residuals[-1], rel=1e-3)
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
    found = analyze(rows, sections=["gaussianity"]).measured["gaussianity"]
    # 10 of 200 expected, less what the bins miss; a factor of 2 in the critical value gives 0 or more than 100.
    low, high = stats.binom.interval(0.999, 200, 0.05)
    assert 0 < found["rejected_at_5_percent"] <= high
    assert low <= sum(ks + 0.002 > found["lilliefors_critical"] for ks in found["ks"])


def test_skewness_and_kurtosis_are_scipy_s(measured: dict[str, Any]) -> None:
    found = measured["gaussianity"]
    np.testing.assert_allclose(found["skewness"], stats.skew(TRAIN), atol=1e-9)
    np.testing.assert_allclose(found["excess_kurtosis"], stats.kurtosis(TRAIN), atol=1e-9)
    assert max(np.abs(found["skewness"])) > 0.3


def own_distances(rows: Rows) -> Rows:
    centred = rows - rows.mean(axis=0)
    return np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(rows.T)), centred))


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
    found = analyze(rows, sections=["gaussianity"]).measured["gaussianity"]["mahalanobis"]
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
            region = densest(density, 1 - math.exp(-(sigmas**2) / 2))
            ellipse = np.zeros_like(region)
            ellipse[np.argsort(distance[:, 0])[: region.sum()]] = True
            overlap = (region & ellipse).sum() / (region | ellipse).sum()
            # Grids differ: cells on the boundaries, of some thousand inside, are counted here or there.
            assert row["ellipticity"][place] == pytest.approx(overlap, abs=0.025)
            assert overlap < 0.97


@pytest.mark.parametrize("section", ["gaussianity", "filaments"])
def test_an_ordered_store_gives_what_a_shuffled_one_gives(section: str) -> None:
    """Where not all vectors are looked at, those that are must be drawn from all of them."""
    rng = np.random.default_rng(48)
    rows = rng.standard_t(5, size=(7500, 5))
    ordered = rows[np.argsort(np.linalg.norm(rows, axis=1))]
    found, shuffled = (analyze(x, sections=[section]).measured[section] for x in (ordered, rows))
    if section == "gaussianity":
        # 4,000 of 7,500: a standard error of 0.7 % each.
        assert found["ellipses"]["joint"] == pytest.approx(shuffled["ellipses"]["joint"], abs=0.035)
        return
    nearest, expected = (part["neighbours"]["data"]["median_nearest"] for part in (found, shuffled))
    assert nearest == pytest.approx(expected, rel=0.05)


# Densities of pairs.


def pair_density(points: Rows) -> PairDensity:
    density = PairDensity(points.mean(axis=0), np.cov(points.T))
    for block in np.array_split(points, 3):
        density.add(block)
    return density


def correlated_pair(n: int, seed: int = 49) -> Rows:
    return np.random.default_rng(seed).multivariate_normal([3.0, -1.0], [[4.0, 1.2], [1.2, 1.0]], size=n)


@pytest.mark.parametrize("shape", ["normal", "crescent"])
def test_pair_densities_are_scipy_s(shape: str) -> None:
    points = correlated_pair(800)
    if shape == "crescent":
        points[:, 1] += 0.4 * np.square(points[:, 0] - 3)
    found = pair_density(points)
    x, y = (part[::4, ::4].ravel() for part in found.grid)
    own = stats.gaussian_kde(points.T)(np.stack([x, y]))
    dense = own > 0.05 * own.max()
    assert dense.sum() > 100
    np.testing.assert_allclose(found.density[::4, ::4].ravel()[dense], own[dense], rtol=0.03)
    assert np.abs(found.density[::4, ::4].ravel() - own).max() < 0.01 * own.max()


def test_contours_enclose_their_mass() -> None:
    found = pair_density(correlated_pair(5000))
    x, y = found.grid
    steps = np.array([[x[1, 0] - x[0, 0], x[0, 1] - x[0, 0]], [y[1, 0] - y[0, 0], y[0, 1] - y[0, 0]]])
    cell = abs(np.linalg.det(steps))
    assert found.density.sum() * cell == pytest.approx(1.0, abs=1e-3)
    for mass in (0.15, 0.39, 0.5, 0.86, 0.99):
        level = found.level(mass)
        assert found.density[found.density >= level].sum() * cell == pytest.approx(mass, abs=2e-3)
    # A normal has density exp(-k^2 / 2) / (2 pi sqrt(det C)) on its k-sigma ellipse, and C is widened by the kernel.
    widened = 1 + 5000 ** (-1 / 3)
    peak = 1 / (2 * math.pi * math.sqrt(4 - 1.2**2) * widened)
    assert found.level(mass_of_ellipse(1.0)) == pytest.approx(peak * math.exp(-0.5), rel=0.05)


def test_shares_count_the_points_inside_their_own_ellipses() -> None:
    points = correlated_pair(2000)
    radii = own_distances(points)
    assert pair_density(points).shares == pytest.approx([np.mean(radii <= k) for k in (1, 2, 3)])


def test_ellipticity_is_near_one_for_a_normal_only() -> None:
    rng = np.random.default_rng(50)
    assert pair_density(correlated_pair(40_000)).ellipticity(1.0) > 0.95
    assert pair_density(correlated_pair(40_000)).ellipticity(2.0) > 0.96
    clusters = rng.normal(size=(40_000, 2)) + [[5, 0]] * rng.integers(2, size=(40_000, 1))
    assert pair_density(clusters).ellipticity(1.0) < 0.6
    ring = rng.normal(size=(40_000, 2))
    ring *= (3 + 0.3 * rng.normal(size=(40_000, 1))) / np.linalg.norm(ring, axis=1, keepdims=True)
    assert pair_density(ring).ellipticity(1.0) < 0.2


def test_a_normal_s_inner_core_is_shaped_as_the_whole() -> None:
    core = pair_density(correlated_pair(40_000)).inner_core()
    low, high = np.linalg.eigvalsh([[4.0, 1.2], [1.2, 1.0]])
    assert core.correlation == pytest.approx(0.6, abs=0.03)
    assert core.tilt == pytest.approx(math.degrees(0.5 * math.atan2(2.4, 3.0)), abs=1.5)
    assert core.axis_ratio == pytest.approx(math.sqrt(low / high), abs=0.02)
    assert core.offset < 0.03


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("stretch", [1.0, 3.0])
def test_an_inner_core_under_a_halo_is_found_though_the_whole_is_uncorrelated(sign: int, stretch: float) -> None:
    weight, scale = 0.6, np.array([stretch, 1.0])
    shapes = [np.array([[1, 0.7 * sign], [0.7 * sign, 1]]), np.array([[6, -1.0 * sign], [-1.0 * sign, 6]])]
    centres = [np.array([0.4, -0.2]), np.array([-0.6, 0.3])]
    shapes = [shape * np.outer(scale, scale) for shape in shapes]
    centres = [centre * scale for centre in centres]
    shares = [weight, 1 - weight]
    covariance = sum(w * (c + np.outer(m, m)) for w, c, m in zip(shares, shapes, centres, strict=True))
    rng = np.random.default_rng(51)
    n = 60_000
    drawn = [rng.multivariate_normal(m, c, size=round(w * n)) for w, c, m in zip(shares, shapes, centres, strict=True)]
    points = np.concatenate(drawn)
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.1
    # The same mixture in closed form, widened by the kernel n^(-1/6) of the whole covariance.
    line = np.linspace(-6, 6, 301)
    places = np.stack(np.meshgrid(line * stretch, line, indexing="ij"), axis=-1).reshape(-1, 2)
    kernel = covariance * n ** (-1 / 3)
    parts = [stats.multivariate_normal(m, c + kernel).pdf(places) for c, m in zip(shapes, centres, strict=True)]
    expected = inner_core(places, weight * parts[0] + (1 - weight) * parts[1], covariance, np.zeros(2))
    found = pair_density(points).inner_core()
    assert expected.correlation * sign > 0.3
    assert expected.tilt * sign > 5
    assert found.correlation == pytest.approx(expected.correlation, abs=0.03)
    assert found.tilt == pytest.approx(expected.tilt, abs=2.0) or abs(expected.tilt) > 43
    assert found.axis_ratio == pytest.approx(expected.axis_ratio, abs=0.03)
    assert found.offset == pytest.approx(expected.offset, abs=0.02)
    assert expected.offset > 0.1


# After PCA.


def test_explained_variance_is_that_of_scikit_learn_s_pca(measured: dict[str, Any]) -> None:
    found, left = measured["principal"], trimmed(1.7)
    assert 0 < len(left) < N
    assert (found["trim"], found["vectors"], found["of"], found["rank"]) == (1.7, len(left), N, D)
    pca, whole = PCA().fit(left), PCA().fit(TRAIN)
    np.testing.assert_allclose(found["explained_variance_ratio"], pca.explained_variance_ratio_, rtol=1e-9)
    assert found["largest_ratio"] == pytest.approx(pca.explained_variance_ratio_[0])
    assert found["share_of_first_15"] == pytest.approx(1.0)
    for share in (0.80, 0.90, 0.95):
        for name, fitted in (("components_for", pca), ("components_for_untrimmed", whole)):
            needed = PCA(n_components=share, svd_solver="full").fit(left if fitted is pca else TRAIN).n_components_
            assert found[name][f"{share:.2f}"] == needed
    assert len(set(found["components_for"].values())) > 1
    assert found["largest_off_diagonal"] < 1e-10


def test_the_first_fifteen_components_are_summed() -> None:
    rows = np.random.default_rng(52).normal(size=(400, 20)) * np.linspace(2, 1, 20)
    found = analyze(rows, sections=["principal"], trim=None).measured["principal"]
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
        width = own_width(values, 2.0 ** math.floor(math.log2(values.std() / 2)))
        edges, counts = histogram(values, width)
        model = lambda x, height, mu, sigma: height * np.exp(-((x - mu) ** 2) / (2 * sigma * sigma))  # noqa: E731
        fitted, _ = curve_fit(model, edges[:-1] + width / 2, counts, p0=(counts.max(), 0.0, values.std()))
        assert found["fit_centre_in_sigma"][k] == pytest.approx(abs(fitted[1]) / values.std(ddof=1), abs=2e-4)
    assert found["largest_fit_centre"] == max(found["fit_centre_in_sigma"])
    assert found["share_single_peaked"] == 1.0


def as_core(row: dict[str, Any]) -> InnerCore:
    return InnerCore(row["inner_correlation"], row["tilt_degrees"], row["axis_ratio"], row["offset_sigma"])


def assert_same_core(found: InnerCore, expected: InnerCore) -> None:
    """Two grids of different cells, orientation and reach."""
    assert found.correlation == pytest.approx(expected.correlation, abs=0.02)
    assert found.axis_ratio == pytest.approx(expected.axis_ratio, abs=0.02)
    assert found.offset == pytest.approx(expected.offset, abs=0.02)
    if expected.axis_ratio < 0.9:
        assert found.tilt == pytest.approx(expected.tilt, abs=2.0)


def kernel_core(coordinates: Rows) -> InnerCore:
    return inner_core(*kernel_density(coordinates), np.cov(coordinates.T), coordinates.mean(axis=0))


def test_inner_cores_of_principal_pairs_are_those_of_scipy_s_kernel_density(measured: dict[str, Any]) -> None:
    found, left = measured["principal"], trimmed(1.7)
    coordinates = principal_axes(left).transform(left)
    rows = {tuple(row["pair"]): as_core(row) for row in found["pairs"]}
    assert list(rows) == list(itertools.combinations(range(D), 2))
    worst = max(rows, key=lambda pair: abs(rows[pair].correlation))
    assert tuple(found["worst_pair"]) == worst
    for pair in dict.fromkeys([(0, 1), worst]):
        assert_same_core(rows[pair], kernel_core(coordinates[:, pair]))
    assert found["largest_inner_correlation"] == pytest.approx(abs(rows[worst].correlation))
    assert found["largest_inner_correlation"] > 0.05
    assert found["median_inner_correlation"] == pytest.approx(np.median([abs(c.correlation) for c in rows.values()]))
    tilts = [abs(core.tilt) for core in rows.values() if core.axis_ratio < 0.9]
    assert len(tilts) > 3
    assert found["median_tilt"] == pytest.approx(python_statistics.median(tilts))
    own = [pair_density(coordinates[:, pair]).ellipticity(1.0) for pair in rows]
    assert found["mean_ellipticity"] == pytest.approx(np.mean(own), abs=2e-3)


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
        assert_same_core(as_core(part), kernel_core(coordinates[:, part["pair"]]))


def test_tight_trimming_moves_axes_and_cores() -> None:
    """At 0.5 half-widths, 1.18 sigma, a box is left; its shape, and how many axes it needs, is its own."""
    found, left = analyze(reference(), sections=["principal"], trim=0.5).measured["principal"], trimmed(0.5)
    assert N / 10 < found["vectors"] == len(left) < N / 2
    coordinates = principal_axes(left).transform(left)
    rows = {tuple(row["pair"]): as_core(row) for row in found["pairs"]}
    for pair in dict.fromkeys([(0, 1), tuple(found["worst_pair"])]):
        assert_same_core(rows[pair], kernel_core(coordinates[:, pair]))
    for name, vectors in (("components_for", left), ("components_for_untrimmed", TRAIN)):
        cumulative = np.cumsum(PCA().fit(vectors).explained_variance_ratio_)
        expected = {f"{share:.2f}": 1 + sum(cumulative < share) for share in (0.8, 0.9, 0.95)}
        assert found[name] == expected
    assert found["components_for"] != found["components_for_untrimmed"]


def test_the_tilt_of_a_round_core_is_left_out() -> None:
    rows = np.random.default_rng(65).normal(size=(8000, 4)) * [3.0, 1.0, 1.0, 1.0]
    found = analyze(rows, sections=["principal"]).measured["principal"]
    long = [abs(row["tilt_degrees"]) for row in found["pairs"] if row["axis_ratio"] < 0.9]
    assert 3 <= len(long) < 6
    assert found["median_tilt"] == pytest.approx(python_statistics.median(long))
    assert found["median_tilt"] < python_statistics.median(abs(row["tilt_degrees"]) for row in found["pairs"])


# Generated vectors.


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The roots of (p - share)^2 = z^2 p (1 - p) / n."""
    z = stats.norm.ppf(0.975)
    low, high = sorted(np.roots([1 + z * z / n, -2 * hits / n - z * z / n, (hits / n) ** 2]).real)
    return float(low), float(high)


def test_generated_vectors_are_inside_the_cores_as_the_definitions_say(measured: dict[str, Any]) -> None:
    found = measured["generated"]
    assert found["vectors"] == 1000
    assert found["levels"] == pytest.approx({core: calibrated(core) for core in CORES}, rel=1e-5)
    assert list(found["inside"]) == ["held-out real vectors", *STRATEGIES]
    for name, shares in found["inside"].items():
        vectors = drawn(name, 1000) if name in STRATEGIES else JUDGING
        for core in CORES:
            hits = int(np.sum(core_levels(core, vectors) <= calibrated(core)))
            assert shares[core]["share"] == pytest.approx(hits / len(vectors), abs=1.01 / len(vectors))
            low, high = wilson(round(shares[core]["share"] * len(vectors)), len(vectors))
            assert (shares[core]["low"], shares[core]["high"]) == pytest.approx((low, high), abs=1e-6)
    assert len(JUDGING) == HELD_OUT / 2
    values = [shares[core]["share"] for shares in found["inside"].values() for core in CORES]
    assert min(values) < 0.95
    assert len(set(values)) > 10


def test_generated_vectors_are_inside_the_ellipses_of_the_planes(measured: dict[str, Any]) -> None:
    pca, matrix = PCA().fit(TRAIN), np.corrcoef(TRAIN.T)
    strongest = sorted(itertools.combinations(range(D), 2), key=lambda pair: -abs(matrix[pair]))[:2]
    for name in STRATEGIES:
        vectors = drawn(name, 1000)
        along = pca.transform(vectors) / np.sqrt(pca.explained_variance_)
        expected = [np.mean(np.hypot(along[:, i], along[:, j]) <= 2.2) for i, j in ((0, 1), (2, 3))]
        for pair in strongest:
            inverse, mean = np.linalg.inv(np.cov(TRAIN[:, pair].T)), TRAIN[:, pair].mean(axis=0)
            expected.append(np.mean([mahalanobis(point, mean, inverse) <= 2.2 for point in vectors[:, pair]]))
        assert measured["generated"]["planes"][name] == pytest.approx(expected, abs=1.01e-3)


# Filaments.


def brute_clark_evans(points: Rows, area: float) -> float:
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min(axis=1).mean() / (0.5 / math.sqrt(len(points) / area)))


def test_windows_are_measured_as_by_brute_force(measured: dict[str, Any]) -> None:
    found, pca = measured["filaments"], PCA().fit(TRAIN)
    assert (found["vectors"], found["of"]) == (N, N)
    points = (pca.transform(TRAIN) / np.sqrt(pca.explained_variance_))[:, :2]
    assert [(row["plane"], row["half_side_sigma"]) for row in found["planes"]] == [([0, 1], 1.0), ([0, 1], 0.25)]
    rng = np.random.default_rng(53)
    for row in found["planes"]:
        side = row["half_side_sigma"]
        window = points[(np.abs(points) <= side).all(axis=1)]
        assert row["points"] == len(window)
        assert row["clark_evans"] == pytest.approx(brute_clark_evans(window, 4 * side * side))
        line = side * (2 * (np.arange(80) + 0.5) / 80 - 1)
        centres = np.array(list(itertools.product(line, line)))
        void = cdist(centres, window).min(axis=1).max() * math.sqrt(len(window)) / (2 * side)
        assert row["largest_void"] == pytest.approx(void)
        controls, voids = [], []
        for _ in range(20):
            sample = rng.normal(size=(N, 2))
            sample = sample[(np.abs(sample) <= side).all(axis=1)]
            controls.append(brute_clark_evans(sample, 4 * side * side))
            voids.append(cdist(centres, sample).min(axis=1).max() * math.sqrt(len(sample)) / (2 * side))
        # Means of 99 and of 20 normal samples: four standard errors of their difference.
        tolerance = 4 * np.std(controls, ddof=1) * math.sqrt(1 / 99 + 1 / 20)
        assert row["normal_clark_evans"] == pytest.approx(np.mean(controls), abs=tolerance)
        tolerance = 4 * np.std(voids, ddof=1) * math.sqrt(1 / 99 + 1 / 20)
        assert row["normal_largest_void"] == pytest.approx(np.mean(voids), abs=tolerance)
        assert (row["rank"] * 100) == pytest.approx(round(row["rank"] * 100), abs=1e-6)
        assert 0.01 <= row["rank"] <= 1
        assert row["normal_samples"] == 99


def brute_two_nn(rows: Rows) -> tuple[float, float]:
    """Intrinsic dimension and median nearest distance from the sorted matrix of all distances."""
    distance = np.sort(cdist(rows, rows), axis=1)
    ratios = [math.log(second / first) for first, second in distance[:, 1:3]]
    return len(ratios) / sum(ratios), float(np.median(distance[:, 1]))


def test_nearest_neighbours_in_all_dimensions_are_those_of_brute_force(measured: dict[str, Any]) -> None:
    found = measured["filaments"]["neighbours"]
    assert measured["filaments"]["neighbour_vectors"] == N
    dimension, nearest = brute_two_nn(TRAIN)
    assert found["data"]["two_nn_dimension"] == pytest.approx(dimension, rel=1e-4)
    assert found["data"]["median_nearest"] == pytest.approx(nearest, rel=1e-5)
    normal = np.random.default_rng(54).multivariate_normal(TRAIN.mean(axis=0), np.cov(TRAIN.T), size=N)
    dimension, nearest = brute_two_nn(normal)
    # The estimate of a dimension d from n ratios has a standard error of d / sqrt(n): here 1.8 %, twice.
    assert found["normal"]["two_nn_dimension"] == pytest.approx(dimension, rel=0.1)
    assert found["normal"]["median_nearest"] == pytest.approx(nearest, rel=0.05)


def test_clark_evans_tells_lattice_chance_and_line_apart() -> None:
    rng = np.random.default_rng(55)
    lattice = np.array(list(itertools.product(range(30), range(30))), dtype=np.float64)
    assert filament_section.clark_evans(lattice, 900.0) == pytest.approx(2.0)
    poisson = rng.uniform(0, 30, size=(20_000, 2))
    # The standard error of chance is 0.52 / sqrt(n) (Clark and Evans 1954): 0.004; the border adds 0.003.
    assert filament_section.clark_evans(poisson, 900.0) == pytest.approx(1.0, abs=0.02)
    position = rng.uniform(0, 30, size=2000)
    line = np.stack([position, 0.3 * position], axis=1)
    assert filament_section.clark_evans(line, 900.0) < 0.1


def test_the_largest_void_is_that_of_a_hole_cut_into_a_lattice() -> None:
    line = (np.arange(60) + 0.5) / 30 - 1
    lattice = np.array(list(itertools.product(line, line)))
    holed = lattice[np.linalg.norm(lattice - [0.3, -0.2], axis=1) > 0.4]
    unit = math.sqrt(len(holed)) / 2
    # Half a diagonal of the grid of centres may be missing; the hole may be a lattice step wider than the cut.
    found = filament_section.largest_void(holed, 1.0)
    assert (0.4 - math.sqrt(0.5) / 40) * unit <= found <= (0.4 + 1 / 30) * unit
    assert filament_section.largest_void(lattice, 1.0) <= math.sqrt(0.5) + 1e-9


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_intrinsic_dimension_of_a_cube_is_its_own_wherever_it_lies(dimension: int) -> None:
    rng = np.random.default_rng(56)
    rows = rng.uniform(size=(5000, dimension)) @ np.linalg.qr(rng.normal(size=(7, 7)))[0][:dimension]
    # A standard error is d / sqrt(5000), 1.4 %; the border takes a little off.
    assert filament_section.two_nn_dimension(rows) == pytest.approx(dimension, rel=0.07)
    assert filament_section.two_nn_dimension(np.concatenate([rows, rows[:50]])) == pytest.approx(dimension, rel=0.07)


def curve(n: int = 3000, noise: float = 0.0, seed: int = 57) -> Rows:
    """A closed curve in six dimensions that crosses its own centre in every plane."""
    rng = np.random.default_rng(seed)
    t = 2 * math.pi * rng.uniform(size=n)
    waves = [np.sin(t), np.sin(2 * t), np.cos(3 * t), np.sin(4 * t), np.cos(5 * t), np.sin(6 * t)]
    return np.stack(waves, axis=1) * [2.0, 1.7, 1.4, 1.2, 1.0, 0.8] + noise * rng.normal(size=(n, 6))


def test_the_intrinsic_dimension_of_a_winding_curve_is_one() -> None:
    assert filament_section.two_nn_dimension(curve()) == pytest.approx(1.0, rel=0.07)
    # Noise is three-dimensional once neighbours are closer than it.
    assert filament_section.two_nn_dimension(curve(noise=0.3)) > 3


def test_one_far_vector_leaves_the_windows_without_a_control_and_is_no_error() -> None:
    """It takes most of the spread, so the others crowd a window in which a normal sample of as few has hardly any."""
    rows = np.random.default_rng(58).normal(size=(400, 4))
    rows[0] = [300, 600, 900, 1200]
    analysis = analyze(rows, sections=["filaments"])
    assert analysis.problems == {}
    smallest = analysis.measured["filaments"]["planes"][-1]
    assert smallest["points"] >= 30
    assert smallest["normal_clark_evans"] is None
    assert smallest["normal_samples"] == 0
    verdicts = {verdict.key: verdict.status for verdict in analysis.verdicts}
    assert verdicts["filaments"] == "not measurable here"


def test_tsne_maps_are_measured_over_their_convex_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps themselves are openTSNE's; here they are the first two coordinates."""
    maps: list[Rows] = []

    def embed(context: Any, values: Rows, step: float) -> Rows:
        maps.append(values[:, :2])
        return maps[-1]

    monkeypatch.setattr(tsne, "embed", embed)
    found = analyze(reference(), sections=["tsne"], tsne=500).measured["tsne"]
    assert [row["space"] for row in found["maps"]] == ["all components", "PC 0 to 1", "PC 0 to 3"]
    assert (found["vectors"], found["perplexity"], found["iterations"]) == (500, 30, 750)
    for place, row in enumerate(found["maps"]):
        for points, name in zip(maps[2 * place : 2 * place + 2], ("clark_evans", "normal_clark_evans"), strict=True):
            assert row[name] == pytest.approx(brute_clark_evans(points, hull_area(points)))
    known = {row.tobytes() for row in LATENTS[:N, :2].astype(np.float64)}
    assert len({row.tobytes() for row in maps[0]} & known) == 500


def hull_area(points: Rows) -> float:
    """The shoelace formula over the corners that a march around the points finds."""
    start = current = int(points[:, 0].argmin())
    corners = []
    while True:
        corners.append(points[current])
        candidate = 0 if current else 1
        for k in range(len(points)):
            a, b = points[candidate] - points[current], points[k] - points[current]
            if a[0] * b[1] - a[1] * b[0] < 0:
                candidate = k
        current = candidate
        if current == start:
            break
    x, y = np.array(corners).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


# Counts.


def counted(values: Rows, width: float) -> Counts:
    counts = Counts(width)
    for block in np.array_split(values, 5):
        counts.add(block)
    counts.add(np.empty(0))
    return counts


def test_counts_agree_with_numpy() -> None:
    values = np.random.default_rng(59).gamma(3.0, 2.0, size=20_000)
    counts = counted(values, 0.125)
    assert counts.n == 20_000
    assert (counts.mean, counts.std) == pytest.approx((values.mean(), values.std(ddof=1)), rel=1e-12)
    assert (counts.low, counts.high) == (values.min(), values.max())
    for merge in (1, 3, 8):
        middles, numbers, width = counts.density(merge)
        edges, expected = histogram(values, 0.125 * merge)
        assert width == 0.125 * merge
        np.testing.assert_array_equal(numbers, expected)
        np.testing.assert_allclose(middles, edges[:-1] + width / 2)
    for share in (0.001, 0.05, 0.5, 0.95, 0.999):
        assert counts.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.125)
    asked = np.linspace(0, 20, 161)
    exact = np.array([np.mean(values < edge) for edge in asked])
    np.testing.assert_allclose(counts.cumulative(asked), exact, atol=1e-12)  # all are edges of bins
    between = np.array([1.03, 4.44, 7.7])
    np.testing.assert_allclose(counts.cumulative(between), [np.mean(values < x) for x in between], atol=0.003)
    assert counts.cumulative(np.array([1e6]))[0] == 1.0


def test_quantiles_of_few_values_are_not_past_the_ends() -> None:
    counts = counted(np.array([2.2, 2.2, 7.9]), 0.5)
    assert counts.quantile(1.0) == pytest.approx(8.0)
    assert 2.0 <= counts.quantile(0.5) <= 2.5
    assert counts.std == pytest.approx(np.std([2.2, 2.2, 7.9], ddof=1))
    assert counted(np.array([4.2]), 0.5).std == 0.0


@pytest.mark.parametrize("enormous", [1e6, 1e30])
def test_an_enormous_value_widens_the_bins_and_takes_no_memory(enormous: float) -> None:
    values = np.random.default_rng(60).gamma(3.0, 2.0, size=1000)
    counts = counted(np.append(values, enormous), 0.125)
    counts.add(values)
    assert counts.counts.nbytes <= 8 * 2 * _density.MOST_BINS
    assert counts.counts.sum() == counts.n == 2001
    assert math.log2(counts.width / 0.125).is_integer()
    assert enormous / counts.width < _density.MOST_BINS <= 2 * enormous / counts.width
    every = np.concatenate([values, [enormous], values])
    index = np.floor(every / counts.width).astype(np.int64)
    np.testing.assert_array_equal(np.bincount(index), counts.counts[: index.max() + 1])
    assert counts.mean == pytest.approx(every.mean())


# Stores whose truth is known.


def normal_store() -> Rows:
    rng = np.random.default_rng(61)
    return rng.normal(size=(3000, 6)) @ (np.eye(6) + 0.4 * rng.normal(size=(6, 6))) + 2 * rng.normal(size=6)


def cluster_store() -> Rows:
    """Two clusters along the diagonal: no single component shows two peaks."""
    rng = np.random.default_rng(62)
    return rng.normal(size=(3000, 6)) + 0.9 * rng.choice([-1.0, 1.0], size=(3000, 1))


def cube_store() -> Rows:
    return np.random.default_rng(63).uniform(-1, 1, size=(3000, 6))


def curve_store() -> Rows:
    return curve(noise=5e-4)


def elliptical_store() -> Rows:
    """A multivariate t: every direction alike, the radius too wide."""
    rng = np.random.default_rng(64)
    rows, centre = normal_store(), normal_store().mean(axis=0)
    return centre + (rows - centre) * np.sqrt(5 / rng.chisquare(5, size=(3000, 1)))


JUDGED = ["components", "gaussianity", "principal", "filaments"]


@cache
def judged(store: Callable[[], Rows]) -> Analysis:
    analysis = analyze(store(), sections=JUDGED)
    assert analysis.problems == {}
    return analysis


@pytest.mark.parametrize(
    ("store", "key", "status"),
    [
        (normal_store, "multivariate-normal", "holds"),
        (normal_store, "gaussian-components", "holds"),
        (normal_store, "gaussian-principal", "holds"),
        (normal_store, "one-region", "holds"),
        (normal_store, "elliptic-contours", "holds"),
        (normal_store, "filaments", "differs"),
        (normal_store, "one-dimensional", "differs"),
        (cluster_store, "multivariate-normal", "differs"),
        (cluster_store, "gaussian-components", "holds"),
        (cluster_store, "one-region", "differs"),
        (cluster_store, "filaments", "not measurable here"),
        (cluster_store, "one-dimensional", "differs"),
        (cube_store, "multivariate-normal", "differs"),
        (cube_store, "one-region", "holds"),
        (cube_store, "filaments", "differs"),
        (cube_store, "one-dimensional", "differs"),
        (curve_store, "multivariate-normal", "differs"),
        (curve_store, "filaments", "holds"),
        (curve_store, "one-dimensional", "holds"),
        (elliptical_store, "multivariate-normal", "differs"),
        (elliptical_store, "one-region", "holds"),
        (elliptical_store, "elliptic-contours", "holds"),
        (elliptical_store, "filaments", "differs"),
        (elliptical_store, "one-dimensional", "differs"),
    ],
)
def test_the_verdict_is_the_truth(store: Callable[[], Rows], key: str, status: str) -> None:
    assert {verdict.key: verdict.status for verdict in judged(store).verdicts}[key] == status


def test_the_clusters_along_the_diagonal_are_seen_after_the_pca_only() -> None:
    measured = judged(cluster_store).measured
    assert measured["components"]["share_single_peaked"] == 1.0
    assert measured["principal"]["share_single_peaked"] == pytest.approx(5 / 6)
    assert measured["gaussianity"]["largest_ks"] < 0.05 < measured["gaussianity"]["largest_ks_principal"]


def test_what_is_normal_on_every_axis_can_still_be_seen_by_its_radii() -> None:
    found = judged(elliptical_store).measured["gaussianity"]
    assert found["mahalanobis"]["ks"] > 2 * found["largest_ks"]
    assert found["normal"] is False


@pytest.mark.parametrize("seed", [2, 95])
def test_few_vectors_in_a_window_are_not_called_filaments(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 to 50 points chance alone brings neighbours closer than 80 % of the usual, as for these two normals."""
    monkeypatch.setattr(filament_section, "VOID_GRID", 4)  # voids are not judged, and take long
    rows = np.random.default_rng(seed).normal(size=(900, 40))
    verdicts = {verdict.key: verdict.status for verdict in analyze(rows, sections=["filaments"], seed=seed).verdicts}
    assert verdicts["filaments"] != "holds"


def test_a_curve_s_neighbours_are_closer_than_those_of_all_normal_samples() -> None:
    for row in judged(curve_store).measured["filaments"]["planes"]:
        assert row["clark_evans"] < row["normal_clark_evans"] / 4
        assert row["rank"] == pytest.approx(1 / 100)


# The same again.


class Pieces(MemoryStore):
    """Gives its rows in blocks of another size."""

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        for block in super().chunks(split):
            yield from np.array_split(block, 7)


class SmallChunks(FileStore):
    """A file read in smaller chunks."""

    def chunks(
        self, split: Split | None = "train", chunk_rows: int = 700, *, start: int = 0, stop: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        return super().chunks(split, min(chunk_rows, 700), start=start, stop=stop)


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    """The same vectors in a file, the held-out ones scattered among the others."""
    path = tmp_path / "mine.h5"
    with StoreWriter(path, D, {"encoder": "none"}) as writer:
        for train, held_out in zip(np.array_split(LATENTS[:N], 40), np.array_split(LATENTS[N:], 40), strict=True):
            writer.append(train)
            writer.append(held_out, split="held-out")
    return SmallChunks(path)


def assert_alike(found: Any, expected: Any, where: str) -> None:
    """Nested values, the last digits aside."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_alike(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_alike(one, other, f"{where}.{place}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=2e-6), where
    else:
        assert found == expected, where


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(measured: dict[str, Any]) -> None:
    again = analyze(reference(), sections=EVERY_SECTION, pairs=PAIRS).measured
    assert {key: dict(found) for key, found in again.items()} == measured
    other = analyze(reference(), sections=["components", "origin", "cubes", "generated"], pairs=PAIRS, seed=1).measured
    assert other["components"] == measured["components"]
    assert other["origin"]["counts"] == measured["origin"]["counts"]
    for section, name in (("origin", "normal_counts"), ("cubes", "cubes"), ("generated", "inside")):
        assert other[section][name] != measured[section][name]


@pytest.mark.parametrize("kind", ["array", "store"])
def test_another_block_size_changes_no_number(measured: dict[str, Any], store: LatentStore, kind: str) -> None:
    same = store if kind == "store" else Pieces(LATENTS[:N], LATENTS[N:], name="mine")
    assert [len(block) for block in same.chunks()] != [len(block) for block in reference().chunks()]
    found = analyze(same, sections=EVERY_SECTION, pairs=PAIRS).measured
    for section in EVERY_SECTION:
        assert_alike(dict(found[section]), measured[section], section)


def test_a_sample_of_many_vectors_is_a_sample_of_all_of_them() -> None:
    """Of more than 10,000 vectors some are drawn: none twice, from everywhere, block by block or not."""
    rows = np.arange(25_000.0)[:, np.newaxis] * [1.0, -1.0]
    taken = Context(MemoryStore(rows), Options(None, 0.5, (), (), 1.7, 0, None)).sample
    assert len(np.unique(taken[:, 0])) == len(taken) == 10_000
    # Of 25,000 uniform ranks the Kolmogorov-Smirnov distance of 10,000 is above 0.02 in 1 of 1,500 seeds.
    assert stats.kstest(taken[:, 0] / 25_000, "uniform").statistic < 0.02
    assert (np.diff(taken[:, 0]) > 0).all()
