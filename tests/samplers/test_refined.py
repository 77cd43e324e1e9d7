"""refined: rejection of a base's draws by what networks see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from distributions import moons
from numpy.typing import NDArray

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import load_fitted
from lsampler.samplers import LatentSampler
from lsampler.store import MemoryStore

pytestmark = pytest.mark.usefixtures("one_torch_thread")
QUICK: dict[str, Any] = {"networks": 1, "steps": 300}


@pytest.fixture(scope="module")
def two_moons() -> MemoryStore:
    return MemoryStore(moons(2000, 11), moons(600, 12), name="moons")


@pytest.fixture(scope="module")
def refined(two_moons: MemoryStore) -> LatentSampler:
    """A normal's draws, refined to two moons."""
    return load_sampler("refined", base="multivariate-normal", accept=0.2, **QUICK).fit(two_moons)


def far(rows: NDArray[Any]) -> float:
    """The share of rows further from 2,000 other vectors of the moons than 99 % of moons are."""
    others = moons(2000, 20) / [3, 0.5]

    def distances(rows: NDArray[Any]) -> NDArray[np.float64]:
        return np.linalg.norm((rows / [3, 0.5])[:, None] - others[None], axis=2).min(axis=1)

    return float((distances(rows) > np.quantile(distances(moons(1000, 21)), 0.99)).mean())


def test_draws_are_moved_to_where_the_data_are(refined: LatentSampler, two_moons: MemoryStore) -> None:
    """A normal puts a third of its draws where no moon is; standard errors are at most 0.016 with 1,000 draws.

    So the drop that is asked for is at least six of them; small networks see only part of the rest.
    """
    base = load_sampler("multivariate-normal").fit(two_moons)
    before, after = (far(sampler.sample(1000, seed=3).numpy()) for sampler in (base, refined))
    assert before > 0.25
    assert after < 0.7 * before
    held_out = two_moons.held_out()
    assert (refined.log_prob(held_out) - base.log_prob(held_out)).mean() > 0.25


def test_the_density_is_that_of_the_draws(refined: LatentSampler, two_moons: MemoryStore) -> None:
    """Added up over boxes of a grid it gives the shares of 20,000 draws in them, within five standard errors.

    The share that is kept is itself known to 1 % (8,000 draws); a wrong power of the ratio moves shares by far more.
    """
    rows = refined.sample(20_000, seed=4).double().numpy()
    low, high, count = rows.min(axis=0) - 1, rows.max(axis=0) + 1, 400
    x, y = (np.linspace(*ends, 2 * count + 1)[1::2] for ends in zip(low, high, strict=True))
    grid = np.column_stack([each.ravel() for each in np.meshgrid(x, y, indexing="ij")])
    mass = np.exp(refined.log_prob(grid)).reshape(count, count) * np.prod((high - low) / count)
    boxes = mass.reshape(4, count // 4, 4, count // 4).sum(axis=(1, 3))
    found = np.histogram2d(*rows.T, bins=4, range=list(zip(low, high, strict=True)))[0] / len(rows)
    assert mass.sum() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(found, boxes, atol=5 * np.sqrt(0.25 / len(rows)) + 0.01 * boxes.max())


def test_it_says_what_each_stage_saw(refined: LatentSampler) -> None:
    assert "Draws of multivariate-normal; stage 1 keeps" in refined.note()
    assert "stage 2" in refined.note()


def test_what_networks_cannot_see_is_left_alone() -> None:
    """Draws of the right strategy stay as they are: with 3,000 rows areas on a tenth are within 0.02 of 0.5."""
    rows = np.random.default_rng(5).normal(size=(3000, 2)).astype(np.float32)
    base = load_sampler("multivariate-normal").fit(rows)
    sampler = load_sampler("refined", base="multivariate-normal", networks=4, steps=60).fit(rows)
    assert "stage 1 is left out, since its networks see nothing" in sampler.note()
    assert torch.equal(sampler.sample(50, seed=1), base.sample(50, seed=1))


def test_stages_that_copy_are_left_out(two_moons: MemoryStore) -> None:
    sampler = load_sampler("refined", base="neighbour-interpolation", stages=1, **QUICK).fit(two_moons)
    assert "stage 1 is left out" in sampler.note()


def test_it_is_saved_and_shifted_as_others_are(two_moons: MemoryStore, tmp_path: Any) -> None:
    right = (two_moons.latents()[:, 0] > 5).astype(np.float32)
    store = MemoryStore(two_moons.latents(), labels={"right": right})
    sampler = load_sampler("refined", base="multivariate-normal", stages=1, **QUICK).fit(store, labels=True)
    drawn = sampler.sample(500, seed=1, where={"right": 1})
    assert (drawn[:, 0] > 5).float().mean() > 0.8
    sampler.save(tmp_path / "fitted.safetensors")
    again = load_fitted(tmp_path / "fitted.safetensors")
    assert torch.equal(again.sample(500, seed=1, where={"right": 1}), drawn)
    assert again.note() == sampler.note()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base": "refined"}, "`base=refined` is refined itself"),
        ({"base": "gausian"}, "`base=gausian`: .*gaussian"),
    ],
)
def test_impossible_bases_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        load_sampler("refined", **given).fit(np.random.default_rng(1).normal(size=(20, 3)))


def test_too_few_vectors_are_not_refined() -> None:
    rows = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    sampler = load_sampler("refined", base="gaussian").fit(rows)
    assert "all are kept, since 20 vectors are too few to learn from (100 are needed)" in sampler.note()
    assert torch.equal(sampler.sample(50, seed=1), load_sampler("gaussian").fit(rows).sample(50, seed=1))
