"""Latents of single cells, from AnnData files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse
from support import Answer

import lsampler
from lsampler import LsamplerError
from lsampler.data import open_items
from lsampler.store import MemoryStore, export_latents, import_latents

anndata = pytest.importorskip("anndata", reason="needs the extra 'anndata'")


def cells(path: Path, *, obsm: tuple[str, ...] = ("X_pca", "X_umap"), names: list[str] | None = None) -> Any:
    rng = np.random.default_rng(0)
    data = anndata.AnnData(
        X=sparse.csr_matrix(rng.poisson(0.5, size=(50, 8)).astype(np.float32)),
        obsm={key: rng.normal(size=(50, 4 if key == "X_pca" else 2)) for key in obsm},
        layers={"log": rng.normal(size=(50, 8))},
    )
    data.obs_names = names or [f"cell {k}" for k in range(50)]
    data.write_h5ad(path)
    return data


def test_an_array_of_obsm_becomes_a_store_with_the_cells_as_ids(tmp_path: Path, ok: Callable[..., Answer]) -> None:
    data = cells(tmp_path / "c.h5ad")
    said = ok("store", "import", tmp_path / "c.h5ad", "--dataset", "obsm/X_pca", "--out", tmp_path / "z.h5").out
    assert "array obsm/X_pca, with obs_names; left out: obsm/X_umap, X, layers/log" in said
    store = lsampler.open_store(tmp_path / "z.h5")
    assert (len(store), store.dimension, store.ids()) == (50, 4, list(data.obs_names))
    rows = np.concatenate([rows.latents for rows in store.rows()])
    np.testing.assert_array_equal(rows, data.obsm["X_pca"].astype(np.float32))


@pytest.mark.parametrize(("dataset", "dimension"), [("X", 8), ("layers/log", 8), ("obsm/X_umap", 2)])
def test_other_arrays_by_their_name(dataset: str, dimension: int, tmp_path: Path) -> None:
    data = cells(tmp_path / "c.h5ad")
    result = import_latents(tmp_path / "c.h5ad", tmp_path / "z.h5", dataset=dataset, progress=False)
    kind, _, name = dataset.partition("/")
    expected = data.X.toarray() if kind == "X" else getattr(data, kind)[name]
    found = np.concatenate([rows.latents for rows in result.store.rows()])
    assert found.shape == (50, dimension)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_the_only_array_of_obsm_needs_no_name(tmp_path: Path) -> None:
    cells(tmp_path / "c.h5ad", obsm=("X_pca",))
    assert import_latents(tmp_path / "c.h5ad", tmp_path / "z.h5", progress=False).store.dimension == 4


@pytest.mark.parametrize(
    ("obsm", "dataset", "part"),
    [
        (("X_pca", "X_umap"), None, "'obsm/X_pca' (50, 4), 'obsm/X_umap' (50, 2); name the latent vectors"),
        (("X_pca",), "obsm/X_pc", "did you mean 'obsm/X_pca'?"),
        ((), None, "its obsm holds no latents; to take the data themselves, give `dataset='X'`"),
    ],
)
def test_what_is_not_certain_is_refused(obsm: tuple[str, ...], dataset: str | None, part: str, tmp_path: Path) -> None:
    cells(tmp_path / "c.h5ad", obsm=obsm)
    with pytest.raises(LsamplerError) as error:
        import_latents(tmp_path / "c.h5ad", tmp_path / "z.h5", dataset=dataset, progress=False)
    assert part in str(error.value)
    assert not (tmp_path / "z.h5").exists()


def test_links_out_of_the_file_and_damaged_files_are_refused(tmp_path: Path) -> None:
    cells(tmp_path / "c.h5ad")
    with h5py.File(tmp_path / "c.h5ad", "a") as handle:
        handle["obsm/other"] = h5py.ExternalLink("/etc/hostname", "x")
    for opened in (
        lambda path: import_latents(path, tmp_path / "z.h5", dataset="obsm/X_pca", progress=False),
        lambda path: open_items(path, dataset="obsm/X_pca"),
    ):
        with pytest.raises(LsamplerError, match="'obsm/other' leads to"):
            opened(tmp_path / "c.h5ad")
        (tmp_path / "d.h5ad").write_bytes(b"no file of HDF5")
        with pytest.raises(LsamplerError, match=r"d\.h5ad: not a readable"):
            opened(tmp_path / "d.h5ad")


def test_names_that_are_not_unique_are_no_ids_of_items(tmp_path: Path) -> None:
    cells(tmp_path / "c.h5ad", names=["same"] * 50)
    assert open_items(tmp_path / "c.h5ad").ids[:2] == ["00", "01"]


def test_it_is_read_only(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="read only; choose"):
        export_latents(MemoryStore(np.ones((4, 2)), np.ones((2, 2))), tmp_path / "x.h5ad")
