"""Tables of labels: read, joined with items by id or file name, and added to stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lsampler import LsamplerError, open_store
from lsampler.store import Label, LatentStore, StoreWriter, label_store, read_labels, shard_store

IDS = ["x/1.png", "x/2.png", "y/1.png", "y/3.png", "z.png"]
CELEBA = "3\nSmiling Male\nz.png -1  1\n2.png  1  1\n"


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    with StoreWriter(tmp_path / "a.h5", 4, {"encoder": "abc"}) as writer:
        writer.append(
            np.random.default_rng(0).normal(size=(5, 4)), IDS, ["train", "held-out", "train", "train", "train"]
        )
    return open_store(tmp_path / "a.h5")


def table_of(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def labelled(store: LatentStore, table: Any, **settings: Any) -> Any:
    return label_store(store.name, table, Path(store.name).with_name("new.h5"), progress=False, **settings)


def values(store: LatentStore, name: str) -> list[Any]:
    return [None if value is None or value != value else value for value in store.labels[name].tolist()]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.csv", "id,v\nx/1.png,a\nz.png,b\n", ["a", None, None, None, "b"]),
        ("t.csv", "\ufeffv,filename\na,x/1\nb,/data/x/2.png\nc,z.jpg\n", ["a", "b", None, None, "c"]),
        ("t.csv", "v;path\na;x\\1.png\nb;3\n", ["a", None, None, "b", None]),
        ("t.csv", "v,note\n1.5,z.png\n2.5,y/1.png\n", [None, None, 2.5, None, 1.5]),
        ("t.csv", "v\n1.5\n2.5\n3.5\n4.5\n5.5\n", [1.5, 2.5, 3.5, 4.5, 5.5]),
        ("t.tsv", 'file\tv\nz.png\t"a, b"\n', [None, None, None, None, "a, b"]),
        ("t.txt", CELEBA.replace("Smiling", "v"), [None, 1, None, None, 0]),
    ],
)
def test_tables_are_joined_by_ids_or_file_names(
    name: str, text: str, expected: list[Any], store: LatentStore, tmp_path: Path
) -> None:
    done = labelled(store, table_of(tmp_path, text, name))
    assert values(done.store, "v") == expected
    assert done.store.ids() == IDS
    np.testing.assert_array_equal(done.store.read(), store.read())
    assert done.store.splits() == store.splits()
    assert done.store.attributes["encoder"] == "abc"


def test_numbers_are_joined_without_leading_zeros(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.h5", 4, {}) as writer:
        writer.append(np.zeros((3, 4)), ["00", "01", "10"])
    pq.write_table(pa.table({"image_id": [10, 0], "digit": [7, 3]}), tmp_path / "t.parquet")
    done = labelled(open_store(tmp_path / "a.h5"), tmp_path / "t.parquet")
    assert values(done.store, "digit") == ["3", None, "7"]


def test_what_is_not_joined_is_counted_and_named(store: LatentStore, tmp_path: Path) -> None:
    done = labelled(store, table_of(tmp_path, "id,v,w\nx/1.png,1,2\nz.png,0,3\nother.png,0,4\n"))
    assert done.said == (
        "labels: 2 labels of t.csv for 2 of 5 items, by their ids",
        "without labels: 3 items, such as 'x/2.png', 'y/1.png', 'y/3.png'",
        "labels without an item: 1 row, such as 'other.png'",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,v\n1.png,a\n", "t.csv: '1.png' may be both 'x/1.png' and 'y/1.png' of"),
        ("id,v\nz.jpg,a\nz.gif,b\n", "t.csv: 'z.jpg' and 'z.gif' may both be 'z.png' of"),
        ("id,v\nw/1.png,a\n", "t.csv: none of its ids, such as 'w/1.png', is one of"),
        ("id,v\nz.png,a\nz.png,b\n", "the id 'z.png' is there 2 times in column 'id'"),
        ("id,v\nz.png,a\n,b\n", "row 2 has no id in column 'id'"),
        ("v\n1\n2\n", "t.csv: has 2 rows and no column of ids"),
        ("id,v\nz.png,1\nx/1.png,2\nx/2.png,3O\n", "label 'v': holds numbers such as '1' and texts such as '3O'"),
        ("id,v\nz.png,1,2\n", "line 2 has 3 fields, the names are 2"),
        ("id,v,v\nz.png,1,2\n", "two columns are called 'v'"),
        ("id,v\n", "holds no rows"),
        ("id\nz.png\n", "holds no column of labels"),
        ("id,v\nz.png,inf\n", "label 'v': holds infinite values"),
        (b"id,v\nz.png,\xe9t\xe9\n", "is not UTF-8"),
        (b"id,v\nz.png,\x00\n" + b"z" * 200_000, "not a readable .csv table"),
    ],
)
def test_tables_that_do_not_suit_are_refused(
    text: str | bytes, message: str, store: LatentStore, tmp_path: Path
) -> None:
    with pytest.raises(LsamplerError) as refused:
        labelled(store, table_of(tmp_path, text))
    assert message in str(refused.value)
    assert "t.csv: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new.h5").exists()


def test_the_nearest_column_is_named(store: LatentStore, tmp_path: Path) -> None:
    path = table_of(tmp_path, "id,hair\nz.png,red\n")
    with pytest.raises(LsamplerError, match="holds no column 'hir'; did you mean 'hair'"):
        read_labels(path, id_column="hir")
    with pytest.raises(LsamplerError, match="holds no label 'hairs'; did you mean 'hair'"):
        read_labels(path, kinds={"hairs": "categorical"})
    with pytest.raises(LsamplerError, match=r"not a table of labels; give one of \.csv, "):
        read_labels(store.name)


def test_kinds_are_declared_where_values_do_not_tell(tmp_path: Path) -> None:
    path = table_of(tmp_path, "id,v,age\na,12,30\nb,12B,31\nc,13,32\n")
    table = read_labels(path, kinds={"v": "categorical", "age": "continuous"})
    assert table.labels.columns == (Label("v", "categorical", ("12", "12B", "13")), Label("age", "continuous"))
    assert table.ids == ("a", "b", "c")


def test_the_folder_of_each_item_is_a_label(store: LatentStore, tmp_path: Path) -> None:
    done = labelled(store, "folders")
    assert values(done.store, "folder") == ["x", "x", "y", "y", None]
    assert done.said == ("labels: 'folder', with 2 different ones; 1 of 5 items are in none",)
    with StoreWriter(tmp_path / "flat.h5", 4, {}) as writer:
        writer.append(np.zeros((2, 4)), ["a.png", "b.png"])
    with pytest.raises(LsamplerError, match="none of its items is in a folder"):
        label_store(tmp_path / "flat.h5", "folders", tmp_path / "no.h5", progress=False)


def test_further_labels_are_added_in_place(store: LatentStore, tmp_path: Path) -> None:
    path = Path(store.name)
    label_store(
        path, {"age": [1.5, 2.5, np.nan, 4.5, np.nan], "hat": [1, 0, 1, 0, 1]}, path, force=True, progress=False
    )
    label_store(
        path, table_of(tmp_path, "id,age,hair\nz.png,9.5,red\nx/1.png,7.5,\n"), path, force=True, progress=False
    )
    found = open_store(path)
    assert found.labels.names == ("age", "hat", "hair")
    assert values(found, "age") == [7.5, 2.5, None, 4.5, 9.5]
    assert values(found, "hat") == [1, 0, 1, 0, 1]
    assert found.verify() == []
    before = path.read_bytes()
    with pytest.raises(
        LsamplerError, match=r"a\.h5: label 'age' is continuous .* and categorical .*`label_kind=\.\.\.`"
    ):
        label_store(path, table_of(tmp_path, "id,age\nz.png,old\n"), path, force=True, progress=False)
    with pytest.raises(LsamplerError, match="exists"):
        label_store(path, "folders", path, progress=False)
    assert path.read_bytes() == before


def test_shards_are_labelled(store: LatentStore, tmp_path: Path) -> None:
    shards = shard_store(store.name, tmp_path / "a.shards", shard_rows=2, progress=False)
    done = label_store(shards.path, {"v": [0.5, 1.5, 2.5, 3.5, 4.5]}, tmp_path / "b.shards", progress=False)
    assert [len(shard) for shard in done.store.shards] == [2, 2, 1]
    assert values(done.store, "v") == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert values(done.store.shards[1], "v") == [2.5, 3.5]
    label_store(tmp_path / "b.shards", "folders", tmp_path / "b.shards", force=True, progress=False)
    assert open_store(tmp_path / "b.shards").labels.names == ("v", "folder")
    with pytest.raises(LsamplerError, match=r"is of the kind \.shards"):
        label_store(shards.path, "folders", tmp_path / "b.h5", progress=False)
