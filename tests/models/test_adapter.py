"""The adapter between lsampler and the models of other libraries."""

# ruff: noqa: E501  (a table of what does not fit, a row a line)

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsampler import LsamplerError
from lsampler.data import Item, Preprocess
from lsampler.models import AdaptedAutoencoder, Autoencoder, ForeignLoader, Layout, file_digest, module_digest

GREY = Preprocess(8, "none", 1)
COLOUR = Preprocess(8, "none", 3)


def images(n: int = 5, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, 8, 8, generator=torch.Generator().manual_seed(n))


def adapted(encode: Callable[[Tensor], Any], decode: Callable[[Tensor], Any], **options: Any) -> AdaptedAutoencoder:
    return AdaptedAutoencoder("m", encode, decode, **{"item": Item.of_images(GREY), "fingerprint": "f"} | options)


def flat(given: Tensor) -> Tensor:
    return given.flatten(1)


def square(latents: Tensor) -> Tensor:
    return latents.reshape(-1, 1, 8, 8)


class Watched:
    """An encoder that keeps what it was given last."""

    def __call__(self, given: Tensor) -> Tensor:
        self.given = given
        return given.flatten(1)


def halves(given: Tensor) -> Tensor:
    """Images (B, C, 8, 8) -> (B, C, 2, 4, 8): nothing is lost, so that the way back is exact."""
    return given.unflatten(2, (2, 4))


def whole(latents: Tensor) -> Tensor:
    return latents.flatten(2, 3)


class TestShapes:
    def test_spatial_latents_are_flattened_and_restored(self) -> None:
        model = adapted(halves, whole)
        latents = model.encode(images())
        assert (model.latent_shape, model.dimension) == ((1, 2, 4, 8), 64)
        torch.testing.assert_close(latents, halves(images()).reshape(5, 64), rtol=0, atol=0)
        torch.testing.assert_close(model.decode(latents), images(), rtol=0, atol=0)

    def test_channels_last(self) -> None:
        encoder, given = Watched(), images(4, 3)
        model = adapted(
            encoder, lambda z: z.reshape(-1, 8, 8, 3), item=Item.of_images(COLOUR), layout=Layout(channel_order="last")
        )
        latents = model.encode(given)
        torch.testing.assert_close(encoder.given, given.permute(0, 2, 3, 1), rtol=0, atol=0)
        torch.testing.assert_close(model.decode(latents), given, rtol=0, atol=0)

    def test_of_a_tuple_the_first_is_the_mean(self) -> None:
        model = adapted(lambda x: (x.flatten(1), torch.rand(len(x), 3)), lambda z: [z.reshape(-1, 1, 8, 8), None])
        torch.testing.assert_close(model.decode(model.encode(images())), images(), rtol=0, atol=0)

    def test_arrays_of_other_libraries_become_float32(self) -> None:
        model = adapted(
            lambda x: x.numpy().reshape(len(x), -1).astype(np.float64),
            lambda z: z.numpy().reshape(-1, 1, 8, 8).astype(np.float16),
        )
        assert model.encode(images()).dtype == model.decode(torch.rand(2, 64)).dtype == torch.float32

    def test_models_that_write_into_their_input_do_no_harm(self) -> None:
        model = adapted(lambda x: x.sub_(0.5).flatten(1), lambda z: z.mul_(2.0).reshape(-1, 1, 8, 8))
        given, latents = images(), torch.full((2, 64), 0.25)
        model.encode(given)
        assert float(model.decode(latents).mean()) == 0.5
        assert torch.equal(given, images())
        assert torch.equal(latents, torch.full((2, 64), 0.25))

    def test_refuses_latents_of_another_dimension(self) -> None:
        with pytest.raises(LsamplerError, match=r"latent vectors of shape \(2, 63\): m takes \(B, 64\)"):
            adapted(halves, whole).decode(torch.rand(2, 63))

    def test_refuses_an_encoder_that_changes_its_shape_later(self) -> None:
        model = adapted(lambda x: x.flatten(1)[: 4 if len(x) > 4 else None], lambda z: z.reshape(-1, 1, 8, 8))
        with pytest.raises(LsamplerError, match=r"gave shape \(4, 64\) for 5 images, expected \(5, 64\)"):
            model.encode(images(5))


