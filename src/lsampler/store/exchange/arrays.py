"""Array files: ``.npy``, ``.npz`` and plain HDF5."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened
from lsampler.hdf5_files import checked_dataset, datasets, open_hdf5
from lsampler.store.exchange.choice import SHOWN, chosen_array, in_words
from lsampler.store.exchange.labels import COLUMNS, GROUP, USUAL, decoded_labels, found_labels, kept_labels
from lsampler.store.exchange.table import MOST_RATIO, MOST_UNPACKED, RawRows, Table
from lsampler.store.hdf5_layout import FORMAT, MEANING, MOST_ID_BYTES, encoded, hdf5_file, plain
from lsampler.store.labels import Labels, as_json
from lsampler.store.latent_shape import LATENT_SHAPE
from lsampler.store.latent_store import SPLITS, LatentStore, Rows
from lsampler.store.reference import Split

MOST_AXES = 8
BESIDE = ("ids", "split", LATENT_SHAPE)
"""What arrays beside the latents are called."""
MOST_AT_ONCE = 1 << 29
"""Bytes of an array that cannot be read row by row."""


@dataclass(frozen=True)
class _Array:
    """One array of a file.

    ``chunks`` is called with the largest number of rows per chunk, after ``check``, which raises LsamplerError if the
    array cannot be read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[int], Iterator[NDArray[Any]]]
    check: Callable[[], object]


def _table(
    path: Path, arrays: Mapping[str, _Array], dataset: str | None, links: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The latents among named arrays, with the ``ids`` and ``split`` beside them; ``links`` lead out of the file."""
    if links and (dataset in links or not arrays):
        _refuse_links(path, links)
    vectors = {name: array for name, array in arrays.items() if dataset or not _is_beside(name)}
    name = chosen_array(path, {name: (array.shape, array.dtype.kind) for name, array in vectors.items()}, dataset)
    latents, group = arrays[name], name.rpartition("/")[0]
    beside = {key: f"{group}/{key}".lstrip("/") for key in BESIDE}
    _refuse_links(path, {name: links[name] for name in beside.values() if name in links})
    ids, split, shape = map(arrays.get, beside.values())
    latents.check()
    for key, array in (("ids", ids), ("split", split)):
        if array is not None and array.shape != latents.shape[:1]:
            raise LsamplerError(
                f"{path}: '{key}' has the shape {array.shape} beside latents of shape {latents.shape}; "
                "give one for each row"
            )
        if array is not None:
            array.check()
            if array.dtype.itemsize > 4 * MOST_ID_BYTES:
                raise LsamplerError(
                    f"{path}: '{key}' is of type {array.dtype}; give texts of at most {MOST_ID_BYTES} bytes"
                )

    def chunks(step: int) -> Iterator[RawRows]:
        columns = [(b.tolist() for b in a.chunks(step)) if a else itertools.repeat(None) for a in (ids, split)]
        # The latents first: they end it, where the others may repeat for ever.
        return zip(latents.chunks(step), *columns, strict=False)

    labels = _labels(path, arrays, group, latents.shape[:1])
    used = [other for other in beside.values() if other in arrays] + list(labels.names if labels else ())
    group_of_labels = f"{group}/{GROUP}".lstrip("/")
    known = {other for other in arrays if other.startswith(f"{group_of_labels}/")} | {name, *used}
    known |= {f"{group}/{usual}".lstrip("/") for usual in (COLUMNS, *used)}
    words = in_words("array", [name], used, [other for other in (*arrays, *links) if other not in known])
    lengths = None if shape is None or latents.shape[2:] else _lengths(shape)
    return Table(latents.shape, latents.dtype, split is not None, chunks, name, words, lengths, labels)


def _is_beside(name: str) -> bool:
    """Whether an array is by its name none of latents."""
    return name.rpartition("/")[2] in (*BESIDE, COLUMNS) or f"/{GROUP}/" in f"/{name}"


def _labels(path: Path, arrays: Mapping[str, _Array], group: str, rows: tuple[int, ...]) -> Labels | None:
    """The labels in a group of arrays: those of an export, or else those that have a usual name."""
    inside = f"{group}/".lstrip("/")
    described = arrays.get(inside + COLUMNS)
    if described is None:
        usual = {name: arrays[inside + name] for name in USUAL if inside + name in arrays}
        return found_labels(
            {
                name: _whole(path, name, array)
                for name, array in usual.items()
                if array.shape == rows and array.dtype.kind in "fiubUS"
            }
        )
    named = f"{inside}{GROUP}/"
    values = {name.removeprefix(named): array for name, array in arrays.items() if name.startswith(named)}
    wrong = next((name for name, array in values.items() if array.shape != rows), None)
    if wrong is not None:
        raise LsamplerError(
            f"{path}: label '{shortened(wrong)}' has the shape {values[wrong].shape}; give one value for each row"
        )
    if described.dtype != np.uint8 or len(described.shape) != 1:
        raise LsamplerError(f"{path}: '{COLUMNS}' does not describe labels; export the store again")
    text = _whole(path, COLUMNS, described).tobytes()
    return kept_labels(path, {name: _whole(path, name, array) for name, array in values.items()}, text)


def _whole(path: Path, name: str, array: _Array) -> NDArray[Any]:
    """An array (n,), which is small beside the latents."""
    array.check()
    if math.prod(array.shape) * array.dtype.itemsize > max(MOST_UNPACKED, MOST_RATIO * path.stat().st_size):
        raise LsamplerError(f"{path}: '{shortened(name)}' is too large to be labels; leave it out")
    return np.concatenate([np.empty(0, array.dtype), *array.chunks(1 << 20)])


def _lengths(shape: _Array) -> str:
    """The shape of a latent as text, from an array of whole numbers; of another array the text says what it is."""
    shape.check()
    if len(shape.shape) != 1 or shape.dtype.kind not in "iu" or not 0 < shape.shape[0] <= MOST_AXES:
        return f"an array of shape {shape.shape} and type {shape.dtype}"
    return "x".join(map(str, next(shape.chunks(MOST_AXES)).tolist()))


def open_npy(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """A ``.npy`` file, which is one array."""
    if dataset is not None:
        raise LsamplerError(f"{path}: a .npy file is one array; leave out `dataset=...`")
    array = _streamed(path, path.name, lambda: path.open("rb"), path.stat().st_size)
    array.check()
    return Table(array.shape, array.dtype, False, lambda step: ((rows, None, None) for rows in array.chunks(step)))


def open_npz(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """An ``.npz`` archive."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    arrays = {
        member.filename.removesuffix(".npy"): _streamed(
            path, member.filename, partial(archive.open, member), member.file_size
        )
        for member in archive.infolist()
        if member.filename.endswith(".npy")
    }
    return _table(path, arrays, dataset)


