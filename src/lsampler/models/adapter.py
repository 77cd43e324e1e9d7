"""Adapters for autoencoders of other libraries: shapes, value range, channel order, spatial latents.

What a foreign model does not say about its items is declared by the user and never guessed.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lsampler.data.items import AXES, Item
from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError
from lsampler.models.protocols import check_latents
from lsampler.showing import About, Shown, encoder, name_of

ChannelOrder = Literal["first", "last"]
Apply: TypeAlias = Callable[[Tensor], Any]
LONGEST_REASON = 300
# Rounding that differs with the size of the batch, of the largest value; half precision needs most.
BATCH_TOLERANCE = 0.01
CHECK_IMAGES = "check size, channels and channel_order, and that the encoder comes first"
CHECK_ITEMS = "check the shape of the items, and that the encoder comes first"
PRECISION = re.compile(r"dtype|Half|Double|BFloat16|scalar type")
"""In what PyTorch says where an item in single precision meets weights in another."""
CHECK_PAIR = "check that encoder and decoder belong together"
OTHER_ITEMS = "depends on the other items of its batch; give one in evaluation mode"


@dataclass(frozen=True)
class Layout:
    """How a foreign model takes its items.

    Args:
        channel_order: ``first`` for images (B, C, H, W) and signals (B, C, L), ``last`` for (B, H, W, C) and (B, L, C).
        flat: whether it takes each item as one row of numbers (B, C * H * W), in its own order of the channels.
        crop: how images of other sizes are cropped, see :class:`lsampler.data.Preprocess`.
        example: items (B, ...) in the model's own layout and units, with which it is probed; None makes some up.
    """

    channel_order: ChannelOrder = "first"
    flat: bool = False
    crop: Crop = "centre"
    example: Tensor | None = None


class AdaptedAutoencoder(Shown):
    """A foreign encoder and decoder as an :class:`lsampler.models.Autoencoder`.

    Latents of any shape (B, ...) are flattened to (B, D) and restored before decoding. On construction a small
    probe goes through both, so that a model that does not fit is refused at once. ``dimension`` is the product of
    ``latent_shape``, and ``device`` is where items and latents are sent.

    Args:
        name: what to call the model in messages.
        encode: items in the model's own layout -> latents (B, ...), tensor or array; of a tuple the first is
            taken, which is the mean of a variational encoder.
        decode: such latents -> items in the same layout.
        item: what the items are; ``value_range`` of images is that of the model.
        fingerprint: equal for equal weights and settings.
        layout: how the model takes the items.
        move: moves the weights to a device; None if they stay on the CPU.

    Raises:
        LsamplerError: the encoder fails on the items, gives another result each time, mixes the items of a batch or
            takes the rows of an image for items, or the decoder does not take its latents or does not give items.
    """

    def __init__(
        self,
        name: str,
        encode: Apply,
        decode: Apply,
        *,
        item: Item,
        fingerprint: str,
        layout: Layout | None = None,
        move: Callable[[torch.device], Any] | None = None,
    ) -> None:
        self.name, self.item, self.fingerprint, self._layout = name, item, fingerprint, layout or Layout()
        self._encode, self._decode, self._move = encode, decode, move
        low, high = item.value_range
        self._low, self._span = (low, high - low) if item.is_image else (0.0, 1.0)
        self.channels_last = self._layout.channel_order == "last" and len(item.shape) > 1
        if item.is_image:
            channels, height, width = item.shape
            self.preprocess = Preprocess((height, width), self._layout.crop, channels)
        self.device = torch.device("cpu")
        self.latent_shape: tuple[int, ...] = ()
        self.latent_shape = probe(self, None if self._layout.example is None else self.own_items(self._layout.example))
        self.dimension = math.prod(self.latent_shape)

    def _about(self) -> About:
        facts = [
            self.preprocess.words if self.item.is_image else self.item.words,
            f"D = {self.dimension}",
            encoder(self.fingerprint),
        ]
        return About("AdaptedAutoencoder", name_of(self.name), facts)

    def to(self, device: torch.device) -> Self:
        """Move the weights, if the other library allows it."""
        if self._move is not None:
            with explained(f"{self.name}: cannot be moved to {device}"):
                self._move(device)
            self.device = torch.device(device)
        return self

    def encode(self, items: Tensor) -> Tensor:
        """Items (B, *shape) float32 -> latent vectors (B, D) float32; images are (B, C, H, W) in [0, 1]."""
        return self.encoded(items).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latent vectors (B, D) float32 -> items (B, *shape) float32; images are (B, C, H, W) in [0, 1]."""
        check_latents(self.name, latents, self.dimension)
        items = self.decoded(latents.reshape(-1, *self.latent_shape))
        return items.clamp(0.0, 1.0) if self.item.is_image else items

    @torch.inference_mode()
    def encoded(self, items: Tensor) -> Tensor:
        """Items (B, *shape) -> latents (B, *latent_shape)."""
        own = self._to_own(items.to(self.device, torch.float32))
        fix = CHECK_IMAGES if self.item.is_image else CHECK_ITEMS
        with explained(f"{self.name}: the encoder failed on {self.item.plural} of shape {tuple(own.shape)}", fix):
            latents = as_tensor(self.name, self._encode(own))
        shape = self.latent_shape or latents.shape[1:]  # the probe finds it out
        if latents.ndim < 2 or latents.shape != (len(items), *shape):
            raise LsamplerError(
                f"{self.name}: the encoder gave shape {tuple(latents.shape)} for {len(items)} {self.item.plural}, "
                f"expected ({len(items)}, {', '.join(map(str, shape)) or 'D'})"
            )
        return latents

    @torch.inference_mode()
    def decoded(self, latents: Tensor) -> Tensor:
        """Latents (B, *latent_shape) -> items (B, *shape); images are not clipped."""
        own = latents.to(self.device, torch.float32, copy=True)  # a decoder may begin with an in-place layer
        with explained(f"{self.name}: the decoder does not take latents of shape {tuple(latents.shape)}", CHECK_PAIR):
            items = as_tensor(self.name, self._decode(own))
        return (self._from_own(items, len(latents)) - self._low) / self._span

    def _to_own(self, items: Tensor) -> Tensor:
        if tuple(items.shape[1:]) != self.item.shape:
            raise LsamplerError(
                f"{self.name}: {self.item.plural} of shape {tuple(items.shape)}, the model takes (B, "
                f"{', '.join(map(str, self.item.shape))})"
            )
        own = items * self._span + self._low if self.item.is_image else items
        own = own.movedim(1, -1).contiguous() if self.channels_last else own
        return own.flatten(1) if self._layout.flat else own

    def _from_own(self, own: Tensor, count: int) -> Tensor:
        channels, *others = self.item.shape
        expected = (count, *others, channels) if self.channels_last else (count, *self.item.shape)
        items = own
        if self._layout.flat and own.shape == (count, math.prod(expected[1:])):
            items = own.reshape(expected)
        items = items.movedim(-1, 1) if self.channels_last and items.ndim == len(expected) else items
        if tuple(items.shape) != (count, *self.item.shape):
            axes, fix = AXES.get(self.item.kind, "")[1:].rstrip(",)"), "check size, channels and channel_order"
            raise LsamplerError(
                f"{self.name}: the decoder gave shape {tuple(items.shape)}{f' (B, {axes})' if axes else ''}, expected "
                f"{(count, *self.item.shape)}; {fix if self.item.is_image else CHECK_ITEMS}"
            )
        return items

    def own_items(self, own: Tensor) -> Tensor:
        """Items in the model's own layout and units (B, ...) -> items (B, *shape), images in [0, 1]."""
        return (self._from_own(own.detach().to("cpu", torch.float32), len(own)) - self._low) / self._span


