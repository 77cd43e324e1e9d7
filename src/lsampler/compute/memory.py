"""Whether what is asked for fits into memory, before it is allocated."""

from __future__ import annotations

import os

from lsampler.errors import LsamplerError

BUDGET = 2 << 30
"""Bytes that a computation may take whatever the size of its data."""
MOST_MINUTES = 30
SECONDS_OF_EIGEN, OPERATIONS = 1.7e-10, 7e10
"""An eigendecomposition of order m takes so many m^3 seconds, products so many operations a second: on one core."""


def require_memory(needed: float, what: str, fix: str, *, data: int = 0) -> None:
    """Raise LsamplerError if a computation needs more than 2 GiB, and more than four times the size of its data.

    Args:
        needed: about how many bytes it needs at once.
        what: what needs them, the beginning of the message: the argument in backticks.
        fix: how to need less.
        data: bytes of the data that it works on, which are in memory already.
    """
    if needed > max(BUDGET, 4 * data):
        raise LsamplerError(f"{what} needs about {needed / 1e9:,.1f} GB of memory; {fix}")


def require_matrix(side: int, held: int, what: str, fix: str) -> None:
    """Raise LsamplerError if a covariance and its eigenvectors need half of this machine's memory, or half an hour.

    Args:
        side: the order of the matrix that is decomposed.
        held: how many numbers of the vectors it is made of are held in memory.
        what: what needs them, the beginning of the message.
        fix: what to do instead.
    """
    needed = 8.0 * (5 * side * side + 2 * held)
    minutes = (2 * SECONDS_OF_EIGEN * side**3 + 4 * held * side / OPERATIONS) / 60
    if needed > max(BUDGET, physical_memory() / 2) or minutes > MOST_MINUTES:
        amount = f"{needed / 1e9:,.1f} GB of memory and {max(minutes, 1):,.0f} minutes"
        raise LsamplerError(f"{what} needs about {amount}; {fix}")


def physical_memory() -> int:
    """Bytes of memory that this machine has; the budget where that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return BUDGET