def _streamed(path: Path, name: str, opened: Callable[[], IO[bytes]], size: int) -> _Array:
    """An array in the format of NumPy, read from a stream: ``np.load`` would read all of it at once."""
    with opened() as stream:
        shape, by_columns, dtype = _header(path, stream)
        start_of_data = stream.tell()
    by_columns &= len(shape) > 1  # each row is scattered over the whole array
    needed = math.prod(shape) * dtype.itemsize

    def check() -> None:
        if min(shape, default=0) < 0:
            raise ValueError(f"'{name}' has the shape {shape}, which no array has")
        if needed > size - start_of_data and not dtype.hasobject:
            there = f"{needed:,} bytes, but {size - start_of_data:,} are there"
            raise ValueError(f"'{name}' of shape {shape} takes {there}")
        if by_columns and needed > MOST_AT_ONCE and path.suffix.lower() != ".npy":
            fix = "write it in C order (numpy.ascontiguousarray), or as .npy"
            raise LsamplerError(f"{path}: '{name}' is in Fortran's order and too large to be read at once; {fix}")

    def chunks(step: int) -> Iterator[NDArray[Any]]:
        if dtype.hasobject:
            raise LsamplerError(
                f"{path}: '{name}' holds Python objects, which are never loaded; write it as numbers or as dtype=str"
            )
        if by_columns and path.suffix.lower() == ".npy":
            yield from _slices(np.load(path, mmap_mode="r", allow_pickle=False), step)
            return
        with opened() as stream:
            if by_columns:
                yield from _slices(np.lib.format.read_array(stream, allow_pickle=False), step)
                return
            _header(path, stream)
            for start in range(0, shape[0], step):
                chunk = (min(step, shape[0] - start), *shape[1:])
                yield np.frombuffer(stream.read(math.prod(chunk) * dtype.itemsize), dtype).reshape(chunk)
            stream.read(1)  # only at its end is the checksum of a member compared

    return _Array(shape, dtype, chunks, check)


def _header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise LsamplerError(f"{path}: version {version} of the .npy format, which is for records; write plain numbers")


