"""Training of tables, signals, arrays and images that are not square, with tiny networks."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import Answer
from trained import FILES, curve, files, interrupt_after, same_weights

import lsampler
from lsampler import LsamplerError, load_autoencoder
from lsampler.data import Item, ItemHints, open_any, open_images, open_items
from lsampler.models import ConvConfig, DenseConfig, TrainingOptions, TrainingResult, encode_to_store, train_autoencoder
from lsampler.store import HeldOut

QUICK: dict[str, Any] = {"epochs": 3, "held_out": 40, "accelerator": "cpu"}
LINES: dict[str, Any] = {"report": lambda _: None, "progress": False}


def table(rows: int = 240) -> NDArray[np.float32]:
    """Rows of five features in very different units: two factors, and a constant."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(rows, 2))
    features = factors @ rng.normal(size=(2, 4)) * [1, 1000, 0.001, 5] + [0, 50_000, 0.01, -3]
    return np.column_stack([features, np.full(rows, 7.25)]).astype(np.float32)


def signals(count: int = 200, channels: int = 2, length: int = 37) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    phase, height = rng.uniform(0, 3, (count, 1, 1)), rng.normal(5, 1, (count, 1, 1))
    step = np.linspace(0, 2, length)
    return (height * np.sin(step + phase + np.arange(channels)[:, None]) + 100).astype(np.float32)


def written(path: Path, names: list[str], rows: Any) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(names)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def of_table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult, list[str]]:
    """A training on a CSV file with ids, the lines that it reported, and its folder."""
    out = tmp_path_factory.mktemp("table")
    rows = [[f"row {k}", *values] for k, values in enumerate(table().tolist())]
    path = written(out / "people.csv", ["id", "a", "b", "c", "d", "e"], rows)
    said: list[str] = []
    options = TrainingOptions(**QUICK | {"epochs": 60})
    result = train_autoencoder(path, out / "run", options=options, report=said.append, progress=False)
    return out, result, said


def test_a_table_is_learnt_in_its_own_units(of_table: tuple[Path, TrainingResult, list[str]]) -> None:
    out, result, said = of_table
    assert files(out / "run") == FILES
    model = load_autoencoder(str(result.model))
    assert model.item == Item("table", (5,), ("a", "b", "c", "d", "e"))
    assert model.dimension == 4
    rows = table()
    decoded = model.decode(model.encode(torch.from_numpy(rows))).numpy()
    assert decoded[:, 4] == pytest.approx(7.25, abs=1e-6)
    # Two factors fit into three components: nearly all variance of each feature is kept, whatever its unit.
    kept = 1 - ((decoded - rows)[:, :4] ** 2).mean(axis=0) / rows[:, :4].var(axis=0)
    assert (kept > 0.95).all(), kept
    assert "the same in all training rows, and decoded as such: 'e'" in said
    assert result.held_out_mse < 0.05


def test_the_stated_error_is_in_units_of_the_variance(of_table: tuple[Path, TrainingResult, list[str]]) -> None:
    out, result, _ = of_table
    model: Any = load_autoencoder(str(result.model))
    source = open_items(out / "people.csv")
    held = HeldOut(40).divide(source.ids, "x").held_out
    rows = table()
    scale = rows[~held].astype(np.float64).std(axis=0)[:4]
    decoded = model.decode(model.encode(torch.from_numpy(rows[held]))).numpy()
    by_hand = (((decoded - rows[held])[:, :4] / scale) ** 2).mean()
    assert result.held_out_mse == pytest.approx(by_hand, rel=1e-3)
    latents = model.encode(torch.from_numpy(rows[held]))
    assert float(latents.double().var(dim=0).mean().sqrt()) == pytest.approx(1, abs=1e-3)


def test_what_training_held_out_is_held_out_again(of_table: tuple[Path, TrainingResult, list[str]]) -> None:
    out, result, _ = of_table
    model, source = load_autoencoder(str(result.model)), open_items(out / "people.csv")
    store = encode_to_store(model, source, out / "latents.h5").store
    held = {name for name, part in zip(store.ids(), store.splits(), strict=True) if part == "held-out"}
    chosen = HeldOut(40).divide(source.ids, "x").held_out
    assert held == {f"row {k}" for k in np.flatnonzero(chosen)}


