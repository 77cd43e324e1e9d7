"""Rows of numbers in files: array files, tables, and AnnData; read in ranges where the format allows it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from lsampler.data.image_arrays import HDF5_SUFFIXES, check_npz_size
from lsampler.data.image_files import first_line
from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.extras import require_extra
from lsampler.hdf5_files import checked_dataset, datasets, listed

READ_SUFFIXES = (".npy", ".npz", *HDF5_SUFFIXES, ".csv", ".tsv", ".parquet", ".h5ad")
ANNDATA_X = "X"


@dataclass(frozen=True)
class RawRows:
    """Rows as a file or an array holds them.

    Attributes:
        name: what messages call them.
        shape: (N, ...).
        names: of the columns, if they have names.
        open: how another process opens the same; called without arguments.
        read: the rows from one number up to another, (n, ...).
    """

    name: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    open: Callable[[], RawRows] | None
    read: Callable[[int, int], NDArray[Any]]

    @classmethod
    def of_array(
        cls, name: str, array: Any, names: Sequence[str] = (), opened: Callable[[], RawRows] | None = None
    ) -> RawRows:
        """The rows of an array, in memory or not."""
        return cls(name, tuple(array.shape), tuple(names), opened, lambda start, stop: np.asarray(array[start:stop]))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.open is None:
            return RawRows.of_array, (self.name, self.read(0, self.shape[0]), self.names)
        return self.open, ()


def open_rows(path: Path, dataset: str | None = None) -> RawRows:
    """The rows of a file, by its suffix. Raises LsamplerError if it is no file of numbers."""
    kinds: dict[str, Callable[[Path, str | None], RawRows]] = {
        ".npy": _npy,
        ".npz": _npz,
        **dict.fromkeys(HDF5_SUFFIXES, _hdf5),
        ".csv": partial(_text, delimiter=","),
        ".tsv": partial(_text, delimiter="\t"),
        ".parquet": _parquet,
        ".h5ad": _anndata,
    }
    opened = kinds.get(path.suffix.lower())
    if opened is None:
        raise LsamplerError(f"{path}: not a file of items; give one of {', '.join(kinds)}, or of images")
    try:
        return opened(path, dataset)
    except LsamplerError:
        raise
    except Exception as error:  # damaged files raise anything
        reason = first_line(error)
        if "pickle" in reason or "Python objects" in reason or "Object arrays" in reason:
            raise LsamplerError(f"{path}: holds Python objects, which are never loaded; write it as float32") from error
        raise LsamplerError(f"{path}: not a readable {path.suffix.lower()} file ({reason}); write it again") from error


def _npy(path: Path, dataset: str | None) -> RawRows:
    if dataset is not None:
        raise LsamplerError(f"{path}: a .npy file is one array; leave out `dataset=...`")
    with path.open("rb") as stream:
        if stream.read(len(npy_format.MAGIC_PREFIX)) != npy_format.MAGIC_PREFIX:
            raise LsamplerError(f"{path}: not a readable .npy file (it begins otherwise); write it again")
    return _numbers(path, np.load(path, mmap_mode="r", allow_pickle=False), dataset, path.name)


def _npz(path: Path, dataset: str | None) -> RawRows:
    with np.load(path, allow_pickle=False) as archive:
        arrays = [name for name in archive.files if name not in ("names", "ids", "columns")]
        name = _chosen(path, arrays, dataset)
        check_npz_size(path, archive, name)
        array = archive[name]
        names = archive["names"].astype(str).tolist() if "names" in archive.files else ()
    return _numbers(path, array, dataset, name, names if array.ndim == 2 and len(names) == array.shape[1] else ())


def _hdf5(path: Path, dataset: str | None) -> RawRows:
    handle = h5py.File(path, "r")
    found, outside = datasets(path, handle)
    if dataset is not None and dataset.strip("/") in outside:
        raise LsamplerError(f"{path}: '{dataset}' leads out of the file, which is not followed; copy the data into it")
    name = _chosen(path, list(found), dataset)
    return _numbers(path, checked_dataset(path, found[name]), dataset, name)


def _numbers(path: Path, array: Any, dataset: str | None, name: str, names: Sequence[str] = ()) -> RawRows:
    kind = np.dtype(array.dtype).kind
    if kind not in "fiub":
        raise LsamplerError(f"{path}: '{name}' is of type {array.dtype}; give numbers, floats or integers")
    if not array.shape:
        raise LsamplerError(f"{path}: '{name}' is a single number; give an array (N, ...)")
    return RawRows.of_array(path.name, array, names, partial(open_rows, path, dataset))


def _chosen(path: Path, names: Sequence[str], dataset: str | None) -> str:
    """The array that is asked for, the one called items or X, or the only one."""
    if dataset is not None:
        wanted = dataset.strip("/")
        if wanted not in names:
            raise LsamplerError(
                f"{path}: holds no array '{shortened(wanted)}'{nearest_name(wanted, names)}; "
                f"it holds {listed(names) or 'none'}"
            )
        return wanted
    for usual in ("items", ANNDATA_X):
        if usual in names:
            return usual
    if len(names) != 1:
        raise LsamplerError(f"{path}: holds {listed(names) or 'no arrays'}; choose one with `dataset=...`")
    return names[0]


def _columns(path: Path, names: Sequence[str], dataset: str | None) -> list[str]:
    """The columns that are asked for, in that order; all of them by default."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise LsamplerError(f"{path}: two columns are called '{shortened(twice)}'; rename one")
    if dataset is None:
        return list(names)
    chosen: dict[str, None] = {}
    for pattern in dataset.split(","):
        found = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise LsamplerError(f"{path}: holds no column '{shortened(pattern)}'{nearest_name(pattern, names)}")
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _text(path: Path, dataset: str | None, *, delimiter: str) -> RawRows:
    """A table as text with a line of names first; read at once, as float32. An empty field is a missing value."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        head = next(reader, None)
        if not head:
            raise LsamplerError(f"{path}: is empty; give a line of names, then a line of numbers per item")
        if all(map(_is_number, head)):
            raise LsamplerError(f"{path}: begins with numbers; give a first line with the names of the columns")
        names = [name.strip() for name in head]
        taken = _columns(path, names, dataset)
        places = [names.index(name) for name in taken]
        parts: list[NDArray[np.float32]] = []
        values: list[list[float]] = []
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(names):
                raise LsamplerError(
                    f"{path}: line {reader.line_num} has {len(fields)} fields, the first has {len(names)}; correct it"
                )
            try:
                values.append([float(fields[place] or "nan") for place in places])
            except ValueError:
                wrong = next(place for place in places if not _is_number(fields[place] or "nan"))
                raise LsamplerError(
                    f"{path}: line {reader.line_num}, column '{shortened(names[wrong])}' holds "
                    f"'{shortened(fields[wrong])}', no number; leave the column out with `dataset=...`, or encode it"
                ) from None
            if len(values) == 1 << 14:
                parts.append(np.array(values, np.float32))
                values = []
    rows = np.concatenate([*parts, np.array(values, np.float32).reshape(-1, len(taken))])
    return RawRows.of_array(path.name, rows, taken, partial(open_rows, path, dataset))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path, dataset: str | None) -> RawRows:
    arrow = require_extra("pyarrow", extra="parquet", user=str(path))
    parquet = require_extra("pyarrow.parquet", extra="parquet", user=str(path))
    file = parquet.ParquetFile(path)
    schema = file.schema_arrow
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
    names = _columns(path, [name for name in schema.names if name not in index], dataset)
    types = arrow.types
    for name in names:
        kind = schema.field(name).type
        if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
            raise LsamplerError(
                f"{path}: column '{shortened(name)}' is of type {kind}, no number; leave it out with `dataset=...`, or "
                "encode it as numbers"
            )
    starts = np.cumsum([0, *(file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups))])
    kept: dict[int, NDArray[np.float32]] = {}

    def group(number: int) -> NDArray[np.float32]:
        if number not in kept:
            kept.clear()  # the rows are read in their order: one group at a time is enough
            table = file.read_row_group(number, columns=names)
            columns = [arrow.compute.cast(table.column(name), "float32", safe=False) for name in names]
            kept[number] = np.column_stack([column.to_numpy() for column in columns])
        return kept[number]

    def read(start: int, stop: int) -> NDArray[np.float32]:
        groups = range(int(np.searchsorted(starts, start, "right")) - 1, int(np.searchsorted(starts, stop, "left")))
        parts = [group(k)[max(start - starts[k], 0) : stop - starts[k]] for k in groups]
        return np.concatenate(parts) if parts else np.empty((0, len(names)), np.float32)

    return RawRows(path.name, (int(starts[-1]), len(names)), tuple(names), partial(open_rows, path, dataset), read)


def _anndata(path: Path, dataset: str | None) -> RawRows:
    """The matrix ``X`` of an AnnData file, sparse or not, or ``obsm/NAME`` or ``layers/NAME``; read in parts."""
    anndata = require_extra("anndata", extra="anndata", user=str(path))
    data = anndata.read_h5ad(path, backed="r")
    kind, _, name = (dataset or ANNDATA_X).strip("/").partition("/")
    held = {"obsm": data.obsm, "layers": data.layers}.get(kind)
    if kind == ANNDATA_X and not name:
        matrix, names = data.X, tuple(map(str, data.var_names))
    elif held is not None and name in held:
        matrix, names = held[name], tuple(map(str, data.var_names)) if kind == "layers" else ()
    else:
        known = ["X", *(f"obsm/{key}" for key in data.obsm), *(f"layers/{key}" for key in data.layers)]
        raise LsamplerError(f"{path}: holds no '{shortened(str(dataset))}'; `dataset=...` may be {listed(known)}")
    if matrix is None:
        raise LsamplerError(f"{path}: its X is empty; choose another array with `dataset=...`, such as obsm/X_pca")

    def read(start: int, stop: int) -> NDArray[Any]:
        rows = matrix[start:stop]
        return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)

    shape = tuple(map(int, matrix.shape))
    names = names if math.prod(shape[1:]) == len(names) else ()
    return RawRows(path.name, shape, names, partial(open_rows, path, dataset), read)
