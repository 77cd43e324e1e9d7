"""The items that are edited or walked through: photos, ids of a store, arrays of items or of latent vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import as_numbers, require_finite
from lsampler.data.image_files import ImageError, decode
from lsampler.data.image_sources import IMAGE_SUFFIXES, ImageSource, open_images
from lsampler.data.preprocess import Crop
from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.files import existing_file
from lsampler.models.decoding import encode_rows
from lsampler.models.encode_ranges import EncodeOptions, preparation
from lsampler.models.in_memory import encode
from lsampler.scoring.subject import Subject
from lsampler.store.held_out import HeldOut
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import open_store

STORES = (".h5", ".shards")
SEVERAL = (".zip", ".npy", ".npz", ".h5", ".hdf5")
BATCH = 128
MOST_COMPARED = 100_000
"""Ids among which the nearest is looked for."""
GIVE = "give a photo, an id of the store, an array of items, or latent vectors (n, D)"


@dataclass(frozen=True)
class Stops:
    """Latent vectors of items.

    Attributes:
        ids: what each is called.
        latents: (n, D).
        notes: what a user should know of how they were found.
    """

    ids: Sequence[str]
    latents: NDArray[np.float32]
    notes: Sequence[str] = ()


def stops_of(subject: Subject, given: Any, crop: Crop | None = None) -> Stops:
    """The latent vectors of whatever names or holds items.

    Args:
        subject: the reference, whose store is searched for ids, and the autoencoder that encodes.
        given: a text or a path, or a list of them: the file of a photo, a folder or an archive of images, a file of
            other items, a store of latent vectors, or an id of the reference; or a store, an array (n, D) of latent
            vectors, or one of items (n, *shape). Where a file has the name of an id, the file is taken.
        crop: of photos; None as the autoencoder was trained.

    Raises:
        LsamplerError: there is no such file or id, it cannot be read, or holds items of another kind.
    """
    if isinstance(given, Stops):
        return given
    if isinstance(given, LatentStore):
        return _of_store(subject, given)
    if isinstance(given, str | os.PathLike):
        return _named(subject, os.fspath(given), crop)
    if isinstance(given, list | tuple) and given and all(isinstance(one, str | os.PathLike) for one in given):
        return _together([_named(subject, os.fspath(one), crop) for one in given])
    return _of_array(subject, given)


def _together(parts: Sequence[Stops]) -> Stops:
    ids = [name for part in parts for name in part.ids]
    return Stops(ids, np.concatenate([part.latents for part in parts]), [note for part in parts for note in part.notes])


def _named(subject: Subject, name: str, crop: Crop | None) -> Stops:
    store = subject.reference if isinstance(subject.reference, LatentStore) else None
    there = os.path.lexists(name)
    row = _row_of(store, name) if store is not None else None
    if there:
        found = _of_file(subject, Path(name), crop)
        both = f"'{shortened(name)}' is a file and an id of {subject.reference.name}; the file is taken"
        return found if row is None else Stops(found.ids, found.latents, [*found.notes, both])
    if store is not None and row is not None:
        return Stops([name], store.read(row, row + 1))
    if store is None:
        raise LsamplerError(
            f"{name}: no such file, and {subject.reference.name} knows no ids; check the path, or give `store=...` of "
            "latents with ids"
        )
    if not store.has_ids:
        raise LsamplerError(f"{name}: no such file, and {store.name} holds no ids; give files, or latent vectors")
    near = nearest_name(name, store.ids()) if len(store) <= MOST_COMPARED else ""
    near = near if "did you mean" in near else "; check the path, or the ids of the store"
    raise LsamplerError(f"{name}: no such file, and no id of {store.name}{near}")


def _row_of(store: LatentStore, name: str) -> int | None:
    """The row of an id; None if there is none."""
    if not store.has_ids:
        return None
    if "row of id" not in store.kept:
        store.kept["row of id"] = {known: row for row, known in reversed(list(enumerate(store.ids())))}
    found: int | None = store.kept["row of id"].get(name)
    return found


def _of_file(subject: Subject, path: Path, crop: Crop | None) -> Stops:
    if path.suffix in STORES:
        try:
            return _of_store(subject, open_store(path))
        except LsamplerError:
            if path.suffix != ".h5" or path.is_dir():  # an .h5 may hold items
                raise
    autoencoder, item = subject.decoder(), subject.item
    assert item is not None  # noqa: S101 - of an autoencoder
    if not item.is_image:
        if path.is_dir() or path.suffix.lower() in (*IMAGE_SUFFIXES, ".zip"):
            raise LsamplerError(f"{path}: images, where the model takes {item.words}; give an array or a table of them")
        return _encoded(subject, path)
    several = path.is_dir() or path.suffix.lower() in SEVERAL
    source: ImageSource = open_images(path) if several else _Photo(existing_file(path, "photo"))
    prepare = preparation(autoencoder, EncodeOptions(crop=crop))
    latents, batch = [], []
    for index, name in enumerate(source.ids):
        try:
            batch.append(prepare(source.read(index)))
        except ImageError as error:
            where = path if isinstance(source, _Photo) else f"{path}: {name}"
            raise LsamplerError(f"{where}: {error}; leave it out, or give another photo") from None
        if len(batch) == BATCH or index == len(source.ids) - 1:
            latents.append(encode_rows(autoencoder, np.stack(batch)))
            batch = []
    return Stops(source.ids, np.concatenate(latents))


class _Photo:
    """The image in one file."""

    def __init__(self, path: Path) -> None:
        self.name, self.ids, self._path = path.name, [path.name], path

    def read(self, index: int) -> NDArray[Any]:
        """Its pixels (H, W, C)."""
        return decode(self._path)


def _of_store(subject: Subject, store: LatentStore) -> Stops:
    """All vectors of a store."""
    if store.dimension != subject.reference.dimension:
        raise LsamplerError(
            f"{store.name}: D = {store.dimension}, {subject.reference.name} has {subject.reference.dimension}"
        )
    if store.fingerprint and subject.fingerprint and store.fingerprint != subject.fingerprint:
        raise LsamplerError(
            f"{store.name}: latent vectors of another encoder than those of {subject.reference.name}; give the model "
            "that encoded them"
        )
    return Stops(store.ids() if store.has_ids else _numbered(len(store)), store.read())


def _of_array(subject: Subject, given: Any) -> Stops:
    """An array of latent vectors or of items. One that may be both holds latent vectors."""
    array = as_numbers(given, "items", GIVE, "(n, D)")
    dimension, item = subject.reference.dimension, subject.item
    if array.ndim == 2 and array.shape[1] == dimension and len(array):
        require_finite(array, "items", array, None)
        return Stops(_numbered(len(array)), array.astype(np.float32))
    if item is None or array.ndim < 2 or not len(array):
        raise LsamplerError(f"`items`: shape {array.shape}; give latent vectors (n, {dimension}), one or more")
    return _encoded(subject, given)


def _encoded(subject: Subject, items: Any) -> Stops:
    """Items in memory or in a file of rows, in their order."""
    store = encode(subject.decoder(), items, held_out=HeldOut(0), progress=False)
    return Stops(store.ids(), store.read())


def _numbered(count: int) -> list[str]:
    width = len(str(count - 1))
    return [f"{index:0{width}d}" for index in range(count)]
