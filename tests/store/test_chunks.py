"""Whole chunks past HDF5: the same bytes, the same checksum, and h5py for whatever else a dataset may be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsampler.store import chunks as module
from lsampler.store.chunks import ChunkWriter, chunk_rows, fletcher32, read_chunks, sealed

Rows = NDArray[np.float32]
SHAPES = [(4096, 256, 1024), (100, 3, 7), (50, 10, 50), (300, 300, 128), (9, 1, 1), (3, 70_000, 2)]


def values(rows: int, dimension: int, kind: str) -> Rows:
    if kind == "zeros":
        return np.zeros((rows, dimension), np.float32)
    if kind == "ones":  # every word is 65535, which is 0 modulo 65535
        return np.full((rows, dimension), 0xFFFFFFFF, np.uint32).view(np.float32)
    return np.random.default_rng(rows).normal(size=(rows, dimension)).astype(np.float32)


def create(path: Path, rows: Rows, chunk: int, **settings: Any) -> Path:
    with h5py.File(path, "w", libver="v112") as handle:
        settings = {"chunks": (chunk, rows.shape[1]), "fletcher32": True} | settings
        handle.create_dataset("latents", data=rows, **settings)
    return path


@pytest.mark.parametrize("kind", ["normal", "zeros", "ones"])
@pytest.mark.parametrize(("rows", "dimension", "chunk"), SHAPES)
def test_the_checksum_is_the_one_that_hdf5_writes(
    tmp_path: Path, rows: int, dimension: int, chunk: int, kind: str
) -> None:
    with h5py.File(create(tmp_path / "a.h5", values(rows, dimension, kind), chunk)) as handle:
        for start in range(0, rows, chunk):
            _, raw = handle["latents"].id.read_direct_chunk((start, 0))
            data, stored = np.frombuffer(raw, np.uint8)[:-4], int.from_bytes(raw[-4:], "little")
            assert fletcher32(data) == stored


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=0, max_size=3000).filter(lambda data: len(data) % 2 == 0))
def test_the_checksum_is_that_of_the_plain_definition(data: bytes) -> None:
    first = second = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        first += high << 8 | low
        second += first
    folded = [(total - 1) % 65535 + 1 if total else 0 for total in (first, second)]
    assert fletcher32(np.frombuffer(data, np.uint8)) == folded[1] << 16 | folded[0]


@pytest.mark.parametrize(("rows", "dimension", "chunk"), SHAPES)
def test_h5py_and_we_read_the_same(tmp_path: Path, rows: int, dimension: int, chunk: int) -> None:
    expected = values(rows, dimension, "normal")
    with h5py.File(create(tmp_path / "a.h5", expected, chunk)) as handle:
        dataset = handle["latents"]
        assert chunk_rows(dataset) == chunk
        ends = sorted({0, 1, chunk, 2 * chunk, rows // 2, rows - 1, rows, rows + 5})
        for start, stop in itertools.product(ends, ends):
            found = read_chunks(dataset, chunk_rows(dataset), start, stop)
            np.testing.assert_array_equal(found, dataset[start:stop], strict=True)
            assert found.flags.writeable


@pytest.mark.parametrize("step", [1, 3, 7, 8, 100, 1000])
@pytest.mark.parametrize(("rows", "dimension", "chunk"), [(100, 3, 7), (64, 5, 8), (1000, 2, 128), (5, 4, 8)])
def test_what_we_write_h5py_reads(tmp_path: Path, rows: int, dimension: int, chunk: int, step: int) -> None:
    expected = values(rows, dimension, "normal")
    with h5py.File(tmp_path / "a.h5", "w", libver="v112") as handle:
        dataset = handle.create_dataset(
            "x", (0, dimension), "f4", maxshape=(None, dimension), chunks=(chunk, dimension), fletcher32=True
        )
        writer = ChunkWriter(dataset)
        for start in range(0, rows, step):
            assert len(writer) == start
            writer.append(expected[start : start + step])
        writer.flush()
        assert len(writer) == rows
    with h5py.File(tmp_path / "a.h5") as handle:
        np.testing.assert_array_equal(handle["x"][:], expected)


@pytest.mark.parametrize("first", [0, 3, 8])
@pytest.mark.parametrize("rows_of_chunk", [8, 4])
@pytest.mark.parametrize("rows", [16, 21, 5])
def test_sealed_rows_are_written_wherever_the_writer_stands(
    tmp_path: Path, rows: int, rows_of_chunk: int, first: int
) -> None:
    expected = values(first + rows + 1, 5, "normal")
    given = sealed(expected[first:-1], rows_of_chunk)
    assert len(given) == rows
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        dataset = handle.create_dataset("x", (0, 5), "f4", maxshape=(None, 5), chunks=(8, 5), fletcher32=True)
        writer = ChunkWriter(dataset)
        for part in (expected[:first], given, expected[-1:]):
            writer.append(part)
        assert len(writer) == len(expected)
        writer.flush()
    with h5py.File(tmp_path / "a.h5") as handle:
        np.testing.assert_array_equal(handle["x"][:], expected)


def test_a_flipped_bit_is_found_by_h5py_s_own_reading(tmp_path: Path) -> None:
    rows = values(64, 4, "normal")
    path = create(tmp_path / "a.h5", rows, 8)
    raw = bytearray(path.read_bytes())
    place = raw.find(rows[16:24].tobytes())
    assert place > 0
    raw[place + 40] ^= 4
    path.write_bytes(raw)
    with h5py.File(path) as handle:
        dataset = handle["latents"]
        np.testing.assert_array_equal(read_chunks(dataset, 8, 0, 16), rows[:16])
        np.testing.assert_array_equal(read_chunks(dataset, 8, 24, 64), rows[24:])
        with pytest.raises(OSError, match="filter"):
            read_chunks(dataset, 8, 0, 64)


def test_memory_that_is_used_again_holds_the_rows_until_the_next_are_read(tmp_path: Path) -> None:
    rows = values(40, 4, "normal")
    with h5py.File(create(tmp_path / "a.h5", rows, 8), "r") as handle:
        dataset = handle["latents"]
        memory = np.empty(module.memory_for(8, 20, 4), np.uint8)
        for start, stop in ((0, 20), (16, 36), (32, 40)):
            found = read_chunks(dataset, 8, start, stop, memory)
            np.testing.assert_array_equal(found, rows[start:stop])
            assert np.shares_memory(found, memory)
        too_many = read_chunks(dataset, 8, 0, 40, memory)
        np.testing.assert_array_equal(too_many, rows)
        assert not np.shares_memory(too_many, memory)


def test_a_chunk_cut_short_is_not_completed_by_what_memory_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = values(16, 4, "normal")
    with h5py.File(create(tmp_path / "a.h5", rows, 8), "r+") as handle:
        dataset = handle["latents"]
        whole = [dataset.id.read_direct_chunk((start, 0))[1] for start in (0, 8)]
        dataset.id.write_direct_chunk((8, 0), whole[1][:20])
        held = np.frombuffer(whole[0][:-4] + whole[1], np.uint8)
        empty = np.empty
        monkeypatch.setattr(np, "empty", lambda shape, dtype: held.copy() if dtype == np.uint8 else empty(shape, dtype))
        assert module._read_chunks(dataset, 8, 0, 8) is not None
        assert module._read_chunks(dataset, 8, 0, 16) is None


@pytest.mark.parametrize(
    "other",
    [
        {"fletcher32": False},
        {"compression": "gzip"},
        {"shuffle": True},
        {"chunks": (8, 2)},
        {"chunks": None, "fletcher32": False},
        {"dtype": ">f4"},
        {"dtype": "f8"},
    ],
)
def test_datasets_of_another_kind_are_left_to_h5py(
    tmp_path: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = values(64, 4, "normal")
    monkeypatch.setattr(module, "_read_chunks", lambda *_: pytest.fail("not for this dataset"))
    with h5py.File(create(tmp_path / "a.h5", rows, 8, **other)) as handle:
        assert chunk_rows(handle["latents"]) is None
        np.testing.assert_array_equal(read_chunks(handle["latents"], chunk_rows(handle["latents"]), 0, 64), rows)


def test_chunks_that_were_never_written_read_as_h5py_reads_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        dataset = handle.create_dataset("x", (64, 4), "f4", chunks=(8, 4), fletcher32=True, fillvalue=7)
        dataset[8:16] = 1
        np.testing.assert_array_equal(read_chunks(dataset, 8, 0, 64), dataset[:])


def test_a_writer_for_another_dataset_appends_too(tmp_path: Path) -> None:
    expected = values(20, 4, "normal")
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        dataset = handle.create_dataset("x", (0, 4), "f4", maxshape=(None, 4), chunks=(8, 4), compression="gzip")
        writer = ChunkWriter(dataset)
        writer.append(expected[:11])
        writer.append(expected[11:])
        writer.flush()
        np.testing.assert_array_equal(dataset[:], expected)
