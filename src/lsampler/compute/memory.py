"""Whether what is asked for fits into memory, before it is allocated."""

from __future__ import annotations

import os

from lsampler.errors import LsamplerError

BUDGET = 2 << 30
"""Bytes that a computation may take whatever the size of its data."""


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


def physical_memory() -> int:
    """Bytes of memory that this machine has; the budget where that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return BUDGET
