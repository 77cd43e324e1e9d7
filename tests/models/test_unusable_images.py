"""Encoding images of which some cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded import Counting, encode, interrupt
from numpy.typing import NDArray
from support import Answer

from lsampler import LsamplerError
from lsampler.models import ConvAutoencoder


def test_damaged_images_are_skipped_and_named(
    tiny_model: ConvAutoencoder, digits: NDArray[np.float32], png_zip: Path, tmp_path: Path
) -> None:
    result = encode(tiny_model, png_zip, tmp_path / "s.h5", held_out=10, batch_size=7)
    assert set(result.skipped) == {"ziffern/ä011.png", "ziffern/ä020.png"}
    assert all("decoded" in reason for reason in result.skipped.values())
    kept = [k for k in range(30) if k not in (11, 20)]
    assert result.store.ids() == [f"ziffern/ä{k:03d}.png" for k in kept]
    # The split goes by the place in the source: one of its last ten images is damaged.
    assert result.store.splits() == ["train" if k < 20 else "held-out" for k in kept]
    pictures = torch.from_numpy((digits[kept] * 255).astype(np.uint8) / np.float32(255))[:, None]
    np.testing.assert_allclose(result.store.read(), tiny_model.encode(pictures).numpy(), atol=1e-5)


def test_strict_stops_and_the_next_run_goes_on(counting: Counting, png_zip: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.h5"
    with pytest.raises(LsamplerError, match=r"image 'ziffern/ä011\.png' cannot be decoded .* leave out `strict=True`"):
        encode(counting, png_zip, out, held_out=10, batch_size=4, strict=True)
    assert not out.exists()
    result = encode(counting, png_zip, out, held_out=10, batch_size=4)
    assert (len(result.store), counting.encoded) == (28, 28)


def test_strict_minds_what_an_interrupted_run_skipped(counting: Counting, png_zip: Path, tmp_path: Path) -> None:
    interrupt(counting, png_zip, tmp_path / "s.h5", after=14, held_out=10, batch_size=5)
    with pytest.raises(LsamplerError, match=r"image 'ziffern/ä011\.png' could not be used"):
        encode(counting, png_zip, tmp_path / "s.h5", held_out=10, batch_size=5, strict=True)
    result = encode(counting, png_zip, tmp_path / "s.h5", held_out=10, batch_size=5)
    assert len(result.skipped) == 2


@pytest.mark.parametrize(
    ("name", "complaint"), [("s.h5", "no usable image; '0' "), ("s.shards", "no latent vector to store; '0' ")]
)
def test_source_without_a_usable_image_makes_no_store(
    tiny_model: ConvAutoencoder, tmp_path: Path, name: str, complaint: str
) -> None:
    np.save(tmp_path / "nan.npy", np.full((3, 8, 8), np.nan, dtype=np.float32))
    with pytest.raises(LsamplerError, match=complaint):
        encode(tiny_model, tmp_path / "nan.npy", tmp_path / name, held_out=1)
    assert [p.name for p in tmp_path.iterdir()] == ["nan.npy"]


def test_encoder_that_gives_nan_is_told_with_the_image(counting: Counting, png_zip: Path, tmp_path: Path) -> None:
    weight = next(counting.model.parameters())
    with torch.no_grad():
        weight[:] = torch.nan
    with pytest.raises(LsamplerError, match=r"item 'ziffern/ä000\.png'\) holds NaN"):
        encode(counting, png_zip, tmp_path / "s.h5", held_out=1)
    assert not (tmp_path / "s.h5").exists()


def test_command_names_skipped_images(
    ok: Callable[..., Answer], tiny_model_file: Path, png_zip: Path, tmp_path: Path
) -> None:
    arguments = ["encode", png_zip, "--model", tiny_model_file, "--out", tmp_path / "s.h5", "--held-out", "4"]
    done = ok(*arguments)
    assert "skipped 2 items" in done.out
    assert "ziffern/ä011.png: cannot be decoded" in done.out
    assert "24 latent vectors and 4 held out, D = 6" in done.out
