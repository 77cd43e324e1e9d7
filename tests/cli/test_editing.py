"""``lsampler edit``, ``walk`` and ``attributes``: what they print and write, and one line for what cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import Answer

from lsampler import open_store
from lsampler.bundles import build_bundle, load_safetensors_autoencoder
from lsampler.editing import edit, walk
from lsampler.store import label_store

Cli = Callable[..., Answer]


@pytest.fixture(scope="module")
def made(tiny_model_bytes: bytes, tiny_store_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle that carries the effects of two labels, a photo, and a labelled store."""
    folder: Path = tmp_path_factory.mktemp("made")
    (folder / "model.safetensors").write_bytes(tiny_model_bytes)
    (folder / "tiny.h5").write_bytes(tiny_store_bytes)
    rows = open_store(folder / "tiny.h5").read()
    label_store(folder / "tiny.h5", {"bright": rows[:, 0] > 0, "size": rows[:, 1]}, folder / "labelled.h5")
    store, model = open_store(folder / "labelled.h5"), load_safetensors_autoencoder(folder / "model.safetensors")
    built = build_bundle("tiny", model, store, [], [], ["gaussian"])
    built.add(store, ["gaussian"], labels=True)
    built.save(folder / "tiny.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, size=(8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bundle in the current folder, beside the other files."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return "tiny.safetensors"


def test_a_photo_is_edited_offline(ok: Cli, bundle: str) -> None:
    answer = ok("edit", "photo.png", "--model", bundle, "--set", "size=5", "--set", "bright=1", "--strength", 2)
    assert "size=5 and bright=1: 1 path of 7 steps: edited.png" in answer.out
    assert answer.out.count("photo.png") == 2
    with Image.open("edited.png") as image:
        assert image.size == (7 * 66 + 2, 68)
    ok("edit", "photo.png", "--model", bundle, "--set", "size=5", "--steps", 3, "--out", "a.h5")
    expected = edit(bundle, "photo.png", {"size": 5}, steps=3)
    np.testing.assert_array_equal(open_store("a.h5").read(), expected.latents[0])
    found = json.loads(
        ok("edit", "photo.png", "--model", bundle, "--set", "size=5", "--out", "a.gif", "--json", "-").out
    )
    assert (found["what"], found["ids"], found["steps"], found["out"]) == ("size=5", ["photo.png"], 7, "a.gif")
    assert found["moved"][0]["after"] == pytest.approx(5, abs=1e-3)
    assert found["moved"][0]["distance"] > 0


def test_samples_are_edited_where_nothing_is_named(ok: Cli, bundle: str) -> None:
    answer = ok("edit", "--model", bundle, "--set", "bright=1", "--n", 3, "--out", "rows.npy")
    assert "no items named: 3 samples of gaussian" in answer.out
    assert np.load("rows.npy").shape == (3, 7, 8, 8, 1)
    again = ok("edit", "--model", bundle, "--set", "bright=1", "--n", 3, "-p", "gaussian", "--out", "again.npy")
    assert "no items named" not in again.out
    np.testing.assert_array_equal(np.load("again.npy"), np.load("rows.npy"))


@pytest.mark.parametrize("through", [["--through"], []])
def test_a_walk_leads_through_ids_and_photos(ok: Cli, bundle: str, through: list[str]) -> None:
    ids = open_store("labelled.h5").ids()[:2]
    words = [*through, ids[1], "photo.png", ids[0], "--loop", "--steps", 4, "--model", bundle, "--store", "labelled.h5"]
    answer = ok("walk", *words, "--kind", "linear", "--out", "path.h5")
    assert answer.out == "linear walk, closed: 1 path of 12 steps: path.h5\n"
    path, store = open_store("path.h5").read(), open_store("labelled.h5")
    np.testing.assert_array_equal(path[[0, 8]], store.read(0, 2)[::-1])
    ok("walk", *words, "--out", "path.gif", "--duration", 50)
    with Image.open("path.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (12, 50)  # type: ignore[attr-defined]
    ok("walk", *words, "--out", "frames")
    assert len(list(Path("frames").glob("*.png"))) == 12
    np.testing.assert_array_equal(walk(store, path[[0, 4]], steps=4).latents[0, 0], path[0])


def test_a_file_is_taken_before_an_id(ok: Cli, bundle: str) -> None:
    name = open_store("labelled.h5").ids()[3]
    Path("photo.png").rename(name)
    answer = ok("edit", name, "--model", bundle, "--store", "labelled.h5", "--set", "bright=0", "--strength", 1)
    assert f"'{name}' is a file and an id of labelled.h5; the file is taken" in answer.out


def test_items_that_are_as_wanted_are_named(ok: Cli, bundle: str) -> None:
    ok("edit", "photo.png", "--model", bundle, "--set", "bright=1", "--strength", 30, "--steps", 2, "--out", "far.h5")
    answer = ok("edit", "far.h5", "--model", bundle, "--set", "bright=1", "--out", "b.h5")
    assert (
        "photo.png step 1: a clear case of the wanted 'bright' already, so not moved by it; --strength 2" in answer.out
    )


def test_attribute_vectors_are_exported(ok: Cli, bundle: str) -> None:
    assert "2 attribute vectors of tiny, D = 6: v.npz" in ok("attributes", "--model", bundle, "--out", "v.npz").out
    with np.load("v.npz", allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == ["bright", "size"]
        assert arrays["vectors"].shape == (2, 6)
    ok("attributes", "--model", bundle, "--keep", "size", "--out", "one.npz")
    with np.load("one.npz") as arrays:
        assert arrays["names"].tolist() == ["size"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["edit"], "nothing to edit; give --set NAME=VALUE, such as --set Smiling=1"),
        (["edit", "--set", "brigth=1"], "--set: no label 'brigth'; did you mean 'bright'?"),
        (["edit", "--set", "bright=2"], "--set: 'bright' is never '2'; it takes 0 and 1"),
        (["edit", "--set", "bright=1", "--keep", "sise"], "--keep: no label 'sise'; did you mean 'size'?"),
        (
            ["edit", "no.jpg", "--set", "bright=1"],
            "no.jpg: no such file, and tiny knows no ids; check the path, or give --store of latents with ids",
        ),
        (
            ["edit", "tiny.h5", "--set", "bright=1", "-p", "gaussian"],
            "--plugin gaussian: belongs to samples, and items are named; leave it out",
        ),
        (["edit", "--set", "bright=1", "--crop", "none"], "--crop none: belongs to photos; name some, or leave it out"),
        (["walk", "photo.png"], "photo.png: is the only stop; a walk leads from one to another, so name at least two"),
        (["walk", "--kind", "round"], "Invalid value for '--kind': 'round' is not known"),
        (["walk", "--steps", 0], "Invalid value for '--steps': 0 is out of range; give a number from 1 to 10000."),
        (["edit", "--set", "bright=1", "--steps", 1], "Invalid value for '--steps': 1 is out of range"),
        (["attributes", "--out", "v.npy"], "v.npy: attribute vectors are written as .npz; choose such a name"),
        (["edit", "--set", "bright=1", "--out", "x.csv"], "x.csv: paths of images are written as a picture"),
    ],
)
def test_bad_input_gets_one_line(cli: Cli, bundle: str, words: list[object], line: str) -> None:
    there = {path.name for path in Path().iterdir()}
    answer = cli(*words, "--model", bundle)
    assert answer.code == 2
    assert answer.err.startswith(f"lsampler: {line}")
    assert answer.err.count("\n") == 1
    assert {path.name for path in Path().iterdir()} == there


def test_bundles_without_labels_say_so(cli: Cli, tmp_path: Path) -> None:
    answer = cli("edit", "--model", "digits", "--set", "digit=7", "--out", tmp_path / "x.png")
    assert answer.err == "lsampler: --set: digits holds no labels; give --store of latents with labels\n"
