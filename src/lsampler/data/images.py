"""Images in: a folder, a zip read in place, or an array file, cropped and resized one by one.

Every source has a length, an id per image and ``read(index)``. Nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lsampler.errors import LsamplerError, nearest_name

__all__ = [
    "Crop",
    "ImageBatches",
    "ImageSource",
    "PixelBatch",
    "Preprocess",
    "cores",
    "load_pixels",
    "open_images",
    "pixel_batch",
]

Raw: TypeAlias = NDArray[Any] | Image.Image
"""A decoded image: an array (H, W, C), or Pillow's in mode L or RGB, which spares a copy."""

Crop = Literal["centre", "celeba", "none"]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# An image is compressed already: a member that inflates this much is no image.
ZIP_RATIO_LIMIT = 200
ZIP_RATIO_FROM_BYTES = 1 << 20
ZIP_MEMBER_LIMIT = 1 << 28
CELEBA_WIDTH, CELEBA_CROP = 178, 148
# A small file can claim a huge picture; Pillow itself refuses only at twice its own limit.
MAX_PIXELS = 89_478_485
# What one thread loads in one go: enough to be worth handing over, little to wait for at the end.
AT_ONCE = 16
# Batches loaded ahead, so that a slow disk now and then is not felt.
AHEAD = 3


class ImageError(Exception):
    """One image that cannot be used; the reader skips and counts it, or stops with --strict."""


class ImageSource(Protocol):
    """A sequence of raw images, read one at a time from any number of threads."""

    name: str
    ids: list[str]

    def read(self, index: int) -> NDArray[Any]:
        """Image ``index`` as (H, W, C): uint8, or float32 in [0, 1]. Raises ImageError."""
        ...


