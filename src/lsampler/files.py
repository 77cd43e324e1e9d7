"""Files and folders that are written whole or not at all, and checks of paths."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lsampler.errors import LsamplerError

try:
    import fcntl
except ImportError:  # Windows has other locks
    fcntl = None  # type: ignore[assignment]

SPACE, RIGHTS = "free some space or choose another place", "change its permissions or choose another place"
FIXES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), SPACE) | {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), RIGHTS),
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What helps where the disk refuses, by the number of the error."""
TEMPORARY, KEPT, OLD = ".lsampler-", 50, "old"
"""What the names of hidden folders begin with, how many characters of the final name they keep, and what in them is
being replaced."""
MOST_TEXT = 1 << 26
"""Characters of a text file of ours; the plan or the manifest of a large store has a few million."""
MARK = ".lsampler"
"""The file in every folder that lsampler writes, which holds the folder's kind: only such a folder is replaced."""
FolderKind = Literal["analysis report", "comparison report", "images", "sharded store"]
FOLDERS: dict[FolderKind, str] = {
    "analysis report": "an analysis report",
    "comparison report": "a comparison report",
    "images": "decoded images",
    "sharded store": "a sharded store",
}


def regular_file(path: str | os.PathLike[str]) -> bool:
    """Whether ``path``, or what it links to, is a regular file.

    Reading a FIFO may wait for ever, and reading a device such as ``/dev/zero`` may never end: ask before opening
    whatever a user, a manifest or a folder has named.
    """
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):  # a name that the disk does not allow, or that holds NUL
        return False


