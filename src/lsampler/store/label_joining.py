"""Which row of a table of labels belongs to which item: by id, or by file name with or without folder and suffix."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened
from lsampler.store.label_tables import LabelTable, read_labels
from lsampler.store.labels import LabelKind, Labels, coded

FOLDERS, FOLDER = "folders", "folder"
"""What is given in place of a table to take the folders of the items, and the label that they become."""
SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|webp|tiff?|gif|npy|npz|wav|flac|csv|txt)$", re.IGNORECASE)
SHOWN = 3


@dataclass(frozen=True)
class JoinedLabels:
    """Labels of items, one row for each.

    Attributes:
        labels: of the items, in their order; missing for those that no row of the table belongs to.
        said: in words, what was joined, and what was not; a line each.
    """

    labels: Labels
    said: tuple[str, ...]


def joined_labels(
    given: Any,
    ids: Sequence[str],
    name: str,
    *,
    id_column: str | None = None,
    kinds: Mapping[str, LabelKind] | None = None,
) -> JoinedLabels:
    """The labels of items.

    Args:
        given: the path of a table (:func:`read_labels`), a :class:`LabelTable`, ``folders`` for the folder of each item
            as its label ``folder``, or what :meth:`Labels.of` takes, with a value for each item in their order.
        ids: of the items; empty texts where they have none.
        name: what messages call the items.
        id_column: see :func:`read_labels`.
        kinds: see :func:`read_labels`.

    Raises:
        LsamplerError: nothing of a table belongs to an item, or several rows may belong to one.
    """
    if isinstance(given, str) and given == FOLDERS:
        return _folders(ids, name)
    if isinstance(given, str | os.PathLike):
        given = read_labels(given, id_column=id_column, kinds=kinds)
    if not isinstance(given, LabelTable):
        return JoinedLabels(Labels.of(given, len(ids), kinds=kinds), ())
    rows = _in_order(given, len(ids), name) if given.ids is None else _matched(given, given.ids, ids, name)
    codes = np.full((len(ids), len(given.labels)), np.nan, np.float32)
    codes[rows >= 0] = given.labels.codes[rows[rows >= 0]]
    return JoinedLabels(Labels(given.labels.columns, codes), tuple(_said(given, rows, ids)))


def _folders(ids: Sequence[str], name: str) -> JoinedLabels:
    """The folder of each item as a categorical label."""
    folders = [_plain(identity).rpartition("/")[0] for identity in ids]
    if not any(folders):
        raise LsamplerError(f"{name}: none of its items is in a folder of its own; give a table of labels")
    label, codes = coded(FOLDER, np.array(folders, dtype=object), "categorical")
    without = sum(not folder for folder in folders)
    said = f"labels: '{FOLDER}', with {len(label.levels):,} different ones" + (
        f"; {without:,} of {len(ids):,} items are in none" if without else ""
    )
    return JoinedLabels(Labels([label], codes[:, np.newaxis]), (said,))


def _in_order(table: LabelTable, count: int, name: str) -> NDArray[np.int64]:
    if len(table.labels.codes) != count:
        rows = f"has {len(table.labels.codes):,} rows and no column of ids, {name} {count:,} items"
        raise LsamplerError(
            f"{table.name}: {rows}; name the column of ids with `id_column=...`, or give a row per item"
        )
    return np.arange(count)


def _matched(table: LabelTable, known: Sequence[str], ids: Sequence[str], name: str) -> NDArray[np.int64]:
    """The row (n,) of the table that belongs to each item, -1 for none: the same id, or else the same file name."""
    exact = {identity: row for row, identity in enumerate(known)}
    found = np.array([exact.get(identity, -1) if identity else -1 for identity in ids], np.int64)
    taken = set(found.tolist())
    by_name: dict[str, list[int]] = {}
    for row, identity in enumerate(known):
        if row not in taken:
            by_name.setdefault(_stem(identity), []).append(row)
    owner: dict[int, str] = {}
    for item in np.flatnonzero(found < 0).tolist():
        identity = ids[item]
        rows = [row for row in by_name.get(_stem(identity), ()) if identity and _akin(identity, known[row])]
        if len(rows) > 1:
            several = " and ".join(f"'{shortened(known[row])}'" for row in rows[:2])
            raise LsamplerError(f"{table.name}: {several} may both be '{shortened(identity)}' of {name}; {_FIX}")
        for row in rows:
            if row in owner:
                both = f"'{shortened(owner[row])}' and '{shortened(identity)}' of {name}"
                raise LsamplerError(f"{table.name}: '{shortened(known[row])}' may be both {both}; {_FIX}")
            owner[row], found[item] = identity, row
    if (found < 0).all():
        such = next(filter(None, ids), None)
        there = f", such as '{shortened(such)}'" if such else "; its items have no ids"
        problem = f"none of its ids, such as '{shortened(known[0])}', is one of {name}{there}"
        raise LsamplerError(f"{table.name}: {problem}; name the column of ids with `id_column=...`, or correct them")
    return found


_FIX = "write the ids in full, with their folders and suffixes"


def _plain(identity: str) -> str:
    return identity.replace("\\", "/").removeprefix("./")


def _stem(identity: str) -> str:
    """The file name without folder and suffix, a number without leading zeros."""
    stem = SUFFIX.sub("", _plain(identity).rpartition("/")[2])
    return (stem.lstrip("0") or "0") if stem.isdecimal() else stem


def _akin(first: str, second: str) -> bool:
    """Whether two ids of the same stem agree in the folders that both name."""
    one, other = (_plain(identity).split("/")[-2::-1] for identity in (first, second))
    return all(a == b for a, b in zip(one, other, strict=False))


def _said(table: LabelTable, rows: NDArray[np.int64], ids: Sequence[str]) -> Iterable[str]:
    """What was joined, and what was not."""
    how = "by their ids" if table.ids is not None else "in the order of its rows"
    count = len(table.labels)
    labels = f"'{shortened(table.labels.names[0])}'" if count == 1 else f"{count} labels"
    there = int((rows >= 0).sum())
    yield f"labels: {labels} of {table.name} for {there:,} of {len(ids):,} items, {how}"
    for column, reason in list(table.left_out.items())[:SHOWN]:
        yield f"left out: column '{shortened(column)}' of {table.name}, which holds {reason}"
    if there < len(ids):
        yield f"without labels: {_some([ids[k] for k in np.flatnonzero(rows < 0).tolist()], 'items')}"
    if table.ids is not None and there < len(table.ids):
        spare = np.ones(len(table.ids), np.bool_)
        spare[rows[rows >= 0]] = False
        yield f"labels without an item: {_some([table.ids[k] for k in np.flatnonzero(spare).tolist()], 'rows')}"


def _some(ids: Sequence[str], what: str) -> str:
    shown = ", ".join(f"'{shortened(identity)}'" for identity in ids[:SHOWN] if identity)
    one = what.removesuffix("s") if len(ids) == 1 else what
    return f"{len(ids):,} {one}" + (f", such as {shown}" if shown else "")
