"""Neighbours and ball counts are those of brute force, to the last digit, however the work is divided."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lsampler import LsamplerError
from lsampler.compute import Balls, Neighbours, ball_counts, mutual_ball_counts, nearest_neighbours

Rows = NDArray[Any]
COUNT = 1100
"""More than a tile has rows."""


def normal_rows(count: int = COUNT, dimension: int = 9, seed: int = 61) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def rows_with_outliers() -> NDArray[np.float32]:
    """Outliers so far away that in single precision all distances among the others are in doubt."""
    rows = normal_rows()
    rows[::40] *= 3e4
    return rows


def rows_by_falling_distance() -> NDArray[np.float32]:
    """From the last row, all earlier ones are closer and closer: every tile lowers all limits."""
    rows = normal_rows()
    return rows[np.argsort(-np.linalg.norm(rows - rows[0], axis=1))]


KINDS = {
    "normal": normal_rows,
    "outliers": rows_with_outliers,
    "few points": lambda: np.random.default_rng(62).integers(0, 3, size=(COUNT, 3)).astype(np.float32),
    "falling": rows_by_falling_distance,
    "one point": lambda: np.full((COUNT, 4), 0.1, dtype=np.float32),
    "float64 far off": lambda: normal_rows().astype(np.float64) + 1e9,
    "whole numbers": lambda: np.random.default_rng(63).integers(-50, 50, size=(COUNT, 5)),
}
EXACT = ("few points", "one point", "whole numbers")
"""Kinds whose squared distances are whole numbers or 0: sums in any order give the same digits."""
kinds = pytest.mark.parametrize("kind", list(KINDS))


def distances_between(first: Rows, second: Rows) -> NDArray[np.float64]:
    return np.asarray(cdist(first.astype(np.float64), second.astype(np.float64)))


def assert_brute_force(found: Neighbours, between: NDArray[np.float64], nearest: NDArray[np.int64], kind: str) -> None:
    """``nearest`` are all points in the order of their distances: among equally distant ones the first come first."""
    order = nearest[:, : found.indices.shape[1]]
    if kind in EXACT:
        np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(between, order, axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(between, found.indices, axis=1), found.distances, rtol=1e-12)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    tied = np.diff(found.distances, axis=1) == 0
    assert (np.diff(found.indices, axis=1)[tied] > 0).all()


@kinds
def test_neighbours_are_those_of_brute_force(kind: str) -> None:
    rows = KINDS[kind]()
    few = rows[:300] + rows.dtype.type(1)
    for queries, points, exclude_self in (
        (few, rows, False),
        (rows, few, False),
        (rows, rows, False),
        (rows, rows, True),
    ):
        between = distances_between(queries, points)
        if exclude_self:
            np.fill_diagonal(between, np.inf)
        nearest = np.argsort(between, axis=1, kind="stable")
        for k in (1, 6, 200):
            found = nearest_neighbours(queries, points, k, exclude_self=exclude_self)
            assert found.indices.shape[1] == k
            assert_brute_force(found, between, nearest, kind)


def radii_among(between: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Radii of balls that hold about this share, half of them the distance of a point: on the surface."""
    radii = np.quantile(between, share, axis=1, method="nearest")
    radii[::2] *= 1 + 1e-6
    return np.asarray(radii)


@kinds
@pytest.mark.parametrize("share", [0.01, 0.9])
@pytest.mark.parametrize("closed", [False, True])
def test_balls_hold_the_points_of_brute_force(kind: str, share: float, closed: bool) -> None:
    rows = KINDS[kind]()
    between = distances_between(rows, rows)
    # Sums in another order may differ in the last digit: then only radii off the surface are the same for both.
    radii = radii_among(between, share) * (1 if kind in EXACT else 1 + 1e-9)
    inside = between <= radii[:, np.newaxis] if closed else between < radii[:, np.newaxis]
    for exclude_self in (False, True):
        if exclude_self:
            np.fill_diagonal(inside, False)
        found = ball_counts(rows, radii, rows, closed=closed, exclude_self=exclude_self)
        assert_same(found, Balls(inside.sum(axis=1), inside.sum(axis=0)))