def own_text(path: Path) -> str:
    """The text of a small file that lsampler writes itself, such as a mark, a plan or a record.

    Raises:
        OSError: there is none, or not a regular file.
        ValueError: it is too large, or no UTF-8.
    """
    if not regular_file(path):
        raise FileNotFoundError(path)
    with path.open(encoding="utf-8") as handle:
        text = handle.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise ValueError(f"{path}: is too large")
    return text


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """``path`` if it is a readable, non-empty regular file; otherwise an error naming ``what``."""
    path = Path(path)
    try:
        exists, folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # a name that the disk does not allow, or that holds NUL
        exists, folder = False, False
    if not exists:
        raise LsamplerError(f"{path}: no such {what}; check the path")
    if folder:
        raise LsamplerError(f"{path}: is a folder, expected a {what}")
    if not regular_file(path):
        raise LsamplerError(f"{path}: is not a regular file, expected a {what}; copy what it gives into a file")
    if not os.access(path, os.R_OK):
        raise LsamplerError(f"{path}: cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise LsamplerError(f"{path}: is empty, expected a {what}; make it again")
    return path


def check_output(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """``path`` if something may be written there: it is free, or ``force`` is set."""
    path = Path(path)
    with disk_errors(path):  # a name that the disk does not allow
        exists = _exists(path)
    if exists and not force:
        raise LsamplerError(f"{path}: exists already; choose another name or pass `force=True`")
    if exists and not (path.is_symlink() or path.is_dir() or regular_file(path)):
        raise LsamplerError(f"{path}: is a device or a pipe, which is not replaced; choose another name")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise LsamplerError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise LsamplerError(f"{path}: the folder {parent} is not writable; choose another place")
    return path


def _exists(path: Path) -> bool:
    """Whether the name is taken, if only by a link that leads nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def check_folder(path: Path, kind: FolderKind, files: Sequence[str] = ()) -> None:
    """Refuse a folder whose files lsampler did not write, or wrote as another kind, so that nothing else is lost.

    ``files`` are going to be written there, all or none of them: none may be a folder or a pipe.
    """
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
    for name in files if folder else ():
        _check_replaceable(check_output(path / name, force=True))


def _check_replaceable(target: Path) -> None:
    if target.is_dir():
        raise LsamplerError(f"{target}: is a folder, cannot be replaced by a file; remove it, or choose another name")


def mark_folder(path: Path, kind: FolderKind, target: Path | None = None) -> None:
    """Make the folder if it does not exist, and write its kind into it; errors name the ``target`` that it becomes."""
    with disk_errors(target or path):
        made = not path.is_dir()
        path.mkdir(exist_ok=True)
        if _kind_of(path) == kind:  # a process killed while it writes the mark again would leave none
            return
        try:
            (path / MARK).write_text(f"{kind}\n", encoding="utf-8")
        except OSError:
            if made:
                remove(path)
            raise


def unmark_folder(path: Path) -> None:
    """Remove a folder that holds its mark and nothing else."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in path.iterdir()] == [MARK]:
            remove(path)


def _kind_of(path: Path) -> FolderKind | None:
    try:
        text = own_text(path / MARK).strip()
    except (OSError, ValueError):
        return None
    return next((kind for kind in FOLDERS if kind == text), None)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the context ends without an exception.

    The temporary name is the same, in a hidden folder beside, so that writers which choose a format by it work.
    Without ``force``, a file that has appeared under the name meanwhile is not replaced.
    """
    target = check_output(path, force=force)
    _check_replaceable(target)
    with _room(target) as room:
        new = room / target.name
        new.touch()
        yield new
        file_into_place(new, target, force=force)


def file_into_place(new: Path, target: Path, *, force: bool) -> None:
    """Give a file its final name; without ``force`` only if nothing has that name by now."""
    if force:
        new.replace(target)
        return
    with _not_replacing(target):
        try:
            os.link(new, target, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: an empty file takes the name, and is replaced
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            try:
                new.replace(target)
            except BaseException:
                target.unlink()
                raise
    new.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the context ends without an exception: whole, or not at all.

    With ``force`` an existing folder is replaced only once the new one is complete. Without, whatever has appeared
    under the name meanwhile is not replaced.
    """
    target = check_output(path, force=force)
    if target.exists() and not target.is_dir():
        raise LsamplerError(f"{target}: is a file, cannot be replaced by a folder")
    with _room(target) as room:
        new = room / "new"
        new.mkdir()
        yield new
        folder_into_place(new, target, room / OLD, force=force)


@contextlib.contextmanager
def _room(target: Path) -> Iterator[Path]:
    """A locked folder beside ``target`` for what is to become it. What runs that were killed left there is removed."""
    parent = target.absolute().parent
    with disk_errors(target):
        remove_leftovers(parent, target.name)
        lock = None
        while lock is None:  # another process may take it for a leftover before it is locked
            room = parent / f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{target.name[-KEPT:]}"
            room.mkdir(0o700)
            lock = take_lock(room)
    with lock:
        try:
            with disk_errors(target):
                yield room
        finally:
            if _exists(target) or not _exists(room / OLD):
                remove(room)


def folder_into_place(new: Path, target: Path, old: Path, *, force: bool) -> None:
    """Rename the folder ``new`` to ``target``; with ``force``, what was there is renamed to ``old``.

    If ``new`` cannot take its place, or Ctrl-C comes between the renames, what was there is renamed back. Without
    ``force`` the rename fails where anything but an empty folder has the name by now.
    """
    try:
        if force and _exists(target):
            target.rename(old)
        with _not_replacing(target):
            new.rename(target)
    finally:
        if _exists(old) and not _exists(target):
            old.rename(target)


@contextlib.contextmanager
def _not_replacing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
            raise
        fix = "choose another name or pass `force=True`"
        raise LsamplerError(f"{target}: appeared while it was being written, and was not replaced; {fix}") from error


def leftovers(folder: Path, name: str = "") -> list[Path]:
    """The hidden folders of runs that were killed, of any output in a folder or of the one called ``name``."""
    pattern = f"{re.escape(TEMPORARY)}[0-9a-f]{{12}}-{re.escape(name[-KEPT:]) or '.+'}"
    found = sorted(path for path in folder.iterdir() if re.fullmatch(pattern, path.name, flags=re.DOTALL))
    return [path for path in found if path.is_dir() and not path.is_symlink() and not _in_use(path)]


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove :func:`leftovers`; what a run was replacing when it was killed is put back first."""
    for room in leftovers(folder, name):
        target = folder / (name or room.name[len(TEMPORARY) + 13 :])
        with contextlib.suppress(OSError):
            if _exists(room / OLD) and not _exists(target):
                (room / OLD).rename(target)
            remove(room)


def _in_use(path: Path) -> bool:
    """Whether a process that is alive may have locked it."""
    try:
        lock = take_lock(path)
    except OSError:  # gone meanwhile, or of another user
        return True
    if lock is not None:
        lock.close()
    return lock is None or not lock.held


class Lock(contextlib.AbstractContextManager[None]):
    """A lock that is held until it is closed, or until the process ends, however it ends.

    ``held`` is False where the file system or the system has no such locks.
    """

    def __init__(self, handle: int) -> None:
        self.held, self.close = False, weakref.finalize(self, os.close, handle)

    def __exit__(self, *_: object) -> None:
        self.close()


def take_lock(folder: Path) -> Lock | None:
    """Lock a folder of ours for this process; None if another process has locked, replaced or removed it."""
    lock = Lock(handle := os.open(folder, os.O_RDONLY))
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.held = True
        ours = os.path.samestat(os.fstat(handle), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        ours = False
    except OSError:
        return lock
    if not ours:
        lock.close()
    return lock if ours else None


def only_writer(folder: Path, target: Path | None = None) -> Lock:
    """The lock of the process that writes to a folder of ours. Raises LsamplerError if another process has it."""
    with disk_errors(folder):
        lock = take_lock(folder)
    if lock is None:
        fix = "wait until it has finished, or choose another name"
        raise LsamplerError(f"{target or folder}: another process or writer is writing it; {fix}")
    return lock


def remove(path: Path) -> None:
    """Remove a file, a folder, or only the link to one, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, quota, permissions) into one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        fix = FIXES.get(error.errno or 0, "choose another place")
        raise LsamplerError(f"{target}: could not be written ({reason}); nothing was left behind, {fix}") from error
