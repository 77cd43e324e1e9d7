"""Edits: readings end where they should, the other readings move least, and bundles edit as stores do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import labelled_store
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize
from sklearn.linear_model import LinearRegression, Ridge

from lsampler import LsamplerError, encode
from lsampler.bundles import build_bundle
from lsampler.data import Preprocess
from lsampler.editing import attribute_vectors, edit
from lsampler.models import ConvAutoencoder
from lsampler.scoring import Subject
from lsampler.store import HeldOut, LatentStore, MemoryStore

STORE = labelled_store()
LABELS = ("male", "glasses", "age")
TRAIN = STORE.latents().astype(np.float64)
PENALTY = 0.5 * TRAIN.var(axis=0, ddof=1).mean() * (len(TRAIN) - 1)


def codes(store: MemoryStore = STORE) -> dict[str, NDArray[Any]]:
    """The labels of the train rows."""
    return {name: store.labels[name][: store.count("train")] for name in store.labels}


def reading(name: str, latents: NDArray[Any]) -> NDArray[np.float64]:
    """What scikit-learn's ridge regression, and least squares on it, predict; of a shape whether it is this one."""
    name, _, level = name.partition("=")
    known, levels = codes()[name], [level, *sorted({"oval", "round", "square"} - {level})]
    wanted = np.column_stack([known == one for one in levels]) if level else known[:, np.newaxis]
    ridge = Ridge(alpha=PENALTY).fit(TRAIN, wanted.astype(np.float64))
    columns = slice(0, 2) if level else slice(None)  # the third level is what the others leave
    scores = ridge.predict(TRAIN).reshape(len(TRAIN), -1)[:, columns]
    fitted = LinearRegression().fit(scores, wanted.astype(np.float64))
    found: NDArray[np.float64] = fitted.predict(ridge.predict(latents).reshape(len(latents), -1)[:, columns])[:, 0]
    return found


def ends(paths: NDArray[Any]) -> NDArray[np.float64]:
    return paths[:, -1].astype(np.float64)


def test_steps_lead_evenly_from_the_item_to_full_strength() -> None:
    found = edit(STORE, TRAIN[:5], {"glasses": 1}, steps=5)
    assert found.latents.shape == (5, 5, 4)
    assert found.latents.dtype == np.float32
    np.testing.assert_array_equal(found.latents[:, 0], TRAIN[:5].astype(np.float32))
    steps = np.diff(found.latents.astype(np.float64), axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(4, axis=1), atol=1e-5)
    assert found.ids == ("0", "1", "2", "3", "4")
    assert found.what == "glasses=1"


def test_a_binary_label_ends_one_deviation_beyond_those_that_have_it() -> None:
    """The mean and the pooled deviation of the readings of the two classes, computed from all rows."""
    read, male = reading("male", TRAIN), codes()["male"] == 1
    within = np.sqrt((read[male].var() * male.sum() + read[~male].var() * (~male).sum()) / len(read))
    clear = read[male].mean() + within
    rows = TRAIN[read < clear][:20]
    np.testing.assert_allclose(reading("male", ends(edit(STORE, rows, {"male": 1}).latents)), clear, rtol=1e-3)
    rows = TRAIN[read > clear][:3]
    found = edit(STORE, rows, "male=1")
    np.testing.assert_array_equal(found.latents, rows[:, np.newaxis].repeat(7, axis=1).astype(np.float32))
    assert found.notes[0].startswith("0, 1, 2: a clear case of the wanted 'male' already")
    other = read[~male].mean() - within
    rows = TRAIN[read > other][:20]
    np.testing.assert_allclose(reading("male", ends(edit(STORE, rows, {"male": 0}).latents)), other, rtol=1e-3)


def test_a_number_ends_at_the_wanted_value() -> None:
    found = edit(STORE, TRAIN[:9], {"age": 60})
    np.testing.assert_allclose(reading("age", ends(found.latents)), 60, atol=1e-3)
    assert [round(one.after, 3) for one in found.moved] == [60] * 9
    np.testing.assert_allclose([one.before for one in found.moved], reading("age", TRAIN[:9]), atol=1e-4)


def test_a_level_takes_the_other_levels_along() -> None:
    read, square = reading("shape=square", TRAIN), codes()["shape"] == "square"
    rows = TRAIN[codes()["shape"] == "oval"][:9]
    after = ends(edit(STORE, rows, {"shape": "square"}).latents)
    assert (reading("shape=square", after) > read[square].mean()).all()
    found = sum(reading(f"shape={level}", after) for level in ("round", "square", "oval"))
    np.testing.assert_allclose(found, 1, atol=1e-4)
    assert (reading("shape=oval", after) < 0.1).all()


