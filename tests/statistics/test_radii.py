"""Quantiles of the radius: within their stated error, in bounded memory, whatever the segments and workers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler import MemoryStore, Reference, import_latents, open_store


class Generated(Reference):
    """Chunks that are generated whenever they are read, so that nothing but a pass holds memory."""

    name, dimension, start, portable = "generated", 4, 0, False

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def chunks(self, split: Any = "train") -> Iterator[NDArray[np.float32]]:
        for start in range(0, self.rows, 8192):
            rng = np.random.default_rng(start)
            rows = rng.standard_normal((min(8192, self.rows - start), 4), dtype=np.float32)
            yield rows * rng.gamma(2.0, size=(len(rows), 1)).astype(np.float32)

    def segments(self, split: Any = "train") -> Sequence[Any]:
        return [self]


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
def test_segments_and_threads_do_not_change_a_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    latents = np.concatenate(list(Generated(rows).chunks()))
    np.save(tmp_path / "latents.npy", latents)
    import_latents(tmp_path / "latents.npy", tmp_path / "latents.h5", held_out=0)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        found.append(open_store(tmp_path / "latents.h5").radius_quantiles())
    assert len(open_store(tmp_path / "latents.h5").segments()) > 3
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(MemoryStore(latents).radius_quantiles(), found[0], rtol=1e-6)
