"""Array files: ``.npy``, ``.npz`` and plain HDF5."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.store.exchange.table import RawRows, Table, only
from lsampler.store.hdf5_layout import FORMAT, MEANING, encoded, hdf5_file, plain
from lsampler.store.latent_store import SPLITS, LatentStore, Rows
from lsampler.store.reference import Split


@dataclass(frozen=True)
class _Array:
    """One array of a file; ``chunks`` is called with the largest number of rows per chunk."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[int], Iterator[NDArray[Any]]]


def _table(path: Path, arrays: Mapping[str, _Array], dataset: str | None) -> Table:
    """The latents among named arrays, with the ``ids`` and ``split`` beside them."""
    chosen = {name: array for name, array in arrays.items() if name.rpartition("/")[2] not in ("ids", "split")}
    if dataset is None and "latents" not in chosen:
        likely = {n: a for n, a in chosen.items() if len(a.shape) in (2, 4) and a.dtype.kind in "fiu"}
        chosen = likely or chosen
    name = only(path, "array", "latents", {name: str(array.shape) for name, array in chosen.items()}, dataset)
    latents, group = arrays[name], name.rpartition("/")[0]
    ids, split = (arrays.get(f"{group}/{beside}".lstrip("/")) for beside in ("ids", "split"))
    for beside, array in (("ids", ids), ("split", split)):
        if array is not None and array.shape != latents.shape[:1]:
            raise LsamplerError(
                f"{path}: '{beside}' has the shape {array.shape} beside latents of shape {latents.shape}; "
                "give one for each row"
            )

    def chunks(step: int) -> Iterator[RawRows]:
        beside = [(b.tolist() for b in a.chunks(step)) if a else itertools.repeat(None) for a in (ids, split)]
        # The latents first: they end it, where the others may repeat for ever.
        return zip(latents.chunks(step), *beside, strict=False)

    return Table(latents.shape, latents.dtype, split is not None, chunks, name)


def open_npy(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """A ``.npy`` file, which is one array."""
    if dataset is not None:
        raise LsamplerError(f"{path}: a .npy file is one array; leave out `dataset=...`")
    array = _streamed(path, path.name, lambda: path.open("rb"))
    return Table(array.shape, array.dtype, False, lambda step: ((rows, None, None) for rows in array.chunks(step)))


def open_npz(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """An ``.npz`` archive."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [name for name in archive.namelist() if name.endswith(".npy")]
    arrays = {name.removesuffix(".npy"): _streamed(path, name, partial(archive.open, name)) for name in members}
    return _table(path, arrays, dataset)


def _streamed(path: Path, name: str, opened: Callable[[], IO[bytes]]) -> _Array:
    """An array in the format of NumPy, read from a stream: ``np.load`` would read all of it at once."""
    with opened() as stream:
        shape, by_columns, dtype = _header(stream)

    def chunks(step: int) -> Iterator[NDArray[Any]]:
        if dtype.hasobject:
            raise LsamplerError(
                f"{path}: '{name}' holds Python objects, which are never loaded; write it as numbers or as dtype=str"
            )
        with opened() as stream:
            if by_columns and len(shape) > 1:  # each row is scattered over the whole array
                yield from _slices(np.lib.format.read_array(stream, allow_pickle=False), step)
                return
            _header(stream)
            for start in range(0, shape[0], step):
                chunk = (min(step, shape[0] - start), *shape[1:])
                yield np.frombuffer(stream.read(int(np.prod(chunk)) * dtype.itemsize), dtype).reshape(chunk)
            stream.read(1)  # only at its end is the checksum of a member compared

    return _Array(shape, dtype, chunks)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the .npy format")


def open_hdf5(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """An HDF5 file that is no latent store."""
    handle = stack.enter_context(h5py.File(path, "r"))
    if plain(handle.attrs.get("format")) == FORMAT:
        raise LsamplerError(f"{path}: is a latent store already; use it as it is")
    arrays: dict[str, _Array] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = _Array(item.shape or (), item.dtype, partial(_slices, item))

    handle.visititems(collect)
    return _table(path, arrays, dataset.strip("/") if dataset else dataset)


def _slices(array: NDArray[Any] | h5py.Dataset, step: int) -> Iterator[NDArray[Any]]:
    return (array[start : start + step] for start in range(0, len(array), step))


def write_npy(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The latents alone."""
    with path.open("wb") as stream:
        _write_latents(stream, (total, store.dimension), chunks)


def write_npz(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The arrays ``latents``, ``ids`` and ``split``; ids and splits are held in memory."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("latents.npy", "w", force_zip64=True) as stream:
            ids, splits = _write_latents(stream, (total, store.dimension), chunks)
        for name, texts in (("ids", ids), ("split", splits)):
            if texts:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.array(texts), allow_pickle=False)


def _write_latents(stream: IO[bytes], shape: tuple[int, int], chunks: Iterator[Rows]) -> tuple[list[str], list[Split]]:
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return _written(chunks, lambda start, latents: stream.write(latents.tobytes()))


def _written(
    chunks: Iterator[Rows], write: Callable[[int, NDArray[np.float32]], object]
) -> tuple[list[str], list[Split]]:
    """Write the latents of every chunk; returns the ids and splits of all rows."""
    ids: list[str] = []
    splits: list[Split] = []
    for chunk in chunks:
        write(len(splits), chunk.latents)
        ids += chunk.ids or ()
        splits += chunk.splits or ()
    return ids, splits


def write_hdf5(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The datasets ``latents``, ``ids`` and ``split``, in plain HDF5; ids and splits are held in memory."""
    with hdf5_file(path) as handle:
        latents = handle.create_dataset("latents", (total, store.dimension), "<f4")

        def write(start: int, chunk: NDArray[np.float32]) -> None:
            latents[start : start + len(chunk)] = chunk

        ids, splits = _written(chunks, write)
        handle["split"] = np.array([SPLITS.index(split) for split in splits], np.uint8)
        handle["split"].attrs["meaning"] = MEANING
        if ids:
            texts = [encoded(text) for text in ids]
            handle["ids"] = np.array(texts, h5py.string_dtype("utf-8", max(1, *map(len, texts))))
