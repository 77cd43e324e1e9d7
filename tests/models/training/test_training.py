"""Training: it learns, stops cleanly, and resumes exactly where it stopped."""

from __future__ import annotations

import functools
import logging
import re
import shutil
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import Answer
from trained import FILES, Bars, curve, files, interrupt_after, same_weights, train

from lsampler import LsamplerError
from lsampler.models import ConvAutoencoder

# What a training leaves behind


def test_it_beats_the_mean_image(trained: tuple[Path, Any], digits: NDArray[np.float32]) -> None:
    out, _ = trained
    rest, held_out = digits[:-297], digits[-297:]
    of_the_mean = float(((held_out - rest.mean(axis=0)) ** 2).mean())
    rows = curve(out)
    assert rows[-1]["held_out_mse"] < 0.7 * of_the_mean
    assert rows[-1]["train_mse"] < rows[0]["train_mse"]
    # The stated error is that of the stored model, on the images that were held out.
    model = ConvAutoencoder.load(out / "model.safetensors")
    images = torch.from_numpy(np.rint(held_out * 255) / 255).float()[:, None]
    latents = model.encode(images)
    mse = torch.nn.functional.mse_loss(model.decode(latents), images).item()
    assert mse == pytest.approx(rows[-1]["held_out_mse"], rel=1e-4)
    assert model.training_record["held_out_mse"] == pytest.approx(mse, rel=1e-4)
    # The unit of the latents is their root mean square standard deviation over the components.
    assert float(latents.double().var(dim=0).mean().sqrt()) == pytest.approx(1, abs=0.01)


