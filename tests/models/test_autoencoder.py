"""The autoencoder: shapes, ranges, its file and its fingerprint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lsampler import LsamplerError
from lsampler.data import Preprocess
from lsampler.models import ConvAutoencoder, ConvConfig


def metadata_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as handle:
        metadata: dict[str, Any] = json.loads(handle.metadata()["lsampler"])
    return metadata


def rewrite(path: Path, metadata: object, weights: dict[str, torch.Tensor] | None = None) -> None:
    save_file(weights if weights is not None else load_file(path), path, metadata={"lsampler": json.dumps(metadata)})


def refusal(path: Path) -> str:
    with pytest.raises(LsamplerError) as error:
        ConvAutoencoder.load(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# Shape


def test_the_default_is_the_posts_autoencoder() -> None:
    with torch.device("meta"):
        model = ConvAutoencoder()
    assert model.dimension == 256
    assert model.preprocess.size == 96
    # By hand: layers of 3 x 3 down, 4 x 4 up, and two dense layers between 128 x 6 x 6 and 256.
    down = sum(9 * a * b + b for a, b in ((3, 64), (64, 64), (64, 128), (128, 128)))
    up = sum(16 * a * b + b for a, b in ((128, 128), (128, 64), (64, 64), (64, 3)))
    dense = 128 * 36 * 256 + 256 + 256 * 128 * 36 + 128 * 36
    assert sum(weight.numel() for weight in model.parameters()) == down + up + dense
    assert round((down + up + dense) / 1e6, 2) == 3.09


@pytest.mark.parametrize(
    ("size", "channels", "filters", "dimension", "activation"),
    [
        (8, 1, (4,), 1, "relu"),
        (8, 1, (4, 8, 8), 5, "elu"),
        (12, 3, (4, 6), 7, "selu"),
        (64, 3, (2, 3, 4, 5, 6), 9, "silu"),
        (96, 3, (4, 4, 8, 8), 16, "leaky-relu"),
    ],
)
def test_other_shapes(size: int, channels: Any, filters: tuple[int, ...], dimension: int, activation: Any) -> None:
    config = ConvConfig(
        image_size=size, channels=channels, filters=filters, latent_dim=dimension, activation=activation
    )
    model = ConvAutoencoder(config).eval()
    latents = model.encode(torch.rand(3, channels, size, size))
    assert latents.shape == (3, dimension)
    assert model.decode(latents).shape == (3, channels, size, size)


def test_settings_may_be_texts_as_the_command_line_gives_them() -> None:
    assert ConvConfig(image_size=8, filters=["4", " 8"], latent_dim="3").filters == (4, 8)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"image_size": 10, "filters": (4, 4, 4, 4)}, ["image size 10", "multiple of 16"]),
        ({"filters": ["1", "2", "x"]}, ["`filters=x`", "integer"]),
        ({"filters": []}, ["`filters="]),
        ({"filters": [4, 0]}, ["`filters=0`", "greater than 0"]),
        ({"latent_dim": 0}, ["`latent_dim=0`"]),
        ({"channels": 2}, ["`channels=2`"]),
        ({"activation": "tanh"}, ["`activation=tanh`", "leaky-relu"]),
        ({"depth": 4}, ["`depth="]),
    ],
)
def test_wrong_settings_are_told_in_one_line(settings: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(LsamplerError) as error:
        ConvConfig(**settings)
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


# Encoding and decoding


def test_encoded_vectors_are_float32_and_independent_of_the_batch(tiny_model: ConvAutoencoder) -> None:
    images = torch.rand(20, 1, 8, 8)
    whole = tiny_model.encode(images)
    assert whole.dtype == torch.float32
    assert not whole.requires_grad
    torch.testing.assert_close(torch.cat([tiny_model.encode(image[None]) for image in images]), whole)


def test_decoded_images_are_in_range_even_far_out(tiny_model: ConvAutoencoder) -> None:
    images = tiny_model.decode(torch.randn(50, 6) * 1000)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() == 1
    assert tiny_model.decode(torch.empty(0, 6)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("method", "shape", "expected"),
    [
        *(("encode", shape, "(B, 1, 8, 8)") for shape in ((1, 8, 8), (2, 3, 8, 8), (2, 1, 8, 9), (2, 8, 8, 1))),
        *(("decode", shape, "(B, 6)") for shape in ((6,), (2, 7), (2, 6, 1))),
    ],
)
def test_another_shape_is_refused(
    tiny_model: ConvAutoencoder, method: str, shape: tuple[int, ...], expected: str
) -> None:
    with pytest.raises(LsamplerError) as error:
        getattr(tiny_model, method)(torch.zeros(shape))
    assert str(shape) in str(error.value)
    assert expected in str(error.value)


# The file


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = ConvConfig(image_size=16, channels=3, filters=(4, 8), latent_dim=5, activation="elu")
    model = ConvAutoencoder(config, preprocess=Preprocess(16, "celeba", 3), training={"epochs": 7, "note": "x"}).eval()
    model.save(tmp_path / "a.safetensors")
    again = ConvAutoencoder.load(str(tmp_path / "a.safetensors"))
    assert again.config == config
    assert again.preprocess == Preprocess(16, "celeba", 3)
    assert again.training_record == {"epochs": 7, "note": "x"}
    assert again.fingerprint == model.fingerprint == metadata_of(tmp_path / "a.safetensors")["fingerprint"]
    assert not again.training
    images = torch.rand(4, 3, 16, 16)
    assert torch.equal(again.encode(images), model.encode(images))
    # It may be trained on.
    assert all(weight.requires_grad for weight in again.parameters())
    torch.autograd.backward(torch.nn.functional.mse_loss(again(images), images))


def test_loading_leaves_the_random_state_alone(tiny_model_file: Path) -> None:
    before = torch.random.get_rng_state()
    ConvAutoencoder.load(tiny_model_file)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_existing_file_is_kept_without_force(tiny_model: ConvAutoencoder, tiny_model_file: Path) -> None:
    before = tiny_model_file.read_bytes()
    with pytest.raises(LsamplerError, match="force=True"):
        tiny_model.save(tiny_model_file)
    assert tiny_model_file.read_bytes() == before
    tiny_model.save(tiny_model_file, force=True)
    assert tiny_model_file.read_bytes() == before


def test_a_model_stored_at_half_precision_loads_as_float32(tiny_model_file: Path) -> None:
    half = {name: weight.half() for name, weight in load_file(tiny_model_file).items()}
    rewrite(tiny_model_file, metadata_of(tiny_model_file), half)
    model = ConvAutoencoder.load(tiny_model_file)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


# The fingerprint


def test_rounding_to_half_precision_and_memory_layout_keep_the_fingerprint(tiny_model: ConvAutoencoder) -> None:
    before = tiny_model.fingerprint
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight.copy_(weight.half().float())
    assert tiny_model.to(memory_format=torch.channels_last).fingerprint == before  # type: ignore[call-overload]


def test_anything_else_changes_the_fingerprint(tiny_model: ConvAutoencoder) -> None:
    config, weights = tiny_model.config, tiny_model.state_dict()
    seen = {tiny_model.fingerprint}
    for other, preprocess in (
        (config, Preprocess(8, "centre", 1)),
        (config.model_copy(update={"activation": "relu"}), tiny_model.preprocess),
    ):
        variant = ConvAutoencoder(other, preprocess=preprocess)
        variant.load_state_dict(weights)
        seen.add(variant.fingerprint)
    with torch.no_grad():
        tiny_model.get_parameter("decoder.0.bias")[3] += 0.01
    seen.add(tiny_model.fingerprint)
    assert len(seen) == 4


# Files that are refused


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "no such model file" in refusal(tmp_path / "a.safetensors")
    assert "folder" in refusal(tmp_path)
    assert "no such" in refusal(tmp_path / ("x" * 300))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


def saved(content: object) -> bytes:
    torch.save(content, stream := BytesIO())
    return stream.getvalue()


FOREIGN = [b"hello, world, no model here", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" * 30]


@pytest.mark.parametrize("content", [0.0, 0.001, 0.1, 0.5, 0.999, *FOREIGN, saved(Evil()), pickle.dumps(Evil())])
def test_a_truncated_file_or_one_of_another_kind_is_refused_and_nothing_is_unpickled(
    tiny_model_file: Path, content: float | bytes
) -> None:
    if isinstance(content, float):
        data = tiny_model_file.read_bytes()
        content = data[: int(len(data) * content)]
    tiny_model_file.write_bytes(content)
    assert ("not a readable safetensors" if content else "is empty") in refusal(tiny_model_file)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"lsampler": "{}"}, {"lsampler": "[1]"}, {"lsampler": "{"}]
)
def test_a_foreign_safetensors_file(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(3)}, path, metadata=metadata)
    broken = metadata == {"lsampler": "{"}
    assert ("its metadata cannot be read" if broken else "not an autoencoder made by 'lsampler train'") in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"config": None},
        {"config": {"filters": [4, 8], "surprise": 1}},
        {"config": {"image_size": 4096, "channels": 3, "filters": [65536, 10**9], "latent_dim": 65536}},
        {"preprocess": None},
        {"preprocess": {"size": 8, "crop": "circle", "channels": 1}},
        {"preprocess": {"size": "eight"}},
        {"preprocess": {"size": 8, "surprise": 1}},
        {"preprocess": {"size": 8, "crop": "centre", "channels": 1}},
        {"fingerprint": None},
    ],
)
def test_a_changed_description(tiny_model_file: Path, change: dict[str, Any]) -> None:
    rewrite(tiny_model_file, metadata_of(tiny_model_file) | change)
    message = refusal(tiny_model_file)
    assert ("format 99" in message) if "version" in change else ("damaged" in message)


def changed_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80  # the last byte holds the sign and exponent of a float32
    path.write_bytes(data)


def other_weights(name: str, length: int | None) -> Callable[[Path], None]:
    def rewritten(path: Path) -> None:
        weights = {key: weight for key, weight in load_file(path).items() if key != name}
        weights |= {name: torch.zeros(length)} if length else {}
        rewrite(path, metadata_of(path), weights)

    return rewritten


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_byte, "do not match their fingerprint"),
        (other_weights("decoder.0.bias", None), "do not agree"),
        (other_weights("decoder.0.bias", 3), "do not agree"),
        (other_weights("surplus", 1), "do not agree"),
    ],
)
def test_weights_that_do_not_fit(tiny_model_file: Path, change: Callable[[Path], None], message: str) -> None:
    change(tiny_model_file)
    assert message in refusal(tiny_model_file)


def test_scaled_latents_leave_every_reconstruction_as_it_is(tiny_model: ConvAutoencoder) -> None:
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    latents, decoded = tiny_model.encode(images), tiny_model.decode(tiny_model.encode(images))
    tiny_model.scale_latents(7.5)
    torch.testing.assert_close(tiny_model.encode(images), 7.5 * latents)
    torch.testing.assert_close(tiny_model.decode(7.5 * latents), decoded)
