"""The connection to a Dask cluster: whatever is no cluster, or stops being one, is one line."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Answer

from lsampler import LsamplerError
from lsampler.compute import dask_cluster as module
from lsampler.compute import on_cluster
from lsampler.compute.engine import current_engine

distributed = pytest.importorskip("distributed")


def local(workers: int) -> Any:
    return distributed.LocalCluster(n_workers=workers, dashboard_address=":0", silence_logs=50)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("CONNECT_SECONDS", 1), ("CHECK_SECONDS", 0.1), ("PATIENCE_SECONDS", 0.5)):
        monkeypatch.setattr(module, name, seconds)


def test_a_worker_of_another_version_is_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.__version__
    monkeypatch.setattr(module, "__version__", "0.0.1")
    message = rf"worker tcp://\S+ has lsampler {real}, here it is 0\.0\.1"
    with pytest.raises(LsamplerError, match=message), on_cluster(cluster.scheduler_address):
        pass


NO_SCHEDULER, ODD_ADDRESS = "no Dask scheduler answers there", "give local:WORKERS or a scheduler's address"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("local:", "say how many workers, such as local:4"),
        ("local:0", "say how many workers, such as local:4"),
        ("host:8786", ODD_ADDRESS),
        ("tcp://127.0.0.1", ODD_ADDRESS),
        ("tcp://127.0.0.1:9", NO_SCHEDULER),
        ("tls://nonsense:8786", NO_SCHEDULER),
    ],
)
@pytest.mark.parametrize("command", ["sample", "evaluate", "compare"])
def test_an_address_that_is_no_cluster_is_one_line(
    cli: Callable[..., Answer], tmp_path: Path, command: str, address: str, message: str
) -> None:
    out = ("--json" if command == "evaluate" else "--out", tmp_path / "out.shards")
    answer = cli(command, "-p", "gaussian", "--model", "digits", *out, "--cluster", address)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert re.search(f"--cluster {address}: {message}", answer.err)
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_no_scheduler_is_one_line() -> None:
    """Regression: Dask waited for its answer for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LsamplerError, match=NO_SCHEDULER), on_cluster(address):
            pass


def test_a_cluster_that_has_lost_all_its_workers_is_not_waited_for() -> None:
    with local(1) as started, on_cluster(started.scheduler_address):
        tasks = iter(current_engine().map(_slow, [0.0, 60.0]))
        assert next(tasks) == 0.0
        started.scale(0)
        with pytest.raises(LsamplerError, match=r"has had no workers for 0\.5 s; start some"):
            next(tasks)


def _slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


class Future:
    """One of Dask's, done when the wait for it ends."""

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


def test_a_scheduler_without_workers_is_one_line() -> None:
    message = "has no workers; start some with 'dask worker"
    with local(0) as empty, pytest.raises(LsamplerError, match=message), on_cluster(empty.scheduler_address):
        pass


def test_a_local_cluster_has_as_many_workers_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's default is one for every core, and a dashboard on all interfaces.

    Whoever can connect to a scheduler can run code as its user: without the certificate nobody can.
    """
    monkeypatch.undo()  # its worker may take a while to start
    with on_cluster("local:1"):
        client: Any = current_engine()._client  # type: ignore[attr-defined]
        assert list(client.nthreads().values()) == [1]
        address, pages = client.scheduler.address, client.cluster.scheduler.http_server
        assert address.startswith("tls://127.0.0.1:")
        assert {held.getsockname()[0] for held in pages._sockets.values()} == {"127.0.0.1"}
        certificates = distributed.Security.temporary()
        for security in (None, certificates):
            other = address if security else address.replace("tls", "tcp")
            with pytest.raises(OSError, match=r"reset|closed|does not match"):
                distributed.Client(other, security=security, timeout=1)


def test_a_local_cluster_without_the_package_for_certificates_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(LsamplerError, match=r"needs cryptography; .*lsampler\[cluster\]"), on_cluster("local:1"):
        pass


@pytest.mark.parametrize("begun", [True, False])
def test_a_scheduler_that_is_gone_is_one_line(begun: bool) -> None:
    """Regression: between two passes it was a KeyError."""
    with local(1) as started, on_cluster(started.scheduler_address):
        tasks = iter(current_engine().map(_slow, [0.0, 60.0] if begun else [0.0]))
        assert next(tasks) == 0.0
        started.close()
        with pytest.raises(LsamplerError, match="lost the connection to the cluster; restart it and rerun"):
            list(tasks if begun else current_engine().map(_slow, [0.0]))
