"""Quicker encoders: checked against float32, recorded, refused where they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsampler import ConvAutoencoder, EncodeOptions, LsamplerError, encode_images, open_images, open_store
from lsampler.models.precision import LARGEST_DEVIATION, QuickEncoder, deviation

HELD_OUT = 297
Cli = Callable[..., Any]


class Shifted:
    """The tiny model, which in mixed precision only shifts a component, and rounds nothing."""

    def __init__(self, model: ConvAutoencoder, shift: float) -> None:
        self.model, self.shift, self.mixed, self.plain = model, shift, 0, 0
        self.dimension, self.fingerprint, self.preprocess = model.dimension, model.fingerprint, model.preprocess

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        mixed = torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False):
            latents = self.model.encode(images)
        if not mixed:
            self.plain += len(images)
            return latents
        self.mixed += len(images)
        latents = latents.clone()
        latents[:, 3] += self.shift
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.model.decode(latents)

    def to(self, device: torch.device) -> Shifted:
        return self


@pytest.fixture
def first_batch(tiny_model: ConvAutoencoder, digits_npy: Path) -> torch.Tensor:
    source = open_images(digits_npy)
    return torch.stack([torch.from_numpy(tiny_model.preprocess(source.read(k))) for k in range(128)])


def assert_one_line(error: pytest.ExceptionInfo[LsamplerError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(part in text for part in parts), text


def test_deviation_is_in_standard_deviations_of_the_component() -> None:
    exact = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32) * np.float32([1, 10, 100, 0])
    latents = exact + np.float32([0.01, 0.5, 0.2, 0])
    wanted = (np.abs(latents - exact)[:, :3] / exact[:, :3].std(axis=0)).max()
    assert deviation(torch.from_numpy(latents), torch.from_numpy(exact)) == pytest.approx(wanted, rel=1e-5)
    # One image, or a component that is always the same, has no spread to measure with; still no noise is refused.
    latents[:, 3] = 1e-6
    assert deviation(torch.from_numpy(latents), torch.from_numpy(exact)) < 0.1
    assert deviation(torch.from_numpy(exact[:1]), torch.from_numpy(exact[:1])) == 0
    assert deviation(torch.zeros(3, 2), torch.zeros(3, 2)) == 0
    assert np.isnan(deviation(torch.full((3, 2), torch.nan), torch.zeros(3, 2)))


def test_bfloat16_is_near_float32_and_says_how_near(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, first_batch: torch.Tensor
) -> None:
    found = [
        encode_images(
            tiny_model,
            open_images(digits_npy),
            tmp_path / f"{name}.h5",
            held_out=HELD_OUT,
            options=EncodeOptions(precision=name),
        )  # type: ignore[arg-type]
        for name in ("float32", "bfloat16")
    ]
    exact, mixed = (result.store.read() for result in found)
    assert found[0].deviation is None
    told = found[1].deviation
    assert told is not None
    assert told == pytest.approx((np.abs(mixed - exact)[:128] / exact[:128].std(axis=0)).max(), rel=1e-3)
    assert 1e-4 < told < LARGEST_DEVIATION  # it is another arithmetic, and it is not another encoder
    assert "precision" not in found[0].store.attributes
    assert found[1].store.attributes["precision"] == "bfloat16"
    assert mixed.dtype == np.float32


def test_only_the_first_batch_is_encoded_twice(tiny_model: ConvAutoencoder, first_batch: torch.Tensor) -> None:
    shifted = Shifted(tiny_model, 0.0)
    quick = QuickEncoder(shifted, "bfloat16")
    plain = shifted.model.encode(first_batch)
    for _ in range(3):
        torch.testing.assert_close(quick.encode(first_batch), plain)
    assert (shifted.mixed, shifted.plain, quick.deviation) == (3 * 128, 128, 0)


@pytest.mark.parametrize("shift", [10.0, torch.nan, torch.inf])
def test_latents_far_from_float32_are_refused_and_nothing_is_written(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, shift: float
) -> None:
    with pytest.raises(LsamplerError) as error:
        encode_images(
            Shifted(tiny_model, shift),
            open_images(digits_npy),
            tmp_path / "s.h5",
            held_out=1,
            options=EncodeOptions(precision="bfloat16"),
        )
    assert_one_line(error, "bfloat16: latents differ from float32 by", "--precision")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("first", "then"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_run_is_not_resumed_or_appended_to_in_another_precision(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, first: Any, then: Any
) -> None:
    out, other = tmp_path / "s.h5", tmp_path / "other.npy"
    np.save(other, np.load(digits_npy)[:40])
    encode_images(tiny_model, open_images(digits_npy), out, held_out=HELD_OUT, options=EncodeOptions(precision=first))
    with pytest.raises(LsamplerError, match="was written with precision"):
        encode_images(
            tiny_model, open_images(other), out, held_out=1, options=EncodeOptions(append=True, precision=then)
        )
    encode_images(tiny_model, open_images(other), out, held_out=1, options=EncodeOptions(append=True, precision=first))
    assert len(open_store(out)) == 1797 + 40


def test_unknown_precision_is_one_line(cli: Cli, tiny_model_file: Path, digits_npy: Path, tmp_path: Path) -> None:
    done = cli("encode", digits_npy, "--model", tiny_model_file, "--out", tmp_path / "s.h5", "--precision", "bfloat61")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--precision bfloat61" in done.err
    assert "did you mean 'bfloat16'" in done.err
    assert not (tmp_path / "s.h5").exists()


def test_command_says_how_far_it_is_from_float32(
    cli: Cli, tiny_model_file: Path, digits_npy: Path, tmp_path: Path
) -> None:
    arguments = ["encode", digits_npy, "--model", tiny_model_file, "--out", tmp_path / "s.h5", "--device", "cpu"]
    done = cli(*arguments, "--precision", "bfloat16")
    assert done.code == 0, done.err
    assert "bfloat16: latents differ from float32 by at most 0." in done.out
    assert "sigma" in done.out


# Compilation


def test_compiled_encoder_gives_the_latents_of_the_plain_one(
    tiny_model: ConvAutoencoder, first_batch: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but not translated: that takes a compiler and half a minute. A break of the trace would raise."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    quick = QuickEncoder(tiny_model, compile=True)
    torch.testing.assert_close(quick.encode(first_batch), tiny_model.encode(first_batch))
    torch.testing.assert_close(quick.encode(first_batch[:5]), tiny_model.encode(first_batch[:5]))
    assert quick.deviation is not None
    assert quick.deviation < 1e-4


def test_failing_compiler_is_one_line_and_nothing_is_written(
    cli: Cli, tiny_model_file: Path, digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(function: Any, **options: Any) -> Any:
        def run(images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("\nno C++ compiler found\nin this place\n")

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    done = cli("encode", digits_npy, "--model", tiny_model_file, "--out", tmp_path / "s.h5", "--compile")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--compile: PyTorch cannot compile this encoder here (no C++ compiler found); leave it out" in done.err
    assert list(tmp_path.glob("s.h5*")) == []


def test_compiled_float32_is_not_recorded(
    tiny_model: ConvAutoencoder, digits_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are those of float32 to rounding, as another device's are."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    result = encode_images(
        tiny_model, open_images(digits_npy), tmp_path / "s.h5", held_out=HELD_OUT, options=EncodeOptions(compile=True)
    )
    assert result.deviation == 0
    assert "precision" not in result.store.attributes
