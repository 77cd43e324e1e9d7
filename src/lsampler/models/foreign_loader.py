"""Base of loaders for autoencoders of other libraries, and digests of files and weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import BeforeValidator, Field, PositiveInt
from torch import nn

from lsampler.data.items import Item, Kind
from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError
from lsampler.files import existing_file
from lsampler.models.adapter import AdaptedAutoencoder, Apply, ChannelOrder, Layout, explained
from lsampler.models.protocols import AutoencoderLoader

# They describe the weights beside them, in folders of pythae and of diffusers.
FOLDER_FILES = ("model_config.json", "config.json")
ValueRange = Literal["0..1", "-1..1", "0..255"]
Shape: TypeAlias = Sequence[int | None]
"""Lengths of axes, None for one of any length."""
Edge: TypeAlias = Annotated[int, Field(ge=4, le=4096)]


def _axes(value: Any) -> Any:
    """Lengths of axes as the command line gives them: ``64x48`` for [64, 48]."""
    return list(map(int, value.split("x"))) if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)+", value) else value


def _shape(value: Any) -> Any:
    """A shape, of which ``30`` is the length of the only axis."""
    one = isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
    return [int(value)] if one else _axes(value)


class ForeignLoader(AutoencoderLoader):
    """Base of loaders for models that do not say what their items are, and how images are prepared.

    A subclass writes :meth:`load`, which ends with :meth:`adapt`. It sets :attr:`suffixes` if its
    specifications are two files, ``ENCODER+DECODER``, or :attr:`folder_files` if they are folders; otherwise it
    writes :meth:`accepts`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the two files of a specification, such as ``(".onnx",)``; empty for other specifications."""

    folder_files: ClassVar[tuple[str, ...]] = ()
    """Names of files; a folder that holds one of them is a specification."""

    kind: Kind | None = Field(default=None, description="of the items; none: what the shape of the input says")
    shape: Annotated[tuple[PositiveInt, ...] | None, BeforeValidator(_shape)] = Field(
        default=None, description="of an item that is no image, 30 or 1x187; none: what the model says"
    )
    size: Annotated[Edge | tuple[Edge, Edge] | None, BeforeValidator(_axes)] = Field(
        default=None, description="edge of images in pixels, or 64x48 for height and width; none: what the model says"
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="of images: 3 for colour, 1 for grey; none: what the model says"
    )
    names: tuple[str, ...] = Field(default=(), description="of the features of a table, or the channels of a signal")
    unit: str = Field(default="", max_length=100, description="of the values of signals and tables, for plots")
    content: str = Field(default="", max_length=100, description="what images show; scores of faces need faces")
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

    def item_shape(self, spec: object, shape: Shape | None) -> Shape | None:
        """Return the shape of an item, for :meth:`adapt`, from the shape of an encoder's input.

        Args:
            spec: the encoder's name in messages.
            shape: with the batch first, in the model's own order of channels; None if the model does not say it.

        Raises:
            LsamplerError: it is not the shape of a batch of items.
        """
        if shape is None:
            return None
        _, *axes = shape
        if not axes:
            raise LsamplerError(
                f"{spec}: takes one axis, not a batch of items; give the encoder first, then the decoder"
            )
        return [axes[-1], *axes[:-1]] if self.channel_order == "last" and len(axes) > 1 else axes

    def adapt(
        self,
        spec: str,
        encode: Apply,
        decode: Apply,
        *,
        digest: str,
        shape: Shape | None = None,
        weights: Sequence[Any] = (),
    ) -> AdaptedAutoencoder:
        """Return the adapted model.

        Args:
            spec: the model's name in messages.
            encode: as for :class:`AdaptedAutoencoder`.
            decode: as for :class:`AdaptedAutoencoder`.
            digest: of the weights, such as :func:`file_digest`; settings are added to it.
            shape: of one item as the model states it: (C, H, W), (C, L) or (F,), None for a length that it leaves open.
            weights: the objects whose ``to`` moves the weights to a device; none if they stay on the CPU.

        Raises:
            LsamplerError: the shape of the items is unknown or contradicts the parameters, or the model does not work.
        """
        item = self._item(spec, shape)
        if item.is_image:
            preprocess: Any = Preprocess((item.shape[1], item.shape[2]), self.crop, item.shape[0]).as_dict()
            settings = json.dumps([self.name, preprocess, self.value_range, self.channel_order])
        else:
            settings = json.dumps([self.name, item.as_dict(), self.channel_order])

        def move(device: torch.device) -> None:
            for part in weights:
                part.to(device)

        return AdaptedAutoencoder(
            spec,
            encode,
            decode,
            item=item,
            fingerprint=hashlib.sha256(f"{digest} {settings}".encode()).hexdigest()[:32],
            layout=Layout(self.channel_order, crop=self.crop),
            move=move if weights else None,
        )

    def _item(self, spec: str, stated: Shape | None) -> Item:
        """What the items are, from the parameters and from what the model states of its input."""
        axes = len(self.shape or stated or (None,) * 3)
        kinds: dict[int, Kind] = {1: "table", 2: "signal", 3: "image"}
        kind = self.kind or ("image" if self.size or self.channels else kinds.get(axes, "array"))
        if kind == "image":
            return self._image(spec, stated)
        shape = list(stated or self.shape or ())
        for axis, own in enumerate(self.shape or ()):
            if len(shape) != axes or shape[axis] not in (None, own):
                raise LsamplerError(
                    f"{spec}: the model takes items of shape {_lengths(stated)}, not {_lengths(self.shape)}; leave out "
                    "`shape=...`"
                )
            shape[axis] = own
        if not shape or None in shape:
            raise LsamplerError(
                f"{spec}: the model does not say the shape of its items ({_lengths(shape) or 'unknown'}); give "
                "`shape=...`, such as 30 for rows of 30 features or 1x187 for signals of one channel and 187 steps"
            )
        named = {"names": self.names, "unit": self.unit, "content": self.content}
        try:
            return Item(kind, tuple(int(length or 0) for length in shape), **named)  # type: ignore[arg-type]
        except LsamplerError as error:
            raise LsamplerError(f"{spec}: {error}") from None

    def _image(self, spec: str, stated: Shape | None) -> Item:
        if stated is not None and len(stated) != 3:
            shape = _lengths(stated)
            raise LsamplerError(f"{spec}: takes items of shape {shape}, not images; give encoder, then decoder")
        channels, *edges = stated or (None, None, None)
        known = (self.size, self.size) if isinstance(self.size, int) else self.size or (None, None)
        both = [_agreed(spec, "size", own, edge) for own, edge in zip(known, edges, strict=True)]
        size = both[0], both[1]
        try:
            preprocess = Preprocess(size, self.crop, _agreed(spec, "channels", self.channels, channels))
        except LsamplerError as error:
            raise LsamplerError(f"{spec}: takes images that lsampler does not make: {error}") from None
        low, high = map(float, self.value_range.split(".."))
        item = Item.of_images(preprocess)
        return replace(item, value_range=(low, high), content=self.content or item.content, unit=self.unit)


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


def _lengths(shape: Shape | None) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})" if shape else ""


def _agreed(spec: str, what: str, declared: int | None, own: int | None) -> int:
    stated = [number for number in (declared, own) if number is not None]
    if not stated:
        raise LsamplerError(f"{spec}: the model does not say its image {what}; give `{what}=...`")
    if len(set(stated)) > 1:
        raise LsamplerError(f"{spec}: the model takes images of {what} {own}, not {declared}; leave out `{what}=...`")
    return stated[0]
