"""A strategy, a store of one file, and the same in shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sharded import ROWS, D

from lsampler import load_bundle, load_sampler, open_store
from lsampler.samplers import LatentSampler
from lsampler.store import LatentStore, ShardedStore, shard_store
from lsampler.store.latent_store import Rows
from lsampler.store.writer import write_store


@pytest.fixture(scope="module")
def sampler() -> LatentSampler:
    return load_sampler("multivariate-normal").fit(load_bundle("digits"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> LatentStore:
    """A store with ids and both splits, in no order."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, D)).astype(np.float32)
    splits = [("train", "held-out")[k] for k in rng.integers(2, size=ROWS)]
    path = tmp_path_factory.mktemp("whole") / "latents.h5"
    write_store(path, D, [Rows(rows, [f"{k}.png" for k in range(ROWS)], splits)], {"encoder": "abc", "kind": "test"})
    return open_store(path)


@pytest.fixture
def shards(whole: LatentStore, tmp_path: Path) -> ShardedStore:
    return shard_store(whole.path, tmp_path / "latents.shards", shard_rows=1300)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "latents.h5"
