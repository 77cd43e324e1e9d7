"""Fits that do not depend on the number of threads: numerical libraries use one while they run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]

_lock = threading.Lock()
_users = 0
_limits: Any = None
_torch_threads = 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS, OpenMP and torch use one thread while the context lasts.

    Products that are split over threads round differently, and an iterative fit multiplies the difference. Contexts
    may overlap in several threads: the first one sets the limits, the last one restores what was there before.
    """
    global _users, _limits, _torch_threads
    with _lock:
        if _users == 0:
            _torch_threads, _limits = torch.get_num_threads(), threadpool_limits(1)
        _users += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            torch.set_num_threads(_torch_threads)  # of this thread
            if _users == 0:
                _limits.restore_original_limits()