def test_it_leaves_model_curve_pictures_and_checkpoint(trained: tuple[Path, Any]) -> None:
    out, _ = trained
    assert files(out) == FILES
    rows = curve(out)
    assert list(rows[0]) == ["epoch", "train_mse", "held_out_mse", "seconds"]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    for name in ("training.png", "reconstructions.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 200
    record = ConvAutoencoder.load(out / "model.safetensors").training_record
    known = {"epochs_done": 8, "epochs": 8, "images": 1797, "held_out": 297, "source": "digits.npy", "flip": False}
    known |= {"held_out_by": "last", "split_seed": 0}
    assert record.items() >= (known | {"devices": 1, "nodes": 1}).items()
    assert str(out.parent) not in str(record)


def test_the_command_prints_the_epochs_and_nothing_of_lightnings(trained: tuple[Path, Answer]) -> None:
    out, answer = trained
    assert (answer.code, answer.err) == (0, "")
    divided, *epochs, last = answer.out.splitlines()
    assert divided == "held out: the last 297 of 1797 images"
    assert len(epochs) == 8
    pattern = r"epoch {}/8: train MSE 0\.\d{{5}}, held-out MSE 0\.\d{{5}}, \d+ s"
    assert all(re.fullmatch(pattern.format(k), line) for k, line in enumerate(epochs, 1))
    assert re.fullmatch(re.escape(str(out / "model.safetensors")) + r": held-out MSE 0\.\d{5}", last)


@pytest.mark.parametrize("threaded", [False, True])
def test_loggers_warnings_ctrl_c_and_random_state_are_as_before(few_npy: Path, tmp_path: Path, threaded: bool) -> None:
    """In a thread too; only the main thread can set the handler of a signal."""

    def state() -> tuple[Any, ...]:
        level, handler = logging.getLogger("lightning.pytorch").level, signal.getsignal(signal.SIGINT)
        random = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        return level, handler, list(warnings.filters), torch.get_rng_state().tolist(), random

    before = state()
    with ThreadPoolExecutor(1) as pool:
        train_it = functools.partial(train, few_npy, tmp_path / "run", epochs=1)
        assert (pool.submit(train_it).result() if threaded else train_it()).epochs == 1
    assert state() == before


# Seeds, and resuming


def test_seed_and_flips_decide_on_the_weights(few_npy: Path, tmp_path: Path) -> None:
    """Seeds beyond 32 bits too."""
    cases = {"a": 1, "again": 1, "large": 2**40 + 1, "larger": 2**41 + 1, "plain": 1}
    for name, seed in cases.items():
        torch.rand(7)  # numbers drawn before do not matter
        train(few_npy, tmp_path / name, seed=seed, epochs=1, flip=name != "plain")
    assert same_weights(tmp_path / "a", tmp_path / "again")
    for one, two in (("a", "large"), ("large", "larger"), ("a", "plain")):
        assert not same_weights(tmp_path / one, tmp_path / two)


@pytest.mark.parametrize(
    ("stop", "how"),
    [
        (1, {"report": interrupt_after("epoch 1/")}),
        (2, {"report": interrupt_after("epoch 2/")}),
        (2, {"progress": Bars(interrupt_at=10)}),  # in the middle of the third epoch
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    few_npy: Path, tmp_path: Path, whole: Path, stop: int, how: dict[str, Any]
) -> None:
    """Also if its folder was moved meanwhile."""
    moved = tmp_path / "moved"
    first = train(few_npy, tmp_path / "parts", epochs=3, **how)
    assert (first.interrupted, first.epochs) == (True, stop)
    assert first.held_out_mse == curve(tmp_path / "parts")[-1]["held_out_mse"] == curve(whole)[stop - 1]["held_out_mse"]
    shutil.move(tmp_path / "parts", moved)
    said: list[str] = []
    second = train(few_npy, moved, epochs=3, resume=True, report=said.append)
    assert (second.interrupted, second.epochs) == (False, 3)
    assert [line.split(":")[0] for line in said] == [f"epoch {k}/3" for k in range(stop + 1, 4)]
    assert same_weights(whole, moved)
    assert files(moved) == FILES
    without_time = [[{**row, "seconds": 0} for row in curve(out)] for out in (whole, moved)]
    assert without_time[0] == without_time[1]


def test_ctrl_c_before_the_first_epoch_ended_leaves_the_folder_free(few_npy: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(few_npy, tmp_path / "run", progress=Bars(interrupt_at=2))
    assert files(tmp_path / "run") == []
    assert train(few_npy, tmp_path / "run", epochs=1).epochs == 1


def test_progress_counts_images_and_steps(few_npy: Path, tmp_path: Path) -> None:
    bars = Bars()
    train(few_npy, tmp_path / "run", progress=bars, report=interrupt_after("epoch 1/"))
    assert bars.seen == {"preparing images": [300, 300], "training": [8, 4]}
    bars = Bars()
    train(few_npy, tmp_path / "run", progress=bars, resume=True)
    assert bars.seen == {"training": [8, 8]}


# Images that cannot be used


def test_images_that_cannot_be_used_are_skipped_and_reported(digits: NDArray[np.float32], tmp_path: Path) -> None:
    images = digits[:300].copy()
    images[[5, 17, 299]] = np.nan
    np.save(tmp_path / "bad.npy", images)
    with pytest.raises(LsamplerError, match=r"'005' .* leave out `strict=True`"):
        train(tmp_path / "bad.npy", tmp_path / "strict", strict=True)
    result = train(tmp_path / "bad.npy", tmp_path / "run", report=interrupt_after("epoch 1/"))
    assert sorted(result.skipped) == ["005", "017", "299"]
    again = train(tmp_path / "bad.npy", tmp_path / "run", resume=True)
    assert again.skipped == result.skipped
    assert ConvAutoencoder.load(again.model).training_record["images"] == 297


def test_a_fresh_start_never_uses_older_prepared_images(few_npy: Path, tmp_path: Path) -> None:
    """The same names may stand for other pixels by now."""
    train(few_npy, tmp_path / "older", report=interrupt_after("epoch 1/"))
    (tmp_path / "used").mkdir()
    for left in ("prepared.npy", "prepared.json"):
        shutil.copy(tmp_path / "older" / left, tmp_path / "used")
    (tmp_path / "darker").mkdir()
    np.save(tmp_path / "darker" / "few.npy", np.load(few_npy) / 2)
    for name in ("used", "clean"):
        train(tmp_path / "darker" / "few.npy", tmp_path / name, epochs=1)
    assert same_weights(tmp_path / "used", tmp_path / "clean")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prepared.json", lambda content: content[:-9]),
        ("prepared.json", lambda content: content.replace(b'"ids"', b'"idz"')),
        ("prepared.json", lambda content: content.replace(b'"wanted"', b'"wantet"')),
        ("prepared.json", lambda content: b"[" * 100_000),
        ("prepared.npy", lambda content: b""),
        ("prepared.npy", lambda content: content[:500]),
        ("prepared.npy", lambda content: content.replace(b"'|u1'", b"'|b1'")),
    ],
)
def test_damaged_prepared_images_are_prepared_anew(
    few_npy: Path, tmp_path: Path, whole: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    train(few_npy, tmp_path / "run", epochs=3, report=interrupt_after("epoch 2/"))
    left = tmp_path / "run" / name
    left.write_bytes(change(left.read_bytes()))
    train(few_npy, tmp_path / "run", epochs=3, resume=True)
    assert same_weights(whole, tmp_path / "run")
    assert files(tmp_path / "run") == FILES


def test_a_training_killed_after_its_last_epoch_is_finished(
    few_npy: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lsampler.models.training.recorder.reconstructions", Mock(side_effect=RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            train(few_npy, tmp_path / "run", epochs=3)
    assert (tmp_path / "run" / "prepared.npy").exists()
    assert train(few_npy, tmp_path / "run", epochs=3, resume=True).epochs == 3
    assert files(tmp_path / "run") == FILES
    assert same_weights(whole, tmp_path / "run")
