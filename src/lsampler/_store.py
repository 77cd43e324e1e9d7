"""The latent store: an HDF5 file of latent vectors with their origin.

A store file is complete or absent. A writer collects its rows in small files of the same format
in a folder beside it (``NAME.h5.partial``); each appears whole by a rename and is then committed.
When the writer closes, the pieces are merged into one file, which replaces the old one by a
rename. A process killed at any moment loses at most the rows it had not committed yet.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler._errors import LsamplerError
from lsampler._files import check_output, disk_errors, existing_file, new_file
from lsampler._reference import Reference, Split
from lsampler._version import __version__

__all__ = ["LatentStore", "StoreWriter", "write_store"]

FORMAT = "lsampler-latents"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "held-out")
BLOCK_ROWS = 4096
COMMIT_ROWS = 1024
CHUNK_BYTES = 1 << 20

Provenance = Mapping[str, str | int | float]


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
        with self._open() as handle:
            self.attributes: dict[str, Any] = {key: _plain(value) for key, value in handle.attrs.items()}
            self._rows, self.dimension = handle["latents"].shape
            self.has_ids = "ids" in handle
            self._split_counts = np.bincount(handle["split"][:], minlength=len(SPLITS))
        self.fingerprint = self.attributes.get("encoder")

    def __len__(self) -> int:
        """The number of latent vectors."""
        return int(self._rows)

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        return int(self._split_counts[SPLITS.index(split)])

    def blocks(self, split: Split | None = "train", block_rows: int = BLOCK_ROWS) -> Iterator[NDArray[np.float32]]:
        """Latent vectors of a split, or all with None, as arrays (n, D) float32, in order."""
        with self._open() as handle:
            for start in range(0, len(self), block_rows):
                rows, splits = self._read(handle, start, start + block_rows)
                if split is not None:
                    rows = rows[splits == SPLITS.index(split)]
                if len(rows):
                    yield rows

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of all splits, (n, D) float32."""
        with self._open() as handle:
            return self._read(handle, start, len(self) if stop is None else stop)[0]

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Image ids of these rows; empty strings if the store has none."""
        with self._open() as handle:
            if not self.has_ids:
                return [""] * len(handle["latents"][start:stop, :0])
            return [value.decode() for value in handle["ids"][start:stop]]

    def splits(self, start: int = 0, stop: int | None = None) -> list[Split]:
        """The split of each of these rows."""
        with self._open() as handle:
            return [SPLITS[code] for code in handle["split"][start:stop]]

    def verify(self) -> list[str]:
        """Read everything and name what is wrong, by row range; an empty list if nothing is."""
        problems = []
        for start in range(0, len(self), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(self))
            try:
                with self._open() as handle:
                    rows, splits = self._read(handle, start, stop)
                self.ids(start, stop)
            except (LsamplerError, OSError):
                problems.append(f"rows {start}..{stop - 1}: damaged, a checksum does not match")
                continue
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                problems.append(
                    f"rows {start}..{stop - 1}: {len(bad)} hold NaN or infinite values, first {start + bad[0]}"
                )
            if splits.max() >= len(SPLITS):
                problems.append(f"rows {start}..{stop - 1}: unknown split")
        return problems

    def _read(self, handle: h5py.File, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        try:
            return handle["latents"][start:stop], handle["split"][start:stop]
        except OSError as error:
            raise LsamplerError(
                f"{self.path}: rows {start}..{min(stop, len(self)) - 1} are damaged; "
                "see 'lsampler store verify' and encode again"
            ) from error

    def _open(self) -> h5py.File:
        path = existing_file(self.path, "latent store")
        try:
            handle = h5py.File(path, "r")
        except OSError as error:
            raise LsamplerError(f"{path}: not a readable HDF5 file; it may be truncated") from error
        if handle.attrs.get("format") != FORMAT or "latents" not in handle or "split" not in handle:
            handle.close()
            raise LsamplerError(f"{path}: an HDF5 file, but not a latent store; make one with 'lsampler encode'")
        version = handle.attrs.get("format_version")
        if version != FORMAT_VERSION:
            handle.close()
            raise LsamplerError(
                f"{path}: store format {version}, this lsampler reads {FORMAT_VERSION}; "
                "install the lsampler that wrote it"
            )
        return handle


class StoreWriter:
    """Appends rows to a store, new or existing; a context manager.

    Rows are committed every :data:`COMMIT_ROWS` rows. Left without an exception, the context
    merges them into the store; left by one (Ctrl-C too), it commits what it has and keeps the
    pieces, and a new writer on the same path goes on after :attr:`committed` rows.

    Args:
        path: of the store.
        dimension: D.
        provenance: attributes of the store, such as encoder, source, crop.
        force: start anew: forget an existing store of that name once the new one is complete.

    Raises:
        LsamplerError: existing rows have another D or another provenance.
    """

    def __init__(
        self, path: str | os.PathLike[str], dimension: int, provenance: Provenance, *, force: bool = False
    ) -> None:
        self.path = Path(path)
        self.dimension = dimension
        self.provenance = dict(provenance)
        self._folder = partial_folder(self.path)
        if force:
            shutil.rmtree(self._folder, ignore_errors=True)
        check_output(self.path, force=True)
        self._base = LatentStore(self.path) if self.path.exists() and not force else None
        self._pieces, session = self._unmerged_pieces()
        self._attributes = self.provenance | {"session": session}
        for store in [*filter(None, [self._base]), *map(LatentStore, self._pieces)]:
            self._check_same(store)
        self._pending: list[tuple[NDArray[np.float32], Sequence[str] | None, Split]] = []
        self._pending_rows = 0
        self.committed = sum(len(LatentStore(piece)) for piece in self._pieces)

    def __enter__(self) -> Self:
        """Nothing is written before the first row."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Merge, or after an exception keep what can be kept."""
        if kind is None:
            self.finish()
        elif issubclass(kind, (KeyboardInterrupt, LsamplerError)):
            self.commit()

    def append(self, latents: NDArray[Any], ids: Sequence[str] | None = None, split: Split = "train") -> None:
        """Add latent vectors (n, D), with one id each, to a split.

        Raises:
            LsamplerError: wrong shape, NaN or infinite values; nothing of the call is added.
        """
        rows = np.asarray(latents, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise LsamplerError(f"{self.path}: latents of shape {rows.shape}, the store holds D = {self.dimension}")
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            named = f" (image '{ids[bad]}')" if ids else ""
            raise LsamplerError(
                f"{self.path}: latent vector {bad}{named} holds NaN or infinite values; check the encoder"
            )
        if ids is not None and len(ids) != len(rows):
            raise LsamplerError(f"{self.path}: {len(ids)} ids for {len(rows)} latent vectors")
        self._pending.append((rows, ids, split))
        self._pending_rows += len(rows)
        if self._pending_rows >= COMMIT_ROWS:
            self.commit()

    @property
    def pending(self) -> int:
        """Rows appended, but not committed yet."""
        return self._pending_rows

    def commit(self) -> None:
        """Make the rows appended so far survive whatever happens to this process."""
        if not self._pending_rows:
            return
        with disk_errors(self.path):
            self._folder.mkdir(exist_ok=True)
        piece = self._folder / f"{len(self._pieces):08d}.h5"
        with new_file(piece) as beside, _Hdf5Output(beside, self.dimension, self._attributes) as output:
            for rows, ids, split in self._pending:
                output.write(rows, ids, [split] * len(rows))
        self._pieces.append(piece)
        self.committed += self._pending_rows
        self._pending, self._pending_rows = [], 0

    def finish(self) -> None:
        """Merge the committed rows into the store and remove the pieces."""
        self.commit()
        parts = [*filter(None, [self._base]), *map(LatentStore, self._pieces)]
        if not parts:
            raise LsamplerError(f"{self.path}: no latent vectors to store")
        with (
            new_file(self.path, force=True) as beside,
            _Hdf5Output(beside, self.dimension, self._attributes) as output,
        ):
            for part in parts:
                for start in range(0, len(part), BLOCK_ROWS):
                    stop = start + BLOCK_ROWS
                    ids = part.ids(start, stop) if part.has_ids else None
                    output.write(part.read(start, stop), ids, part.splits(start, stop))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unmerged_pieces(self) -> tuple[list[Path], str]:
        """The pieces to go on from, and the session they belong to.

        A process killed between the rename and the removal of the pieces leaves pieces that the
        store already holds; it bears their session, and they are removed here.
        """
        found = pieces(self.path)
        if not found:
            return [], uuid.uuid4().hex
        session = LatentStore(found[0]).attributes["session"]
        if self._base and self._base.attributes.get("session") == session:
            shutil.rmtree(self._folder)
            return [], uuid.uuid4().hex
        return found, session

    def _check_same(self, store: LatentStore) -> None:
        if store.dimension != self.dimension:
            raise LsamplerError(
                f"{self.path}: holds D = {store.dimension}, the encoder gives {self.dimension}; use --force"
            )
        for key, value in self.provenance.items():
            if store.attributes.get(key) != value:
                raise LsamplerError(
                    f"{self.path}: was written with {key} = {store.attributes.get(key)}, now {value}; "
                    "choose another name or use --force"
                )


def write_store(
    path: str | os.PathLike[str],
    dimension: int,
    blocks: Iterator[NDArray[np.float32]],
    provenance: Provenance,
    *,
    force: bool = False,
) -> None:
    """Stream blocks (n, D) into a new store, complete or absent; memory does not grow with the rows."""
    with new_file(path, force=force) as beside, _Hdf5Output(beside, dimension, provenance) as output:
        for rows in blocks:
            output.write(rows, None, None)


def partial_folder(path: Path) -> Path:
    """Where a writer of the store at ``path`` keeps its committed pieces."""
    return path.with_name(path.name + ".partial")


def pieces(path: Path) -> list[Path]:
    """The committed pieces of an unfinished store, in order."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


class _Hdf5Output:
    """One HDF5 file, written from start to end."""

    def __init__(self, path: Path, dimension: int, provenance: Provenance) -> None:
        self._handle = h5py.File(path, "w", libver="v112")
        rows = max(1, CHUNK_BYTES // (4 * dimension))
        self._latents = self._handle.create_dataset(
            "latents", (0, dimension), "f4", maxshape=(None, dimension), chunks=(rows, dimension), fletcher32=True
        )
        self._split = self._handle.create_dataset(
            "split", (0,), "u1", maxshape=(None,), chunks=(1 << 16,), fletcher32=True, compression="gzip"
        )
        self._split.attrs["meaning"] = ", ".join(f"{code} = {name}" for code, name in enumerate(SPLITS))
        self._ids: h5py.Dataset | None = None
        defaults: dict[str, str | int | float] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "lsampler": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for key, value in (defaults | dict(provenance)).items():
            self._handle.attrs[key] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def write(self, rows: NDArray[np.float32], ids: Sequence[str] | None, splits: Sequence[Split] | None) -> None:
        start, stop = len(self._latents), len(self._latents) + len(rows)
        self._latents.resize(stop, axis=0)
        self._latents[start:stop] = rows
        self._split.resize(stop, axis=0)
        self._split[start:stop] = [SPLITS.index(split) for split in splits] if splits else 0
        if ids is not None:
            encoded = [identity.encode() for identity in ids]
            self._write_ids(encoded, start, stop)

    def _write_ids(self, ids: list[bytes], start: int, stop: int) -> None:
        width = max(1, *map(len, ids)) if len(ids) > 1 else max(1, len(ids[0]))
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


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
