"""Passes over data on a Dask cluster (extra ``cluster``).

Workers read and write the same files under the same names as this process: they share a file
system. Dask gives the tasks of a worker that dies to others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lsampler._version import __version__
from lsampler.compute.engine import working_on
from lsampler.compute.interrupts import interrupts_ignored
from lsampler.compute.one_thread import one_kernel_thread
from lsampler.compute.prefetch import ahead
from lsampler.errors import LsamplerError

Task = TypeVar("Task")
Result = TypeVar("Result")
CONNECT_SECONDS = 10
TASKS_PER_WORKER = 4
CHECK_SECONDS = 5
PATIENCE_SECONDS = 60
"""How long a cluster may be without workers: a machine may be restarting."""
LOGGERS = "distributed."
LOST = "lost the connection to the cluster; restart it and rerun the same command to resume"
PAGES = "distributed.scheduler.http.routes", "distributed.worker.http.routes"
ADDRESS = r"inproc://.+|(tcp|tls|ucx)://.+:\d+"


@contextlib.contextmanager
def on_cluster(cluster: str | None) -> Iterator[None]:
    """Run statistics, sampling, scoring and encoding inside this context on a Dask cluster.

    Numbers and rows are the same as without, whatever the number of workers.

    Args:
        cluster: ``local:4`` starts four worker processes on this machine for as long as the context
            lasts; ``tcp://host:8786`` is a scheduler that is running. None: no cluster.

    Raises:
        LsamplerError: the extra is missing, the cluster cannot be reached or has no workers, or a
            worker has another version of lsampler.
    """
    if cluster is None:
        yield
        return
    try:
        import distributed
    except ImportError as error:
        raise _problem(cluster, "needs dask.distributed; install it with pip install 'lsampler[cluster]'") from error
    with contextlib.ExitStack() as stack:
        for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith(LOGGERS))):
            stack.enter_context(_quiet(logging.getLogger(name)))
        engine = _Dask(stack.enter_context(_client(distributed, cluster)), cluster)
        engine.check_workers()
        stack.enter_context(working_on(engine))
        yield


def local_cluster(workers: int) -> Any:
    """Worker processes with one thread each on this machine, as a context manager.

    They talk by TLS with certificates of their own, which last as long as they do: whoever can connect to a scheduler
    or a worker can run code as its user. Nothing listens but on the loopback interface, and there is no dashboard.
    """
    import dask
    import distributed

    # By default Dask's workers return freed memory at once, so that every chunk of rows would need new pages.
    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ", {}))
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    settings: dict[str, Any] = {"distributed.nanny.pre-spawn-environ": environment} | {key: [] for key in PAGES}
    options = {"security": True, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with dask.config.set(settings):
        cluster: Any = distributed.LocalCluster
        return cluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", **options)


@contextlib.contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    kind, _, count = address.partition(":")
    if kind == "local":
        if not (count.isdecimal() and int(count)):
            raise _problem(address, "say how many workers, such as local:4")
        with _closed(_started(int(count), address)) as cluster, _closed(distributed.Client(cluster)) as client:
            yield client
        return
    if not re.fullmatch(ADDRESS, address):
        raise _problem(address, "give local:WORKERS or a scheduler's address such as tcp://host:8786")
    try:
        with ThreadPoolExecutor(1) as pool:  # This thread may run an event loop, as in a notebook.
            pool.submit(asyncio.run, _ask(distributed, address)).result()
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # whatever a service that is no scheduler makes of the question
        fix = "start one with 'dask scheduler', or use local:4"
        if address.startswith("tls://"):
            fix = "start one with certificates, and name them under distributed.comm.tls in Dask's configuration"
        raise _problem(address, f"no Dask scheduler answers there ({_line(error)}); {fix}") from error
    with _closed(client):
        yield client


async def _ask(distributed: Any, address: str) -> None:
    """Raise unless there is a scheduler; a Dask client would hang on any other address."""
    async with distributed.rpc(address) as scheduler:
        await asyncio.wait_for(scheduler.identity(), CONNECT_SECONDS)


def _started(workers: int, address: str) -> Any:
    try:
        with interrupts_ignored():  # The workers inherit it: Ctrl-C is for this process, which then ends them.
            return local_cluster(workers)
    except RuntimeError as error:
        fix = "in a script, put what uses them under if __name__ == '__main__'"
        raise _problem(address, f"the workers did not start; {fix}") from error
    except ImportError as error:  # of cryptography, which makes the certificates
        raise _problem(address, "needs cryptography; install it with pip install 'lsampler[cluster]'") from error


@contextlib.contextmanager
def _closed(thing: Any) -> Iterator[Any]:
    try:
        yield thing
    finally:
        with interrupts_ignored():
            thing.close()


class _Dask:
    """A cluster as an engine."""

    remote = True

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._last_seen = time.monotonic()

    def check_workers(self) -> None:
        """Raise unless there are workers, all with this version of lsampler."""
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            found = self._client.run(_version_here)
        except TimeoutError as error:
            fix = f"start some with 'dask worker {self._address}'"
            raise _problem(self._address, f"has no workers; {fix}") from error
        except Exception as error:  # whatever a worker without lsampler raises when it unpacks the question
            fix = f"install {__version__} there"
            raise _problem(self._address, f"a worker lacks lsampler ({_line(error)}); {fix}") from error
        for worker, version in found.items():
            if version != __version__:
                message = f"worker {worker} has lsampler {version}, here it is {__version__}; install the same"
                raise _problem(self._address, message)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function`` of every task in order, while at most four tasks per worker run or wait to be taken."""
        workers = len(self._workers())
        self._last_seen = time.monotonic()

        def submit(task: Task) -> _Watched:
            return _Watched(self._client.submit(_work, __version__, function, task, pure=False), self)

        try:
            yield from ahead(submit, tasks, TASKS_PER_WORKER * max(workers, 1))
        except LsamplerError:
            raise
        except Exception as error:
            kind = type(error).__name__
            if kind == "KilledWorker":
                message = "one task ended several workers; they may lack memory"
            elif kind in ("CancelledError", "FutureCancelledError", "CommClosedError"):
                message = LOST
            else:
                message = f"a worker failed with {_line(error)}"
            raise _problem(self._address, message) from error

    def check_alive(self) -> None:
        """Raise if there have been no workers for too long."""
        now = time.monotonic()
        if self._workers():
            self._last_seen = now
        elif now - self._last_seen > PATIENCE_SECONDS:
            fix = "start some, and rerun the same command to resume"
            raise _problem(self._address, f"has had no workers for {PATIENCE_SECONDS} s; {fix}")

    def _workers(self) -> Any:
        try:
            found = self._client.scheduler_info(n_workers=-1) if self._client.status == "running" else {}
            return found["workers"]  # which are missing once the scheduler is gone
        except (KeyError, OSError, TimeoutError) as error:
            raise _problem(self._address, LOST) from error


class _Watched:
    """A future that does not wait for workers that never come back."""

    def __init__(self, future: Any, engine: _Dask) -> None:
        self._future, self._engine = future, engine

    def result(self) -> Any:
        while True:
            try:
                return self._future.result(timeout=PATIENCE_SECONDS if self._future.done() else CHECK_SECONDS)
            except TimeoutError:
                if self._future.status == "error":  # the task's own error, perhaps a TimeoutError as well
                    return self._future.result()
            self._engine.check_alive()

    def cancel(self) -> None:
        self._future.cancel()


def _work(version: str, function: Callable[[Any], Any], task: Any) -> Any:
    """Run a task on a worker. One that joined later may have another version."""
    if version != __version__:
        raise LsamplerError(f"a worker has lsampler {__version__}, the others {version}; install the same")
    one_kernel_thread()
    with working_on(_Worker()):
        return function(task)


class _Worker:
    """The engine within a task: no cluster, and one thread."""

    remote = True

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        return map(function, tasks)


def _version_here() -> str:
    from lsampler._version import __version__ as version

    return version


def _problem(address: str, message: str) -> LsamplerError:
    return LsamplerError(f"`cluster={address}`: {message}")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Dask's messages about workers are not for the user: it replaces them by itself."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
