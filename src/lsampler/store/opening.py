"""Opens any store by its path, and makes a reference of anything array-like."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lsampler.compute.arrays import VECTORS, as_numbers, column_names, require_finite, require_table
from lsampler.errors import LsamplerError
from lsampler.lookups import find_bundle
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


def open_reference(name: str | os.PathLike[str]) -> Any:
    """The store at a path, or the bundle of that name or in that file.

    Raises:
        LsamplerError: there is none, or it is damaged.
    """
    text = os.fspath(name)
    where = Path(text)
    check_finished(where)
    is_word = re.fullmatch(r"[\w-]+", text) is not None
    if not is_word and where.suffix != ".safetensors":
        return open_store(where)
    try:
        bundle = find_bundle(text)
    except LsamplerError as error:
        if where.exists() or not is_word:
            raise
        raise LsamplerError(f"{error}, or the path of a store") from error
    if bundle is None and not is_word and not where.exists():
        raise LsamplerError(f"{text}: no such model file; check the path")
    if bundle is None and not is_word:
        raise LsamplerError(f"{text}: no bundle, and holds no latent vectors; give a bundle, or a store of latents")
    return open_store(where) if bundle is None else bundle


def opened(latents: ReferenceLike) -> Any:
    """What a name or a path stands for, by :func:`open_reference`; anything else as it is."""
    return open_reference(latents) if isinstance(latents, str | os.PathLike) else latents


def as_reference(latents: ReferenceLike, argument: str = "latents") -> Reference:
    """A reference to fit to, made of whatever holds latent vectors.

    Args:
        latents: a reference; an object with a reference as its attribute ``reference``, such as a bundle; a NumPy
            array, tensor, list of lists or numeric table with the method ``to_numpy`` (pandas, polars), of shape
            (N, D); the path of a store or of a bundle; or the name of a bundle that comes with lsampler.
        argument: what messages call an array.

    Raises:
        LsamplerError: it is none of these, or an array that is no table of finite numbers.
    """
    found = opened(latents)
    for held in (found, getattr(found, "reference", None)):
        if isinstance(held, Reference):
            return held
    given = as_numbers(found, argument, f"give a store, a bundle, the path or name of one, or an array {VECTORS}")
    require_table(given, argument)
    if not len(given):
        raise LsamplerError(f"{argument}: holds no vectors, its shape is {given.shape}; give at least two")
    with np.errstate(over="ignore"):  # what overflows is refused in the next line
        rows = given.astype(np.float32, copy=False)
    names = column_names(found)
    require_finite(rows, argument, given, names)
    store = MemoryStore(rows)
    store.feature_names = names
    return store
