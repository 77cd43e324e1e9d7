"""Trainings with another loss than the squared error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace
from support import Answer
from trained import CONFIG, FILES, SHAPE, curve, files, interrupt_after, same_weights, train

from lsampler import LsamplerError
from lsampler.models import ConvAutoencoder, TrainingOptions, train_autoencoder
from lsampler.store import HeldOut

COLUMNS = ["epoch", "train_mse", "held_out_mse", "train_loss", "held_out_loss", "seconds"]


@pytest.fixture(scope="module")
def similar(digits: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[str]]:
    """A training with ms-ssim on 120 digits of 24 x 24 pixels: its folder, its result, and the lines it reported."""
    folder, said = tmp_path_factory.mktemp("similar"), []
    np.save(folder / "large.npy", digits[:120].repeat(3, axis=1).repeat(3, axis=2))
    config = CONFIG.model_copy(update={"image_size": 24})
    options = {"loss": "ms-ssim", "epochs": 6, "held_out": 20, "batch_size": 10, "learning_rate": 1e-2}
    result = train(folder / "large.npy", folder / "run", config=config, report=said.append, **options)
    return folder, result, said


def test_the_curve_and_the_model_tell_the_loss_and_the_squared_error(similar: tuple[Path, Any, list[str]]) -> None:
    (folder, result, said), loss = similar, "ms-ssim"
    large_npy, run = folder / "large.npy", folder / "run"
    assert files(run) == FILES
    rows = curve(run)
    assert list(rows[0]) == COLUMNS == list(result.to_frame())
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    pattern = r"epoch 6/6: train MSE {0}, held-out MSE {0}, train {1} {0}, held-out {1} {0}, \d+ s"
    assert re.fullmatch(pattern.format(r"0\.\d{5}", loss), said[-1])
    model = ConvAutoencoder.load(result.model)
    record = model.training_record
    assert (record["loss"], record["held_out_loss"]) == (loss, rows[-1]["held_out_loss"])
    assert result.held_out_mse == record["held_out_mse"] == rows[-1]["held_out_mse"]
    # The squared error is that of the images, whatever was minimised.
    images = torch.from_numpy(np.load(large_npy)).float()[:, None]
    assert float(((model.decode(model.encode(images)) - images) ** 2).mean()) < 3 * result.held_out_mse
    with Image.open(run / "training.png") as curves:
        assert curves.width > 2 * curves.height


def test_trained_models_are_compared(
    similar: tuple[Path, Any, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    from benchmarks import losses

    folder, result, _ = similar
    arguments = ["--images", folder / "large.npy", "--runs", folder / "run", "--out", folder / "latents", "-n", 30]
    losses.main([*map(str, arguments), "--plugin", "multivariate-normal", "--evaluator", "cycle-consistency"])
    heads, _, line = capsys.readouterr().out.splitlines()
    found = dict(zip(heads.strip("| ").split(" | "), line.strip("| ").split(" | "), strict=True))
    assert (found["model"], found["loss"], found["epochs"]) == ("run", "ms-ssim", "6")
    # Decoded images are rounded to whole numbers of grey.
    assert float(found["held-out MSE"]) == pytest.approx(result.held_out_mse, rel=1e-2)
    held_out = HeldOut(20).divide([f"{k:03}" for k in range(120)], "large.npy").held_out
    images = np.load(folder / "large.npy")[held_out]
    decoded = ConvAutoencoder.load(result.model)
    again = decoded.decode(decoded.encode(torch.from_numpy(images)[:, None])).numpy()[:, 0]
    ratio = np.median([laplace(image).var() for image in again]) / np.median([laplace(image).var() for image in images])
    assert float(found["sharpness of held-out images"]) == pytest.approx(ratio, rel=0.02)
    assert re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", found["cycle, samples"])
    assert found["faces, samples"] == "-"


def test_a_resumed_training_keeps_its_loss_and_refuses_another(few_npy: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(few_npy, whole, loss="laplacian")
    train(few_npy, parts, loss="laplacian", report=interrupt_after("epoch 1/"))
    with pytest.raises(LsamplerError, match="began with loss laplacian, not l1; resume it with the same"):
        train(few_npy, parts, loss="l1", resume=True)
    train(few_npy, parts, resume=True)
    assert same_weights(whole, parts)
    assert [row["held_out_loss"] for row in curve(parts)] == [row["held_out_loss"] for row in curve(whole)]


def test_a_checkpoint_that_names_no_loss_is_one_of_the_squared_error(few_npy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(few_npy, out, report=interrupt_after("epoch 1/"))
    path = out / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["lsampler"]["identity"]["loss"]
    torch.save(checkpoint, path)
    with pytest.raises(LsamplerError, match="began with loss mse, not l1"):
        train(few_npy, out, loss="l1", resume=True)
    result = train(few_npy, out, resume=True)
    assert result.epochs == 2
    assert ConvAutoencoder.load(result.model).training_record["loss"] == "mse"


def test_tables_have_the_absolute_error(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * [1, 1000, 0.001]
    for loss in ("l1", "mse"):
        options = TrainingOptions(loss=loss, epochs=3, accelerator="cpu")
        train_autoencoder(rows, tmp_path / loss, options=options, report=lambda _: None, progress=False)
    errors = curve(tmp_path / "l1")[-1]
    assert 0 < errors["held_out_loss"] < 2
    assert errors["held_out_mse"] != curve(tmp_path / "mse")[-1]["held_out_mse"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--loss ms-ssim", ["--loss ms-ssim", "needs images of 22 x 22 pixels or more", "have 8 x 8", "laplacian"]),
        ("--loss huber", ["--loss huber", "known: l1, laplacian, ms-ssim, mse"]),
        ("--loss laplace", ["--loss laplace", "did you mean 'laplacian'?"]),
    ],
)
def test_losses_of_images_that_do_not_fit_are_refused_in_one_line(
    options: str, parts: list[str], few_npy: Path, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli("train", few_npy, *SHAPE, *options.split(), "--out", tmp_path / "run")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert all(part in answer.err for part in parts), answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", ["laplacian", "ms-ssim"])
def test_losses_of_images_are_refused_for_tables(loss: str, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    np.save(tmp_path / "t.npy", np.random.default_rng(0).normal(size=(40, 3)))
    answer = cli("train", tmp_path / "t.npy", "--loss", loss, "--out", tmp_path / "run")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"--loss {loss} is a loss of images, and these are rows; choose mse or l1" in answer.err
    assert not (tmp_path / "run").exists()
