"""Numbers of generated vectors and of filaments against a second computation, and judgements of known distributions."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import analysis_support as support
import numpy as np
import pytest
from analysis_support import CORES, EVERY_SECTION, JUDGING, LATENTS, PAIRS, STRATEGIES, TRAIN, D, N, Rows, analyzed
from scipy import stats
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.decomposition import PCA

from lsampler import open_store
from lsampler.reports import Analysis
from lsampler.store import LatentStore, StoreWriter, shard_store


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The roots of (p - share)^2 = z^2 p (1 - p) / n."""
    z = stats.norm.ppf(0.975)
    low, high = sorted(np.roots([1 + z * z / n, -2 * hits / n - z * z / n, (hits / n) ** 2]).real)
    return float(low), float(high)


def test_generated_vectors_are_inside_the_cores_as_the_definitions_say(measured: dict[str, Any]) -> None:
    found = measured["generated"]
    assert found["vectors"] == 1000
    assert found["levels"] == pytest.approx({core: support.calibrated(core) for core in CORES}, rel=1e-5)
    assert list(found["inside"]) == ["held-out real vectors", *STRATEGIES]
    for name, shares in found["inside"].items():
        vectors = support.drawn(name, 1000) if name in STRATEGIES else JUDGING
        for core in CORES:
            hits = int(np.sum(support.core_levels(core, vectors) <= support.calibrated(core)))
            assert shares[core]["share"] == pytest.approx(hits / len(vectors), abs=1.01 / len(vectors))
            low, high = wilson(round(shares[core]["share"] * len(vectors)), len(vectors))
            assert (shares[core]["low"], shares[core]["high"]) == pytest.approx((low, high), abs=1e-6)
    assert len(JUDGING) == support.HELD_OUT / 2
    values = [shares[core]["share"] for shares in found["inside"].values() for core in CORES]
    assert min(values) < 0.95
    assert len(set(values)) > 10


def test_generated_vectors_are_inside_the_ellipses_of_the_planes(measured: dict[str, Any]) -> None:
    pca, matrix = PCA().fit(TRAIN), np.corrcoef(TRAIN.T)
    strongest = sorted(itertools.combinations(range(D), 2), key=lambda pair: -abs(matrix[pair]))[:2]
    for name in STRATEGIES:
        vectors = support.drawn(name, 1000)
        along = pca.transform(vectors) / np.sqrt(pca.explained_variance_)
        expected = [np.mean(np.hypot(along[:, i], along[:, j]) <= 2.2) for i, j in ((0, 1), (2, 3))]
        for pair in strongest:
            inverse, mean = np.linalg.inv(np.cov(TRAIN[:, pair].T)), TRAIN[:, pair].mean(axis=0)
            expected.append(np.mean([mahalanobis(point, mean, inverse) <= 2.2 for point in vectors[:, pair]]))
        assert measured["generated"]["planes"][name] == pytest.approx(expected, abs=1.01e-3)


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
        assert row["clark_evans"] == pytest.approx(support.brute_clark_evans(window, 4 * side * side))
        line = side * (2 * (np.arange(80) + 0.5) / 80 - 1)
        centres = np.array(list(itertools.product(line, line)))
        void = cdist(centres, window).min(axis=1).max() * math.sqrt(len(window)) / (2 * side)
        assert row["largest_void"] == pytest.approx(void)
        controls, voids = [], []
        for _ in range(20):
            sample = rng.normal(size=(N, 2))
            sample = sample[(np.abs(sample) <= side).all(axis=1)]
            controls.append(support.brute_clark_evans(sample, 4 * side * side))
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


def curve_store() -> Rows:
    """A closed curve in six dimensions, hardly blurred, that crosses its own centre in every plane."""
    rng = np.random.default_rng(57)
    t = 2 * math.pi * rng.uniform(size=3000)
    waves = [np.sin(t), np.sin(2 * t), np.cos(3 * t), np.sin(4 * t), np.cos(5 * t), np.sin(6 * t)]
    return np.stack(waves, axis=1) * [2.0, 1.7, 1.4, 1.2, 1.0, 0.8] + 5e-4 * rng.normal(size=(3000, 6))


def test_one_far_vector_leaves_the_windows_without_a_control_and_is_no_error() -> None:
    """It takes most of the spread, so the others crowd a window in which a normal sample of as few has hardly any."""
    rows = np.random.default_rng(58).normal(size=(400, 4))
    rows[0] = [300, 600, 900, 1200]
    analysis = analyzed(rows, sections=["filaments"])
    assert analysis.problems == {}
    smallest = analysis.measured["filaments"]["planes"][-1]
    assert smallest["points"] >= 30
    assert smallest["normal_clark_evans"] is None
    assert smallest["normal_samples"] == 0
    assert {row.key: row.status for row in analysis.judgements}["filaments"] == "not measured"


@pytest.mark.parametrize("section", ["gaussianity", "filaments"])
def test_an_ordered_store_gives_what_a_shuffled_one_gives(section: str) -> None:
    """Where not all vectors are looked at, those that are must be drawn from all of them."""
    rng = np.random.default_rng(48)
    rows = rng.standard_t(5, size=(7500, 5))
    ordered = rows[np.argsort(np.linalg.norm(rows, axis=1))]
    found, shuffled = (analyzed(x, sections=[section]).measured[section] for x in (ordered, rows))
    if section == "gaussianity":
        # 4,000 of 7,500: a standard error of 0.7 % each.
        assert found["ellipses"]["joint"] == pytest.approx(shuffled["ellipses"]["joint"], abs=0.035)
        return
    nearest, expected = (part["neighbours"]["data"]["median_nearest"] for part in (found, shuffled))
    assert nearest == pytest.approx(expected, rel=0.05)


