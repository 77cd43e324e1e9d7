"""Which images encode holds out: what training held out of the same images, or others that are chosen at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from encoded import HELD_OUT, IMAGES, Counting, encode, interrupt
from numpy.typing import NDArray
from PIL import Image
from support import Answer

from lsampler import LsamplerError, open_store
from lsampler.data import open_images
from lsampler.data.image_sources import source_digest
from lsampler.models import ConvAutoencoder, encode_to_store
from lsampler.store import HeldOut, LatentStore

RANDOM = HeldOut(HELD_OUT)


def held_out(store: LatentStore) -> set[str]:
    return {name for name, split in zip(store.ids(), store.splits(), strict=True) if split == "held-out"}


def expected(split: HeldOut, source: Path) -> set[str]:
    ids = open_images(source).ids
    return {name for name, held in zip(ids, split.divide(ids, "x").held_out, strict=True) if held}


def trained(model: ConvAutoencoder, source: Path, **record: Any) -> ConvAutoencoder:
    """The model as if it had been trained on these images."""
    of_images = open_images(source)
    model.training_record = {"source": of_images.name, "source_digest": source_digest(of_images.ids), **record}
    return model


@pytest.fixture
def photos(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    """Forty images of four persons in two folders, the last of them damaged."""
    folder = tmp_path / "photos"
    for k, digit in enumerate(digits[:40]):
        path = folder / ("one", "two")[k // 20] / f"p{k // 10}_{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digit * 255).astype(np.uint8)).save(path)
    path.write_bytes(b"damaged")
    return folder


@pytest.mark.parametrize("split", [RANDOM, HeldOut(HELD_OUT, seed=3), HeldOut(HELD_OUT, r"^\d\d(\d)")])
def test_files_shards_and_resumed_runs_hold_out_the_same_and_record_how(
    split: HeldOut, counting: Counting, digits_npy: Path, tmp_path: Path
) -> None:
    interrupt(counting, digits_npy, tmp_path / "a.h5", 900, held_out=split)
    one = encode(counting, digits_npy, tmp_path / "a.h5", held_out=split).store
    many = encode(counting, digits_npy, tmp_path / "a.shards", held_out=split, shard_images=500).store
    assert held_out(one) == held_out(many) == expected(split, digits_npy)
    for store in (one, many):
        assert (store.attributes["held_out"], store.attributes["split"]) == (store.count("held-out"), split.scheme)
    other, counting.encoded = HeldOut(HELD_OUT, seed=9), 0
    interrupt(counting, digits_npy, tmp_path / "b.h5", 900, held_out=split)
    with pytest.raises(LsamplerError, match=r"other settings .(split|held_out) ="):
        encode(counting, digits_npy, tmp_path / "b.h5", held_out=other)


def test_a_number_is_held_out_at_random_and_nothing_given_means_a_tenth(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path
) -> None:
    source = open_images(digits_npy)
    assert held_out(encode_to_store(tiny_model, source, tmp_path / "a.h5", held_out=HELD_OUT).store) == expected(
        RANDOM, digits_npy
    )
    assert held_out(encode_to_store(tiny_model, source, tmp_path / "b.h5").store) == expected(HeldOut(179), digits_npy)
    for number in (-1, IMAGES, IMAGES + 1):
        with pytest.raises(LsamplerError, match=rf"`held_out={number}` must leave some"):
            encode_to_store(tiny_model, source, tmp_path / "s.h5", held_out=number)


@pytest.mark.parametrize(
    ("record", "split"),
    [
        ({"held_out": 30, "held_out_by": "random", "split_seed": 4}, HeldOut(30, seed=4)),
        ({"held_out": 30, "held_out_by": r"^\d\d(\d)", "split_seed": 0}, HeldOut(30, r"^\d\d(\d)")),
        ({"held_out": 30, "held_out_by": "last", "split_seed": 0}, HeldOut(30, "last")),
        ({"held_out": 1000, "first_held_out": "1755"}, HeldOut(42, "last")),  # version 0.1, some images not usable
    ],
)
def test_what_training_held_out_of_the_same_images_is_held_out_again(
    record: dict[str, Any], split: HeldOut, tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path
) -> None:
    model, source = trained(tiny_model, digits_npy, **record), open_images(digits_npy)
    for out, number in (("a.h5", None), ("b.h5", split.count)):
        store = encode_to_store(model, source, tmp_path / out, held_out=number).store
        assert held_out(store) == expected(split, digits_npy)
        assert store.attributes["split"] == split.scheme


def test_the_command_says_what_is_held_out_and_warns_of_images_that_were_trained_on(
    tiny_model: ConvAutoencoder, photos: Path, ok: Callable[..., Answer], tmp_path: Path
) -> None:
    record = {"held_out": 10, "held_out_by": "random", "split_seed": 0}
    trained(tiny_model, photos, **record).save(tmp_path / "m.safetensors")

    def said(*options: object) -> str:
        out = tmp_path / "s.h5"
        return ok("encode", photos, "--model", tmp_path / "m.safetensors", *options, "--out", out, "--force").out

    assert "held out: 10 of 40 images at random, seed 0 (as in training)\n" in said()
    assert "held out: 10 of 40 images at random, seed 0 (as in training)\n" in said("--held-out", 10)
    fewer = said("--held-out", 5)
    assert "held out: 5 of 40 images at random, seed 0\n" in fewer
    assert "warning" not in fewer
    assert "warning: 5 of the 15 held-out images were trained on; leave out --held-out, " in said("--held-out", 15)
    grouped = said("--held-out-by", r"p(\d)_")
    assert r"held out: 10 of 40 images in 1 of 4 groups by p(\d)_, seed 0" in grouped
    assert "held-out images were trained on" in grouped
    assert " ".join(ok("store", "info", tmp_path / "s.h5").out.split()).count(r"split p(\d)_, seed 0") == 1
    (photos / "one" / "more.png").write_bytes((photos / "one" / "p0_00.png").read_bytes())
    assert "warning: the model was trained on other images of the name photos" in said()


def test_groups_stay_whole_in_the_store(tiny_model: ConvAutoencoder, photos: Path, tmp_path: Path) -> None:
    store = encode(tiny_model, photos, tmp_path / "s.h5", held_out=HeldOut(20, "folder")).store
    assert {name.split("/")[0] for name in held_out(store)} in ({"one"}, {"two"})
    assert len(store) == 39


def test_a_store_of_version_0_1_is_appended_to(
    tiny_store: LatentStore, tiny_model: ConvAutoencoder, photos: Path
) -> None:
    with h5py.File(tiny_store.path, "r+") as handle:
        del handle.attrs["split"]
    encode(tiny_model, photos, tiny_store.path, held_out=HeldOut(10), append=True)
    assert "split" not in open_store(tiny_store.path).attributes
    assert open_store(tiny_store.path).count("held-out") in (HELD_OUT + 9, HELD_OUT + 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--held-out", 40), "40 images, 40 held out; --held-out 40 must leave some to learn from"),
        (("--held-out-by", "x"), "--held-out-by x matches none of the 40 images"),
        (("--held-out-by", "png"), "all 40 images are of one group ('png'); give another --held-out-by: random"),
        (("--held-out-by", "["), "--held-out-by [ is no regular expression"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(
    options: tuple[object, ...],
    message: str,
    tiny_model_file: Path,
    photos: Path,
    cli: Callable[..., Answer],
    tmp_path: Path,
) -> None:
    for command in (["encode", photos, "--model", tiny_model_file], ["train", photos, "--size", 8, "--filters", 4]):
        answer = cli(*command, *options, "--out", tmp_path / "out.h5")
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
        assert message in answer.err or (
            command[0] == "train" and "--held-out 40: of 40 images, hold out" in answer.err
        )
        assert not (tmp_path / "out.h5").exists()
