"""Streaming histograms count exactly as numpy does in one binning with the final width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsampler.statistics.histograms import AUTO_BINS_PER_SIGMA, BINS, Histograms

Rows = NDArray[np.float64]

# Powers of two times small integers land on bin edges, where an off-by-one would show; the rest is anywhere.
EDGY = st.builds(lambda n, e: n * 2.0**e, st.integers(-9, 9), st.integers(-12, 12))
ANYWHERE = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


def counted(blocks: Sequence[Rows], bin_width: float | None = None) -> Histograms:
    histograms = Histograms.empty(blocks[0], bin_width)
    for block in blocks:
        histograms.add(block)
    return histograms


def check_against_numpy(histograms: Histograms, rows: Rows) -> None:
    for j in range(rows.shape[1]):
        edges = (histograms.first[j] + np.arange(BINS + 1)) * histograms.width[j]
        expected, _ = np.histogram(rows[:, j], bins=edges)
        np.testing.assert_array_equal(histograms.counts[j], expected)
        assert histograms.counts[j].sum() == len(rows)  # numpy drops what lies outside; nothing may


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    values=st.lists(EDGY | ANYWHERE, min_size=2, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=5),
    seed=st.integers(0, 99),
)
def test_any_partition_and_order_counts_as_numpy_does(values: list[float], cuts: list[int], seed: int) -> None:
    column = np.array(values)
    rows = np.stack([column, -column], axis=1)
    shuffled = np.random.default_rng(seed).permutation(rows)
    blocks = [block for block in np.split(shuffled, sorted(cuts)) if len(block)]
    check_against_numpy(counted(blocks), rows)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    values=st.lists(EDGY | ANYWHERE, min_size=2, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=5),
    spread=st.sampled_from([1e-9, 1e-3, 1.0, 1e5]),
)
def test_parts_counted_apart_and_merged_are_counted_as_numpy_does(
    values: list[float], cuts: list[int], spread: float
) -> None:
    column = np.array(values)
    rows = np.stack([column, -column, np.full(len(column), 3.0)], axis=1)
    empty = Histograms.around(rows[0], np.full(3, spread))
    merged = empty.copy()
    for block in np.split(rows, sorted(cuts)):
        part = empty.copy()
        if len(block):
            part.add(block)
        merged.merge(part)
    assert empty.counts.sum() == 0
    check_against_numpy(merged, rows)
    np.testing.assert_array_equal(merged.minimum, rows.min(axis=0))
    np.testing.assert_array_equal(merged.maximum, rows.max(axis=0))
    for part in (merged.copy(), Histograms.from_arrays(merged.as_arrays())):
        part.merge(merged)
        check_against_numpy(part, np.concatenate([rows, rows]))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    bin_width=st.sampled_from([0.25, 0.5, 1.0]), cuts=st.lists(st.integers(1, 399), max_size=6), seed=st.integers(0, 99)
)
def test_a_given_width_does_not_depend_on_partition_or_order(bin_width: float, cuts: list[int], seed: int) -> None:
    rows = np.random.default_rng(2).normal(size=(400, 3)) * [1.0, 5.0, 900.0]
    whole = counted([rows], bin_width)
    split = counted(np.split(np.random.default_rng(seed).permutation(rows), sorted(set(cuts))), bin_width)
    np.testing.assert_array_equal(split.width, whole.width)
    np.testing.assert_array_equal(split.width[:2], bin_width)
    assert split.width[2] > bin_width  # 900 sigma do not fit into 1024 bins of that width
    for j in range(3):
        for mine, theirs in zip(split.merged(j, 0.0), whole.merged(j, 0.0), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_width_that_is_no_power_of_two_counts_as_numpy_does() -> None:
    rows = np.random.default_rng(3).normal(size=(500, 2)) * [1.0, 60.0]
    histograms = counted(np.split(rows, [1, 20, 21, 300]), bin_width=0.1)
    assert histograms.width[0] == 0.1
    assert histograms.width[1] in (0.1, 0.2, 0.4, 0.8)
    check_against_numpy(histograms, rows)


def test_a_growing_range_moves_and_coarsens_the_grid_without_losing_a_value() -> None:
    rng = np.random.default_rng(4)
    blocks = [rng.normal(size=(50, 2)) * scale + [0.0, scale] for scale in (1.0, 3.0, 40.0, 1000.0, 1e6)]
    histograms = counted(blocks)
    # Twelve bits of growth are a factor 4096; the range of the last block is 1e6 times the first's.
    assert (histograms.width > 1000 * counted(blocks[:1]).width).all()
    check_against_numpy(histograms, np.concatenate(blocks))


def test_bins_are_as_fine_as_they_should_be() -> None:
    rows = np.random.default_rng(5).normal(size=(2000, 2)) * [1.0, 1e-6]
    width = counted([rows]).width
    per_sigma = rows.std(axis=0) / width
    assert ((per_sigma >= AUTO_BINS_PER_SIGMA) & (per_sigma < 2 * AUTO_BINS_PER_SIGMA)).all()


def test_a_first_block_of_one_row_does_not_spoil_the_resolution() -> None:
    rows = np.random.default_rng(6).normal(size=(2000, 2)) * [1e-3, 1e-5] + [0.0, 1.0]
    histograms = counted([rows[:1], rows[1:]])
    assert (histograms.width < rows.std(axis=0) / AUTO_BINS_PER_SIGMA).all()
    check_against_numpy(histograms, rows)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e-20, -1e20, 3e38])
def test_a_constant_component_is_one_bin_with_everything(value: float) -> None:
    rows = np.stack([np.full(30, value), np.arange(30.0)], axis=1)
    histograms = counted(np.split(rows, [11]))
    assert sorted(histograms.counts[0])[-2:] == [0, 30]
    check_against_numpy(histograms, rows)


@pytest.mark.parametrize("order", [1, -1])
def test_the_smallest_and_the_largest_value_share_a_component(order: int) -> None:
    column = np.array([1e-20, -1e-20, 3e-20, 1.0, -1.0, 1e20, 0.0])
    rows = column[::order, np.newaxis]
    for size in (1, 2, len(rows)):
        histograms = counted([rows[start : start + size] for start in range(0, len(rows), size)])
        check_against_numpy(histograms, rows)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_extreme_scales_are_counted(scale: float) -> None:
    rows = np.random.default_rng(7).normal(size=(300, 2)) * scale
    check_against_numpy(counted(np.split(rows, [100])), rows)


@pytest.mark.parametrize("blocks", [(1e20, 2e20), (1.0, 1e20), (1.0, -1e20)])
def test_values_too_far_out_for_the_width_coarsen_it(blocks: tuple[float, float]) -> None:
    # 1e20 in bins of 1e-3 would be bin 1e23, which no 64-bit integer counts.
    rows = [value + np.array([[0.0], [0.001], [0.002]]) for value in blocks]
    check_against_numpy(counted(rows, bin_width=1e-3), np.concatenate(rows))


@pytest.mark.parametrize(("bin_of_second", "width"), [(511, 1.0), (512, 1.0), (-512, 1.0), (-513, 1.0), (1024, 2.0)])
def test_the_first_bin_past_the_grid_is_not_counted_into_another_component(bin_of_second: int, width: float) -> None:
    # The first block puts bins -512 to 511 on the grid.
    first, second = np.zeros((1, 2)), np.array([[bin_of_second, 0.0]])
    histograms = counted([first, second], bin_width=1.0)
    assert histograms.width.tolist() == [width, 1.0]
    check_against_numpy(histograms, np.concatenate([first, second]))


def test_merged_bins_are_those_of_numpy_at_the_coarser_width() -> None:
    rows = np.random.default_rng(8).normal(size=(3000, 2)) * 2.0 - 30.0
    histograms = counted(np.split(rows, [7, 1000]))
    for j, factor in ((0, 1), (0, 4), (1, 5), (1, 64)):
        edges, counts, actual = histograms.merged(j, 1.003 * factor * histograms.width[j])
        assert actual == factor * histograms.width[j]
        assert counts[0] > 0 < counts[-1]
        np.testing.assert_allclose(edges / actual, np.round(edges / actual), atol=1e-9)
        expected, _ = np.histogram(rows[:, j], bins=[*edges, edges[-1] + actual])
        np.testing.assert_array_equal(counts, expected)
        assert counts.sum() == 3000


def test_bins_cannot_be_split_and_an_empty_histogram_has_none() -> None:
    rows = np.random.default_rng(9).normal(size=(100, 1))
    assert counted([rows]).merged(0, 1e-9)[2] == counted([rows]).width[0]
    edges, counts, _ = Histograms.empty(rows).merged(0, 0.5)
    assert len(edges) == len(counts) == 0


@pytest.mark.parametrize("rows", [np.random.default_rng(10).normal(size=(200, 3)) * [1, 50, 1e-3], np.zeros((2, 1))])
def test_arrays_bring_back_the_histograms_and_can_be_added_to(rows: Rows) -> None:
    histograms = counted([rows])
    arrays = {key: array.copy() for key, array in histograms.as_arrays().items()}
    assert arrays["counts"].shape[1] < BINS
    back = Histograms.from_arrays(arrays)
    for j in range(rows.shape[1]):
        for mine, theirs in zip(back.merged(j, 0.3), histograms.merged(j, 0.3), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    back.add(5 * rows + 1)
    check_against_numpy(back, np.concatenate([rows, 5 * rows + 1]))


def test_arrays_of_histograms_that_count_nothing_come_back() -> None:
    back = Histograms.from_arrays(Histograms.empty(np.eye(3)).as_arrays())
    assert back.counts.sum() == 0
    back.add(np.eye(3))
    check_against_numpy(back, np.eye(3))
