"""Memory that a thread uses again and again.

What is freed goes back to the system when there is much of it, and new pages take as long as reading into them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["scratch"]

MOST = 2
"""So many are kept for each thread: what is read, and what is made of it."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.free: list[NDArray[np.uint8]] = []


_kept = _Kept()


@contextlib.contextmanager
def scratch(size: int) -> Iterator[NDArray[np.uint8]]:
    """So many bytes, with anything in them, that are this thread's until the context ends."""
    found = next((place for place, memory in enumerate(_kept.free) if len(memory) == size), None)
    memory = np.empty(size, np.uint8) if found is None else _kept.free.pop(found)
    try:
        yield memory
    finally:
        _kept.free = [memory, *_kept.free][:MOST]
