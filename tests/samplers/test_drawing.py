"""Seeds, blocks and devices: what drawing promises for every strategy beyond the compliance kit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distributions import BLOCK_ROWS
from numpy.typing import NDArray

from lsampler import LsamplerError, load_sampler
from lsampler.compute import Block
from lsampler.plugins import plugin_names
from lsampler.store import MemoryStore


@pytest.mark.parametrize("name", [name for name in plugin_names("sampler") if name != "auto"])  # it draws as its choice
def test_same_seed_gives_same_rows_for_any_number_of_kernel_threads(name: str, reference: MemoryStore) -> None:
    quick = {"steps": 5, "networks": 1} if name == "refined" else {}
    sampler, before = load_sampler(name, **quick).fit(reference), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = sampler.sample(5_000, seed=3)
        torch.set_num_threads(4)
        four = sampler.sample(5_000, seed=3)
        assert torch.get_num_threads() == 4  # and the caller's setting is left as it was
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, four)


def test_without_a_seed_rows_are_fresh_and_can_be_drawn_again(reference: MemoryStore) -> None:
    """Regression: sample(3) twice gave the same rows."""
    sampler, generator = load_sampler("gaussian").fit(reference), np.random.default_rng(1)
    assert sampler.seed_ is None
    for seed in (None, generator):  # a generator gives a new seed at every call
        first = sampler.sample(3, seed=seed)
        used = sampler.seed_
        streamed = torch.cat(list(sampler.stream(3, seed=seed)))
        assert not torch.equal(streamed, first)
        assert torch.equal(sampler.sample(3, seed=sampler.seed_), streamed)
        assert torch.equal(sampler.sample(3, seed=used), first)


def test_a_seed_that_is_no_number_is_refused(reference: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match="seed='one': give a whole number"):
        load_sampler("gaussian").fit(reference).sample(1, seed="one")  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["component-uniform", "gaussian"])
def test_no_block_of_a_seed_is_one_of_another_seed(reference: MemoryStore, strategy: str) -> None:
    """Regression: block 1 of seed 5 was block 0 of seed 5 + 2^32."""
    sampler = load_sampler(strategy).fit(reference)
    seeds = [0, 1, 5, 5 + 2**32, 5 + 2 * 2**32, 2**63 - 1, 2**64 + 5]
    drawn = torch.cat([sampler.sample(3 * BLOCK_ROWS, seed=seed) for seed in seeds])
    assert len(torch.unique(drawn, dim=0)) == len(drawn)


def test_blocks_are_independent(reference: MemoryStore) -> None:
    """Rows of neighbouring blocks, and of neighbouring seeds, are uncorrelated: |r| < 5 / sqrt(n)."""
    sampler = load_sampler("gaussian").fit(reference)
    z = sampler.sample(2 * BLOCK_ROWS, seed=0).numpy()
    other = sampler.sample(BLOCK_ROWS, seed=1).numpy()
    for pair in ((z[:BLOCK_ROWS], z[BLOCK_ROWS:]), (z[:BLOCK_ROWS], other)):
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(pair[0].T, pair[1].T, strict=True)]
        assert np.abs(r).max() < 5 / np.sqrt(BLOCK_ROWS)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7), (256,)])
def test_uniforms_of_a_block_are_the_single_precision_ones_of_numpy(shape: tuple[int, ...]) -> None:
    block = Block(3, 7, torch.device("cpu"))
    numpys = np.random.Generator(np.random.SFC64(np.random.SeedSequence([3, 7])))
    for _ in range(2):  # and each call continues where the last one ended
        expected = numpys.random((BLOCK_ROWS, *shape), dtype=np.float32)
        assert np.array_equal(block.uniform(*shape).numpy(), expected)
    low, high = torch.full(shape[-1:], -3.7), torch.full(shape[-1:], 1.9)
    scaled = numpys.random((BLOCK_ROWS, *shape), dtype=np.float32) * (high - low).numpy() + low.numpy()
    assert np.array_equal(block.uniform(*shape, low=low, high=high).numpy(), scaled)


def test_categories_come_as_often_as_their_weights_say() -> None:
    """Of 200,000 draws a share is known to 0.1 %: half a per cent off would be seen."""
    weights = torch.tensor([0.5, 0.0, 2.0, 1.5])
    drawn = torch.cat([Block(5, k, torch.device("cpu")).categories(weights) for k in range(100)])
    shares: NDArray[np.float32] = (torch.bincount(drawn, minlength=4) / len(drawn)).numpy()
    np.testing.assert_allclose(shares, [0.125, 0, 0.5, 0.375], atol=0.005)
    assert shares[1] == 0
