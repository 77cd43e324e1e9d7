"""What the autoencoders of ``lsampler train`` have in common, for images, signals, tables and arrays.

One file on disk: safetensors, with the configuration, what the items are, and a fingerprint in its metadata.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from lsampler.data.items import Item
from lsampler.errors import LsamplerError
from lsampler.files import existing_file, new_file
from lsampler.models.layers import ACTIVATIONS, in_batches
from lsampler.models.protocols import check_latents
from lsampler.safetensors_files import read_safetensors, write_safetensors
from lsampler.showing import About, Shown, counted, encoder

FORMAT = "lsampler-autoencoder"
IMAGES, ANY_ITEM = 1, 2
"""Versions of the format: the second one is written where an earlier lsampler could not open the model."""
ARCHITECTURE = "architecture"


class NetworkConfig(BaseModel):
    """The shape of an autoencoder's network.

    Raises:
        LsamplerError: a setting is not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    if TYPE_CHECKING:  # fields of every subclass, which are fingerprinted in the order that it declares them in
        latent_dim: int
        activation: Any

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            setting = f"`{first['loc'][0]}={first['input']}`: " if first["loc"] else ""
            raise LsamplerError(setting + first["msg"].removeprefix("Value error, ")) from None


def latent_dim_field(default: Any) -> Any:
    """The latent dimension, as all networks declare it."""
    return Field(default=default, ge=1, le=65536, description="latent dimension D")


