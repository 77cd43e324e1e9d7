"""Items in memory as files: the numbers come back, and pictures show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lsampler import LsamplerError
from lsampler.data import Item, open_items
from lsampler.models import save_items

TABLE = Item("table", (3,), ("a", "b, c", "d"), "mm")
SIGNAL = Item("signal", (2, 20), ("left", "right"), "mV")
IMAGE = Item("image", (1, 6, 10))
MAP = Item("array", (5, 7))
ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
SIGNALS = np.random.default_rng(1).normal(size=(9, 2, 20)).astype(np.float32).cumsum(axis=2)
IMAGES = np.linspace(0, 1, 7 * 60, dtype=np.float32).reshape(7, 1, 6, 10)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "tsv", "parquet"])
def test_numbers_come_back(suffix: str, tmp_path: Path) -> None:
    save_items(ROWS, tmp_path / f"a.{suffix}", TABLE)
    found = open_items(tmp_path / f"a.{suffix}", TABLE)
    np.testing.assert_array_equal(found.rows(0, 40), ROWS)
    assert found.raw.names == (() if suffix == "npy" else TABLE.names)
    if suffix in ("npy", "npz"):
        save_items(SIGNALS, tmp_path / f"b.{suffix}", SIGNAL)
        np.testing.assert_array_equal(open_items(tmp_path / f"b.{suffix}", SIGNAL).rows(0, 9), SIGNALS)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize(("items", "item"), [(ROWS, TABLE), (SIGNALS, SIGNAL), (np.ones((3, 5, 7)), MAP)])
def test_other_items_are_plotted(items: Any, item: Item, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    save_items(items, path, item, real=items[::-1])
    assert path.stat().st_size > 5000
    if suffix == "svg":
        text = path.read_text()
        for name in item.names if item.kind == "table" else ():
            assert f">{name}<" in text
        assert (f">{item.unit}<" in text) == bool(item.unit)


def test_images_are_a_grid_or_a_folder(tmp_path: Path) -> None:
    save_items(IMAGES, tmp_path / "a.png", IMAGE)
    with Image.open(tmp_path / "a.png") as grid:
        assert min(grid.size) >= 100  # small images are enlarged
    save_items(IMAGES, tmp_path / "a.jpg", IMAGE)
    save_items(IMAGES, tmp_path / "folder", IMAGE)
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "folder").glob("*.png"))])
    np.testing.assert_array_equal(pixels, (IMAGES[:, 0] * 255).round().astype(np.uint8))
    ranged = Item("image", (1, 6, 10), value_range=(-1, 1))
    save_items(IMAGES * 2 - 1, tmp_path / "b.npy", ranged)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy")[..., 0], pixels)


@pytest.mark.parametrize(
    ("items", "out", "item", "part"),
    [
        (ROWS, "a.jpg", TABLE, "rows are written as numbers (.npy, .npz, .csv, .tsv, .parquet) or as a plot"),
        (ROWS, "a", TABLE, "choose such a name"),
        (SIGNALS, "a.csv", SIGNAL, "a signal of 2 x 20 has no columns; choose a name ending in .npy or .npz"),
        (IMAGES, "a.csv", IMAGE, "images are written as a grid (.png, .jpg, .jpeg), as an array (.npy, .npz) or into"),
        (ROWS[:, :2], "a.npy", TABLE, "`items`: shape (40, 2); give one or more rows, (n, 3)"),
        (ROWS[:0], "a.npy", TABLE, "`items`: shape (0, 3); give one or more rows, (n, 3)"),
        ([["a", "b", "c"]], "a.npy", TABLE, "`items`: not an array of numbers (n, ...), but of texts"),
    ],
)
def test_what_cannot_be_written_is_refused(items: Any, out: str, item: Item, part: str, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError) as refused:
        save_items(items, tmp_path / out, item)
    assert part in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_text("mine")
    with pytest.raises(LsamplerError, match="exists"):
        save_items(ROWS, path, TABLE)
    assert path.read_text() == "mine"
    save_items(ROWS, path, TABLE, force=True)
    np.testing.assert_array_equal(np.load(path), ROWS)
