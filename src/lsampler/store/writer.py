"""Writing of latent stores, so that a process killed at any moment loses nothing committed.

A store file is complete or absent. A writer collects its rows in small files of the same format
in a folder beside it (``NAME.h5.partial``); each appears whole by a rename and is then committed.
When the writer closes, the pieces are merged into one file, which replaces the old one by a
rename. A process killed loses at most the rows it had not committed yet.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler._version import __version__
from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import check_output, disk_errors, new_file
from lsampler.store.chunks import ChunkWriter, Sealed
from lsampler.store.reference import Split
from lsampler.store.single_file import (
    BLOCK_ROWS,
    FORMAT,
    FORMAT_VERSION,
    SPLIT_ROWS,
    SPLITS,
    LatentStore,
    partial_folder,
    pieces,
)

__all__ = ["StoreBlock", "StoreWriter", "encoded", "hdf5_file", "rows_per_chunk", "storable", "write_store"]

COMMIT_ROWS = 1024
CHUNK_BYTES = 1 << 20
# What the writer itself sets; everything else is provenance.
OWN_ATTRIBUTES = frozenset({"format", "format_version", "lsampler", "created", "session"})

Provenance = Mapping[str, str | int | float]
StoreBlock = tuple[NDArray[np.float32], Sequence[str] | None, Sequence[Split] | None]
"""Latent vectors (n, D), an id each or None, the split of each or None for train."""


class StoreWriter:
    """Appends rows to a store, new or existing; a context manager.

    Rows are committed every :data:`COMMIT_ROWS` rows. Left without an exception, the context
    merges them into the store; left by one (Ctrl-C too), it commits what it has and keeps the
    pieces, and a new writer on the same path goes on after :attr:`committed` rows.

    Args:
        path: of the store.
        dimension: D.
        provenance: attributes of the whole store, such as encoder and crop.
        origin: attributes of the rows this writer adds, such as source. Those of an existing
            store may differ: texts are joined with " + ", numbers added.
        force: start anew: forget an existing store of that name once the new one is complete.

    Raises:
        LsamplerError: existing rows have another D or another provenance.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dimension: int,
        provenance: Provenance,
        *,
        origin: Provenance | None = None,
        force: bool = False,
    ) -> None:
        self.path = Path(path)
        self.dimension = dimension
        self.provenance, self.origin = dict(provenance), dict(origin or {})
        self._folder = partial_folder(self.path)
        check_output(self.path, force=True)
        if self.path.is_dir():
            raise LsamplerError(f"{path}: is a folder, cannot be replaced by a file")
        if force:
            _remove_pieces(self._folder)
        self._base = LatentStore(self.path) if self.path.exists() and not force else None
        self._pieces, self._session = self._unmerged_pieces()
        committed = [LatentStore(piece) for piece in self._pieces]
        if self._base:
            # Any origin will do here: what counts is that both know the same attributes.
            self._check_same(self._base, self.provenance | dict.fromkeys(self.origin))
        for piece in committed:
            self._check_same(piece, self.provenance | self.origin)
        self._pending: list[tuple[NDArray[np.float32], Sequence[str] | None, Split]] = []
        self._pending_rows = 0
        self.committed = sum(map(len, committed))

    def __enter__(self) -> Self:
        """Nothing is written before the first row."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Merge, or after an exception keep what can be kept."""
        if kind is None:
            self.finish()
            return
        # If this fails too, the exception under way says more.
        with contextlib.suppress(LsamplerError):
            self.commit()

    def append(self, latents: NDArray[Any], ids: Sequence[str] | None = None, split: Split = "train") -> None:
        """Add latent vectors (n, D), with one id each, to a split.

        Raises:
            LsamplerError: wrong shape, NaN or infinite values; nothing of the call is added.
        """
        if split not in SPLITS:
            raise LsamplerError(f"{self.path}: split '{split}' is unknown{nearest_name(split, SPLITS)}")
        # A copy: callers fill the same array again and again. Too large for float32 is refused below.
        with np.errstate(over="ignore"):
            rows = np.array(latents, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise LsamplerError(f"{self.path}: latents of shape {rows.shape}, the store holds D = {self.dimension}")
        if ids is not None and len(ids) != len(rows):
            raise LsamplerError(f"{self.path}: {len(ids)} ids for {len(rows)} latent vectors")
        for identity in ids or ():
            if not storable(identity):
                raise LsamplerError(f"{self.path}: id {identity!r} cannot be stored; name it without odd characters")
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            named = f" (image '{ids[bad]}')" if ids else ""
            raise LsamplerError(
                f"{self.path}: latent vector {bad}{named} holds NaN or infinite values; check the encoder"
            )
        if len(rows):
            self._pending.append((rows, None if ids is None else list(ids), split))
            self._pending_rows += len(rows)
        if self._pending_rows >= COMMIT_ROWS:
            self.commit()

    @property
    def pending(self) -> int:
        """Rows appended, but not committed yet."""
        return self._pending_rows

    def commit(self) -> None:
        """Make the rows appended so far survive whatever happens to this process."""
        if not self._pending:
            return
        with disk_errors(self.path):
            self._folder.mkdir(exist_ok=True)
        piece = self._folder / f"{len(self._pieces):08d}.h5"
        attributes = self.provenance | self.origin | {"session": self._session}
        try:
            with new_file(piece) as beside, _hdf5_output(beside, self.dimension, attributes) as output:
                for rows, ids, split in self._pending:
                    output.write(rows, ids, [split] * len(rows))
        except LsamplerError:
            with contextlib.suppress(OSError):  # it is kept if it holds pieces
                self._folder.rmdir()
            raise
        added = self._pending_rows
        # First: were Ctrl-C to come after the next line, leaving the context must not commit them twice.
        self._pending, self._pending_rows = [], 0
        self._pieces.append(piece)
        self.committed += added

    def finish(self) -> None:
        """Merge the committed rows into the store and remove the pieces."""
        self.commit()
        if not self._pieces:
            _remove_pieces(self._folder)
            if self._base is None:
                raise LsamplerError(f"{self.path}: no latent vectors to store")
            return
        parts = [*filter(None, [self._base]), *map(LatentStore, self._pieces)]
        # In the folder of the pieces, under one name: what a killed merge leaves is overwritten by the next.
        merged = self._folder / "merged.h5"
        try:
            with disk_errors(self.path):
                with _hdf5_output(merged, self.dimension, self._merged_attributes()) as output:
                    for part in parts:
                        for rows, ids, splits in part.labelled():
                            output.write(rows, ids, splits)
                merged.replace(self.path)
        finally:
            merged.unlink(missing_ok=True)
        _remove_pieces(self._folder)

    def _merged_attributes(self) -> dict[str, str | int | float]:
        attributes = self.provenance | self.origin | {"session": self._session}
        if self._base:
            for key, value in self.origin.items():
                earlier = self._base.attributes[key]
                attributes[key] = f"{earlier} + {value}" if isinstance(value, str) else earlier + value
        return attributes

    def _unmerged_pieces(self) -> tuple[list[Path], str]:
        """The pieces to go on from, and the session they belong to.

        A process killed between the rename and the removal of the pieces leaves pieces that the
        store already holds; it bears their session, and they are removed here.
        """
        found = pieces(self.path)
        if not found:
            return [], uuid.uuid4().hex
        if [piece.stem for piece in found] != [f"{number:08d}" for number in range(len(found))]:
            raise LsamplerError(f"{self._folder}: a piece is missing; use --force to start anew")
        session = LatentStore(found[0]).attributes.get("session")
        if self._base and self._base.attributes.get("session") == session:
            _remove_pieces(self._folder)
            return [], uuid.uuid4().hex
        return found, str(session)

    def _check_same(self, store: LatentStore, expected: Mapping[str, str | int | float | None]) -> None:
        if store.dimension != self.dimension:
            raise LsamplerError(
                f"{self.path}: holds D = {store.dimension}, the encoder gives {self.dimension}; use --force"
            )
        found = {key: value for key, value in store.attributes.items() if key not in OWN_ATTRIBUTES}
        for key in [*expected, *found]:
            was, now = found.get(key, "nothing"), expected.get(key, "nothing")
            if was != now and not (now is None and key in found):
                raise LsamplerError(
                    f"{self.path}: was written with {key} = {was}, now {now}; choose another name or use --force"
                )


def write_store(
    path: str | os.PathLike[str],
    dimension: int,
    blocks: Iterable[NDArray[np.float32] | Sealed | StoreBlock],
    provenance: Provenance,
    *,
    force: bool = False,
) -> None:
    """Stream blocks into a new store, complete or absent; memory does not grow with the rows.

    A block is latent vectors (n, D), with ids and splits or without; the caller has checked them.
    """
    with new_file(path, force=force) as beside, _hdf5_output(beside, dimension, provenance) as output:
        for block in blocks:
            rows, ids, splits = block if isinstance(block, tuple) else (block, None, None)
            output.write(rows, ids, splits)


def _remove_pieces(folder: Path) -> None:
    """Last piece first: a process killed here leaves a beginning, never a gap."""
    for piece in sorted(folder.glob("[0-9]*.h5"), reverse=True):
        piece.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def hdf5_file(path: Path, libver: str | None = None) -> Iterator[h5py.File]:
    """An HDF5 file to write; what the disk refuses becomes a plain OSError.

    HDF5 reports a full disk as OSError or RuntimeError, often only when the file is closed.
    """
    try:
        handle = h5py.File(path, "w", libver=libver)
        try:
            yield handle
        finally:
            _close(handle)
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _close(handle: h5py.File) -> None:
    try:
        handle.flush()
    except (OSError, RuntimeError):
        # HDF5 would write the same again on closing, fail, and crash the process (HDF5 2.0).
        # What it still wants to write may go nowhere.
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, handle.id.get_vfd_handle())
        os.close(nowhere)
        with contextlib.suppress(OSError, RuntimeError):
            handle.close()
        raise
    handle.close()


