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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lsampler._version import __version__
from lsampler.compute.ahead import ahead
from lsampler.compute.engine import one_blas_thread, working_on
from lsampler.compute.interrupts import interrupts_ignored
from lsampler.errors import LsamplerError

__all__ = ["local_cluster", "on_cluster"]

Task = TypeVar("Task")
Result = TypeVar("Result")
CONNECT_SECONDS = 10
AHEAD = 4
CHECK_SECONDS = 5
PATIENCE_SECONDS = 60
"""So long a cluster may be without workers: a machine may be starting again."""
DASKS = "distributed."
ADDRESS = r"inproc://.+|(tcp|tls|ucx)://.+:\d+"


@contextlib.contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Statistics, sampling, scoring and encoding inside this context run on a Dask cluster.

    Numbers and rows are the same as without, whatever the number of workers.

    Args:
        address: ``local:4`` starts four worker processes on this machine for as long as the context
            lasts; ``tcp://host:8786`` is a scheduler that is running. None: no cluster.

    Raises:
        LsamplerError: the extra is missing, the cluster cannot be reached or has no workers, or a
            worker has another version of lsampler.
    """
    if address is None:
        yield
        return
    try:
        import distributed
    except ImportError as error:
        raise LsamplerError(
            f"--cluster {address}: needs dask.distributed; install it with pip install 'lsampler[cluster]'"
        ) from error
    with contextlib.ExitStack() as stack:
        for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith(DASKS))):
            stack.enter_context(_quiet(logging.getLogger(name)))
        client = stack.enter_context(_client(distributed, address))
        engine = _Dask(client, address)
        engine.check_workers()
        stack.enter_context(working_on(engine))
        yield


@contextlib.contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    kind, _, count = address.partition(":")
    if kind == "local":
        if not (count.isdecimal() and int(count)):
            raise LsamplerError(f"--cluster {address}: say how many workers, such as local:4")
        with _closed(_started(int(count), address)) as cluster, _closed(distributed.Client(cluster)) as client:
            yield client
        return
    if not re.fullmatch(ADDRESS, address):
        raise LsamplerError(f"--cluster {address}: give local:WORKERS or a scheduler's address such as tcp://host:8786")
    try:
        with ThreadPoolExecutor(1) as pool:  # this thread may be at work in an event loop, as in a notebook
            pool.submit(asyncio.run, _answers(distributed, address)).result()
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # whatever a service that is no scheduler makes of the question
        mend = "start one with 'dask scheduler', or use local:4"
        if address.startswith("tls://"):
            mend = "start one with certificates, and name them under distributed.comm.tls in Dask's configuration"
        raise LsamplerError(f"--cluster {address}: no Dask scheduler answers there ({_line(error)}); {mend}") from error
    with _closed(client):
        yield client


async def _answers(distributed: Any, address: str) -> None:
    """Raise unless there is a scheduler; a client would wait for ever for what is none."""
    async with distributed.rpc(address) as scheduler:
        await asyncio.wait_for(scheduler.identity(), CONNECT_SECONDS)


def _started(workers: int, address: str) -> Any:
    try:
        # What the workers inherit: Ctrl-C is for this process, which then ends them.
        with interrupts_ignored():
            return local_cluster(workers)
    except RuntimeError as error:
        raise LsamplerError(
            f"--cluster {address}: the workers did not start; in a script, "
            "put what uses them under if __name__ == '__main__'"
        ) from error


@contextlib.contextmanager
def _closed(thing: Any) -> Iterator[Any]:
    try:
        yield thing
    finally:
        with interrupts_ignored():
            thing.close()


def local_cluster(workers: int) -> Any:
    """So many worker processes with one thread each on this machine, a context manager."""
    import dask
    import distributed

    # Dask has workers give freed memory back at once: blocks would be made of new pages each time.
    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ", {}))
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        cluster: Any = distributed.LocalCluster
        return cluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL)


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
            raise LsamplerError(
                f"--cluster {self._address}: has no workers; start some with 'dask worker {self._address}'"
            ) from error
        except Exception as error:  # whatever a worker without lsampler raises when it unpacks the question
            raise LsamplerError(
                f"--cluster {self._address}: a worker lacks lsampler ({_line(error)}); install {__version__} there"
            ) from error
        for worker, version in found.items():
            if version != __version__:
                raise LsamplerError(
                    f"--cluster {self._address}: worker {worker} has lsampler {version}, here it is {__version__}; "
                    "install the same"
                )

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See :meth:`Engine.map`."""
        workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        self._last_seen = time.monotonic()

        def submit(task: Task) -> _Watched:
            return _Watched(self._client.submit(_work, __version__, function, task, pure=False), self)

        try:
            yield from ahead(submit, tasks, AHEAD * max(workers, 1))
        except LsamplerError:
            raise
        except Exception as error:
            kind = type(error).__name__
            if kind == "KilledWorker":
                message = "one task has cost several workers their lives; they may lack memory"
            elif kind in ("CancelledError", "FutureCancelledError", "CommClosedError"):
                message = "the cluster went away; start it and run the same command again"
            else:
                message = f"a worker failed with {_line(error)}"
            raise LsamplerError(f"--cluster {self._address}: {message}") from error

    def check_alive(self) -> None:
        """Raise if all workers have been gone for long."""
        now = time.monotonic()
        if self._client.scheduler_info(n_workers=-1)["workers"]:
            self._last_seen = now
        elif now - self._last_seen > PATIENCE_SECONDS:
            raise LsamplerError(
                f"--cluster {self._address}: has had no workers for {PATIENCE_SECONDS} s; "
                "start some, and run the same command again"
            )


class _Watched:
    """A future that does not wait for workers that never come back."""

    def __init__(self, future: Any, engine: _Dask) -> None:
        self._future, self._engine = future, engine

    def result(self) -> Any:
        """Wait for it."""
        while True:
            seconds = PATIENCE_SECONDS if self._future.done() else CHECK_SECONDS
            with contextlib.suppress(TimeoutError):
                return self._future.result(timeout=seconds)
            if self._future.status == "error":  # the task's own, perhaps a TimeoutError as well
                return self._future.result()
            self._engine.check_alive()

    def cancel(self) -> None:
        """Not wanted any more."""
        self._future.cancel()


def _work(version: str, function: Callable[[Any], Any], task: Any) -> Any:
    """On a worker. One that came later may have another version."""
    import torch

    if version != __version__:
        raise LsamplerError(f"a worker has lsampler {__version__}, the others {version}; install the same")
    torch.set_num_threads(1)
    one_blas_thread()  # for good: of several threads in a worker, the first to end would set the others free
    with working_on(_Worker()):
        return function(task)


class _Worker:
    """Within a task there is no cluster, and one thread."""

    remote = True

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """One after the other."""
        return map(function, tasks)


def _version_here() -> str:
    from lsampler import __version__ as version

    return version


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """What becomes of a worker is for Dask to mend, not for the user to read."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
