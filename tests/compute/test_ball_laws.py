"""Laws of neighbours and balls: surfaces, k-th neighbours, lattices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsampler import LsamplerError
from lsampler.compute import ball_counts, nearest_neighbours

POINTS = st.lists(st.tuples(*[st.integers(-4, 4)] * 3), min_size=1, max_size=12)


@pytest.mark.parametrize(("k", "exclude_self"), [(0, False), (151, False), (150, True)])
def test_more_neighbours_than_there_are_is_one_line(k: int, exclude_self: bool) -> None:
    rows = np.random.default_rng(53).normal(size=(150, 7))
    with pytest.raises(LsamplerError, match=rf"^k={k}: there are {150 - exclude_self} points to choose from$"):
        nearest_neighbours(rows, rows, k, exclude_self=exclude_self)


def test_a_surface_belongs_to_a_closed_ball_and_not_to_an_open_one() -> None:
    centres = np.zeros((2, 2))
    points = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 6.0], [0.0, -6.0], [0.0, 0.0], [0.0, 0.0]])
    radii = np.array([5.0, 0.0])
    assert ball_counts(centres, radii, points).per_ball.tolist() == [2, 0]
    assert ball_counts(centres, radii, points, closed=True).per_ball.tolist() == [4, 2]
    assert ball_counts(centres, radii, points, closed=True).per_point.tolist() == [1, 1, 0, 0, 2, 2]


def test_a_closed_ball_up_to_the_kth_neighbour_holds_k_points() -> None:
    rows = np.random.default_rng(56).normal(size=(300, 40)).astype(np.float32)
    radii = nearest_neighbours(rows, rows, 5, exclude_self=True).distances[:, -1]
    assert set(ball_counts(rows, radii, rows, closed=True, exclude_self=True).per_ball.tolist()) == {5}
    assert set(ball_counts(rows, radii, rows, exclude_self=True).per_ball.tolist()) == {4}


@settings(deadline=None, derandomize=True, max_examples=150)
@given(centres=POINTS, points=POINTS, squares=st.lists(st.integers(0, 60), min_size=12, max_size=12))
def test_balls_on_a_lattice_hold_what_whole_numbers_say(
    centres: list[tuple[int, int, int]], points: list[tuple[int, int, int]], squares: list[int]
) -> None:
    inside = [
        [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) <= q for y in points]
        for x, q in zip(centres, squares, strict=False)
    ]
    # Half a unit beyond: between the shells of the lattice.
    radii = np.sqrt(np.array(squares[: len(centres)]) + 0.5)
    found = ball_counts(np.array(centres), radii, np.array(points))
    assert found.per_ball.tolist() == [sum(row) for row in inside]
    assert found.per_point.tolist() == [sum(column) for column in zip(*inside, strict=True)]
