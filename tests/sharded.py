"""What the tests of sharded stores share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import committed_shards

from lsampler.samplers import DrawOptions, LatentSampler, sample_store
from lsampler.store.latent_store import Rows
from lsampler.store.sharding import ShardWork

ROWS, D = 5000, 10


def draw(sampler: LatentSampler, n: int, path: Path, shard_rows: int = 2048, **options: Any) -> Any:
    threads = options.pop("threads", None)
    return sample_store(sampler, n, path, options=DrawOptions(threads=threads, shard_rows=shard_rows), **options)


class Stopping:
    """A progress bar at which Ctrl-C comes, or something else happens, when so many shards are there."""

    def __init__(self, finished: int, act: Callable[[], object] | None = None) -> None:
        self.finished, self.act = finished, act

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        return self.advance

    def advance(self, rows: int) -> None:
        self.finished -= 1
        if not self.finished:
            if self.act is None:
                raise KeyboardInterrupt
            self.act()


def interrupted(run: Callable[[Stopping], object], path: Path) -> None:
    """A run that Ctrl-C ends when two shards are there."""
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(2))
    assert len(committed_shards(path)) == 2


def work(counts: list[int], before: dict[int, Callable[[], object]] = {}) -> ShardWork:  # noqa: B006
    """Tasks that write so many rows, each after it has called what is given for it."""

    def chunks(start: int, stop: int) -> Iterator[Rows]:
        number = start // 5
        before.get(number, lambda: None)()
        yield Rows(np.ones((counts[number], D), np.float32), [f"{number}-{k}" for k in range(counts[number])])

    return ShardWork("writing", 5 * len(counts), 5, {"counts": counts}, chunks)
