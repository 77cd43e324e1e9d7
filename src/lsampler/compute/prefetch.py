"""Results in order while later ones are computed, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")


def ahead(submit: Callable[[Item], Any], items: Iterable[Item], window: int) -> Iterator[Any]:
    """Yield the results of ``items`` in order; at most ``window`` of them run or wait to be taken.

    ``submit`` returns the future of an item, of a thread pool or of a Dask client. Unlike ``ThreadPoolExecutor.map``
    and joblib's generators, it does not run on while the consumer is slower.
    """
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
    """Yield the same items, each after the next one has been made."""
    iterator = iter(items)
    for waiting in iterator:
        for item in iterator:
            yield waiting
            waiting = item
        yield waiting
