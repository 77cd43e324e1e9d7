"""Where a long pass over data is worked off: on this machine's cores, or on a cluster.

A pass is a list of tasks, each the same whoever does it, whose results are taken in order. So what
comes out does not depend on the number of threads or workers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

from lsampler.compute.ahead import ahead

__all__ = ["Engine", "Threads", "current_engine", "one_blas_thread", "working_on"]

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 2


class Engine(Protocol):
    """Does tasks."""

    remote: bool
    """Whether tasks leave this process: then they must name files in place of holding data."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """``function`` of every task, in order, some of them at once."""
        ...


class Threads:
    """The threads of this process.

    Args:
        count: how many tasks at once; by default one per core.
    """

    remote = False

    def __init__(self, count: int | None = None) -> None:
        self._count = count or os.cpu_count() or 1

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See :meth:`Engine.map`."""
        count = min(self._count, len(tasks))
        with one_blas_thread():
            if count <= 1:
                yield from map(function, tasks)
                return
            with ThreadPoolExecutor(count) as pool:
                yield from ahead(lambda task: pool.submit(function, task), tasks, AHEAD * count)


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)


def current_engine() -> Engine:
    """The engine that :func:`working_on` has put in charge; this machine's threads otherwise."""
    return _current.get() or Threads()


@contextlib.contextmanager
def working_on(engine: Engine) -> Iterator[None]:
    """Passes over data go to ``engine`` while the context lasts."""
    token = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(token)


def one_blas_thread() -> Any:
    """The last digits of products and eigenvectors depend on the number of threads; results shall not."""
    return _libraries(len(sys.modules)).limit(limits=1, user_api="blas")


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    # Looking for them takes 5 ms; new ones come with new modules.
    return ThreadpoolController()
