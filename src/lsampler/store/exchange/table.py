"""What importing and exporting have in common for all formats: tables in chunks, and the checks of their values."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.errors import LsamplerError, shortened
from lsampler.store.hdf5_layout import MAX_DIMENSION, decoded, storable
from lsampler.store.labels import Labels
from lsampler.store.latent_store import CHUNK_ROWS, SPLITS, LatentStore, Rows
from lsampler.store.reference import Split

# Several copies of a chunk live at once: as read, as float32, and those of the chunk before.
CHUNK_BYTES = 1 << 22
MOST_UNPACKED, MOST_RATIO = 1 << 30, 500
"""In bytes: what a file may declare whatever its size, and how often its size beyond that."""
MOST_SHOWN = 200

RawRows: TypeAlias = tuple[NDArray[Any], Sequence[Any] | None, Sequence[Any] | None]
"""Latents (n, ...), ids and splits as the file holds them; None for what it does not hold."""


@dataclass(frozen=True)
class Table:
    """A file to import: the shape and type of its latents, and how to read it.

    ``chunks`` is called with the largest number of rows per chunk; ``dataset`` is the array or column of the latents,
    where there may be several; ``taken`` says in words what was taken of the file, and what was not.
    ``latent_shape`` is what the file says of the shape of a latent, such as ``4x8x8``; ``labels`` are of all rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    has_split: bool
    chunks: Callable[[int], Iterator[RawRows]]
    dataset: str | None = None
    taken: str | None = None
    latent_shape: str | None = None
    labels: Labels | None = None


Reader: TypeAlias = Callable[[Path, str | None, ExitStack], Table]
"""Opens a file until the stack is closed."""
Writer: TypeAlias = Callable[[Path, LatentStore, int, Iterator[Rows]], None]
"""Writes so many rows of a store to a file."""


def exported_rows(store: LatentStore, split: Split | None, total: int) -> Iterator[Rows]:
    """All rows of a store, or the ``total`` rows of a split, in chunks."""
    found = 0
    for rows in store.rows(chunk_rows=chunk_rows(store.dimension)):
        kept = [k for k, held in enumerate(rows.splits or ()) if split in (None, held)]
        found += len(kept)
        if kept:
            ids, splits = (of_rows and [of_rows[k] for k in kept] for of_rows in (rows.ids, rows.splits))
            labels = rows.labels and rows.labels.rows(kept)
            yield Rows(rows.latents[kept], ids, splits, labels)  # type: ignore[arg-type]
    if found != total:
        fix = "run 'lsampler store verify'"
        raise LsamplerError(f"{store.name}: {found} vectors of the split, {total} counted; {fix}")


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what readers raise for broken files, such as struct.error, zlib.error and KeyError, into one line."""
    try:
        yield
    except LsamplerError:
        raise
    except MemoryError as error:
        raise LsamplerError(f"{path}: needs more memory than there is; give it in smaller parts") from error
    except Exception as error:
        reason = shortened(str(error) or type(error).__name__, MOST_SHOWN)
        fix = "write it again" if getattr(error, "errno", None) is None else "check the file"
        raise LsamplerError(f"{path}: not a readable {path.suffix.lower()} file ({reason}); {fix}") from error


def checked_dimension(path: Path, table: Table, autoencoder: Any) -> int:
    """D of a table of real numbers. Raises LsamplerError if it is none, or D is not the model's."""
    if table.dtype.kind not in "fiu":
        raise LsamplerError(f"{path}: latents of type {table.dtype}; give real numbers, floats or integers")
    if len(table.shape) not in (2, 4):
        raise LsamplerError(f"{path}: latents of shape {table.shape}; give (N, D) or (N, C, h, w)")
    dimension = int(np.prod(table.shape[1:], dtype=object))
    if not table.shape[0] or not dimension:
        raise LsamplerError(f"{path}: holds no latent vectors, its shape is {table.shape}; export it again")
    if dimension > MAX_DIMENSION:
        raise LsamplerError(f"{path}: latents of shape {table.shape}; give one row per latent vector")
    _refuse_bomb(path, table.shape[0] * dimension)
    if autoencoder is not None and autoencoder.dimension != dimension:
        raise LsamplerError(
            f"{path}: D = {dimension}, the model has {autoencoder.dimension}; give the `model=...` that encoded them"
        )
    return dimension


def _refuse_bomb(path: Path, numbers: int) -> None:
    """Raise LsamplerError if a small file declares more numbers than any compression of real ones explains."""
    there = path.stat().st_size
    if 4 * numbers > max(MOST_UNPACKED, MOST_RATIO * there):
        problem = f"declares {numbers:.3g} numbers in {there:,} bytes"
        raise LsamplerError(f"{path}: {problem}, which no latent vectors do; write it again, or give it uncompressed")


def chunk_rows(dimension: int) -> int:
    """So few rows that a chunk of float64 stays small."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // (8 * dimension)))


def ids_of(path: Path, table: Table) -> list[str] | int:
    """The ids of all rows; the number of rows if they have none."""
    found: list[str] = []
    with readable(path):
        for _, ids, _ in table.chunks(chunk_rows(math.prod(table.shape[1:]))):
            if ids is None:
                return table.shape[0]
            found += [_id(path, row, value) for row, value in enumerate(ids, len(found))]
    return found


def checked_rows(path: Path, table: Table, dimension: int, held_out: NDArray[np.bool_] | None) -> Iterator[Rows]:
    """Checked and converted chunks; the split is the table's own if ``held_out``, (N,), is None."""
    start, chunks = 0, table.chunks(chunk_rows(dimension))
    while True:
        with readable(path):
            chunk = next(chunks, None)
        if chunk is None:
            return
        latents, ids, raw_splits = chunk
        if held_out is None:
            splits = [_split(path, start + k, value) for k, value in enumerate(raw_splits or ())]
        else:
            splits = [SPLITS[int(held)] for held in held_out[start : start + len(latents)]]
        texts = None if ids is None else [_id(path, start + k, value) for k, value in enumerate(ids)]
        labels = table.labels and table.labels.rows(slice(start, start + len(latents)))
        yield Rows(_float32(path, start, latents.reshape(len(latents), dimension)), texts, splits, labels)
        start += len(latents)


def _float32(path: Path, start: int, latents: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        rows = latents.astype(np.float32)
    if len(bad := not_finite(rows)):
        too_large = np.isfinite(latents[bad[0]]).all()
        what = "a number too large for float32" if too_large else "NaN or infinite values"
        raise LsamplerError(f"{path}: row {start + bad[0]} holds {what}; fix that row or leave it out")
    return rows


def _id(path: Path, row: int, value: Any) -> str:
    if isinstance(value, bytes):
        value = decoded(value)
    if value is None:  # a table's missing value
        return ""
    if not isinstance(value, str | int):
        raise LsamplerError(f"{path}: the id of row {row} is {shortened(repr(value))}; give texts or whole numbers")
    if not storable(str(value)):
        raise LsamplerError(f"{path}: the id of row {row} cannot be stored; rename it without NUL, or shorter")
    return str(value)


def _split(path: Path, row: int, value: Any) -> Split:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    for code, split in enumerate(SPLITS):
        if type(value) in (int, str) and value in (code, split):
            return split
    shown = shortened(repr(value))
    raise LsamplerError(f"{path}: the split of row {row} is {shown}; write 'train' or 'held-out', or 0 or 1")
