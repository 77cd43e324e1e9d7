"""The convolutional autoencoder of signals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lsampler.data.items import Item
from lsampler.models.layers import TRANSPOSED_KERNEL, initialise
from lsampler.models.standardised import StandardisedAutoencoder
from lsampler.models.trained_autoencoder import NetworkConfig, activation_of, latent_dim_field

KERNEL = 5
WIDTHS = (16, 32, 64, 64)
SHORTEST = 8
"""To how many steps the layers that are chosen without being asked for shorten a signal at most."""
MOST_LATENT = 32


class SignalConfig(NetworkConfig):
    """The shape of a :class:`SignalAutoencoder`.

    Raises:
        LsamplerError: a setting is not valid.
    """

    filters: tuple[PositiveInt, ...] = Field(
        default=WIDTHS,
        min_length=1,
        description="filters of the encoder's layers, each of stride 2; the decoder mirrors them",
    )
    latent_dim: int = latent_dim_field(MOST_LATENT)
    activation: Literal["leaky-relu", "relu", "elu", "selu", "silu"] = Field(
        default="silu", description="activation between the layers"
    )

    @classmethod
    def for_item(cls, item: Item, **settings: Any) -> SignalConfig:
        """A network for signals of a length, unless settings say otherwise.

        As many layers, up to four, as leave 8 steps or more; D is half the number of values, from 2 to 32.
        """
        values, length = math.prod(item.shape), item.shape[-1]
        layers = max(1, min(len(WIDTHS), int(math.log2(max(length / SHORTEST, 1)))))
        chosen = {"filters": WIDTHS[:layers], "latent_dim": min(values, MOST_LATENT, max(2, -(-values // 2)))}
        return cls(**chosen | settings)


class SignalAutoencoder(StandardisedAutoencoder):
    """Convolutions of stride 2 along a signal, a dense layer to the latent vector, and their mirror image.

    Signals may have any length: the decoder makes up to one step more per layer than there were, and leaves it out.

    Args:
        item: a signal (C, L).
        config: the network's shape; by default :meth:`SignalConfig.for_item`.
        training: facts about the training, stored in the file's metadata.
    """

    architecture: ClassVar[str] = "signal"
    cpu_batch: ClassVar[int] = 64
    per_channel: ClassVar[bool] = True
    config_class: ClassVar[type[NetworkConfig]] = SignalConfig
    config: SignalConfig

    def __init__(
        self, item: Item, config: SignalConfig | None = None, training: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(item, config or SignalConfig.for_item(item), training)
        channels, length = item.shape
        filters, latent_dim = self.config.filters, self.config.latent_dim
        shortened = -(-length // 2 ** len(filters))
        activation = activation_of(self.config)
        down: list[nn.Module] = []
        for before, after in zip((channels, *filters), filters, strict=False):
            down += [nn.Conv1d(before, after, KERNEL, stride=2, padding=KERNEL // 2), activation()]
        back = (*reversed(filters), channels)
        up: list[nn.Module] = [nn.Unflatten(1, (filters[-1], shortened))]
        for before, after in itertools.pairwise(back):
            up += [activation(), nn.ConvTranspose1d(before, after, TRANSPOSED_KERNEL, stride=2, padding=1)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(filters[-1] * shortened, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, filters[-1] * shortened), *up, _First(length))
        for layers in (self.encoder, self.decoder):
            initialise(layers)


class _First(nn.Module):
    """The first steps of signals."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, signals: Tensor) -> Tensor:
        return signals[..., : self.length]
