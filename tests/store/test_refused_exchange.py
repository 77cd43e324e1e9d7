"""Imports and exports that are refused: one line, exit code 2, nothing written."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchanged import SUFFIXES, Cli, names, save, store_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import numbered

from lsampler import LsamplerError
from lsampler.store import export_latents, import_latents

# Every row: what is wrong, the arguments, what the one line must say. {dir} holds the files of `bad`.
BAD_INPUT = [
    ("no such file", "import {dir}/no.npy --out {dir}/x.h5", "no.npy: no such file of latent vectors; check the path"),
    ("a folder", "import {dir} --out {dir}/x.h5", "is a folder, expected a file of latent vectors"),
    ("no bytes", "import {dir}/nothing.npy --out {dir}/x.h5", "nothing.npy: is empty"),
    ("suffix", "import {dir}/z.txt --out {dir}/x.h5", "z.txt: not a file of latent vectors; give a .npy, .npz, .h5,"),
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
    ("several arrays", "import {dir}/two.npz --out {dir}/x.h5", "'a' (3, 6), 'b' (4, 6); name the latent vectors"),
    ("several lists", "import {dir}/two.parquet --out {dir}/x.h5", "'b' list<element: double>; name the"),
    ("no arrays", "import {dir}/bare.h5 --out {dir}/x.h5", "bare.h5: holds no array, so no latent vectors"),
    ("unknown dataset", "import {dir}/two.npz --dataset aa --out {dir}/x.h5", "no array 'aa'; did you mean 'a'?"),
    ("dataset of a .npy", "import {dir}/z.npy --dataset z --out {dir}/x.h5", "leave out --dataset"),
    ("ids do not fit", "import {dir}/ids.npz --out {dir}/x.h5", "'ids' has the shape (2,) beside latents"),
    ("ids of floats", "import {dir}/floatids.h5 --out {dir}/x.h5", "the id of row 0 is 0.5; give texts or"),
    ("id ends in NUL", "import {dir}/nul.parquet --out {dir}/x.h5", "the id of row 1 cannot be stored"),
    ("unknown split", "import {dir}/split.npz --out {dir}/x.h5", "the split of row 1 is 'test'; write 'train' or"),
    ("other D than the model", "import {dir}/z.npy --model celeba96 --out {dir}/x.h5", "D = 6, the model has 256"),
    ("too many held out", "import {dir}/z.npy --held-out 3 --out {dir}/x.h5", "3 held out; --held-out 3 must leave"),
    ("groups without ids", "import {dir}/z.npy --held-out-by folder --out {dir}/x.h5", "have no ids, by which"),
    ("no such group", "import {dir}/plain.h5 --held-out-by ( --out {dir}/x.h5", "by which --held-out-by ( could"),
    ("negative held out", "import {dir}/z.npy --held-out -1 --out {dir}/x.h5", "'--held-out'"),
    ("a zip named .npy", "import {dir}/zip.npy --out {dir}/x.h5", "zip.npy: not a readable .npy file"),
    ("an array named .npz", "import {dir}/array.npz --out {dir}/x.h5", "array.npz: not a readable .npz file"),
    ("a later .npy format", "import {dir}/version.npy --out {dir}/x.h5", "version (3, 0) of the .npy format"),
    ("damaged member", "import {dir}/damaged.npz --out {dir}/x.h5", "damaged.npz: not a readable .npz file"),
    ("export to odd format", "export {dir}/store.h5 --out {dir}/x.csv", "x.csv: cannot tell the format by this name"),
    ("export of odd split", "export {dir}/store.h5 --out {dir}/x.npy --split held_out", "did you mean 'held-out'?"),
    ("export of empty split", "export {dir}/store.h5 --out {dir}/x.npy --split held-out", "holds no held-out vectors"),
    ("export to what exists", "export {dir}/store.h5 --out {dir}/z.npy", "z.npy: exists already"),
    ("export to itself", "export {dir}/store.h5 --out {dir}/store.h5 --force", "store.h5: is the file that is read"),
    ("export of odd ids", "export {dir}/oddids.h5 --out {dir}/x.parquet", "is not UTF-8, which Parquet cannot keep"),
]  # fmt: skip


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that may be wrong with a file."""
    folder: Path = tmp_path_factory.mktemp("bad")
    z = numbered(0, 3)
    bad_arrays(folder, z)
    bad_archives(folder, z)
    bad_hdf5(folder, z)
    bad_tables(folder)
    (folder / "nothing.npy").touch()
    (folder / "z.txt").write_text("0 1 2")
    (folder / "zip.npy").write_bytes((folder / "two.npz").read_bytes())
    (folder / "array.npz").write_bytes((folder / "z.npy").read_bytes())
    (folder / "version.npy").write_bytes(b"\x93NUMPY\3\0" + bytes(100))
    store_of(folder / "store.h5", z)
    store_of(folder / "oddids.h5", z, ["a", "caf\udce9.png", "c"])
    return folder


def bad_arrays(folder: Path, z: NDArray[np.float32]) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "z": z,
        "flat": np.arange(6.0),
        "norows": np.zeros((0, 4)),
        "complex": z.astype(complex),
        "nan": np.where(np.arange(8000)[:, np.newaxis] == 7000, np.nan, numbered(0, 8000)),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([["a", None]], dtype=object), allow_pickle=True)
    np.lib.format.open_memmap(folder / "wide.npy", mode="w+", dtype="u1", shape=(2, (1 << 24) + 1))


def bad_archives(folder: Path, z: NDArray[np.float32]) -> None:
    archives: dict[str, dict[str, Any]] = {
        "cube": {"z": np.zeros((2, 3, 4))},
        "objectids": {"z": z, "ids": np.array(["a", None, "c"], dtype=object)},
        "large": {"z": z.astype(np.float64) + np.array([[0], [0], [1e39]])},
        "two": {"a": z, "b": numbered(0, 4)},
        "ids": {"z": z, "ids": ["a", "b"]},
        "split": {"z": z, "split": ["train", "test", "train"]},
        "damaged": {"z": z},
    }
    for name, members in archives.items():
        np.savez(folder / f"{name}.npz", **members)
    flip_one_number(folder / "damaged.npz", z)


def bad_hdf5(folder: Path, z: NDArray[np.float32]) -> None:
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


def bad_tables(folder: Path) -> None:
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


def flip_one_number(path: Path, rows: NDArray[np.float32]) -> None:
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
        path = save(folder / f"a{suffix}", numbered(0, 50), **beside)
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
        answer = cli("store", "export", tmp_path / "a.h5", "--out", tmp_path / f"b{suffix}")
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
    store = store_of(tmp_path / "a.h5", numbered(0, 3))
    export_latents(store, tmp_path / "a.parquet")
    before = names(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arguments = {
        "import": [tmp_path / "a.parquet", "--out", tmp_path / "b.h5"],
        "export": [store.path, "--out", tmp_path / "b.parquet"],
    }
    answer = cli("store", direction, *arguments[direction])
    assert answer.code == 2
    assert "needs pyarrow; install it with: pip install 'lsampler[parquet]'" in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert names(tmp_path) == before
    export_latents(store, tmp_path / "without.npz")
    import_latents(tmp_path / "without.npz", tmp_path / "without.h5")
