"""Kernels whose results do not depend on the number of threads, without changing that number for anybody else."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController


def one_kernel_thread() -> Callable[[], object]:
    """Run the kernels of the calling thread on one thread from now on; returns the function that ends this."""
    import torch

    torch.get_num_threads()  # A thread's first call copies the setting of the process.
    limits = contextlib.ExitStack()
    limits.enter_context(_openmp(len(sys.modules)).limit(limits=1))
    limits.callback(_limit_mkl(), _limit_mkl()(1))
    return limits.close


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the kernels of the calling thread on one thread while the context lasts; no other thread sees a change.

    Kernels that use several threads round differently, and the iterations of a fit multiply such differences. OpenMP,
    which torch uses, keeps the number of threads for each thread, and so does MKL, torch's matrix library on x86.
    NumPy's BLAS keeps one number for the whole process: compute products and decompositions that must not depend on
    it by torch.
    """
    end = one_kernel_thread()
    try:
        yield
    finally:
        end()


@functools.lru_cache(maxsize=1)
def _openmp(modules: int) -> ThreadpoolController:
    # The search takes 5 ms. New libraries come with new modules.
    return ThreadpoolController().select(user_api="openmp")


@functools.cache
def _limit_mkl() -> Callable[[int], int]:
    """MKL's setting for the calling thread alone, which takes precedence over MKL_NUM_THREADS; nothing without MKL.

    The function returns the thread's former setting, 0 if it had none.
    """
    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        limit: Callable[[int], int] = ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda threads: 0
    return limit


def single_precision_is_full() -> bool:
    """Whether torch's float32 products on the CPU are in full single precision, as they are by default."""
    import torch

    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch refuses to answer when the precision was set by its newer interface
        return False


def product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """The matrix product of two arrays of one type, by torch: within :func:`one_thread`, on one thread."""
    import torch

    found: NDArray[Any] = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return found
