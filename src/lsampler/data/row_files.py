"""Rows of numbers in files: array files, tables, and AnnData; read in ranges where the format allows it."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from lsampler.hdf5_files import checked_dataset, datasets, listed, open_hdf5, refuse_links

IDS = ("id", "ids")
"""What the column of a table is called that holds a text or a number for each item, and is none of its features."""
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
        ids: a text for each row, if the file has them.
    """

    name: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    open: Callable[[], RawRows] | None
    read: Callable[[int, int], NDArray[Any]]
    ids: Sequence[str] | None = None

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
    """The columns that are asked for, in that order; by default all but one of ids.

    A pattern that begins with ``!`` leaves columns out of those before it, or of all.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise LsamplerError(f"{path}: two columns are called '{shortened(twice)}'; rename one")
    features = [name for name in names if name.lower() not in IDS]
    patterns = [] if dataset is None else dataset.split(",")
    chosen = dict.fromkeys(features if not patterns or patterns[0].startswith("!") else [])
    for pattern in patterns:
        out = pattern.startswith("!") and pattern not in names
        wanted = pattern.removeprefix("!") if out else pattern
        found = [wanted] if wanted in names else [name for name in names if fnmatchcase(name, wanted)]
        if not found:
            raise LsamplerError(f"{path}: holds no column '{shortened(wanted)}'{nearest_name(wanted, names)}")
        if out:
            chosen = {name: None for name in chosen if name not in found}
        else:
            chosen |= dict.fromkeys(found)
    if not chosen:
        raise LsamplerError(f"{path}: no column is left; choose those of the features with `dataset=...`")
    return list(chosen)


def _id_column(names: Sequence[str], taken: Sequence[str]) -> str | None:
    """The column of ids, unless it was asked for as a feature."""
    return next((name for name in names if name.lower() in IDS and name not in taken), None)


def _unique(path: Path, ids: Sequence[str]) -> Sequence[str]:
    """Ids as they are. Raises LsamplerError if two are equal."""
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise LsamplerError(
            f"{path}: two rows have the id '{shortened(twice)}'; give each its own, or rename the column"
        )
    return ids


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
        identity = _id_column(names, taken)
        ids: list[str] | None = None if identity is None else []
        parts: list[NDArray[np.float32]] = []
        values: list[list[float]] = []
        for fields in filter(None, reader):
            if len(fields) != len(names):
                raise LsamplerError(
                    f"{path}: line {reader.line_num} has {len(fields)} fields, the first has {len(names)}; correct it"
                )
            values.append(_numbers_of(path, reader.line_num, names, fields, places))
            if ids is not None:
                ids.append(fields[names.index(str(identity))].strip())
            if len(values) == 1 << 14:
                parts.append(np.array(values, np.float32))
                values = []
    rows = np.concatenate([*parts, np.array(values, np.float32).reshape(-1, len(taken))])
    found = RawRows.of_array(path.name, rows, taken, partial(open_rows, path, dataset))
    return replace(found, ids=None if ids is None else _unique(path, ids))


def _numbers_of(
    path: Path, line: int, names: Sequence[str], fields: Sequence[str], places: Sequence[int]
) -> list[float]:
    """The numbers in some fields of a line; NaN for an empty one."""
    try:
        return [float(fields[place] or "nan") for place in places]
    except ValueError:
        wrong = next(place for place in places if not _is_number(fields[place] or "nan"))
        raise LsamplerError(
            f"{path}: line {line}, column '{shortened(names[wrong])}' holds '{shortened(fields[wrong])}', no number; "
            f"leave the column out with `dataset='!{shortened(names[wrong])}'`, or encode it as numbers"
        ) from None


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
                f"{path}: column '{shortened(name)}' is of type {kind}, no number; leave it out with "
                f"`dataset='!{shortened(name)}'`, or encode it as numbers"
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

    identity = _id_column(schema.names, names)
    ids = None
    if identity is not None:
        ids = _unique(path, list(map(str, file.read(columns=[identity]).column(0).to_pylist())))
    shape, opened = (int(starts[-1]), len(names)), partial(open_rows, path, dataset)
    return RawRows(path.name, shape, tuple(names), opened, read, ids)


def _anndata(path: Path, dataset: str | None) -> RawRows:
    """The matrix ``X`` of an AnnData file, sparse or not, or ``obsm/NAME`` or ``layers/NAME``; read in parts."""
    anndata = require_extra("anndata", extra="anndata", user=str(path))
    with open_hdf5(path, "AnnData file") as handle:
        refuse_links(path, handle)
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
    ids = list(map(str, data.obs_names)) if data.obs_names.is_unique else None
    return RawRows(path.name, shape, names, partial(open_rows, path, dataset), read, ids)
