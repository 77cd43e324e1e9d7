"""Latent vectors of other programs: from and to ``.npy``, ``.npz``, plain HDF5 and Parquet, in chunks.

Beside the latents, an array file may hold ``ids`` and ``split``, a table the columns ``id`` and
``split``. What ``export_latents`` writes, ``import_latents`` reads back.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file, new_file
from lsampler.models.protocols import Autoencoder
from lsampler.progress import Progress, track
from lsampler.store.reference import Split
from lsampler.store.sharded import open_store
from lsampler.store.single_file import BLOCK_ROWS, FORMAT, SPLITS, LatentStore
from lsampler.store.writer import StoreBlock, encoded, hdf5_file, storable, write_store

__all__ = ["ImportResult", "export_latents", "import_latents"]

# Several copies of a block live at once: as read, as float32, and those of the block before.
BLOCK_BYTES = 1 << 22
# A wider vector is an array the wrong way round, and too wide for one chunk of HDF5.
MAX_DIMENSION = 1 << 24
FORMATS = ".npy, .npz, .h5 or .parquet"

RawBlock = tuple[NDArray[Any], Sequence[Any] | None, Sequence[Any] | None]
"""Latents (n, ...), ids and splits as the file holds them; None for what it does not hold."""


@dataclass(frozen=True)
class ImportResult:
    """The new store, and in words which rows are held out and why."""

    store: LatentStore
    held_out: str


def import_latents(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    held_out: int | None = None,
    autoencoder: Autoencoder | None = None,
    dataset: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Write latent vectors that were made elsewhere into a latent store, as float32.

    Args:
        path: a ``.npy``, ``.npz``, ``.h5`` or ``.hdf5`` array (N, D), or (N, C, h, w), flattened
            row by row to (N, C * h * w); or a ``.parquet`` table of N rows.
        out: the store, ``.h5``.
        held_out: the last so many rows form the held-out split; by default the file's own
            ``split``, or else a tenth.
        autoencoder: the model that encoded them, if known: its D is compared, and its
            fingerprint recorded.
        dataset: which array of an ``.npz`` or ``.h5``, or which column of lists of a ``.parquet``.
        force: replace an existing store.
        progress: where to show the advance.

    Raises:
        LsamplerError: the file cannot be read, does not say which array is meant, or holds
            something else than finite numbers; D is not the model's; ``out`` exists. Nothing is written.
    """
    path, out = existing_file(path, "file of latent vectors"), Path(out)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise LsamplerError(f"{path}: not a file of latent vectors; give a {FORMATS}")
    if out.suffix != ".h5":
        raise LsamplerError(f"{out}: a latent store is an .h5 file; choose such a name")
    _check_two_files(path, out)
    with reader(path, dataset) as table:
        dimension = _checked_dimension(path, table, autoencoder)
        from_file = table.has_split and held_out is None
        last = _held_out(path, len(table), held_out)
        first_held_out = None if from_file else len(table) - last
        chunks = _store_blocks(path, table, dimension, first_held_out)
        tracked = track(chunks, progress, "importing", len(table), lambda block: len(block[0]))
        write_store(out, dimension, tracked, _provenance(path, table, autoencoder), force=force)
    store = LatentStore(out)
    words = f"{store.count('held-out')} of {len(store)} vectors (the split of {path.name})"
    if not from_file:
        why = "a tenth; change it with --held-out" if held_out is None else "by --held-out"
        words = f"the last {last} of {len(store)} vectors ({why})"
    return ImportResult(store, words)


