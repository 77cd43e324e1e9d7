"""Reading of HDF5 files that others wrote: only data that lie in the file itself, and no more than lie there."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

from lsampler.errors import LsamplerError
from lsampler.files import existing_file

MOST_OBJECTS, MOST_LEVELS = 10_000, 32
"""Of groups and datasets that are searched."""
MOST_CHUNK_BYTES = 1 << 29
"""HDF5 holds a chunk several times while it decompresses it."""
SHOWN = 5
REASONS = {
    "signature": "it does not begin as one; check which file this is",
    "truncated": "it is truncated; copy it or make it again",
    "unable to lock": "another process is writing it; wait until it has finished",
}
"""What HDF5 says about a file that it does not open, and what that means."""


@contextlib.contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[h5py.File]:
    """An HDF5 file to read. Raises LsamplerError, which calls it ``what``, if it is none."""
    existing_file(path, what)
    try:
        handle = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise LsamplerError(f"{path}: not a readable HDF5 file, {_reason(error)}") from error
    with handle:
        yield handle


def _reason(error: Exception) -> str:
    """What is wrong with a file that HDF5 does not open, and what helps."""
    text = str(error)
    for part, reason in REASONS.items():
        if part in text:
            return reason
    number = re.search(r"errno = (\d+)", text)
    return f"{os.strerror(int(number[1])).lower()}; check the file" if number else "it is damaged; make it again"


def refuse_links(path: Path, handle: h5py.File) -> None:
    """Raise LsamplerError if a link leads out of the file: another program's reader would follow it."""
    for name, target in datasets(path, handle)[1].items():
        raise LsamplerError(f"{path}: '{name}' leads to {target}, which is not read; copy the data into the file")


def datasets(path: Path, handle: h5py.File) -> tuple[dict[str, h5py.Dataset], dict[str, str]]:
    """All datasets in all groups, by their names, and the links that lead out of the file or nowhere, by theirs.

    Links within the file are followed; what external links name is never opened.
    """
    found: dict[str, h5py.Dataset] = {}
    soft: dict[str, str] = {}
    outside: dict[str, str] = {}
    groups, seen = [("", handle["/"])], {h5py.h5o.get_info(handle["/"].id).addr}
    while groups:
        prefix, group = groups.pop()
        for name in group:
            full = f"{prefix}{name}"
            link = link_of(group, name)
            if isinstance(link, h5py.SoftLink):
                soft[full] = posixpath.normpath(posixpath.join("/", prefix, link.path)).strip("/")
            elif not isinstance(link, h5py.HardLink):
                outside[full] = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else "elsewhere"
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Dataset):
                found[full] = item
            elif isinstance(item, h5py.Group) and address not in seen and full.count("/") < MOST_LEVELS:
                groups.append((f"{full}/", item))
            seen.add(address)
            if len(seen) > MOST_OBJECTS:
                raise LsamplerError(f"{path}: holds more than {MOST_OBJECTS} groups and datasets; give fewer")
    for name, target in soft.items():
        if target in found:
            found[name] = found[target]
        else:
            outside[name] = target
    return found, outside


def link_of(group: h5py.Group, name: str) -> object:
    """How a group refers to a name: as h5py's HardLink, SoftLink or ExternalLink; None for links of other programs."""
    try:
        return group.get(name, getlink=True)
    except TypeError:
        return None


def listed(names: Iterable[str]) -> str:
    """The first names of a list, in quotes, and how many there are beside."""
    every = sorted(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in every[:SHOWN]) + more


def checked_dataset(path: Path, dataset: h5py.Dataset) -> h5py.Dataset:
    """The dataset, if all of it can be read, and from this file alone.

    Call it before reading: data in external storage or of a virtual dataset would come from any file that the user
    may read, or would be zeros where that file is missing.

    Raises:
        LsamplerError: it lies in other files, needs a filter that is not installed, was never written in part, or is
            stored in chunks that do not fit in memory.
    """
    where = f"{path}: '{(dataset.name or '').strip('/')}'"
    fix = "which are not read; copy its values into a plain dataset"
    if dataset.external:
        raise LsamplerError(f"{where} lies in other files ({listed([name for name, *_ in dataset.external])}), {fix}")
    if dataset.is_virtual:
        files = listed({source.file_name for source in dataset.virtual_sources()})
        raise LsamplerError(f"{where} is a virtual dataset of other files ({files}), {fix}")
    _check_filters(where, dataset)
    shape, size, chunks = dataset.shape or (), dataset.id.get_type().get_size(), dataset.chunks
    if chunks:
        if math.prod(chunks) * size > MOST_CHUNK_BYTES:
            raise LsamplerError(
                f"{where} has chunks of more than {MOST_CHUNK_BYTES >> 20} MB; write it in smaller ones"
            )
        declared = math.prod(-(-length // step) for length, step in zip(shape, chunks, strict=True))
        written = _sound_chunks(path, dataset)
    else:
        declared, written = math.prod(shape) * size, dataset.id.get_storage_size()
    if dataset.shape is not None and written < declared:
        share = f"only {100 * written / declared:.3g} %" if written else "nothing"
        raise LsamplerError(f"{where} declares the shape {shape}, but {share} of it was written; write it again")
    return dataset


def _sound_chunks(path: Path, dataset: h5py.Dataset) -> int:
    """How many chunks lie in the file, each for rows of its own: a damaged index would crash HDF5."""
    found, end = set(), path.stat().st_size

    def collect(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.byte_offset and 0 < chunk.size <= end - chunk.byte_offset:
            found.add(chunk.chunk_offset)

    dataset.id.chunk_iter(collect)
    return len(found)


def _check_filters(where: str, dataset: h5py.Dataset) -> None:
    created = dataset.id.get_create_plist()
    filters = [created.get_filter(k) for k in range(created.get_nfilters())]
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                importlib.import_module("hdf5plugin")  # brings filters by being imported
        if not h5py.h5z.filter_avail(code):
            label = name.decode("ascii", "replace").split("\0")[0].split(";")[0]
            called = f"{code}, {label}" if label else f"{code}"
            fix = "install it with: pip install hdf5plugin"
            raise LsamplerError(f"{where} is compressed with a filter ({called}) that is not installed; {fix}")
