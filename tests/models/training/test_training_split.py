"""Training holds out what encode holds out of the same images, whichever of them cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import Answer
from trained import SHAPE, interrupt_after, same_weights, train

from lsampler.data import open_images
from lsampler.models import ConvAutoencoder, encode_to_store
from lsampler.store import HeldOut


@pytest.fixture
def photos(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    """Thirty digits of six writers, two damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, pixels in enumerate(digits[:30]):
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"w{k // 5}_{k:02d}.png")
    for name in ("w0_03.png", "w5_27.png"):
        (folder / name).write_bytes(b"damaged")
    return folder


@pytest.mark.parametrize(("by", "seed"), [("random", 0), ("random", 5), ("last", 0), (r"w(\d)_", 1)])
def test_encoding_holds_out_what_training_did(by: str, seed: int, photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    options = {"held_out": 10, "held_out_by": by, "split_seed": seed, "flip": False}
    result = train(photos, tmp_path / "run", epochs=1, report=said.append, **options)
    model, source = ConvAutoencoder.load(result.model), open_images(photos)
    store = encode_to_store(model, source, tmp_path / "s.h5").store
    split = HeldOut(10, by, seed)
    held = {name for name, out in zip(source.ids, split.divide(source.ids, "x").held_out, strict=True) if out}
    usable = held - {"w0_03.png", "w5_27.png"}
    assert {name for name, part in zip(store.ids(), store.splits(), strict=True) if part == "held-out"} == usable
    assert said[0] == f"held out: {split.divide(source.ids, 'x').words}"
    # Training measured its error on these images and on no others.
    pixels = [np.asarray(Image.open(photos / name)) for name in sorted(usable)]
    images = torch.from_numpy(np.stack(pixels))[:, None] / 255
    error = torch.nn.functional.mse_loss(model.decode(model.encode(images)), images).item()
    assert result.held_out_mse == pytest.approx(error, rel=1e-4)


def test_held_out_images_do_not_change_the_weights(photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"held_out": 10, "epochs": 1, "flip": False}
    train(photos, tmp_path / "one", **options)
    source = open_images(photos)
    for name, held in zip(source.ids, HeldOut(10).divide(source.ids, "x").held_out, strict=True):
        if held and name != "w5_27.png":
            with Image.open(photos / name) as image:
                darker = image.point(lambda value: value // 2)
            darker.save(photos / name)
    train(photos, tmp_path / "two", **options)
    first, second = (ConvAutoencoder.load(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    # But for the unit of the latents, which is that of the held-out images.
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first.decode(first.encode(images)), second.decode(second.encode(images)))


def test_a_resumed_training_holds_out_the_same(photos: Path, tmp_path: Path) -> None:
    options = {"held_out": 10, "held_out_by": r"w(\d)_"}
    train(photos, tmp_path / "whole", **options)
    train(photos, tmp_path / "parts", **options, report=interrupt_after("epoch 1/"))
    train(photos, tmp_path / "parts", **options, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_command_trains_on_whole_groups(photos: Path, tmp_path: Path, ok: Callable[..., Answer]) -> None:
    common = ["--held-out", 10, "--held-out-by", r"w(\d)_", "--split-seed", 2, "--epochs", 1]
    words = r"held out: 10 of 30 images in 2 of 6 groups by w(\d)_, seed 2"
    assert ok("train", photos, *SHAPE, *common, "--out", tmp_path / "run").out.startswith(words + "\n")
    model = ["--model", tmp_path / "run" / "model.safetensors"]
    assert f"{words} (as in training)\n" in ok("encode", photos, *model, "--out", tmp_path / "s.h5").out
