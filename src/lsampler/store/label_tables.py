"""Tables of labels, and how they are joined with the rows of a store: by id, or by the name of a file."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, printable, shortened
from lsampler.extras import require_extra
from lsampler.files import existing_file
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.file_store import FileStore
from lsampler.store.labels import LabelKind, Labels
from lsampler.store.latent_store import LatentStore, Rows
from lsampler.store.opening import open_store
from lsampler.store.writer import write_store

ID_NAMES = ("id", "ids", "image_id", "image", "file", "filename", "file_name", "name", "path", "item")
FOLDERS = "folders"
"""In place of a table: the folder of each item is its label ``folder``."""
SUFFIXES = (".csv", ".tsv", ".parquet", ".txt")
KEYS: dict[str, Callable[[str], str]] = {
    "id": str,
    "file name": lambda text: PurePosixPath(text).name,
    "file name without its ending": lambda text: PurePosixPath(text).stem,
}
"""How ids may be compared, the strictest first."""
SHOWN = 3


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of items that are known by their ids.

    Attributes:
        name: what messages call it.
        ids: one per row.
        labels: of these rows.
    """

    name: str
    ids: Sequence[str]
    labels: Labels


TableLike: TypeAlias = "LabelTable | str | os.PathLike[str]"
"""A table of labels, or the path of one; or ``folders``, for the folder of each item."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Labels of the rows of a store, in their order.

    Attributes:
        labels: missing in rows that the table does not have.
        by: what was compared: ``id``, or a file name.
        missing: the ids of rows that the table does not have.
        unused: the ids of the table's rows that the store does not have.
    """

    labels: Labels
    by: str
    missing: Sequence[str]
    unused: Sequence[str]

    @property
    def words(self) -> str:
        """How many rows have labels, and what did not join, in one line."""
        total = len(self.labels.codes)
        parts = [f"{len(self.labels)} labels for {total - len(self.missing):,} of {total:,} items, joined by {self.by}"]
        parts += [f"no labels for {_some(self.missing)}"] if self.missing else []
        parts += [f"not in the store: {_some(self.unused)}"] if self.unused else []
        return "; ".join(parts)


