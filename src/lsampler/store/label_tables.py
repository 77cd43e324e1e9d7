"""Tables of labels: text, Parquet, arrays of NumPy and AnnData, with the ids of the items that they belong to."""

from __future__ import annotations

import csv
import itertools
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.extras import require_extra
from lsampler.files import existing_file
from lsampler.hdf5_files import open_hdf5, refuse_links
from lsampler.showing import About, Shown, counted
from lsampler.store.labels import MOST_LABELS, MOST_LEVELS, Label, LabelKind, Labels, coded, missing

ID_NAMES = (
    *("id", "ids", "image_id", "imageid", "image", "img", "file", "filename", "file_name", "filepath", "file_path"),
    *("path", "name", "item", "item_id", "obs_names"),
)
MOST_CELLS, MOST_ARRAY_BYTES = 1 << 30, 1 << 31
SEPARATORS = "\t,;"
INDEX = ""
"""What a column without a name is called: pandas writes its index so."""

Columns: TypeAlias = dict[str, NDArray[Any]]
"""The columns of a table by their names, (N,) numbers, texts or objects."""


@dataclass(frozen=True, repr=False)
class LabelTable(Shown):
    """Labels of items that are known by their ids.

    Attributes:
        name: what messages call it.
        ids: of the rows, each once; None if the table has none, so that its rows are in the order of the items.
        labels: of the rows.
        left_out: columns that are no labels, with the reasons.
    """

    name: str
    ids: tuple[str, ...] | None
    labels: Labels
    left_out: Mapping[str, str]

    def _about(self) -> About:
        rows = counted(len(self.labels.codes), "row")
        return About("LabelTable", self.name, [rows, counted(len(self.labels), "label")])


def read_labels(
    path: str | os.PathLike[str], *, id_column: str | None = None, kinds: Mapping[str, LabelKind] | None = None
) -> LabelTable:
    """Read a table of labels.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.txt`` with a line of names first, such as ``list_attr_celeba.txt`` of CelebA as
            it is downloaded; a ``.parquet`` (extra ``parquet``); an ``.npz`` of arrays (N,), such as ``y``; or the
            ``obs`` of an ``.h5ad`` (extra ``anndata``).
        id_column: which column holds ids or file names. By default one that is called so (``id``, ``image_id``,
            ``file``, ``filename``, ``path``, ``name`` and the like), or else the first column of texts.
        kinds: of labels whose values do not tell, see :meth:`Labels.of`.

    Raises:
        LsamplerError: the file cannot be read; an id is missing or there twice; no column is a label; or a column
            holds numbers and texts.
    """
    path = existing_file(path, "table of labels")
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise LsamplerError(f"{path}: not a table of labels; give one of {', '.join(READERS)}")
    try:
        columns = read(path)
    except LsamplerError:
        raise
    except UnicodeError as error:
        raise LsamplerError(f"{path}: is not UTF-8; save it in that encoding") from error
    except MemoryError as error:
        raise LsamplerError(f"{path}: needs more memory than there is; give it in smaller parts") from error
    except Exception as error:  # damaged files raise anything
        reason = shortened(str(error) or type(error).__name__)
        raise LsamplerError(f"{path}: not a readable {path.suffix.lower()} table ({reason}); write it again") from error
    identity = _id_column(path, columns, id_column)
    ids = None if identity is None else _checked_ids(path, identity, columns.pop(identity))
    columns.pop(INDEX, None)
    labels, left_out = _labels(path, columns, kinds or {})
    return LabelTable(path.name, ids, labels, left_out)


