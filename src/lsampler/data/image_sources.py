"""Where images come from: a folder, a zip archive read in place, or an array file."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from numpy.typing import NDArray

from lsampler.data.image_arrays import HDF5_SUFFIXES, ArrayImages, FileSource
from lsampler.data.image_files import ImageError, decode
from lsampler.errors import LsamplerError
from lsampler.files import existing_file, regular_file

__all__ = ["ImageError", "ImageSource", "left_out", "open_images", "source_digest"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# Made by systems and programs beside the user's images: thumbnails, forks and what was thrown away.
SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "@eadir",
        "#recycle",
        "@recycle",
        "$recycle.bin",
        "recycler",
        "#snapshot",
        "lost+found",
        "system volume information",
    }
    | {"thumbs.db", "desktop.ini"}
)
# Image files are compressed already: a large member that grows this much when unpacked is a zip bomb.
ZIP_RATIO_LIMIT = 200
ZIP_RATIO_FROM_BYTES = 1 << 25
ZIP_MEMBER_LIMIT = 1 << 28
MOST_REASONS = 6
LONGEST_NAME = 4096  # as of a path on Linux


class ImageSource(Protocol):
    """A sequence of images with ids, read one at a time from any number of threads."""

    name: str
    ids: list[str]

    def read(self, index: int) -> NDArray[Any]:
        """Image ``index`` as (H, W, C): uint8, or float32 in [0, 1]. Raises ImageError."""
        ...


def open_images(path: str | os.PathLike[str], *, dataset: str | None = None) -> ImageSource:
    """Open a folder (searched recursively), a ``.zip``, or a ``.npy``, ``.npz`` or ``.h5`` array of images.

    Nothing is unpacked to disk. Images are rotated as their EXIF data say, and transparent ones are laid on white.
    Hidden files and those of systems are left out, in folders as in archives, and so is what has another suffix than
    that of an image. Linked folders are searched too.

    Args:
        path: of the folder or file.
        dataset: which array of an ``.npz`` or ``.h5`` file; by default the one called images, or the only one.

    Raises:
        LsamplerError: the path is missing, empty, unsafe, or holds no image.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise LsamplerError(f"{path}: no such file or folder; check the path of the images")
    kind = _Folder if path.is_dir() else SOURCES.get(path.suffix.lower())
    if kind is None:
        raise LsamplerError(f"{path}: not a source of images; give a folder, a .zip, or a .npy, .npz or .h5 array")
    if kind is ArrayImages:
        return ArrayImages(existing_file(path, "file of images"), dataset)
    if dataset is not None:
        raise LsamplerError(f"{path}: holds image files, not arrays; leave out `dataset=...`")
    source = kind(path if kind is _Folder else existing_file(path, "file of images"))
    if not source.ids:
        others = f"; it was searched, and {left_out(source)}" if source.left_out else ""
        raise LsamplerError(f"{path}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}){others}")
    return source


def left_out(source: object) -> str:
    """What a source does not take for images, and why, such as ``left out 3 (2 .txt, 1 .heic)``; or an empty text."""
    reasons: Counter[str] = getattr(source, "left_out", None) or Counter()
    counts = [f"{reasons[reason]} {reason}" for reason in sorted(reasons, key=lambda one: (-reasons[one], one))]
    if len(counts) > MOST_REASONS:
        counts[MOST_REASONS:] = [f"and others of {len(counts) - MOST_REASONS} more kinds"]
    return f"left out {reasons.total()} ({', '.join(counts)})" if counts else ""


def source_digest(ids: Sequence[str]) -> str:
    """A short digest of ids, by which the same items in the same order are recognised."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name != "..") or name.lower() in SYSTEM_NAMES


def _kind(name: str) -> str:
    """What a file is that is no image."""
    return PurePosixPath(name).suffix.lower() or "without a suffix"


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name = path.absolute().name
        self._root = path
        self.left_out: Counter[str] = Counter()
        self.ids = sorted(entry.relative_to(path).as_posix() for entry in self._found())

    def read(self, index: int) -> NDArray[Any]:
        return decode(self._root / self.ids[index])

    def _found(self) -> Iterator[Path]:
        """The image files. A folder that links reach in a circle or a second time is searched once."""
        folders, linked = [self._root], list[Path]()
        seen: set[tuple[int, int]] = set()
        while folders or linked:
            folder = folders.pop() if folders else linked.pop(0)
            try:
                status, entries = folder.stat(), sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                if folder == self._root:
                    raise LsamplerError(
                        f"{folder}: cannot be opened ({error.strerror}); check its permissions"
                    ) from None
                self.left_out["folders that cannot be opened"] += 1
                continue
            if (status.st_dev, status.st_ino) in seen:
                self.left_out["links to folders searched already"] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            for entry in entries:
                if _is_hidden(entry.name):
                    self.left_out["hidden or of the system"] += 1
                elif os.path.isdir(entry):  # noqa: PTH112 - entry.is_dir() raises where links lead in a circle
                    (linked if entry.is_symlink() else folders).append(Path(entry))
                elif not _is_image(entry.name):
                    self.left_out[_kind(entry.name)] += 1
                elif not regular_file(entry):  # a broken link, a pipe, a device
                    self.left_out["not regular files"] += 1
                else:
                    yield Path(entry)


class _Zip(FileSource):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise LsamplerError(f"{path}: not a readable zip ({error}); download it again") from error
        found: set[str] = set()
        for member in self._archive.infolist():
            name = member.filename
            if member.is_dir():
                continue
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if not _is_image(name):
                hidden = any(map(_is_hidden, parts))
                self.left_out["hidden or of the system" if hidden else _kind(name)] += 1
                continue
            if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
                raise LsamplerError(f"{path}: member '{name}' points outside the archive; do not trust this zip")
            if any(map(_is_hidden, parts)):
                self.left_out["hidden or of the system"] += 1
            elif stat.S_ISLNK(member.external_attr >> 16):
                self.left_out["links"] += 1
            elif len(name) > LONGEST_NAME:
                self.left_out["with a name that is too long"] += 1
            else:
                found.add(name)
        self.ids = sorted(found)

    def read(self, index: int) -> NDArray[Any]:
        member = self._archive.getinfo(self.ids[index])
        ratio = member.file_size / max(1, member.compress_size)
        bomb = member.file_size > ZIP_RATIO_FROM_BYTES and ratio > ZIP_RATIO_LIMIT
        if bomb or member.file_size > ZIP_MEMBER_LIMIT:
            raise ImageError(f"would unpack to {member.file_size / 1e6:.0f} MB, {ratio:.0f} times its compressed size")
        try:
            data = self._archive.read(member)
        except Exception as error:  # zlib.error and others share no base class
            raise ImageError(f"cannot be read from the zip ({error})") from error
        return decode(BytesIO(data))


SOURCES: dict[str, type[_Zip | ArrayImages]] = {".zip": _Zip} | dict.fromkeys(
    (".npy", ".npz", *HDF5_SUFFIXES), ArrayImages
)
