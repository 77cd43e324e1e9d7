"""Quantiles of the radius: within their stated error, in bounded memory, whatever the segments and workers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler import MemoryStore, Reference, open_store
from lsampler.compute.engine import Threads, working_on
from lsampler.store.writer import write_store


class Generated(Reference):
    """Chunks that are generated whenever they are read, so that nothing but a pass holds memory."""

    name, dimension = "generated", 4

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def chunks(self, split: str = "train") -> Iterator[NDArray[np.float32]]:
        for start in range(0, self.rows, 8192):
            rng = np.random.default_rng(start)
            rows = rng.standard_normal((min(8192, self.rows - start), 4), dtype=np.float32)
            yield rows * rng.gamma(2.0, size=(len(rows), 1)).astype(np.float32)


def expected(reference: Reference, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    pca = reference.statistics().pca
    rows = np.concatenate(list(reference.chunks())).astype(np.float64)
    radii = np.linalg.norm(pca.transform(rows) / np.sqrt(pca.variances), axis=1)
    found: NDArray[np.float64] = np.quantile(radii, levels, method="hazen")
    return found


@pytest.mark.parametrize(("rows", "error"), [(6, 1e-9), (1000, 1e-9), (1 << 20, 1e-9), ((1 << 20) + 1, 6.2e-5)])
def test_quantiles_are_those_of_numpy_within_the_stated_error(rows: int, error: float) -> None:
    reference = Generated(rows)
    levels, radii = reference.radius_quantiles()
    np.testing.assert_allclose(radii, expected(reference, levels), rtol=error)


def test_vector_at_the_centre_has_radius_0() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]], np.float32)
    assert MemoryStore(rows).radius_quantiles()[1][0] == pytest.approx(0.0, abs=1e-9)


def test_memory_does_not_grow_with_the_vectors() -> None:
    """Regression: every vector's radius was kept."""

    def peak(rows: int) -> int:
        reference = Generated(rows)
        reference.statistics()
        tracemalloc.start()
        try:
            reference.radius_quantiles()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Two million radii more take 16 MB.
    assert peak(3_300_000) < peak(1_300_000) + 1e6


@pytest.mark.parametrize("rows", [100_000, 1_100_000])
def test_segments_and_threads_do_not_change_a_digit(tmp_path: Path, rows: int) -> None:
    latents = np.concatenate(list(Generated(rows).chunks()))
    write_store(tmp_path / "latents.h5", 4, [latents], {})
    found = []
    for threads in (1, 3):
        with working_on(Threads(threads)):
            found.append(open_store(tmp_path / "latents.h5").radius_quantiles())
    assert len(open_store(tmp_path / "latents.h5").segments()) > 3
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(MemoryStore(latents).radius_quantiles(), found[0], rtol=1e-6)
