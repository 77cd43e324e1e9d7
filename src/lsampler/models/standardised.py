"""Autoencoders that standardise their items: tables, signals and arrays in their own units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lsampler.data.items import Item
from lsampler.models.trained_autoencoder import ANY_ITEM, ARCHITECTURE, NetworkConfig, TrainedAutoencoder

MOST_NAMED = 4


class StandardisedAutoencoder(TrainedAutoencoder):
    """Takes and gives items in their own units; in between, each value has mean 0 and standard deviation 1.

    Mean and standard deviation belong to the model, in single precision. A value that was the same in all items of the
    training has the standard deviation 0: whatever is encoded, it is decoded as that value.
    """

    per_channel: ClassVar[bool]
    """Whether the values of a channel have one mean and one standard deviation, rather than each its own."""
    config_class: ClassVar[type[NetworkConfig]]
    mean: Tensor
    scale: Tensor

    def __init__(self, item: Item, config: NetworkConfig, training: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, training)
        self._item = item
        shape = (item.shape[0], *(1 for _ in item.shape[1:])) if self.per_channel else item.shape
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    @property
    def item(self) -> Item:
        """What its items are."""
        return self._item

    @torch.no_grad()
    def standardise(self, mean: Tensor, scale: Tensor) -> None:
        """Set mean and standard deviation of each value, or of each channel; 0 for one that does not vary."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def latents_of(self, items: Tensor) -> Tensor:
        """Latent vectors (B, D) of items (B, *shape), with gradients."""
        return super().latents_of(self._divided(items - self.mean))

    def items_of(self, latents: Tensor) -> Tensor:
        """Items (B, *shape) of latent vectors (B, D), with gradients."""
        return super().items_of(latents) * self.scale + self.mean

    def reconstruction_error(self, decoded: Tensor, items: Tensor) -> Tensor:
        """The mean squared error of the values that vary, each in units of its standard deviation."""
        return self._divided(decoded - items).square().mean() / self._varying

    def absolute_error(self, decoded: Tensor, items: Tensor) -> Tensor:
        """The mean absolute error of the values that vary, each in units of its standard deviation."""
        return self._divided(decoded - items).abs().mean() / self._varying

    @property
    def _varying(self) -> Tensor:
        """The share of the values that vary."""
        return (self.scale > 0).float().mean()

    def _divided(self, differences: Tensor) -> Tensor:
        """In units of the standard deviation; 0 where it is 0."""
        return torch.where(self.scale > 0, differences / self.scale.clamp_min(torch.finfo(torch.float32).tiny), 0.0)

    def _identity(self) -> list[str]:
        known = json.dumps([self.architecture, self.item.as_dict()], sort_keys=True)
        return [self.config.model_dump_json(), known]

    def _described(self) -> dict[str, Any]:
        return {"version": ANY_ITEM, ARCHITECTURE: self.architecture, "item": self.item.as_dict()}

    @classmethod
    def _from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        item = Item(**metadata["item"])
        return cls(item, cls.config_class(**metadata["config"]), training=metadata.get("training"))
