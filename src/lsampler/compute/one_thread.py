"""Kernels whose results do not depend on the number of threads, without changing that number for anybody else."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController


def one_kernel_thread() -> Any:
    """Run the kernels of the calling thread on one thread from now on. Call it at the start of a new thread.

    Kernels that use several threads round differently. OpenMP, which torch uses, keeps the number of threads for each
    thread, so that no other thread sees a change. NumPy's BLAS keeps one number for the whole process: what
    must not depend on it is computed by torch. A number set by ``torch.set_num_threads`` still applies to the
    matrix library within torch; its products do not depend on it, the last digits of its decompositions may.
    """
    import torch

    torch.get_num_threads()  # A thread's first call copies the setting of the process.
    return _openmp(len(sys.modules)).limit(limits=1)


@functools.lru_cache(maxsize=1)
def _openmp(modules: int) -> ThreadpoolController:
    # The search takes 5 ms. New libraries come with new modules.
    return ThreadpoolController().select(user_api="openmp")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the kernels of the calling thread on one thread while the context lasts.

    Results of torch, and of other libraries that use OpenMP, are then the same on any number of threads, which a fit
    that iterates needs: its iterations multiply differences in rounding. No other thread sees a change. Products and
    decompositions of NumPy and SciPy depend on the number of threads that the process gives to BLAS, also in here:
    compute them by torch.
    """
    with one_kernel_thread():
        yield


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
