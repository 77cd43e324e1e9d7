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
from lsampler.models.architectures import open_trained
from lsampler.models.standardised import StandardisedAutoencoder
from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.models.training.checkpoints import CHECKPOINT, CONTENT, MAY_CHANGE, content_of
from lsampler.models.training.figures import reconstructions, training_curve
from lsampler.models.training.options import CURVE, CURVE_PICTURE, PICTURE, Plan, TrainingResult
from lsampler.models.training.prepared import PreparedItems
from lsampler.models.training.rows import PreparedRows
from lsampler.progress import ProgressLike, begin

GRID_IMAGES, SHOWN_ROWS = 16, 2000
MOST_LINES = 50
"""Of a training with more epochs, not every one is reported."""
DRAWN_AFTER = 10.0
"""Seconds after which the curve is drawn again."""


class Recorder(Callback):
    """Checks that a training may begin, reports its progress, and writes its files after every epoch."""

    def __init__(
        self,
        out: Path,
        plan: Plan,
        settings: dict[str, Any],
        *,
        resume: bool,
        progress: ProgressLike,
        report: Callable[[str], None],
    ) -> None:
        self.out, self.path, self.checkpoint = out, out / "model.safetensors", out / CHECKPOINT
        self.model: TrainedAutoencoder | None = None
        """As of the last epoch that this run finished."""
        self.begun = False
        """Whether the checkpoint, if there is one, has been read, and the first step has begun."""
        self._plan, self._settings, self._resume = plan, settings, resume
        self._progress, self._report = progress, report
        self._advance: Callable[[int], None] = lambda steps: None
        self._rows: list[dict[str, float]] = []
        self._started, self._drawn = time.monotonic(), -DRAWN_AFTER
        self._made: list[Path] = []
        self._lock: Lock | None = None

    def begin(self, line: str) -> None:
        """Make the folder, and report a line unless a training is resumed.

        Raises:
            LsamplerError: it holds a training already, or none to resume.
        """
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
        if not self._resume:
            self._report(line)

    def close(self) -> None:
        """Let other processes write the folder, and remove the folders that this training made and left empty."""
        if self._lock:
            self._lock.close()
        with contextlib.suppress(OSError):  # they hold something, or are gone
            for folder in self._made:
                folder.rmdir()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Complete the model's record, and compare it with that of the training to resume."""
        items: PreparedItems = trainer.datamodule  # type: ignore[attr-defined]
        model: TrainedAutoencoder = pl_module.model  # type: ignore[assignment]
        record = self._settings["training"]
        count = {"images" if items.what == "images" else "items": len(items.ids)}
        record |= {"devices": trainer.num_devices, "nodes": trainer.num_nodes, **count}
        model.training_record = record
        try:
            if self._resume and trainer.is_global_zero:
                self._resume_from(self._rows_before(trainer.world_size), items)
            self._standardise(model, items, say=trainer.is_global_zero and not self._resume)
        except LsamplerError:
            if items.prepared_anew and trainer.is_global_zero:  # for a training that does not go on
                items.forget()
            raise

    def _standardise(self, model: TrainedAutoencoder, items: PreparedItems, *, say: bool) -> None:
        """Let the model know the mean and the standard deviation of the training items, unless they are images."""
        if isinstance(model, StandardisedAutoencoder) and isinstance(items, PreparedRows):
            mean, scale = items.scaling(per_channel=model.per_channel)
            model.standardise(torch.from_numpy(mean), torch.from_numpy(scale))
            if say and (constant := items.constants(scale)):
                self._report(constant)

    def _resume_from(self, rows: list[dict[str, float]], items: PreparedItems) -> None:
        done, wanted = len(rows), self._plan.epochs
        # One killed after its last epoch still has its items: what is left is done by `finish`.
        if done > wanted or (done == wanted and items.prepared_anew):
            raise LsamplerError(
                f"{self.out}: has finished all {done} epochs; to extend the training, pass `epochs={2 * done}`, say"
            )
        self._rows = rows

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint which training it belongs to, and keep the curve."""
        identity = self._identity(trainer.world_size)
        checkpoint[CONTENT] = {"identity": identity, "epochs": self._plan.epochs, "rows": self._rows}

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
        found = {key: float(trainer.callback_metrics[key]) for key in self._plan.measures}
        now = time.monotonic()
        row = {"epoch": trainer.current_epoch + 1, **found}
        if trainer.is_global_zero and not np.isfinite(list(found.values())).all():
            raise LsamplerError(f"{self.out}: the training diverged in epoch {row['epoch']}; lower `learning_rate=...`")
        self.model = pl_module.in_unit_latents()
        held_out = {key: error for key, error in found.items() if key.startswith("held_out")}
        self.model.training_record |= {"epochs_done": row["epoch"], **held_out}
        row["seconds"], self._started = round(now - self._started, 1), now
        if trainer.is_global_zero:
            self._rows.append(row)
            self._write(trainer, self.model, row)
        else:
            trainer.save_checkpoint(self.checkpoint)  # writes nothing, but the first process waits for it

    def finish(self, trainer: L.Trainer, items: PreparedItems, *, interrupted: bool) -> TrainingResult:
        """Draw the curve and reconstructions of held-out items, and remove what was prepared once it is not needed.

        Raises:
            KeyboardInterrupt: the training was interrupted before the first epoch was finished.
        """
        first = trainer.is_global_zero
        if interrupted and not self.path.is_file():
            if first:
                items.forget()
            raise KeyboardInterrupt
        # The weights in the middle of an epoch are of no use: their error was not measured.
        model = self.model or open_trained(self.path)
        if first:
            most = GRID_IMAGES if model.item.is_image else SHOWN_ROWS
            if self._rows:  # there are none if it was interrupted before the checkpoint was read
                training_curve(self._rows, self.out / CURVE_PICTURE, items.what, self._plan.loss)
            reconstructions(model, items.held_out(most), self.out / PICTURE)
            if not interrupted:
                items.forget()
        record = model.training_record
        error, epochs, rank = record["held_out_mse"], record["epochs_done"], trainer.global_rank
        return TrainingResult(self.path, error, epochs, interrupted, items.skipped, rank, self._plan.epochs)

    def _write(self, trainer: L.Trainer, model: TrainedAutoencoder, row: dict[str, float]) -> None:
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
        if time.monotonic() - self._drawn > DRAWN_AFTER:
            training_curve(self._rows, self.out / CURVE_PICTURE, model.item.plural, self._plan.loss)
            self._drawn = time.monotonic()
        if row["epoch"] % -(-self._plan.epochs // MOST_LINES) and 1 < row["epoch"] < self._plan.epochs:
            return
        names = {"mse": "MSE", "loss": self._plan.loss}
        measured = ((key.rpartition("_"), row[key]) for key in self._plan.measures)
        errors = ", ".join(f"{part.replace('_', '-')} {names[name]} {value:.5f}" for (part, _, name), value in measured)
        self._report(f"epoch {row['epoch']}/{self._plan.epochs}: {errors}, {row['seconds']:.0f} s")

    def _identity(self, processes: int) -> dict[str, Any]:
        """What must be the same when the training is resumed."""
        kept = {key: value for key, value in self._settings["training"].items() if key not in MAY_CHANGE}
        return {**kept, "processes": processes, **self._settings["config"], **self._settings["items"]}

    def _rows_before(self, processes: int) -> list[dict[str, float]]:
        """The curve in the checkpoint. Raises LsamplerError if it belongs to another training."""
        content = content_of(self.checkpoint)
        for key, value in self._identity(processes).items():
            before = content["identity"].get(key, value)
            if before != value:
                raise LsamplerError(
                    f"{self.out}: its training began with {key.replace('_', ' ')} {before}, not {value}; resume it "
                    "with the same items and options"
                )
        rows: list[dict[str, float]] = content["rows"]
        return rows
