"""Densities, radii and samples of the analysis, which no number of a report shows by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from analysis_support import LATENTS, N, Rows, analyzed, brute_clark_evans, principal_axes, reference, trimmed
from scipy import stats
from scipy.spatial import Delaunay

from lsampler.reports import AnalysisOptions
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.pair_density import PairDensity, count_pairs
from lsampler.reports.analysis.passes import BINS, Radii
from lsampler.reports.analysis.sections import filaments
from lsampler.store import MemoryStore


def pair_density(points: Rows) -> PairDensity:
    moments = points.mean(axis=0), np.cov(points.T)
    counts = sum(count_pairs({(0, 1): moments}, block)[0] for block in np.array_split(points, 3))
    return PairDensity(*moments, counts)


@pytest.mark.parametrize("shape", ["normal", "crescent"])
def test_pair_densities_are_scipy_s(shape: str) -> None:
    points = np.random.default_rng(49).multivariate_normal([3.0, -1.0], [[4.0, 1.2], [1.2, 1.0]], size=800)
    if shape == "crescent":
        points[:, 1] += 0.4 * np.square(points[:, 0] - 3)
    found = pair_density(points)
    x, y = (part[::4, ::4].ravel() for part in found.grid)
    own, density = stats.gaussian_kde(points.T)(np.stack([x, y])), found.density[::4, ::4].ravel()
    dense = own > 0.05 * own.max()
    assert dense.sum() > 100
    np.testing.assert_allclose(density[dense], own[dense], rtol=0.03)
    np.testing.assert_allclose(density, own, rtol=0, atol=0.01 * own.max())


@pytest.mark.parametrize("enormous", [1e6, 1e30])
def test_an_enormous_value_widens_the_bins_and_takes_no_memory(enormous: float) -> None:
    values = np.random.default_rng(60).gamma(3.0, 2.0, size=1000)
    every = np.concatenate([values, [enormous], values])
    radii = Radii(0.125)
    for rows in np.array_split(every[:, np.newaxis], 5):
        more = Radii(0.125)
        more.add(rows)
        radii.merge(more)
    assert len(radii.counts) == BINS
    assert radii.counts.sum() == radii.n == 2001
    assert math.log2(radii.width / 0.125).is_integer()
    assert enormous / radii.width < BINS <= 2 * enormous / radii.width
    index = np.floor(every / radii.width).astype(np.int64)
    np.testing.assert_array_equal(np.bincount(index, minlength=BINS), radii.counts)
    assert radii.mean == pytest.approx(every.mean())


def test_the_mean_ellipticity_is_that_of_all_principal_pairs() -> None:
    found = analyzed(reference(), sections=["principal"]).measured["principal"]
    left = trimmed(1.7)
    coordinates = principal_axes(left).transform(left)
    own = [pair_density(coordinates[:, row["pair"]]).ellipticity(1.0) for row in found["pairs"]]
    assert found["mean_ellipticity"] == pytest.approx(np.mean(own), abs=2e-3)


def test_a_sample_of_many_vectors_is_a_sample_of_all_of_them() -> None:
    """Of more than 10,000 vectors some are drawn: none twice, from everywhere, in their order."""
    rows = np.arange(25_000.0)[:, np.newaxis] * [1.0, -1.0]
    taken = Context(MemoryStore(rows), AnalysisOptions()).sample
    assert len(np.unique(taken[:, 0])) == len(taken) == 10_000
    # Of 25,000 uniform ranks the Kolmogorov-Smirnov distance of 10,000 is above 0.02 in 1 of 1,500 seeds.
    assert stats.kstest(taken[:, 0] / 25_000, "uniform").statistic < 0.02
    assert (np.diff(taken[:, 0]) > 0).all()


@pytest.mark.parametrize("seed", [2, 95])
def test_few_vectors_in_a_window_are_not_called_filaments(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 to 50 points chance alone brings neighbours closer than 80 % of the usual, as for these two normals."""
    monkeypatch.setattr(filaments, "VOID_GRID", 4)  # voids are not judged, and take long
    rows = np.random.default_rng(seed).normal(size=(900, 40))
    statuses = {row.key: row.status for row in analyzed(rows, sections=["filaments"], seed=seed).judgements}
    assert statuses["filaments"] != "holds"


def test_tsne_maps_are_measured_over_their_convex_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps themselves are openTSNE's; here they are the first two coordinates."""
    maps: list[Rows] = []

    def embed(context: Any, values: Rows) -> Rows:
        maps.append(values[:, :2])
        return maps[-1]

    monkeypatch.setattr(filaments, "embed", embed)
    found = analyzed(reference(), sections=["tsne"], tsne=500).measured["tsne"]
    assert [row["space"] for row in found["maps"]] == ["all components", "PC 0 to 1", "PC 0 to 3"]
    assert (found["vectors"], found["perplexity"], found["iterations"]) == (500, 30, 750)
    for place, row in enumerate(found["maps"]):
        for points, name in zip(maps[2 * place : 2 * place + 2], ("clark_evans", "normal_clark_evans"), strict=True):
            corners = points[Delaunay(points).simplices]
            area = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])).sum() / 2
            assert row[name] == pytest.approx(brute_clark_evans(points, area))
    known = {row.tobytes() for row in LATENTS[:N, :2]}
    assert len({row.tobytes() for row in maps[0]} & known) == 500
