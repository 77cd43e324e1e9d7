"""Items of any kind: images, or the rows of an array or a table; which of them a file holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.data.image_arrays import HDF5_SUFFIXES, ArrayImages, unit_range
from lsampler.data.image_files import checked_floats
from lsampler.data.image_sources import ImageSource, open_images
from lsampler.data.item_rows import ItemRows, as_rows
from lsampler.data.items import Item, Kind
from lsampler.data.row_files import RawRows, open_rows
from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file

AnySource: TypeAlias = ImageSource | ItemRows
ARRAYS = (".npy", ".npz", *HDF5_SUFFIXES)
CHANNELS = (1, 3)
FEWEST_PIXELS, MOST_CHANNELS = 4, 12
"""Along an edge of an image; and of a signal, as of the twelve leads of an electrocardiogram."""
LOOKED_AT = 64


@dataclass(frozen=True)
class ItemHints:
    """What a file does not say of its items.

    Attributes:
        kind: ``image``, ``signal``, ``table`` or ``array``; None where their shape tells.
        dataset: which array of a file, or which columns of a table, see :func:`lsampler.data.open_items`.
        names: of the features or channels, where the file has none.
        unit: of the values.
    """

    kind: Kind | None = None
    dataset: str | None = None
    names: Sequence[str] = ()
    unit: str = ""


def open_any(path: str | os.PathLike[str], hints: ItemHints = ItemHints()) -> AnySource:
    """Open images, signals, the rows of a table, or other arrays.

    A folder or an archive holds images, and so does an array (N, H, W), (N, H, W, C) or (N, C, H, W) of uint8, or of
    numbers in [0, 1]. An array (N, F) or a table holds rows, an array (N, C, L) with up to 12 channels signals.

    Raises:
        LsamplerError: the file cannot be read, its items are of another kind than ``hints`` say, or it may hold items
            of several kinds.
    """
    path, kind = Path(path), hints.kind
    if kind is not None and kind not in get_args(Kind):
        raise LsamplerError(f"`kind={kind}` is unknown{nearest_name(str(kind), get_args(Kind))}")
    if kind == "image" or path.is_dir() or path.suffix.lower() == ".zip":
        if kind not in (None, "image"):
            raise LsamplerError(f"{path}: holds images; leave out `kind={kind}`")
        return _images(path, hints)
    if kind is None and path.suffix.lower() in ARRAYS:
        images = _tried(existing_file(path, "file of items"), hints.dataset)
        if images is not None and _are_images(images):
            return _images(path, hints)
    return _rows(open_rows(existing_file(path, "file of items"), hints.dataset), hints)


def as_training_source(source: Any) -> AnySource:
    """A source as it is, the path of one opened, or an array or a table in memory."""
    if isinstance(source, str | os.PathLike):
        return open_any(source)
    if isinstance(source, ItemRows):
        images = MemoryImages.of(source) if source.item.is_image else None
        return images or source
    if all(hasattr(source, name) for name in ("ids", "read")):
        opened: AnySource = source
        return opened
    rows = as_rows(source)
    images = MemoryImages.of(rows)
    return images if images and _are_images(images) else _rows(rows.raw, ItemHints())


class MemoryImages:
    """Images of an array in memory: (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1]."""

    def __init__(self, name: str, array: NDArray[Any], ids: list[str]) -> None:
        self.name, self.ids, self._array = name, ids, array

    @classmethod
    def of(cls, rows: ItemRows) -> MemoryImages | None:
        """The images of an array; None if its shape or its type is not that of images."""
        array = rows.raw.read(0, len(rows.ids))
        shape = array.shape[1:]
        shaped = len(shape) == 2 or (len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS))
        return (
            cls(rows.name, array, rows.ids) if shaped and (array.dtype == np.uint8 or array.dtype.kind == "f") else None
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, as the array holds it."""
        return tuple(map(int, self._array.shape[1:]))

    def in_unit_range(self, most: int) -> bool:
        """Whether the numbers of some images, evenly spaced, are those of pixels: bytes, or floats in [0, 1]."""
        return unit_range(self._array[:: max(1, len(self.ids) // most)])

    def read(self, index: int) -> NDArray[Any]:
        """Image ``index`` as (H, W, C). Raises ImageError."""
        pixels = self._array[index]
        if pixels.ndim == 2:
            pixels = pixels[..., np.newaxis]
        elif pixels.shape[2] not in CHANNELS:
            pixels = pixels.transpose(1, 2, 0)
        return pixels if pixels.dtype == np.uint8 else checked_floats(pixels)


def _images(path: Path, hints: ItemHints) -> ImageSource:
    for name in ("names", "unit"):
        if getattr(hints, name):
            raise LsamplerError(f"{path}: images have no `{name}=...`; leave it out")
    return open_images(path, dataset=hints.dataset)


def _tried(path: Path, dataset: str | None) -> ArrayImages | None:
    """The images of an array file; None if it cannot hold any."""
    try:
        return ArrayImages(path, dataset)
    except LsamplerError:
        return None


def _are_images(images: ArrayImages | MemoryImages) -> bool:
    """Whether an array that has the shape of images holds any. Raises LsamplerError if it may hold something else."""
    shape = images.shape
    if min(edge for edge in shape if len(shape) == 2 or edge not in CHANNELS) < FEWEST_PIXELS:
        return False
    if images.in_unit_range(LOOKED_AT):
        return True
    if len(shape) == 2 and shape[0] <= MOST_CHANNELS and shape[0] < shape[1]:
        return False
    raise LsamplerError(
        f"{images.name}: items of shape {shape} with values outside [0, 1]; say what they are by `kind=signal` or "
        "`kind=array`, or give images as uint8 or as floats in [0, 1]"
    )


def _rows(raw: RawRows, hints: ItemHints) -> ItemRows:
    found = ItemRows(raw)
    kind, shape = hints.kind or found.item.kind, found.item.shape
    if hints.kind is None and found.item.is_image:  # in their own units, as an array
        kind = "array"
    if kind == "signal" and len(shape) == 1:
        shape = (1, *shape)
    names = tuple(hints.names) or (raw.names if kind == "table" else ())
    return ItemRows(raw, Item(kind, shape, names, unit=hints.unit), found.ids)
