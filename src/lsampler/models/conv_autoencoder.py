"""The posts' autoencoder of images: convolutional, no batch normalisation, no variational term."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from lsampler.data.items import Item
from lsampler.data.preprocess import Preprocess
from lsampler.models.layers import TRANSPOSED_KERNEL, initialise
from lsampler.models.trained_autoencoder import (
    ANY_ITEM,
    IMAGES,
    NetworkConfig,
    TrainedAutoencoder,
    activation_of,
    latent_dim_field,
)

KERNEL = 3
CPU_BATCH = 16
Edge = Annotated[int, Field(ge=4, le=4096)]


class ConvConfig(NetworkConfig):
    """The shape of a :class:`ConvAutoencoder`; the defaults are the posts'.

    Raises:
        LsamplerError: a setting is not valid.
    """

    image_size: Edge | tuple[Edge, Edge] = Field(
        default=96, description="edge of the square image in pixels, or its height and width"
    )
    channels: Literal[1, 3] = Field(default=3, description="3 for colour, 1 for grey")
    filters: tuple[PositiveInt, ...] = Field(
        default=(64, 64, 128, 128),
        min_length=1,
        description="filters of the encoder's layers, each of stride 2; the decoder mirrors them",
    )
    latent_dim: int = latent_dim_field(256)
    activation: Literal["leaky-relu", "relu", "elu", "selu", "silu"] = Field(
        default="leaky-relu", description="activation between the layers (leaky-relu has slope 0.1)"
    )

    @property
    def height(self) -> int:
        """H in pixels."""
        return self.image_size if isinstance(self.image_size, int) else self.image_size[0]

    @property
    def width(self) -> int:
        """W in pixels."""
        return self.image_size if isinstance(self.image_size, int) else self.image_size[1]

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width of what the last convolution gives."""
        return self.height >> len(self.filters), self.width >> len(self.filters)

    @model_validator(mode="after")
    def _divisible(self) -> ConvConfig:
        halvings = 2 ** len(self.filters)
        for edge in (self.height, self.width):
            if edge % halvings:
                raise ValueError(
                    f"{len(self.filters)} layers halve the image {len(self.filters)} times: "
                    f"image size {edge} must be a multiple of {halvings}"
                )
        return self


class ConvAutoencoder(TrainedAutoencoder):
    """Convolutions of stride 2, a dense layer to the latent vector, and their mirror image.

    Source: the posts' layer structure: four Conv2D and four Conv2DTranspose layers, filters
    (64, 64, 128, 128) and mirrored, D = 256, 96 x 96 images (post III, post on filaments).

    Args:
        config: the network's shape.
        preprocess: how images were prepared for it; by default ``size`` and ``channels`` of config.
        training: facts about the training, stored in the file's metadata.
    """

    architecture: ClassVar[str] = "images"
    cpu_batch: ClassVar[int] = CPU_BATCH
    config: ConvConfig

    def __init__(
        self,
        config: ConvConfig | None = None,
        *,
        preprocess: Preprocess | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(config or ConvConfig(), training)
        self.preprocess = preprocess or Preprocess(self.config.image_size, "none", self.config.channels)
        self.encoder, self.decoder = _encoder(self.config), _decoder(self.config)
        for layers in (self.encoder, self.decoder):
            initialise(layers)

    @property
    def item(self) -> Item:
        """What its items are: images."""
        return Item.of_images(self.preprocess)

    def in_range(self, items: Tensor) -> Tensor:
        """Decoded images, clipped to [0, 1]."""
        return items.clamp(0.0, 1.0)

    def _moved(self, items: Tensor) -> Tensor:
        return items.to(self.device, non_blocking=True, memory_format=torch.channels_last)

    def _identity(self) -> list[str]:
        return [self.config.model_dump_json(), json.dumps(self.preprocess.as_dict(), sort_keys=True)]

    @property
    def item_words(self) -> str:
        """What its images are, in a few words."""
        return self.preprocess.words

    def _described(self) -> dict[str, Any]:
        version = IMAGES if isinstance(self.config.image_size, int) else ANY_ITEM
        return {"version": version, "preprocess": self.preprocess.as_dict()}

    @classmethod
    def _from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        preprocess = Preprocess(**metadata["preprocess"])
        return cls(ConvConfig(**metadata["config"]), preprocess=preprocess, training=metadata.get("training"))


def _encoder(config: ConvConfig) -> nn.Sequential:
    activation = activation_of(config)
    layers: list[nn.Module] = []
    width: int = config.channels
    for filters in config.filters:
        layers += [nn.Conv2d(width, filters, KERNEL, stride=2, padding=1), activation()]
        width = filters
    height, across = config.smallest
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * height * across, config.latent_dim))


def _decoder(config: ConvConfig) -> nn.Sequential:
    activation = activation_of(config)
    height, across = config.smallest
    width = config.filters[-1]
    layers: list[nn.Module] = [
        nn.Linear(config.latent_dim, width * height * across),
        activation(),
        nn.Unflatten(1, (width, height, across)),
    ]
    for filters in (*reversed(config.filters[:-1]), config.channels):
        layers += [nn.ConvTranspose2d(width, filters, TRANSPOSED_KERNEL, stride=2, padding=1), activation()]
        width = filters
    return nn.Sequential(*layers[:-1])
