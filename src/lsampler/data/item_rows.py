"""Items that are no images: the rows of an array in memory or in a file, checked against what the model takes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import as_numbers, column_names
from lsampler.data.items import Item
from lsampler.data.row_files import RawRows, open_rows
from lsampler.errors import LsamplerError, printable, shortened
from lsampler.files import existing_file

CHECKED_VALUES = 1 << 20
SHOWN = 3


class ItemSource(Protocol):
    """A sequence of items with ids, read in ranges."""

    name: str
    ids: list[str]

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """The items from ``start`` up to, not including, ``stop``: (n, *shape) float32, NaN where one is missing."""
        ...


class ItemRows:
    """Items (N, *shape) from an array or a file, checked against what a model takes.

    Args:
        raw: the rows as they are.
        item: what the model takes; None accepts what is there, see :meth:`Item.guessed`.
        ids: one per item; by default those of the file, or their numbers.

    Raises:
        LsamplerError: the rows are of another shape, or their columns have other names or another order.
    """

    def __init__(self, raw: RawRows, item: Item | None = None, ids: Sequence[str] | None = None) -> None:
        self.name, self.raw = raw.name, raw
        self.left_out: Counter[str] = Counter()
        count, *shape = raw.shape or (0,)
        if not count or not shape or min(shape) < 1:
            raise LsamplerError(
                f"{raw.name}: shape {tuple(raw.shape)} holds no items; give an array (N, ...), N above 0"
            )
        self.item = _guessed(raw, tuple(shape)) if item is None else item
        _check_names(raw, self.item)
        if tuple(shape) != self.item.shape and (1, *shape) != self.item.shape:
            raise LsamplerError(
                f"{raw.name}: items of shape {tuple(shape)}, the model takes {self.item.shape}, {self.item.words}; "
                "give items of that shape"
            )
        width = len(str(count - 1))
        known = raw.ids if ids is None else ids
        self.ids = list(known) if known is not None else [f"{index:0{width}d}" for index in range(count)]

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """The items from ``start`` up to, not including, ``stop``: (n, *shape) float32."""
        found = self.raw.read(start, stop)
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
            return np.array(found, dtype=np.float32, order="C").reshape(-1, *self.item.shape)  # which may be written to

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.raw, self.item, self.ids)


def open_items(path: str | os.PathLike[str], item: Item | None = None, *, dataset: str | None = None) -> ItemRows:
    """Open the items in a ``.npy``, ``.npz``, ``.h5``, ``.csv``, ``.tsv``, ``.parquet`` or ``.h5ad`` file.

    Args:
        path: of the file. ``.csv``, ``.tsv`` and ``.npz`` are read at once, the others in parts.
        item: what the model takes; None accepts what is there.
        dataset: which array of an ``.npz``, ``.h5`` or ``.h5ad`` file, such as ``obsm/X_pca``, or which columns of a
            table: names or patterns such as ``pc*``, separated by commas; ``!name`` leaves one out. By default the only
            array, or ``X``, or all columns but ``id`` or ``ids``, which holds the names of the items.

    Raises:
        LsamplerError: the file is missing, damaged, ambiguous, or holds what is no number, or other items.
    """
    return ItemRows(open_rows(existing_file(path, "file of items"), dataset), item)


def bad_rows(rows: NDArray[np.float32], item: Item) -> dict[int, str]:
    """The rows (n, *shape) that hold NaN or infinite values, with the reason."""
    flat = rows.reshape(len(rows), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(flat.sum(axis=1, dtype=np.float64)))
    found = {}
    for row in suspects.tolist():
        wrong = np.flatnonzero(~np.isfinite(flat[row]))
        if len(wrong):
            first = np.unravel_index(wrong[0], item.shape)
            where = f"'{item.features[int(first[0])]}'" if item.names else f"at {tuple(map(int, first))}"
            found[row] = f"holds NaN or infinite values ({len(wrong)}, the first {where})"
    return found


def _guessed(raw: RawRows, shape: tuple[int, ...]) -> Item:
    found = Item.guessed(shape)
    return Item(found.kind, found.shape, raw.names) if found.kind == "table" else found


def _check_names(raw: RawRows, item: Item) -> None:
    """Refuse columns that are not the model's, or not in its order."""
    if not (raw.names and item.names) or raw.names == item.names:
        return
    missing, other = [n for n in item.names if n not in raw.names], [n for n in raw.names if n not in item.names]
    if missing:
        raise LsamplerError(
            f"{raw.name}: holds no column {quoted(missing)}, which the model takes; it holds {quoted(raw.names)}"
        )
    if other:
        wanted = ",".join(item.names)
        raise LsamplerError(
            f"{raw.name}: column {quoted(other)} is not one that the model takes; leave it out, as by "
            f"`dataset='{shortened(wanted)}'`"
        )
    place = next(i for i, (own, wanted) in enumerate(zip(raw.names, item.names, strict=True)) if own != wanted)
    raise LsamplerError(
        f"{raw.name}: column {place + 1} is '{shortened(raw.names[place])}', where the model takes "
        f"'{shortened(item.names[place])}'; give the columns in the model's order, as by "
        f"`dataset='{shortened(','.join(item.names))}'`"
    )


def quoted(names: Sequence[str]) -> str:
    """Names in quotation marks; of many the first three, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{printable(shortened(name))}'" for name in names[:SHOWN]) + more


def as_rows(items: Any, item: Item | None = None, name: str = "items") -> ItemRows:
    """Items from whatever holds them: an array, tensor, list, DataFrame, or the path of a file.

    Raises:
        LsamplerError: they are not numbers in rows of equal length, or other items than the model takes.
    """
    if isinstance(items, ItemRows):
        return items
    if isinstance(items, str | os.PathLike):
        return open_items(items, item)
    array = as_numbers(items, name, "give an array, a table or the path of a file", "(N, ...)")
    return ItemRows(RawRows.of_array(name, array, column_names(items) or ()), item, _index_of(items))


def _index_of(frame: Any) -> list[str] | None:
    """The texts that a DataFrame of pandas has as its index; None where it numbers its rows."""
    index: Any = getattr(frame, "index", None)
    if getattr(getattr(index, "dtype", None), "kind", "") != "O" or not getattr(index, "is_unique", False):
        return None
    return list(map(str, index))
