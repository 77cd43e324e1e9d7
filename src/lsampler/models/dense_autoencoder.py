"""The dense autoencoder of rows of tables, and of arrays of any other shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

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
        default=(128, 128), description="widths of the hidden layers of the encoder, and of the decoder"
    )
    latent_dim: int = latent_dim_field(16)
    activation: Literal["leaky-relu", "relu", "elu", "selu", "silu"] = Field(
        default="silu", description="activation between the layers"
    )

    @classmethod
    def for_item(cls, item: Item, **settings: Any) -> DenseConfig:
        """A network for items of a shape: D is two thirds of the number of values, from 2 to 64."""
        values = math.prod(item.shape)
        return cls(**{"latent_dim": min(values, MOST_LATENT, max(2, -(-2 * values // 3)))} | settings)


class DenseAutoencoder(StandardisedAutoencoder):
    """A linear map to the latent vector and one back, each with a correction by dense layers; values are standardised.

    Before it is trained, the network is linear. So it soon reconstructs as well as principal components do, also from a
    few hundred rows, and what it learns beyond that are the curved relations between features.

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
        values, dimension = math.prod(item.shape), self.config.latent_dim
        there, back = nn.Linear(values, dimension), nn.Linear(dimension, values)
        self.encoder = nn.Sequential(nn.Flatten(), _Corrected(values, self.config), there)
        self.decoder = nn.Sequential(back, _Corrected(values, self.config), nn.Unflatten(1, item.shape))
        if not there.weight.is_meta:  # a file's weights follow
            for layer in (there, back):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)


class _Corrected(nn.Module):
    """Rows of values, each with what dense layers add to it; at first they add nothing."""

    def __init__(self, values: int, config: DenseConfig) -> None:
        super().__init__()
        widths, activation = (values, *config.widths, values), activation_of(config)
        layers: list[nn.Module] = []
        for width, following in itertools.pairwise(widths):
            layers += [nn.Linear(width, following), activation()]
        self.correction = nn.Sequential(*layers[:-1])
        initialise(self.correction)
        nn.init.zeros_(layers[-2].weight)  # type: ignore[arg-type]

    def forward(self, rows: Tensor) -> Tensor:
        corrected: Tensor = rows + self.correction(rows)
        return corrected
