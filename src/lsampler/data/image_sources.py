"""Where images come from: a folder, a zip archive read in place, or an array file."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lsampler.errors import LsamplerError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# Image files are compressed already: a member that grows this much when unpacked is a zip bomb.
ZIP_RATIO_LIMIT = 200
ZIP_RATIO_FROM_BYTES = 1 << 20
ZIP_MEMBER_LIMIT = 1 << 28
# A small file can claim a huge image, and Pillow itself refuses only at twice its own limit.
MAX_PIXELS = 89_478_485


class ImageError(Exception):
    """An image that cannot be used; the reader skips and counts it, or stops if it is strict."""


class ImageSource(Protocol):
    """A sequence of images with ids, read one at a time from any number of threads."""

    name: str
    ids: list[str]

    def read(self, index: int) -> NDArray[Any]:
        """Image ``index`` as (H, W, C): uint8, or float32 in [0, 1]. Raises ImageError."""
        ...


def open_images(path: str | os.PathLike[str]) -> ImageSource:
    """Open a folder (searched recursively), a ``.zip``, or a ``.npy``, ``.npz`` or ``.h5`` array of images.

    Nothing is unpacked to disk. Images are rotated as their EXIF data say, and transparent ones are laid on white.

    Raises:
        LsamplerError: the path is missing, empty, unsafe, or holds no image.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise LsamplerError(f"{path}: no such file or folder; check the path of the images")
    kind = _Folder if path.is_dir() else SOURCES.get(path.suffix.lower())
    if kind is None:
        raise LsamplerError(f"{path}: not a source of images; give a folder, a .zip, or a .npy, .npz or .h5 array")
    source: ImageSource = kind(path)
    if not source.ids:
        raise LsamplerError(f"{path}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return source


def source_digest(ids: Sequence[str]) -> str:
    """A short digest of ids, by which the same items in the same order are recognised."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()[:16]


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._root = path
        found = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        self.ids = sorted(p.relative_to(path).as_posix() for p in found)

    def read(self, index: int) -> NDArray[Any]:
        return _decoded(self._root / self.ids[index])


class _File:
    """A source in one file, which another process opens itself."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)


class _Zip(_File):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise LsamplerError(f"{path}: not a readable zip ({error}); download it again") from error
        members = [m for m in self._archive.infolist() if not m.is_dir()]
        for member in members:
            _check_member(path, member)
        images = (m.filename for m in members if PurePosixPath(m.filename).suffix.lower() in IMAGE_SUFFIXES)
        self.ids = sorted({name for name in images if not name.startswith("__MACOSX/")})

    def read(self, index: int) -> NDArray[Any]:
        try:
            data = self._archive.read(self.ids[index])
        except Exception as error:  # zlib.error and others share no base class
            raise ImageError(f"cannot be read from the zip ({error})") from error
        return _decoded(BytesIO(data))


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
        raise LsamplerError(f"{path}: member '{name}' points outside the archive; do not trust this zip")
    ratio = member.file_size / max(1, member.compress_size)
    bomb = member.file_size > ZIP_RATIO_FROM_BYTES and ratio > ZIP_RATIO_LIMIT
    if bomb or member.file_size > ZIP_MEMBER_LIMIT:
        raise LsamplerError(
            f"{path}: member '{name}' would unpack to {member.file_size / 1e6:.0f} MB, {ratio:.0f} times its "
            "compressed size; do not trust this zip"
        )


class _Array(_File):
    """(N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1]."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
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

    def read(self, index: int) -> NDArray[Any]:
        try:
            pixels = np.asarray(self._data[index])
        except OSError as error:  # a damaged chunk
            raise ImageError("is damaged in the file") from error
        if pixels.ndim == 2:
            pixels = pixels[..., np.newaxis]
        elif self._channels_first:
            pixels = pixels.transpose(1, 2, 0)
        return pixels if pixels.dtype == np.uint8 else _checked(pixels)


SOURCES = {".zip": _Zip} | dict.fromkeys((".npy", ".npz", ".h5", ".hdf5"), _Array)


def _open_array(path: Path) -> Any:
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            handle = h5py.File(path, "r")
            keys = [key for key in handle if isinstance(handle.get(key), h5py.Dataset)]
            return handle[_only("images", keys, path)]
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:  # numpy recognises the format by the first bytes, not by the suffix
            return archive[_only("images", archive.files, path)]
    except LsamplerError:
        raise
    except Exception as error:  # damaged archives raise zlib.error, struct.error, KeyError and more
        reason = _reason(error)
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


def _decoded(file: BytesIO | Path) -> NDArray[Any]:
    """The image in a file as (H, W, C): 8-bit grey or colour as uint8, deeper grey as float32 in [0, 1]."""
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"is {image.width} x {image.height} pixels, far too large")
            ImageOps.exif_transpose(image, in_place=True)
            pixels = _pixels(image)
    except ImageError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise ImageError(f"cannot be decoded ({_reason(error)[:80]})") from error
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _pixels(image: Image.Image) -> NDArray[Any]:
    if image.mode.startswith("I"):  # 16 bits, which some versions of Pillow open as 32
        return _checked(np.asarray(image).astype(np.float32) / np.float32(65535))
    if image.mode == "F":
        return _checked(np.asarray(image))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def _checked(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if not np.isfinite(pixels).all():
        raise ImageError("holds NaN or infinite values")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ImageError(f"has values in {pixels.min():.3g}..{pixels.max():.3g}; scale floats to [0, 1] or give uint8")
    return pixels.astype(np.float32)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