@dataclass(frozen=True)
class Preprocess:
    """What is done to every image: crop, resize (Lanczos), colour or grey, scale to [0, 1].

    Args:
        size: edge of the square result in pixels.
        crop: ``centre`` takes the largest centred square; ``celeba`` the centred square of
            148/178 of the width, which frames the face in the official aligned images;
            ``none`` takes the whole image and changes its aspect if it is not square.
        channels: 3 for colour, 1 for grey.
    """

    size: int = 96
    crop: Crop = "celeba"
    channels: int = 3

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise LsamplerError(f"crop '{self.crop}' is unknown{nearest_name(self.crop, get_args(Crop))}")
        if self.channels not in (1, 3):
            raise LsamplerError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if not 4 <= self.size <= 4096:
            raise LsamplerError(f"image size must be between 4 and 4096 pixels, not {self.size}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for a file's metadata."""
        return asdict(self)

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """(H, W, C) uint8 or float32 -> (channels, size, size) float32 in [0, 1]."""
        return np.ascontiguousarray(scaled(self.pixels(pixels)).transpose(2, 0, 1))

    def pixels(self, image: Raw) -> NDArray[Any]:
        """Crop and resize: (size, size, channels) uint8, to be divided by 255, or float32 in [0, 1]."""
        if isinstance(image, Image.Image):
            if len(image.getbands()) == self.channels:
                return self._picture(image)
            image = _as_array(image)
        image = _channels(image, self.channels)
        left, top, right, bottom = self._box(image.shape[1], image.shape[0])
        image = image[top:bottom, left:right]
        return image if image.shape[:2] == (self.size, self.size) else _resize(image, self.size)

    def _picture(self, image: Image.Image) -> NDArray[np.uint8]:
        box = self._box(image.width, image.height)
        # Not resize(box=...), which takes in pixels from outside the box at its edges.
        image = image if box == (0, 0, image.width, image.height) else image.crop(box)
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return _as_array(image)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        if self.crop == "none":
            return 0, 0, width, height
        edge = min(width, height)
        if self.crop == "celeba":
            edge = min(edge, max(1, round(width * CELEBA_CROP / CELEBA_WIDTH)))
        left, top = (width - edge) // 2, (height - edge) // 2
        return left, top, left + edge, top + edge


def scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """uint8 or floats -> float32 in [0, 1]."""
    found = pixels.astype(np.float32)
    return found / np.float32(255) if pixels.dtype == np.uint8 else found


def _as_array(image: Raw) -> NDArray[Any]:
    """(H, W, C), of one channel too."""
    pixels = np.asarray(image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # ITU-R 601-2 luma, the weights Pillow uses for mode "L".
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey = np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else grey
    return grey[..., np.newaxis]


def _resize(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    shape = (size, size)
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))
    planes = [
        np.asarray(Image.fromarray(pixels[..., c]).resize(shape, Image.Resampling.LANCZOS))
        for c in range(pixels.shape[2])
    ]
    stacked = np.stack(planes, axis=2)
    # Lanczos overshoots at edges; in uint8 Pillow clips, in float it does not.
    return stacked if stacked.dtype == np.uint8 else np.clip(stacked, 0.0, 1.0)


def open_images(path: str | os.PathLike[str]) -> ImageSource:
    """The images in a folder (recursive), a ``.zip``, or a ``.npy``, ``.npz`` or ``.h5`` array.

    Pictures are turned upright as their EXIF data say; transparent ones are laid on white.

    Raises:
        LsamplerError: the path is missing, empty, unsafe, or holds no image.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise LsamplerError(f"{path}: no such file or folder; check the path of the images")
    source: ImageSource
    suffix = path.suffix.lower()
    if path.is_dir():
        source = _Folder(path)
    elif suffix == ".zip":
        source = _Zip(path)
    elif suffix in (".npy", ".npz", ".h5", ".hdf5"):
        source = _Array(path)
    else:
        raise LsamplerError(f"{path}: not a source of images; give a folder, a .zip, or a .npy, .npz or .h5 array")
    if not source.ids:
        raise LsamplerError(f"{path}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return source


def _decode(data: bytes | Path) -> Raw:
    stream = BytesIO(data) if isinstance(data, bytes) else data
    try:
        with Image.open(stream) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"is {image.width} x {image.height} pixels, far too large")
            ImageOps.exif_transpose(image, in_place=True)
            return _upright(image)
    except ImageError:
        raise
    except Exception as error:  # decoders of damaged files raise what they like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"cannot be decoded ({reason[:80]})") from error


def _upright(image: Image.Image) -> Raw:
    """8-bit grey or colour as a picture of mode L or RGB, deeper grey as float32 in [0, 1]."""
    if image.mode.startswith("I"):  # 16 bits; some versions of Pillow open them as 32
        values = np.asarray(image).astype(np.float32) / np.float32(65535)
        return _as_array(_in_range(values))
    if image.mode == "F":
        return _as_array(_in_range(np.asarray(image)))
    if image.has_transparency_data:
        overlaid = image.convert("RGBA")
        image_mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), overlaid).convert(image_mode)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _in_range(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if not np.isfinite(pixels).all():
        raise ImageError("holds NaN or infinite values")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ImageError(f"has values in {pixels.min():.3g}..{pixels.max():.3g}; scale floats to [0, 1] or give uint8")
    return pixels.astype(np.float32)


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._root = path
        found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        self.ids = sorted(p.relative_to(path).as_posix() for p in found)

    def read(self, index: int) -> NDArray[Any]:
        return _as_array(self.load(index))

    def load(self, index: int) -> Raw:
        return _decode(self._root / self.ids[index])


class _Zip:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise LsamplerError(f"{path}: not a readable zip ({error}); download it again") from error
        members = [m for m in self._archive.infolist() if not m.is_dir()]
        for member in members:
            _check_member(path, member)
        wanted = (m.filename for m in members if PurePosixPath(m.filename).suffix.lower() in SUFFIXES)
        self.ids = sorted({name for name in wanted if not name.startswith("__MACOSX/")})

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the archive for itself."""
        return _Zip, (self._path,)

    def read(self, index: int) -> NDArray[Any]:
        return _as_array(self.load(index))

    def load(self, index: int) -> Raw:
        try:
            data = self._archive.read(self.ids[index])
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise ImageError(f"cannot be read from the zip ({error})") from error
        except Exception as error:  # zlib.error and its kin share no base class
            raise ImageError(f"is damaged in the zip ({error})") from error
        return _decode(data)


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
        raise LsamplerError(f"{path}: member '{name}' points outside the archive; do not trust this zip")
    ratio = member.file_size / max(1, member.compress_size)
    inflates = member.file_size > ZIP_RATIO_FROM_BYTES and ratio > ZIP_RATIO_LIMIT
    if inflates or member.file_size > ZIP_MEMBER_LIMIT:
        raise LsamplerError(
            f"{path}: member '{name}' would inflate {ratio:.0f} times to "
            f"{member.file_size / 1e6:.0f} MB; do not trust this zip"
        )


class _Array:
    """(N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1]."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._data = _open_array(path)
        shape: tuple[int, ...] = self._data.shape or ()
        if len(shape) not in (3, 4) or 0 in shape:
            raise LsamplerError(f"{path}: shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)")
        self._channels_first = len(shape) == 4 and shape[3] not in (1, 3)
        if self._channels_first and shape[1] not in (1, 3):
            raise LsamplerError(f"{path}: shape {shape} has no axis of 1 or 3 channels")
        kind = self._data.dtype
        if kind != np.uint8 and kind.kind != "f":
            raise LsamplerError(f"{path}: dtype {kind}; give uint8 in 0..255 or floats in [0, 1]")
        width = len(str(shape[0] - 1))
        self.ids = [f"{index:0{width}d}" for index in range(shape[0])]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file for itself."""
        return _Array, (self._path,)

    def read(self, index: int) -> NDArray[Any]:
        try:
            pixels = np.asarray(self._data[index])
        except OSError as error:  # a damaged chunk
            raise ImageError("is damaged in the file") from error
        if pixels.ndim == 2:
            pixels = pixels[..., np.newaxis]
        elif self._channels_first:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype == np.uint8:
            return pixels
        return _in_range(pixels)


def _open_array(path: Path) -> Any:
    suffix = path.suffix.lower()
    try:
        if suffix in (".h5", ".hdf5"):
            handle = h5py.File(path, "r")
            keys = [key for key in handle if isinstance(handle.get(key), h5py.Dataset)]
            return handle[_only("images", keys, path)]
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:  # what a file holds is decided by its first bytes, not by its suffix
            return archive[_only("images", archive.files, path)]
    except LsamplerError:
        raise
    except Exception as error:  # damaged archives raise zlib.error, struct.error, KeyError and more
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "pickle" in reason or "Python objects" in reason:
            raise LsamplerError(
                f"{path}: holds Python objects, which are never loaded; write it again as uint8 or float32"
            ) from error
        raise LsamplerError(f"{path}: not a readable array file ({reason}); write it again") from error


def _only(preferred: str, keys: list[str], path: Path) -> str:
    if preferred in keys:
        return preferred
    if len(keys) == 1:
        return keys[0]
    raise LsamplerError(f"{path}: holds {keys or 'no arrays'}; name the one with the images '{preferred}'")


class PixelBatch(NamedTuple):
    """Images of one size, not yet scaled."""

    indices: list[int]
    """Into ``source.ids``."""
    pixels: NDArray[Any]
    """(B, H, W, C) uint8, to be divided by 255, or float32 in [0, 1]."""
    skipped: dict[str, str]
    """The reason for each id left out."""


def load_pixels(source: ImageSource, preprocess: Preprocess, indices: Sequence[int]) -> list[NDArray[Any] | str]:
    """Each image cropped and resized, or the reason why it cannot be used."""
    load = getattr(source, "load", source.read)
    found: list[NDArray[Any] | str] = []
    for index in indices:
        try:
            found.append(preprocess.pixels(load(index)))
        except ImageError as error:
            found.append(str(error))
    return found


def pixel_batch(source: ImageSource, indices: Sequence[int], found: Sequence[NDArray[Any] | str]) -> PixelBatch:
    """What :func:`load_pixels` found, as one array."""
    pairs = list(zip(indices, found, strict=True))
    images = [image for image in found if not isinstance(image, str)]
    if any(image.dtype != np.uint8 for image in images):
        images = [scaled(image) for image in images]
    return PixelBatch(
        [index for index, image in pairs if not isinstance(image, str)],
        np.stack(images) if images else np.empty((0, 0, 0, 0), np.uint8),
        {source.ids[index]: image for index, image in pairs if isinstance(image, str)},
    )


class ImageBatches:
    """Preprocessed batches of a source, loaded ahead, odd images skipped.

    Args:
        source: where the images come from.
        preprocess: what is done to each.
        strict: stop at the first image that cannot be used instead of skipping it.
        workers: loading threads; Pillow releases the interpreter lock.
        processes: load in so many processes instead of threads, if more than none.

    After iteration ``skipped`` maps the id of every image left out to the reason.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocess: Preprocess,
        *,
        strict: bool = False,
        workers: int | None = None,
        processes: int = 0,
    ) -> None:
        self.source, self.preprocess, self.strict = source, preprocess, strict
        self.skipped: dict[str, str] = {}
        self._workers = workers or min(8, cores())
        self._processes = processes

    def read(self, batch_size: int, start: int = 0) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Pairs (indices into ``source.ids``, images (B, C, H, W) float32 in [0, 1])."""
        for batch in self.pixels(batch_size, start):
            if batch.indices:
                yield batch.indices, np.ascontiguousarray(scaled(batch.pixels).transpose(0, 3, 1, 2))

    def pixels(self, batch_size: int, start: int = 0, stop: int | None = None) -> Generator[PixelBatch, None, None]:
        """Batches of the images ``start`` to ``stop``, in order; one in which all are skipped is empty."""
        stop = len(self.source.ids) if stop is None else stop
        ranges = (range(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size))
        for batch in self._from_processes(ranges) if self._processes else self._from_threads(ranges):
            for identity, reason in batch.skipped.items() if self.strict else ():
                raise LsamplerError(
                    f"{self.source.name}: image '{identity}' {reason}; mend it, or leave out --strict to skip it"
                )
            self.skipped |= batch.skipped
            yield batch

    def _from_threads(self, ranges: Iterator[range]) -> Iterator[PixelBatch]:
        pool = ThreadPoolExecutor(self._workers)

        def submit(indices: range) -> tuple[range, list[Future[list[NDArray[Any] | str]]]]:
            parts = [indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE)]
            return indices, [pool.submit(load_pixels, self.source, self.preprocess, part) for part in parts]

        try:
            ahead = deque(map(submit, islice(ranges, AHEAD)))
            while ahead:
                indices, parts = ahead.popleft()
                ahead.extend(map(submit, islice(ranges, 1)))
                yield pixel_batch(self.source, indices, [image for part in parts for image in part.result()])
        finally:
            pool.shutdown(cancel_futures=True)

    def _from_processes(self, ranges: Iterator[range]) -> Iterator[PixelBatch]:
        from lsampler.data.workers import batches_from_processes

        return batches_from_processes(self.source, self.preprocess, list(ranges), self._processes)

    def require_some(self, count: int) -> None:
        """Raise when every image was skipped, with the first reason."""
        if count == 0:
            identity, reason = next(iter(self.skipped.items()), ("", "there are none"))
            raise LsamplerError(f"{self.source.name}: no usable image; '{identity}' {reason}")


def source_digest(ids: list[str]) -> str:
    """A short digest of the ids, to recognise the same images in the same order."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
