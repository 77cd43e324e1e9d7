"""The kernel distance against plain loops, its p-value, and the effective number of distinct samples."""

from __future__ import annotations

import numpy as np
import pytest
from scored import draw, known, scored, values

from lsampler import LsamplerError
from lsampler.scoring import RealData
from lsampler.store import MemoryStore


def test_the_discrepancy_is_that_of_plain_loops() -> None:
    reference, rows = known(200), (draw(60) + 0.3).astype(np.float32)
    data = RealData(reference, rows=100)
    both = np.concatenate([data.train[:60], rows]).astype(np.float64)
    inverse = np.linalg.inv(np.cov(both.T, bias=True))

    def squared(x: np.ndarray, y: np.ndarray) -> float:
        return float((x - y) @ inverse @ (x - y))

    width = np.median([squared(x, y) for k, x in enumerate(both) for y in both[:k]])
    real, drawn = both[:60], both[60:]

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-squared(x, y) / width))

    pairs = [(i, j) for i in range(60) for j in range(60) if i != j]
    expected = np.mean(
        [
            kernel(real[i], real[j])
            + kernel(drawn[i], drawn[j])
            - kernel(real[i], drawn[j])
            - kernel(drawn[i], real[j])
            for i, j in pairs
        ]
    )
    found = values("kernel-distance", rows, reference, real=data)
    assert found["kernel-mmd"] == pytest.approx(expected, rel=1e-6)


def test_the_p_value_is_uniform_for_equal_distributions_and_small_for_others() -> None:
    """Of 40 sets of equal distributions 2 are expected below 0.05, and more than 7 in 1 of 400 runs of this test."""
    rng = np.random.default_rng(5)
    every = rng.normal(size=(40, 200, 3)).astype(np.float32)
    found = [
        values("kernel-distance", rows[:100], MemoryStore(rows[100:]), permutations=99)["kernel-mmd-p"]
        for rows in every
    ]
    assert np.mean(np.array(found) <= 0.05) <= 7 / 40
    assert 0.35 < np.mean(found) < 0.65
    assert values("kernel-distance", every[0] + 1, MemoryStore(every[1]))["kernel-mmd-p"] == pytest.approx(1 / 201)


def test_the_p_value_holds_with_few_vectors_for_each_dimension() -> None:
    """Of 20 sets 1 is expected below 0.05, and more than 4 in 1 of 400 runs of this test."""
    rng = np.random.default_rng(9)
    found = []
    for _ in range(20):
        rows = rng.normal(size=(600, 64)).astype(np.float32)
        found.append(values("kernel-distance", rows[:200], MemoryStore(rows[200:]), permutations=99)["kernel-mmd-p"])
    assert np.sum(np.array(found) <= 0.05) <= 4


def test_the_interval_of_a_shifted_normal_holds_its_discrepancy() -> None:
    """Means of 200 sets are 14 times as certain as one; of 40 intervals 2 are expected to miss, and 8 are very rare."""
    rng = np.random.default_rng(6)
    reference = MemoryStore(rng.normal(size=(4000, 2)).astype(np.float32))
    rows = [(rng.normal(size=(300, 2)) + np.array([0.8, 0])).astype(np.float32) for _ in range(40)]
    found = [scored("kernel-distance", one, reference, permutations=19)["kernel-mmd"] for one in rows]
    truth = np.mean([score.value for score in found])
    assert sum(score.low <= truth <= score.high for score in found) >= 32


def test_the_effective_number_counts_directions() -> None:
    reference = MemoryStore(np.random.default_rng(7).normal(size=(2000, 8)).astype(np.float32))
    mean = reference.statistics().mean
    whitening = reference.statistics().whitening()
    axes = whitening.back(np.repeat(3 * np.eye(8)[:4], 50, axis=0)).astype(np.float32)
    assert values("kernel-distance", axes, reference)["distinct-samples"] == pytest.approx(4, rel=1e-3)
    one = np.repeat((mean + 1)[np.newaxis], 100, axis=0).astype(np.float32)
    assert values("kernel-distance", one, reference)["distinct-samples"] == pytest.approx(1, rel=1e-6)
    assert values("kernel-distance", reference.latents()[:1000], reference)["distinct-samples"] > 7.5


def test_too_few_or_equal_vectors_are_one_line() -> None:
    with pytest.raises(LsamplerError, match="9 samples; a kernel distance needs 10"):
        scored("kernel-distance", draw(9), known(), real=RealData(known()))
