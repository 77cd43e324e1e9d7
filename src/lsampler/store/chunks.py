"""Whole chunks of an HDF5 dataset, past HDF5's copies and its checksum, which takes as long as all else.

What is read and written is plain HDF5: any other program sees a chunked float32 dataset with the
filter Fletcher-32. Where a dataset is anything else, or a chunk is damaged, these functions leave it to h5py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["ChunkWriter", "Sealed", "chunk_rows", "fletcher32", "memory_for", "read_chunks", "sealed"]

CHECKSUM_BYTES = 4
MODULUS = 65535
SIDE = 256
"""So many words of 16 bits add up to less than 2^24, the last integer before single precision rounds."""


def fletcher32(data: NDArray[np.uint8]) -> int:
    """HDF5's checksum of an even number of bytes.

    Fletcher-32 (J. G. Fletcher 1982) over words w_0 .. w_(n-1) of 16 bits: the sums of w_k and of
    (n - k) w_k, modulo 65535. The words are laid out in a matrix and its rows and columns added up in
    single precision: 256 integers of 16 bits at a time, so that no sum is rounded. HDF5 takes the
    first byte of a word as the higher one; swapping the bytes multiplies by 256, modulo 65535.
    """
    words = data.view("<u2")
    width = SIDE * -(-len(words) // SIDE**2)
    matrix = np.empty((SIDE, width), np.float32)
    flat = matrix.reshape(-1)
    np.copyto(flat[: len(words)], words)
    flat[len(words) :] = 0
    # einsum does not go to BLAS, whose threads would wait for cores that are at work elsewhere.
    rows = np.einsum("ij->i", flat.reshape(-1, SIDE)).astype(np.int64)
    columns = np.add.reduce(matrix, axis=0).astype(np.int64)
    by_row = rows.reshape(SIDE, -1).sum(axis=1)
    plain = int(by_row.sum())
    by_place = width * int(by_row @ np.arange(SIDE)) + int(columns @ np.arange(width))
    first, second = _folded(256 * plain), _folded(256 * (len(words) * plain - by_place))
    return second << 16 | first


def _folded(total: int) -> int:
    """As adding the carry to 16 bits leaves it: 65535 in place of 0, unless there is nothing but zeros."""
    return (total - 1) % MODULUS + 1 if total else 0


def chunk_rows(dataset: h5py.Dataset) -> int | None:
    """Rows of a chunk, if chunks are whole rows of float32 under a Fletcher-32 and nothing else."""
    plain = (
        sys.byteorder == "little"
        and dataset.dtype == np.dtype("<f4")
        and dataset.ndim == 2
        and dataset.chunks is not None
        and dataset.chunks[1] == dataset.shape[1]
    )
    filters = dataset.id.get_create_plist()
    if not plain or filters.get_nfilters() != 1 or filters.get_filter(0)[0] != h5py.h5z.FILTER_FLETCHER32:
        return None
    return int(dataset.chunks[0])


def read_chunks(
    dataset: h5py.Dataset,
    rows_of_chunk: int | None,
    start: int,
    stop: int,
    memory: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """Rows ``start`` to ``stop``; :func:`chunk_rows` says how many are in a chunk. Raises what h5py raises.

    If they fit into ``memory``, they may be there. So many bytes as :func:`memory_for` says are enough.
    """
    if rows_of_chunk and start % rows_of_chunk == 0 and start < len(dataset):
        found = _read_chunks(dataset, rows_of_chunk, start, min(stop, len(dataset)), memory)
        if found is not None:
            return found
    rows: NDArray[np.float32] = dataset[start:stop]
    return rows


def memory_for(rows_of_chunk: int | None, rows: int, width: int) -> int:
    """How many bytes :func:`read_chunks` uses for so many rows."""
    whole = -(-rows // (rows_of_chunk or 1)) * (rows_of_chunk or 1)
    return 4 * whole * width + CHECKSUM_BYTES


def _read_chunks(
    dataset: h5py.Dataset, rows_of_chunk: int, start: int, stop: int, memory: NDArray[np.uint8] | None = None
) -> NDArray[np.float32] | None:
    width = dataset.shape[1]
    size = 4 * rows_of_chunk * width
    starts = range(start, stop, rows_of_chunk)
    # The checksum of a chunk lands where the next chunk goes.
    needed = len(starts) * size + CHECKSUM_BYTES
    raw = np.empty(needed, np.uint8) if memory is None or len(memory) < needed else memory[:needed]
    try:
        for number, first in enumerate(starts):
            chunk = raw[number * size : (number + 1) * size + CHECKSUM_BYTES]
            skipped, read = dataset.id.read_direct_chunk((first, 0), out=chunk)
            stored = int(chunk[size:].view("<u4")[0])
            # A chunk cut short leaves in the buffer what was there before: perhaps the same chunk, when it was whole.
            if skipped or len(read) != len(chunk) or fletcher32(chunk[:size]) != stored:
                return None
    except (OSError, RuntimeError, ValueError):
        return None
    return raw[:-CHECKSUM_BYTES].view("<f4").reshape(-1, width)[: stop - start]


@dataclass(frozen=True)
class Sealed:
    """Rows as they go to disk: whole chunks with their checksums, and the rows left over.

    Attributes:
        rows_of_chunk: rows of each chunk.
        chunks: (k, bytes) uint8.
        rest: (n, D), fewer than a chunk.
    """

    rows_of_chunk: int
    chunks: NDArray[np.uint8]
    rest: NDArray[np.float32]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.chunks) * self.rows_of_chunk + len(self.rest)

    def unsealed(self) -> NDArray[np.float32]:
        """The rows (n, D) themselves."""
        whole = self.chunks[:, :-CHECKSUM_BYTES].copy().view("<f4").reshape(-1, self.rest.shape[1])
        return np.concatenate([whole, self.rest])


def sealed(rows: NDArray[np.float32], rows_of_chunk: int) -> Sealed:
    """Rows (n, D) for a writer that is at the beginning of a chunk; another thread may seal the next ones meanwhile."""
    width = rows.shape[1]
    count, size = len(rows) // rows_of_chunk, 4 * rows_of_chunk * width
    chunks = np.empty((count, size + CHECKSUM_BYTES), np.uint8)
    for number, chunk in enumerate(chunks):
        chunk[:size].view("<f4").reshape(-1, width)[:] = rows[number * rows_of_chunk : (number + 1) * rows_of_chunk]
        _seal(chunk)
    return Sealed(rows_of_chunk, chunks, rows[count * rows_of_chunk :])


def _seal(chunk: NDArray[np.uint8]) -> None:
    chunk[-CHECKSUM_BYTES:] = np.array([fletcher32(chunk[:-CHECKSUM_BYTES])], "<u4").view(np.uint8)


class ChunkWriter:
    """Appends rows to a dataset for which :func:`chunk_rows` knows a number.

    Args:
        dataset: resizable, without rows.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset, self._rows_of_chunk = dataset, chunk_rows(dataset)
        self._raw = np.empty(4 * (self._rows_of_chunk or 1) * dataset.shape[1] + CHECKSUM_BYTES, np.uint8)
        self._chunk = self._raw[:-CHECKSUM_BYTES].view("<f4").reshape(-1, dataset.shape[1])
        self._start = self._filled = 0

    def __len__(self) -> int:
        """How many rows were appended."""
        return self._start + self._filled

    def append(self, rows: NDArray[np.float32] | Sealed) -> None:
        """Add rows (n, D); those of an unfinished chunk wait for :meth:`flush`."""
        if isinstance(rows, Sealed):
            if rows.rows_of_chunk != self._rows_of_chunk or self._filled:
                rows = rows.unsealed()
            else:
                for chunk in rows.chunks:
                    self._put_chunk(chunk)
                rows = rows.rest
        if not self._rows_of_chunk:
            self._put(rows)
            return
        taken = 0
        while taken < len(rows):
            few = rows[taken : taken + self._rows_of_chunk - self._filled]
            self._chunk[self._filled : self._filled + len(few)] = few
            self._filled += len(few)
            taken += len(few)
            if self._filled == self._rows_of_chunk:
                _seal(self._raw)
                self._put_chunk(self._raw)
                self._filled = 0

    def flush(self) -> None:
        """Write what waits; nothing can be appended after it."""
        rows, self._filled = self._chunk[: self._filled], 0
        if len(rows):
            self._put(rows)

    def _put_chunk(self, chunk: NDArray[np.uint8]) -> None:
        start, self._start = self._start, self._start + (self._rows_of_chunk or 0)
        self._dataset.resize(self._start, axis=0)
        self._dataset.id.write_direct_chunk((start, 0), chunk)

    def _put(self, rows: NDArray[Any]) -> None:
        self._dataset.resize(self._start + len(rows), axis=0)
        self._dataset[self._start :] = rows
        self._start += len(rows)