@pytest.mark.parametrize(("channels", "length"), [(1, 5), (2, 37), (3, 64)])
def test_signals_of_any_length(channels: int, length: int, tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", signals(200, channels, length))
    names = [f"lead {k}" for k in range(channels)]
    source = open_any(tmp_path / "s.npy", ItemHints(names=names, unit="mV"))
    options = TrainingOptions(**QUICK | {"epochs": 40})
    result = train_autoencoder(source, tmp_path / "run", options=options, **LINES)
    model = load_autoencoder(str(result.model))
    assert model.item == Item("signal", (channels, length), tuple(names), unit="mV")
    assert result.held_out_mse < 0.15
    assert files(tmp_path / "run") == FILES


def test_other_arrays_are_learnt_as_rows(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).normal(size=(80, 2, 3, 4)).astype(np.float32)
    config = DenseConfig(widths=(8,), latent_dim=3)
    result = train_autoencoder(arrays, tmp_path / "run", config=config, options=TrainingOptions(**QUICK), **LINES)
    model = load_autoencoder(str(result.model))
    assert model.item == Item("array", (2, 3, 4))
    assert model.decode(torch.zeros(2, 3)).shape == (2, 2, 3, 4)


def test_images_that_are_not_square(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "wide.npy", rng.random((60, 8, 12)).astype(np.float32))
    config = ConvConfig(image_size=(8, 12), channels=1, filters=(4, 8), latent_dim=3)
    result = train_autoencoder(
        tmp_path / "wide.npy",
        tmp_path / "run",
        config=config,
        options=TrainingOptions(**QUICK | {"held_out": 10}),
        **LINES,
    )
    model = load_autoencoder(str(result.model))
    assert model.item.shape == (1, 8, 12)
    with pytest.raises(LsamplerError, match="image size 10 must be a multiple of 4"):
        ConvConfig(image_size=(8, 10), filters=(4, 8))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (1, 8, 8)])
def test_images_in_memory(shape: tuple[int, ...], digits: NDArray[np.float32], tmp_path: Path) -> None:
    """Also as bytes: they give the same model as the file."""
    config = ConvConfig(image_size=8, channels=1, filters=(4,), latent_dim=2)
    np.save(tmp_path / "d.npy", np.rint(digits[:60] * 255).astype(np.uint8))
    for name, source in (
        ("memory", np.rint(digits[:60] * 255).astype(np.uint8).reshape(-1, *shape)),
        ("file", tmp_path / "d.npy"),
    ):
        options = TrainingOptions(**QUICK | {"held_out": 10, "epochs": 1})
        train_autoencoder(source, tmp_path / name, config=config, options=options, **LINES)
    assert same_weights(tmp_path / "memory", tmp_path / "file")


# Resuming


def test_a_resumed_table_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = TrainingOptions(**QUICK)
    train_autoencoder(table(), whole, options=options, **LINES)
    first = train_autoencoder(table(), parts, options=options, report=interrupt_after("epoch 2/"), progress=False)
    assert (first.interrupted, first.epochs) == (True, 2)
    train_autoencoder(table(), parts, options=options, resume=True, **LINES)
    assert same_weights(whole, parts)


def test_more_epochs_extend_a_training_and_lower_its_error(tmp_path: Path) -> None:
    """Another cycle: with the learning rate at which the first ended, 1e-7 of its peak, nothing would be learnt."""
    out = tmp_path / "run"
    options: dict[str, Any] = QUICK | {"epochs": 8, "learning_rate": 1e-3}
    first = train_autoencoder(table(), out, options=TrainingOptions(**options), **LINES)
    interrupted = train_autoencoder(
        table(),
        out,
        options=TrainingOptions(**options | {"epochs": 40}),
        resume=True,
        report=interrupt_after("epoch 20/"),
        progress=False,
    )
    assert (interrupted.interrupted, interrupted.epochs) == (True, 20)
    # Without a number it keeps that of the training that is resumed.
    last = train_autoencoder(table(), out, options=TrainingOptions(**options | {"epochs": None}), resume=True, **LINES)
    assert (last.interrupted, last.epochs) == (False, 40)
    assert [row["epoch"] for row in curve(out)] == list(range(1, 41))
    assert last.held_out_mse < 0.5 * first.held_out_mse
    with pytest.raises(LsamplerError, match="finished all 40 epochs; to extend the training, pass `epochs=80`"):
        train_autoencoder(table(), out, options=TrainingOptions(**options), resume=True, **LINES)


# Small data


@pytest.mark.parametrize("kind", ["image", "table", "signal"])
def test_twelve_items_and_one_held_out_train_silently_with_unit_spread(
    kind: str, tmp_path: Path, digits: NDArray[np.float32], capfd: pytest.CaptureFixture[str]
) -> None:
    if kind == "image":
        np.save(tmp_path / "d.npy", digits[:12])
        source, config = open_images(tmp_path / "d.npy"), ConvConfig(image_size=8, channels=1, filters=(4,))
    else:
        source, config = table(12) if kind == "table" else signals(12), None  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for held_out in (1, None):
            options = TrainingOptions(epochs=2, held_out=held_out, accelerator="cpu")
            result = train_autoencoder(source, tmp_path / f"{held_out}", config=config, options=options, **LINES)
    model = load_autoencoder(str(result.model))
    items = np.rint(digits[:12, None] * 255) / 255 if kind == "image" else table(12) if kind == "table" else signals(12)
    latents = model.encode(torch.from_numpy(items.astype(np.float32)))
    assert float(latents.double().var(dim=0).mean().sqrt()) == pytest.approx(1, abs=1e-3)
    assert capfd.readouterr().err == ""


