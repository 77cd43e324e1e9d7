"""The training step: mean squared error, Adam, and one cycle of the learning rate."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.training.options import TrainingOptions, mixed_seed


class TrainingModule(L.LightningModule):
    """Mean squared error, Adam, one cycle of the learning rate."""

    def __init__(self, model: ConvAutoencoder, options: TrainingOptions) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.options = options
        self._seen: list[Tensor] = []

    def on_validation_epoch_start(self) -> None:
        """Forget the latent vectors of the epoch before."""
        self._seen = []

    def in_unit_latents(self) -> ConvAutoencoder:
        """A copy whose held-out latents have a standard deviation of 1 (root mean square over components).

        The unit with which training ends is arbitrary. With this one, lengths in latent units mean the same
        for every model, and |z| is near sqrt(D), as in the posts (16 for D = 256).
        """
        model: ConvAutoencoder = copy.deepcopy(self.model)
        spread = float(torch.cat(self._seen).double().var(dim=0).mean().sqrt()) if self._seen else 0.0
        if math.isfinite(spread) and spread > 0:
            model.scale_latents(1 / spread)
        return model

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """The loss of one batch of uint8 images."""
        images = _as_images(batch)
        if self.options.flip:
            seed = mixed_seed(self.options.seed, self.global_step, self.global_rank)
            mirrored = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
            images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
        loss = torch.nn.functional.mse_loss(self.model(images), images)
        # The mean of all processes: their shares are of equal size.
        self.log("train_mse", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        """Measure the error of held-out images, and keep their latent vectors."""
        images = _as_images(batch)
        latents = self.model.encoder(images)
        self._seen.append(latents.float().cpu())
        decoded = self.model.decoder(latents).clamp(0.0, 1.0)
        loss = torch.nn.functional.mse_loss(decoded, images)
        self.log("held_out_mse", loss, batch_size=len(images), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Adam with a one-cycle schedule."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.options.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _as_images(batch: Tensor) -> Tensor:
    return batch.to(torch.float32).div_(255.0).contiguous(memory_format=torch.channels_last)
