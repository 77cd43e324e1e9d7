"""What a training writes after every epoch: the curve, a checkpoint, the model."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from lsampler.errors import LsamplerError
from lsampler.files import Lock, disk_errors, new_file, only_writer
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.training.figures import reconstruction_grid, training_curve
from lsampler.models.training.images import PreparedImages
from lsampler.models.training.options import CURVE, CURVE_PICTURE, PICTURE, TrainingOptions, TrainingResult
from lsampler.progress import ProgressLike, begin

GRID_IMAGES = 16
# A resumed training may change these; with any other change it would be a different training.
MAY_CHANGE = ("accelerator", "devices", "nodes", "precision")


class Recorder(Callback):
    """Checks that a training may begin, reports its progress, and writes its files after every epoch."""

    def __init__(
        self,
        out: Path,
        options: TrainingOptions,
        settings: dict[str, Any],
        *,
        resume: bool,
        progress: ProgressLike,
        report: Callable[[str], None],
    ) -> None:
        self.out, self.path, self.checkpoint = out, out / "model.safetensors", out / "checkpoints" / "last.ckpt"
        self.model: ConvAutoencoder | None = None
        """As of the last epoch that this run finished."""
        self.begun = False
        """Whether the checkpoint, if there is one, has been read, and the first step has begun."""
        self._options, self._settings, self._resume = options, settings, resume
        self._progress, self._report = progress, report
        self._advance: Callable[[int], None] = lambda steps: None
        self._rows: list[dict[str, float]] = []
        self._started = time.monotonic()
        self._made: list[Path] = []
        self._lock: Lock | None = None

    def check_folder(self) -> None:
        """Make the folder. Raises LsamplerError if it holds a training already, or none to resume."""
        if self._resume and not self.checkpoint.is_file():
            raise LsamplerError(f"{self.out}: no checkpoint to resume; leave out `resume=True` to start")
        self._made = [folder for folder in (self.checkpoint.parent, self.out) if not folder.exists()]
        with disk_errors(self.out):
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self._lock = only_writer(self.checkpoint.parent, self.out)
        # Only now no other process can finish a training here.
        if not self._resume and (self.checkpoint.exists() or self.path.exists()):
            raise LsamplerError(
                f"{self.out}: holds a training already; pass `resume=True` to continue it, or choose another folder"
            )

    def close(self) -> None:
        """Let other processes write the folder, and remove the folders that this training made and left empty."""
        if self._lock:
            self._lock.close()
        with contextlib.suppress(OSError):  # they hold something, or are gone
            for folder in self._made:
                folder.rmdir()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Complete the model's record, and compare it with that of the training to resume."""
        images: PreparedImages = trainer.datamodule  # type: ignore[attr-defined]
        record = self._settings["training"]
        record |= {"devices": trainer.num_devices, "nodes": trainer.num_nodes, "images": len(images.ids)}
        pl_module.model.training_record = record  # type: ignore[union-attr]
        if self._resume and trainer.is_global_zero:
            try:
                self._resume_from(self._rows_before(trainer.world_size), images)
            except LsamplerError:
                if images.prepared_anew:  # for a training that does not go on
                    images.forget()
                raise

    def _resume_from(self, rows: list[dict[str, float]], images: PreparedImages) -> None:
        # One killed after its last epoch still has its images: what is left is done by `finish`.
        if len(rows) >= self._options.epochs and images.prepared_anew:
            raise LsamplerError(f"{self.out}: has finished all {len(rows)} epochs; there is nothing left to resume")
        self._rows = rows

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint which training it belongs to, and keep the curve."""
        checkpoint["lsampler"] = {"identity": self._identity(trainer.world_size), "rows": self._rows}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock and the progress bar."""
        self._started, self.begun = time.monotonic(), True
        if trainer.is_global_zero:
            total = int(trainer.estimated_stepping_batches)
            self._advance = begin(self._progress, "training", total, trainer.global_step)

    def on_train_batch_end(self, *_: Any) -> None:
        """Advance the progress bar."""
        self._advance(1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the files of the epoch. Raises LsamplerError if the training diverged."""
        train, held_out = (float(trainer.callback_metrics[key]) for key in ("train_mse", "held_out_mse"))
        now = time.monotonic()
        row = {"epoch": trainer.current_epoch + 1, "train_mse": train, "held_out_mse": held_out}
        if trainer.is_global_zero and not np.isfinite([train, held_out]).all():
            raise LsamplerError(f"{self.out}: the training diverged in epoch {row['epoch']}; lower `learning_rate=...`")
        self.model = pl_module.in_unit_latents()
        self.model.training_record |= {"epochs_done": row["epoch"], "held_out_mse": held_out}
        row["seconds"], self._started = round(now - self._started, 1), now
        if trainer.is_global_zero:
            self._rows.append(row)
            self._write(trainer, self.model, row)
        else:
            trainer.save_checkpoint(self.checkpoint)  # writes nothing, but the first process waits for it

    def finish(self, trainer: L.Trainer, images: PreparedImages, *, interrupted: bool) -> TrainingResult:
        """Draw reconstructions of held-out images, and remove the prepared images once they are not needed.

        Raises:
            KeyboardInterrupt: the training was interrupted before the first epoch was finished.
        """
        first = trainer.is_global_zero
        if interrupted and not self.path.is_file():
            if first:
                images.forget()
            raise KeyboardInterrupt
        # The weights in the middle of an epoch are of no use: their error was not measured.
        model = self.model or ConvAutoencoder.load(self.path)
        if first:
            reconstruction_grid(model, images.held_out(GRID_IMAGES), self.out / PICTURE)
            if not interrupted:
                images.forget()
        record = model.training_record
        error, epochs = record["held_out_mse"], record["epochs_done"]
        return TrainingResult(self.path, error, epochs, interrupted, images.skipped, trainer.global_rank)

    def _write(self, trainer: L.Trainer, model: ConvAutoencoder, row: dict[str, float]) -> None:
        with (
            new_file(self.out / CURVE, force=True) as beside,
            beside.open("w", newline="") as handle,
        ):
            writer = csv.DictWriter(handle, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        with new_file(self.path, force=True) as model_beside:
            model.save(model_beside, force=True)
            with new_file(
                self.checkpoint, force=True
            ) as beside:  # so that a kill between the two is next to impossible
                trainer.save_checkpoint(beside)
        training_curve(self._rows, self.out / CURVE_PICTURE)
        self._report(
            f"epoch {row['epoch']}/{self._options.epochs}: train MSE {row['train_mse']:.5f}, "
            f"held-out MSE {row['held_out_mse']:.5f}, {row['seconds']:.0f} s"
        )

    def _identity(self, processes: int) -> dict[str, Any]:
        """What must be the same when the training is resumed."""
        kept = {key: value for key, value in self._settings["training"].items() if key not in MAY_CHANGE}
        return {**kept, "processes": processes, **self._settings["config"], **self._settings["preprocess"]}

    def _rows_before(self, processes: int) -> list[dict[str, float]]:
        """The curve in the checkpoint. Raises LsamplerError if it belongs to another training."""
        try:
            saved = torch.load(self.checkpoint, map_location="cpu", weights_only=True)["lsampler"]
            began: dict[str, Any] = saved["identity"]
            rows: list[dict[str, float]] = saved["rows"]
        except Exception as error:  # damaged archives raise anything
            raise LsamplerError(
                f"{self.checkpoint}: not a readable checkpoint; start the training again in another folder"
            ) from error
        for key, value in self._identity(processes).items():
            before = began.get(key, value)
            if before != value:
                raise LsamplerError(
                    f"{self.out}: its training began with {key.replace('_', ' ')} {before}, not {value}; resume it "
                    "with the same images and options"
                )
        return rows