@pytest.mark.parametrize("strength", [2.0, -1.5])
def test_strength_counts_deviations_of_the_reading(strength: float) -> None:
    for wanted, sign in (({"glasses": 1}, 1), ({"glasses": 0}, -1), ({"age": 200}, 1), ({"shape": "square"}, 1)):
        [(name, value)] = wanted.items()
        column = f"{name}={value}" if name == "shape" else name
        found = edit(STORE, TRAIN[:6], wanted, strength=strength)
        change = reading(column, ends(found.latents)) - reading(column, TRAIN[:6])
        np.testing.assert_allclose(change / reading(column, TRAIN).std(ddof=1), sign * strength, rtol=1e-3)


def test_several_labels_move_together() -> None:
    found = edit(STORE, TRAIN[:6], {"age": 50, "glasses": 1}, strength=1.0)
    for name in ("age", "glasses"):
        change = reading(name, ends(found.latents)) - reading(name, TRAIN[:6])
        expected = np.where((reading("age", TRAIN[:6]) < 50) | (name == "glasses"), 1.0, -1.0)
        np.testing.assert_allclose(change / reading(name, TRAIN).std(ddof=1), expected, rtol=1e-3)
    assert [one.label for one in found.moved[:2]] == ["age", "glasses"]


def test_the_movement_is_the_one_that_costs_least() -> None:
    """A general optimiser finds no cheaper one that changes the reading as much."""
    rng = np.random.default_rng(0)
    labels = {name: codes()[name] for name in LABELS}
    store = MemoryStore(TRAIN, labels=labels)
    precision = np.linalg.inv(np.cov(TRAIN.T))
    weights = np.array([Ridge(alpha=PENALTY).fit(TRAIN, labels[name].astype(float)).coef_ for name in LABELS])
    unit = weights / (TRAIN @ weights.T).std(axis=0, ddof=1)[:, np.newaxis]

    def cost(move: NDArray[Any]) -> float:
        return float(np.sum((unit[1:] @ move) ** 2) + 0.1 * move @ precision @ move)

    by_one = {"type": "eq", "fun": lambda move: unit[0] @ move - 1}
    best = minimize(cost, rng.normal(size=4), constraints=[by_one], options={"ftol": 1e-14}).x
    found = edit(store, TRAIN[:1], {"male": 1}, strength=1.0)
    np.testing.assert_allclose(ends(found.latents)[0] - TRAIN[0].astype(np.float32), best, atol=2e-4)
    alone = attribute_vectors(store, keep=["male"])["male"]
    shortest = np.cov(TRAIN.T) @ weights[0]
    np.testing.assert_allclose(alone / np.linalg.norm(alone), shortest / np.linalg.norm(shortest), atol=1e-5)


def test_the_labels_that_are_kept_stay_nearer() -> None:
    """Men have glasses more often: a movement that spares glasses changes their reading less than one that does not."""
    keeping, loose = (edit(STORE, TRAIN[:1], "male=1", strength=2, keep=keep) for keep in (["glasses"], []))
    moved = [abs(float(np.diff(reading("glasses", one.latents[0][[0, -1]]))[0])) for one in (keeping, loose)]
    assert moved[0] < 0.5 * moved[1]


@pytest.fixture(scope="module")
def bright() -> NDArray[np.float32]:
    """Grey images of 8 x 8 whose label is the first pixel."""
    rng = np.random.default_rng(2)
    images = rng.uniform(0, 0.6, size=(400, 1, 8, 8)).astype(np.float32)
    images[::2] += 0.3
    return images


def labelled_images(model: ConvAutoencoder, images: NDArray[np.float32]) -> Any:
    ids = [f"{index:03}.png" for index in range(len(images))]
    labels = {"bright": np.arange(len(images)) % 2 == 0, "first": images[:, 0, 0, 0]}
    return encode(model, images, labels=labels, held_out=HeldOut(0), ids=ids, progress=False)


