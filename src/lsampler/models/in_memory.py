"""Items in memory -> latent vectors in memory: for notebooks, and data that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lsampler.data.encoded_items import EncodedItems
from lsampler.data.item_rows import ItemRows, as_rows
from lsampler.data.items import Item
from lsampler.models.encode_ranges import EncodeOptions, encode_range
from lsampler.models.protocols import Autoencoder, item_of
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.held_out import HeldOut
from lsampler.store.labels import Labels
from lsampler.store.memory_store import MemoryStore


class EncodedStore(MemoryStore):
    """A store in memory that knows the autoencoder which encoded it: samples are decoded without further ado.

    Attributes:
        autoencoder: the one whose latent vectors these are.
        items: what was encoded, for scores that compare items.
    """

    autoencoder: Autoencoder
    items: EncodedItems


@shows_progress
def encode(
    autoencoder: Autoencoder,
    items: Any,
    *,
    labels: Any = None,
    held_out: int | HeldOut | None = None,
    ids: Sequence[str] | None = None,
    progress: ProgressLike = None,
) -> EncodedStore:
    """Encode items in memory; the store is taken by fit, evaluate, compare, choose and analyze.

    Args:
        autoencoder: such as one made by :func:`lsampler.adapt`.
        items: (N, *shape) in the units of the model: an array, tensor, list or DataFrame, or the path of a file that
            :func:`lsampler.data.open_items` reads. Images may also be (N, H, W), (N, H, W, C) uint8.
        labels: properties of the items, an array (N,), a mapping of names to such arrays, or a DataFrame; the store
            keeps them as :class:`lsampler.store.Labels`, in its own order.
        held_out: how many items are held out, or which; by default a tenth at random, with seed 0.
        ids: one text per item; by default the index of a DataFrame if it holds texts, or numbers.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: items of another shape than the model takes, NaN, texts, or labels of another number.
    """
    item = item_of(autoencoder)
    source = as_rows(as_pixels(items, item), item)
    if ids is not None:
        source = ItemRows(source.raw, item, ids)
    split = held_out if isinstance(held_out, HeldOut) else HeldOut(held_out)
    chosen = split.divide(source.ids, source.name, item.plural).held_out
    count, options = len(source.ids), EncodeOptions(strict=True)
    encoded = encode_range(autoencoder, source, 0, count, held_out=chosen, options=options)
    parts = [rows.latents for rows in track(encoded, progress, "encoding", count, len)]
    order = np.argsort(chosen, kind="stable")  # the held-out ones after the others
    latents, train = np.concatenate(parts)[order], int(count - chosen.sum())
    store = EncodedStore(
        latents[:train],
        latents[train:],
        name=f"{item.plural} of {source.name}" if source.name != "items" else item.plural,
        fingerprint=autoencoder.fingerprint,
        ids=[source.ids[index] for index in order],
        latent_shape=getattr(autoencoder, "latent_shape", None),
        labels=None if labels is None else Labels.of(labels, count).rows(order),
    )
    store.autoencoder = autoencoder
    store.items = EncodedItems(source, item, order[:train], order[train:])
    return store


def as_pixels(items: Any, item: Item) -> Any:
    """Images as bytes, or without an axis for grey, as the model takes them; anything else as it is."""
    shape = getattr(items, "shape", ())
    if not item.is_image or len(shape) not in (3, 4) or hasattr(items, "columns"):
        return items
    channels, height, width = item.shape
    rows = items.detach().cpu().numpy() if hasattr(items, "detach") else np.asarray(items)
    if rows.shape[1:] == (height, width) and channels == 1:
        rows = rows[:, np.newaxis]
    elif rows.shape[1:] != item.shape and rows.shape[1:] == (height, width, channels):
        rows = rows.transpose(0, 3, 1, 2)
    if rows.dtype == np.uint8:
        low, high = item.value_range
        rows = rows.astype(np.float32) * np.float32((high - low) / 255) + np.float32(low)
    return rows