def export_latents(
    store: LatentStore | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: Split | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the latent vectors of a store to a file that other programs read; returns their number.

    All formats keep the latents, (N, D) float32, in their order; all but ``.npy`` keep the ids,
    where the store has any, and the splits.

    Args:
        store: to read.
        out: ``.npy``; ``.npz`` or ``.h5`` with the arrays ``latents``, ``ids`` and ``split``; or
            ``.parquet`` with the columns ``id``, ``split`` and ``latent``.
        split: only its rows; None for all.
        force: replace an existing file.
        progress: where to show the advance.

    Raises:
        LsamplerError: the store is damaged or holds no such rows; ``out`` exists or has another
            suffix; pyarrow is missing. Nothing is written.
    """
    store, out = store if isinstance(store, LatentStore) else open_store(store), Path(out)
    writer = WRITERS.get(out.suffix.lower())
    if writer is None:
        raise LsamplerError(f"{out}: cannot tell the format by this name; choose a {FORMATS}")
    if split is not None and split not in SPLITS:
        raise LsamplerError(f"split '{split}' is unknown{nearest_name(split, SPLITS)}")
    _check_two_files(store.path, out)
    rows = _Rows(store, split, progress)
    if not len(rows):
        raise LsamplerError(f"{store.path}: holds no {split or 'latent'} vectors to export")
    with new_file(out, force=force) as beside:
        writer(beside, rows)
    return len(rows)


def _check_two_files(source: Path, target: Path) -> None:
    same = False
    with contextlib.suppress(OSError):  # the target is not there yet
        same = target.samefile(source)
    if same:
        raise LsamplerError(f"{target}: is the file that is read; choose another name for the output")


# Import: from a table of any format to the chunks of a store


@dataclass(frozen=True)
class _Table:
    """A file to import: the shape and type of its latents, and how to read it in chunks."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    has_split: bool
    chunks: Callable[[int], Iterator[RawBlock]]
    """Called with the most rows of a block."""
    dataset: str | None = None

    def __len__(self) -> int:
        return self.shape[0]


def _checked_dimension(path: Path, table: _Table, autoencoder: Autoencoder | None) -> int:
    if table.dtype.kind not in "fiu":
        raise LsamplerError(f"{path}: latents of type {table.dtype}; give real numbers, floats or integers")
    if len(table.shape) not in (2, 4):
        raise LsamplerError(f"{path}: latents of shape {table.shape}; give (N, D) or (N, C, h, w)")
    dimension = int(np.prod(table.shape[1:], dtype=object))
    if not len(table) or not dimension:
        raise LsamplerError(f"{path}: holds no latent vectors, its shape is {table.shape}; export it again")
    if dimension > MAX_DIMENSION:
        raise LsamplerError(f"{path}: latents of shape {table.shape}; give one row per latent vector")
    if autoencoder is not None and autoencoder.dimension != dimension:
        raise LsamplerError(
            f"{path}: D = {dimension}, the model has {autoencoder.dimension}; give the --model that encoded them"
        )
    return dimension


def _held_out(path: Path, total: int, wanted: int | None) -> int:
    held_out = total // 10 if wanted is None else wanted
    if not 0 <= held_out < total:
        raise LsamplerError(f"{path}: {total} vectors, {held_out} held out; --held-out must leave some to train on")
    return held_out


def _provenance(path: Path, table: _Table, autoencoder: Autoencoder | None) -> dict[str, str]:
    provenance = {"kind": "imported latents", "source": path.name}
    if table.dataset is not None:
        provenance["dataset"] = table.dataset
    if len(table.shape) == 4:
        provenance["shape"] = " x ".join(map(str, table.shape[1:]))
    if autoencoder is not None:
        provenance["encoder"] = autoencoder.fingerprint
    return provenance


def _block_rows(dimension: int) -> int:
    """So few rows that a block of float64 stays small."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (8 * dimension)))


def _store_blocks(path: Path, table: _Table, dimension: int, first_held_out: int | None) -> Iterator[StoreBlock]:
    """Checked and converted chunks; the split is the table's own if ``first_held_out`` is None."""
    start = 0
    for latents, ids, raw_splits in table.chunks(_block_rows(dimension)):
        if first_held_out is None:
            splits = [_split(path, start + k, value) for k, value in enumerate(raw_splits or ())]
        else:
            splits = [SPLITS[start + k >= first_held_out] for k in range(len(latents))]
        texts = None if ids is None else [_id(path, start + k, value) for k, value in enumerate(ids)]
        yield _float32(path, start, latents.reshape(len(latents), dimension)), texts, splits
        start += len(latents)


def _float32(path: Path, start: int, latents: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        rows = latents.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        too_large = np.isfinite(latents[bad[0]]).all()
        what = "a number too large for float32" if too_large else "NaN or infinite values"
        raise LsamplerError(f"{path}: row {start + bad[0]} holds {what}; mend that row or leave it out")
    return rows


def _id(path: Path, row: int, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None:  # a table's missing value
        return ""
    if not isinstance(value, str | int):
        raise LsamplerError(f"{path}: the id of row {row} is {value!r}; give texts or whole numbers")
    if not storable(str(value)):
        raise LsamplerError(f"{path}: the id of row {row} cannot be stored; name it without odd characters")
    return str(value)


def _split(path: Path, row: int, value: Any) -> Split:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if type(value) is int and 0 <= value < len(SPLITS):
        return SPLITS[value]
    for split in SPLITS:
        if type(value) is str and value == split:
            return split
    raise LsamplerError(f"{path}: the split of row {row} is {value!r}; write 'train' or 'held-out', or 0 or 1")


# Import: the formats


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What readers raise for broken files as one line: struct.error, zlib.error, KeyError and more."""
    try:
        yield
    except LsamplerError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        kind = path.suffix.lower()
        raise LsamplerError(f"{path}: not a readable {kind} file ({reason}); write it again") from error


@dataclass(frozen=True)
class _Array:
    """One array of a file, read in chunks of so many rows."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[int], Iterator[NDArray[Any]]]


def _only(path: Path, what: str, preferred: str, candidates: Mapping[str, str], dataset: str | None) -> str:
    """The name that is meant; the values of ``candidates`` describe them."""
    listing = ", ".join(f"'{name}' {described}" for name, described in candidates.items())
    if dataset is not None:
        if dataset not in candidates:
            raise LsamplerError(f"{path}: holds no {what} '{dataset}'{nearest_name(dataset, candidates)}")
        return dataset
    if preferred in candidates:
        return preferred
    if len(candidates) == 1:
        return next(iter(candidates))
    if not candidates:
        raise LsamplerError(f"{path}: holds no {what}, so no latent vectors; export them again")
    raise LsamplerError(f"{path}: holds {listing}; name the latent vectors with --dataset")


def _table_of_arrays(path: Path, arrays: Mapping[str, _Array], dataset: str | None) -> _Table:
    """The latents among named arrays, with the ``ids`` and ``split`` beside them."""
    chosen = {name: array for name, array in arrays.items() if name.rpartition("/")[2] not in ("ids", "split")}
    if dataset is None and "latents" not in chosen:
        likely = {n: a for n, a in chosen.items() if len(a.shape) in (2, 4) and a.dtype.kind in "fiu"}
        chosen = likely or chosen
    name = _only(path, "array", "latents", {name: str(array.shape) for name, array in chosen.items()}, dataset)
    latents, group = arrays[name], name.rpartition("/")[0]
    ids, split = (arrays.get(f"{group}/{beside}".lstrip("/")) for beside in ("ids", "split"))
    for beside, array in (("ids", ids), ("split", split)):
        if array is not None and array.shape != latents.shape[:1]:
            raise LsamplerError(
                f"{path}: '{beside}' has the shape {array.shape} beside latents of shape {latents.shape}; "
                "give one for each row"
            )

    def chunks(step: int) -> Iterator[RawBlock]:
        labels = [(b.tolist() for b in a.chunks(step)) if a else itertools.repeat(None) for a in (ids, split)]
        # The latents first: they end it, where the others may repeat for ever.
        return zip(latents.chunks(step), *labels, strict=False)

    return _Table(latents.shape, latents.dtype, split is not None, chunks, name)


@contextlib.contextmanager
def _open_npy(path: Path, dataset: str | None) -> Iterator[_Table]:
    if dataset is not None:
        raise LsamplerError(f"{path}: a .npy file is one array; leave out --dataset")
    with _readable(path), path.open("rb") as stream:
        shape, _, dtype = _npy_header(stream)

    def chunks(step: int) -> Iterator[RawBlock]:
        for start in range(0, shape[0], step):
            with _readable(path):
                # Mapped anew for every block: the pages read so far would count as memory of this process.
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
                rows = np.array(mapped[start : start + step])
                del mapped
            yield rows, None, None

    yield _Table(shape, dtype, False, chunks)


@contextlib.contextmanager
def _open_npz(path: Path, dataset: str | None) -> Iterator[_Table]:
    with _readable(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with _readable(path):
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            arrays = {name.removesuffix(".npy"): _npz_array(path, archive, name) for name in members}
        yield _table_of_arrays(path, arrays, dataset)


def _npz_array(path: Path, archive: zipfile.ZipFile, member: str) -> _Array:
    with archive.open(member) as stream:
        shape, by_columns, dtype = _npy_header(stream)

    # np.load would read the whole member at once.
    def chunks(step: int) -> Iterator[NDArray[Any]]:
        if dtype.hasobject:
            raise LsamplerError(
                f"{path}: '{member}' holds Python objects, which are never loaded; write it as numbers or as dtype=str"
            )
        with archive.open(member) as stream:
            if by_columns and len(shape) > 1:  # each row is scattered over the whole member
                with _readable(path):
                    whole = np.lib.format.read_array(stream, allow_pickle=False)
                yield from (whole[start : start + step] for start in range(0, shape[0], step))
                return
            with _readable(path):
                _npy_header(stream)
            for start in range(0, shape[0], step):
                block = (min(step, shape[0] - start), *shape[1:])
                with _readable(path):
                    rows = np.frombuffer(stream.read(int(np.prod(block)) * dtype.itemsize), dtype).reshape(block)
                yield rows
            with _readable(path):
                stream.read(1)  # only at its end is the checksum of a member compared

    return _Array(shape, dtype, chunks)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the .npy format")


@contextlib.contextmanager
def _open_hdf5(path: Path, dataset: str | None) -> Iterator[_Table]:
    with _readable(path):
        handle = h5py.File(path, "r")
    with handle:
        arrays: dict[str, _Array] = {}

        def collect(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = _hdf5_array(path, item)

        with _readable(path):
            form = handle.attrs.get("format")
            if isinstance(form, str | bytes) and form in (FORMAT, FORMAT.encode()):
                raise LsamplerError(f"{path}: is a latent store already; use it as it is")
            handle.visititems(collect)
        yield _table_of_arrays(path, arrays, dataset.strip("/") if dataset else dataset)


def _hdf5_array(path: Path, dataset: h5py.Dataset) -> _Array:
    shape: tuple[int, ...] = dataset.shape or ()

    def chunks(step: int) -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0], step):
            with _readable(path):
                rows = np.asarray(dataset[start : start + step])
            yield rows

    return _Array(shape, dataset.dtype, chunks)


@contextlib.contextmanager
def _open_parquet(path: Path, dataset: str | None) -> Iterator[_Table]:
    arrow = _pyarrow(path)
    with _readable(path):
        # Read through a small buffer and not ahead: a row group, which may be the whole file, would be held at once.
        file = arrow.parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)
    with file:
        with _readable(path):
            table = _parquet_table(path, arrow, file, dataset)
        yield table


def _parquet_table(path: Path, arrow: Any, file: Any, dataset: str | None) -> _Table:
    names = set(file.schema_arrow.names)
    identity = next((name for name in ("id", "ids") if name in names), None)
    split = "split" if "split" in names else None
    column, components = _parquet_columns(path, arrow, file.schema_arrow, dataset, no_component={identity, split})
    dimension = len(components) if column is None else _list_length(file, column)

    def chunks(step: int) -> Iterator[RawBlock]:
        wanted = [*filter(None, (column, identity, split)), *components]
        # Threads would decode columns side by side, and each would keep memory of its own.
        batches = file.iter_batches(batch_size=step, columns=wanted, use_threads=False)
        start = 0
        while True:
            with _readable(path):
                batch = next(batches, None)
                if batch is None:
                    return
                if column is None:
                    latents = np.column_stack([batch.column(c).to_numpy(zero_copy_only=False) for c in components])
                else:
                    latents = _list_rows(path, start, arrow, batch.column(column), dimension)
                ids, splits = (batch.column(name).to_pylist() if name else None for name in (identity, split))
            yield latents, ids, splits
            start += batch.num_rows

    return _Table((file.metadata.num_rows, dimension), np.dtype(np.float64), split is not None, chunks, column)


def _parquet_columns(
    path: Path, arrow: Any, schema: Any, dataset: str | None, no_component: set[str | None]
) -> tuple[str | None, list[str]]:
    """The column whose lists are the latents, or else the columns that are their components."""
    types = arrow.types

    def numeric(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    def vectors(kind: Any) -> bool:
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(lists and numeric(kind.value_type))

    # pandas writes its index as a column.
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
    components = [f.name for f in schema if numeric(f.type) and f.name not in no_component | index]
    lists = {f.name: str(f.type) for f in schema if vectors(f.type)}
    if lists or dataset is not None or not components:
        return _only(path, "column of numbers or lists of numbers", "latent", lists, dataset), []
    return None, components


def _list_length(file: Any, column: str) -> int:
    """D, as the first row has it."""
    batch = next(file.iter_batches(batch_size=1, columns=[column]), None)
    first = batch.column(column)[0].as_py() if batch is not None and batch.num_rows else None
    return len(first or ())


def _list_rows(path: Path, start: int, arrow: Any, column: Any, dimension: int) -> NDArray[Any]:
    lengths = arrow.compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != dimension)
    if len(odd):
        raise LsamplerError(
            f"{path}: row {start + odd[0]} holds {lengths[odd[0]]} numbers, the first row {dimension}; "
            "give as many in every row"
        )
    numbers: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, dimension)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise LsamplerError(
            f"{path}: Parquet needs pyarrow; install it with: pip install 'lsampler[parquet]'"
        ) from error
    return pyarrow


Reader = Callable[[Path, str | None], contextlib.AbstractContextManager[_Table]]
READERS: dict[str, Reader] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".parquet": _open_parquet,
}


