"""The mathematics inside evaluators that no score shows alone, against second computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve2d
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.metrics import roc_auc_score

from lsampler_plugins.evaluators.distances import _Steps, wasserstein
from lsampler_plugins.evaluators.kernel_distance import discrepancies, permuted
from lsampler_plugins.evaluators.roc_area import RocArea
from lsampler_plugins.evaluators.sharpness import laplacian_variances


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


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (70, 50)])
@pytest.mark.parametrize("whole", [False, True])
def test_the_roc_area_is_scikit_learn_s_for_resampled_rows_too(n: int, m: int, whole: bool) -> None:
    rng = np.random.default_rng(62)
    real, drawn = rng.normal(size=n), rng.normal(size=m) * 1.5 + 0.4
    if whole:
        real, drawn = np.round(real), np.round(drawn)  # many ties
    area, labels = RocArea(real, drawn), np.repeat([0, 1], [n, m])
    assert area() == pytest.approx(roc_auc_score(labels, np.concatenate([real, drawn])), rel=1e-12)
    i, j = rng.integers(n, size=n), rng.integers(m, size=m)
    assert area(i, j) == pytest.approx(roc_auc_score(labels, np.concatenate([real[i], drawn[j]])), rel=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_laplacian_is_that_of_a_convolution(channels: int) -> None:
    images = np.random.default_rng(64).integers(0, 256, size=(4, 9, 7, channels), dtype=np.uint8)
    kernel = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    grey = images @ ([0.299, 0.587, 0.114] if channels == 3 else [1.0]) / 255
    expected = [convolve2d(image, kernel, mode="same", boundary="symm").var() for image in grey]
    np.testing.assert_allclose(laplacian_variances(images), expected, rtol=1e-10)


def test_exchanged_discrepancies_are_those_computed_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3))
    kernel = np.exp(-np.square(rows[:, np.newaxis] - rows).sum(axis=2))
    np.fill_diagonal(kernel, 0.0)
    signs = np.stack([rng.permutation(np.repeat([1.0, -1.0], 20)) for _ in range(7)], axis=1)
    expected = [discrepancies(kernel, column).mean() for column in signs.T]
    np.testing.assert_allclose(permuted(kernel, signs), expected, rtol=1e-12)
