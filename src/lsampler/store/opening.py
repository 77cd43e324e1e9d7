"""Opens any store by its path, and makes a reference of anything array-like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from lsampler.errors import LsamplerError
from lsampler.store.file_store import FileStore, check_finished
from lsampler.store.memory_store import MemoryStore
from lsampler.store.reference import Reference
from lsampler.store.sharded_store import ShardedStore, is_sharded

ReferenceLike: TypeAlias = Any
"""What :func:`as_reference` takes; much of it shares no type."""


def open_store(path: str | os.PathLike[str]) -> FileStore | ShardedStore:
    """The latent store at ``path``, one file or sharded.

    Raises:
        LsamplerError: there is none, or it is damaged.
    """
    where = Path(path)
    check_finished(where)
    return ShardedStore(where) if where.is_dir() or is_sharded(where) else FileStore(where)


def as_reference(latents: ReferenceLike) -> Reference:
    """A reference to fit to, made of whatever holds latent vectors.

    Args:
        latents: a reference; an object with a reference as its attribute ``reference``, such as a bundle; a NumPy
            array, tensor, list of lists or numeric table with the method ``to_numpy`` (pandas, polars), of shape
            (N, D); or the path of a store.

    Raises:
        LsamplerError: it is none of these, or does not hold numbers in rows of equal length.
    """
    if isinstance(latents, Reference):
        return latents
    if isinstance(held := getattr(latents, "reference", None), Reference):
        return held
    if isinstance(latents, str | os.PathLike):
        return open_store(latents)
    if hasattr(latents, "detach"):  # a tensor, which may be on a GPU, need gradients, or be of a type that NumPy lacks
        latents = latents.detach().cpu().float().numpy()
    elif hasattr(latents, "to_numpy"):
        latents = latents.to_numpy()
    if not (hasattr(latents, "__array__") or isinstance(latents, list | tuple)):
        raise LsamplerError(
            f"cannot fit to {type(latents).__name__}; give a store, its path, a bundle, or an array of numbers "
            "(number of vectors, D)"
        )
    return MemoryStore(latents)
