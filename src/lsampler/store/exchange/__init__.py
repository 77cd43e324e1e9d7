"""Latent vectors of other programs: import and export, in chunks; one module per kind of file.

Beside the latents, an array file may hold ``ids`` and ``split``, a table the columns ``id`` and
``split``. What ``export_latents`` writes, ``import_latents`` reads back.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file, new_file
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.exchange import annotated, arrays, parquet
from lsampler.store.exchange.table import (
    Reader,
    Table,
    Writer,
    checked_dimension,
    checked_rows,
    exported_rows,
    ids_of,
    readable,
)
from lsampler.store.file_store import FileStore
from lsampler.store.held_out import LAST, RANDOM, Division, HeldOut
from lsampler.store.latent_shape import LATENT_SHAPE, parsed_shape, shape_attribute
from lsampler.store.latent_store import SPLITS, LatentStore
from lsampler.store.opening import open_store
from lsampler.store.reference import Split
from lsampler.store.writer import write_store

__all__ = ["ImportResult", "export_latents", "import_latents"]

FORMATS: dict[str, tuple[Reader, Writer | None]] = {
    ".npy": (arrays.open_npy, arrays.write_npy),
    ".npz": (arrays.open_npz, arrays.write_npz),
    ".h5": (arrays.open_h5, arrays.write_hdf5),
    ".hdf5": (arrays.open_h5, arrays.write_hdf5),
    ".parquet": (parquet.open_parquet, parquet.write_parquet),
    ".h5ad": (annotated.open_h5ad, None),
}


@dataclass(frozen=True)
class ImportResult:
    """The new store, and in words which rows are held out and why, and what was taken of the file."""

    store: FileStore
    held_out: str
    taken: str | None = None


@shows_progress
def import_latents(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    held_out: int | HeldOut | None = None,
    autoencoder: Any = None,
    dataset: str | None = None,
    force: bool = False,
    progress: ProgressLike = None,
) -> ImportResult:
    """Write latent vectors that were made elsewhere into a latent store, as float32, with the labels beside them.

    Labels are those of an export; arrays (N,) called ``y``, ``label``, ``labels``, ``target`` or ``targets``; and the
    columns of ``obs`` of an ``.h5ad``. What else a file holds can be joined by :func:`lsampler.store.label_store`.

    Args:
        path: a ``.npy``, ``.npz`` or ``.h5`` array (N, D), or (N, C, h, w), flattened row by row
            to (N, C * h * w); a ``.parquet`` table of N rows; or an AnnData file, ``.h5ad`` (extra ``anndata``).
        out: the store, ``.h5``.
        held_out: how many rows are held out, at random, or which (:class:`HeldOut`; rows are known by their numbers,
            groups by the ids); by default the file's own ``split``, or a tenth at random.
        autoencoder: the model that encoded them, if known: its D is compared, its fingerprint recorded.
        dataset: which array of an ``.npz``, ``.h5`` or ``.h5ad``, or which columns of a ``.parquet``: one of lists, or
            several of numbers, as names or patterns such as ``z*`` with commas. By default what is certain.
        force: replace an existing store.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: the file is unreadable, ambiguous or not of finite numbers; D is not the model's; ``out`` exists.
    """
    path, out = existing_file(path, "file of latent vectors"), Path(out)
    read = _format_of(path, "not a file of latent vectors; give a .npy, .npz, .h5, .parquet or .h5ad")[0]
    if out.suffix != ".h5":
        raise LsamplerError(f"{out}: a latent store is an .h5 file; choose such a name")
    _check_two_files(path, out)
    with contextlib.ExitStack() as stack:
        with readable(path):
            table = read(path, dataset, stack)
        dimension = checked_dimension(path, table, autoencoder)
        split = held_out if isinstance(held_out, HeldOut) else HeldOut(held_out)
        division = None if table.has_split and held_out is None else _divided(path, table, split)
        chunks = checked_rows(path, table, dimension, division.held_out if division else None)
        provenance = _origin(path, table, dimension, autoencoder) | {
            "split": split.scheme if division else f"of {path.name}"
        }
        rows = track(chunks, progress, "importing", table.shape[0], len)
        columns = table.labels.columns if table.labels else ()
        write_store(out, dimension, rows, provenance, columns=columns, force=force)
    store = FileStore(out)
    if division is None:
        words = f"{store.count('held-out')} of {len(store)} vectors (the split of {path.name})"
    else:
        words = division.words + (" (a tenth; change it with `held_out=...`)" if split.count is None else "")
    return ImportResult(store, words, table.taken)


def _divided(path: Path, table: Table, split: HeldOut) -> Division:
    """What is held out of a table; its ids are read before its rows where they name groups."""
    ids = table.shape[0] if split.by in (RANDOM, LAST) else ids_of(path, table)
    return split.divide(ids, str(path), "vectors")


def _origin(path: Path, table: Table, dimension: int, autoencoder: Any) -> dict[str, Any]:
    """The attributes of an imported store."""
    shape = " x ".join(map(str, table.shape[1:])) if len(table.shape) == 4 else None
    origin = {"kind": "imported latents", "source": path.name, "dataset": table.dataset, "shape": shape}
    origin["encoder"] = getattr(autoencoder, "fingerprint", None)
    known = table.shape[1:] if shape else getattr(autoencoder, LATENT_SHAPE, None)
    if table.latent_shape is not None and not shape:
        known = parsed_shape(table.latent_shape, dimension, str(path))
    return {key: value for key, value in origin.items() if value is not None} | shape_attribute(known)


@shows_progress
def export_latents(
    store: LatentStore | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: Split | None = None,
    force: bool = False,
    progress: ProgressLike = None,
) -> int:
    """Write the latent vectors of a store to a file that other programs read; returns their number.

    All formats keep the latents, (N, D) float32, in their order; all but ``.npy`` keep the ids and the labels,
    where the store has any, and the splits.

    Args:
        store: to read.
        out: ``.npy``; ``.npz`` or ``.h5`` with the arrays ``latents``, ``ids``, ``split`` and ``labels/NAME``; or
            ``.parquet`` with the columns ``id``, ``split``, those of the labels, and ``latent``.
        split: only its rows; None for all.
        force: replace an existing file.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: the store is damaged or holds no such rows; ``out`` exists or has another
            suffix; pyarrow is missing. Nothing is written.
    """
    store, out = store if isinstance(store, LatentStore) else open_store(store), Path(out)
    choose = "choose a .npy, .npz, .h5 or .parquet"
    write = _format_of(out, f"cannot tell the format by this name; {choose}")[1]
    if write is None:
        raise LsamplerError(f"{out}: files of this kind are read only; {choose}")
    if split is not None and split not in SPLITS:
        raise LsamplerError(f"split '{split}' is unknown{nearest_name(split, SPLITS)}")
    _check_two_files(Path(store.name), out)
    total = len(store) if split is None else store.count(split)
    if not total:
        raise LsamplerError(f"{store.name}: holds no {split or 'latent'} vectors to export")
    with new_file(out, force=force) as beside:
        rows = track(exported_rows(store, split, total), progress, "exporting", total, len)
        write(beside, store, total, rows)
    return total


def _format_of(path: Path, problem: str) -> tuple[Reader, Writer | None]:
    if path.suffix.lower() not in FORMATS:
        raise LsamplerError(f"{path}: {problem}")
    return FORMATS[path.suffix.lower()]


def _check_two_files(source: Path, target: Path) -> None:
    if target.resolve() == source.resolve():
        raise LsamplerError(f"{target}: is the file that is read; choose another name for the output")