def open_h5(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """An HDF5 file that is no latent store; of its links, only those within the file are followed."""
    handle = stack.enter_context(open_hdf5(path, "file of latent vectors"))
    if plain(handle.attrs.get("format")) == FORMAT:
        raise LsamplerError(f"{path}: is a latent store already; use it as it is")
    found, outside = datasets(path, handle)
    wanted = dataset.strip("/") if dataset else dataset
    arrays = {
        name: _Array(item.shape or (), _type_of(item), partial(_slices, item), partial(checked_dataset, path, item))
        for name, item in found.items()
    }
    return _table(path, arrays, wanted, outside)


def _refuse_links(path: Path, links: Mapping[str, str]) -> None:
    if links:
        shown = ", ".join(f"'{shortened(name)}' to '{shortened(links[name])}'" for name in list(links)[:SHOWN])
        raise LsamplerError(f"{path}: {shown} are links out of the file, which are not followed; copy the data into it")


def _type_of(dataset: h5py.Dataset) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = dataset.dtype
    except TypeError:  # NumPy has no such type
        return np.dtype("V1")
    return found


def _slices(array: NDArray[Any] | h5py.Dataset, step: int) -> Iterator[NDArray[Any]]:
    return (array[start : start + step] for start in range(0, len(array), step))


def write_npy(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The latents alone."""
    with path.open("wb") as stream:
        _write_latents(stream, (total, store.dimension), chunks)


def write_npz(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The arrays ``latents``, ``ids``, ``split`` and, if known, ``latent_shape`` and labels.

    Labels are arrays ``labels/NAME`` of numbers or texts; ``label_columns`` says what each is, as in a store. All but
    the latents are held in memory.
    """
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("latents.npy", "w", force_zip64=True) as stream:
            beside = _write_latents(stream, (total, store.dimension), chunks)
        arrays: dict[str, Any] = {"ids": beside.ids, "split": beside.splits, LATENT_SHAPE: store.latent_shape}
        for name, values in (arrays | beside.label_arrays(store)).items():
            if values is not None and len(values):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)


@dataclass
class _Beside:
    """What lies beside the latents of all rows, in memory."""

    ids: list[str] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    codes: list[NDArray[np.float32]] = field(default_factory=list)

    def label_arrays(self, store: LatentStore) -> dict[str, NDArray[Any]]:
        """The values of labels under the names of their arrays, and what the labels are; nothing without labels."""
        if not store.label_columns:
            return {}
        labels = Labels(store.label_columns, np.concatenate(self.codes))
        arrays = {f"{GROUP}/{name}": values for name, values in decoded_labels(labels).items()}
        return {COLUMNS: np.frombuffer(as_json(labels.columns).encode(), np.uint8), **arrays}


def _write_latents(stream: IO[bytes], shape: tuple[int, int], chunks: Iterator[Rows]) -> _Beside:
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return _written(chunks, lambda start, latents: stream.write(latents.tobytes()))


def _written(chunks: Iterator[Rows], write: Callable[[int, NDArray[np.float32]], object]) -> _Beside:
    """Write the latents of every chunk; returns what lies beside them."""
    found = _Beside()
    for chunk in chunks:
        write(len(found.splits), chunk.latents)
        found.ids += chunk.ids or ()
        found.splits += chunk.splits or ()
        found.codes += [chunk.labels.codes] if chunk.labels else []
    return found


def write_hdf5(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The datasets of :func:`write_npz` in plain HDF5; all but the latents are held in memory."""
    with hdf5_file(path) as handle:
        latents = handle.create_dataset("latents", (total, store.dimension), "<f4")

        def write(start: int, chunk: NDArray[np.float32]) -> None:
            latents[start : start + len(chunk)] = chunk

        beside = _written(chunks, write)
        handle["split"] = np.array([SPLITS.index(split) for split in beside.splits], np.uint8)
        handle["split"].attrs["meaning"] = MEANING
        if store.latent_shape:
            handle[LATENT_SHAPE] = np.array(store.latent_shape)
        if beside.ids:
            handle["ids"] = _fixed_texts(beside.ids)
        for name, values in beside.label_arrays(store).items():
            handle[name] = _fixed_texts(values.tolist()) if values.dtype.kind == "U" else values


def _fixed_texts(values: list[str]) -> NDArray[Any]:
    texts = [encoded(text) for text in values]
    return np.array(texts, h5py.string_dtype("utf-8", max(1, *map(len, texts))))
