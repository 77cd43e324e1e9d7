"""Labels in files of other programs: what goes out comes back, and those of others are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from lsampler import LsamplerError, open_store
from lsampler.store import Label, Labels, LatentStore, StoreWriter, export_latents, import_latents

# Ages that look like categories, levels in no order with one that no row has, and texts that look like numbers.
COLUMNS = (
    Label("Smiling", "binary"),
    Label("hair/colour", "categorical", ("red", "black", "007", "none of these")),
    Label("age", "continuous"),
)
ROWS = 30
LATENTS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


def codes() -> Any:
    rng = np.random.default_rng(1)
    found = np.stack([rng.integers(2, size=ROWS), rng.integers(3, size=ROWS), rng.integers(20, 30, ROWS)], axis=1)
    found = found.astype(np.float32)
    found[rng.random(found.shape) < 0.2] = np.nan
    return found


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    with StoreWriter(tmp_path / "a.h5", 4, {}) as writer:
        splits = ["train", "held-out", "train"] * (ROWS // 3)
        writer.append(LATENTS, [f"i{k}" for k in range(ROWS)], splits, Labels(COLUMNS, codes()))  # type: ignore[arg-type]
    return open_store(tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_exported_labels_come_back_as_they_were(suffix: str, store: LatentStore, tmp_path: Path) -> None:
    file = tmp_path / f"out{suffix}"
    export_latents(store, file, progress=False)
    result = import_latents(file, tmp_path / "back.h5", progress=False)
    back = result.store
    assert back.label_columns == COLUMNS
    np.testing.assert_array_equal(back.labels.codes, codes())
    assert back.splits() == store.splits()
    assert result.taken is not None
    assert result.taken.endswith("left out: nothing")
    export_latents(store, file, split="held-out", force=True, progress=False)
    part = import_latents(file, tmp_path / "part.h5", progress=False).store
    np.testing.assert_array_equal(part.labels.codes, codes()[1::3])


def test_other_programs_read_the_values(store: LatentStore, tmp_path: Path) -> None:
    for suffix in (".npz", ".h5", ".parquet"):
        export_latents(store, tmp_path / f"o{suffix}", progress=False)
    expected = store.labels["hair/colour"].tolist()
    assert None in expected
    with np.load(tmp_path / "o.npz") as arrays:
        assert [text or None for text in arrays["labels/hair/colour"].tolist()] == expected
        np.testing.assert_array_equal(arrays["labels/age"], codes()[:, 2])
    with h5py.File(tmp_path / "o.h5") as handle:
        assert [text.decode() or None for text in handle["labels/hair/colour"][:]] == expected
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column_names == ["id", "split", "Smiling", "hair/colour", "age", "latent"]
    assert table.column("hair/colour").to_pylist() == expected
    assert table.column("Smiling").null_count == np.isnan(codes()[:, 0]).sum()


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_an_array_y_beside_the_latents_is_a_label(suffix: str, tmp_path: Path) -> None:
    y, file = np.arange(ROWS) % 10, tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(file, latents=LATENTS, y=y, labels=np.zeros(3))
    else:
        with h5py.File(file, "w") as handle:
            handle["latents"], handle["y"], handle["labels"] = LATENTS, y, np.zeros(3)
    result = import_latents(file, tmp_path / "z.h5", progress=False)
    assert [(label.name, label.kind) for label in result.store.label_columns] == [("y", "categorical")]
    assert result.store.labels["y"].tolist() == [str(value) for value in y]
    assert result.taken == "array latents, with y; left out: labels"


def test_observations_of_cells_are_labels(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="needs the extra 'anndata'")
    pandas = pytest.importorskip("pandas")
    obs = pandas.DataFrame(
        {
            "cluster": pandas.Categorical([["T", "B"][k % 2] if k else None for k in range(ROWS)]),
            "counts": np.linspace(1, 9, ROWS),
            "doublet": [k % 3 == 0 for k in range(ROWS)],
            "odd": ["x" if k else "7" for k in range(ROWS)],
        },
        index=[f"cell {k}" for k in range(ROWS)],
    )
    anndata.AnnData(X=np.ones((ROWS, 2), np.float32), obs=obs, obsm={"X_pca": LATENTS}).write_h5ad(tmp_path / "c.h5ad")
    store = import_latents(tmp_path / "c.h5ad", tmp_path / "z.h5", progress=False).store
    kinds = {label.name: label.kind for label in store.label_columns}
    assert kinds == {
        "cluster": "categorical",
        "counts": "continuous",
        "doublet": "binary",
        "odd": "categorical",
    }
    assert store.labels["cluster"].tolist()[:3] == [None, "B", "T"]
    assert store.labels["doublet"].tolist()[:4] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_columns": np.frombuffer(b"[1]", np.uint8)}, "'label_columns' does not describe labels"),
        ({"label_columns": np.zeros(3)}, "'label_columns' does not describe labels"),
        ({"labels/age": None}, "has no values of the label 'age'"),
        ({"labels/age": np.zeros(3)}, "label 'age' has the shape (3,)"),
        ({"labels/age": np.array(["old"] * ROWS)}, "label 'age' is continuous, but holds other values"),
        ({"labels/Smiling": np.full(ROWS, 2)}, "label 'Smiling' has a value that it cannot have"),
        ({"labels/hair/colour": np.array(["green"] * ROWS)}, "label 'hair/colour' holds 'green', which is none"),
    ],
)
def test_changed_exports_are_refused(change: dict[str, Any], message: str, store: LatentStore, tmp_path: Path) -> None:
    export_latents(store, tmp_path / "o.npz", progress=False)
    with np.load(tmp_path / "o.npz") as found:
        arrays = {name: found[name] for name in found.files} | change
    np.savez(tmp_path / "o.npz", **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(LsamplerError) as refused:
        import_latents(tmp_path / "o.npz", tmp_path / "z.h5", progress=False)
    assert message in str(refused.value)
    assert "o.npz" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "z.h5").exists()


def test_a_label_that_is_called_as_a_column_is_not_exported_to_a_table(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.h5", 4, {}) as writer:
        writer.append(LATENTS, labels=Labels.of({"id": np.arange(ROWS)}, ROWS))
    with pytest.raises(LsamplerError, match=r"the label 'id' has the name of another column; export to \.npz"):
        export_latents(tmp_path / "a.h5", tmp_path / "o.parquet", progress=False)
    assert not (tmp_path / "o.parquet").exists()
