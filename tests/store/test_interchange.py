"""Latent vectors from and to other programs: what goes out comes back, and whatever is odd is refused in one line."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsampler import (
    ConvAutoencoder,
    LatentStore,
    LsamplerError,
    export_latents,
    import_latents,
    open_store,
)
from lsampler.store.latent_store import Rows
from lsampler.store.writer import write_store

D = 5
SUFFIXES = [".npy", ".npz", ".h5", ".parquet"]
LABELLED = [".npz", ".h5", ".parquet"]
Cli = Callable[..., Any]


def numbered(count: int, dimension: int = D) -> NDArray[np.float32]:
    """Rows that say which they are: row k holds k, k + 1/8, ..."""
    return (np.arange(count)[:, np.newaxis] + np.arange(dimension) / 8).astype(np.float32)


def store_of(path: Path, rows: NDArray[Any], ids: Sequence[str] | None = None, splits: Any = None) -> LatentStore:
    write_store(path, rows.shape[1], [Rows(rows, ids, splits)], {"encoder": "abc"})
    return open_store(path)


def save(path: Path, latents: NDArray[Any], **beside: Any) -> Path:
    """The latents as a file of any format, as other programs write it; ``beside`` are ids and split."""
    if path.suffix == ".npy":
        np.save(path, latents)
    elif path.suffix == ".npz":
        np.savez_compressed(path, latents=latents, **beside)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as handle:
            for name, values in {"latents": latents, **beside}.items():
                handle[name] = values
    else:
        columns = {"id" if name == "ids" else name: list(values) for name, values in beside.items()}
        pq.write_table(pa.table(columns | {"latent": list(latents)}), path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What goes out comes back


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
stored_rows = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.none() | st.lists(texts, min_size=count, max_size=count),
        st.lists(st.sampled_from(["train", "held-out"]), min_size=count, max_size=count),
    )
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=12, deadline=None)
@given(rows=stored_rows, chunk_rows=st.sampled_from([1, 4, 4096]), dimension=st.sampled_from([1, D]))
def test_export_and_import_give_the_same_rows_ids_and_splits(
    suffix: str, rows: tuple[int, list[str] | None, list[str]], chunk_rows: int, dimension: int
) -> None:
    count, ids, splits = rows
    if ids and suffix in (".npz", ".h5"):
        ids[0] = "caf\udce9.png"  # no UTF-8, as names of files may be
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsampler.store.exchange.table.CHUNK_ROWS", chunk_rows)
        folder = Path(name)
        store = store_of(folder / "a.h5", numbered(count, dimension), ids, splits)
        for split in (None, "train", "held-out"):
            expected = [k for k, found in enumerate(splits) if split in (None, found)]
            exported, again = folder / f"{split}{suffix}", folder / f"{split} again.h5"
            if not expected:
                with pytest.raises(LsamplerError, match=f"holds no {split} vectors"):
                    export_latents(store, exported, split=split)
                continue
            assert export_latents(store, exported, split=split) == len(expected)
            back = import_latents(exported, again).store
            np.testing.assert_array_equal(back.read(), numbered(count, dimension)[expected])
            assert back.verify() == []
            assert suffix != ".npy" or not back.has_ids
            if suffix != ".npy":
                assert back.splits() == [splits[k] for k in expected]
                assert (back.ids(), back.has_ids) == ([ids[k] if ids else "" for k in expected], ids is not None)


def test_exports_are_read_by_numpy_h5py_and_pyarrow_alone(tmp_path: Path) -> None:
    ids, splits = ["a.png", "ä", "日本"], ["train", "held-out", "train"]
    store = store_of(tmp_path / "a.h5", numbered(3), ids, splits)
    for suffix in SUFFIXES:
        export_latents(store, tmp_path / f"b{suffix}")
    array = np.load(tmp_path / "b.npy")
    np.testing.assert_array_equal(array, numbered(3))
    assert array.dtype == np.float32
    with np.load(tmp_path / "b.npz") as archive:
        np.testing.assert_array_equal(archive["latents"], numbered(3))
        assert (archive["ids"].tolist(), archive["split"].tolist()) == (ids, splits)
    with h5py.File(tmp_path / "b.h5") as handle:
        np.testing.assert_array_equal(handle["latents"][:], numbered(3))
        assert handle["ids"].asstr()[:].tolist() == ids
        assert (handle["split"][:].tolist(), handle["split"].attrs["meaning"]) == ([0, 1, 0], "0 = train, 1 = held-out")
        assert "format" not in handle.attrs, "it must not pass for a latent store"
    table = pq.read_table(tmp_path / "b.parquet")
    assert (table["id"].to_pylist(), table["split"].to_pylist()) == (ids, splits)
    assert table["latent"].to_pylist() == numbered(3).tolist()
    assert table["latent"].type == pa.list_(pa.float32(), D)


# What comes in from elsewhere


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4", "<i8", "u1"])
def test_any_real_numbers_become_float32(tmp_path: Path, suffix: str, dtype: str) -> None:
    if suffix == ".parquet" and dtype[0] == ">":
        pytest.skip("Arrow knows one byte order")
    latents = (np.arange(20 * D).reshape(20, D)).astype(dtype)
    store = import_latents(save(tmp_path / f"a{suffix}", latents), tmp_path / "s.h5").store
    np.testing.assert_array_equal(store.read(), latents.astype(np.float32))
    assert store.read().dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    order=st.sampled_from(["C", "F"]),
    suffix=st.sampled_from([".npy", ".npz", ".h5"]),
    chunk_rows=st.sampled_from([1, 4, 4096]),
)
def test_component_of_channel_row_and_column_is_row_major(
    shape: tuple[int, int, int, int], order: Any, suffix: str, chunk_rows: int
) -> None:
    latents = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    _, channels, height, width = shape
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsampler.store.exchange.table.CHUNK_ROWS", chunk_rows)
        path = save(Path(name) / f"a{suffix}", np.asarray(latents, order=order))
        store = import_latents(path, Path(name) / "s.h5").store
        for c, y, x in np.ndindex(channels, height, width):
            np.testing.assert_array_equal(store.read()[:, (c * height + y) * width + x], latents[:, c, y, x])
        assert store.attributes["shape"] == f"{channels} x {height} x {width}"


@pytest.mark.parametrize("suffix", LABELLED)
@pytest.mark.parametrize("split", [["train", "held-out", "train"], [0, 1, 0]])
def test_split_may_be_words_or_numbers(tmp_path: Path, suffix: str, split: list[Any]) -> None:
    path = save(tmp_path / f"a{suffix}", numbered(3), ids=[10, 11, 12], split=split)
    store = import_latents(path, tmp_path / "s.h5").store
    assert (store.ids(), store.splits()) == (["10", "11", "12"], ["train", "held-out", "train"])


def test_the_only_plausible_array_is_taken_and_what_lies_beside_it_belongs_to_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["labels"] = np.arange(3)
        handle["mean"] = np.zeros(D)
        handle["ids"] = ["not", "these", "ids"]
        handle["encoded/z"] = numbered(3)
        handle["encoded/ids"] = ["a", "b", "c"]
    store = import_latents(tmp_path / "a.h5", tmp_path / "s.h5").store
    np.testing.assert_array_equal(store.read(), numbered(3))
    assert (store.ids(), store.attributes["dataset"]) == (["a", "b", "c"], "encoded/z")


@pytest.mark.parametrize("key", ["other", "/deep/er"])
def test_dataset_chooses_among_several_arrays(tmp_path: Path, key: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["latents"] = numbered(3)
        handle[key] = numbered(4) + 1
    store = import_latents(tmp_path / "a.h5", tmp_path / "s.h5", dataset=key).store
    np.testing.assert_array_equal(store.read(), numbered(4) + 1)


def test_numeric_columns_of_a_table_are_the_components_in_order(tmp_path: Path) -> None:
    columns = {"z1": [1.0, 2.0], "note": ["x", "y"], "z0": [3, 4], "row": [7, 8], "id": [5, 6]}
    pandas = {"pandas": json.dumps({"index_columns": ["row"], "columns": []})}
    pq.write_table(pa.table(columns).replace_schema_metadata(pandas), tmp_path / "a.parquet")
    store = import_latents(tmp_path / "a.parquet", tmp_path / "s.h5").store
    np.testing.assert_array_equal(store.read(), [[1, 3], [2, 4]])
    assert store.ids() == ["5", "6"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.int32(), 2)])
def test_column_of_lists_beside_other_numbers_is_the_latents(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"label": [1, 2, 3], "z": pa.array([[1, 2], [3, 4], [5, 6]], kind), "id": ["a", None, "c"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    store = import_latents(tmp_path / "a.parquet", tmp_path / "s.h5").store
    np.testing.assert_array_equal(store.read(), [[1, 2], [3, 4], [5, 6]])
    assert store.ids() == ["a", "", "c"]


@pytest.mark.parametrize(
    ("count", "own_split", "held_out", "expected", "words"),
    [
        (25, None, None, 2, "the last 2 of 25 vectors (a tenth; change it with `held_out=...`)"),
        (9, None, None, 0, "the last 0 of 9 vectors"),
        (9, None, 8, 8, "the last 8 of 9 vectors (by `held_out=...`)"),
        (9, [1] * 4 + [0] * 5, None, 4, "4 of 9 vectors (the split of a.npz)"),
        (9, [1] * 4 + [0] * 5, 1, 1, "the last 1 of 9 vectors (by `held_out=...`)"),
        (9, [1] * 4 + [0] * 5, 0, 0, "the last 0 of 9 vectors (by `held_out=...`)"),
    ],
)
def test_held_out_is_said_by_the_option_or_the_file_or_is_a_tenth(
    tmp_path: Path, count: int, own_split: list[int] | None, held_out: int | None, expected: int, words: str
) -> None:
    beside = {} if own_split is None else {"split": own_split}
    path = save(tmp_path / "a.npz", numbered(count), **beside)
    result = import_latents(path, tmp_path / "s.h5", held_out=held_out)
    assert words in result.held_out
    assert result.store.count("held-out") == expected
    if "the last" in words:
        assert result.store.splits() == ["train"] * (count - expected) + ["held-out"] * expected


def test_import_records_where_the_vectors_came_from(tmp_path: Path, tiny_model: ConvAutoencoder) -> None:
    path = save(tmp_path / "foreign.npy", numbered(10, 6))
    unknown = import_latents(path, tmp_path / "a.h5").store
    assert (unknown.attributes["kind"], unknown.attributes["source"]) == ("imported latents", "foreign.npy")
    assert unknown.fingerprint is None
    known = import_latents(path, tmp_path / "b.h5", autoencoder=tiny_model).store
    assert known.fingerprint == tiny_model.fingerprint


# As a user does it


def test_latents_from_elsewhere_become_pictures(
    cli: Cli, tmp_path: Path, tiny_model_file: Path, tiny_store: LatentStore
) -> None:
    np.save(tmp_path / "z.npy", tiny_store.read().astype(np.float64))
    answer = cli("store", "import", tmp_path / "z.npy", "--model", tiny_model_file, "--out", tmp_path / "z.h5")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "held out: the last 179 of 1797 vectors (a tenth; change it with --held-out)",
        f"{tmp_path / 'z.h5'}: 1618 latent vectors and 179 held out, D = 6",
    ]
    common = ("--model", tiny_model_file, "--store", tmp_path / "z.h5", "--out", tmp_path / "x.png")
    assert cli("sample", "-p", "gaussian", *common).code == 0
    assert "imported latents" in cli("store", "info", tmp_path / "z.h5").out


def test_export_says_what_it_wrote(cli: Cli, tmp_path: Path, tiny_store: LatentStore) -> None:
    answer = cli("store", "export", tiny_store.path, tmp_path / "z.npy", "--split", "held-out")
    assert (answer.code, answer.out) == (0, f"{tmp_path / 'z.npy'}: 297 latent vectors, without their ids and splits\n")
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), tiny_store.held_out())
    assert cli("store", "export", tiny_store.path, tmp_path / "z.npy").code == 2
    assert cli("store", "export", tiny_store.path, tmp_path / "z.npy", "--force").code == 0
    assert len(np.load(tmp_path / "z.npy")) == len(tiny_store)


# Bad input: one line, exit code 2, nothing written

# Every row: what is wrong, the arguments, what the one line must say. {dir} holds the files of `bad`.
BAD_INPUT = [
    ("no such file", "import {dir}/no.npy --out {dir}/x.h5", "no.npy: no such file of latent vectors; check the path"),
    ("a folder", "import {dir} --out {dir}/x.h5", "is a folder, expected a file of latent vectors"),
    ("no bytes", "import {dir}/nothing.npy --out {dir}/x.h5", "nothing.npy: is empty"),
    ("suffix", "import {dir}/z.txt --out {dir}/x.h5", "z.txt: not a file of latent vectors; give a .npy, .npz, .h5 or"),
    ("suffix of the store", "import {dir}/z.npy --out {dir}/x.npz", "x.npz: a latent store is an .h5 file"),
    ("store exists", "import {dir}/z.npy --out {dir}/store.h5", "store.h5: exists already"),
    ("name too long", "import {dir}/z.npy --out {dir}/" + "x" * 300 + ".h5", "could not be written"),
    ("itself", "import {dir}/plain.h5 --out {dir}/plain.h5 --force", "plain.h5: is the file that is read"),
    ("a store", "import {dir}/store.h5 --out {dir}/x.h5", "store.h5: is a latent store already; use it as it is"),
    ("1-D", "import {dir}/flat.npy --out {dir}/x.h5", "latents of shape (6,); give (N, D) or (N, C, h, w)"),
    ("3-D", "import {dir}/cube.npz --out {dir}/x.h5", "cube.npz: latents of shape (2, 3, 4)"),
    ("no rows", "import {dir}/norows.npy --out {dir}/x.h5", "holds no latent vectors, its shape is (0, 4)"),
    ("no rows in a table", "import {dir}/norows.parquet --out {dir}/x.h5", "holds no latent vectors"),
    ("one huge row", "import {dir}/wide.npy --out {dir}/x.h5", "give one row per latent vector"),
    ("objects", "import {dir}/objects.npy --out {dir}/x.h5", "latents of type object; give real numbers"),
    ("ids are objects", "import {dir}/objectids.npz --out {dir}/x.h5", "'ids.npy' holds Python objects"),
    ("complex", "import {dir}/complex.npy --out {dir}/x.h5", "latents of type complex128; give real numbers"),
    ("texts in HDF5", "import {dir}/texts.h5 --out {dir}/x.h5", "latents of type object"),
    ("NaN", "import {dir}/nan.npy --out {dir}/x.h5", "nan.npy: row 7000 holds NaN or infinite values; fix that row"),
    ("overflow", "import {dir}/large.npz --out {dir}/x.h5", "large.npz: row 2 holds a number too large for float32"),
    ("null in a column", "import {dir}/null.parquet --out {dir}/x.h5", "null.parquet: row 1 holds NaN or infinite"),
    ("null for a list", "import {dir}/nulllist.parquet --out {dir}/x.h5", "row 2 holds 0 numbers, the first row 2"),
    ("lists of any length", "import {dir}/ragged.parquet --out {dir}/x.h5", "row 1 holds 3 numbers, the first row 2"),
    ("table of texts", "import {dir}/texts.parquet --out {dir}/x.h5", "holds no column of numbers or lists of numbers"),
    ("several arrays", "import {dir}/two.npz --out {dir}/x.h5", "'a' (3, 5), 'b' (4, 5); name the latent vectors"),
    ("several lists", "import {dir}/two.parquet --out {dir}/x.h5", "'b' list<element: double>; name the"),
    ("no arrays", "import {dir}/bare.h5 --out {dir}/x.h5", "bare.h5: holds no array, so no latent vectors"),
    ("unknown dataset", "import {dir}/two.npz --dataset aa --out {dir}/x.h5", "no array 'aa'; did you mean 'a'?"),
    ("dataset of a .npy", "import {dir}/z.npy --dataset z --out {dir}/x.h5", "leave out --dataset"),
    ("ids do not fit", "import {dir}/ids.npz --out {dir}/x.h5", "'ids' has the shape (2,) beside latents"),
    ("ids of floats", "import {dir}/floatids.h5 --out {dir}/x.h5", "the id of row 0 is 0.5; give texts or"),
    ("id ends in NUL", "import {dir}/nul.parquet --out {dir}/x.h5", "the id of row 1 cannot be stored"),
    ("unknown split", "import {dir}/split.npz --out {dir}/x.h5", "the split of row 1 is 'test'; write 'train' or"),
    ("other D than the model", "import {dir}/z.npy --model celeba96 --out {dir}/x.h5", "D = 5, the model has 256"),
    ("too many held out", "import {dir}/z.npy --held-out 3 --out {dir}/x.h5", "3 held out; --held-out 3 must leave"),
    ("negative held out", "import {dir}/z.npy --held-out -1 --out {dir}/x.h5", "'--held-out'"),
    ("a zip named .npy", "import {dir}/zip.npy --out {dir}/x.h5", "zip.npy: not a readable .npy file"),
    ("an array named .npz", "import {dir}/array.npz --out {dir}/x.h5", "array.npz: not a readable .npz file"),
    ("a later .npy format", "import {dir}/version.npy --out {dir}/x.h5", "version (3, 0) of the .npy format"),
    ("damaged member", "import {dir}/damaged.npz --out {dir}/x.h5", "damaged.npz: not a readable .npz file"),
    ("export to odd format", "export {dir}/store.h5 {dir}/x.csv", "x.csv: cannot tell the format by this name; choose"),
    ("export of odd split", "export {dir}/store.h5 {dir}/x.npy --split held_out", "did you mean 'held-out'?"),
    ("export of empty split", "export {dir}/store.h5 {dir}/x.npy --split held-out", "holds no held-out vectors"),
    ("export to what exists", "export {dir}/store.h5 {dir}/z.npy", "z.npy: exists already"),
    ("export to itself", "export {dir}/store.h5 {dir}/store.h5 --force", "store.h5: is the file that is read"),
    ("export of odd ids", "export {dir}/oddids.h5 {dir}/x.parquet", "is not UTF-8, which Parquet cannot keep"),
]  # fmt: skip


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that may be wrong with a file."""
    folder: Path = tmp_path_factory.mktemp("bad")
    z = numbered(3)
    arrays: dict[str, NDArray[Any]] = {
        "z": z,
        "flat": np.arange(6.0),
        "norows": np.zeros((0, 4)),
        "complex": z.astype(complex),
        "nan": np.where(np.arange(8000)[:, np.newaxis] == 7000, np.nan, numbered(8000)),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([["a", None]], dtype=object), allow_pickle=True)
    np.lib.format.open_memmap(folder / "wide.npy", mode="w+", dtype="u1", shape=(2, (1 << 24) + 1))
    archives: dict[str, dict[str, Any]] = {
        "cube": {"z": np.zeros((2, 3, 4))},
        "objectids": {"z": z, "ids": np.array(["a", None, "c"], dtype=object)},
        "large": {"z": z.astype(np.float64) + np.array([[0], [0], [1e39]])},
        "two": {"a": z, "b": numbered(4)},
        "ids": {"z": z, "ids": ["a", "b"]},
        "split": {"z": z, "split": ["train", "test", "train"]},
        "damaged": {"z": z},
    }
    for name, members in archives.items():
        np.savez(folder / f"{name}.npz", **members)
    _flip_one_number(folder / "damaged.npz", z)
    datasets: dict[str, dict[str, Any]] = {
        "plain": {"z": z},
        "bare": {},
        "texts": {"z": np.array([["a", "b"]], dtype=object)},
        "floatids": {"z": z, "ids": [0.5, 1, 2]},
    }
    for name, members in datasets.items():
        with h5py.File(folder / f"{name}.h5", "w") as handle:
            for key, value in members.items():
                handle[key] = value
    lists = pa.list_(pa.float64(), 2)
    tables: dict[str, dict[str, Any]] = {
        "norows": {"latent": pa.array([], lists)},
        "null": {"z0": [1.0, None, 2.0]},
        "nulllist": {"latent": pa.array([[1.0, 2.0], [3.0, 4.0], None], lists)},
        "ragged": {"latent": [[1.0, 2.0], [1.0, 2.0, 3.0]]},
        "texts": {"name": ["a", "b"]},
        "two": {"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]},
        "nul": {"latent": [[1.0], [2.0]], "id": ["a", "b\0"]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    (folder / "nothing.npy").touch()
    (folder / "z.txt").write_text("0 1 2")
    (folder / "zip.npy").write_bytes((folder / "two.npz").read_bytes())
    (folder / "array.npz").write_bytes((folder / "z.npy").read_bytes())
    (folder / "version.npy").write_bytes(b"\x93NUMPY\3\0" + bytes(100))
    store_of(folder / "store.h5", z)
    store_of(folder / "oddids.h5", z, ["a", "caf\udce9.png", "c"])
    return folder


def _flip_one_number(path: Path, rows: NDArray[np.float32]) -> None:
    content = path.read_bytes()
    assert content.count(rows.tobytes()) == 1
    path.write_bytes(content.replace(rows.tobytes(), (rows + 1).tobytes()))


@pytest.mark.parametrize(("arguments", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT])
def test_bad_input_gets_one_line_and_exit_code_2(arguments: str, message: str, bad: Path, cli: Cli) -> None:
    before = {path.name: path.stat() for path in bad.iterdir()}
    answer = cli("store", *arguments.replace("{dir}", str(bad)).split())
    lines = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("lsampler: ")
    assert message in lines[0]
    after = {path.name: path.stat() for path in bad.iterdir()}
    assert {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in after.items()} == {
        name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in before.items()
    }


@settings(max_examples=25, deadline=None)
@given(suffix=st.sampled_from(SUFFIXES), kept=st.floats(0, 1, exclude_max=True))
def test_no_truncated_file_is_imported(suffix: str, kept: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        beside = {} if suffix == ".npy" else {"ids": [f"{k}" for k in range(50)]}
        path = save(folder / f"a{suffix}", numbered(50), **beside)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(LsamplerError, match=f"a{suffix}: (not a readable|is empty)") as refusal:
            import_latents(path, folder / "s.h5")
        assert "\n" not in str(refusal.value)
        assert names(folder) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, suffix: str, cli: Cli) -> None:
    """The largest file a process may write is set to 1 MB, as a quota would."""
    rows = np.random.default_rng(0).normal(size=(20_000, 50)).astype(np.float32)  # 4 MB that no format makes smaller
    store_of(tmp_path / "a.h5", rows)
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        answer = cli("store", "export", tmp_path / "a.h5", tmp_path / f"b{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer
    assert "could not be written" in answer.err
    assert names(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("direction", ["import", "export"])
def test_missing_pyarrow_is_one_line_with_the_extra(
    direction: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "a.h5", numbered(3))
    export_latents(store, tmp_path / "a.parquet")
    before = names(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arguments = {
        "import": [tmp_path / "a.parquet", "--out", tmp_path / "b.h5"],
        "export": [store.path, tmp_path / "b.parquet"],
    }
    answer = cli("store", direction, *arguments[direction])
    assert answer.code == 2
    assert "needs pyarrow; install it with: pip install 'lsampler[parquet]'" in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert names(tmp_path) == before
    export_latents(store, tmp_path / "without.npz")
    import_latents(tmp_path / "without.npz", tmp_path / "without.h5")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Twenty times the rows, 100 MB of them, there and back: the peak grows by less than a third of that.

    The peak of resident memory counts mapped pages of the file as well.
    """
    rows = np.random.default_rng(0).random((100_000, 256), dtype=np.float32)
    np.save(tmp_path / "few.npy", rows[:5000])
    np.save(tmp_path / "many.npy", rows)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lsampler import export_latents, import_latents\n"
        "for name in ('few.npy', 'many.npy'):\n"
        "    import_latents(name, 'a.h5', force=True)\n"
        "    for suffix in sys.argv[1:]:\n"
        "        export_latents('a.h5', 'out' + suffix, force=True)\n"
        "        import_latents('out' + suffix, 'b.h5', force=True)\n"
        "    print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", script, *SUFFIXES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())  # in KiB
    assert many - few < 33_000
