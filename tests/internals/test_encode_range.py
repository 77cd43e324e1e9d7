"""What makes encoding and decoding quick changes no pixel and no latent vector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support import committed_shards

from lsampler import (
    ConvAutoencoder,
    EncodeOptions,
    LsamplerError,
    Preprocess,
    decode_images,
    encode_images,
    open_images,
)
from lsampler.compute.ahead import one_behind
from lsampler.data.batches import ImageBatches
from lsampler.models.conv_autoencoder import CPU_BATCH
from lsampler.models.decoding import decode_stream
from lsampler.models.encoding import encode_range
from lsampler.store.latent_store import Rows

# Pixels


def write_pictures(folder: Path) -> Path:
    """Of every kind and shape: colour, grey, palette, transparent, turned, 16 bits."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (23, 31, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, mode in (("colour", "RGB"), ("grey", "L"), ("palette", "P"), ("alpha", "RGBA"), ("bits", "1")):
        noise.convert(mode).save(folder / f"{name}.png")
    noise.save(folder / "turned.jpg", exif=turned)
    noise.resize((12, 12)).save(folder / "exact.png")
    Image.fromarray(rng.integers(0, 1 << 16, (17, 19), dtype=np.uint16)).save(folder / "deep.png")
    return folder


def by_pillow(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
    """Decoded, cropped and resized one by one, from the documented steps."""
    pixels = open_images(path.parent).read(open_images(path.parent).ids.index(path.name))
    edge = min(pixels.shape[:2])
    if preprocess.crop == "celeba":
        edge = min(edge, round(pixels.shape[1] * 148 / 178))
    height, width = (edge, edge) if preprocess.crop != "none" else pixels.shape[:2]
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    pixels = pixels[top : top + height, left : left + width]
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    size = (preprocess.size, preprocess.size)
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., c])).resize(size, Image.Resampling.LANCZOS))
        for c in range(3)
    ]
    if pixels.dtype == np.uint8:
        return np.stack(planes).astype(np.float32) / np.float32(255)
    return np.clip(np.stack(planes), 0, 1)


@pytest.mark.parametrize("crop", ["centre", "celeba", "none"])
@pytest.mark.parametrize("size", [12, 40])
def test_every_kind_of_picture_gives_the_very_pixels_of_the_plain_steps(tmp_path: Path, crop: Any, size: int) -> None:
    folder, preprocess = write_pictures(tmp_path / "p"), Preprocess(size, crop, 3)
    source = open_images(folder)
    for batch in (1, 8):  # a batch of bytes, and one with the 16-bit picture in it
        images = np.concatenate([images for _, images in ImageBatches(source, preprocess).read(batch)])
        for identity, image in zip(source.ids, images, strict=True):
            np.testing.assert_array_equal(image, by_pillow(folder / identity, preprocess), err_msg=identity)


def test_bytes_are_scaled_on_the_way_to_the_encoder_exactly_as_in_preprocessing(tmp_path: Path) -> None:
    class Witness:
        dimension, fingerprint, preprocess = 2, "witness", Preprocess(16, "none", 3)
        seen: list[torch.Tensor]

        def encode(self, images: torch.Tensor) -> torch.Tensor:
            assert images.is_contiguous()  # which a foreign model may rely on
            self.seen.append(images)
            return torch.zeros(len(images), 2)

    pixels = np.arange(256, dtype=np.uint8).repeat(3 * 5).reshape(5, 16, 16, 3)
    np.save(tmp_path / "a.npy", pixels)
    witness, source = Witness(), open_images(tmp_path / "a.npy")
    witness.seen = []
    list(encode_range(witness, source, 0, 5, first_held_out=5, options=EncodeOptions(2)))  # type: ignore[arg-type]
    wanted = np.stack([witness.preprocess(source.read(k)) for k in range(5)])
    np.testing.assert_array_equal(torch.cat(witness.seen).numpy(), wanted)
    assert [len(seen) for seen in witness.seen] == [2, 2, 1]


# Ranges


def ranges(model: ConvAutoencoder, path: Path, bounds: list[int], **options: Any) -> tuple[list[Rows], list[str]]:
    """The rows, and the ids of the skipped images."""
    source, found = open_images(path), []
    for start, stop in pairwise(bounds):
        found += list(encode_range(model, source, start, stop, first_held_out=1500, options=EncodeOptions(**options)))
    return found, [identity for rows in found for identity in rows.skipped]


@pytest.mark.parametrize("bounds", [[0, 1797], [0, 640, 1472, 1797]])
def test_ranges_put_together_are_the_store(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, bounds: list[int]
) -> None:
    options = EncodeOptions(batch_size=64)
    store = encode_images(tiny_model, open_images(digits_npy), tmp_path / "s.h5", held_out=297, options=options).store
    parts, skipped = ranges(tiny_model, digits_npy, bounds, batch_size=64)
    np.testing.assert_array_equal(np.concatenate([part.latents for part in parts]), store.read(), strict=True)
    assert (
        [identity for part in parts for identity in part.ids or ()] == store.ids() == [f"{k:04d}" for k in range(1797)]
    )
    assert [split for part in parts for split in part.splits or ()] == ["train"] * 1500 + ["held-out"] * 297
    assert skipped == []


