"""On a Dask cluster: the same rows and numbers whatever the workers, dead ones included; its faults in one line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Answer

from lsampler import (
    DrawOptions,
    LatentSampler,
    LsamplerError,
    ShardedStore,
    load_bundle,
    load_evaluator,
    load_sampler,
    on_cluster,
    sample_store,
)
from lsampler.bundles.digits import write_digits
from lsampler.compute import dask_cluster as module
from lsampler.compute.engine import current_engine
from lsampler.scoring import pipeline as scoring
from lsampler.scoring.pipeline import Drawn, Stored, score_sets
from lsampler.store.writer import write_store
from lsampler.workspace import Opened, open_workspace

distributed = pytest.importorskip("distributed")

ROWS = 5 * 20480


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, started once: each imports torch."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as started:
        yield started


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
        assert current_engine().remote
        for trim in (None, 1.2):
            found = there.statistics(trim)
            assert found.histograms.counts.sum() == found.count * found.dimension
    assert not current_engine().remote
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


def test_a_worker_of_another_version_is_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.__version__
    monkeypatch.setattr(module, "__version__", "0.0.1")
    message = rf"worker tcp://\S+ has lsampler {real}, here it is 0\.0\.1"
    with pytest.raises(LsamplerError, match=message), on_cluster(cluster.scheduler_address):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("local:", "say how many workers, such as local:4"),
        ("local:0", "say how many workers, such as local:4"),
        ("local:two", "say how many workers, such as local:4"),
        ("host:8786", "give local:WORKERS or a scheduler's address"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers there"),
        ("tcp://127.0.0.1", "give local:WORKERS or a scheduler's address"),
        ("tcp://nonsense:8786", "no Dask scheduler answers there"),
        ("tls://127.0.0.1:9", "no Dask scheduler answers there"),
    ],
)
def test_an_address_that_is_no_cluster_is_one_line(
    cli: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    out = tmp_path / "out.shards"
    answer = cli("sample", "-p", "gaussian", "--model", "digits", "--out", out, "--cluster", address)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert f"--cluster {address}: {message}" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: Dask waited for its answer for ever."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LsamplerError, match="no Dask scheduler answers there"), on_cluster(address):
            pass


def test_a_cluster_is_found_from_within_an_event_loop(cluster: Any, drawn: ShardedStore) -> None:
    """Regression: notebooks run in one."""

    async def cell() -> int:
        with on_cluster(cluster.scheduler_address):
            return ShardedStore(drawn.path).statistics().count

    assert asyncio.run(cell()) == len(drawn)


def test_a_cluster_that_has_lost_all_its_workers_is_not_waited_for(
    sampler: LatentSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=":0", silence_logs=50) as started,
        on_cluster(started.scheduler_address),
    ):
        tasks = iter(current_engine().map(_slow, [0.0, 60.0]))
        assert next(tasks) == 0.0
        started.scale(0)
        with pytest.raises(LsamplerError, match=r"has had no workers for 0\.5 s; start some"):
            next(tasks)


class Future:
    """One of Dask's, done while nobody was looking."""

    def __init__(self, outcome: Any) -> None:
        self.outcome, self.status = outcome, "pending"

    def done(self) -> bool:
        return self.status != "pending"

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.status = "error" if isinstance(self.outcome, Exception) else "finished"
            raise TimeoutError("timed out after 5 s")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_what_is_done_just_when_the_wait_ends_is_not_taken_for_a_failure(cluster: Any) -> None:
    """Regression: the end of the wait was reported as the worker's failure."""
    with distributed.Client(cluster) as client:
        engine = module._Dask(client, "tcp://here")
        assert module._Watched(Future(3), engine).result() == 3
        with pytest.raises(TimeoutError, match="the task's own"):
            module._Watched(Future(TimeoutError("the task's own")), engine).result()


def _slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_scheduler_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty,
        pytest.raises(LsamplerError, match="has no workers; start some with 'dask worker"),
        on_cluster(empty.scheduler_address),
    ):
        pass