# What is refused


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({(3, 1): "nan", (5, 1): ""}, ["row '003'", "'b' (2 of 240 rows)", "`dataset='!b'`"]),
        ({(7, 0): "x"}, ["line 9, column 'a' holds 'x', no number", "`dataset='!a'`"]),
        ({(3, 1): "inf"}, ["NaN or infinite values", "row '003'"]),
    ],
)
def test_missing_values_and_texts_are_refused_with_a_fix_that_works(
    change: dict[tuple[int, int], str], parts: list[str], tmp_path: Path
) -> None:
    rows: list[list[Any]] = table().tolist()
    for (row, column), text in change.items():
        rows[row][column] = text
    path = written(tmp_path / "t.csv", ["a", "b", "c", "d", "e"], rows)
    with pytest.raises(LsamplerError) as error:
        train_autoencoder(path, tmp_path / "run", options=TrainingOptions(**QUICK), **LINES)
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in ("t.csv", *parts)), message
    assert not (tmp_path / "run").exists()
    without = message.split("dataset='")[1].split("'")[0] if "dataset" in message else "!b"
    source = open_items(path, dataset=without)
    train_autoencoder(source, tmp_path / "run", options=TrainingOptions(**QUICK | {"epochs": 1}), **LINES)


def test_rows_that_are_all_equal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="all 36 training rows are equal; give rows that differ"):
        train_autoencoder(np.ones((40, 3)), tmp_path / "run", options=TrainingOptions(), **LINES)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("t", "--crop celeba", ["--crop celeba", "images", "leave it out"]),
        ("t", "--no-flip", ["--flip False", "images"]),
        ("t", "--size 8", ["--size 8", "image"]),
        ("t", "--filters 4", ["--filters", "image or signal"]),
        ("s", "--widths 4", ["--widths", "table or array"]),
        ("s", "--names a,b,c", ["3 `names`"]),
        ("t", "--kind signals", ["--kind signals", "did you mean 'signal'?"]),
        ("p", "--kind table", ["holds images", "--kind table"]),
        ("p", "--unit mV", ["--unit", "leave it out"]),
        ("p", "--size 8x", ["--size 8x"]),
        ("big", "", ["values outside [0, 1]", "--kind signal", "uint8"]),
        ("t", "--resume", ["no checkpoint to resume"]),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    name: str, options: str, parts: list[str], tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    paths = {"t": tmp_path / "t.npy", "s": tmp_path / "s.npy", "big": tmp_path / "big.npy", "p": tmp_path / "p"}
    np.save(paths["t"], table(30))
    np.save(paths["s"], signals(30))
    np.save(paths["big"], np.random.default_rng(0).normal(size=(9, 20, 20)))
    paths["p"].mkdir()
    Image.new("L", (8, 8)).save(paths["p"] / "a.png")
    answer = cli("train", paths[name], *options.split(), "--out", tmp_path / "run")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert all(part in answer.err for part in parts), answer.err
    assert not (tmp_path / "run").exists()


def test_the_configuration_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="a ConvConfig does not go with items of the kind table"):
        train_autoencoder(table(), tmp_path / "run", config=ConvConfig(), **LINES)


def test_the_command_goes_from_a_table_to_a_bundle_that_samples(
    of_table: tuple[Path, TrainingResult, list[str]], tmp_path: Path, ok: Callable[..., Answer]
) -> None:
    out, result, _ = of_table
    ok("encode", out / "people.csv", "--model", result.model, "--out", tmp_path / "z.h5")
    bundle = tmp_path / "people.safetensors"
    made = ("--model", result.model, "--store", tmp_path / "z.h5", "-p", "gaussian-mixture")
    ok("bundle", "--out", bundle, *made)
    ok("sample", "--model", bundle, "--plugin", "gaussian-mixture", "-n", 50, "--out", tmp_path / "new.csv")
    with (tmp_path / "new.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["a", "b", "c", "d", "e"]
    assert len(rows) == 50
    assert {float(row["e"]) for row in rows} == {7.25}
    # Weights are in half precision, but not the scales: means are those of the data.
    means = np.array([[float(row[name]) for name in "abcd"] for row in rows]).mean(axis=0)
    spread = table()[:, :4].std(axis=0)
    assert (np.abs(means - table()[:, :4].mean(axis=0)) < spread).all()  # 50 draws: seven standard errors
    assert lsampler.load_bundle(str(bundle)).fingerprint == load_autoencoder(str(result.model)).fingerprint
