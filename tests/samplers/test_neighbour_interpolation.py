"""neighbour-interpolation, and the seeds of strategies that choose vectors at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import ALPHA, banana
from scipy import stats
from scipy.spatial.distance import cdist

from lsampler import LsamplerError, load_sampler


@pytest.mark.parametrize("space", ["raw", "whitened"])
def test_every_sample_lies_between_a_vector_and_one_of_its_neighbours(space: str) -> None:
    rows = banana(60, 3) * np.array([1, 1, 100], dtype=np.float32)
    sampler = load_sampler("neighbour-interpolation", k=4, space=space).fit(rows)
    places = rows.astype(np.float64)
    if space == "whitened":
        places = places @ np.linalg.cholesky(np.linalg.inv(np.cov(places.T)))
    distances = cdist(places, places)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :4]
    z = sampler.sample(3000, seed=1).double().numpy()
    starts = np.repeat(np.arange(60), 4)
    first, second = rows[starts].astype(np.float64), rows[nearest.ravel()].astype(np.float64)
    step = second - first
    t = ((z[:, np.newaxis] - first) * step).sum(axis=2) / (step**2).sum(axis=1)
    off = np.linalg.norm(z[:, np.newaxis] - first - t[:, :, np.newaxis] * step, axis=2)
    off[(t < -1e-4) | (t > 1 + 1e-4)] = np.inf
    assert off.min(axis=1).max() < 1e-3
    # Every pair is drawn: with 3,000 draws of 240 pairs one is missing with a probability of 1e-3.
    mutual = {frozenset(pair) for pair in zip(starts.tolist(), nearest.ravel().tolist(), strict=True)}
    seen = off.argmin(axis=1)
    assert {frozenset((int(starts[i]), int(nearest.ravel()[i]))) for i in seen} == mutual


def test_the_step_is_uniform() -> None:
    """Some 10,000 draws, all from the far vector, see a distribution function 2 % off."""
    rows = np.array([[0.0, 0.0], [1.0, 2.0], [11.0, 22.0]])  # only the last has a neighbour that has not it
    z = load_sampler("neighbour-interpolation", k=1).fit(rows).sample(30_000).numpy()
    assert stats.kstest(z[z[:, 0] > 1][:, 0], stats.uniform(1, 10).cdf).pvalue > ALPHA
    np.testing.assert_allclose(z[:, 1], 2 * z[:, 0], atol=1e-5)


def test_too_many_neighbours_are_refused_with_the_fix() -> None:
    with pytest.raises(LsamplerError, match=r"4 vectors, each needs `k=5` .* `k=3`"):
        load_sampler("neighbour-interpolation").fit(banana(4, 2))


def test_only_some_vectors_of_a_large_store_are_used() -> None:
    fitted = load_sampler("neighbour-interpolation", most=50).fit(np.arange(1000.0)[:, np.newaxis]).state["rows"]
    assert len(np.unique(fitted)) == len(fitted) == 50


@pytest.mark.parametrize(
    ("name", "parameters", "learned"),
    [
        ("elliptical", {"direction": "mixture", "mixture_components": 3}, "means"),
        ("kde", {"judges": 20}, "h"),
        ("neighbour-interpolation", {"most": 50}, "rows"),
        ("gaussian-mixture", {"components": 6}, "centres"),
    ],
)
def test_the_seed_parameter_determines_what_is_learned(name: str, parameters: dict[str, Any], learned: str) -> None:
    rows = banana(300, 4)
    one, same, other = (load_sampler(name, seed=seed, **parameters).fit(rows).state[learned] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
