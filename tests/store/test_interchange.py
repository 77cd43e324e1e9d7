"""Latent vectors from and to other programs: what goes out comes back, and what comes in is taken for what it is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchanged import SUFFIXES, Cli, D, save, store_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support import numbered

from lsampler import LsamplerError
from lsampler.models import ConvAutoencoder
from lsampler.store import HeldOut, LatentStore, export_latents, import_latents

LABELLED = [".npz", ".h5", ".parquet"]


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
        store = store_of(folder / "a.h5", numbered(0, count, dimension), ids, splits)
        for split in (None, "train", "held-out"):
            expected = [k for k, found in enumerate(splits) if split in (None, found)]
            exported, again = folder / f"{split}{suffix}", folder / f"{split} again.h5"
            if not expected:
                with pytest.raises(LsamplerError, match=f"holds no {split} vectors"):
                    export_latents(store, exported, split=split)
                continue
            assert export_latents(store, exported, split=split) == len(expected)
            back = import_latents(exported, again).store
            np.testing.assert_array_equal(back.read(), numbered(0, count, dimension)[expected])
            assert back.verify() == []
            assert suffix != ".npy" or not back.has_ids
            if suffix != ".npy":
                assert back.splits() == [splits[k] for k in expected]
                assert (back.ids(), back.has_ids) == ([ids[k] if ids else "" for k in expected], ids is not None)


def test_exports_are_read_by_numpy_h5py_and_pyarrow_alone(tmp_path: Path) -> None:
    ids, splits = ["a.png", "ä", "日本"], ["train", "held-out", "train"]
    store = store_of(tmp_path / "a.h5", numbered(0, 3), ids, splits)
    for suffix in SUFFIXES:
        export_latents(store, tmp_path / f"b{suffix}")
    array = np.load(tmp_path / "b.npy")
    np.testing.assert_array_equal(array, numbered(0, 3))
    assert array.dtype == np.float32
    with np.load(tmp_path / "b.npz") as archive:
        np.testing.assert_array_equal(archive["latents"], numbered(0, 3))
        assert (archive["ids"].tolist(), archive["split"].tolist()) == (ids, splits)
    with h5py.File(tmp_path / "b.h5") as handle:
        np.testing.assert_array_equal(handle["latents"][:], numbered(0, 3))
        assert handle["ids"].asstr()[:].tolist() == ids
        assert (handle["split"][:].tolist(), handle["split"].attrs["meaning"]) == ([0, 1, 0], "0 = train, 1 = held-out")
        assert "format" not in handle.attrs, "it must not pass for a latent store"
    table = pq.read_table(tmp_path / "b.parquet")
    assert (table["id"].to_pylist(), table["split"].to_pylist()) == (ids, splits)
    assert table["latent"].to_pylist() == numbered(0, 3).tolist()
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
    path = save(tmp_path / f"a{suffix}", numbered(0, 3), ids=[10, 11, 12], split=split)
    store = import_latents(path, tmp_path / "s.h5").store
    assert (store.ids(), store.splits()) == (["10", "11", "12"], ["train", "held-out", "train"])


def test_the_only_plausible_array_is_taken_and_what_lies_beside_it_belongs_to_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["labels"] = np.arange(3)
        handle["mean"] = np.zeros(D)
        handle["ids"] = ["not", "these", "ids"]
        handle["encoded/z"] = numbered(0, 3)
        handle["encoded/ids"] = ["a", "b", "c"]
    store = import_latents(tmp_path / "a.h5", tmp_path / "s.h5").store
    np.testing.assert_array_equal(store.read(), numbered(0, 3))
    assert (store.ids(), store.attributes["dataset"]) == (["a", "b", "c"], "encoded/z")


@pytest.mark.parametrize("key", ["other", "/deep/er"])
def test_dataset_chooses_among_several_arrays(tmp_path: Path, key: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["latents"] = numbered(0, 3)
        handle[key] = numbered(0, 4) + 1
    store = import_latents(tmp_path / "a.h5", tmp_path / "s.h5", dataset=key).store
    np.testing.assert_array_equal(store.read(), numbered(0, 4) + 1)


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
        (25, None, None, 2, "2 of 25 vectors at random, seed 0 (a tenth; change it with `held_out=...`)"),
        (9, None, None, 0, "0 of 9 vectors at random, seed 0 (a tenth"),
        (9, None, 8, 8, "8 of 9 vectors at random, seed 0"),
        (9, None, HeldOut(8, "last"), 8, "the last 8 of 9 vectors"),
        (9, [1] * 4 + [0] * 5, None, 4, "4 of 9 vectors (the split of a.npz)"),
        (9, [1] * 4 + [0] * 5, 1, 1, "1 of 9 vectors at random, seed 0"),
        (9, [1] * 4 + [0] * 5, 0, 0, "0 of 9 vectors at random, seed 0"),
        (9, [1] * 4 + [0] * 5, HeldOut(1, "last", 3), 1, "the last 1 of 9 vectors"),
    ],
)
def test_held_out_is_said_by_the_option_or_the_file_or_is_a_tenth(
    tmp_path: Path, count: int, own_split: list[int] | None, held_out: int | HeldOut | None, expected: int, words: str
) -> None:
    beside = {} if own_split is None else {"split": own_split}
    path = save(tmp_path / "a.npz", numbered(0, count), **beside)
    result = import_latents(path, tmp_path / "s.h5", held_out=held_out)
    assert words in result.held_out
    assert ("a tenth" in result.held_out) == (held_out is None and own_split is None)
    assert result.store.count("held-out") == expected
    if "the last" in words:
        assert result.store.splits() == ["train"] * (count - expected) + ["held-out"] * expected


@pytest.mark.parametrize("suffix", LABELLED)
def test_groups_of_ids_are_held_out_whole_and_the_store_records_how(tmp_path: Path, suffix: str) -> None:
    ids, split = [f"person{k // 7}/{k}" for k in range(300)], HeldOut(60, "folder", 2)
    path = save(tmp_path / f"a{suffix}", numbered(0, 300), ids=ids, split=[0] * 300)
    result = import_latents(path, tmp_path / "s.h5", held_out=split)
    expected = split.divide(ids, "x").held_out
    assert [found == "held-out" for found in result.store.splits()] == expected.tolist()
    assert result.held_out == f"{expected.sum()} of 300 vectors in 9 of 43 groups by folder, seed 2"
    assert result.store.attributes["split"] == "folder, seed 2"
    assert import_latents(path, tmp_path / "own.h5").store.attributes["split"] == f"of a{suffix}"


def test_import_records_where_the_vectors_came_from(tmp_path: Path, tiny_model: ConvAutoencoder) -> None:
    path = save(tmp_path / "foreign.npy", numbered(0, 10, 6))
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
        "held out: 179 of 1797 vectors at random, seed 0 (a tenth; change it with --held-out)",
        f"{tmp_path / 'z.h5'}: 1618 latent vectors and 179 held out, D = 6",
    ]
    common = ("--model", tiny_model_file, "--store", tmp_path / "z.h5", "--out", tmp_path / "x.png")
    assert cli("sample", "-p", "gaussian", *common).code == 0
    assert "imported latents" in cli("store", "info", tmp_path / "z.h5").out


def test_export_says_what_it_wrote(cli: Cli, tmp_path: Path, tiny_store: LatentStore) -> None:
    answer = cli("store", "export", tiny_store.path, "--out", tmp_path / "z.npy", "--split", "held-out")
    assert (answer.code, answer.out) == (
        0,
        f"{tmp_path / 'z.npy'}: 297 latent vectors, without their ids, splits and labels\n",
    )
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), tiny_store.held_out())
    assert cli("store", "export", tiny_store.path, "--out", tmp_path / "z.npy").code == 2
    assert cli("store", "export", tiny_store.path, "--out", tmp_path / "z.npy", "--force").code == 0
    assert len(np.load(tmp_path / "z.npy")) == len(tiny_store)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Twenty times the rows, 100 MB of them, there and back: the peak grows by less than half of that.

    The peak of resident memory counts mapped pages of the file as well.
    """
    rows = np.random.default_rng(0).random((100_000, 256), dtype=np.float32)
    np.save(tmp_path / "few.npy", rows[:5000])
    np.save(tmp_path / "many.npy", rows)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lsampler.store import export_latents, import_latents\n"
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
    assert many - few < 50_000
