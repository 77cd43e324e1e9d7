"""Passes in segments: precision, and the same digits whatever the threads and segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsampler import analyze, open_store
from lsampler.compute.engine import Threads, working_on
from lsampler.statistics import Statistics, passes
from lsampler.statistics.passes import DOUBLE_ROWS, MOST_SEGMENTS, SMALLEST_SEGMENT, in_double_precision, segment_rows
from lsampler.store import MemoryStore
from lsampler.store.writer import write_store


@pytest.mark.parametrize("many", [False, True])
def test_threads_and_segments_do_not_change_a_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if many:
        monkeypatch.setattr(passes, "DOUBLE_ROWS", 1000)
        monkeypatch.setattr(passes, "EXACT_RADII", 1000)
    rows = np.random.default_rng(10).normal(size=(3 * SMALLEST_SEGMENT + 77, 6)).astype(np.float32)
    write_store(tmp_path / "latents.h5", 6, [rows], {})
    found = []
    for threads in (1, 2, 3):
        with working_on(Threads(threads)):
            store = open_store(tmp_path / "latents.h5")
            both = [(store.statistics(trim), store.radius_quantiles(trim=trim)) for trim in (None, 1.2)]
            found.append([own.as_arrays() | {"axes": own.pca.axes, "radii": radii} for own, radii in both])
    assert len(store.segments()) == 4
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            for name, array in first.items():
                np.testing.assert_array_equal(second[name], array)
    np.testing.assert_allclose(MemoryStore(rows).radius_quantiles(), found[0][0]["radii"], rtol=1e-6)


def test_many_vectors_are_added_in_double_precision_where_requested() -> None:
    """Single precision shows in the smallest variance, 1e-5 of the largest."""
    rng = np.random.default_rng(11)
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows = (rng.normal(size=(DOUBLE_ROWS + 5000, 6)) * [1e2, 30, 10, 3, 1, 0.3] @ turned).astype(np.float32)
    with in_double_precision():
        found = MemoryStore(rows).statistics()
    np.testing.assert_allclose(found.covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-11)
    quick = MemoryStore(rows).statistics()
    assert abs(quick.pca.variances[-1] / found.pca.variances[-1] - 1) > 1e-6


def test_analysis_is_in_double_precision_however_many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(12).normal(size=(3000, 5)).astype(np.float32) @ np.diag([9, 5, 3, 2, 1]).astype("f4")
    few = analyze(rows, sections=["correlations", "principal"]).measured
    monkeypatch.setattr(passes, "DOUBLE_ROWS", 100)
    single, many = MemoryStore(rows).statistics(), analyze(rows, sections=["correlations", "principal"]).measured
    assert {key: dict(found) for key, found in many.items()} == {key: dict(found) for key, found in few.items()}
    assert not np.array_equal(single.covariance, Statistics.from_chunks([rows]).covariance)


@pytest.mark.parametrize("rows", [0, 1, 32768, 600_000, 2_097_152, 5_000_000, 10**7, 10**8, 10**9, 10**10])
def test_segments_are_neither_too_many_nor_too_few(rows: int) -> None:
    size = segment_rows(rows)
    assert size % SMALLEST_SEGMENT == 0
    assert -(-rows // size) <= MOST_SEGMENTS
    if rows > 64 * SMALLEST_SEGMENT:
        assert rows / size > 32