def probe(model: AdaptedAutoencoder, example: Tensor | None) -> tuple[int, ...]:
    """Send some items through encoder and decoder, and return the shape of the latents (the batch left out)."""
    items = made_up(model.item) if example is None else example
    latents = _repeatable(model, "encoder", model.encoded, items)
    decoded = _repeatable(model, "decoder", model.decoded, latents)
    _require_whole_items(model, items)
    if model.item.is_image and (decoded.min() < -1.5 or decoded.max() > 2.5):
        low, high = model.item.value_range
        own = decoded * (high - low) + low
        raise LsamplerError(
            f"{model.name}: decoded values are in {own.min():.3g}..{own.max():.3g}, far outside the declared "
            f"{low:.3g}..{high:.3g}; declare the right `value_range=...`"
        )
    return tuple(latents.shape[1:])


def made_up(item: Item) -> Tensor:
    """Two items to probe a model with: grey ramps, or numbers from a standard normal."""
    if not item.is_image:
        return torch.randn((2, *item.shape), generator=torch.Generator().manual_seed(0))
    channels, height, width = item.shape
    ramp = torch.linspace(0, 1, width).repeat(channels, height, 1)
    return torch.stack([ramp, ramp.flip(-1)])


def _repeatable(model: AdaptedAutoencoder, half: str, apply: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    """The result of one half, which must be finite and the same each time, in batches of any size and in any order."""
    once, alone = _at_two_sizes(model.name, half, apply, given)
    again = apply(given)
    if not torch.isfinite(once).all():
        raise LsamplerError(f"{model.name}: the {half} gave NaN or infinite values; check its weights")
    # Libraries that add in no fixed order differ by rounding; a random model differs far more.
    if not torch.allclose(once, again, rtol=1e-4, atol=1e-6):
        raise LsamplerError(
            f"{model.name}: the {half} gives another result each time; give one in evaluation mode, and for a "
            "variational encoder its mean"
        )
    same, bound = once[:1].shape == alone.shape, BATCH_TOLERANCE * once.abs().max()
    if not same or (once[:1] - alone).abs().max() > bound or (once.flip(0) - apply(given.flip(0))).abs().max() > bound:
        raise LsamplerError(f"{model.name}: what the {half} gives for an item {OTHER_ITEMS}")
    return once


def _at_two_sizes(name: str, half: str, apply: Callable[[Tensor], Tensor], given: Tensor) -> Iterator[Tensor]:
    """The results for a batch and for its first item alone: a program may hold the size it was made with."""
    found: list[Tensor | LsamplerError] = []
    for batch in (given, given[:1]):
        try:
            found.append(apply(batch))
        except LsamplerError as error:
            found.append(error)
    for result, other in zip(found, found[::-1], strict=True):
        if isinstance(result, LsamplerError):
            if isinstance(other, LsamplerError):
                raise result
            taken = len(other)
            raise LsamplerError(
                f"{name}: the {half} takes batches of exactly {taken}; export it again with a dynamic batch dimension"
            ) from result
        yield result


def _require_whole_items(model: AdaptedAutoencoder, items: Tensor) -> None:
    """Refuse an encoder that takes every row of an image for an item of its own.

    A linear layer does so with what is not flat: it maps the last axis and leaves the others as they are. For an image
    whose rows are in another order it gives the same vectors in that order, but not so for the columns.
    """
    if not model.item.is_image:
        return
    noise = torch.rand(items.shape, generator=torch.Generator().manual_seed(2))
    found, last = model.encoded(noise), model.channels_last
    if found.ndim != items.ndim:
        return
    follows = []
    for axis in (2, 3):  # of (B, C, H, W); in the model's own layout the channels may come last
        own, length = axis - last, items.shape[axis]
        order = torch.arange(length).roll(1) if length < 3 else torch.arange(length).flip(0)
        same = found.shape[own] == length and torch.allclose(
            model.encoded(noise.index_select(axis, order)), found.index_select(own, order), rtol=1e-3, atol=1e-5
        )
        follows.append(same)
    if any(follows) and not all(follows):
        raise LsamplerError(
            f"{model.name}: the encoder takes every row of an image for an item of its own (latents of shape "
            f"{tuple(found.shape[1:])} for {model.item.words}); flatten the items first, as by nn.Flatten()"
        )


@contextlib.contextmanager
def explained(problem: str, fix: str = "") -> Iterator[None]:
    """Turn any exception of another library into one line, ``problem (reason); fix``."""
    try:
        yield
    except LsamplerError:
        raise
    except Exception as error:  # a foreign model may fail in any way
        reason = _reason(error)
        if fix in (CHECK_IMAGES, CHECK_ITEMS, CHECK_PAIR) and PRECISION.search(reason):
            fix = "save it in single precision"
        raise LsamplerError(f"{problem} ({reason})" + (f"; {fix}" if fix else "")) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript gives its reason last, below a traceback of the script.
    reason = lines[-1 if "TorchScript" in lines[0] else 0]
    # Some libraries begin with what went wrong, and others, after the name of a function in C++, end with it.
    third = LONGEST_REASON // 3
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:third]} ... {reason[-2 * third :]}"


def as_tensor(name: str, result: Any) -> Tensor:
    """What a foreign model gave, as a tensor in single precision; of a tuple the first."""
    if isinstance(result, (tuple, list)) and result:
        result = result[0]
    if isinstance(result, Tensor):
        return result.detach().float()
    if not hasattr(result, "__array__"):
        raise LsamplerError(f"{name}: the model gave a {type(result).__name__}, expected a tensor or an array")
    try:
        return torch.from_numpy(np.array(result, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise LsamplerError(f"{name}: the model gave an array that is not of numbers ({_reason(error)})") from error