@contextlib.contextmanager
def _hdf5_output(path: Path, dimension: int, provenance: Provenance) -> Iterator[_Hdf5Output]:
    with hdf5_file(path, libver="v112") as handle:
        output = _Hdf5Output(handle, dimension, provenance)
        yield output
        output.finish()


class _Hdf5Output:
    """One store, written from start to end."""

    def __init__(self, handle: h5py.File, dimension: int, provenance: Provenance) -> None:
        self._handle = handle
        rows = rows_per_chunk(dimension)
        self._latents = ChunkWriter(
            self._handle.create_dataset(
                "latents", (0, dimension), "f4", maxshape=(None, dimension), chunks=(rows, dimension), fletcher32=True
            )
        )
        self._split = self._handle.create_dataset(
            "split", (0,), "u1", maxshape=(None,), chunks=(SPLIT_ROWS,), fletcher32=True, compression="gzip"
        )
        self._codes: list[NDArray[np.uint8]] = []
        self._split.attrs["meaning"] = _fixed(", ".join(f"{code} = {name}" for code, name in enumerate(SPLITS)))
        self._ids: h5py.Dataset | None = None
        defaults: dict[str, str | int | float] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "lsampler": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for key, value in (defaults | dict(provenance)).items():
            self._handle.attrs[key] = _fixed(value)

    def write(
        self, rows: NDArray[np.float32] | Sealed, ids: Sequence[str] | None, splits: Sequence[Split] | None
    ) -> None:
        start, stop = len(self._latents), len(self._latents) + len(rows)
        self._latents.append(rows)
        codes = [SPLITS.index(split) for split in splits] if splits else np.zeros(len(rows))
        self._codes.append(np.asarray(codes, dtype=np.uint8))
        if stop - len(self._split) >= SPLIT_ROWS:
            self._write_splits()
        if ids is not None:
            self._write_ids([encoded(identity) for identity in ids], start, stop)
        elif self._ids is not None:
            self._ids.resize(stop, axis=0)

    def finish(self) -> None:
        """Write what has waited for a chunk to be full."""
        self._latents.flush()
        self._write_splits()

    def _write_splits(self) -> None:
        start = len(self._split)
        codes = np.concatenate([np.empty(0, np.uint8), *self._codes])
        self._split.resize(start + len(codes), axis=0)
        self._split[start:] = codes
        self._codes = []

    def _write_ids(self, ids: list[bytes], start: int, stop: int) -> None:
        width = max([1, *map(len, ids)])
        if self._ids is None or self._ids.dtype.itemsize < width:
            earlier = self._ids[:] if self._ids is not None else np.zeros(start, dtype=f"S{width}")
            if self._ids is not None:
                del self._handle["ids"]
            self._ids = self._handle.create_dataset(
                "ids",
                data=earlier.astype(f"S{width}"),
                maxshape=(None,),
                chunks=(1 << 12,),
                fletcher32=True,
                compression="gzip",
            )
        self._ids.resize(stop, axis=0)
        self._ids[start:stop] = np.array(ids, dtype=f"S{self._ids.dtype.itemsize}")


def rows_per_chunk(dimension: int) -> int:
    """How many vectors a chunk of a store holds."""
    # A chunk takes its whole size on disk, so that of a small D must not hold many blocks; and blocks
    # that are drawn or read should consist of whole chunks.
    return 1 << max(0, min(BLOCK_ROWS, CHUNK_BYTES // (4 * dimension)).bit_length() - 1)


def storable(identity: str) -> bool:
    """Whether a store can keep this id."""
    # HDF5 pads texts of fixed length with NUL, so that none can end in it.
    try:
        return not encoded(identity).endswith(b"\0")
    except UnicodeEncodeError:
        return False


def encoded(text: str) -> bytes:
    """UTF-8, with the odd bytes of file names as they are."""
    # File names need not be UTF-8; Python carries their odd bytes as surrogates.
    return text.encode("utf-8", "surrogateescape")


def _fixed(value: str | int | float) -> Any:
    # HDF5 keeps texts of variable length in a heap without a checksum, and a damaged heap can make
    # it read forever. Texts of fixed length lie in the object header, which has one.
    if not isinstance(value, str):
        return value
    text = encoded(value)
    return np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
