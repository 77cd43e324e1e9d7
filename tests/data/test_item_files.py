"""Items in files of every format: the same numbers, names and ranges; what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler import LsamplerError
from lsampler.data import Item, open_items

ROWS = np.random.default_rng(2).normal(size=(70, 5)).astype(np.float32)
NAMES = ("mass", "length", "a b", "dé", "x,y")
TABLE = Item("table", (5,), NAMES)


def save_csv(path: Path, delimiter: str = ",") -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([NAMES, *([f"{value:.9g}" for value in row] for row in ROWS)])


def save_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as handle:
        handle.create_dataset("deep/items", data=ROWS, chunks=(8, 5))


def save_parquet(path: Path, names: Any = NAMES, **more: Any) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: ROWS[:, k] for k, name in enumerate(names)} | more
    parquet.write_table(arrow.table(columns), path, row_group_size=16)


def save_h5ad(path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    from scipy.sparse import csr_matrix

    data = anndata.AnnData(csr_matrix(ROWS), obsm={"X_pca": ROWS[:, :2]}, layers={"raw": 2 * ROWS})
    data.var_names = list(NAMES)
    data.write_h5ad(path)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.npy": lambda path: np.save(path, ROWS),
    "a.npz": lambda path: np.savez(path, items=ROWS, names=np.array(NAMES)),
    "a.h5": save_hdf5,
    "a.csv": save_csv,
    "a.tsv": lambda path: save_csv(path, "\t"),
    "a.parquet": save_parquet,
    "a.h5ad": save_h5ad,
}


def opened(path: Path, **settings: Any) -> Any:
    WRITERS.get(path.name, lambda _: None)(path)
    return open_items(path, **settings)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_holds_the_same_rows(name: str, tmp_path: Path) -> None:
    source = opened(tmp_path / name, item=TABLE)
    assert source.name == name
    np.testing.assert_array_equal(source.rows(0, 70), ROWS)
    np.testing.assert_array_equal(np.concatenate([source.rows(k, min(k + 9, 70)) for k in range(0, 70, 9)]), ROWS)
    np.testing.assert_array_equal(source.rows(15, 33), ROWS[15:33])  # across two groups of rows, and backwards
    assert source.rows(0, 1).dtype == np.float32
    assert (len(source.ids), source.ids[3]) == (70, "3" if name == "a.h5ad" else "03")  # the names of cells
    again = pickle.loads(pickle.dumps(source))  # as processes that load do
    np.testing.assert_array_equal(again.rows(50, 70), ROWS[50:])
    named = name not in ("a.npy", "a.h5")
    assert open_items(tmp_path / name).item == (TABLE if named else Item("table", (5,)))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_columns_are_chosen_by_names_and_patterns(name: str, tmp_path: Path) -> None:
    source = opened(tmp_path / name, dataset="length,*a*")
    assert source.item.names == ("length", "mass", "a b")
    np.testing.assert_array_equal(source.rows(0, 70), ROWS[:, [1, 0, 2]])


def test_arrays_of_a_file_are_chosen_by_their_path(tmp_path: Path) -> None:
    np.testing.assert_array_equal(opened(tmp_path / "a.h5ad", dataset="obsm/X_pca").rows(0, 70), ROWS[:, :2])
    np.testing.assert_array_equal(opened(tmp_path / "a.h5ad", dataset="layers/raw").rows(0, 9), 2 * ROWS[:9])
    np.testing.assert_array_equal(opened(tmp_path / "a.h5", dataset="/deep/items").rows(0, 70), ROWS)


@pytest.mark.parametrize(
    ("shape", "item"),
    [
        ((9, 2, 16), Item("signal", (2, 16))),
        ((9, 1, 6, 4), Item("image", (1, 6, 4))),
        ((9, 5, 6, 4), Item("array", (5, 6, 4))),
    ],
)
def test_the_shape_says_what_items_are(shape: tuple[int, ...], item: Item, tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.zeros(shape))
    assert open_items(tmp_path / "b.npy").item == item


def test_signals_of_one_channel_need_no_axis_for_it(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", ROWS)
    assert open_items(tmp_path / "b.npy", Item("signal", (1, 5))).rows(0, 4).shape == (4, 1, 5)


def texts(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def saved(path: Path, array: NDArray[Any]) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def archive(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def of_text_column(path: Path) -> Path:
    save_parquet(path, colour=["red"] * 70)
    return path


@pytest.mark.parametrize(
    ("make", "dataset", "part"),
    [
        (lambda d: texts(d / "b.csv", "a,b", "1,2", "3"), None, "line 3 has 1 fields, the first has 2; correct it"),
        (lambda d: texts(d / "b.csv", "a,b", "1,red"), None, "line 2, column 'b' holds 'red', no number; leave the"),
        (lambda d: texts(d / "b.csv", "1,2", "3,4"), None, "begins with numbers; give a first line with the names"),
        (lambda d: texts(d / "b.csv", "a,a", "3,4"), None, "two columns are called 'a'; rename one"),
        (lambda d: texts(d / "b.csv", "a,b", "3,4"), "c", "holds no column 'c'"),
        (lambda d: texts(d / "b.csv", "a,b"), None, "holds no items"),
        (lambda d: texts(d / "b.txt", "a,b"), None, "not a file of items; give one of .npy, .npz"),
        (lambda d: saved(d / "b.npy", np.array([[1], [2, 3]], object)), None, "holds Python objects, which are never"),
        (lambda d: saved(d / "b.npy", np.array([["a"]])), None, "is of type <U1; give numbers, floats or integers"),
        (lambda d: saved(d / "b.npy", np.array(3.0)), None, "is a single number; give an array (N, ...)"),
        (lambda d: saved(d / "b.npy", ROWS), "x", "a .npy file is one array; leave out `dataset=...`"),
        (lambda d: archive(d / "b.npz", u=ROWS, v=ROWS), None, "choose one with `dataset=...`"),
        (lambda d: archive(d / "b.npz", u=ROWS, v=ROWS), "w", "holds no array 'w'"),
        (lambda d: texts(d / "b.npy", "nothing"), None, "not a readable .npy file"),
        (lambda d: texts(d / "b.h5ad", "nothing"), None, "not a readable HDF5 file"),
        (lambda d: of_text_column(d / "b.parquet"), None, "column 'colour' is of type string, no number; leave it out"),
        (lambda d: save_h5ad(d / "b.h5ad") or d / "b.h5ad", "obsm/X_umap", "holds no 'obsm/X_umap'; `dataset=...` may"),
    ],
)
def test_files_that_hold_no_items_are_refused(
    make: Callable[[Path], Path], dataset: str | None, part: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(LsamplerError) as refused:
        open_items(path, dataset=dataset)
    assert str(refused.value).startswith((str(path), path.name))
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    save_parquet(tmp_path / "b.parquet", ("length", "mass", *NAMES[2:]))
    with pytest.raises(LsamplerError, match=r"column 1 is 'length', where the model takes 'mass'; give the columns in"):
        open_items(tmp_path / "b.parquet", TABLE)
    found = open_items(tmp_path / "b.parquet", Item("table", (2,), NAMES[:2]), dataset="mass,length")
    np.testing.assert_array_equal(found.rows(0, 70), ROWS[:, [1, 0]])


def test_missing_values_of_a_table_are_named_when_it_is_encoded(tmp_path: Path) -> None:
    import lsampler

    model = lsampler.adapt(lambda x: x[:, :2], lambda z: np.pad(z, ((0, 0), (0, 3))), example=ROWS[:2], names=NAMES)
    rows = [",".join(f"{value:.9g}" for value in row) for row in ROWS]
    rows[6] = "1,2,,4,5"
    texts(tmp_path / "b.csv", 'mass,length,a b,dé,"x,y"', *rows)
    with pytest.raises(LsamplerError, match=r"'a b'"):
        lsampler.encode(model, tmp_path / "b.csv")
