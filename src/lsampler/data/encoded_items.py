"""The items that latent vectors were encoded from, read by their numbers when a score needs them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsampler.data.item_rows import ItemSource
from lsampler.data.items import Item

VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class EncodedItems:
    """The items of a store's vectors, wherever they are kept.

    Attributes:
        source: all items.
        item: what they are.
        train: (n,) which item each train vector was encoded from, in the store's order.
        held_out: (m,) the same for the held-out vectors.
    """

    source: ItemSource
    item: Item
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]

    def read(self, split: Literal["train", "held-out"]) -> NDArray[np.float32]:
        """All items (n, *shape) of a split, in the order of its vectors; another model of them learns from these."""
        return self.take(self.held_out if split == "held-out" else self.train)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Items (k, *shape) by their numbers in the source, in that order; it is read in parts."""
        found = np.empty((len(numbers), *self.item.shape), np.float32)
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        step, first = max(1, VALUES_AT_ONCE // math.prod(self.item.shape)), 0
        while first < len(ascending):
            start = int(ascending[first])
            last = int(np.searchsorted(ascending, start + step))
            part = self.source.rows(start, int(ascending[last - 1]) + 1)
            found[order[first:last]] = part[ascending[first:last] - start]
            first = last
        return found