def read_labels(
    path: str | os.PathLike[str], *, id_column: str | None = None, kinds: Mapping[str, LabelKind] | None = None
) -> LabelTable:
    """Read a table of labels with a column of ids.

    Args:
        path: ``.csv``, ``.tsv`` or ``.parquet`` with a line of names; or ``.txt`` with columns that spaces divide, as
            CelebA's ``list_attr_celeba.txt``, whose first line, a number, is not needed.
        id_column: the name of the column of ids; by default one that is called id, image_id, file, name or the like, or
            the first column where it holds a text of its own in each row.
        kinds: of labels whose values do not tell; see :class:`Labels`.

    Raises:
        LsamplerError: the table is missing or damaged, has no ids or one twice, or a column is no label.
    """
    where = existing_file(path, "table of labels")
    readers = {".csv": _separated, ".tsv": _separated, ".txt": _spaced, ".parquet": _parquet}
    if where.suffix.lower() not in readers:
        raise LsamplerError(f"{where}: not a table of labels; give one of {', '.join(SUFFIXES)}")
    try:
        columns = readers[where.suffix.lower()](where)
    except UnicodeDecodeError as error:
        raise LsamplerError(f"{where}: is not in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, LsamplerError):
            raise
        raise LsamplerError(f"{where}: cannot be read ({shortened(str(error), 100)}); write it again") from error
    chosen = _id_column(where, columns, id_column)
    ids = ["" if value is None else str(value) for value in columns.pop(chosen)]
    for row, identity in enumerate(ids):
        if not identity:
            raise LsamplerError(
                f"{where}: row {row + 1} has no '{printable(shortened(chosen))}'; give one, or leave it out"
            )
    if not columns:
        raise LsamplerError(f"{where}: has no column besides '{printable(shortened(chosen))}'; add one for each label")
    try:
        return LabelTable(where.name, ids, Labels.of(columns, len(ids), kinds=kinds))
    except LsamplerError as error:
        raise LsamplerError(f"{where}: {error}") from error


def _separated(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = next(reader, [])
        rows = [(reader.line_num, row) for row in reader if row]
    return _table(path, names, rows)


def _spaced(path: Path) -> dict[str, Any]:
    lines = [(number, line.split()) for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1)]
    lines = [(number, fields) for number, fields in lines if fields]
    if lines and len(lines[0][1]) == 1 and lines[0][1][0].isdecimal():
        lines = lines[1:]  # how many there are, which need not be true
    names = lines[0][1] if lines else []
    if len(lines) > 1 and len(lines[1][1]) == len(names) + 1:
        names = ["id", *names]
    return _table(path, names, lines[1:])


def _table(path: Path, names: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> dict[str, Any]:
    if not names or not rows:
        raise LsamplerError(f"{path}: holds no labels; give a line of names, then a line for each item")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise LsamplerError(f"{path}: two columns are called '{printable(shortened(twice))}'; rename one")
    for number, fields in rows:
        if len(fields) != len(names):
            raise LsamplerError(
                f"{path}: line {number} has {len(fields)} fields, the first has {len(names)}; correct it"
            )
    table = np.array([list(fields) for _, fields in rows], dtype=object)
    return {name.strip(): table[:, place] for place, name in enumerate(names)}


def _parquet(path: Path) -> dict[str, Any]:
    parquet = require_extra("pyarrow.parquet", extra="parquet", user=str(path))
    try:
        table = parquet.read_table(path)
        return {name: np.array(table.column(name).to_pylist(), dtype=object) for name in table.column_names}
    except (OSError, ValueError) as error:
        raise LsamplerError(f"{path}: not a readable .parquet file ({shortened(str(error), 100)})") from error


def _id_column(path: Path, columns: Mapping[str, NDArray[Any]], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise LsamplerError(f"{path}: has no column '{shortened(wanted)}'{nearest_name(wanted, list(columns))}")
        return wanted
    named = [name for name in columns if name.strip().lower() in ID_NAMES]
    first = next(iter(columns))
    values = [str(value) for value in columns[first]]
    if named or (len(set(values)) == len(values) and not all(value.lstrip("-").isdecimal() for value in values)):
        return named[0] if named else first
    raise LsamplerError(f"{path}: no column is called id or the like; name the one of the ids with `id_column=...`")


def joined(ids: Sequence[str], table: LabelTable) -> Joined:
    """The labels of items, whose ids are compared with those of a table: as they are, or as names of files.

    Raises:
        LsamplerError: none joins, or an id of the table is there twice.
    """
    found: tuple[str, dict[str, int], list[int | None]] | None = None
    for by, key in KEYS.items():
        places: dict[str, int] = {}
        twice = ""
        for row, identity in enumerate(table.ids):
            twice = identity if places.setdefault(key(identity), row) != row else twice
        rows = [places.get(key(identity)) for identity in ids]
        if all(row is None for row in rows):
            continue
        if twice:
            raise LsamplerError(
                f"{table.name}: two rows are called '{printable(shortened(twice))}' ({by}); leave one out"
            )
        if found is None or _count(rows) > _count(found[2]):
            found = by, places, rows
    if found is None:
        raise LsamplerError(
            f"{table.name}: no id is one of the items: the table has '{printable(shortened(table.ids[0]))}', the items "
            f"'{printable(shortened(ids[0] if ids else ''))}'; give the column of the ids with `id_column=...`"
        )
    by, _, rows = found
    missing = [identity for identity, row in zip(ids, rows, strict=True) if row is None]
    used = {row for row in rows if row is not None}
    unused = [identity for row, identity in enumerate(table.ids) if row not in used]
    codes = np.vstack([table.labels.codes, np.full((1, len(table.labels)), np.nan, np.float32)])
    chosen = [len(table.ids) if row is None else row for row in rows]
    return Joined(Labels(table.labels.columns, codes[chosen]), by, missing, unused)


def _count(rows: Sequence[int | None]) -> int:
    return sum(row is not None for row in rows)


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(shortened(identity))}'" for identity in ids[:SHOWN])
    return f"{shown} and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else shown


def of_folders(ids: Sequence[str], name: str) -> Labels:
    """The folder of each item as the categorical label ``folder``. Raises LsamplerError if all are in one."""
    folders = np.array([PurePosixPath(identity).parent.as_posix() for identity in ids], dtype=object)
    if len(set(folders)) < 2:
        raise LsamplerError(f"{name}: all items are in one folder, which says nothing; give a table of labels")
    return Labels.of({"folder": folders}, len(ids), kinds={"folder": "categorical"})


def labels_for(ids: Sequence[str], given: TableLike, name: str, id_column: str | None = None) -> tuple[Labels, str]:
    """The labels of items by their ids, and in words what did not join.

    Args:
        ids: of the items.
        given: a table, the path of one, or ``folders``.
        name: what messages call the items.
        id_column: of a table that is read.
    """
    if not any(ids):
        raise LsamplerError(f"{name}: its vectors have no ids, by which labels could be joined; encode again")
    if given == FOLDERS:
        labels = of_folders(ids, name)
        return labels, f"label folder: {len(labels.columns[0].levels)} folders"
    table = given if isinstance(given, LabelTable) else read_labels(given, id_column=id_column)
    found = joined(ids, table)
    return found.labels, found.words


@shows_progress
def label_store(
    store: LatentStore | str | os.PathLike[str],
    labels: Any,
    out: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    force: bool = False,
    progress: ProgressLike = None,
) -> tuple[FileStore, str]:
    """Write a store with labels beside its vectors; returns it, and in words what did not join.

    Args:
        store: to read. Labels that it has are kept, but for those of the same names.
        labels: :class:`Labels`, or a mapping of names to arrays, of all rows in their order; a :class:`LabelTable`, or
            the path of a table, which is joined by ids or names of files; or ``folders``.
        out: the new store, ``.h5``; it may be the old one with ``force``.
        id_column: of a table that is read.
        force: replace an existing store, which stays as it is until the new one is complete.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: labels of another number, or none that joins; ``out`` exists, or is no ``.h5``.
    """
    source = store if isinstance(store, LatentStore) else open_store(store)
    if Path(out).suffix != ".h5":
        raise LsamplerError(f"{out}: a store with labels is written as one .h5 file; 'lsampler store shard' divides it")
    if isinstance(labels, LabelTable | str | os.PathLike):
        found, words = labels_for(source.ids(), labels, source.name, id_column)
    else:
        found = Labels.of(labels, len(source))
        words = f"{len(found)} labels for {len(source):,} items"
    kept = [place for place, label in enumerate(source.label_columns) if label.name not in found.names]
    columns = (*(source.label_columns[place] for place in kept), *found.columns)

    def rows() -> Any:
        start = 0
        for part in source.rows():
            own = found.codes[start : start + len(part)]
            if kept and part.labels is not None:
                own = np.column_stack([part.labels.codes[:, kept], own])
            yield Rows(part.latents, part.ids, part.splits, Labels(columns, own))
            start += len(part)

    tracked = track(rows(), progress, "labelling", len(source), len)
    write_store(out, source.dimension, tracked, source.provenance(), columns=columns, force=force)
    return FileStore(out), words
