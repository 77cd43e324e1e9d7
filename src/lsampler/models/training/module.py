"""The training step: a loss, Adam, and one cycle of the learning rate."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.models.training.losses import loss_of
from lsampler.models.training.options import Plan, mixed_seed

FEWEST, MOST_SEEN = 30, 1024
"""Held-out items whose latents have a spread that is worth the name; and items that it is measured by otherwise."""
OF_A_CYCLE = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")


class TrainingModule(L.LightningModule):
    """A loss, Adam, one cycle of the learning rate.

    Whatever the loss, the mean squared error is measured, so that trainings can be compared.

    A training that is extended goes through another cycle, over the epochs that are left (a warm restart, as in
    Loshchilov and Hutter 2017): the state of Adam is kept.
    """

    def __init__(self, model: TrainedAutoencoder, plan: Plan, *, extends: bool = False) -> None:
        super().__init__()
        self.model: TrainedAutoencoder = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan, self.extends = plan, extends
        self._loss = loss_of(plan.loss, self.model)
        self._seen: list[Tensor] = []

    def on_train_start(self) -> None:
        """Begin another cycle of the learning rate if a training is extended; its checkpoint has been read."""
        if not self.extends:
            return
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            for key in OF_A_CYCLE:
                group.pop(key, None)
        left = int(self.trainer.estimated_stepping_batches) - self.global_step
        self.trainer.lr_scheduler_configs[0].scheduler = self._cycle(optimizer, left)

    def on_validation_epoch_start(self) -> None:
        """Forget the latent vectors of the epoch before."""
        self._seen = []

    def in_unit_latents(self) -> TrainedAutoencoder:
        """A copy whose latents have a standard deviation of 1 (root mean square over components).

        The unit with which training ends is arbitrary. With this one, lengths in latent units mean the same
        for every model, and |z| is near sqrt(D), as in the posts (16 for D = 256). The latents are those of the
        held-out items; where these are fewer than 30, also those of training items, up to 1,024 in all.
        """
        model: TrainedAutoencoder = copy.deepcopy(self.model)
        seen = torch.cat(self._seen) if self._seen else torch.empty(0, model.dimension)
        if len(seen) < FEWEST:
            seen = torch.cat([seen, self._train_latents(MOST_SEEN - len(seen))])
        spread = float(seen.double().var(dim=0).mean().sqrt()) if len(seen) > 1 else 0.0
        if math.isfinite(spread) and spread > 0:
            model.scale_latents(1 / spread)
        return model

    @torch.no_grad()
    def _train_latents(self, most: int) -> Tensor:
        chosen: Any = self.trainer.datamodule.train(most)  # type: ignore[attr-defined]
        return self.model.latents_of(_as_items(torch.from_numpy(chosen.copy()).to(self.device))).float().cpu()

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """The loss of one batch: of images uint8, of others float32."""
        items = _as_items(batch)
        if self.plan.flip:
            seed = mixed_seed(self.plan.seed, self.global_step, self.global_rank)
            mirrored = torch.rand(len(items), generator=torch.Generator().manual_seed(seed)) < 0.5
            items = torch.where(mirrored.to(items.device)[:, None, None, None], items.flip(-1), items)
        decoded = self.model(items)
        loss = self._loss(decoded, items)
        for name, error in self._errors(loss, decoded.detach(), items).items():
            # The mean of all processes: their shares are of equal size.
            self.log(f"train_{name}", error, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(items))
        return loss

    def _errors(self, loss: Tensor, decoded: Tensor, items: Tensor) -> dict[str, Tensor]:
        """What is logged of some items: the mean squared error, and the loss if that is another."""
        if self.plan.loss == "mse":
            return {"mse": loss}
        return {"mse": self.model.reconstruction_error(decoded, items), "loss": loss}

    def validation_step(self, batch: Tensor, _: int) -> None:
        """Measure the error of held-out items, and keep their latent vectors."""
        items = _as_items(batch)
        latents = self.model.latents_of(items)
        self._seen.append(latents.float().cpu())
        decoded = self.model.in_range(self.model.items_of(latents))
        for name, error in self._errors(self._loss(decoded, items), decoded, items).items():
            self.log(f"held_out_{name}", error, batch_size=len(items))

    def configure_optimizers(self) -> Any:
        """Adam with a one-cycle schedule."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.plan.learning_rate)
        schedule = self._cycle(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _cycle(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, self.plan.learning_rate, total_steps=steps)


def _as_items(batch: Tensor) -> Tensor:
    """Images (B, C, H, W) uint8 as float32 in [0, 1]; other items as they are."""
    if batch.dtype != torch.uint8:
        return batch
    return batch.to(torch.float32).div_(255.0).contiguous(memory_format=torch.channels_last)
