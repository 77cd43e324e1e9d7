"""Walks: straight lines, arcs at the data's own radius, closed loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import geometric_slerp

from lsampler import LsamplerError
from lsampler.editing import walk
from lsampler.store import MemoryStore


def white(reference: MemoryStore, latents: NDArray[np.float32]) -> NDArray[np.float64]:
    """Whitened by another route: a Cholesky factor, up to a rotation."""
    train = reference.latents().astype(np.float64)
    root = np.linalg.cholesky(np.linalg.inv(np.cov(train.T)))
    found: NDArray[np.float64] = (latents - train.mean(axis=0)) @ root
    return found


def test_a_linear_walk_is_straight_and_even(reference: MemoryStore) -> None:
    stops = reference.latents()[:3]
    found = walk(reference, stops, kind="linear", steps=4)
    assert found.latents.shape == (1, 9, 12)
    expected = np.concatenate([np.linspace(stops[0], stops[1], 5)[:-1], np.linspace(stops[1], stops[2], 5)])
    np.testing.assert_allclose(found.latents[0], expected, atol=1e-4)


def test_a_spherical_walk_turns_evenly_at_the_radius_of_the_data(reference: MemoryStore) -> None:
    """Directions are those of scipy's geometric slerp; radii go evenly from one stop to the other."""
    stops = reference.latents()[4:6]
    path = white(reference, walk(reference, stops, steps=10).latents[0])
    radii = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(radii, np.linspace(radii[0], radii[-1], 11), rtol=1e-4)
    directions = path / radii[:, np.newaxis]
    expected = geometric_slerp(directions[0], directions[-1], np.linspace(0, 1, 11))
    np.testing.assert_allclose(directions, expected, atol=1e-4)
    straight = np.linalg.norm(white(reference, walk(reference, stops, kind="linear", steps=10).latents[0]), axis=1)
    assert straight[5] < 0.95 * min(radii)


def test_a_walk_meets_its_stops_exactly_and_closes(reference: MemoryStore) -> None:
    stops = reference.latents()[:4]
    open_, closed = walk(reference, stops, steps=3), walk(reference, stops, steps=3, loop=True)
    np.testing.assert_array_equal(open_.latents[0, ::3], stops)
    np.testing.assert_array_equal(closed.latents[0, ::3], stops)
    assert closed.latents.shape[1] == 12
    back = walk(reference, stops[[3, 0]], steps=3)
    np.testing.assert_allclose(closed.latents[0, 9:], back.latents[0, :3], atol=1e-5)
    assert (open_.what, closed.what) == ("spherical walk", "spherical walk, closed")


def test_directions_without_an_arc_are_joined_straight(reference: MemoryStore) -> None:
    centre = reference.statistics().mean
    away = reference.latents()[0] - centre
    for stops in (
        np.stack([centre + away, centre - away]),
        np.stack([centre + away] * 2),
        np.stack([centre, centre + away]),
    ):
        found = walk(reference, stops, steps=4).latents[0]
        np.testing.assert_allclose(found, np.linspace(stops[0], stops[1], 5), atol=1e-3)


def test_what_does_not_vary_in_the_data_is_kept() -> None:
    """Stops that differ in a constant component of the data go evenly from one value to the other."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(300, 3)), np.full(300, 2.0)])
    stops = np.array([[1, 0, 0, 2.0], [0, 1, 0, 4.0]])
    np.testing.assert_allclose(walk(MemoryStore(rows), stops, steps=2).latents[0, :, 3], [2, 3, 4], atol=1e-5)


def test_walks_that_make_no_sense_are_refused(reference: MemoryStore) -> None:
    stops = reference.latents()[:2]
    with pytest.raises(LsamplerError, match=r"0: is the only stop; .* name at least two"):
        walk(reference, stops[:1])
    with pytest.raises(LsamplerError, match="`steps=0`: give the steps from each stop to the next"):
        walk(reference, stops, steps=0)
    with pytest.raises(LsamplerError, match=r"`kind=sperical` is unknown; did you mean 'spherical'\?"):
        walk(reference, stops, kind="sperical")  # type: ignore[arg-type]
