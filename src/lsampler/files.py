"""Files and folders that are written whole or not at all, and checks of paths."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lsampler.errors import LsamplerError

MARK = ".lsampler"
"""The file in every folder that lsampler writes, which holds the folder's kind: only such a folder is replaced."""
FolderKind = Literal["analysis report", "comparison report", "images", "sharded store"]
FOLDERS: dict[FolderKind, str] = {
    "analysis report": "an analysis report",
    "comparison report": "a comparison report",
    "images": "decoded images",
    "sharded store": "a sharded store",
}


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """``path`` if it is a readable, non-empty file; otherwise an error naming ``what``."""
    path = Path(path)
    try:
        exists = path.exists()
    except OSError:  # a name that the disk does not allow
        exists = False
    if not exists:
        raise LsamplerError(f"{path}: no such {what}; check the path")
    if path.is_dir():
        raise LsamplerError(f"{path}: is a folder, expected a {what}")
    if not os.access(path, os.R_OK):
        raise LsamplerError(f"{path}: cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise LsamplerError(f"{path}: is empty, expected a {what}; make it again")
    return path


def check_output(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """``path`` if something may be written there: it is free, or ``force`` is set."""
    path = Path(path)
    with disk_errors(path):  # a name that the disk does not allow
        exists = path.exists()
    if exists and not force:
        raise LsamplerError(f"{path}: exists already; choose another name or pass `force=True`")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise LsamplerError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise LsamplerError(f"{path}: the folder {parent} is not writable")
    return path


def check_folder(path: Path, kind: FolderKind) -> None:
    """Refuse a folder whose files lsampler did not write, or wrote as another kind, so that nothing else is lost."""
    with disk_errors(path):  # a name that the disk does not allow
        exists, folder = path.exists(), path.is_dir()
        held = {entry.name for entry in path.iterdir()} - {MARK} if folder else set()
    if exists and not folder:
        raise LsamplerError(f"{path}: is a file; choose another name for the folder of {FOLDERS[kind]}")
    found = _kind_of(path) if held else kind
    if found is None:
        raise LsamplerError(
            f"{path}: was not written by lsampler, so nothing of it is replaced; choose an empty or a new folder"
        )
    if found != kind:
        raise LsamplerError(f"{path}: holds {FOLDERS[found]}, not {FOLDERS[kind]}; choose an empty or a new folder")
    if not path.absolute().parent.is_dir():
        raise LsamplerError(f"{path}: the folder {path.absolute().parent} does not exist; create it first")


def mark_folder(path: Path, kind: FolderKind) -> None:
    """Make the folder if it does not exist, and write its kind into it."""
    with disk_errors(path):
        path.mkdir(exist_ok=True)
        if _kind_of(path) != kind:  # a process killed while it writes the mark again would leave none
            (path / MARK).write_text(f"{kind}\n", encoding="utf-8")


def _kind_of(path: Path) -> FolderKind | None:
    try:
        text = (path / MARK).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return next((kind for kind in FOLDERS if kind == text), None)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the context ends without an exception.

    The temporary name keeps the suffix, so that writers which choose a format by it work.
    """
    target = check_output(path, force=force)
    if target.is_dir():
        raise LsamplerError(f"{target}: is a folder, cannot be replaced by a file")
    beside = target.absolute().parent / f".{target.stem}.{uuid.uuid4().hex[:12]}{target.suffix}"
    try:
        with disk_errors(target):
            # With the permissions of any new file: those that tempfile sets would have to be changed by the umask,
            # which can be read only by changing it, for all threads.
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield beside
            beside.replace(target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the context ends without an exception: whole, or not at all.

    With ``force`` an existing folder is replaced only once the new one is complete.
    """
    target = check_output(path, force=force)
    if target.exists() and not target.is_dir():
        raise LsamplerError(f"{target}: is a file, cannot be replaced by a folder")
    with disk_errors(target):
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    beside, old = room / "new", room / "old"
    try:
        with disk_errors(target):
            beside.mkdir()
            yield beside
            replace_folder(beside, target, old)
    finally:
        if target.exists() or not old.exists():
            remove_folder(room)


def replace_folder(new: Path, target: Path, old: Path) -> None:
    """Rename the folder ``new`` to ``target``; what was there is renamed to ``old``.

    If ``new`` cannot take its place, or Ctrl-C comes between the renames, what was there is renamed back.
    """
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)


def remove_folder(path: Path) -> None:
    """Remove a folder, or only the link to one, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, quota, permissions) into one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise LsamplerError(
            f"{target}: could not be written ({reason}); nothing was left behind, "
            "free some space or choose another place"
        ) from error