class TestRange:
    @pytest.mark.parametrize("low_high", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
    def test_images_are_in_the_models_range_and_come_back(self, low_high: tuple[float, float]) -> None:
        encoder, (low, high) = Watched(), low_high
        model = adapted(encoder, square, item=replace(Item.of_images(GREY), value_range=low_high))
        given = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8), torch.full((1, 8, 8), 0.25)])
        back = model.decode(model.encode(given))
        assert [float(image.mean()) for image in encoder.given] == [low, high, low + (high - low) / 4]
        torch.testing.assert_close(back, given, rtol=0, atol=1e-6)

    def test_decoded_images_stay_within_black_and_white(self) -> None:
        model = adapted(lambda x: x.flatten(1), lambda z: (z * 1.5 - 0.25).reshape(-1, 1, 8, 8))
        decoded = model.decode(torch.linspace(0, 1, 64).repeat(2, 1))
        assert (float(decoded.min()), float(decoded.max())) == (0.0, 1.0)


class TestDevice:
    def test_weights_and_input_move_together(self) -> None:
        encoder, moved = Watched(), []
        model = adapted(encoder, square, move=moved.append)
        assert model.to(torch.device("meta")) is model
        model.encode(images())
        assert moved == [encoder.given.device] == [torch.device("meta")]

    def test_what_cannot_be_moved_is_given_its_input_where_it_is(self) -> None:
        encoder = Watched()
        adapted(encoder, square).to(torch.device("meta")).encode(images())
        assert encoder.given.device == torch.device("cpu")

    def test_a_move_that_fails_is_told_in_one_line(self) -> None:
        model = adapted(flat, square, move=fails("no such device\nand much more"))
        with pytest.raises(LsamplerError, match=r"^m: cannot be moved to meta \(no such device\)$"):
            model.to(torch.device("meta"))


def fails(text: str) -> Callable[[Any], Tensor]:
    def apply(given: object) -> Tensor:
        raise ValueError(text)

    return apply


# Every row: what is wrong, the encoder, the decoder, what the one line must say.
UNFIT = [
    ("encoder fails", fails("boom\nin detail"), square, r"^m: the encoder failed on images of shape \(2, 1, 8, 8\) \(boom\)"),
    ("TorchScript tells its reason last", fails("The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: bad"), square, r"\(RuntimeError: bad\)"),
    ("reason without end", fails("x" * 5000), square, r"\(x{100} \.\.\. x{200}\)"),
    ("reason without text", fails(""), square, r"\(ValueError\)"),
    ("decoder fails", flat, fails("boom"), r"^m: the decoder does not take latents of shape \(2, 64\) \(boom\); check that encoder and decoder belong"),
    ("encoder in half precision", lambda x: flat(x) @ torch.eye(64).half(), square, "same dtype.*; save it in single precision$"),
    ("encoder gives a number", lambda x: x.mean(), square, r"the encoder gave shape \(\) for 2 images"),
    ("encoder gives one for all", lambda x: x.flatten(1)[:1], square, "the encoder takes batches of exactly 1; export it again with a dynamic batch dimension"),
    ("encoder of two", lambda x: x.reshape(2, -1) @ torch.eye(64), square, "the encoder takes batches of exactly 2; export it again"),
    ("decoder of two", flat, lambda z: square(z).reshape(2, 1, 8, 8), "the decoder takes batches of exactly 2; export it again"),
    ("encoder normalises the batch", lambda x: flat(x - x.mean(0)), square, "gives for an item depends on the other items of its batch"),
    ("encoder of another shape alone", lambda x: flat(x)[:, : 32 * len(x)], lambda z: z, "depends on the other items of its batch"),
    ("encoder gives a dictionary", lambda x: {"z": x}, square, "^m: the model gave a dict, expected a tensor or an array"),
    ("encoder gives nothing", lambda x: (), square, "^m: the model gave a tuple, expected a tensor or an array"),
    ("encoder gives texts", lambda x: np.array(["a", "b"]), square, "^m: the model gave an array that is not of numbers"),
    ("encoder gives NaN", lambda x: flat(x) * math.nan, square, "the encoder gave NaN or infinite values; check its weights"),
    ("encoder is random", lambda x: flat(x) + torch.randn(64) * 0.01, square, "the encoder gives another result each time"),
    ("decoder gives NaN", flat, lambda z: square(z) / 0, "the decoder gave NaN or infinite values; check its weights"),
    ("decoder is random", flat, lambda z: square(z) + torch.rand(8) * 0.01, "the decoder gives another result each time"),
    ("decoder gives vectors", flat, flat, r"the decoder gave shape \(2, 64\) \(B, C, H, W\), expected \(2, 1, 8, 8\)"),
    ("decoder gives colour", flat, lambda z: square(z).expand(-1, 3, 8, 8), r"gave shape \(2, 3, 8, 8\).*check size, channels"),
    ("range", flat, lambda z: square(z) * 255, "decoded values are in 0..255, far outside the declared 0..1; declare the right `value_range=...`"),
]  # fmt: skip


