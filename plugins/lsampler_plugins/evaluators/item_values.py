"""Items as rows of numbers, which scores of items compare feature by feature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.data import Item
from lsampler.models import file_digest
from lsampler.scoring import RealItems

Rows = NDArray[np.float64]
MOST_VALUES = 256
"""Of an item; of longer ones so many, evenly spaced, are compared."""
NOT_AT_HAND = (
    "samples are compared with decoded real vectors, since the real items are not at hand; give item-statistics and "
    "item-classifier `items=FILE`, the file that was encoded"
)
ITEMS = "the file of items that the store was encoded from; none: those that the store knows, or decoded real vectors"


def origin_caveats(items: RealItems) -> list[str]:
    """The line that says so where items, which a file could give, are not at hand."""
    return [] if items.originals or items.item.is_image else [NOT_AT_HAND]


def item_digests(path: str | None) -> Sequence[str]:
    """The digest of the file of items, if there is one."""
    return [file_digest([Path(path)])] if path and Path(path).is_file() else []


def as_floats(items: NDArray[Any]) -> NDArray[Any]:
    """Items as a model takes them: images (n, C, H, W) in [0, 1], others (n, *shape) as they are."""
    if items.dtype == np.uint8:
        return items.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return items.astype(np.float32)


def values(items: NDArray[Any]) -> Rows:
    """Items as rows (n, V) of at most 256 numbers: all of them, or evenly spaced ones."""
    rows = as_floats(items).reshape(len(items), -1)
    return rows[:, _places(rows.shape[1])].astype(np.float64)


def value_names(item: Item) -> Sequence[str]:
    """The names of the numbers that :func:`values` takes: features, steps of a channel, or indices."""
    if item.kind == "table":
        return [item.features[place] for place in _places(item.shape[0])]
    names = []
    for place in _places(int(np.prod(item.shape))):
        first, *others = (int(index) for index in np.unravel_index(place, item.shape))
        if item.kind == "signal":
            channel = f"{item.features[first]}, " if item.shape[0] > 1 else ""
            names.append(f"{channel}step {others[0]}")
        else:
            names.append(str((first, *others)))
    return names


def _places(count: int) -> NDArray[np.int64]:
    if count <= MOST_VALUES:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, MOST_VALUES)).astype(np.int64)
