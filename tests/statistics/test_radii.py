"""Quantiles of the radius: within their stated error, in bounded memory, whatever the segments and workers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler.store import MemoryStore, Reference


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