def _labels(path: Path, columns: Columns, kinds: Mapping[str, LabelKind]) -> tuple[Labels, dict[str, str]]:
    """The columns that are labels, and the reasons why others are not."""
    for name in kinds:
        if name not in columns:
            raise LsamplerError(f"{path}: holds no label '{shortened(name)}'{nearest_name(name, columns)}")
    found: list[tuple[Label, NDArray[np.float32]]] = []
    left_out: dict[str, str] = {}
    for name, values in columns.items():
        different = 0 if values.dtype.kind in "fiub" else len(set(values.tolist()))
        if different > MOST_LEVELS and name not in kinds and not _is_number(values[~missing(values)][0]):
            left_out[name] = f"{different:,} different texts"
            continue
        try:
            found.append(coded(name, values, kinds.get(name)))
        except LsamplerError as error:
            raise LsamplerError(f"{path}: {error}") from error
    if not 0 < len(found) <= MOST_LABELS:
        held = f"{len(found):,} columns" if found else "no column"
        fix = f"give at least one beside the ids, at most {MOST_LABELS:,}"
        raise LsamplerError(f"{path}: holds {held} of labels; {fix}")
    return Labels([label for label, _ in found], np.column_stack([codes for _, codes in found])), left_out


def _id_column(path: Path, columns: Columns, wanted: str | None) -> str | None:
    """The column of ids; None if there is none."""
    if wanted is not None:
        if wanted not in columns:
            raise LsamplerError(f"{path}: holds no column '{shortened(wanted)}'{nearest_name(wanted, columns)}")
        return wanted
    named = {name.lower(): name for name in reversed(list(columns))}
    for name in (*ID_NAMES, INDEX):
        if name in named:
            return named[name]
    return next((name for name, values in columns.items() if _is_text(values)), None)


def _is_text(values: NDArray[Any]) -> bool:
    """Whether the first value that is there is a text, and no number."""
    if values.dtype.kind in "fiub":
        return False
    known = values[~missing(values)]
    return len(known) > 0 and not _is_number(known[0])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _checked_ids(path: Path, column: str, values: NDArray[Any]) -> tuple[str, ...]:
    """Ids as texts. Raises LsamplerError if one is missing, or there twice."""
    without = np.flatnonzero(missing(values))
    other = "or name the column of ids with `id_column=...`"
    if len(without):
        raise LsamplerError(f"{path}: row {without[0] + 1} has no id in column '{shortened(column)}'; add it, {other}")
    if values.dtype.kind == "f" and (values == values.round()).all():
        values = values.astype(np.int64)  # whole numbers beside missing ones were read as floats
    texts = [text.decode("utf-8") if isinstance(text, bytes) else str(text).strip() for text in values.tolist()]
    if len(set(texts)) < len(texts):
        twice, times = Counter(texts).most_common(1)[0]
        problem = f"the id '{shortened(twice)}' is there {times} times in column '{shortened(column)}'"
        raise LsamplerError(f"{path}: {problem}; give each its own row, {other}")
    return tuple(texts)


