"""Labels in stores: written, read, sharded, merged, appended, verified; and damaged ones refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import damage_chunk, numbered

from lsampler import LsamplerError, open_store
from lsampler.store import Label, Labels, MemoryStore, StoreWriter, merge_store, shard_store

SMILING = np.array([1, 0, np.nan] * 20)
HAIR = np.array(["blond", "brown", "", "black"] * 15)
AGE = np.linspace(20, 80, 60)
GIVEN: dict[str, Any] = {"Smiling": SMILING, "hair": HAIR, "age": AGE}
COLUMNS = (
    Label("Smiling", "binary"),
    Label("hair", "categorical", ("black", "blond", "brown")),
    Label("age", "continuous"),
)


def written(path: Path, given: Any = GIVEN, start: int = 0, **settings: Any) -> Any:
    labels = Labels.of(given, 60)
    ids = [f"i{k}" for k in range(start, start + 60)]
    with StoreWriter(path, 6, {}, commit_rows=16, **settings) as writer:
        for part in (slice(0, 25), slice(25, 60)):
            rows = numbered(start + part.start, start + part.stop)
            writer.append(
                rows,
                ids[part],
                ["train", "held-out"] * (len(rows) // 2) + ["train"] * (len(rows) % 2),
                labels.rows(part),
            )
    return open_store(path)


def check(store: Any, rows: slice = slice(0, 60)) -> None:
    labels = store.labels_of(rows.start, rows.stop)
    assert labels.names == ("Smiling", "hair", "age")
    np.testing.assert_array_equal(labels["Smiling"], SMILING.astype(np.float32))
    assert labels["hair"].tolist() == [text or None for text in HAIR]
    np.testing.assert_array_equal(labels["age"], AGE.astype(np.float32))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = written(tmp_path / "a.h5")
    assert store.label_columns == COLUMNS
    check(store)
    np.testing.assert_array_equal(store.labels_of(7, 9)["age"], AGE[7:9].astype(np.float32))
    assert store.verify() == []
    frame = pytest.importorskip("pandas") and store.to_frame("train")
    assert frame.columns[:5].tolist() == ["id", "split", "Smiling", "hair", "age"]
    assert frame.hair[0] == "blond"


def test_shards_and_merges_keep_them(tmp_path: Path) -> None:
    written(tmp_path / "a.h5")
    shards = shard_store(tmp_path / "a.h5", tmp_path / "a.shards", shard_rows=25)
    assert len(shards.shards) == 3
    check(shards)
    check(merge_store(tmp_path / "a.shards", tmp_path / "b.h5"))


def test_appended_rows_bring_further_labels_and_levels(tmp_path: Path) -> None:
    written(tmp_path / "a.h5")
    store = written(tmp_path / "a.h5", {"hair": np.array(["red", "blond"] * 30), "hat": np.ones(60)}, start=60)
    assert store.label_columns[1].levels == ("black", "blond", "brown", "red")
    check(store.labels_of and _first(store))
    later = store.labels_of(60, 120)
    assert later["hair"].tolist() == ["red", "blond"] * 30
    assert np.isnan(later["age"]).all()
    assert (later["hat"] == 1).all()
    assert np.isnan(store.labels_of(0, 60)["hat"]).all()


def _first(store: Any) -> Any:
    class First:
        def labels_of(self, start: int, stop: int) -> Labels:
            found = store.labels_of(start, stop)
            return Labels(found.columns[:3], found.codes[:, :3])

    return First()


def test_labels_of_another_kind_are_not_joined(tmp_path: Path) -> None:
    written(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(LsamplerError, match="label 'age' is continuous in one store and categorical in another"):
        written(tmp_path / "a.h5", {"age": np.array(["old"] * 60)}, start=60)
    assert (tmp_path / "a.h5").read_bytes() == before


def test_stores_without_labels_have_none(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.h5", 6, {}) as writer:
        writer.append(numbered(0, 9))
    store = open_store(tmp_path / "a.h5")
    assert store.label_columns == ()
    assert len(store.labels) == 0
    assert store.labels.codes.shape == (9, 0)
    assert MemoryStore(np.eye(3)).labels.names == ()


@pytest.mark.parametrize(
    ("values", "kind", "codes"),
    [
        ([True, False], "binary", [1, 0]),
        ([-1, 1], "binary", [0, 1]),
        (["1", "-1"], "binary", [1, 0]),
        ([7, 3], "categorical", [1, 0]),
        (["b", None], "categorical", [0, np.nan]),
        ([0.5, np.nan], "continuous", [0.5, np.nan]),
        (["0.5", "NA"], "continuous", [0.5, np.nan]),
    ],
)
def test_values_tell_the_kind(values: list[Any], kind: str, codes: list[float]) -> None:
    labels = Labels.of({"x": np.array(values, dtype=object)}, 2)
    assert labels.columns[0].kind == kind
    np.testing.assert_array_equal(labels.codes[:, 0], np.array(codes, np.float32))


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1, 2], "binary", "label 'x': is not binary; a binary label holds 0 and 1, or -1 and 1"),
        (["a", "b"], "continuous", "label 'x': holds texts, so it is not continuous; leave out its kind"),
        ([1, np.inf], None, "label 'x': holds infinite values"),
        ([1, 2], "binry", "label 'x': kind 'binry' is unknown; did you mean 'binary'?"),
        ([1, 2, 3], None, "`labels`: 'x' has the shape (3,) for 2 items; give one per item"),
    ],
)
def test_values_that_do_not_suit_are_refused(values: list[Any], kind: Any, message: str) -> None:
    with pytest.raises(LsamplerError) as refused:
        Labels.of({"x": values}, 2, kinds={"x": kind} if kind else None)
    assert str(refused.value).startswith(message)


def set_columns(path: Path, value: Any) -> None:
    with h5py.File(path, "a") as handle:
        del handle["label_columns"]
        if value is not None:
            handle["label_columns"] = value


def text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


ENTRY = {"name": "a", "kind": "binary", "levels": []}


@pytest.mark.parametrize(
    "value",
    [
        None,
        np.zeros((2, 2), np.uint8),
        text("no list"),
        text([ENTRY]),
        text([ENTRY, ENTRY, ENTRY]),
        text([ENTRY, ENTRY | {"name": "b"}, ENTRY | {"name": "c", "kind": "odd"}]),
        text([ENTRY, ENTRY | {"name": "b"}, {"name": "c"}]),
        text([ENTRY, ENTRY | {"name": 3}, ENTRY | {"name": "c"}]),
        np.frombuffer(b"[" * 100_000, np.uint8),
    ],
)
def test_damaged_descriptions_are_refused(value: Any, tmp_path: Path) -> None:
    written(tmp_path / "a.h5")
    set_columns(tmp_path / "a.h5", value)
    with pytest.raises(LsamplerError, match=r"a\.h5: damaged") as refused:
        open_store(tmp_path / "a.h5")
    assert "\n" not in str(refused.value)


def test_damaged_codes_are_found(tmp_path: Path) -> None:
    written(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as handle:
        handle["labels"][3, 1] = 7
    assert open_store(tmp_path / "a.h5").verify() == ["rows 0..59: label 'hair' has a value that it cannot have"]
    damage_chunk(tmp_path / "a.h5", "labels")
    assert open_store(tmp_path / "a.h5").verify() == ["rows 0..59: damaged, a checksum does not match"]
    with pytest.raises(LsamplerError, match=r"rows 0\.\.59 are damaged"):
        _ = open_store(tmp_path / "a.h5").labels
