"""The latent store: an HDF5 file of latent vectors with their origin. Reading it.

A store file is complete or absent; see ``_store_writer`` for how it comes to be.
"""

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
from lsampler.progress import Progress, track
from lsampler.statistics.passes import Segment, segment_rows
from lsampler.store.chunks import chunk_rows, memory_for, read_chunks
from lsampler.store.reference import Reference, Split

__all__ = ["SPLITS", "LatentStore", "StoreSegment", "partial_folder", "pieces"]

FORMAT = "lsampler-latents"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "held-out")
BLOCK_ROWS = 4096
SPLIT_ROWS = 1 << 16
"""Rows whose splits are read at once, and lie in one chunk."""


class LatentStore(Reference):
    """An existing store, opened for every operation and read-only.

    Args:
        path: of the HDF5 file.

    Attributes:
        attributes: the provenance: format, encoder fingerprint, source, preprocessing, versions, time.

    Raises:
        LsamplerError: the file is missing, truncated, foreign, of another version, or unfinished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self.name = str(path)
        committed = pieces(self.path)
        if not self.path.exists() and committed:
            raise LsamplerError(
                f"{path}: unfinished, {len(committed)} pieces are committed in {partial_folder(self.path)}; "
                "run the command that was writing it again to go on"
            )
        with self._open() as handle, _damage(f"{self.path}: damaged; encode again"):
            self.attributes: dict[str, Any] = {key: _plain(value) for key, value in handle.attrs.items()}
            self._rows, self.dimension = handle["latents"].shape
            self.has_ids = "ids" in handle
        self.fingerprint = self.attributes.get("encoder")

    def __reduce__(self) -> tuple[type[LatentStore], tuple[Path]]:
        """Another process opens the file by its name."""
        return type(self), (self.path.absolute(),)

    def __len__(self) -> int:
        """The number of latent vectors."""
        return int(self._rows)

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        return int(self._split_counts[SPLITS.index(split)])

    # Not read when opening: a store whose splits are damaged must still open for verify().
    @cached_property
    def _split_counts(self) -> NDArray[np.int64]:
        with self._open() as handle, self._rows_damage(0, len(self)):
            return np.bincount(handle["split"][:], minlength=len(SPLITS))

    def chunks(
        self,
        split: Split | None = "train",
        block_rows: int = BLOCK_ROWS,
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Latent vectors of a split, or all with None, as arrays (n, D) float32, in order.

        With ``start`` and ``stop``, only those among these rows of the store.
        """
        return self._blocks(split, block_rows, start, len(self) if stop is None else stop)

    def _blocks(
        self, split: Split | None, block_rows: int, start: int, stop: int, *, reuse: bool = False
    ) -> Iterator[NDArray[np.float32]]:
        """See :meth:`chunks`; with ``reuse`` each is valid until the next is asked for."""
        with self._open() as handle:
            latents, splits = self._datasets(handle)
            rows_of_chunk = chunk_rows(latents)
            size = memory_for(rows_of_chunk, block_rows, self.dimension)
            memory = np.empty(size, np.uint8) if reuse else None
            for first, last, chosen in self._chosen(splits, split, block_rows, start, stop):
                with self._rows_damage(first, last):
                    rows = read_chunks(latents, rows_of_chunk, first, last, memory)
                if chosen is not None:
                    rows = rows[chosen]
                if len(rows):
                    yield rows

    def _chosen(
        self, splits: h5py.Dataset, split: Split | None, block_rows: int, start: int, end: int
    ) -> Iterator[tuple[int, int, NDArray[np.bool_] | None]]:
        """Blocks as (first, last, which rows belong to the split); None if all do."""
        step = max(1, SPLIT_ROWS // block_rows) * block_rows
        for outer in range(start, end, step):
            stop = min(outer + step, end)
            chosen = None
            if split is not None:
                with self._rows_damage(outer, stop):
                    chosen = splits[outer:stop] == SPLITS.index(split)
                if chosen.all():
                    chosen = None
            for first in range(outer, stop, block_rows):
                last = min(first + block_rows, stop)
                yield first, last, None if chosen is None else chosen[first - outer : last - outer]

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """See :meth:`Reference.segments`."""
        step = segment_rows(len(self))
        starts = range(0, len(self), step)
        return [StoreSegment(self, start, min(step, len(self) - start), split, start) for start in starts]

    def labelled(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], list[str] | None, list[Split]]]:
        """Rows ``start`` to ``stop`` in blocks, with their ids, if there are any, and splits."""
        end = len(self) if stop is None else min(stop, len(self))
        with self._open() as handle:
            datasets, ids = self._datasets(handle), handle.get("ids")
            for first in range(start, end, BLOCK_ROWS):
                last = min(first + BLOCK_ROWS, end)
                rows, codes = self._read(datasets, first, last)
                with self._rows_damage(first, last):
                    names = None if ids is None else [_decoded(value) for value in ids[first:last]]
                    splits = [SPLITS[code] for code in codes]
                yield rows, names, splits

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of all splits, (n, D) float32."""
        with self._open() as handle:
            return self._read(self._datasets(handle), start, len(self) if stop is None else stop)[0]

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Image ids of these rows; empty strings if the store has none."""
        stop = len(self) if stop is None else stop
        if not self.has_ids:
            return [""] * len(range(len(self))[start:stop])
        with self._open() as handle, self._rows_damage(start, stop):
            return [_decoded(value) for value in handle["ids"][start:stop]]

    def splits(self, start: int = 0, stop: int | None = None) -> list[Split]:
        """The split of each of these rows."""
        stop = len(self) if stop is None else stop
        with self._open() as handle, self._rows_damage(start, stop):
            return [SPLITS[code] for code in handle["split"][start:stop]]

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Read everything and name what is wrong, by row range; an empty list if nothing is."""
        blocks = track(self._verified(), progress, "verifying", len(self), lambda block: block[0])
        return [problem for _, problems in blocks for problem in problems]

    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        """Block by block, how many rows were read and what is wrong with them."""
        for start in range(0, len(self), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(self))
            problems: list[str] = []
            try:
                with self._open() as handle:
                    rows, splits = self._read(self._datasets(handle), start, stop)
                self.ids(start, stop)
            except LsamplerError:
                yield stop - start, [f"rows {start}..{stop - 1}: damaged, a checksum does not match"]
                continue
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                problems.append(
                    f"rows {start}..{stop - 1}: {len(bad)} hold NaN or infinite values, first {start + bad[0]}"
                )
            if splits.max() >= len(SPLITS):
                problems.append(f"rows {start}..{stop - 1}: unknown split")
            yield stop - start, problems

    def _datasets(self, handle: h5py.File) -> tuple[h5py.Dataset, h5py.Dataset]:
        # Opened once: HDF5 forgets where the chunks are when a dataset is closed.
        with self._rows_damage(0, len(self)):
            return handle["latents"], handle["split"]

    def _read(
        self, datasets: tuple[h5py.Dataset, h5py.Dataset], start: int, stop: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        latents, split = datasets
        with self._rows_damage(start, stop):
            return read_chunks(latents, chunk_rows(latents), start, stop), split[start:stop]

    def _rows_damage(self, start: int, stop: int) -> contextlib.AbstractContextManager[None]:
        rows = f"rows {start}..{min(stop, len(self)) - 1}"
        return _damage(f"{self.path}: {rows} are damaged; see 'lsampler store verify' and encode again")

    def _open(self) -> h5py.File:
        path = existing_file(self.path, "latent store")
        with _damage(f"{path}: not a readable HDF5 file; it may be truncated"):
            handle = h5py.File(path, "r")
        try:
            with _damage(f"{path}: damaged; encode again"):
                problem = _foreign(handle)
            if problem:
                raise LsamplerError(f"{path}: {problem}")
        except LsamplerError:
            handle.close()
            raise
        return handle


@dataclass(frozen=True)
class StoreSegment:
    """The vectors of a split among consecutive rows of a store file.

    Attributes:
        store: the file.
        start: number of the first row, in the whole store.
        rows: how many.
        split: those that count.
        first: number of the first row, in the file.
    """

    store: LatentStore
    start: int
    rows: int
    split: Split
    first: int
    portable: bool = True

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """See :meth:`Segment.chunks`."""
        return self.store._blocks(self.split, BLOCK_ROWS, self.first, self.first + self.rows, reuse=True)


def partial_folder(path: Path) -> Path:
    """Where a writer of the store at ``path`` keeps its committed pieces."""
    return path.with_name(path.name + ".partial")


def pieces(path: Path) -> list[Path]:
    """The committed pieces of an unfinished store, in order."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


@contextlib.contextmanager
def _damage(message: str) -> Iterator[None]:
    """What h5py raises for broken bytes, as one line."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
        raise LsamplerError(message) from error


def _foreign(handle: h5py.File) -> str | None:
    """Why this is not a store that can be read, if so."""
    if _plain(handle.attrs.get("format")) != FORMAT:
        return "an HDF5 file, but not a latent store; make one with 'lsampler encode'"
    version = handle.attrs.get("format_version")
    if version != FORMAT_VERSION:
        return f"store format {version}, this lsampler reads {FORMAT_VERSION}; install the lsampler that wrote it"
    latents, split = handle["latents"], handle["split"]
    if not (isinstance(latents, h5py.Dataset) and isinstance(split, h5py.Dataset)):
        return "an HDF5 file, but not a latent store; make one with 'lsampler encode'"
    ids_fit = "ids" not in handle or handle["ids"].shape == latents.shape[:1]
    if latents.ndim != 2 or latents.dtype != np.float32 or split.shape != latents.shape[:1] or not ids_fit:
        return "damaged, its datasets do not fit together; encode again"
    return None


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _plain(value: Any) -> Any:
    """As JSON has it."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return _decoded(value)
    return value if isinstance(value, str | int | float) else str(value)
