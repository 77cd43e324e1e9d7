"""Encoder and Decoder: protocols, so that a foreign model needs a few lines and no base class."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from lsampler.data.items import Item
from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns items into latent vectors."""

    def encode(self, items: Tensor, /) -> Tensor:
        """Items (B, *shape) float32 -> latent vectors (B, D) float32; images are (B, C, H, W) in [0, 1]."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Anything that turns latent vectors into items."""

    def decode(self, latents: Tensor, /) -> Tensor:
        """Latent vectors (B, D) float32 -> items (B, *shape) float32; images are (B, C, H, W) in [0, 1]."""
        ...


@runtime_checkable
class Autoencoder(Encoder, Decoder, Protocol):
    """Both, with what identifies it.

    What its items are it says by the attribute ``item``, an :class:`lsampler.data.Item`. One for images may have
    ``preprocess`` instead, an :class:`lsampler.data.Preprocess`: the crop, size and channels of its images. With both,
    the preprocess says how images of other sizes are prepared.
    """

    def to(self, device: torch.device) -> Self:
        """Move the weights to a device and return self; ``nn.Module`` has it already."""
        ...

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights and shape; latents and decoders are matched by it."""
        ...


class AutoencoderLoader(Plugin):
    """Opens one kind of ``--model`` specification; its parameters are given by ``--model-param``."""

    @classmethod
    @abstractmethod
    def accepts(cls, spec: str) -> bool:
        """Whether ``spec`` looks like something this loader opens; cheap, never raises."""

    @abstractmethod
    def load(self, spec: str) -> Autoencoder:
        """The autoencoder. Raises LsamplerError if it cannot be read."""


def item_of(autoencoder: object) -> Item:
    """What the items of an autoencoder are. Raises LsamplerError where it does not say."""
    item = getattr(autoencoder, "item", None)
    if isinstance(item, Item):
        return item
    preprocess = getattr(autoencoder, "preprocess", None)
    if isinstance(preprocess, Preprocess):
        return Item.of_images(preprocess)
    raise LsamplerError(
        f"{type(autoencoder).__name__}: does not say what its items are; give it an attribute `item`, an "
        "lsampler.data.Item, or make it by lsampler.adapt"
    )


def preprocess_of(autoencoder: object) -> Preprocess:
    """How images are prepared for an autoencoder. Raises LsamplerError where its items are not images."""
    preprocess = getattr(autoencoder, "preprocess", None)
    if isinstance(preprocess, Preprocess):
        return preprocess
    item = item_of(autoencoder)
    if not item.is_image:
        raise LsamplerError(f"the model takes items of another kind than images ({item.words}); give an array of them")
    channels, height, width = item.shape
    return Preprocess((height, width), "centre", channels)


def device_of(autoencoder: Autoencoder) -> torch.device:
    """Return where the weights are: the CPU, for an autoencoder that does not say."""
    import torch

    device = getattr(autoencoder, "device", None)
    return torch.device(device) if isinstance(device, str | torch.device) else torch.device("cpu")


def check_latents(name: str, latents: Tensor, dimension: int) -> None:
    """Raise LsamplerError unless these are latent vectors (B, dimension)."""
    if latents.ndim != 2 or latents.shape[1] != dimension:
        raise LsamplerError(f"latent vectors of shape {tuple(latents.shape)}: {name} takes (B, {dimension})")
