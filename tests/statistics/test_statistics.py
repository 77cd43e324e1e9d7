"""Statistics are those of numpy, scipy and scikit-learn, whatever the chunks."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from sklearn.decomposition import PCA

from lsampler import LsamplerError
from lsampler.statistics import FWHM_PER_SIGMA, Statistics
from lsampler.store import MemoryStore

Rows = NDArray[np.float64]

ROWS = 240
CUTS = st.lists(st.integers(0, ROWS), max_size=12).map(sorted)


def rows_at(offset: float, sigma: float = 1.0) -> Rows:
    """Correlated rows with D = 5, far from the origin with an offset."""
    rng = np.random.default_rng(5)
    mixing = np.eye(5) + 0.5 * rng.normal(size=(5, 5))
    return offset + sigma * (rng.normal(size=(ROWS, 5)) @ mixing)


def normal_sample(n: int = 200_000) -> Rows:
    """Three independent normals of very different place and spread."""
    return np.random.default_rng(8).normal(size=(n, 3)) * [1.0, 0.03, 700.0] + [0.0, 5.0, -90.0]


def in_chunks(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4, -1e5])
def test_moments_and_extremes_are_those_of_numpy(offset: float) -> None:
    rows = rows_at(offset)
    found = Statistics.from_chunks(in_chunks(rows, 37))
    # Numpy sees the rows without their offset, so that the comparison itself cannot cancel; what the
    # offset costs in the rows themselves (1e-16 of it) is the tolerance.
    centred = rows - offset
    rounding = 1e-14 * max(1.0, abs(offset))
    assert found.count == ROWS
    np.testing.assert_allclose(found.mean - offset, centred.mean(axis=0), atol=rounding)
    np.testing.assert_allclose(found.covariance, np.cov(centred.T), atol=10 * rounding)
    np.testing.assert_allclose(found.std, centred.std(axis=0, ddof=1), atol=10 * rounding)
    np.testing.assert_allclose(found.correlation, np.corrcoef(centred.T), atol=10 * rounding)
    np.testing.assert_array_equal(found.minimum, rows.min(axis=0))
    np.testing.assert_array_equal(found.maximum, rows.max(axis=0))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(cuts=CUTS, offset=st.sampled_from([0.0, 1e4]))
def test_any_chunks_give_the_same(cuts: list[int], offset: float) -> None:
    rows = rows_at(offset)
    whole, split = (Statistics.from_chunks(chunks) for chunks in ([rows], np.split(rows, cuts)))
    np.testing.assert_allclose(split.mean, whole.mean, rtol=1e-10)
    np.testing.assert_allclose(split.covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(split.minimum, whole.minimum)
    np.testing.assert_array_equal(split.maximum, whole.maximum)
    np.testing.assert_allclose(split.pca.variances, whole.pca.variances, rtol=1e-10)
    assert split.count == whole.count
    assert split.histograms.counts.sum() == ROWS * 5


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_pca_is_that_of_scikit_learn(offset: float) -> None:
    rows = rows_at(offset)
    pca = Statistics.from_chunks(in_chunks(rows, 50)).pca
    expected = PCA(svd_solver="full").fit(rows)  # its default solver loses digits to the offset
    signs = np.sign((pca.axes * expected.components_).sum(axis=1))
    np.testing.assert_allclose(pca.variances, expected.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(pca.axes * signs[:, np.newaxis], expected.components_, atol=1e-8)
    np.testing.assert_allclose(pca.transform(rows) * signs, expected.transform(rows), atol=1e-7)
    np.testing.assert_allclose(pca.transform(rows, 2), pca.transform(rows)[:, :2], atol=1e-12)
    np.testing.assert_allclose(pca.inverse(pca.transform(rows)), rows, atol=1e-9 * max(1.0, offset))
    few = PCA(n_components=2).fit(rows)
    np.testing.assert_allclose(
        pca.inverse(pca.transform(rows, 2)), few.inverse_transform(few.transform(rows)), atol=1e-8
    )
    assert pca.rank == 5


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = rows_at(0.0)
    axes = Statistics.from_chunks([rows]).pca.axes
    np.testing.assert_allclose(Statistics.from_chunks([rows[::-1], rows[:0]]).pca.axes, axes, atol=1e-9)
    assert (axes[np.arange(5), np.abs(axes).argmax(axis=1)] > 0).all()


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(rows: int) -> int:
        rng = np.random.default_rng(1)
        chunks = (rng.normal(size=(500, 16)) for _ in range(rows // 500))
        tracemalloc.start()
        try:
            assert Statistics.from_chunks(chunks).count == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)  # whatever is imported or cached on the first use
    few, many = peak(5_000), peak(100_000)
    # 95,000 rows more are 12 MB of numbers.
    assert many < few + 300_000


@pytest.mark.parametrize(("kind", "tolerance"), [("moments", 0.01), ("histogram", 0.05), ("gaussian-fit", 0.03)])
def test_half_widths_of_a_normal_sample_agree_with_its_sigma(kind: str, tolerance: float) -> None:
    # 200,000 values: about 1,000 counts or more in the bins at half maximum, so noise is below 2 %; the
    # rest of the tolerance is the width of the bins, up to half of sigma.
    found = Statistics.from_chunks(in_chunks(normal_sample(), 5000))
    sigma = np.array([1.0, 0.03, 700.0])
    np.testing.assert_allclose(found.half_widths(kind), FWHM_PER_SIGMA * sigma, rtol=tolerance)  # type: ignore[arg-type]


def test_the_gaussian_fit_is_that_of_scipy_on_a_histogram_of_numpy() -> None:
    rows = normal_sample(50_000)[:, :1]
    found = Statistics.from_chunks(in_chunks(rows, 1000)).half_widths("gaussian-fit", bin_width=0.25)[0]
    counts, edges = np.histogram(rows, bins=np.arange(-6.0, 6.25, 0.25))
    fitted, _ = curve_fit(
        lambda x, height, mu, sigma: height * np.exp(-0.5 * ((x - mu) / sigma) ** 2),
        (edges[:-1] + edges[1:]) / 2,
        counts,
        p0=(5000.0, 0.1, 0.8),
    )
    # The two histograms differ in empty bins at the ends only.
    assert found == pytest.approx(FWHM_PER_SIGMA * abs(fitted[2]), rel=1e-3)


@pytest.mark.parametrize("place", [0.0, 40.0])
def test_the_histogram_gives_the_width_at_half_maximum_of_other_shapes(place: float) -> None:
    rng = np.random.default_rng(3)
    triangular = rng.triangular(-2.0, 0.0, 2.0, size=200_000)
    uniform = rng.uniform(0.0, 3.0, size=200_000)
    found = Statistics.from_chunks(in_chunks(place + np.stack([triangular, uniform], axis=1), 8000))
    # A triangle of base 4 is 2 wide at half its height (2.3548 sigma is 1.92), a box of 3 is 3 (2.04). Noise of a
    # bin is below 2 %, and the triangle's top is flattened by a bin of 0.125 by 3 %.
    np.testing.assert_allclose(found.half_widths("histogram", bin_width=0.125), [2.0, 3.0], rtol=0.05)
    assert found.half_widths()[1] < 2.1


def test_noise_near_the_half_maximum_does_not_narrow_the_histogram_s_width() -> None:
    # 3,000 values in bins of sigma / 8: a count at half maximum, about 75, fluctuates by 12 %, and
    # about one bin in ten is on the wrong side. 12 % is six standard deviations of the estimate's own noise.
    rows = np.random.default_rng(4).normal(size=(3000, 40))
    widths = Statistics.from_chunks([rows]).half_widths("histogram", bin_width=0.125)
    assert np.median(widths) == pytest.approx(FWHM_PER_SIGMA, rel=0.12)


def test_a_gaussian_that_cannot_be_fitted_is_named_with_the_way_out() -> None:
    two_values = np.repeat([[0.0], [1.0]], 20, axis=0)
    with pytest.raises(LsamplerError, match=r"component 0.*half_width=moments"):
        Statistics.from_chunks([two_values]).half_widths("gaussian-fit", bin_width=0.5)


@pytest.mark.parametrize(
    ("kind", "bin_width", "message"),
    [
        ("moment", None, "did you mean 'moments'"),
        *(("histogram", width, "bin_width=.*above 0") for width in (0.0, -1.0, float("nan"), float("inf"))),
    ],
)
def test_unknown_half_widths_and_bins_are_refused(kind: Any, bin_width: float | None, message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        Statistics.from_chunks([rows_at(0.0)]).half_widths(kind, bin_width=bin_width)


def test_a_trimming_that_leaves_nothing_says_so(reference: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match=r"correlated, trimmed at 1e-06 half-widths: 0 latent vectors"):
        reference.statistics(1e-6)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_trimmed_statistics_are_those_of_the_rows_that_are_left(
    reference: MemoryStore, correlated: NDArray[np.float32], factor: float
) -> None:
    rows = correlated[:3000].astype(np.float64)
    inside = np.abs(rows - rows.mean(axis=0)) <= factor * FWHM_PER_SIGMA * rows.std(axis=0, ddof=1)
    kept = rows[inside.all(axis=1)]
    found = reference.statistics(factor)
    assert 0 < found.count == len(kept) < 3000
    np.testing.assert_allclose(found.covariance, np.cov(kept.T), rtol=1e-9, atol=1e-12)


def test_principal_statistics_are_those_of_scikit_learn_s_coordinates(
    reference: MemoryStore, correlated: NDArray[np.float32]
) -> None:
    expected = PCA().fit(correlated[:3000].astype(np.float64))
    coordinates = expected.transform(correlated[:3000].astype(np.float64))
    signs = np.sign((reference.statistics().pca.axes * expected.components_).sum(axis=1))
    found = reference.principal_statistics()
    np.testing.assert_allclose(found.mean, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.covariance, np.diag(expected.explained_variance_), atol=1e-7)
    low, high = (coordinates * signs).min(axis=0), (coordinates * signs).max(axis=0)
    np.testing.assert_allclose(found.minimum, low, atol=1e-6)
    np.testing.assert_allclose(found.maximum, high, atol=1e-6)


@pytest.mark.parametrize("trim", [None, 1.5])
def test_principal_half_widths_need_no_second_pass_from_moments(reference: MemoryStore, trim: float | None) -> None:
    quick = reference.principal_half_widths("moments", 4, trim=trim)
    np.testing.assert_allclose(quick, reference.principal_statistics(trim).half_widths()[:4], rtol=1e-9)
    read_off = reference.principal_half_widths("gaussian-fit", 4, trim=trim)
    assert read_off.shape == (4,)
    # Trimmed normals are narrower than they look at the top: the fit lies between 0 and 20 % above.
    assert (np.abs(read_off / quick - 1) < 0.2).all()
    assert not np.array_equal(read_off, quick)


def test_principal_statistics_leave_out_directions_without_variance() -> None:
    rows = rows_at(0.0)
    flat = np.concatenate([rows, rows[:, :2].sum(axis=1, keepdims=True), np.full((ROWS, 1), 4.0)], axis=1)
    assert MemoryStore(flat).principal_statistics().dimension == 5


def test_rank_is_required_with_the_numbers_that_help() -> None:
    few = Statistics.from_chunks([rows_at(0.0)[:4]], name="few")
    few.require_rank(3)
    with pytest.raises(LsamplerError, match=r"few: .* 4 vectors has rank 3, 4 components .* `components=3`"):
        few.require_rank(4)
    with pytest.raises(LsamplerError, match="`components=6` is more than the latent dimension of few; give at most 5"):
        few.require_rank(6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 + 0.1])
def test_equal_vectors_have_no_rank_and_no_spread(value: float) -> None:
    # 0.1 has no exact mean in binary: the variance comes out as rounding error, not as 0.
    statistics = Statistics.from_chunks([np.full((7, 3), value), np.full((11, 3), value)])
    assert statistics.pca.rank == 0
    with pytest.raises(LsamplerError, match="all 18 vectors are equal; check the encoder"):
        statistics.require_spread()


def test_a_constant_component_has_no_width_and_no_correlation() -> None:
    rows = rows_at(1.0)
    rows[:, 3] = 0.1
    statistics = Statistics.from_chunks(in_chunks(rows, 50), name="flat")
    others = [0, 1, 2, 4]
    for kind in ("moments", "histogram", "gaussian-fit"):
        widths = statistics.half_widths(kind)
        assert widths[3] == 0
        assert (widths[others] > 0).all()
    np.testing.assert_array_equal(statistics.correlation[3], np.eye(5)[3])
    assert (statistics.varying, statistics.pca.rank, statistics.directions) == (4, 4, 4)
    whitening = statistics.whitening()
    np.testing.assert_array_equal(whitening.back(np.ones((2, 4)))[:, 3].astype(np.float32), np.float32(0.1))


def test_principal_axes_of_components_in_units_from_a_millionth_to_a_million() -> None:
    """An eigensolver alone is off by 1e8 times the spread of the smallest components."""
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.permutation(np.linspace(-6, 6, 9))
    rows = rng.normal(size=(900, 9)) @ (np.eye(9) + 0.4 * rng.normal(size=(9, 9))) * scale
    statistics = Statistics.from_chunks([rows])
    whitening = statistics.whitening()
    white = whitening.forward(rows)
    np.testing.assert_allclose(np.cov(white.T), np.eye(9), atol=1e-10)
    np.testing.assert_allclose(whitening.back(white) / scale, rows / scale, atol=1e-8)
    along = statistics.pca.transform(rows)
    np.testing.assert_allclose(along.var(axis=0, ddof=1), statistics.pca.variances, rtol=1e-9)
    np.testing.assert_allclose(statistics.pca.axes @ statistics.pca.axes.T, np.eye(9), atol=1e-10)
    # A leading axis is nearly that of the largest component, as far as the next one allows.
    assert abs(statistics.pca.axes[0, scale.argmax()]) > 0.99


def test_many_vectors_in_single_precision_do_not_hide_that_a_component_repeats_others() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(1 << 18, 4)).astype(np.float32)
    rows[:, 3] = rows[:, 0] + rows[:, 1]
    assert MemoryStore(rows).statistics().pca.rank == 3


def test_a_small_component_is_not_taken_for_a_constant_one() -> None:
    rows = rows_at(0.0)
    rows[:, 2] *= 1e-12
    assert Statistics.from_chunks([rows]).correlation[2, 3] == pytest.approx(
        np.asarray(np.corrcoef(rows.T))[2, 3], abs=1e-9
    )


def rows_with(bad: float) -> Rows:
    rows = rows_at(0.0)
    rows[130, 4] = bad
    return rows


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        *((in_chunks(rows_with(bad), 60), "row 130 holds NaN or infinite values") for bad in (np.nan, np.inf, -np.inf)),
        ([np.ones((0, 4))], "0 latent vectors, statistics need at least 2"),
        ([np.ones((1, 4))], "1 latent vectors, statistics need at least 2"),
        ([np.eye(3), np.ones((4, 5))], r"a chunk of shape \(4, 5\), expected \(rows, 3\)"),
        ([np.eye(3), np.ones(3)], r"a chunk of shape \(3,\), expected \(rows, 3\)"),
        ([np.eye(3), np.ones((2, 3, 1))], r"a chunk of shape \(2, 3, 1\), expected \(rows, 3\)"),
        ([np.ones(3)], r"a chunk of shape \(3,\), expected \(rows, D\)"),
        ([np.ones((3, 0))], r"a chunk of shape \(3, 0\), expected \(rows, D\)"),
    ],
)
def test_chunks_without_statistics_are_one_clear_error(chunks: list[Rows], message: str) -> None:
    with pytest.raises(LsamplerError, match=f"mine: {message}"):
        Statistics.from_chunks(chunks, name="mine")


def test_arrays_bring_back_all_of_it() -> None:
    found = Statistics.from_chunks(in_chunks(rows_at(3.0), 50), name="here")
    copied = {key: array.copy() for key, array in found.as_arrays().items()}
    back = Statistics.from_arrays(copied, name="there")
    assert (back.name, back.count) == ("there", ROWS)
    for field in ("mean", "covariance", "minimum", "maximum", "std", "correlation"):
        np.testing.assert_array_equal(getattr(back, field), getattr(found, field))
    for kind in ("moments", "histogram", "gaussian-fit"):
        np.testing.assert_array_equal(back.half_widths(kind), found.half_widths(kind))


MANY = (1 << 17) + 5000
"""More vectors than are multiplied in double precision."""


# Values far from zero are multiples of a thousandth here; squares of such round alike, not at random.
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 2e-8), (1e4, 5e-7)])
def test_single_precision_products_of_many_vectors_lose_little(offset: float, tolerance: float) -> None:
    rng = np.random.default_rng(8)
    rows = (rng.normal(size=(MANY, 12)) @ rng.normal(size=(12, 12)) + offset).astype(np.float32)
    rows[:, 11] = rows[:, 10]  # a direction without variance stays one
    found = MemoryStore(rows).statistics()
    exact = rows.astype(np.float64)
    scale = np.outer(exact.std(axis=0), exact.std(axis=0))
    # Once, in float32 throughout, the error is above 1e-4 (and 1e2 with the offset).
    np.testing.assert_allclose(found.covariance / scale, np.cov(exact, rowvar=False) / scale, atol=tolerance)
    np.testing.assert_allclose((found.mean - exact.mean(axis=0)) / exact.std(axis=0), 0, atol=1e-8)
    np.testing.assert_array_equal(found.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(found.maximum, exact.max(axis=0))
    assert found.pca.rank == 11


def test_values_too_large_for_single_precision_products_are_multiplied_in_double() -> None:
    rows = np.random.default_rng(9).normal(size=(MANY, 3)).astype(np.float32) * np.float32(1e25)
    found = MemoryStore(rows).statistics()
    np.testing.assert_allclose(found.covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-9)


def test_a_bad_value_among_many_vectors_is_named() -> None:
    rows = np.ones((MANY, 3), dtype=np.float32)
    rows[100_000, 1] = np.nan
    with pytest.raises(LsamplerError, match="row 100000 holds NaN or infinite values"):
        MemoryStore(rows).statistics()
