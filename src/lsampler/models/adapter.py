"""Adapters for autoencoders of other libraries: shapes, value range, channel order, spatial latents.

What a foreign model does not say about its images is declared by the user and never guessed.
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

from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.models.protocols import check_latents
from lsampler.showing import About, Shown, encoder, name_of

ChannelOrder = Literal["first", "last"]
Apply: TypeAlias = Callable[[Tensor], Any]
LONGEST_REASON = 300
# Rounding that differs with the size of the batch, of the largest value; half precision needs most.
BATCH_TOLERANCE = 0.01
CHECK_IMAGES = "check size, channels and channel_order, and that the encoder comes first"
PRECISION = re.compile(r"dtype|Half|Double|BFloat16|scalar type")
"""In what PyTorch says where an image in single precision meets weights in another."""
CHECK_PAIR = "check that encoder and decoder belong together"


@dataclass(frozen=True)
class ImageLayout:
    """How a foreign model lays out its images.

    Args:
        value_range: black and white.
        channel_order: ``first`` for images (B, C, H, W), ``last`` for (B, H, W, C).
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    channel_order: ChannelOrder = "first"


class AdaptedAutoencoder(Shown):
    """A foreign encoder and decoder as an :class:`lsampler.Autoencoder`.

    Latents of any shape (B, ...) are flattened to (B, D) and restored before decoding. On construction a small
    probe goes through both, so that a model that does not fit is refused at once. ``dimension`` is the product of
    ``latent_shape``, and ``device`` is where images and latents are sent.

    Args:
        name: what to call the model in messages.
        encode: images in the model's own layout -> latents (B, ...), tensor or array; of a tuple the first is
            taken, which is the mean of a variational encoder.
        decode: such latents -> images in the same layout.
        preprocess: size, crop and channels of the images.
        fingerprint: equal for equal weights and settings.
        layout: value range and channel order of the model's images.
        move: moves the weights to a device; None if they stay on the CPU.

    Raises:
        LsamplerError: the encoder fails on images, gives another result each time, or the decoder does not take its
            latents or does not give images.
    """

    def __init__(
        self,
        name: str,
        encode: Apply,
        decode: Apply,
        *,
        preprocess: Preprocess,
        fingerprint: str,
        layout: ImageLayout | None = None,
        move: Callable[[torch.device], Any] | None = None,
    ) -> None:
        layout = layout or ImageLayout()
        self.name, self.preprocess, self.fingerprint = name, preprocess, fingerprint
        self._encode, self._decode, self._move = encode, decode, move
        self._low, self._span = layout.value_range[0], layout.value_range[1] - layout.value_range[0]
        self._channels_last = layout.channel_order == "last"
        self.device = torch.device("cpu")
        self.latent_shape: tuple[int, ...] = ()
        self.latent_shape = self._probe()
        self.dimension = math.prod(self.latent_shape)

    def _about(self) -> About:
        facts = [self.preprocess.words, f"D = {self.dimension}", encoder(self.fingerprint)]
        return About("AdaptedAutoencoder", name_of(self.name), facts)

    def to(self, device: torch.device) -> Self:
        """Move the weights, if the other library allows it."""
        if self._move is not None:
            with explained(f"{self.name}: cannot be moved to {device}"):
                self._move(device)
            self.device = torch.device(device)
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [0, 1] -> latent vectors (B, D) float32."""
        return self._encoded(images).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latent vectors (B, D) float32 -> images (B, C, H, W) float32 in [0, 1]."""
        check_latents(self.name, latents, self.dimension)
        return self._decoded(latents.reshape(-1, *self.latent_shape)).clamp(0.0, 1.0)

    @torch.inference_mode()
    def _encoded(self, images: Tensor) -> Tensor:
        own = images.to(self.device, torch.float32) * self._span + self._low
        own = own.permute(0, 2, 3, 1).contiguous() if self._channels_last else own
        with explained(f"{self.name}: the encoder failed on images of shape {tuple(own.shape)}", CHECK_IMAGES):
            latents = _tensor(self.name, self._encode(own))
        shape = self.latent_shape or latents.shape[1:]  # the probe finds it out
        if latents.ndim < 2 or latents.shape != (len(images), *shape):
            raise LsamplerError(
                f"{self.name}: the encoder gave shape {tuple(latents.shape)} for {len(images)} images, "
                f"expected ({len(images)}, {', '.join(map(str, shape)) or 'D'})"
            )
        return latents

    @torch.inference_mode()
    def _decoded(self, latents: Tensor) -> Tensor:
        own = latents.to(self.device, torch.float32, copy=True)  # a decoder may begin with an in-place layer
        with explained(f"{self.name}: the decoder does not take latents of shape {tuple(latents.shape)}", CHECK_PAIR):
            images = _tensor(self.name, self._decode(own))
        if self._channels_last and images.ndim == 4:
            images = images.permute(0, 3, 1, 2)
        expected = (len(latents), self.preprocess.channels, self.preprocess.size, self.preprocess.size)
        if images.shape != expected:
            raise LsamplerError(
                f"{self.name}: the decoder gave shape {tuple(images.shape)} (B, C, H, W), expected {expected}; check "
                "size, channels and channel_order"
            )
        return (images - self._low) / self._span

    def _probe(self) -> tuple[int, ...]:
        """Send two grey ramps through encoder and decoder, and return the shape of the latents."""
        size, channels = self.preprocess.size, self.preprocess.channels
        ramp = torch.linspace(0, 1, size).repeat(channels, size, 1)
        latents = self._repeatable("encoder", self._encoded, torch.stack([ramp, ramp.flip(-1)]))
        images = self._repeatable("decoder", self._decoded, latents)
        if images.min() < -1.5 or images.max() > 2.5:
            own = images * self._span + self._low
            raise LsamplerError(
                f"{self.name}: decoded values are in {own.min():.3g}..{own.max():.3g}, far outside the declared "
                f"{self._low:.3g}..{self._low + self._span:.3g}; declare the right `value_range=...`"
            )
        return tuple(latents.shape[1:])

    def _repeatable(self, half: str, apply: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """The result of one half of the model, which must be finite and the same each time, in batches of any size."""
        once, alone = self._at_two_sizes(half, apply, given)
        again = apply(given)
        if not torch.isfinite(once).all():
            raise LsamplerError(f"{self.name}: the {half} gave NaN or infinite values; check its weights")
        # Libraries that add in no fixed order differ by rounding; a random model differs far more.
        if not torch.allclose(once, again, rtol=1e-4, atol=1e-6):
            raise LsamplerError(
                f"{self.name}: the {half} gives another result each time; give one in evaluation mode, and for a "
                "variational encoder its mean"
            )
        same = once[:1].shape == alone.shape
        if not same or (once[:1] - alone).abs().max() > BATCH_TOLERANCE * once.abs().max():
            raise LsamplerError(
                f"{self.name}: what the {half} gives for an item depends on the other items of its batch; give one in "
                "evaluation mode"
            )
        return once

    def _at_two_sizes(self, half: str, apply: Callable[[Tensor], Tensor], given: Tensor) -> Iterator[Tensor]:
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
                    f"{self.name}: the {half} takes batches of exactly {taken}; export it again with a dynamic batch "
                    "dimension"
                ) from result
            yield result


@contextlib.contextmanager
def explained(problem: str, fix: str = "") -> Iterator[None]:
    """Turn any exception of another library into one line, ``problem (reason); fix``."""
    try:
        yield
    except LsamplerError:
        raise
    except Exception as error:  # a foreign model may fail in any way
        reason = _reason(error)
        if fix in (CHECK_IMAGES, CHECK_PAIR) and PRECISION.search(reason):
            fix = "save it in single precision"
        raise LsamplerError(f"{problem} ({reason})" + (f"; {fix}" if fix else "")) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript gives its reason last, below a traceback of the script.
    reason = lines[-1 if "TorchScript" in lines[0] else 0]
    # Some libraries begin with what went wrong, and others, after the name of a function in C++, end with it.
    third = LONGEST_REASON // 3
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:third]} ... {reason[-2 * third :]}"


def _tensor(name: str, result: Any) -> Tensor:
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
