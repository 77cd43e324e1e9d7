"""Histograms count exactly as numpy does in bins of their width, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsampler import LsamplerError
from lsampler.statistics import Statistics

Rows = NDArray[np.float64]

# Powers of two times small integers lie on the edges of bins, where an off-by-one error would show.
EDGES = st.builds(lambda n, e: n * 2.0**e, st.integers(-9, 9), st.integers(-12, 12))
ANYWHERE = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


def check_against_numpy(statistics: Statistics, rows: Rows) -> None:
    found = statistics.histograms
    for j in range(rows.shape[1]):
        edges = (found.first[j] + np.arange(found.counts.shape[1] + 1)) * found.width[j]
        expected, _ = np.histogram(rows[:, j], bins=edges)
        np.testing.assert_array_equal(found.counts[j], expected)
        assert found.counts[j].sum() == len(rows)  # numpy drops what lies outside; nothing may


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    values=st.lists(EDGES | ANYWHERE, min_size=2, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=5),
    seed=st.integers(0, 99),
)
def test_any_chunks_in_any_order_are_counted_as_numpy_does(values: list[float], cuts: list[int], seed: int) -> None:
    column = np.array(values)
    rows = np.stack([column, -column, np.full(len(column), 3.0)], axis=1)
    shuffled = np.random.default_rng(seed).permutation(rows)
    found = Statistics.from_chunks(np.split(shuffled, sorted(cuts)))
    check_against_numpy(found, rows)
    np.testing.assert_array_equal(found.minimum, rows.min(axis=0))
    np.testing.assert_array_equal(found.maximum, rows.max(axis=0))


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e20])
def test_bins_are_a_sixteenth_of_sigma_or_finer_on_any_scale(scale: float) -> None:
    rows = np.random.default_rng(5).normal(size=(2000, 2)) * scale
    found = Statistics.from_chunks(np.split(rows, [1, 300]))
    per_sigma = found.std / found.histograms.width
    assert ((per_sigma >= 16) & (per_sigma < 32)).all()
    check_against_numpy(found, rows)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e-20, -1e20, 3e38])
def test_constant_component_is_one_bin_with_everything(value: float) -> None:
    rows = np.stack([np.full(30, value), np.arange(30.0)], axis=1)
    found = Statistics.from_chunks(np.split(rows, [11]))
    assert sorted(found.histograms.counts[0])[-2:] == [0, 30]
    check_against_numpy(found, rows)


@pytest.mark.parametrize(
    "column",
    [
        [1e-20, -1e-20, 3e-20, 1.0, -1.0, 1e20, 0.0],
        [1e20, 2e20, 1.0, 1.001, 1.002],
        [-1e20, 1.0, 1.001],
        [0.0] * 5000 + [1.0],
    ],
)
def test_extreme_values_widen_the_bins_and_none_is_lost(column: list[float]) -> None:
    rows = np.array(column)[:, np.newaxis]
    for size in (1, 2, len(rows)):
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        check_against_numpy(Statistics.from_chunks(chunks), rows)
    assert Statistics.from_chunks([rows]).histograms.counts.shape[1] <= 1024


def test_wider_bins_are_those_of_numpy() -> None:
    rows = np.random.default_rng(8).normal(size=(3000, 2)) * 2.0 - 30.0
    found = Statistics.from_chunks(np.split(rows, [7, 1000]))
    for j, factor in ((0, 1), (0, 4), (1, 5), (1, 64)):
        width = found.histograms.width[j]
        middles, counts, actual = found.histogram(j, bin_width=1.003 * factor * width)
        assert actual == factor * width
        assert counts[0] > 0 < counts[-1]
        edges = middles - actual / 2
        np.testing.assert_allclose(edges / actual, np.round(edges / actual), atol=1e-9)
        expected, _ = np.histogram(rows[:, j], bins=[*edges, edges[-1] + actual])
        np.testing.assert_array_equal(counts, expected)
    assert found.histogram(0, bin_width=1e-9)[2] == found.histograms.width[0]  # bins cannot be split


def test_histograms_of_chunks_that_are_gone_are_refused() -> None:
    statistics = Statistics.from_chunks(iter([np.eye(3)]), name="mine")
    assert statistics.count == 3
    with pytest.raises(LsamplerError, match=r"mine: histograms need a second pass; give `chunks=\.\.\.` as a list"):
        _ = statistics.histograms