def test_photos_ids_and_arrays_are_the_same_items(
    tiny_model: ConvAutoencoder, bright: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.rint(bright * 255).astype(np.uint8) / np.float32(255)
    store = labelled_images(tiny_model, images)
    Image.fromarray(np.rint(images[7, 0] * 255).astype(np.uint8)).save("photo.png")
    by_id = edit(store, "007.png", {"bright": 1})
    for given in ("photo.png", [Path("photo.png")], images[7:8], store.read(7, 8), MemoryStore(store.read(7, 8))):
        np.testing.assert_allclose(edit(store, given, {"bright": 1}).latents, by_id.latents, atol=1e-5)
    Path("photos").mkdir()
    Path("photo.png").rename(Path("photos") / "a.png")
    both = edit(store, ["photos", "003.png"], {"bright": 1})
    assert both.ids == ("a.png", "003.png")
    np.testing.assert_allclose(both.latents[0], by_id.latents[0], atol=1e-5)
    (Path("photos") / "a.png").rename("003.png")
    found = edit(store, "003.png", {"bright": 1})
    np.testing.assert_allclose(found.latents, by_id.latents, atol=1e-5)
    assert found.notes[0].startswith("'003.png' is a file and an id of")
    assert by_id.items.shape == (1, 7, 1, 8, 8)


def test_a_bundle_edits_as_its_store_does(
    tiny_model: ConvAutoencoder, bright: NDArray[np.float32], tmp_path: Path
) -> None:
    store = labelled_images(tiny_model, bright)
    built = build_bundle("tiny", tiny_model, MemoryStore(store.read(), fingerprint=store.fingerprint), [], [], [])
    built.add(store, ["gaussian"], labels=True)
    built.save(tmp_path / "tiny.safetensors")
    rows = store.read(0, 3)
    for keep in (None, []):
        own, offline = (edit(one, rows, "first=0.9", keep=keep) for one in (store, str(tmp_path / "tiny.safetensors")))
        np.testing.assert_allclose(offline.latents, own.latents, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("to", "options", "words"),
    [
        ({"mael": 1}, {}, r"`to=\.\.\.`: no label 'mael'; did you mean 'male'"),
        ({"male": 3}, {}, "'male' is never '3'; it takes 0 and 1"),
        ({"shape": ["round", "oval"]}, {}, r"an edit needs one value of 'shape'; give it as shape="),
        ("age>=40", {}, "an edit needs one value of 'age'; give it as age="),
        ({}, {}, "names no label"),
        ({"male": 1}, {"steps": 1}, "`steps=1`: counts the item itself; give 2 or more"),
        ({"male": 1}, {"strength": float("nan")}, "`strength=nan`: give a number"),
        ({"male": 1}, {"keep": ["agge"]}, r"`keep=\.\.\.`: no label 'agge'; did you mean 'age'"),
        ({"noise": 1}, {}, "'noise' has no linear effect on the latent vectors"),
        ({"male": 1, "man": 0}, {"strength": 1}, "male and man have the same reading"),
    ],
)
def test_edits_that_make_no_sense_are_refused(to: Any, options: dict[str, Any], words: str) -> None:
    known = codes()
    constant = np.zeros(len(TRAIN))
    constant[0] = 1 if "noise" not in to else 0
    labels = {**known, "man": known["male"]} | ({"noise": np.append(constant[1:], np.nan)} if "noise" in to else {})
    store = MemoryStore(TRAIN, labels=labels)
    with pytest.raises(LsamplerError, match=words):
        edit(store, TRAIN[:2], to, **options)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("nothing.png", "nothing.png: no such file, and no id of"),
        ("399.pgn", "no such file, and no id of .*; did you mean '399.png'"),
        (np.zeros((2, 7)), r"`items`: shape \(2, 7\)|items of shape"),
        (np.full((2, 6), np.nan), "holds NaN"),
        (np.zeros((0, 6)), "one or more"),
        (5, "give a photo, an id of the store, an array of items"),
    ],
)
def test_items_that_cannot_be_had_are_refused(
    items: Any, words: str, tiny_model: ConvAutoencoder, bright: NDArray[np.float32]
) -> None:
    with pytest.raises(LsamplerError, match=words):
        edit(labelled_images(tiny_model, bright), items, {"bright": 1})


def test_files_that_are_no_photos_are_refused(
    tiny_model: ConvAutoencoder, bright: NDArray[np.float32], tmp_path: Path
) -> None:
    store = labelled_images(tiny_model, bright)
    (tmp_path / "bad.jpg").write_text("no photo")
    with pytest.raises(LsamplerError, match=r"bad.jpg: cannot be decoded .*; leave it out, or give another photo"):
        edit(store, tmp_path / "bad.jpg", {"bright": 1})
    with pytest.raises(LsamplerError, match="no decoder for these latents; give `model="):
        edit(STORE, tmp_path / "bad.jpg", {"male": 1})
    with pytest.raises(LsamplerError, match="latent vectors of another encoder"):
        edit(store, MemoryStore(store.read(), fingerprint="0" * 32), {"bright": 1})
    with pytest.raises(LsamplerError, match="holds no labels"):
        edit(MemoryStore(TRAIN), TRAIN[:1], {"male": 1})


def test_a_crop_is_that_of_the_model(bright: NDArray[np.float32], tmp_path: Path) -> None:
    """A photo of another shape is prepared as the photos of the training were."""
    from conftest import untrained

    model = untrained()
    photo = np.rint(bright[3, 0].repeat(3, axis=0).repeat(3, axis=1) * 255).astype(np.uint8)[:, :18]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    store = labelled_images(model, bright)
    found = edit(Subject.of(store, model), tmp_path / "photo.png", {"bright": 1})
    prepared = Preprocess(8, "none", 1)(photo[..., np.newaxis])
    expected: LatentStore = encode(model, prepared[np.newaxis], held_out=HeldOut(0), progress=False)
    np.testing.assert_allclose(found.latents[0, 0], expected.read()[0], atol=1e-5)
