"""Encoder and Decoder: protocols, so that a foreign model needs a few lines and no base class."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lsampler.data.preprocess import Preprocess


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns images into latent vectors."""

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [0, 1] -> latent vectors (B, D) float32."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Anything that turns latent vectors into images."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latent vectors (B, D) float32 -> images (B, C, H, W) float32 in [0, 1]."""
        ...


@runtime_checkable
class Autoencoder(Encoder, Decoder, Protocol):
    """Both, with what identifies it and how its images are prepared."""

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

    @property
    def preprocess(self) -> Preprocess:
        """Crop, size and channels of the images it was made for."""
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


def device_of(autoencoder: Autoencoder) -> torch.device:
    """Return where the weights are: the CPU, for an autoencoder that does not say."""
    import torch

    device = getattr(autoencoder, "device", None)
    return torch.device(device) if isinstance(device, str | torch.device) else torch.device("cpu")


def check_latents(name: str, latents: Tensor, dimension: int) -> None:
    """Raise LsamplerError unless these are latent vectors (B, dimension)."""
    if latents.ndim != 2 or latents.shape[1] != dimension:
        raise LsamplerError(f"latent vectors of shape {tuple(latents.shape)}: {name} takes (B, {dimension})")