# Export


@dataclass(frozen=True)
class _Rows:
    """The rows of a store to export, all or those of one split."""

    store: LatentStore
    split: Split | None
    progress: Progress | None

    def __len__(self) -> int:
        return len(self.store) if self.split is None else self.store.count(self.split)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.store.dimension

    def chunks(self) -> Iterator[StoreBlock]:
        """Everything of them, under a bar."""

        def read() -> Iterator[StoreBlock]:
            step = _block_rows(self.store.dimension)
            found = 0
            for start, kept, ids, splits in self._labels(step):
                found += len(kept)
                yield self.store.read(start, start + step)[kept], ids, splits
            if found != len(self):
                raise LsamplerError(
                    f"{self.store.path}: {found} vectors of the split, {len(self)} counted; see 'lsampler store verify'"
                )

        return track(read(), self.progress, "exporting", len(self), lambda block: len(block[0]))

    def ids(self) -> Iterator[list[str]]:
        """Their ids alone, in chunks."""
        return (ids or [] for _, _, ids, _ in self._labels(BLOCK_ROWS))

    def splits(self) -> Iterator[list[Split]]:
        """Their splits alone, in chunks."""
        return (splits for *_, splits in self._labels(BLOCK_ROWS))

    def _labels(self, step: int) -> Iterator[tuple[int, list[int], list[str] | None, list[Split]]]:
        """First row of a block, which rows of it are wanted, and their ids and splits."""
        for start in range(0, len(self.store), step):
            splits = self.store.splits(start, start + step)
            kept = [k for k, split in enumerate(splits) if self.split in (None, split)]
            ids = self.store.ids(start, start + step) if self.store.has_ids else None
            if kept:
                yield start, kept, [ids[k] for k in kept] if ids is not None else None, [splits[k] for k in kept]


