"""Work done ahead of its use, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, TypeVar

__all__ = ["ahead", "one_behind"]

Item = TypeVar("Item")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """What both thread pools and Dask clients hand out."""

    def result(self) -> Result_co:
        """Wait for it."""
        ...

    def cancel(self) -> Any:
        """Not wanted any more."""
        ...


def ahead(submit: Callable[[Item], Pending[Result_co]], items: Iterable[Item], window: int) -> Iterator[Result_co]:
    """The results of ``items``, in order; up to ``window`` of them are under way or waiting to be taken."""
    coming = iter(items)
    waiting = deque(submit(item) for item in islice(coming, window))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(submit(item) for item in islice(coming, 1))
            yield result
    finally:
        for pending in waiting:
            pending.cancel()


def one_behind(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each when the next one has been made."""
    iterator = iter(items)
    for waiting in iterator:
        for item in iterator:
            yield waiting
            waiting = item
        yield waiting
