"""Images in one array: a ``.npy`` or ``.npz`` file of NumPy, or a dataset of an HDF5 file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler.data.image_files import ImageError, checked_floats, first_line
from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.hdf5_files import checked_dataset, datasets, listed

HDF5_SUFFIXES = (".h5", ".hdf5")
# Every image has an id in memory.
MOST_IMAGES = 1 << 25
# What an .npz file may take: NumPy reads an array of it as a whole.
MOST_BYTES = 1 << 31
MOST_IMAGE_BYTES = 1 << 28
# A compressed chunk is kept until its last image was read.
CACHED_CHUNKS, MOST_CACHED_BYTES = 3, 1 << 30


class FileSource:
    """A source of images in one file, which another process opens itself."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        self.left_out: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)


class ArrayImages(FileSource):
    """(N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1]."""

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        super().__init__(path)
        self._dataset = dataset
        self._data = _open_array(path, dataset)
        shape: tuple[int, ...] = self._data.shape or ()
        if len(shape) in (3, 4) and min(shape) < 1:
            raise LsamplerError(f"{path}: shape {shape} holds no pixel; give an array of at least one image")
        if len(shape) not in (3, 4):
            raise LsamplerError(f"{path}: shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)")
        self._channels_first = len(shape) == 4 and shape[3] not in (1, 3)
        if self._channels_first and shape[1] not in (1, 3):
            raise LsamplerError(f"{path}: shape {shape} has no axis of 1 or 3 channels")
        kind = self._data.dtype
        if kind != np.uint8 and kind.kind != "f":
            raise LsamplerError(f"{path}: dtype {kind}; give uint8 in 0..255 or floats in [0, 1]")
        if shape[0] > MOST_IMAGES:
            raise LsamplerError(f"{path}: {shape[0]:,} images; encode files of at most {MOST_IMAGES:,} one by one")
        if math.prod(shape[1:]) * kind.itemsize > MOST_IMAGE_BYTES:
            raise LsamplerError(f"{path}: shape {shape}, its images are far too large; give smaller ones")
        width = len(str(shape[0] - 1))
        self.ids = [f"{index:0{width}d}" for index in range(shape[0])]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path, self._dataset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, as the file holds it."""
        return tuple(map(int, self._data.shape[1:]))

    def in_unit_range(self, most: int) -> bool:
        """Whether the numbers of some images, evenly spaced, are those of pixels: bytes, or floats in [0, 1]."""
        if self._data.dtype == np.uint8:
            return True
        step = max(1, len(self.ids) // most)
        return unit_range(np.stack([np.asarray(self._data[index]) for index in range(0, len(self.ids), step)]))

    def read(self, index: int) -> NDArray[Any]:
        """Image ``index`` as (H, W, C). Raises ImageError."""
        try:
            pixels = np.asarray(self._data[index])
        except OSError as error:  # a damaged chunk
            raise ImageError("is damaged in the file") from error
        if pixels.ndim == 2:
            pixels = pixels[..., np.newaxis]
        elif self._channels_first:
            pixels = pixels.transpose(1, 2, 0)
        return pixels if pixels.dtype == np.uint8 else checked_floats(pixels)


def unit_range(pixels: NDArray[Any]) -> bool:
    """Whether all numbers that are known are those of pixels: bytes, or floats in [0, 1]."""
    if pixels.dtype == np.uint8:
        return True
    known = pixels[np.isfinite(pixels)]
    return not known.size or bool(known.min() >= 0 and known.max() <= 1)


def _open_array(path: Path, dataset: str | None) -> Any:
    try:
        if path.suffix.lower() in HDF5_SUFFIXES:
            return _open_hdf5(path, dataset)
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if dataset is not None:
                raise LsamplerError(f"{path}: a .npy file is one array; leave out `dataset=...`")
            return loaded
        with loaded as archive:  # numpy recognises the format by the first bytes, not by the suffix
            name = _chosen(path, archive.files, dataset=dataset)
            check_npz_size(path, archive, name)
            return archive[name]
    except LsamplerError:
        raise
    except Exception as error:  # damaged archives raise zlib.error, struct.error, KeyError and more
        reason = first_line(error)
        if "pickle" in reason or "Python objects" in reason:
            raise LsamplerError(
                f"{path}: holds Python objects, which are never loaded; write it again as uint8 or float32"
            ) from error
        raise LsamplerError(f"{path}: not a readable array file ({reason}); write it again") from error


def check_npz_size(path: Path, archive: Any, name: str) -> None:
    """Refuse what does not fit in memory, by the header of the array."""
    with archive.zip.open(f"{name}.npy" if f"{name}.npy" in archive.zip.namelist() else name) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise LsamplerError(
            f"{path}: '{name}' takes {size / 1e9:,.1f} GB of memory; save it as .npy or .h5, which are read in parts"
        )


def _open_hdf5(path: Path, dataset: str | None) -> h5py.Dataset:
    """The dataset of the images, whose chunks are cached: each holds many images, and is decompressed once."""
    handle = h5py.File(path, "r")
    name, together = _inspected(path, handle, dataset)
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(1009, min(max(CACHED_CHUNKS * together, 1 << 20), MOST_CACHED_BYTES), 1.0)
    # As long as a dataset is open anywhere, it keeps the cache that it was first opened with.
    return h5py.Dataset(h5py.h5d.open(handle.id, name.encode("utf-8", "surrogateescape"), access))


def _inspected(path: Path, handle: h5py.File, wanted: str | None) -> tuple[str, int]:
    """The name of the dataset of the images, checked, and the bytes of the chunks that one image is read from."""
    found, outside = datasets(path, handle)
    name = _chosen(path, list(found), outside, dataset=wanted)
    dataset = checked_dataset(path, found[name])
    if dataset.chunks is None:
        return name, 0
    beside = math.prod(-(-n // edge) for n, edge in zip(dataset.shape[1:], dataset.chunks[1:], strict=True))
    together = math.prod(dataset.chunks) * dataset.dtype.itemsize * beside
    if together > MOST_CACHED_BYTES:
        raise LsamplerError(
            f"{path}: '{name}' is stored in chunks of {dataset.chunks}, of which {together / 1e9:,.1f} GB are read for "
            "one image; write it again in chunks of a few images"
        )
    return name, together


def _chosen(
    path: Path,
    names: list[str],
    outside: Mapping[str, str] = MappingProxyType({}),
    *,
    dataset: str | None = None,
) -> str:
    """The array of the images: that asked for or called so, or the only one at the top of the file, or in all of it."""
    if dataset is not None and dataset.strip("/") not in names:
        near = nearest_name(dataset, names)
        raise LsamplerError(f"{path}: holds no array '{shortened(dataset)}'{near}; it holds {listed(names) or 'none'}")
    for some in (
        [name for name in names if dataset is not None and name == dataset.strip("/")],
        [name for name in names if name == "images"],
        [name for name in names if name.rpartition("/")[2] == "images"],
        [name for name in names if "/" not in name],
        names,
    ):
        if len(some) == 1:
            return some[0]
        if some:
            break
    links = "".join(f"; '{name}' leads to {target}, which is not read" for name, target in sorted(outside.items())[:1])
    raise LsamplerError(
        f"{path}: holds {listed(names) or 'no arrays'}; give the array of the images the name 'images', at the "
        f"top{links}"
    )
