"""Where the bytes of a latent store lie: the names, types, chunks and filters of its HDF5 file, and its texts.

The page ``docs/store-format.md`` describes the format.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler._version import __version__
from lsampler.errors import LsamplerError, shortened
from lsampler.hdf5_files import checked_dataset, link_of
from lsampler.store.labels import Label, as_json, from_json, recoded
from lsampler.store.latent_store import CHUNK_ROWS, SPLITS, Rows

FORMAT = "lsampler-latents"
FORMAT_VERSION = 1
CHUNK_BYTES = 1 << 20
SPLIT_CHUNK, IDS_CHUNK, LABEL_CHUNK = 1 << 16, 1 << 12, 1 << 18
LABEL_COLUMNS = "label_columns"
MOST_COLUMN_BYTES = 1 << 26
MAX_DIMENSION = 1 << 24
"""A wider vector is an array the wrong way round, and too wide for one chunk of HDF5."""
MOST_ID_BYTES = 1 << 14
CODES = {name: code for code, name in enumerate(SPLITS)}
MEANING = ", ".join(f"{code} = {name}" for code, name in enumerate(SPLITS))

Provenance = Mapping[str, Any]


class StoreFile:
    """An empty store in an HDF5 file, to which rows are appended in order."""

    def __init__(
        self, handle: h5py.File, dimension: int, attributes: Provenance, columns: Sequence[Label] = ()
    ) -> None:
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
        self._columns, self._labels = tuple(columns), _label_dataset(handle, columns) if columns else None
        created = datetime.now(UTC).isoformat(timespec="seconds")
        own = {"format": FORMAT, "format_version": FORMAT_VERSION, "lsampler": __version__, "created": created}
        for key, value in (own | dict(attributes)).items():
            handle.attrs[key] = _fixed(value)

    def append(self, rows: Rows) -> None:
        """Add rows; the caller has checked them."""
        start, stop = len(self._latents), len(self._latents) + len(rows)
        for dataset in (self._latents, self._split, self._labels):
            if dataset is not None:
                dataset.resize(stop, axis=0)
        self._latents[start:] = rows.latents
        self._split[start:] = 0 if rows.splits is None else [CODES[split] for split in rows.splits]
        if self._labels is not None:
            self._labels[start:] = recoded(rows.labels, self._columns, len(rows))
        if rows.ids is not None:
            self._append_ids(encoded_all(rows.ids), start)
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


def _label_dataset(handle: h5py.File, columns: Sequence[Label]) -> h5py.Dataset:
    """The codes of no rows yet; a dataset beside it says what the columns are."""
    text = np.frombuffer(as_json(columns).encode(), np.uint8)
    handle.create_dataset(LABEL_COLUMNS, data=text, chunks=text.shape, fletcher32=True, compression="gzip")
    width = len(columns)
    return handle.create_dataset(
        "labels",
        (0, width),
        "<f4",
        maxshape=(None, width),
        chunks=(max(1, LABEL_CHUNK // width), width),
        fletcher32=True,
        compression="gzip",
    )


def label_columns(path: Path, handle: h5py.File) -> tuple[Label, ...]:
    """What the labels of a store are; none if it has none. Raises LsamplerError if they are damaged."""
    if not handle.id.links.exists(b"labels"):
        return ()
    damaged = f"{path}: damaged, what its labels are cannot be read"
    if not isinstance(link_of(handle, LABEL_COLUMNS), h5py.HardLink):
        raise LsamplerError(f"{damaged}; encode again")
    dataset = handle[LABEL_COLUMNS]
    sound = isinstance(dataset, h5py.Dataset) and dataset.ndim == 1 and dataset.dtype == np.uint8
    if not sound or dataset.shape[0] > MOST_COLUMN_BYTES:
        raise LsamplerError(f"{damaged}; encode again")
    try:
        return from_json(checked_dataset(path, dataset)[:].tobytes())
    except LsamplerError:
        raise
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, RecursionError) as error:
        raise LsamplerError(f"{damaged} ({shortened(str(error), 80)}); encode again") from error


def write_file(
    path: Path, dimension: int, chunks: Iterable[Rows], attributes: Provenance, columns: Sequence[Label] = ()
) -> None:
    """Write a store; the caller has checked the rows."""
    with hdf5_file(path, libver="v112") as handle:
        file = StoreFile(handle, dimension, attributes, columns)
        for rows in chunks:
            file.append(rows)


def check_layout(path: Path, handle: h5py.File) -> None:
    """Raise LsamplerError if this is not a store that can be read."""
    if plain(handle.attrs.get("format")) != FORMAT:
        raise LsamplerError(f"{path}: an HDF5 file, but not a latent store; make one with 'lsampler encode'")
    version = plain(handle.attrs.get("format_version"))
    if version != FORMAT_VERSION:
        fix = f"this lsampler reads {FORMAT_VERSION}; install the lsampler that wrote it"
        raise LsamplerError(f"{path}: store format {shortened(version)}, {fix}")
    found = {name: _dataset(path, handle, name) for name in TYPES if handle.id.links.exists(name.encode())}
    if not found.keys() >= {"latents", "split"}:
        raise LsamplerError(f"{path}: damaged, a store holds 'latents' and 'split'; encode again")
    shapes: dict[str, tuple[int, ...]] = {name: dataset.shape for name, dataset in found.items()}
    wide = {"labels": shapes["labels"][1:]} if "labels" in shapes else {}
    expected = {
        name: (*shapes["latents"][:1], *wide.get(name, shapes["latents"][1 : len(TYPES[name].axes)])) for name in shapes
    }
    if shapes != expected or (wide and wide["labels"] != (len(label_columns(path, handle)),)):
        shown = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items())
        raise LsamplerError(f"{path}: damaged, its datasets do not fit together ({shown}); encode again")
    if not 0 < shapes["latents"][1] <= MAX_DIMENSION:
        wrong = f"latents of shape {shapes['latents']}, D must be 1 to {MAX_DIMENSION}"
        raise LsamplerError(f"{path}: {wrong}; encode again")


def _dataset(path: Path, handle: h5py.File, name: str) -> h5py.Dataset:
    if not isinstance(link_of(handle, name), h5py.HardLink):
        raise LsamplerError(f"{path}: '{name}' is a link to another place, which is not followed; encode again")
    dataset, wanted = handle[name], TYPES[name]
    if not isinstance(dataset, h5py.Dataset):
        raise LsamplerError(f"{path}: damaged, '{name}' is no dataset; encode again")
    if dataset.ndim != len(wanted.axes) or not wanted.fits(dataset.dtype):
        there = f"{dataset.dtype} with {dataset.ndim} axes"
        raise LsamplerError(f"{path}: damaged, '{name}' is {there}, not {wanted.words}; encode again")
    return checked_dataset(path, dataset)


class Column(NamedTuple):
    """The type of a dataset of a store."""

    axes: str
    words: str
    fits: Callable[[np.dtype[Any]], bool]


def _is_text(dtype: np.dtype[Any]) -> bool:
    known = h5py.check_string_dtype(dtype)
    return known is not None and (known.length or 0) <= MOST_ID_BYTES


TYPES = {
    "latents": Column("ND", "float32 (N, D)", lambda dtype: dtype == np.float32),
    "split": Column("N", "uint8 (N,)", lambda dtype: dtype == np.uint8),
    "labels": Column("NL", "float32 (N, L)", lambda dtype: dtype == np.float32),
    "ids": Column("N", f"texts (N,) of at most {MOST_ID_BYTES} bytes", _is_text),
}


def storable(text: str) -> bool:
    """Whether a store can keep this id."""
    # HDF5 pads texts of fixed length with NUL, so that none can end in it.
    if text.isascii():
        return len(text) <= MOST_ID_BYTES and not text.endswith("\0")
    try:
        return len(encoded(text)) <= MOST_ID_BYTES and not encoded(text).endswith(b"\0")
    except UnicodeEncodeError:
        return False


def all_storable(texts: Sequence[str]) -> bool:
    """Whether a store can keep all these ids, found without a loop in Python; False where each must be looked at."""
    joined = "".join(texts)
    return joined.isascii() and "\0" not in joined and len(max(texts, key=len, default="")) <= MOST_ID_BYTES


def encoded(text: str) -> bytes:
    """UTF-8, with the odd bytes of file names as they are."""
    # File names need not be UTF-8; Python carries their odd bytes as surrogates.
    return text.encode("utf-8", "surrogateescape")


def decoded(text: bytes) -> str:
    """The text that :func:`encoded` has encoded."""
    return text.decode("utf-8", "surrogateescape")


def encoded_all(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Each text as :func:`encoded`."""
    try:
        return np.array(texts, np.bytes_)  # without a loop in Python, where all are ASCII
    except UnicodeEncodeError:
        return np.array([encoded(text) for text in texts], np.bytes_)


def decoded_all(texts: NDArray[Any]) -> list[str]:
    """Each text as :func:`decoded`."""
    if texts.dtype.kind == "S":
        with contextlib.suppress(UnicodeDecodeError):
            found: list[str] = texts.astype(np.str_).tolist()
            return found
    return [decoded(text) for text in texts]


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