def _write_npy(path: Path, rows: _Rows) -> None:
    with path.open("wb") as stream:
        _write_array(stream, rows.shape, "<f4", (latents for latents, _, _ in rows.chunks()))


def _write_npz(path: Path, rows: _Rows) -> None:
    with zipfile.ZipFile(path, "w") as archive:

        def write(name: str, shape: tuple[int, ...], dtype: str, chunks: Iterable[Any]) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                _write_array(stream, shape, dtype, chunks)

        write("latents", rows.shape, "<f4", (latents for latents, _, _ in rows.chunks()))
        if rows.store.has_ids:
            width = max(1, max(len(identity) for ids in rows.ids() for identity in ids))
            write("ids", (len(rows),), f"<U{width}", rows.ids())
        write("split", (len(rows),), f"<U{max(map(len, SPLITS))}", rows.splits())


def _write_array(stream: IO[bytes], shape: tuple[int, ...], dtype: str, chunks: Iterable[Any]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    for block in chunks:
        stream.write(np.asarray(block, dtype=dtype).tobytes())


def _write_hdf5(path: Path, rows: _Rows) -> None:
    with hdf5_file(path) as handle:
        latents = handle.create_dataset("latents", rows.shape, "<f4")
        split = handle.create_dataset("split", (len(rows),), "u1")
        split.attrs["meaning"] = ", ".join(f"{code} = {name}" for code, name in enumerate(SPLITS))
        if rows.store.has_ids:
            width = max(1, max(len(encoded(identity)) for ids in rows.ids() for identity in ids))
            handle.create_dataset("ids", (len(rows),), h5py.string_dtype("utf-8", width))
        start = 0
        for block, ids, splits in rows.chunks():
            stop = start + len(block)
            latents[start:stop] = block
            split[start:stop] = [SPLITS.index(value) for value in splits or ()]
            if ids is not None:
                handle["ids"][start:stop] = np.array([encoded(identity) for identity in ids], handle["ids"].dtype)
            start = stop


def _write_parquet(path: Path, rows: _Rows) -> None:
    arrow = _pyarrow(path)
    latent = arrow.list_(arrow.float32(), rows.store.dimension)
    fields = [("id", arrow.string())] * rows.store.has_ids + [("split", arrow.string()), ("latent", latent)]
    schema = arrow.schema(fields)
    # Latents hardly repeat: a dictionary of them costs memory and time, and makes the file larger.
    with arrow.parquet.ParquetWriter(str(path), schema, use_dictionary=["split"]) as writer:
        for block, ids, splits in rows.chunks():
            columns = [arrow.FixedSizeListArray.from_arrays(arrow.array(block.ravel()), rows.store.dimension)]
            columns.insert(0, arrow.array(splits, arrow.string()))
            if ids is not None:
                columns.insert(0, arrow.array([_parquet_text(rows, i) for i in ids], arrow.string()))
            writer.write_batch(arrow.record_batch(columns, schema=schema))


def _parquet_text(rows: _Rows, identity: str) -> str:
    try:
        identity.encode()
    except UnicodeEncodeError as error:
        raise LsamplerError(
            f"{rows.store.path}: id {identity!r} is not UTF-8, which Parquet cannot keep; export to .npz or .h5"
        ) from error
    return identity


WRITERS: dict[str, Callable[[Path, _Rows], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
}