class TrainedAutoencoder(Shown, nn.Module):
    """An encoder and a decoder, each a sequence of layers; a subclass builds them for one kind of item.

    Attributes:
        config: the network's shape.
        training_record: facts about the training, stored in the file's metadata.
    """

    architecture: ClassVar[str]
    """What the file calls the network."""
    cpu_batch: ClassVar[int]
    """Items that go through the layers together on a CPU, so that what lies between two layers stays in its cache."""
    config: NetworkConfig
    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, config: NetworkConfig, training: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.config = config
        self.training_record = dict(training or {})

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        return self.config.latent_dim

    @property
    @abstractmethod
    def item(self) -> Item:
        """What its items are."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def latents_of(self, items: Tensor) -> Tensor:
        """Latent vectors (B, D) of items (B, *shape), with gradients."""
        latents: Tensor = self.encoder(items)
        return latents

    def items_of(self, latents: Tensor) -> Tensor:
        """Items (B, *shape) of latent vectors (B, D), with gradients."""
        items: Tensor = self.decoder(latents)
        return items

    def in_range(self, items: Tensor) -> Tensor:
        """Decoded items, clipped to the range that items of this kind have."""
        return items

    def forward(self, items: Tensor) -> Tensor:
        """The reconstruction of items (B, *shape), not clipped."""
        return self.items_of(self.latents_of(items))

    def reconstruction_error(self, decoded: Tensor, items: Tensor) -> Tensor:
        """The mean squared error of decoded items, as training minimises it by default and the record states it."""
        return nn.functional.mse_loss(decoded, items)

    def absolute_error(self, decoded: Tensor, items: Tensor) -> Tensor:
        """The mean absolute error of decoded items."""
        return nn.functional.l1_loss(decoded, items)

    @torch.inference_mode()
    def encode(self, items: Tensor) -> Tensor:
        """Items (B, *shape) float32 -> latent vectors (B, D) float32; images are (B, C, H, W) in [0, 1]."""
        expected = self.item.shape
        if tuple(items.shape[1:]) != expected:
            lengths = ", ".join(map(str, expected))
            raise LsamplerError(f"{self.item.plural} of shape {tuple(items.shape)}: the encoder takes (B, {lengths})")
        return in_batches(self.latents_of, self._moved(items), self.cpu_batch)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latent vectors (B, D) float32 -> items (B, *shape) float32; images are (B, C, H, W) in [0, 1]."""
        check_latents("the decoder", latents, self.dimension)
        latents = latents.to(self.device, non_blocking=True)
        return self.in_range(in_batches(self.items_of, latents, self.cpu_batch))

    def _moved(self, items: Tensor) -> Tensor:
        return items.to(self.device, non_blocking=True)

    @torch.no_grad()
    def scale_latents(self, factor: float) -> None:
        """Multiply all latent vectors by ``factor``, and leave every reconstruction as it is.

        The unit of a latent space is arbitrary: the encoder's last layer is multiplied, and the decoder's first one
        divided by the factor.
        """
        state = self.state_dict()
        last, first = f"encoder.{len(self.encoder) - 1}", "decoder.0"
        state[f"{last}.weight"].mul_(factor)
        state[f"{last}.bias"].mul_(factor)
        state[f"{first}.weight"].div_(factor)

    @abstractmethod
    def _identity(self) -> list[str]:
        """What identifies the network and its items, as JSON."""

    def stored(self, weights: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The tensors of a file: weights in a precision, and the scales of the items always in single precision."""
        exact = {name for name, _ in self.named_buffers()}
        return {
            name: tensor.detach().cpu().to(torch.float32 if name in exact else weights).contiguous()
            for name, tensor in self.state_dict().items()
        }

    @property
    def fingerprint(self) -> str:
        """Identifies this autoencoder: SHA-256 of its shape, its items and its half-precision weights.

        Half precision makes the fingerprint the same for weights that were stored as float16.
        """
        digest = hashlib.sha256("".join(self._identity()).encode())
        for name, tensor in sorted(self.stored(torch.float16).items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:32]

    def _about(self) -> About:
        weights = counted(sum(weight.numel() for weight in self.parameters()), "weight")
        facts = [self.item_words, f"D = {self.dimension}", weights, encoder(self.fingerprint)]
        return About(type(self).__name__, "", facts)

    @property
    def item_words(self) -> str:
        """What its items are, in a few words."""
        return self.item.words

    @abstractmethod
    def _described(self) -> dict[str, Any]:
        """The version of the format, and what the metadata of this architecture hold of the items."""

    def metadata(self) -> dict[str, Any]:
        """Everything about the autoencoder except the weights."""
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "config": self.config.model_dump(mode="json"),
            "training": self.training_record,
            **self._described(),
        }

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the autoencoder as one safetensors file, which is complete or absent."""
        with new_file(path, force=force) as beside:
            write_safetensors(beside, self.stored(), self.metadata())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an autoencoder of this class that :meth:`save` wrote; weights become float32.

        Raises:
            LsamplerError: the file is missing, truncated, foreign, or its weights do not fit.
        """
        path = existing_file(path, "model file")
        return cls.from_parts(*read_safetensors(path), path)

    @classmethod
    @abstractmethod
    def _from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """The network that metadata describe, without its weights."""

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> Self:
        """Build the autoencoder that a file's metadata and weights describe."""
        if architecture_of(metadata, path) != cls.architecture:
            raise LsamplerError(f"{path}: holds another kind of autoencoder; open it by `lsampler.load_autoencoder`")
        try:
            # On "meta" nothing is allocated: a tampered description cannot allocate a terabyte.
            with torch.device("meta"):
                model = cls._from_metadata(metadata)
            model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
        except (LsamplerError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise LsamplerError(f"{path}: damaged, its weights and description do not agree") from error
        if model.fingerprint != metadata.get("fingerprint"):
            raise LsamplerError(f"{path}: damaged, the weights do not match their fingerprint")
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def architecture_of(metadata: Mapping[str, Any], path: Path) -> str:
    """What the file of an autoencoder calls its network. Raises LsamplerError if it is no such file."""
    if metadata.get("format") != FORMAT:
        raise LsamplerError(
            f"{path}: not an autoencoder made by 'lsampler train'; if it holds the weights of a diffusers model, "
            f"give its folder, {path.absolute().parent}"
        )
    if metadata.get("version") not in (IMAGES, ANY_ITEM):
        raise LsamplerError(
            f"{path}: autoencoder format {metadata.get('version')}, this lsampler reads {IMAGES} and {ANY_ITEM}; "
            "install the lsampler that wrote it"
        )
    return str(metadata.get(ARCHITECTURE, "images"))


def activation_of(config: NetworkConfig) -> Any:
    """Makes the activation of a network."""
    return ACTIVATIONS[config.activation]
