"""Which kind of items a file holds, ids of tables, and columns that are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lsampler import LsamplerError
from lsampler.data import Item, ItemHints, open_any, open_items


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("array", "item"),
    [
        (normal(9, 4), Item("table", (4,))),
        (normal(9, 2, 50), Item("signal", (2, 50))),
        (normal(9, 12, 50), Item("signal", (12, 50))),
        (np.zeros((9, 3, 50)), Item("signal", (3, 50))),  # an image has four pixels or more along an edge
        (np.zeros((9, 2, 50), np.uint8), Item("signal", (2, 50))),
        (normal(9, 2, 3, 4), Item("array", (2, 3, 4))),
        (np.zeros((9, 8, 8)), None),
        (np.zeros((9, 20, 30), np.uint8), None),
        (np.ones((9, 3, 8, 8)), None),
        (np.full((9, 8, 8), np.nan), None),
    ],
)
def test_the_shape_and_the_numbers_tell(array: np.ndarray, item: Item | None, tmp_path: Path) -> None:
    """Without an item the file holds images."""
    np.save(tmp_path / "a.npy", array)
    found: Any = open_any(tmp_path / "a.npy")
    assert getattr(found, "item", None) == item
    assert len(found.ids) == 9


@pytest.mark.parametrize("shape", [(9, 20, 20), (9, 3, 8, 8), (9, 50, 20)])
def test_what_may_be_several_things_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", normal(*shape))
    with pytest.raises(LsamplerError, match=r"a\.npy: items of shape .* values outside \[0, 1\]; say what they are"):
        open_any(tmp_path / "a.npy")
    kind: Any = "signal" if len(shape) == 3 else "array"
    assert open_any(tmp_path / "a.npy", ItemHints(kind)).item == Item(kind, shape[1:])  # type: ignore[union-attr]


def test_rows_may_be_signals_of_one_channel(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", normal(9, 50))
    found: Any = open_any(tmp_path / "a.npy", ItemHints("signal", names=("ECG",), unit="mV"))
    assert found.item == Item("signal", (1, 50), ("ECG",), unit="mV")
    assert found.rows(0, 3).shape == (3, 1, 50)


def csv_of(path: Path) -> None:
    path.write_text("ID,a,b,kind\np1,1,2,x\np2,3,4,y\n")


def parquet_of(path: Path) -> None:
    pq.write_table(pa.table({"ID": ["p1", "p2"], "a": [1.0, 3.0], "b": [2.0, 4.0], "kind": ["x", "y"]}), path)


@pytest.mark.parametrize(("name", "write"), [("t.csv", csv_of), ("t.parquet", parquet_of)])
def test_a_column_of_ids_is_no_feature_and_columns_are_left_out_by_name(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(LsamplerError, match=r"column 'kind' .*`dataset='!kind'`"):
        open_items(tmp_path / name)
    found = open_items(tmp_path / name, dataset="!kind")
    assert (found.ids, found.item.names) == (["p1", "p2"], ("a", "b"))
    np.testing.assert_array_equal(found.rows(0, 2), [[1, 2], [3, 4]])
    assert open_items(tmp_path / name, dataset="*,!kind,!ID").item.names == ("a", "b")
    assert open_items(tmp_path / name, dataset="b").ids == ["p1", "p2"]
    with pytest.raises(LsamplerError, match="no column is left"):
        open_items(tmp_path / name, dataset="a,!a")
    with pytest.raises(LsamplerError, match="holds no column 'kin'; did you mean 'kind'"):
        open_items(tmp_path / name, dataset="!kin")


def test_equal_ids_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,a\np1,1\np1,2\n")
    with pytest.raises(LsamplerError, match=r"t\.csv: two rows have the id 'p1'"):
        open_items(tmp_path / "t.csv")