def _text(path: Path) -> Columns:
    """A table as text; in a ``.txt`` a first line may state the number of rows, which is not relied on."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        skipped = path.suffix.lower() == ".txt" and first.strip().isdigit()
        first = stream.readline() if skipped else first
        rows = _fields(path, first, stream)
        head = [name.strip() for name in next(rows, [])]
        lines = [(number, fields) for number, fields in enumerate(rows, 3 if skipped else 2) if fields]
    if not head or not lines:
        raise LsamplerError(f"{path}: holds no rows; give a line of names, then a line per item")
    if path.suffix.lower() != ".csv" and len(lines[0][1]) == len(head) + 1:  # the ids have no name
        head = [INDEX, *head]
    for number, fields in lines:
        if len(fields) != len(head):
            there = f"line {number} has {len(fields)} fields, the names are {len(head)}"
            raise LsamplerError(f"{path}: {there}; correct it")
    if len(set(head)) < len(head):
        twice = Counter(head).most_common(1)[0][0]
        raise LsamplerError(f"{path}: two columns are called '{shortened(twice)}'; rename one")
    columns = zip(*(fields for _, fields in lines), strict=True)
    return {name: np.array(values, dtype=object) for name, values in zip(head, columns, strict=True)}


def _fields(path: Path, first: str, stream: IO[str]) -> Iterator[list[str]]:
    """The fields of all lines, separated as the first line shows: by tabs, commas or semicolons, or else by spaces."""
    lines = itertools.chain([first], stream)
    separator = max(SEPARATORS, key=first.count)
    if path.suffix.lower() == ".tsv":
        separator = "\t"
    if separator in first or path.suffix.lower() != ".txt":
        return csv.reader(lines, delimiter=separator if separator in first else ",")
    return (line.split() for line in lines)


def _parquet(path: Path) -> Columns:
    arrow = require_extra("pyarrow", extra="parquet", user=str(path))
    parquet = require_extra("pyarrow.parquet", extra="parquet", user=str(path))
    file = parquet.ParquetFile(path)
    schema, types = file.schema_arrow, arrow.types
    names = [
        field.name
        for field in schema
        if not types.is_nested(field.type) and not types.is_binary(field.type) and not types.is_null(field.type)
    ]
    if len(set(schema.names)) < len(schema.names):
        raise LsamplerError(f"{path}: several columns have the same name; rename them")
    if file.metadata.num_rows * max(1, len(names)) > MOST_CELLS:
        raise LsamplerError(f"{path}: declares {file.metadata.num_rows:,} rows, too many to join; give a smaller table")
    if not file.metadata.num_rows:
        raise LsamplerError(f"{path}: holds no rows; give one per item")
    table = file.read(columns=names)
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
    unnamed = {name for name in index if name.startswith("__index_level_")}
    return {INDEX if name in unnamed else name: _column(types, table.column(name)) for name in names}


def _column(types: Any, column: Any) -> NDArray[Any]:
    """A column of Parquet: numbers with NaN for missing ones, or objects."""
    if types.is_integer(column.type) or types.is_floating(column.type):
        numbers: NDArray[Any] = column.to_numpy()
        return numbers
    return np.array([None, *column.to_pylist()], dtype=object)[1:]


def _npz(path: Path) -> Columns:
    """The arrays of one axis, one value per item; those of other lengths and shapes are no labels."""
    with zipfile.ZipFile(path) as archive:
        large = [member.filename for member in archive.infolist() if member.file_size > MOST_ARRAY_BYTES]
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files if f"{name}.npy" not in large and _one_axis(arrays, name)}
    length = max((len(values) for values in found.values()), default=0)
    columns = {name: values for name, values in found.items() if len(values) == length and name != "split"}
    if not length or not columns:
        raise LsamplerError(f"{path}: holds no array of labels; give one (N,) with a value per item, such as 'y'")
    return columns


def _one_axis(arrays: Any, name: str) -> bool:
    """Whether an array of an archive has one axis, by its header."""
    with arrays.zip.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
    return len(shape) == 1 and dtype.kind in "fiubUS"


def _anndata(path: Path) -> Columns:
    """The columns of ``obs``, with the names of the observations as ids."""
    anndata = require_extra("anndata", extra="anndata", user=str(path))
    with open_hdf5(path, "AnnData file") as handle:
        refuse_links(path, handle)
    data = anndata.read_h5ad(path, backed="r")
    try:
        ids = np.array([str(name) for name in data.obs_names], dtype=object)
        own = obs_columns(data.obs)
    finally:
        data.file.close()
    return {"obs_names": ids, **own}


def obs_columns(obs: Any) -> Columns:
    """The columns of a table of pandas that may be labels, as arrays (N,)."""
    return {str(name): _plain(obs[name]) for name in obs.columns if str(name).lower() not in ID_NAMES}


def _plain(series: Any) -> NDArray[Any]:
    numbers = series.dtype.kind in "fiub" and isinstance(series.dtype, np.dtype)
    return np.asarray(series.to_numpy() if numbers else series.astype(object).to_numpy())


READERS: dict[str, Callable[[Path], Columns]] = {
    ".csv": _text,
    ".tsv": _text,
    ".txt": _text,
    ".parquet": _parquet,
    ".npz": _npz,
    ".h5ad": _anndata,
}