@pytest.mark.parametrize(("encode", "decode", "message"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_what_does_not_fit_is_told_on_construction(
    encode: Callable[[Tensor], Any], decode: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(LsamplerError, match=message) as told:
        adapted(encode, decode)
    assert len(str(told.value).splitlines()) == 1


def test_rounding_that_differs_from_run_to_run_is_not_called_random() -> None:
    model = adapted(lambda x: flat(x) * (1 + 1e-6 * torch.rand(64)), square)
    one, two = model.encode(images()), model.encode(images())
    assert not torch.equal(one, two)  # or there was nothing to forgive
    torch.testing.assert_close(one, images().flatten(1), rtol=1e-5, atol=1e-6)


class Pair(ForeignLoader):
    """A loader of nothing."""

    name = "pair"
    suffixes = (".enc", ".dec")

    def load(self, spec: str) -> Autoencoder:
        return self.adapt(spec, flat, square, digest="weights")


class TestLoader:
    def test_fingerprint_changes_with_weights_and_settings_alone(self) -> None:
        def of(loader: Pair, spec: str = "a", digest: str = "weights", **said: Any) -> str:
            return loader.adapt(spec, flat, square, digest=digest, **said).fingerprint

        first = of(Pair(size=8, channels=1))
        assert len(first) == 32
        assert of(Pair(), shape=(1, 8, 8)) == first  # said by the model or by the user, it is the same
        assert of(Pair(size=8, channels=1), "another name") == first
        last = Pair(size=8, channels=1, channel_order="last")
        others = {
            last.adapt("a", flat, lambda z: z.reshape(-1, 8, 8, 1), digest="weights").fingerprint,
            of(Pair(size=8, channels=1), digest="other"),
            of(Pair(size=8, channels=1, crop="none")),
            of(Pair(size=8, channels=1, value_range="-1..1")),
        }
        assert len(others | {first}) == 5

    @pytest.mark.parametrize(("missing", "given"), [("size", {"channels": 1}), ("channels", {"size": 8})])
    def test_what_nobody_says_must_be_declared(self, missing: str, given: dict[str, Any]) -> None:
        with pytest.raises(LsamplerError, match=f"does not say its image {missing}; give `{missing}=...`"):
            Pair(**given).load("a")

    def test_a_declaration_that_contradicts_the_model_is_refused(self) -> None:
        with pytest.raises(LsamplerError, match="takes images of size 8, not 16; leave out `size="):
            Pair(size=16, channels=1).adapt("a", flat, square, digest="", shape=(1, 8, 8))

    @pytest.mark.parametrize(
        ("shape", "said"), [((0, 8, 8), "channels must be 1"), ((3, 2**40, 8), "image size must be")]
    )
    def test_a_model_of_other_images_than_lsampler_makes_is_named(self, shape: tuple[int, ...], said: str) -> None:
        with pytest.raises(LsamplerError, match=f"^my model: takes images that lsampler does not make: {said}"):
            Pair().adapt("my model", flat, square, digest="", shape=shape)

    def test_the_range_is_that_of_the_parameter(self) -> None:
        encoder = Watched()
        Pair(size=8, channels=1, value_range="0..255").adapt("a", encoder, square, digest="").encode(
            torch.ones(1, 1, 8, 8)
        )
        assert float(encoder.given.max()) == 255.0

    @pytest.mark.parametrize(
        ("spec", "accepted"),
        [("a.enc+b.dec", True), ("a.enc", True), ("a.enc+b", True), ("a.encoder", False), ("a", False), ("", False)],
    )
    def test_accepts_by_suffix(self, spec: str, accepted: bool) -> None:
        assert Pair.accepts(spec) is accepted

    def test_splits_a_pair_even_if_a_folder_has_a_plus(self, tmp_path: Path) -> None:
        folder = tmp_path / "a+b"
        folder.mkdir()
        for name in ("one.enc", "two.dec"):
            (folder / name).write_text("x")
        assert Pair.files(f"{folder}/one.enc+{folder}/two.dec") == (folder / "one.enc", folder / "two.dec")

    @pytest.mark.parametrize(
        ("shape", "order", "said"),
        [
            ((None, 3, 64, 48), "first", [3, 64, 48]),
            ((None, 64, 48, 3), "last", [3, 64, 48]),
            ((None, 1, None, 32), "first", [1, None, 32]),
            ((None, None, None, None), "last", [None, None, None]),
            ((None, 30), "last", [30]),
            ((None, 187, 2), "last", [2, 187]),
            (None, "first", None),
        ],
    )
    def test_reads_the_shape_of_an_item(self, shape: Any, order: Any, said: Any) -> None:
        assert Pair(channel_order=order).item_shape("e", shape) == said

    def test_refuses_shapes_that_are_none_of_items(self) -> None:
        with pytest.raises(LsamplerError, match="e: takes one axis, not a batch of items; give the encoder first"):
            Pair().item_shape("e", (None,))
        with pytest.raises(
            LsamplerError, match=r"e: takes items of shape \(6\), not images; give encoder, then decoder"
        ):
            Pair(size=8).adapt("e", flat, square, digest="", shape=(6,))


class TestDigests:
    def test_changes_with_any_weight_or_buffer(self) -> None:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(3, 2).to(torch.bfloat16))
        seen = {module_digest([net]), module_digest([copy.deepcopy(net)])}
        assert len(seen) == 1
        for changed in ("0.weight", "1.running_mean", "1.num_batches_tracked", "2.bias"):
            net.state_dict()[changed].add_(1)
            seen.add(module_digest([net]))
        assert len(seen) == 5

    def test_changes_with_order_and_kind(self) -> None:
        one, two = nn.Linear(2, 2), nn.Linear(2, 2)
        assert module_digest([one, two]) != module_digest([two, one])
        assert module_digest([nn.ReLU()]) != module_digest([nn.ELU()])

    def test_of_files_is_of_their_content_in_order(self, tmp_path: Path) -> None:
        one, two, three = files = [tmp_path / name for name in "abc"]
        for path, content in zip(files, (b"xy", b"z", b"z"), strict=True):
            path.write_bytes(content)
        assert file_digest([one, two]) == file_digest([one, three])
        assert len({file_digest(files) for files in ([one, two], [two, one], [one], [two, two])}) == 4