def test_a_local_cluster_has_as_many_workers_as_it_says() -> None:
    """Dask's default is one for every core."""
    with on_cluster("local:1"):
        threads = current_engine()._client.nthreads()  # type: ignore[attr-defined]
    assert list(threads.values()) == [1]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    cli: Callable[..., Answer], tmp_path: Path, sampler: LatentSampler
) -> None:
    """Regression: the workers heard it too, and each wrote its traceback."""
    out = tmp_path / "a.shards"
    sample_store(sampler, 40 * 2048, tmp_path / "whole.shards", options=DrawOptions(shard_rows=2048))
    command = ("store", "shard", tmp_path / "whole.shards", out, "--rows", "2048")
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


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with latents of digits, and 50 samples in shards."""
    folder = tmp_path_factory.mktemp("scored")
    store = write_digits(folder / "digits")
    gaussian = load_sampler("gaussian").fit(store)
    sample_store(gaussian, 50, folder / "few.shards")
    return folder


def test_workers_score_as_this_process_does(
    cli: Callable[..., Answer], cluster: Any, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scored)  # where the workers are not
    scores = [word for name in ("core-membership", "fidelity-diversity", "log-likelihood") for word in ("-e", name)]
    drawn = ("-p", "pca-ellipse", "-p", "multivariate-normal", "-n", 100, "--seed", 3)
    common = ("evaluate", "few.shards", *drawn, *scores, "-e", "cycle-consistency", "--store", "digits/latents.h5")
    here = cli(*common, "--json", tmp_path / "here.json")
    there = cli(*common, "--json", tmp_path / "there.json", "--cluster", cluster.scheduler_address)
    assert (here.code, there.code) == (0, 0)
    assert there.out == here.out
    assert "pca-ellipse: log-likelihood: gives" in there.out
    assert (tmp_path / "there.json").read_text() == (tmp_path / "here.json").read_text()
    rows = json.loads((tmp_path / "there.json").read_text())["rows"]
    names = ["held-out real vectors", "other real vectors", "few.shards", "pca-ellipse", "multivariate-normal"]
    assert [row["name"] for row in rows] == names
    assert {score["metric"] for score in rows[-1]["scores"]} > {"recall", "log-likelihood-gain", "interval/nominal"}


@pytest.mark.parametrize("strategy", ["gaussian", None])
def test_sets_left_out_on_workers_are_those_left_out_here(cluster: Any, scored: Path, strategy: str | None) -> None:
    workspace = open_workspace(None, scored / "digits" / "latents.h5")
    fails = Drawn.of(load_sampler("neighbour-interpolation", k=1500), 400, required=False)
    sets = [Stored(str(scored / "few.shards")), fails]
    if strategy:
        sets.append(Drawn.of(load_sampler(strategy), 100))
    evaluators = [load_evaluator("fidelity-diversity")]
    here, left_out = score_sets(sets, workspace, evaluators, seed=1)
    with on_cluster(cluster.scheduler_address):
        assert score_sets(sets, workspace, evaluators, seed=1) == (here, left_out)
        with pytest.raises(LsamplerError) as raised:
            score_sets([fails], workspace, evaluators)
    assert [str(raised.value)] == left_out
    # The other real vectors are as many as the largest set that could be had.
    assert [row.n for row in here.rows[1:]] == ([100, 50, 100] if strategy else [50, 50])


def test_evaluators_that_fail_on_workers_are_those_that_fail_here(cluster: Any) -> None:
    workspace, sets = open_workspace("digits", None), [Drawn.of(load_sampler("gaussian"), 20)]
    novelty, cores = load_evaluator("novelty"), load_evaluator("core-membership")
    here = score_sets(sets, workspace, [novelty, cores])
    assert "no scores of novelty: needs real vectors" in here[0].caveats[0]
    with on_cluster(cluster.scheduler_address):
        assert score_sets(sets, workspace, [novelty, cores]) == here
        with pytest.raises(LsamplerError, match=r"^no scores of novelty: needs real vectors; digits holds"):
            score_sets(sets, workspace, [novelty])


def test_workers_score_a_store_that_was_written_anew(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, rng = "latents.h5", np.random.default_rng(0)
    sets = [Drawn.of(load_sampler("gaussian"), 30)]
    evaluators = [load_evaluator("fidelity-diversity"), load_evaluator("core-membership")]
    for scale in (1, 2):
        write_store(path, 3, [scale * rng.normal(size=(200, 3)).astype(np.float32)], {}, force=True)
        workspace = open_workspace(None, path)
        here = score_sets(sets, workspace, evaluators)
        assert "core 'interval' not calibrated: latents.h5 lacks the held-out vectors for it" in here[0].caveats
        with on_cluster(cluster.scheduler_address):
            assert score_sets(sets, workspace, evaluators) == here


def test_a_worker_scores_one_set_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run = scoring._Run(Opened("digits"), "digits", (("core-membership", "{}"),), 0, 20, "token")
    alone = []

    def made(*_: object) -> str:
        alone.append(scoring._alone.locked())
        return "left out"

    monkeypatch.setattr(scoring, "_made", made)
    scoring._scored(scoring._Task(run, Drawn.of(load_sampler("gaussian"), 20)))
    assert alone == [True]


@pytest.mark.parametrize(
    ("opened", "evaluator", "drawn", "message"),
    [
        (Opened(None, "/nowhere/z.h5"), "core-membership", Drawn("gaussian", "{}", 5), "/nowhere/z.h5: no such"),
        (Opened("digits"), "of-tomorrow", Drawn("gaussian", "{}", 5), "no evaluator 'of-tomorrow'"),
        (Opened("digits"), "core-membership", Drawn("of-mars", "{}", 5, required=False), "no sampler 'of-mars'"),
    ],
)
def test_what_a_worker_lacks_is_named(opened: Opened, evaluator: str, drawn: Drawn, message: str) -> None:
    run = scoring._Run(opened, "digits", ((evaluator, "{}"),), 0, 20, message)
    with pytest.raises(LsamplerError, match=f"^a worker lacks what is here, a file or a plugin: {message}"):
        scoring._scored(scoring._Task(run, drawn))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cluster", "tcp://127.0.0.1:9"), "--cluster tcp://127.0.0.1:9: no Dask scheduler answers there"),
        (("--cluster", "local:x"), "--cluster local:x: say how many workers"),
        (("--cluster", "local:2", "--store", "nowhere.h5"), "nowhere.h5: no such latent store"),
        (("--cluster", "local:2", "-p", "gausian"), "no sampler 'gausian'; did you mean 'gaussian'?"),
    ],
)
def test_scoring_that_cannot_start_is_one_line(
    cli: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    model = () if "--store" in options else ("--model", "digits")
    answer = cli("evaluate", "-p", "gaussian", *model, "--json", tmp_path / "scores.json", *options)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_help_of_evaluate_names_the_cluster(cli: Callable[..., Answer]) -> None:
    assert "--cluster" in cli("evaluate", "--help").out
