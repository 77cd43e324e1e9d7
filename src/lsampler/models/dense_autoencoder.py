"""The dense autoencoder of rows of tables, and of arrays of any other shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import nn

from lsampler.data.items import Item
from lsampler.models.layers import initialise
from lsampler.models.standardised import StandardisedAutoencoder
from lsampler.models.trained_autoencoder import NetworkConfig, activation_of, latent_dim_field

MOST_LATENT = 64
"""The largest latent dimension that is chosen without being asked for."""


class DenseConfig(NetworkConfig):
    """The shape of a :class:`DenseAutoencoder`.

    Raises:
        LsamplerError: a setting is not valid.
    """

    widths: tuple[PositiveInt, ...] = Field(
        default=(128, 128), description="widths of the encoder's hidden layers; the decoder mirrors them"
    )
    latent_dim: int = latent_dim_field(16)
    activation: Literal["leaky-relu", "relu", "elu", "selu", "silu"] = Field(
        default="silu", description="activation between the layers"
    )

    @classmethod
    def for_item(cls, item: Item, **settings: Any) -> DenseConfig:
        """A network for items of a shape: D is half the number of their values, from 2 to 64, unless it is given."""
        values = math.prod(item.shape)
        return cls(**{"latent_dim": min(values, MOST_LATENT, max(2, -(-values // 2)))} | settings)


class DenseAutoencoder(StandardisedAutoencoder):
    """Dense layers to the latent vector, and their mirror image; every value is standardised.

    Args:
        item: what one item is: a row of a table, or another array, whose values the network takes as one row.
        config: the network's shape; by default :meth:`DenseConfig.for_item`.
        training: facts about the training, stored in the file's metadata.
    """

    architecture: ClassVar[str] = "dense"
    cpu_batch: ClassVar[int] = 4096
    per_channel: ClassVar[bool] = False
    config_class: ClassVar[type[NetworkConfig]] = DenseConfig
    config: DenseConfig

    def __init__(
        self, item: Item, config: DenseConfig | None = None, training: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(item, config or DenseConfig.for_item(item), training)
        widths = [math.prod(item.shape), *self.config.widths, self.config.latent_dim]
        self.encoder = nn.Sequential(nn.Flatten(), *_dense(widths, activation_of(self.config)))
        back = _dense(widths[::-1], activation_of(self.config))
        self.decoder = nn.Sequential(*back, nn.Unflatten(1, item.shape))
        for layers in (self.encoder, self.decoder):
            initialise(layers)


def _dense(widths: Sequence[int], activation: Any) -> list[nn.Module]:
    """Dense layers from each width to the next, with activations in between."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), activation()]
    return layers[:-1]
