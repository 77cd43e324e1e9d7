"""Where the tasks of a long pass over data run: on threads of this process, or on a cluster.

Tasks are the same wherever they run and their results come in order, so that the outcome does not depend on
the number of threads or workers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Protocol, TypeVar

from lsampler.compute.one_thread import one_kernel_thread
from lsampler.compute.prefetch import ahead

Task = TypeVar("Task")
Result = TypeVar("Result")
TASKS_PER_THREAD, MOST_THREADS = 2, 256


class Engine(Protocol):
    """Runs tasks."""

    remote: bool
    """Whether tasks run in other processes: they must then name files instead of holding data."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function`` of every task in order, while others run."""
        ...


class Threads:
    """Threads of this process, each of which runs its kernels on one thread.

    Args:
        count: how many tasks run at once, at most 256; by default one per core.
    """

    remote = False

    def __init__(self, count: int | None = None) -> None:
        self._count = min(count or os.cpu_count() or 1, MOST_THREADS)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield ``function`` of every task in order, while at most two tasks per thread run or wait to be taken."""
        with ThreadPoolExecutor(self._count, initializer=one_kernel_thread) as pool:
            yield from ahead(lambda task: pool.submit(function, task), tasks, TASKS_PER_THREAD * self._count)


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)


def current_engine() -> Engine:
    """The engine that :func:`working_on` has chosen; by default threads of this process."""
    return _current.get() or Threads()


@contextlib.contextmanager
def working_on(engine: Engine) -> Iterator[None]:
    """Run passes over data on ``engine`` while the context lasts."""
    token = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(token)