@pytest.mark.parametrize("bounds", [[0, 20], [0, 4, 8, 20], [0, 18, 20]])
def test_every_skipped_image_of_a_range_is_told_once(
    tiny_model: ConvAutoencoder, digits: NDArray[np.float32], tmp_path: Path, bounds: list[int]
) -> None:
    """In the middle, a whole batch of them, and at the end where no image follows."""
    images, bad = digits[:20].copy(), [1, 4, 5, 6, 7, 18, 19]
    images[bad] = np.nan
    np.save(tmp_path / "a.npy", images)
    parts, skipped = ranges(tiny_model, tmp_path / "a.npy", bounds, batch_size=2)
    assert skipped == [f"{k:02d}" for k in bad]
    assert [int(identity) for part in parts for identity in part.ids or ()] == sorted(set(range(20)) - set(bad))
    with pytest.raises(LsamplerError, match=r"image '04'"):
        ranges(tiny_model, tmp_path / "a.npy", [2, 20], strict=True)


def test_encoder_need_not_wait_for_images(tiny_model: ConvAutoencoder, digits_npy: Path) -> None:
    """While the first batch is with the encoder, the next one is loaded, though nobody has asked for it."""
    source, loaded = open_images(digits_npy), threading.Event()
    read = source.read

    def watched(index: int) -> Any:
        if index == 25:
            loaded.set()
        return read(index)

    source.read = watched  # type: ignore[method-assign]
    batches = ImageBatches(source, tiny_model.preprocess).pixels(10)
    next(batches)
    assert loaded.wait(30)
    batches.close()


def test_one_behind_keeps_order_and_makes_the_next_first() -> None:
    made: list[int] = []

    def make(count: int) -> Iterator[int]:
        for k in range(count):
            made.append(k)
            yield k

    for count in range(4):
        made.clear()
        for k in one_behind(make(count)):
            assert made[-1] == min(k + 1, count - 1)
        assert made == list(range(count))
        assert list(one_behind(range(count))) == made


# Pieces


@pytest.mark.parametrize("count", [0, 1, CPU_BATCH, CPU_BATCH + 1, 5 * CPU_BATCH - 3])
def test_pieces_are_the_layers_on_the_batch_for_any_number_of_threads(tiny_model: ConvAutoencoder, count: int) -> None:
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(1)
    images, latents = torch.rand(count, 1, 8, 8, generator=generator), torch.randn(count, 6, generator=generator)
    with torch.inference_mode():
        wanted = tiny_model.encoder(images), tiny_model.decoder(latents).clamp(0, 1)
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append((tiny_model.encode(images), tiny_model.decode(latents)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for ours in found:
        assert all(torch.equal(one, first) for one, first in zip(ours, found[0], strict=True))
        for one, layers in zip(ours, wanted, strict=True):
            torch.testing.assert_close(one, layers, rtol=1e-5, atol=1e-6)


def test_threads_started_later_keep_torchs_number(tiny_model: ConvAutoencoder) -> None:
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(3)
        tiny_model.encode(torch.rand(3 * CPU_BATCH, 1, 8, 8))
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [3]


def test_error_in_a_piece_comes_through(tiny_model: ConvAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(images: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("in a piece")

    monkeypatch.setattr(tiny_model.encoder, "forward", fails)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)  # with one there are no pieces
        with pytest.raises(ArithmeticError, match="in a piece"):
            tiny_model.encode(torch.rand(3 * CPU_BATCH, 1, 8, 8))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# Decoding


class Given:
    """A decoder whose images are the latent vectors themselves, 2 x 2 and of three channels."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.reshape(-1, 3, 2, 2)


def test_bytes_of_decoded_images_are_rounded_to_the_nearest() -> None:
    halves = (np.arange(0, 255, dtype=np.float32) + np.float32(0.5)) / np.float32(255)
    outside = np.array([-1.0, -0.001, 0.0, 1.0, 1.001, 7.0], np.float32)
    values = np.resize(np.concatenate([halves, outside, np.nextafter(halves, 0)]), 12 * 300).reshape(300, 12)
    wanted = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).reshape(-1, 3, 2, 2).transpose(0, 2, 3, 1)
    found = decode_images(Given(), values)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 255, 256, 299])
def test_decoded_numbers_that_are_none_are_refused_in_every_batch(value: float, row: int) -> None:
    latents = torch.zeros(300, 12)
    latents[row, 5] = value
    with pytest.raises(LsamplerError, match="NaN or infinite"):
        list(decode_stream(Given(), [latents]))


def test_decoding_nothing_gives_nothing() -> None:
    assert decode_images(Given(), np.empty((0, 12), np.float32)).shape == (0, 2, 2, 3)


# Ctrl-C


INTERRUPTED_AFTER_ONE_COMMIT = """
import multiprocessing, os, signal
from lsampler.cli import main
from lsampler import StoreWriter

commit = StoreWriter.commit
def commit_and_interrupt(self):
    first = not self.committed
    commit(self)
    if first and self.committed:
        print("live:", len(multiprocessing.active_children()), flush=True)
        os.killpg(0, signal.SIGINT)  # as a terminal does: to all processes at once
StoreWriter.commit = commit_and_interrupt
main()
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system knows no groups of processes")
def test_interrupted_processes_end_without_a_word_and_the_next_run_goes_on(
    tiny_model_file: Path, digits_npy: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    out = tmp_path / "s.h5"
    arguments = ["encode", digits_npy, "--model", tiny_model_file, "--held-out", 297, "--out", out, "--device", "cpu"]
    command = [sys.executable, "-c", INTERRUPTED_AFTER_ONE_COMMIT, *map(str, arguments), "--workers", "2"]
    started = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    printed, said = started.communicate(timeout=120)
    assert (started.returncode, said) == (130, "lsampler: interrupted\n")
    assert "live: 2\n" in printed
    assert _all_gone(started.pid)
    assert committed_shards(out)
    assert not out.exists()
    done = cli(*arguments)
    assert done.code == 0, done.err
    assert "resumed after" in done.out


def _all_gone(group: int) -> bool:
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False