def normal_store() -> Rows:
    rng = np.random.default_rng(61)
    return rng.normal(size=(3000, 6)) @ (np.eye(6) + 0.4 * rng.normal(size=(6, 6))) + 2 * rng.normal(size=6)


def cluster_store() -> Rows:
    """Two clusters along the diagonal: no single component shows two peaks."""
    rng = np.random.default_rng(62)
    return rng.normal(size=(3000, 6)) + 0.9 * rng.choice([-1.0, 1.0], size=(3000, 1))


def cube_store() -> Rows:
    return np.random.default_rng(63).uniform(-1, 1, size=(3000, 6))


def elliptical_store() -> Rows:
    """A multivariate t: every direction alike, the radius too wide."""
    rng = np.random.default_rng(64)
    rows, centre = normal_store(), normal_store().mean(axis=0)
    return centre + (rows - centre) * np.sqrt(5 / rng.chisquare(5, size=(3000, 1)))


JUDGED = ["components", "gaussianity", "principal", "filaments"]


@cache
def judged(store: Callable[[], Rows]) -> Analysis:
    analysis = analyzed(store(), sections=JUDGED)
    assert analysis.problems == {}
    return analysis


KNOWN: dict[Callable[[], Rows], dict[str, str]] = {
    normal_store: {
        "holds": "multivariate-normal gaussian-components gaussian-principal one-region elliptic-contours",
        "differs": "filaments one-dimensional",
    },
    cluster_store: {
        "holds": "gaussian-components",
        "differs": "multivariate-normal one-region one-dimensional",
        "not measured": "filaments",
    },
    cube_store: {"holds": "one-region", "differs": "multivariate-normal filaments one-dimensional"},
    curve_store: {"holds": "filaments one-dimensional", "differs": "multivariate-normal"},
    elliptical_store: {
        "holds": "one-region elliptic-contours",
        "differs": "multivariate-normal filaments one-dimensional",
    },
}


@pytest.mark.parametrize("store", KNOWN)
def test_the_judgement_is_the_truth(store: Callable[[], Rows]) -> None:
    found = {row.key: row.status for row in judged(store).judgements}
    expected = {key: status for status, keys in KNOWN[store].items() for key in keys.split()}
    assert {key: found[key] for key in expected} == expected
    if store is curve_store:
        for row in judged(store).measured["filaments"]["planes"]:
            assert row["clark_evans"] < row["normal_clark_evans"] / 4
            assert row["rank"] == pytest.approx(1 / 100)


def test_the_clusters_along_the_diagonal_are_seen_after_the_pca_only() -> None:
    measured = judged(cluster_store).measured
    assert measured["components"]["share_single_peaked"] == 1.0
    assert measured["principal"]["share_single_peaked"] == pytest.approx(5 / 6)
    assert measured["gaussianity"]["largest_ks"] < 0.05 < measured["gaussianity"]["largest_ks_principal"]


def test_what_is_normal_on_every_axis_can_still_be_seen_by_its_radii() -> None:
    found = judged(elliptical_store).measured["gaussianity"]
    assert found["mahalanobis"]["ks"] > 2 * found["largest_ks"]
    assert found["normal"] is False


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    """The same vectors in a file, the held-out ones scattered among the others."""
    path = tmp_path / "mine.h5"
    with StoreWriter(path, D, {"encoder": "none"}) as writer:
        for train, held_out in zip(np.array_split(LATENTS[:N], 40), np.array_split(LATENTS[N:], 40), strict=True):
            writer.append(train)
            writer.append(held_out, split="held-out")
    return open_store(path)


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
    again = analyzed(support.reference(), sections=EVERY_SECTION, pairs=PAIRS).measured
    assert again == measured
    other = analyzed(
        support.reference(), sections=["components", "origin", "cubes", "generated"], pairs=PAIRS, seed=1
    ).measured
    assert other["components"] == measured["components"]
    assert other["origin"]["counts"] == measured["origin"]["counts"]
    for section, name in (("origin", "normal_counts"), ("cubes", "cubes"), ("generated", "inside")):
        assert other[section][name] != measured[section][name]


def test_a_store_gives_the_numbers_of_an_array(measured: dict[str, Any], store: LatentStore) -> None:
    found = analyzed(store, sections=EVERY_SECTION, pairs=PAIRS).measured
    assert_alike(found, measured, "store")


def test_a_cluster_gives_the_same_numbers(
    measured: dict[str, Any], store: LatentStore, tmp_path: Path, cli: Callable[..., Any], cluster: Any
) -> None:
    """A sharded store has several segments, which workers read by the names of its files."""
    shards, sections = tmp_path / "mine.shards", ["components", "origin", "gaussianity", "principal", "filaments"]
    shard_store(store.path, shards, shard_rows=700)
    expected = analyzed(open_store(shards), sections=sections, pairs=PAIRS)
    for section in sections:
        assert_alike(expected.measured[section], measured[section], section)
    pairs = [word for i, j in PAIRS for word in ("--pair", f"{i},{j}")]
    chosen = [word for section in sections for word in ("--section", section)]
    answer = cli(
        "analyze", shards, "--out", tmp_path / "report", *pairs, *chosen, "--cluster", cluster.scheduler_address
    )
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "report" / "analysis.json").read_text()) == expected.as_dict()
