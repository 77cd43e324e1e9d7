"""Statistics and sampling of a sharded store on two Dask workers, beside one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring import Row, Settings, in_turn
from benchmarks.sampling import fitted
from lsampler import open_store
from lsampler.compute import on_cluster
from lsampler.compute.dask_cluster import local_cluster
from lsampler.samplers import DrawOptions, sample_store

ROWS = 5_000_000
SHARD_ROWS = 1 << 18


def measure(settings: Settings) -> Iterator[Row]:
    """One row per step; starting the workers is not counted."""
    rows = settings.rows(ROWS)
    sampler = fitted("pca-ellipse")
    with TemporaryDirectory(dir=settings.scratch) as folder:
        drawn, again = Path(folder) / "drawn.shards", Path(folder) / "again.shards"
        options = DrawOptions(shard_rows=SHARD_ROWS)
        sample_store(sampler, rows, drawn, options=options)
        steps: dict[str, Callable[[], object]] = {
            "statistics": lambda: open_store(drawn).statistics(),
            "sampling": lambda: sample_store(sampler, rows, again, seed=1, options=options, force=True),
        }
        with local_cluster(1) as one, local_cluster(2) as two:
            for step, work in steps.items():
                runs = [partial(_on, two.scheduler_address, work), partial(_on, one.scheduler_address, work)]
                ours, theirs = in_turn(runs, settings.repeats, warm=step == "statistics")
                yield Row(
                    f"{step}, {rows:,} rows, 2 Dask workers",
                    "1 Dask worker",
                    ours,
                    theirs,
                    rows,
                    target=1.7,
                    limit="the cores, which workers, scheduler and disk share",
                )


def _on(address: str, work: Callable[[], object]) -> None:
    with on_cluster(address):
        work()
