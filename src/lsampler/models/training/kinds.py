"""Which network is trained for which items, and how its items are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsampler.data.any_items import AnySource
from lsampler.data.item_rows import ItemRows
from lsampler.data.items import Item
from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.models.conv_autoencoder import ConvAutoencoder, ConvConfig
from lsampler.models.dense_autoencoder import DenseAutoencoder, DenseConfig
from lsampler.models.signal_autoencoder import SignalAutoencoder, SignalConfig
from lsampler.models.trained_autoencoder import NetworkConfig, TrainedAutoencoder
from lsampler.models.training.images import PreparedImages
from lsampler.models.training.options import Plan, TrainingOptions
from lsampler.models.training.prepared import PreparedItems
from lsampler.models.training.rows import PreparedRows
from lsampler.progress import ProgressLike

# Ordinary gradients are several times smaller; this keeps one exploding batch from undoing the others.
IMAGE_GRADIENT_NORM, ROW_GRADIENT_NORM = 0.1, 1.0
CONFIGS: dict[str, type[NetworkConfig]] = {"image": ConvConfig, "signal": SignalConfig}
"""Of the kinds of items; the others have a dense network."""
NETWORK_OPTIONS = {
    "size": "image",
    "grey": "image",
    "filters": "image, signal",
    "widths": "table, array",
}
"""The kinds of items that an option of the network is for; those that are not here are for all."""


@dataclass(frozen=True)
class ModelPlan:
    """The network of a training, and what its items are; ``preprocess`` is there for images only."""

    item: Item
    config: NetworkConfig
    preprocess: Preprocess | None = None

    @classmethod
    def of(cls, source: AnySource, config: NetworkConfig | None, options: TrainingOptions) -> ModelPlan:
        """The network for the items of a source. Raises LsamplerError if a configuration is that of other items."""
        kind = source.item.kind if isinstance(source, ItemRows) else "image"
        wanted = CONFIGS.get(kind, DenseConfig)
        if config is not None and not isinstance(config, wanted):
            raise LsamplerError(
                f"{source.name}: a {type(config).__name__} does not go with items of the kind {kind}; give a "
                f"{wanted.__name__}, or none"
            )
        if not isinstance(source, ItemRows):
            images = config if isinstance(config, ConvConfig) else ConvConfig()
            preprocess = Preprocess(images.image_size, options.crop or "centre", images.channels)
            return cls(Item.of_images(preprocess), images, preprocess)
        item = source.item
        if config is None:
            config = SignalConfig.for_item(item) if kind == "signal" else DenseConfig.for_item(item)
        return cls(item, config)

    @property
    def gradient_norm(self) -> float:
        """Longer gradients of the squared error are shortened to this length."""
        return IMAGE_GRADIENT_NORM if self.preprocess else ROW_GRADIENT_NORM

    @property
    def identity(self) -> dict[str, Any]:
        """What the items are, for the checkpoint."""
        return self.preprocess.as_dict() if self.preprocess else {"item": self.item.as_dict()}

    def prepared(
        self, source: AnySource, out: Path, plan: Plan, *, resume: bool, progress: ProgressLike
    ) -> PreparedItems:
        """The items of a source for training."""
        if isinstance(source, ItemRows):
            return PreparedRows(source, out, plan, resume=resume, progress=progress)
        assert self.preprocess is not None  # noqa: S101 - of images there is one
        return PreparedImages(source, self.preprocess, out, plan, resume=resume, progress=progress)

    def built(self) -> TrainedAutoencoder:
        """The network with its first weights."""
        if isinstance(self.config, ConvConfig):
            return ConvAutoencoder(self.config, preprocess=self.preprocess)
        if isinstance(self.config, SignalConfig):
            return SignalAutoencoder(self.item, self.config)
        if isinstance(self.config, DenseConfig):
            return DenseAutoencoder(self.item, self.config)
        raise TypeError(f"no network has a {type(self.config).__name__}")


def network_config(item: Item, **settings: Any) -> NetworkConfig:
    """The network for items, from options of which some are given.

    Args:
        item: what they are.
        **settings: ``size`` and ``grey`` for images; ``filters`` for images and signals; ``widths`` for tables and
            arrays; ``latent_dim`` and ``activation`` for all.

    Raises:
        LsamplerError: an option does not go with items of this kind, or is not valid.
    """
    for name in settings:
        kinds = NETWORK_OPTIONS.get(name, item.kind)
        if item.kind not in kinds.split(", "):
            raise LsamplerError(
                f"`{name}={settings[name]}` is an option for the kind {kinds.replace(', ', ' or ')}, and these are "
                f"{item.plural}; leave it out"
            )
    if item.is_image:
        renamed = {"image_size": settings.pop("size")} if "size" in settings else {}
        channels = {"channels": 1 if settings.pop("grey") else 3} if "grey" in settings else {}
        return ConvConfig(**renamed, **channels, **settings)
    return (SignalConfig if item.kind == "signal" else DenseConfig).for_item(item, **settings)
