"""Images to a latent store: every usable image exactly once, whatever interrupts the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded import COMMIT, HELD_OUT, IMAGES, Counting, encode, interrupt, same_content
from numpy.typing import NDArray
from support import Answer, partial_folder

from lsampler import LsamplerError, open_store
from lsampler.data import Preprocess, open_images
from lsampler.models import ConvAutoencoder, ConvConfig
from lsampler.store import LatentStore


@pytest.fixture
def other_model() -> ConvAutoencoder:
    torch.manual_seed(8)
    config = ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=6)
    return ConvAutoencoder(config, preprocess=Preprocess(8, "none", 1)).eval()


# A run that nothing disturbs


def test_store_holds_every_image_with_its_id_split_and_origin(
    tiny_store: LatentStore, tiny_model: ConvAutoencoder, digits: NDArray[np.float32], digits_npy: Path
) -> None:
    expected = tiny_model.encode(torch.from_numpy(digits)[:, None]).numpy()
    np.testing.assert_allclose(tiny_store.read(), expected, atol=1e-5)
    assert tiny_store.ids() == open_images(digits_npy).ids
    assert tiny_store.splits() == ["train"] * (IMAGES - HELD_OUT) + ["held-out"] * HELD_OUT
    assert tiny_store.fingerprint == tiny_model.fingerprint
    known = tiny_store.attributes
    assert (known["source"], known["held_out"], known["crop"], known["image_size"]) == (
        "digits.npy",
        HELD_OUT,
        "none",
        8,
    )
    assert tiny_store.verify() == []
    assert not partial_folder(tiny_store.path).exists()


# Interrupted runs


KILLED_AFTER_ONE_COMMIT = """
import os, signal, sys
from lsampler.cli import main
from lsampler.store import StoreWriter

commit = StoreWriter.commit
def commit_and_die(self):
    commit(self)
    if self.committed:
        os.kill(os.getpid(), signal.SIGKILL)
