"""On a Dask cluster: the same rows and numbers whatever the workers, and one line for whatever goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Answer

from lsampler import LsamplerError, load_bundle, load_sampler
from lsampler.compute import on_cluster
from lsampler.samplers import DrawOptions, LatentSampler, sample_store
from lsampler.store import ShardedStore

distributed = pytest.importorskip("distributed")

ROWS = 5 * 20480


@pytest.fixture(scope="module")
def sampler() -> LatentSampler:
    return load_sampler("multivariate-normal").fit(load_bundle("digits"))


@pytest.fixture
def drawn(cluster: Any, sampler: LatentSampler, tmp_path: Path) -> ShardedStore:
    with on_cluster(cluster.scheduler_address):
        return sample_store(sampler, ROWS, tmp_path / "drawn.shards", options=DrawOptions(shard_rows=20480))


def test_workers_draw_the_rows_of_the_seed(sampler: LatentSampler, drawn: ShardedStore) -> None:
    assert len(drawn.shards) == 5
    np.testing.assert_array_equal(drawn.read(), sampler.sample(ROWS, seed=0).numpy())


def test_statistics_are_the_same_to_the_last_digit(cluster: Any, drawn: ShardedStore) -> None:
    here, there = ShardedStore(drawn.path), ShardedStore(drawn.path)
    with on_cluster(cluster.scheduler_address):
        for trim in (None, 1.2):
            found = there.statistics(trim)
            assert found.histograms.counts.sum() == found.count * found.dimension
    for trim in (None, 1.2):
        for name, array in here.statistics(trim).as_arrays().items():
            np.testing.assert_array_equal(there.statistics(trim).as_arrays()[name], array)
    assert len(here.segments()) == 5


def test_a_worker_killed_mid_run_is_replaced_and_nothing_is_lost(sampler: LatentSampler, tmp_path: Path) -> None:
    path = tmp_path / "drawn.shards"
    folder = tmp_path / "drawn.shards.partial"
    killed: list[int] = []

    def kill_a_worker(client: Any) -> None:
        while not any(folder.glob("[0-9]*.h5")):
            time.sleep(0.005)
        workers = client.run(os.getpid)
        killed.append(next(iter(workers.values())))
        os.kill(killed[0], signal.SIGKILL)

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as started,
        distributed.Client(started) as watcher,
        on_cluster(started.scheduler_address),
    ):
        watching = threading.Thread(target=kill_a_worker, args=(watcher,))
        watching.start()
        found = sample_store(sampler, 60 * 2048, path, options=DrawOptions(shard_rows=2048))
        watching.join()
    assert killed
    np.testing.assert_array_equal(found.read(), sampler.sample(60 * 2048, seed=0).numpy())
    assert found.verify() == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["drawn.shards"]
    assert len(list(path.iterdir())) == 62  # nothing of the dead one is left


def test_a_cluster_is_found_from_within_an_event_loop(cluster: Any, drawn: ShardedStore) -> None:
    """Regression: notebooks run in one."""

    async def cell() -> int:
        with on_cluster(cluster.scheduler_address):
            return ShardedStore(drawn.path).statistics().count

    assert asyncio.run(cell()) == len(drawn)


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    cli: Callable[..., Answer], tmp_path: Path, sampler: LatentSampler
) -> None:
    """Regression: the workers heard it too, and each wrote its traceback."""
    out = tmp_path / "a.shards"
    sample_store(sampler, 40 * 2048, tmp_path / "whole.shards", options=DrawOptions(shard_rows=2048))
    command = ("store", "shard", tmp_path / "whole.shards", "--out", out, "--rows", "2048")
    started = subprocess.Popen(
        [sys.executable, "-m", "lsampler", *command, "--cluster", "local:1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not any((tmp_path / "a.shards.partial").glob("[0-9]*.h5")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, told = started.communicate(timeout=60)
    assert (started.returncode, told) == (130, "lsampler: interrupted\n")
    assert cli(*command).code == 0
    np.testing.assert_array_equal(ShardedStore(out).read(), sampler.sample(40 * 2048, seed=0).numpy())


def test_a_fault_in_a_task_is_that_fault(cluster: Any, drawn: ShardedStore) -> None:
    shard = drawn.shards[2].path
    data = bytearray(shard.read_bytes())
    place = data.find(drawn.shards[2].read(0, 1).tobytes())
    data[place] ^= 1
    shard.write_bytes(data)
    with on_cluster(cluster.scheduler_address), pytest.raises(LsamplerError, match=r"00000002\.h5: rows 0\.\.4095 are"):
        ShardedStore(drawn.path).statistics()


def test_images_are_not_written_by_workers(cli: Callable[..., Answer], tmp_path: Path) -> None:
    answer = cli("sample", "-p", "gaussian", "--out", tmp_path / "faces.png", "--cluster", "local:2")
    assert answer.code == 2
    assert "give a name ending in .shards" in answer.err


def test_workers_encode_the_latents_of_this_process(
    cli: Callable[..., Answer], cluster: Any, digits_npy: Path, tiny_model_file: Path, tmp_path: Path
) -> None:
    common = ("encode", digits_npy, "--model", tiny_model_file, "--held-out", 100)
    here, there = tmp_path / "here.shards", tmp_path / "there.shards"
    assert cli(*common, "--out", here).code == 0
    assert cli(*common, "--out", there, "--cluster", cluster.scheduler_address).code == 0
    expected, found = ShardedStore(here), ShardedStore(there)
    np.testing.assert_allclose(found.read(), expected.read(), rtol=1e-5, atol=1e-6)
    assert (found.ids(), found.splits()) == (expected.ids(), expected.splits())
