"""A latent store in one HDF5 file: reading it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.files import existing_file
from lsampler.statistics.passes import Segment, segment_rows
from lsampler.store.hdf5_layout import decoded, plain, problem_of
from lsampler.store.latent_store import SPLITS, LatentStore, Read
from lsampler.store.reference import Split

__all__ = ["FileSegment", "FileStore", "check_finished", "committed_shards", "partial_folder"]


class FileStore(LatentStore):
    """An existing store file, opened for every operation and read-only.

    Args:
        path: of the HDF5 file.

    Raises:
        LsamplerError: the file is missing, truncated, foreign, of another version, or unfinished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self.name = str(path)
        check_finished(self.path)
        with self._open() as handle, _damage(f"{self.path}: damaged; encode again"):
            self.attributes = {key: plain(value) for key, value in handle.attrs.items()}
            self._length, self.dimension = handle["latents"].shape
            self.has_ids = "ids" in handle
        self.fingerprint = self.attributes.get("encoder")

    def __reduce__(self) -> tuple[type[FileStore], tuple[Path]]:
        """Another process opens the file by its name."""
        return type(self), (self.path.absolute(),)

    def __len__(self) -> int:
        """The number of latent vectors."""
        return int(self._length)

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        return int(self._split_counts[SPLITS.index(split)])

    # Not read when opening: a store whose splits are damaged must still open for verify().
    @cached_property
    def _split_counts(self) -> NDArray[np.int64]:
        with self._reader() as read:
            return np.bincount(read("split", 0, len(self)), minlength=len(SPLITS))

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in segments that tasks can read at the same time."""
        step = segment_rows(len(self))
        starts = range(0, len(self), step)
        return [FileSegment(self, start, min(step, len(self) - start), split, start) for start in starts]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        with self._open() as handle:
            # Opened once: HDF5 forgets where the chunks are when a dataset is closed.
            with self._rows_damage(0, len(self)):
                datasets = dict(handle.items())

            def read(name: str, start: int, stop: int) -> Any:
                with self._rows_damage(start, stop):
                    found = datasets[name][start:stop]
                return [decoded(text) for text in found] if name == "ids" else found

            yield read

    def _rows_damage(self, start: int, stop: int) -> contextlib.AbstractContextManager[None]:
        rows = f"rows {start}..{min(stop, len(self)) - 1}"
        return _damage(f"{self.path}: {rows} are damaged; run 'lsampler store verify' and encode again")

    def _open(self) -> h5py.File:
        path = existing_file(self.path, "latent store")
        with _damage(f"{path}: not a readable HDF5 file; it may be truncated"):
            handle = h5py.File(path, "r")
        try:
            with _damage(f"{path}: damaged; encode again"):
                problem = problem_of(handle)
            if problem:
                raise LsamplerError(f"{path}: {problem}")
        except LsamplerError:
            handle.close()
            raise
        return handle


@dataclass(frozen=True)
class FileSegment:
    """The vectors of a split among consecutive rows of a store file.

    Attributes:
        store: the file.
        start: number of the first row, in the whole store.
        rows: how many.
        split: those that count.
        first: number of the first row, in the file.
    """

    store: FileStore
    start: int
    rows: int
    split: Split
    first: int
    portable: bool = True

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """The vectors as arrays (n, D)."""
        return self.store.chunks(self.split, start=self.first, stop=self.first + self.rows)


def partial_folder(path: Path) -> Path:
    """Where a writer of the store at ``path`` keeps its finished shards."""
    return path.with_name(path.name + ".partial")


def committed_shards(path: Path) -> list[Path]:
    """The finished shards, in order, of a store at ``path`` that is not finished."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


def check_finished(path: Path) -> None:
    """Raises LsamplerError if there is no store at ``path``, but an unfinished one."""
    if not path.exists() and committed_shards(path):
        raise LsamplerError(f"{path}: unfinished; rerun the command that was writing it to resume")


@contextlib.contextmanager
def _damage(message: str) -> Iterator[None]:
    """Turn what h5py raises for broken bytes into one line."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
        raise LsamplerError(message) from error
