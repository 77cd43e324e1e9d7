"""Neighbours and ball counts tile by tile: the same to the last digit however the work is cut up."""

import contextlib
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lsampler import Balls, Neighbours, ball_counts, mutual_ball_counts, nearest_neighbours
from lsampler.compute import neighbours as private

Rows = NDArray[Any]


def normal_rows(count: int = 200, dimension: int = 9, seed: int = 61) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def rows_with_outliers() -> NDArray[np.float32]:
    """So far out that in single precision all distances among the others are in doubt."""
    rows = normal_rows()
    rows[::40] *= 3e4
    return rows


def rows_in_few_places() -> NDArray[np.float32]:
    return np.random.default_rng(62).integers(0, 3, size=(200, 3)).astype(np.float32)


def rows_by_falling_distance() -> NDArray[np.float32]:
    """From the last row all before lie nearer and nearer: every tile lowers the limits of all."""
    rows = normal_rows()
    return rows[np.argsort(-np.linalg.norm(rows - rows[0], axis=1))]


KINDS = {
    "normal": normal_rows,
    "outliers": rows_with_outliers,
    "few places": rows_in_few_places,
    "falling": rows_by_falling_distance,
    "one place": lambda: np.full((200, 4), 0.1, dtype=np.float32),
    "float64 far off": lambda: normal_rows().astype(np.float64) + 1e9,
    "whole numbers": lambda: np.random.default_rng(63).integers(-50, 50, size=(200, 5)),
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(params=["NumPy", "torch"])
def small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 30 x 30, seen by several threads; also by what runs on GPUs, here on the CPU."""
    monkeypatch.setattr(private, "BLOCK_VALUES", 900)
    monkeypatch.setattr(private, "DEVICE_BLOCK_VALUES", 900)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    if request.param == "torch":
        monkeypatch.setattr(private, "_OnCPU", lambda: private._OnDevice(torch.device("cpu")))


def distances_between(first: Rows, second: Rows) -> NDArray[np.float64]:
    return cdist(first.astype(np.float64), second.astype(np.float64))


def brute_neighbours(queries: Rows, points: Rows, k: int, exclude_self: bool = False) -> Neighbours:
    """By sorting all distances; of equally distant points the first come first."""
    between = np.sqrt(np.sum(np.square(queries[:, np.newaxis].astype(np.float64) - points), axis=2))
    if exclude_self:
        np.fill_diagonal(between, np.inf)
    order = np.argsort(between, axis=1, kind="stable")[:, :k]
    return Neighbours(np.take_along_axis(between, order, axis=1), order)


def assert_neighbours(found: Neighbours, expected: Neighbours, exact: bool = True) -> None:
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-12)
    if exact:  # sums of whole numbers are: ties are ties for both
        np.testing.assert_array_equal(found.indices, expected.indices)


# Against brute force.


@pytest.mark.usefixtures("small_tiles")
@kinds
@pytest.mark.parametrize("k", [1, 5, 199])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_neighbours_within_a_set_are_those_of_brute_force(kind: str, k: int, exclude_self: bool) -> None:
    rows = KINDS[kind]()
    expected = brute_neighbours(rows, rows, k, exclude_self)
    assert_neighbours(nearest_neighbours(rows, rows, k, exclude_self=exclude_self), expected)
    assert_neighbours(nearest_neighbours(rows.copy(), rows, k, exclude_self=exclude_self), expected)


@pytest.mark.usefixtures("small_tiles")
@kinds
@pytest.mark.parametrize("k", [1, 5, 70])
def test_neighbours_in_another_set_are_those_of_brute_force(kind: str, k: int) -> None:
    rows = KINDS[kind]()
    for queries, points in ((rows[:70] + rows.dtype.type(1), rows), (rows, rows[:70] - rows.dtype.type(1))):
        assert_neighbours(nearest_neighbours(queries, points, k), brute_neighbours(queries, points, k))


def radii_among(between: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Radii that hold about this share, half of them distances of a point: on the surface."""
    radii = np.quantile(between, share, axis=1, method="nearest")
    radii[::2] *= 1 + 1e-6
    return np.asarray(radii)


@pytest.mark.usefixtures("small_tiles")
@kinds
@pytest.mark.parametrize("share", [0.01, 0.9])
@pytest.mark.parametrize("closed", [False, True])
def test_balls_within_a_set_hold_the_points_of_brute_force(kind: str, share: float, closed: bool) -> None:
    rows = KINDS[kind]()
    between = np.sqrt(np.sum(np.square(rows[:, np.newaxis].astype(np.float64) - rows), axis=2))
    # Sums in another order may differ in the last digit: then only radii off the surface are the same for both.
    radii = radii_among(between, share) * (1 if kind in ("few places", "one place", "whole numbers") else 1 + 1e-9)
    inside = between <= radii[:, np.newaxis] if closed else between < radii[:, np.newaxis]
    for exclude_self in (False, True):
        if exclude_self:
            np.fill_diagonal(inside, False)
        for centres in (rows, rows.copy()):
            found = ball_counts(centres, radii, rows, closed=closed, exclude_self=exclude_self)
            np.testing.assert_array_equal(found.per_ball, inside.sum(axis=1))
            np.testing.assert_array_equal(found.per_point, inside.sum(axis=0))


@pytest.mark.usefixtures("small_tiles")
@kinds
@pytest.mark.parametrize("share", [0.01, 0.9])
@pytest.mark.parametrize("one_set", [False, True])
def test_mutual_balls_are_those_of_both_directions(kind: str, share: float, one_set: bool) -> None:
    first = KINDS[kind]()
    second = first if one_set else first[130:] + first.dtype.type(1)
    radii = radii_among(distances_between(first, second), share)
    back_radii = radii_among(distances_between(second, first), share)
    there, back = mutual_ball_counts(first, radii, second, back_radii)
    assert_same_balls(there, ball_counts(first, radii, second.copy()))
    assert_same_balls(back, ball_counts(second.copy(), back_radii, first))


def assert_same_balls(found: Balls, expected: Balls) -> None:
    np.testing.assert_array_equal(found.per_ball, expected.per_ball)
    np.testing.assert_array_equal(found.per_point, expected.per_point)


# Whatever the tiles, the threads, the unit.


@kinds
def test_tiles_threads_and_arithmetic_leave_no_trace(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = KINDS[kind]()
    radii = radii_among(distances_between(rows, rows), 0.05)
    seen = []
    for values, threads in ((2**20, 1), (1000, 1), (2500, 4)):
        monkeypatch.setattr(private, "BLOCK_VALUES", values)
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        neighbours, balls = nearest_neighbours(rows, rows, 4, exclude_self=True), ball_counts(rows, radii, rows)
        seen.append([neighbours.distances, neighbours.indices, balls.per_ball, balls.per_point])
    for other in seen[1:]:
        for mine, reference in zip(other, seen[0], strict=True):
            np.testing.assert_array_equal(mine, reference)


@pytest.mark.parametrize("exponent", [-100, -40, 40, 120])
def test_the_unit_is_of_no_concern(exponent: int) -> None:
    """Squares of the largest and smallest single-precision numbers would not be numbers, or nought."""
    rows, unit = normal_rows(), np.float32(2.0) ** exponent
    reference, found = (nearest_neighbours(part, part, 5, exclude_self=True) for part in (rows, rows * unit))
    np.testing.assert_array_equal(found.indices, reference.indices)
    np.testing.assert_array_equal(found.distances, reference.distances * float(unit))
    radii = reference.distances[:, -1]
    assert_same_balls(
        ball_counts(rows * unit, radii * float(unit), rows * unit, closed=True),
        ball_counts(rows, radii, rows, closed=True),
    )


@pytest.mark.parametrize("closed", [False, True])
def test_a_ball_without_end_holds_all_but_its_centre(closed: bool) -> None:
    rows = normal_rows(50)
    for radius in (1e200, np.inf):
        found = ball_counts(rows, np.full(50, radius), rows, closed=closed, exclude_self=True)
        assert set(found.per_ball.tolist()) == set(found.per_point.tolist()) == {49}


def test_many_equal_distances_are_settled_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """More candidates than are kept at a time: what is settled early and what is settled late belong together."""
    monkeypatch.setattr(private, "BLOCK_VALUES", 900)
    monkeypatch.setattr(private, "PAIR_VALUES", 64)
    rows = rows_in_few_places()
    assert_neighbours(nearest_neighbours(rows, rows, 6), brute_neighbours(rows, rows, 6))


@contextlib.contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Gathers the largest size of all arrays at a time."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "BLOCK_VALUES", 2**14)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    rows = normal_rows(3000, 8)
    with peak_bytes() as peak:
        radii = nearest_neighbours(rows, rows, 3, exclude_self=True).distances[:, -1]
        mutual_ball_counts(rows, radii, normal_rows(3000, 8, seed=64), radii)
    assert peak[0] < 4e6  # 36 MB for all distances once; measured: 1.3 MB


@pytest.mark.parametrize("many_queries", [False, True])
def test_the_larger_set_is_not_copied(many_queries: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "BLOCK_VALUES", 2**10)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    many, few = normal_rows(6000, 128), normal_rows(10, 128, seed=65)
    with peak_bytes() as peak:
        nearest_neighbours(*((many, few) if many_queries else (few, many)), 1)
    assert peak[0] < many.nbytes  # measured: at most half of it; with a copy more


# The products on a GPU.


@contextlib.contextmanager
def switched(value: Any) -> Iterator[tuple[Any, str, Any]]:
    """TensorFloat-32 allowed for products, by whichever name this torch knows."""
    matmul: Any = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, name)
    setattr(matmul, name, value if name == "fp32_precision" else value == "tf32")
    try:
        yield matmul, name, exact
    finally:
        setattr(matmul, name, before)


@pytest.mark.parametrize("before", ["tf32", "ieee"])
@pytest.mark.parametrize("fails", [False, True])
def test_products_of_a_device_are_in_full_single_precision(before: str, fails: bool) -> None:
    """TensorFloat-32 has 10 binary digits: the error bound would not hold."""
    arithmetic = private._OnDevice(torch.device("cpu"))
    with switched(before) as (matmul, name, exact):
        entered = getattr(matmul, name)
        with contextlib.suppress(KeyError), arithmetic.exact_products():
            assert getattr(matmul, name) == exact
            assert not torch.is_autocast_enabled("cpu")
            if fails:
                raise KeyError
        assert getattr(matmul, name) == entered


@pytest.mark.usefixtures("small_tiles")
def test_a_caller_s_reduced_precision_does_not_reach_the_products() -> None:
    rows = normal_rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest_neighbours(rows, rows, 5, exclude_self=True)
    assert_neighbours(found, brute_neighbours(rows, rows, 5, exclude_self=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@kinds
def test_a_gpu_finds_what_the_cpu_finds(kind: str) -> None:
    rows = KINDS[kind]()
    radii = radii_among(distances_between(rows, rows), 0.05)
    cpu, gpu = (nearest_neighbours(rows, rows, 5, exclude_self=True, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(gpu.distances, cpu.distances)
    np.testing.assert_array_equal(gpu.indices, cpu.indices)
    assert_same_balls(ball_counts(rows, radii, rows, device="cuda"), ball_counts(rows, radii, rows))
