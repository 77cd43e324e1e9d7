"""What makes encoding and decoding quick changes no pixel and no latent vector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import committed_shards

from lsampler import LsamplerError, open_store
from lsampler.compute.prefetch import one_behind
from lsampler.data import Preprocess, open_images
from lsampler.models import ConvAutoencoder, EncodeOptions, decode_images, encode_to_store, encoding
from lsampler.models.conv_autoencoder import CPU_BATCH
from lsampler.models.decoding import image_stream
from lsampler.models.encode_ranges import encode_range
from lsampler.store import HeldOut
from lsampler.store.latent_store import Rows


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
    list(encode_range(witness, source, 0, 5, held_out=np.zeros(5, bool), options=EncodeOptions(2)))  # type: ignore[arg-type]
    wanted = np.stack([witness.preprocess(source.read(k)) for k in range(5)])
    np.testing.assert_array_equal(torch.cat(witness.seen).numpy(), wanted)
    assert [len(seen) for seen in witness.seen] == [2, 2, 1]


@pytest.mark.parametrize("bounds", [[0, 20], [0, 4, 8, 20], [0, 18, 20]])
def test_ranges_put_together_are_the_store_and_its_skipped_images(
    tiny_model: ConvAutoencoder, digits: NDArray[np.float32], tmp_path: Path, bounds: list[int]
) -> None:
    """Images are skipped in the middle, a whole batch of them, and at the end where no image follows."""
    images, bad, options = digits[:20].copy(), [1, 4, 5, 6, 7, 18, 19], EncodeOptions(2)
    images[bad] = np.nan
    np.save(tmp_path / "a.npy", images)
    source = open_images(tmp_path / "a.npy")
    whole = encode_to_store(tiny_model, source, tmp_path / "s.h5", held_out=HeldOut(5, "last"), options=options)
    rows: list[Rows] = []
    for start, stop in pairwise(bounds):
        rows += encode_range(tiny_model, source, start, stop, held_out=np.arange(20) >= 15, options=options)
    np.testing.assert_array_equal(np.concatenate([one.latents for one in rows]), whole.store.read(), strict=True)
    assert [image for one in rows for image in one.ids or ()] == whole.store.ids()
    assert [split for one in rows for split in one.splits or ()] == whole.store.splits()
    skipped = [image for one in rows for image in one.skipped]
    assert skipped == list(whole.skipped) == [f"{k:02d}" for k in bad]


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


def test_shards_that_a_killed_run_had_merged_already_are_removed_by_the_next(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = tmp_path / "s.h5", open_images(digits_npy)
    with monkeypatch.context() as patch:
        patch.setattr("lsampler.store.partial_store.PartialStore.clear", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            encode_to_store(tiny_model, source, out, held_out=9)
    assert committed_shards(out)
    assert len(open_store(out)) == len(source.ids)
    with pytest.raises(LsamplerError, match="exists already"):
        encode_to_store(tiny_model, source, out, held_out=9)
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


# Threads


@pytest.fixture
def three_threads() -> Iterator[None]:
    """torch has three threads; with one the layers get the whole batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("count", [0, 1, CPU_BATCH, CPU_BATCH + 1, 5 * CPU_BATCH - 3])
def test_threads_give_what_the_layers_give_for_the_batch(tiny_model: ConvAutoencoder, count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    images, latents = torch.rand(count, 1, 8, 8, generator=generator), torch.randn(count, 6, generator=generator)
    found = tiny_model.encode(images), tiny_model.decode(latents)
    torch.set_num_threads(1)
    alone = tiny_model.encode(images), tiny_model.decode(latents)
    torch.set_num_threads(3)
    with torch.inference_mode():
        layers = tiny_model.encoder(images), tiny_model.decoder(latents).clamp(0, 1)
    for one, same, expected in zip(found, alone, layers, strict=True):
        assert torch.equal(one, same)
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("three_threads")
def test_the_number_of_threads_of_the_process_is_never_changed(
    tiny_model: ConvAutoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread would see it, and encodings that overlap would leave the number at one."""
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(torch, "set_num_threads", lambda number: pytest.fail(f"set to {number}"))
        assert tiny_model.encode(torch.rand(3 * CPU_BATCH, 1, 8, 8)).shape == (3 * CPU_BATCH, 6)
        assert pool.submit(torch.get_num_threads).result() == 3  # of a thread that is started later


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_thread_is_raised_here(tiny_model: ConvAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(images: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("in a thread")

    monkeypatch.setattr(tiny_model.encoder, "forward", fails)
    with pytest.raises(ArithmeticError, match="in a thread"):
        tiny_model.encode(torch.rand(3 * CPU_BATCH, 1, 8, 8))


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


@pytest.mark.parametrize(("value", "row"), [(np.nan, 0), (np.inf, 255), (-np.inf, 256), (np.nan, 299)])
def test_decoded_numbers_that_are_none_are_refused_in_every_batch(value: float, row: int) -> None:
    latents = torch.zeros(300, 12)
    latents[row, 5] = value
    with pytest.raises(LsamplerError, match="NaN or infinite"):
        list(image_stream(Given(), [latents]))


def test_decoding_nothing_gives_nothing() -> None:
    assert decode_images(Given(), np.empty((0, 12), np.float32)).shape == (0, 2, 2, 3)


# Ctrl-C


INTERRUPTED_AFTER_ONE_COMMIT = """
import multiprocessing, os, signal
from lsampler.cli import main
from lsampler.store import StoreWriter

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


def test_a_store_that_another_process_completes_just_before_it_is_locked_is_not_appended_to_twice(
    tiny_model: ConvAutoencoder, tmp_path: Path, tiny_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: both of two processes that append the same images looked whether it holds them before either had."""
    np.save(tmp_path / "others.npy", np.zeros((20, 16, 16), np.uint8))
    source, rows = open_images(tmp_path / "others.npy"), len(tiny_store)
    writer, options = encoding.StoreWriter, EncodeOptions(append=True)

    def late(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(encoding, "StoreWriter", writer)
        encode_to_store(tiny_model, source, tiny_store.path, held_out=4, options=options)
        return writer(*given, **named)

    monkeypatch.setattr(encoding, "StoreWriter", late)
    with pytest.raises(LsamplerError, match="was written by another process meanwhile; run the command again"):
        encode_to_store(tiny_model, source, tiny_store.path, held_out=4, options=options)
    assert len(open_store(tiny_store.path)) == rows + len(source.ids)
    with pytest.raises(LsamplerError, match="already; append others"):
        encode_to_store(tiny_model, source, tiny_store.path, held_out=4, options=options)
