"""Where the bytes of a latent store lie: the names, types, chunks and filters of its HDF5 file, and its texts.

The page ``docs/store-format.md`` describes the format.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler._version import __version__
from lsampler.store.latent_store import CHUNK_ROWS, SPLITS, Rows

FORMAT = "lsampler-latents"
FORMAT_VERSION = 1
CHUNK_BYTES = 1 << 20
SPLIT_CHUNK, IDS_CHUNK = 1 << 16, 1 << 12
MEANING = ", ".join(f"{code} = {name}" for code, name in enumerate(SPLITS))

Provenance = Mapping[str, Any]


class StoreFile:
    """An empty store in an HDF5 file, to which rows are appended in order."""

    def __init__(self, handle: h5py.File, dimension: int, attributes: Provenance) -> None:
        self._handle = handle
        # A chunk takes its whole size on disk, so that of a small D must not hold many rows; and chunks
        # that are drawn or read should consist of whole ones.
        chunk = 1 << max(0, min(CHUNK_ROWS, CHUNK_BYTES // (4 * dimension)).bit_length() - 1)
        self._latents = handle.create_dataset(
            "latents", (0, dimension), "<f4", maxshape=(None, dimension), chunks=(chunk, dimension), fletcher32=True
        )
        self._split = _column(handle, "split", np.empty(0, np.uint8), SPLIT_CHUNK)
        # Datasets stay open until the file is closed: on a full disk, closing one of them first crashes HDF5.
        self._ids: h5py.Dataset | None = None
        self._split.attrs["meaning"] = _fixed(MEANING)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        own = {"format": FORMAT, "format_version": FORMAT_VERSION, "lsampler": __version__, "created": created}
        for key, value in (own | dict(attributes)).items():
            handle.attrs[key] = _fixed(value)

    def append(self, rows: Rows) -> None:
        """Add rows; the caller has checked them."""
        start, stop = len(self._latents), len(self._latents) + len(rows)
        for dataset in (self._latents, self._split):
            dataset.resize(stop, axis=0)
        self._latents[start:] = rows.latents
        self._split[start:] = 0 if rows.splits is None else [SPLITS.index(split) for split in rows.splits]
        if rows.ids is not None:
            self._append_ids(np.array([encoded(text) for text in rows.ids], np.bytes_), start)
        elif self._ids is not None:
            self._ids.resize(stop, axis=0)

    def _append_ids(self, ids: NDArray[np.bytes_], start: int) -> None:
        width = max(1, ids.dtype.itemsize)
        if self._ids is None or self._ids.dtype.itemsize < width:
            earlier = np.zeros(start, f"S{width}") if self._ids is None else self._ids[:].astype(f"S{width}")
            if self._ids is not None:
                del self._handle["ids"]
            self._ids = _column(self._handle, "ids", earlier, IDS_CHUNK)
        self._ids.resize(start + len(ids), axis=0)
        self._ids[start:] = ids


def _column(handle: h5py.File, name: str, values: NDArray[Any], chunk: int) -> h5py.Dataset:
    return handle.create_dataset(
        name, data=values, maxshape=(None,), chunks=(chunk,), fletcher32=True, compression="gzip"
    )


def problem_of(handle: h5py.File) -> str | None:
    """Why this is not a store that can be read; None if it can be."""
    foreign = "an HDF5 file, but not a latent store; make one with 'lsampler encode'"
    if plain(handle.attrs.get("format")) != FORMAT:
        return foreign
    version = handle.attrs.get("format_version")
    if version != FORMAT_VERSION:
        return f"store format {version}, this lsampler reads {FORMAT_VERSION}; install the lsampler that wrote it"
    latents, split = handle["latents"], handle["split"]
    if not (isinstance(latents, h5py.Dataset) and isinstance(split, h5py.Dataset)):
        return foreign
    ids_fit = "ids" not in handle or handle["ids"].shape == latents.shape[:1]
    if latents.ndim != 2 or latents.dtype != np.float32 or split.shape != latents.shape[:1] or not ids_fit:
        return "damaged, its datasets do not fit together; encode again"
    return None


def storable(text: str) -> bool:
    """Whether a store can keep this id."""
    # HDF5 pads texts of fixed length with NUL, so that none can end in it.
    try:
        return not encoded(text).endswith(b"\0")
    except UnicodeEncodeError:
        return False


def encoded(text: str) -> bytes:
    """UTF-8, with the odd bytes of file names as they are."""
    # File names need not be UTF-8; Python carries their odd bytes as surrogates.
    return text.encode("utf-8", "surrogateescape")


def decoded(text: bytes) -> str:
    """The text that :func:`encoded` has encoded."""
    return text.decode("utf-8", "surrogateescape")


def plain(value: Any) -> Any:
    """An attribute in types that JSON knows."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, bytes):
        return decoded(value)
    return value if isinstance(value, str | int | float) else str(value)


def _fixed(value: Any) -> Any:
    # HDF5 keeps texts of variable length in a heap without a checksum, and a damaged heap can make
    # it read forever. Texts of fixed length lie in the object header, which has one.
    if not isinstance(value, str):
        return value
    text = encoded(value)
    return np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))


@contextlib.contextmanager
def hdf5_file(path: Path, libver: str | None = None) -> Iterator[h5py.File]:
    """An HDF5 file to write; a full disk is reported as a plain OSError.

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
