"""Paths are shown and saved: pictures, animations, folders, plots, tables, arrays, stores; whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import item_models
import numpy as np
import pytest
from PIL import Image

from lsampler import LsamplerError, decode, open_store
from lsampler.editing import LatentPaths, attribute_vectors, edit, walk
from lsampler.models import ConvAutoencoder
from lsampler.scoring import Subject
from lsampler.store import LatentStore, MemoryStore


@pytest.fixture
def paths(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> LatentPaths:
    """Two digits, five steps each."""
    rows = tiny_store.latents()
    store = MemoryStore(rows, fingerprint=tiny_store.fingerprint, labels={"x": rows[:, 0], "y": rows[:, 1]})
    return edit(Subject.of(store, tiny_model), rows[:2], {"x": 3.0}, steps=5)


def test_pictures_have_a_row_for_each_item(paths: LatentPaths, tmp_path: Path) -> None:
    paths.save(tmp_path / "rows.png")
    with Image.open(tmp_path / "rows.png") as image:
        assert image.size == (5 * 66 + 2, 2 * 66 + 2)
        last = np.asarray(image)[2 + 66 : 66 + 66, 2 + 4 * 66 : 66 + 4 * 66]
    expected = np.rint(np.clip(paths.items[1, 4, 0], 0, 1) * 255)
    np.testing.assert_array_equal(last[::8, ::8], expected)


def test_an_animation_goes_there_and_back(paths: LatentPaths, tmp_path: Path) -> None:
    paths.save(tmp_path / "there.gif", duration=40)
    with Image.open(tmp_path / "there.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (8, 40, 0)  # type: ignore[attr-defined]
    closed = walk(paths.subject, paths.latents[:, 0], steps=3, loop=True)
    closed.save(tmp_path / "loop.gif")
    with Image.open(tmp_path / "loop.gif") as image:
        assert image.n_frames == 6  # type: ignore[attr-defined]


def test_a_walk_has_a_row_for_each_pair_of_stops(paths: LatentPaths, tmp_path: Path) -> None:
    for loop, rows in ((False, 1), (True, 2)):
        walk(paths.subject, paths.latents[:, 0], steps=3, loop=loop).save(tmp_path / "walk.png", force=True)
        with Image.open(tmp_path / "walk.png") as image:
            assert image.size == (4 * 66 + 2, rows * 66 + 2)
            pixels = np.asarray(image)[2:66, 2:66]
            np.testing.assert_array_equal(np.asarray(image)[-66:-2, -66:-2], pixels if loop else _last(paths))


def _last(paths: LatentPaths) -> Any:
    """The second item as the picture shows it."""
    return np.rint(np.clip(paths.items[1, 0, 0], 0, 1) * 255).repeat(8, axis=0).repeat(8, axis=1)


def test_arrays_folders_and_stores_hold_the_same_paths(paths: LatentPaths, tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz", "frames", "a.h5"):
        paths.save(tmp_path / name)
    items = np.load(tmp_path / "a.npy")
    assert (items.shape, items.dtype) == ((2, 5, 8, 8, 1), np.uint8)
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["items"], items)
        np.testing.assert_array_equal(arrays["latents"], paths.latents)
        assert arrays["ids"].tolist() == ["0", "1"]
    files = sorted((tmp_path / "frames").glob("*.png"))
    assert len(files) == 10
    with Image.open(files[7]) as image:
        np.testing.assert_array_equal(np.asarray(image), items[1, 2, ..., 0])
    store = open_store(tmp_path / "a.h5")
    np.testing.assert_array_equal(store.read(), paths.latents.reshape(10, 6))
    assert store.ids()[7] == "1 step 2"
    assert store.fingerprint == paths.subject.fingerprint
    again = walk(paths.subject, tmp_path / "a.h5", kind="linear", steps=1)
    np.testing.assert_array_equal(again.latents[0], store.read())


def test_signals_are_lines_and_tables_are_rows(tmp_path: Path) -> None:
    model, store = item_models.same()
    rows = store.read()
    labelled = MemoryStore(rows, labels={"first": rows[:, 0]}, fingerprint=store.fingerprint)
    text = "\n".join(",".join(map(str, row)) for row in [["id", *item_models.NAMES], ["a", *rows[0]], ["b", *rows[1]]])
    (tmp_path / "two.csv").write_text(text)
    found = edit(Subject.of(labelled, model), tmp_path / "two.csv", {"first": 14.0}, steps=3)
    found.save(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["item"], line["step"]) for line in lines[:4]] == [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0")]
    written = [[float(line[name]) for name in item_models.NAMES] for line in lines]
    np.testing.assert_allclose(written, decode(model, found.latents.reshape(6, -1)), rtol=1e-6)
    np.testing.assert_allclose(found.latents[:, 0], rows[:2], rtol=1e-6)
    found.save(tmp_path / "rows.svg")
    assert "x4" in (tmp_path / "rows.svg").read_text()
    _, pair, waves = item_models.waves()
    signals = walk(Subject.of(waves, pair), waves.latents()[:3], steps=4)
    signals.save(tmp_path / "waves.svg")
    assert "last step" in (tmp_path / "waves.svg").read_text()
    assert "<svg" not in signals._repr_html_()
    assert "image/svg+xml" in signals._repr_html_()
    for name, allowed in (("waves.gif", r"a plot \(.png, .svg, .pdf\)"), ("waves.csv", "arrays")):
        with pytest.raises(LsamplerError, match=f"paths of signals are written as .*{allowed}"):
            signals.save(tmp_path / name)
    assert not list(tmp_path.glob("waves.[gc]*"))


def test_nothing_is_replaced_or_half_written(
    paths: LatentPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_text("mine")
    with pytest.raises(LsamplerError, match="exists already; choose another name or pass `force=True`"):
        paths.save(tmp_path / "x.png")
    with pytest.raises(LsamplerError, match="`duration=1`: give milliseconds"):
        paths.save(tmp_path / "x.gif", duration=1)
    with pytest.raises(LsamplerError, match=r"paths of images are written as a picture .*\(.gif\)"):
        paths.save(tmp_path / "x.csv")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        paths.save(tmp_path / "y.gif")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.h5", "x.png"}
    alone = walk(MemoryStore(paths.latents[:, 0].repeat(9, axis=0)), paths.latents[0, :2])
    with pytest.raises(LsamplerError, match="no decoder for these latents"):
        alone.save(tmp_path / "z.png")
    alone.save(tmp_path / "z.h5")
    assert "<img" not in alone._repr_html_()


def test_a_notebook_shows_rows_and_escapes_names(paths: LatentPaths) -> None:
    html = paths._repr_html_()
    assert html.count("<img") == 2
    assert "reading before" in html
    named = MemoryStore(paths.latents[:, 0], ids=["<b>", "c"])
    shown = edit(paths.subject, named, {"x": 3.0})
    assert "<b>c" not in shown._repr_html_()
    assert "&lt;b&gt;" in shown._repr_html_()
    assert repr(paths) == "<LatentPaths 0, 1: x=3, 2 paths, 5 steps, D = 6>"


def test_attribute_vectors_can_be_used_with_numpy_alone(paths: LatentPaths, tmp_path: Path) -> None:
    vectors = attribute_vectors(paths.subject)
    vectors.save(tmp_path / "vectors.npz")
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        held = {key: arrays[key] for key in arrays.files}
    assert held["names"].tolist() == ["x", "y"]
    z = paths.latents[0, 0].astype(np.float64)
    read = held["mean"] + (z - held["latent_mean"]) @ held["readings"].T
    np.testing.assert_allclose(z + (3.0 - read[0]) * held["vectors"][0], paths.latents[0, -1], atol=1e-4)
    by_spread = edit(paths.subject, z[np.newaxis], {"y": 99.0}, strength=2)
    np.testing.assert_allclose(z + 2 * held["spread"][1] * held["vectors"][1], by_spread.latents[0, -1], atol=1e-4)
    np.testing.assert_array_equal(vectors["y"], held["vectors"][1])
    with pytest.raises(KeyError):
        vectors["z"]
    with pytest.raises(LsamplerError, match=r"written as \.npz"):
        vectors.save(tmp_path / "vectors.npy")
    assert repr(vectors) == "<AttributeVectors latents: 2 labels, D = 6>"
    assert "length per spread" in vectors._repr_html_()
