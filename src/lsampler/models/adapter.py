"""Adapters for autoencoders of other libraries: shapes, value range, channel order, spatial latents.

What a foreign model does not say about its images is declared by the user and never guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError
from lsampler.files import existing_file
from lsampler.models.protocols import AutoencoderLoader, check_latents

ValueRange = Literal["0..1", "-1..1", "0..255"]
ChannelOrder = Literal["first", "last"]
Apply: TypeAlias = Callable[[Tensor], Any]
LONGEST_REASON = 300
CHECK_IMAGES = "check size, channels and channel_order, and that the encoder comes first"
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


class AdaptedAutoencoder:
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

    def to(self, device: torch.device) -> Self:
        """Move the weights, if the other library allows it."""
        if self._move is not None:
            with _explained(f"{self.name}: cannot be moved to {device}"):
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
        with _explained(f"{self.name}: the encoder failed on images of shape {tuple(own.shape)}", CHECK_IMAGES):
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
        with _explained(f"{self.name}: the decoder does not take latents of shape {tuple(latents.shape)}", CHECK_PAIR):
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
        latents = self._repeatable("encoder", self._encoded, torch.linspace(0, 1, size).repeat(2, channels, size, 1))
        images = self._repeatable("decoder", self._decoded, latents)
        if images.min() < -1.5 or images.max() > 2.5:
            own = images * self._span + self._low
            raise LsamplerError(
                f"{self.name}: decoded values are in {own.min():.3g}..{own.max():.3g}, far outside the declared "
                f"{self._low:.3g}..{self._low + self._span:.3g}; declare the right `value_range=...`"
            )
        return tuple(latents.shape[1:])

    def _repeatable(self, half: str, apply: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """The result of one half of the model, which must be finite and the same each time."""
        once, again = apply(given), apply(given)
        if not torch.isfinite(once).all():
            raise LsamplerError(f"{self.name}: the {half} gave NaN or infinite values; check its weights")
        # Libraries that add in no fixed order differ by rounding; a random model differs far more.
        if not torch.allclose(once, again, rtol=1e-4, atol=1e-6):
            raise LsamplerError(
                f"{self.name}: the {half} gives another result each time; give one in evaluation mode, and for a "
                "variational encoder its mean"
            )
        return once


@contextlib.contextmanager
def _explained(problem: str, fix: str = "") -> Iterator[None]:
    try:
        yield
    except LsamplerError:
        raise
    except Exception as error:  # a foreign model may fail in any way
        raise LsamplerError(f"{problem} ({_reason(error)})" + (f"; {fix}" if fix else "")) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript gives its reason last, below a traceback of the script.
    reason = lines[-1 if "TorchScript" in lines[0] else 0]
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."


class ForeignLoader(AutoencoderLoader):
    """Base of loaders for models that do not say how their images are prepared.

    A subclass writes :meth:`load`, which ends with :meth:`adapt`. It sets :attr:`suffixes` if its
    specifications are two files, ``ENCODER+DECODER``, or :attr:`folder_files` if they are folders; otherwise it
    writes :meth:`accepts`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the two files of a specification, such as ``(".onnx",)``; empty for other specifications."""

    folder_files: ClassVar[tuple[str, ...]] = ()
    """Names of files; a folder that holds one of them is a specification."""

    size: int | None = Field(
        default=None, ge=4, le=4096, description="edge of the square images in pixels; none: what the model says"
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="3 for colour, 1 for grey; none: what the model says"
    )
    crop: Crop = Field(default="centre", description="how images are cropped before they are resized")
    value_range: ValueRange = Field(default="0..1", description="of the model's images, from black to white")
    channel_order: ChannelOrder = Field(
        default="first", description="first for images (B, C, H, W), last for (B, H, W, C)"
    )

    opening: ClassVar = staticmethod(_explained)
    """Turn any exception of another library into one line, ``problem (reason); fix``."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Accept a suffix at the end or before a ``+``, so that for one file alone the message says what is missing."""
        return any(spec.endswith(suffix) or f"{suffix}+" in spec for suffix in cls.suffixes) or any(
            os.path.isfile(Path(spec) / name)  # noqa: PTH113 - Path.is_file may raise
            for name in cls.folder_files
        )

    @classmethod
    def files(cls, spec: str) -> tuple[Path, Path]:
        """Return the two existing files of ``ENCODER+DECODER``.

        Raises:
            LsamplerError: it is not of this form, or one of them is missing or empty.
        """
        suffix = "|".join(map(re.escape, cls.suffixes))
        found = re.fullmatch(rf"(.+?(?:{suffix}))\+(.+(?:{suffix}))", spec)
        if not found:
            raise LsamplerError(
                f"model '{spec}': give two files, encoder and decoder, as ENCODER{cls.suffixes[0]}+DECODER"
                f"{cls.suffixes[0]}"
            )
        return existing_file(found[1], "file of the encoder"), existing_file(found[2], "file of the decoder")

    @staticmethod
    def read_json(path: Path) -> dict[str, Any]:
        """Read a JSON object; anything else than an object gives an empty one. Raises LsamplerError."""
        with ForeignLoader.opening(f"{path}: cannot be read as JSON", "save the model again"):
            content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}

    @staticmethod
    def check_batch(spec: object, batch: int | None) -> None:
        """Refuse a model whose first axis has a fixed length; None is any length."""
        if batch is not None:
            raise LsamplerError(
                f"{spec}: takes batches of exactly {batch}; export it again with a dynamic batch dimension"
            )

    def image_shape(self, spec: object, shape: Sequence[int | None] | None) -> tuple[int | None, int | None]:
        """Return size and channels, for :meth:`adapt`, from the shape of an encoder's input.

        Args:
            spec: the encoder's name in messages.
            shape: (B, C, H, W), or (B, H, W, C) with channels last; None for an axis of any length, or if the model
                does not say its shape.

        Raises:
            LsamplerError: it is not the shape of square images.
        """
        if shape is None:
            return None, None
        if len(shape) != 4:
            of = ", ".join("any" if edge is None else str(edge) for edge in shape)
            raise LsamplerError(f"{spec}: takes shape ({of}), not images; the encoder comes first, then the decoder")
        _, *axes = shape
        channels = axes.pop(0 if self.channel_order == "first" else -1)
        edges = {edge for edge in axes if edge is not None}
        if len(edges) > 1:
            raise LsamplerError(
                f"{spec}: takes images of {axes[0]} x {axes[1]}, only square ones are supported; check channel_order"
            )
        return (edges.pop() if edges else None), channels

    def adapt(
        self,
        spec: str,
        encode: Apply,
        decode: Apply,
        *,
        digest: str,
        size: int | None = None,
        channels: int | None = None,
        weights: Sequence[Any] = (),
    ) -> AdaptedAutoencoder:
        """Return the adapted model.

        Args:
            spec: the model's name in messages.
            encode: as for :class:`AdaptedAutoencoder`.
            decode: as for :class:`AdaptedAutoencoder`.
            digest: of the weights, such as :func:`file_digest`; settings are added to it.
            size: of the images, if the model states it.
            channels: of the images, if the model states them.
            weights: the objects whose ``to`` moves the weights to a device; none if they stay on the CPU.

        Raises:
            LsamplerError: size or channels are unknown or contradict the model, or the model does not work.
        """
        preprocess = Preprocess(
            _agreed(spec, "size", self.size, size), self.crop, _agreed(spec, "channels", self.channels, channels)
        )
        settings = json.dumps([self.name, preprocess.as_dict(), self.value_range, self.channel_order])
        low, high = self.value_range.split("..")

        def move(device: torch.device) -> None:
            for part in weights:
                part.to(device)

        return AdaptedAutoencoder(
            spec,
            encode,
            decode,
            preprocess=preprocess,
            fingerprint=hashlib.sha256(f"{digest} {settings}".encode()).hexdigest()[:32],
            layout=ImageLayout((float(low), float(high)), self.channel_order),
            move=move if weights else None,
        )


def file_digest(paths: Iterable[Path]) -> str:
    """Digest the content of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def module_digest(modules: Iterable[nn.Module]) -> str:
    """Digest the weights and buffers of modules, by name, in this order."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(type(module).__qualname__.encode())
        for name, weight in sorted(module.state_dict().items()):
            digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
            # A counter, as batch normalisation has, is a scalar, which cannot be viewed as bytes.
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _agreed(spec: str, what: str, declared: int | None, own: int | None) -> int:
    stated = [number for number in (declared, own) if number is not None]
    if not stated:
        raise LsamplerError(f"{spec}: the model does not say its image {what}; give `{what}=...`")
    if len(set(stated)) > 1:
        raise LsamplerError(f"{spec}: the model takes images of {what} {own}, not {declared}; leave out `{what}=...`")
    return stated[0]


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
