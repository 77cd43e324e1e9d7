"""Base of loaders for autoencoders of other libraries, and digests of files and weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError
from lsampler.files import existing_file
from lsampler.models.adapter import AdaptedAutoencoder, Apply, ChannelOrder, ImageLayout, explained
from lsampler.models.protocols import AutoencoderLoader

# They describe the weights beside them, in folders of pythae and of diffusers.
FOLDER_FILES = ("model_config.json", "config.json")
ValueRange = Literal["0..1", "-1..1", "0..255"]


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

    existing_file: ClassVar = staticmethod(existing_file)
    """A path as a readable, non-empty, regular file, or an LsamplerError that names ``what`` it should be."""

    opening: ClassVar = staticmethod(explained)
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
        folder = Path(spec).parent
        if not found and any(os.path.isfile(folder / name) for name in FOLDER_FILES):  # noqa: PTH113
            raise LsamplerError(f"model '{spec}': a file out of the folder of a model; give the folder, {folder}")
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
        agreed = _agreed(spec, "size", self.size, size), _agreed(spec, "channels", self.channels, channels)
        try:
            preprocess = Preprocess(agreed[0], self.crop, agreed[1])
        except LsamplerError as error:
            raise LsamplerError(f"{spec}: takes images that lsampler does not make: {error}") from None
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
