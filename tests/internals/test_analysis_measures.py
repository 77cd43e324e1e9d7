"""Densities, radii and samples of the analysis, which no number of a report shows by itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from analysis_support import (
    LATENTS,
    N,
    Rows,
    analyzed,
    brute_clark_evans,
    histogram,
    inner_core,
    principal_axes,
    reference,
    trimmed,
)
from scipy import stats
from scipy.spatial import Delaunay

from lsampler import AnalysisOptions, MemoryStore
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.pair_density import PairDensity, mass_of_ellipse
from lsampler.reports.analysis.passes import BINS, Radii
from lsampler.reports.analysis.sections import filaments, tsne


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
    own, density = stats.gaussian_kde(points.T)(np.stack([x, y])), found.density[::4, ::4].ravel()
    dense = own > 0.05 * own.max()
    assert dense.sum() > 100
    np.testing.assert_allclose(density[dense], own[dense], rtol=0.03)
    np.testing.assert_allclose(density, own, rtol=0, atol=0.01 * own.max())


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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("stretch", [1.0, 3.0])
def test_an_inner_core_under_a_halo_is_found_though_the_whole_is_uncorrelated(sign: int, stretch: float) -> None:
    scale, shares, n = np.array([stretch, 1.0]), [0.6, 0.4], 60_000
    shapes = [np.array([[1, 0.7 * sign], [0.7 * sign, 1]]), np.array([[6, -1.0 * sign], [-1.0 * sign, 6]])]
    shapes = [shape * np.outer(scale, scale) for shape in shapes]
    centres = [np.array([0.4, -0.2]) * scale, np.array([-0.6, 0.3]) * scale]
    mixture = list(zip(shares, centres, shapes, strict=True))
    covariance = sum(w * (c + np.outer(m, m)) for w, m, c in mixture)
    rng = np.random.default_rng(51)
    points = np.concatenate([rng.multivariate_normal(m, c, size=round(w * n)) for w, m, c in mixture])
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.1
    # The same mixture in closed form, widened by the kernel n^(-1/6) of the whole covariance.
    line = np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(line * stretch, line, indexing="ij"), axis=-1).reshape(-1, 2)
    kernel = covariance * n ** (-1 / 3)
    density = sum(w * stats.multivariate_normal(m, c + kernel).pdf(grid) for w, m, c in mixture)
    expected = inner_core(grid, density, covariance, np.zeros(2))
    found = dataclasses.asdict(pair_density(points).inner_core())
    tilt = expected.pop("tilt_degrees")
    assert found.pop("tilt_degrees") == pytest.approx(tilt, abs=2.0) or abs(tilt) > 43
    assert found.pop("offset_sigma") == pytest.approx(expected["offset_sigma"], abs=0.02)
    assert expected.pop("offset_sigma") > 0.1
    assert found == pytest.approx(expected, abs=0.03)
    assert expected["inner_correlation"] * sign > 0.3
    assert tilt * sign > 5


def counted(values: Rows, width: float) -> Radii:
    """Values as lengths of vectors with one component, counted in five parts that are merged."""
    radii = Radii(width)
    for rows in np.array_split(values[:, np.newaxis], 5):
        more = Radii(width)
        more.add(rows)
        more.add(rows[:0])
        radii.merge(more)
    return radii


def test_radii_are_counted_as_by_numpy() -> None:
    values = np.random.default_rng(59).gamma(3.0, 2.0, size=20_000)
    radii = counted(values, 0.125)
    assert radii.n == 20_000
    assert (radii.mean, radii.std) == pytest.approx((values.mean(), values.std(ddof=1)), rel=1e-12)
    assert radii.mean_fourth_power == pytest.approx(np.mean(values**4), rel=1e-12)
    assert (radii.low, radii.high) == (values.min(), values.max())
    for merge in (1, 3, 8):
        middles, numbers, width = radii.density(merge)
        edges, expected = histogram(values, 0.125 * merge)
        assert width == 0.125 * merge
        np.testing.assert_array_equal(numbers, expected)
        np.testing.assert_allclose(middles, edges[:-1] + width / 2)
    for share in (0.001, 0.05, 0.5, 0.95, 0.999):
        assert radii.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.125)
    for edge in np.linspace(0, 20, 161):
        assert radii.share_below(edge) == pytest.approx(np.mean(values < edge), abs=1e-12)
    assert radii.share_below(4.44) == pytest.approx(np.mean(values < 4.44), abs=0.003)
    assert radii.share_below(1e6) == 1.0


@pytest.mark.parametrize("enormous", [1e6, 1e30])
def test_an_enormous_value_widens_the_bins_and_takes_no_memory(enormous: float) -> None:
    values = np.random.default_rng(60).gamma(3.0, 2.0, size=1000)
    every = np.concatenate([values, [enormous], values])
    radii = counted(every, 0.125)
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

    monkeypatch.setattr(tsne, "embed", embed)
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
