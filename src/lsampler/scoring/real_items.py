"""The real items that decoded samples are compared with: those that were encoded, or decoded real vectors."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.memory import require_memory
from lsampler.data.encoded_items import EncodedItems
from lsampler.data.item_rows import open_items
from lsampler.data.items import Item
from lsampler.data.pictures import to_uint8
from lsampler.errors import LsamplerError
from lsampler.scoring.core import calibration_split
from lsampler.scoring.samples import RealData, Samples
from lsampler.store.latent_store import LatentStore

Items = NDArray[Any]
"""As :attr:`Samples.items`: images (n, H, W, C) uint8, others (n, *shape) float32."""
CHECKED, TOLERANCE = 8, 0.02
VALUE_BYTES = 16.0
"""For each number of an item: real and decoded ones, train and held-out."""
LEAVE_OUT = "leave scores of items out"
NO_DECODER = "needs decoded items; give `model=...`"


class RealItems:
    """The items of the real vectors that samples are compared with.

    They are the items that were encoded, where these are at hand: in a store of :func:`lsampler.encode`, or in a file
    that is named. Elsewhere they are decoded real vectors, so that what the autoencoder loses does not count.

    Args:
        real: the real data, with an autoencoder.
        path: the file of items that the store was encoded from; None takes those that the store knows.

    Attributes:
        originals: whether they are the items that were encoded.
        item: what one item is.

    Raises:
        LsamplerError: there is no decoder, or the file does not hold the items of the store.
    """

    def __init__(self, real: RealData, path: str | None = None) -> None:
        if real.decode is None:
            raise LsamplerError(NO_DECODER)
        self._real, self._decode = real, real.decode
        if real.item is not None:
            rows = min(real.rows, real.reference.statistics().count // 2)
            needed = VALUE_BYTES * rows * math.prod(real.item.shape)
            require_memory(needed, f"comparing {rows:,} {real.item.plural_words}", LEAVE_OUT)
        self._kept: EncodedItems | None = real.reference.items if path is None else _in_file(real, path)
        self.originals = self._kept is not None

    @cached_property
    def item(self) -> Item:
        """What one item is."""
        if self._real.item is not None:
            return self._real.item
        shape, is_image = self.decoded_train.shape[1:], self.decoded_train.dtype == np.uint8
        return Item("image", (shape[2], *shape[:2])) if is_image else Item.guessed(shape)

    @cached_property
    def train(self) -> Items:
        """The items of :attr:`RealData.train`."""
        if self._kept is None:
            return self.decoded_train
        return _taken(self._kept, self._kept.train[self._real.chosen[0]])

    @cached_property
    def other(self) -> Items:
        """The items of :attr:`RealData.other`."""
        if self._kept is None:
            return self._decode(self._real.other)
        return _taken(self._kept, self._kept.train[self._real.chosen[1]])

    @cached_property
    def held_out(self) -> Items:
        """The items of the first held-out vectors, at most twice as many as samples are compared with."""
        if self._kept is None:
            return self.decoded_held_out
        return _taken(self._kept, self._kept.held_out[: 2 * self._real.rows])

    @cached_property
    def decoded_train(self) -> Items:
        """The vectors of :attr:`RealData.train`, decoded."""
        return self._decode(self._real.train)

    @cached_property
    def decoded_held_out(self) -> Items:
        """The vectors whose items are :attr:`held_out`, decoded."""
        return self._decode(self._real.held_out[: 2 * self._real.rows])

    def of(self, samples: Samples) -> Items:
        """The items that a row of samples is scored by: of real vectors those that were encoded, of others their own.

        At most as many as :attr:`RealData.train` has.
        """
        most = len(self._real.train)
        if samples.kind == "held-out":
            return calibration_split(self.held_out)[1][:most]
        return self.other if samples.kind == "train" else samples.head(most).items


def _taken(kept: EncodedItems, numbers: NDArray[np.int64]) -> Items:
    rows, (low, high) = kept.take(numbers), kept.item.value_range
    return to_uint8((rows - low) / (high - low)) if kept.item.is_image else rows


def _in_file(real: RealData, path: str) -> EncodedItems:
    """The items of a file, by the ids of the store. Raises LsamplerError if they are not those that were encoded."""
    store, item = real.reference, real.item
    if item is None or item.is_image:
        raise LsamplerError(f"`items={path}`: only for models of other items than images; leave it out")
    if not isinstance(store, LatentStore) or not store.has_ids:
        raise LsamplerError(f"`items={path}`: {store.name} has no ids, so items and vectors cannot be matched")
    source = open_items(path, item)
    place = {identity: number for number, identity in enumerate(source.ids)}
    ids, held_out = store.ids(), np.array([split == "held-out" for split in store.splits()])
    missing = next((identity for identity in ids if identity not in place), None)
    if missing is not None:
        raise LsamplerError(
            f"{path}: holds no item '{missing}', which {store.name} does; give the file that was encoded"
        )
    numbers = np.array([place[identity] for identity in ids], dtype=np.int64)
    found = EncodedItems(source, item, numbers[~held_out], numbers[held_out])
    _check_encoded(real, found, path)
    return found


def _check_encoded(real: RealData, found: EncodedItems, path: str) -> None:
    """Ids may be plain numbers, which any file has: some items are encoded again."""
    if real.encode is None:
        return
    some = real.train[:CHECKED]
    again = real.encode(found.take(found.train[real.chosen[0][:CHECKED]]))
    if np.abs(again - some).max() > TOLERANCE * float(real.reference.statistics().std.max()):
        raise LsamplerError(
            f"{path}: its items are not those of {real.reference.name}: they are encoded to other vectors; give the "
            "file that was encoded"
        )