@kinds
@pytest.mark.parametrize("share", [0.01, 0.9])
@pytest.mark.parametrize("one_set", [False, True])
def test_mutual_balls_are_those_of_both_directions(kind: str, share: float, one_set: bool) -> None:
    first = KINDS[kind]()
    second = first if one_set else first[800:] + first.dtype.type(1)
    radii = radii_among(distances_between(first, second), share)
    back_radii = radii_among(distances_between(second, first), share)
    there, back = mutual_ball_counts(first, radii, second, back_radii)
    assert_same(there, ball_counts(first, radii, second.copy()))
    assert_same(back, ball_counts(second.copy(), back_radii, first))


def assert_same(found: Balls | Neighbours, expected: Balls | Neighbours) -> None:
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), array)


@contextlib.contextmanager
def medium_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("kind", ["normal", "few points"])
def test_threads_and_precision_of_products_leave_no_trace(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = KINDS[kind]()
    radii = radii_among(distances_between(rows, rows), 0.05)
    expected = nearest_neighbours(rows, rows, 4, exclude_self=True), ball_counts(rows, radii, rows)
    for threads, context in (
        (1, contextlib.nullcontext()),
        (4, contextlib.nullcontext()),
        (2, medium_precision()),
        (2, torch.autocast("cpu", dtype=torch.bfloat16)),
    ):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        with context:
            assert_same(nearest_neighbours(rows, rows, 4, exclude_self=True), expected[0])
            assert_same(ball_counts(rows, radii, rows), expected[1])


@pytest.mark.parametrize("exponent", [-100, -40, 40, 120])
def test_unit_does_not_matter(exponent: int) -> None:
    """Squares of the largest and smallest single-precision numbers would overflow, or be 0."""
    rows, unit = normal_rows(), np.float32(2.0) ** exponent
    reference, found = (nearest_neighbours(part, part, 5, exclude_self=True) for part in (rows, rows * unit))
    np.testing.assert_array_equal(found.indices, reference.indices)
    np.testing.assert_array_equal(found.distances, reference.distances * float(unit))
    radii = reference.distances[:, -1]
    assert_same(
        ball_counts(rows * unit, radii * float(unit), rows * unit, closed=True),
        ball_counts(rows, radii, rows, closed=True),
    )


@pytest.mark.parametrize("closed", [False, True])
def test_infinite_ball_holds_all_but_its_centre(closed: bool) -> None:
    rows = normal_rows(50)
    for radius in (1e200, np.inf):
        found = ball_counts(rows, np.full(50, radius), rows, closed=closed, exclude_self=True)
        assert set(found.per_ball.tolist()) == set(found.per_point.tolist()) == {49}


@contextlib.contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Records the largest size of all arrays at a time."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    rows = normal_rows(6000, 8)
    with peak_bytes() as peak:
        radii = nearest_neighbours(rows, rows, 3, exclude_self=True).distances[:, -1]
        mutual_ball_counts(rows, radii, normal_rows(6000, 8, seed=64), radii)
    assert peak[0] < 3e7  # All distances at once are 144 MB or more.


@pytest.mark.parametrize("many_queries", [False, True])
def test_larger_set_is_not_copied(many_queries: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    many, few = normal_rows(60_000, 128), normal_rows(10, 128, seed=65)
    with peak_bytes() as peak:
        nearest_neighbours(*((many, few) if many_queries else (few, many)), 1)
    assert peak[0] < many.nbytes


@pytest.mark.parametrize(
    ("first", "second", "k", "message"),
    [
        (np.eye(3), np.eye(4), 1, r"shapes \(3, 3\) and \(4, 4\)"),
        (np.eye(3), np.ones(3), 1, r"give \(n, D\) and \(m, D\)"),
        (np.empty((0, 3)), np.eye(3), 1, "no vectors to measure distances between"),
        (np.eye(3), np.eye(3), 4, "k=4: there are 3 points"),
        (np.eye(3), np.eye(3), 0, "k=0: there are 3 points"),
    ],
)
def test_what_does_not_fit_is_refused(first: Rows, second: Rows, k: int, message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        nearest_neighbours(first, second, k)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@kinds
def test_gpu_finds_what_the_cpu_finds(kind: str) -> None:
    rows = KINDS[kind]()
    radii = radii_among(distances_between(rows, rows), 0.05)
    cpu, gpu = (nearest_neighbours(rows, rows, 5, exclude_self=True, device=device) for device in ("cpu", "cuda"))
    assert_same(gpu, cpu)
    assert_same(ball_counts(rows, radii, rows, device="cuda"), ball_counts(rows, radii, rows))
