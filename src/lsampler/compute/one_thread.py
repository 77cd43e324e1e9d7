"""Kernels whose results do not depend on the number of threads, without changing that number for anybody else."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_limits

__all__ = ["on_one_thread", "one_kernel_thread", "one_thread", "product", "single_precision_is_full"]

Result = TypeVar("Result")


def one_kernel_thread() -> None:
    """Run the kernels of the calling thread on one thread from now on. Call it at the start of a new thread.

    Kernels that use several threads round differently. OpenMP, which torch uses, keeps the number of threads for each
    thread, and so does MKL, torch's matrix library on x86, so that no other thread sees a change. NumPy's BLAS keeps
    one number for the whole process: what must not depend on it is computed by torch.
    """
    import torch

    torch.get_num_threads()  # A thread's first call copies the setting of the process.
    _openmp(len(sys.modules)).limit(limits=1)
    _limit_mkl()(1)


@functools.lru_cache(maxsize=1)
def _openmp(modules: int) -> ThreadpoolController:
    # The search takes 5 ms. New libraries come with new modules.
    return ThreadpoolController().select(user_api="openmp")


@functools.cache
def _limit_mkl() -> Callable[[int], Any]:
    """MKL's setting for the calling thread alone, which goes before MKL_NUM_THREADS; nothing without MKL."""
    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        limit: Callable[[int], Any] = ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda threads: None
    return limit


def on_one_thread(function: Callable[[], Result]) -> Result:
    """The result of ``function``, called in a thread of its own after :func:`one_kernel_thread`."""
    with ThreadPoolExecutor(1, initializer=one_kernel_thread) as pool:
        return pool.submit(function).result()


_lock = threading.Lock()
_users = 0
_blas: Any = None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run fits by other libraries on one thread while the context lasts: iterations multiply differences in rounding.

    For OpenMP, and so for torch, the limit holds in the calling thread. NumPy's BLAS has one limit for the whole
    process, so use this for such fits alone. Contexts may overlap in several threads: the last one restores the limit.
    """
    global _users, _blas
    import torch

    torch.get_num_threads()
    with _openmp(len(sys.modules)).limit(limits=1):
        with _lock:
            _users += 1
            _blas = _blas or threadpool_limits(1, user_api="blas")
        try:
            yield
        finally:
            with _lock:
                _users -= 1
                if not _users:
                    _blas.restore_original_limits()
                    _blas = None


def single_precision_is_full() -> bool:
    """Whether torch's float32 products on the CPU are in full single precision, as they are by default."""
    import torch

    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch refuses to answer when the precision was set by its newer interface
        return False


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """The matrix product of two arrays of one type, by torch: within :func:`one_kernel_thread`, on one thread."""
    import torch

    found: NDArray[Any] = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return found