StoreWriter.commit = commit_and_die
main()
"""


def test_killed_command_goes_on_where_it_stopped(
    ok: Callable[..., Answer],
    counting: Counting,
    tiny_model_file: Path,
    tiny_store: LatentStore,
    digits_npy: Path,
    tmp_path: Path,
) -> None:
    outs = [tmp_path / "command.h5", tmp_path / "library.h5"]
    out = outs[0]
    common = ["--held-out", HELD_OUT, "--held-out-by", "last", "--out", out, "--device", "cpu"]
    arguments = [*map(str, ["encode", digits_npy, "--model", tiny_model_file, *common])]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER_ONE_COMMIT, *arguments], capture_output=True, timeout=120
    )
    assert killed.returncode == -9
    assert not out.exists()
    with pytest.raises(LsamplerError, match="unfinished"):
        open_store(out)
    # The same interrupted state for the command and for the library, which counts.
    shutil.copytree(partial_folder(out), partial_folder(outs[1]))

    assert f"resumed after {COMMIT} items" in ok(*arguments).out
    result = encode(counting, digits_npy, outs[1])
    assert (result.resumed, counting.encoded) == (COMMIT, IMAGES - COMMIT)
    for path in outs:
        same_content(open_store(path), tiny_store)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_interrupted_run_does_not_encode_committed_images_again(
    counting: Counting, tiny_store: LatentStore, digits_npy: Path, tmp_path: Path, exception: type[BaseException]
) -> None:
    counting.exception = exception
    out = tmp_path / "s.h5"
    interrupt(counting, digits_npy, out, after=1300)
    assert not out.exists()
    result = encode(counting, digits_npy, out)
    # Leaving the context commits what was encoded; batches have 128 images.
    assert (result.resumed, counting.encoded) == (1408, IMAGES - 1408)
    same_content(result.store, tiny_store)


def test_run_resumed_with_another_batch_size_gives_the_same_store(
    counting: Counting, tiny_store: LatentStore, digits_npy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.h5"
    for after, batch in ((1, 100), (200, 37), (700, 64)):
        interrupt(counting, digits_npy, out, after, batch_size=batch)
    result = encode(counting, digits_npy, out, held_out=HELD_OUT, batch_size=250)
    np.testing.assert_allclose(result.store.read(), tiny_store.read(), atol=1e-5)
    assert result.store.ids() == tiny_store.ids()
    assert result.store.splits() == tiny_store.splits()
    assert counting.encoded == IMAGES - result.resumed


def test_every_image_is_there_once_wherever_a_run_is_interrupted(
    counting: Counting, digits: NDArray[np.float32], tmp_path: Path
) -> None:
    """The interruption may come between the two splits of one batch, or between an image and one skipped."""
    images = digits[:40].copy()
    images[[0, 9, 22, 39]] = np.nan
    np.save(tmp_path / "some.npy", images)
    kept = [f"{k:02d}" for k in range(40) if k not in (0, 9, 22, 39)]
    for after in range(0, 34, 4):
        out = tmp_path / f"{after}.h5"
        interrupt(counting, tmp_path / "some.npy", out, after, held_out=17, batch_size=4)
        result = encode(counting, tmp_path / "some.npy", out, held_out=17, batch_size=4)
        counting.encoded = 0
        assert result.store.ids() == kept
        assert result.store.splits() == ["train" if int(k) < 23 else "held-out" for k in kept]
        assert sorted(result.skipped) == ["00", "09", "22", "39"]


@pytest.mark.parametrize("change", ["encoder", "held_out", "source"])
def test_half_written_store_is_refused_to_another_encoder_or_other_images(
    counting: Counting,
    other_model: ConvAutoencoder,
    tiny_store: LatentStore,
    digits_npy: Path,
    png_zip: Path,
    tmp_path: Path,
    change: str,
) -> None:
    out = tmp_path / "s.h5"
    interrupt(counting, digits_npy, out, after=1)
    model, source = other_model if change == "encoder" else counting, png_zip if change == "source" else digits_npy
    with pytest.raises(LsamplerError, match=f"other settings .{change} =") as refusal:
        encode(model, source, out, held_out=HELD_OUT if change == "encoder" else 20)
    assert str(refusal.value).startswith(str(out))
    if change == "encoder":
        forced = encode(other_model, digits_npy, out, force=True)
        assert (forced.resumed, len(forced.store), forced.store.fingerprint) == (0, IMAGES, other_model.fingerprint)
    else:
        same_content(encode(counting, digits_npy, out).store, tiny_store)


# Existing stores


def test_existing_store_is_refused_without_force(tiny_store: LatentStore, counting: Counting, digits_npy: Path) -> None:
    before = tiny_store.path.read_bytes()
    with pytest.raises(LsamplerError, match="exists already"):
        encode(counting, digits_npy, tiny_store.path, held_out=1)
    assert (tiny_store.path.read_bytes(), counting.encoded) == (before, 0)


def test_force_keeps_the_old_store_until_the_new_one_is_complete(
    tiny_store: LatentStore, counting: Counting, digits_npy: Path
) -> None:
    before = tiny_store.path.read_bytes()
    counting.stop_after = 500
    with pytest.raises(KeyboardInterrupt):
        encode(counting, digits_npy, tiny_store.path, held_out=1, force=True)
    assert tiny_store.path.read_bytes() == before
    counting.stop_after = None
    result = encode(counting, digits_npy, tiny_store.path, held_out=1, force=True)
    assert (result.store.count("held-out"), len(result.store)) == (1, IMAGES)


def test_append_adds_other_images_of_the_same_encoder(
    tiny_store: LatentStore, counting: Counting, other_model: ConvAutoencoder, png_zip: Path
) -> None:
    """Regression: appending was only possible for the very images that the store held. Without a store it makes one."""
    assert len(encode(counting, png_zip, tiny_store.path.with_name("new.h5"), held_out=4, append=True).store) == 28
    counting.encoded, first = 0, tiny_store.read()
    with pytest.raises(LsamplerError, match="was written with encoder"):
        encode(other_model, png_zip, tiny_store.path, held_out=4, append=True)
    interrupt(counting, png_zip, tiny_store.path, after=8, held_out=4, batch_size=8, append=True)
    with pytest.raises(LsamplerError, match="was interrupted; pass `append=True` to resume"):
        encode(counting, png_zip, tiny_store.path, held_out=4, batch_size=8)
    np.testing.assert_array_equal(open_store(tiny_store.path).read(), first)
    result = encode(counting, png_zip, tiny_store.path, held_out=4, batch_size=8, append=True)
    store = result.store
    assert (result.resumed, counting.encoded, len(store)) == (8, 20, IMAGES + 28)
    np.testing.assert_array_equal(store.read(0, IMAGES), first)
    assert store.ids(IMAGES)[0] == "ziffern/ä000.png"
    assert store.count("held-out") == HELD_OUT + 4 == store.attributes["held_out"]
    assert store.attributes["source"] == "digits.npy + digits.zip"
    with pytest.raises(LsamplerError, match=r"holds the images of digits\.zip already"):
        encode(counting, png_zip, tiny_store.path, held_out=4, append=True)
    assert len(open_store(tiny_store.path)) == IMAGES + 28


def test_encoding_into_shards_gives_the_latents_of_one_file(
    tiny_model: ConvAutoencoder, png_zip: Path, tmp_path: Path
) -> None:
    one, many = (
        encode(tiny_model, png_zip, tmp_path / name, held_out=10, batch_size=4, shard_images=7)
        for name in ("one.h5", "many.shards")
    )
    assert [len(shard) for shard in many.store.shards] == [8, 7, 7, 6]
    assert many.skipped.keys() == one.skipped.keys()
    np.testing.assert_allclose(many.store.read(), one.store.read(), rtol=1e-5, atol=1e-6)
    assert (many.store.ids(), many.store.splits()) == (one.store.ids(), one.store.splits())
    assert many.store.fingerprint == one.store.fingerprint
    with pytest.raises(LsamplerError, match="does not go with a sharded store"):
        encode(tiny_model, png_zip, tmp_path / "more.shards", held_out=10, append=True)


# The command line


def test_another_crop_is_used_printed_and_stored_and_does_not_mix_with_the_first(
    tiny_model: ConvAutoencoder, tiny_model_file: Path, ok: Callable[..., Answer], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 24), dtype=np.uint8)
    np.save(tmp_path / "wide.npy", pixels)
    command = ["encode", tmp_path / "wide.npy", "--model", tiny_model_file, "--held-out", 1, "--out"]
    assert ok(*command, tmp_path / "own.h5").out.startswith("crop none, size 8\n")
    assert ok(*command, tmp_path / "s.h5", "--crop", "centre").out.startswith("crop centre, size 8\n")
    cut = [Preprocess(8, "centre", 1)(image[..., np.newaxis]) for image in pixels]
    store = open_store(tmp_path / "s.h5")
    np.testing.assert_allclose(store.read(), tiny_model.encode(torch.from_numpy(np.stack(cut))), atol=1e-5)
    assert (store.attributes["crop"], store.fingerprint) == ("centre", tiny_model.fingerprint)
    shards = encode(tiny_model, tmp_path / "wide.npy", tmp_path / "s.shards", held_out=1, crop="centre").store
    np.testing.assert_allclose(shards.read(), store.read(), atol=1e-5)
    np.save(tmp_path / "more.npy", pixels[::-1])
    with pytest.raises(LsamplerError, match=r"s\.h5: was written with crop = centre"):
        encode(tiny_model, tmp_path / "more.npy", tmp_path / "s.h5", held_out=1, append=True)
    with pytest.raises(LsamplerError, match="crop 'center' is unknown; did you mean 'centre'"):
        encode(tiny_model, tmp_path / "more.npy", tmp_path / "t.h5", held_out=1, crop="center")


@pytest.mark.parametrize(("own", "warned"), [(1.0, False), (1e-6, True)])
def test_images_that_the_model_reconstructs_far_worse_than_its_own_are_warned_of(
    own: float, warned: bool, tiny_model: ConvAutoencoder, digits_npy: Path, ok: Callable[..., Answer], tmp_path: Path
) -> None:
    tiny_model.training_record = {"held_out_mse": own, "source": "faces.zip"}
    tiny_model.save(tmp_path / "m.safetensors")
    said = ok("encode", digits_npy, "--model", tmp_path / "m.safetensors", "--out", tmp_path / "s.h5").out
    images = torch.from_numpy(np.load(digits_npy)[::28, np.newaxis])
    error = float(((tiny_model.decode(tiny_model.encode(images)) - images) ** 2).mean())
    assert f"mean squared error of reconstructions {error:.5f} (held out in training: {own:.5f})" in said
    warning = "far worse than those of its training; check --crop: it was trained with none, on images of faces.zip"
    assert (warning in said) == warned
