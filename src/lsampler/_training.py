"""Training of the posts' autoencoder on Lightning (extra ``train``)."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lsampler import _figures
from lsampler._autoencoder import ConvAutoencoder, ConvConfig
from lsampler._errors import LsamplerError
from lsampler._files import disk_errors, new_file
from lsampler._images import ImageBatches, ImageSource, Preprocess, source_digest
from lsampler._progress import Progress, track

__all__ = ["TrainingOptions", "train_autoencoder"]

CHECKPOINTS = "checkpoints"
CURVE = "training.csv"
PREPARED = "prepared"
PREPARE_BATCH = 256
GRID_IMAGES = 16


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: the peak of the one-cycle schedule (Adam).
        held_out: the last images of the source, never trained on.
        flip: mirror every training image with probability 1/2.
        seed: fixes the initial weights, the order of the images and the flips.
        precision: Lightning's precision, such as ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator; ``auto`` takes a GPU where there is one.
        devices: how many of them, or ``auto``.
        nodes: machines; see Lightning's documentation for how to start one process on each.
    """

    epochs: int = 25
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    held_out: int = 1000
    flip: bool = True
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind."""

    model: Path
    held_out_mse: float
    epochs: int
    interrupted: bool
    skipped: dict[str, str]


def train_autoencoder(
    source: ImageSource,
    out: Path,
    *,
    config: ConvConfig,
    preprocess: Preprocess,
    options: TrainingOptions,
    resume: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] = print,
) -> TrainingResult:
    """Train an autoencoder and write ``model.safetensors``, the curve and a picture to ``out``.

    A checkpoint is written after every epoch; ``resume`` goes on from the last. Ctrl-C stops the
    training and leaves the model as it then is.

    Raises:
        LsamplerError: the folder holds another training, no usable image, nothing to resume.
    """
    checkpoint = out / CHECKPOINTS / "last.ckpt"
    if resume and not checkpoint.is_file():
        raise LsamplerError(f"{out}: no checkpoint to resume; leave out --resume to start")
    if not resume and (checkpoint.exists() or (out / "model.safetensors").exists()):
        raise LsamplerError(f"{out}: holds a training already; add --resume to go on, or choose another folder")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    images, ids, skipped = _prepare(source, preprocess, out, strict=strict, progress=progress)
    if not 0 < options.held_out < len(images):
        raise LsamplerError(
            f"{source.name}: {len(images)} images, {options.held_out} held out; "
            f"--held-out must leave some on both sides"
        )
    L.seed_everything(options.seed, workers=True, verbose=False)
    record = {
        **{key: value for key, value in asdict(options).items() if key not in ("devices", "nodes")},
        "source": source.name,
        "images": len(images),
        "source_digest": source_digest(ids),
    }
    model = ConvAutoencoder(config, preprocess=preprocess, training=record)
    module = _Training(model, options)
    recorder = _Recorder(out, options, report)
    trainer = L.Trainer(
        max_epochs=options.epochs,
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=options.precision,  # type: ignore[arg-type]
        logger=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(dirpath=out / CHECKPOINTS, filename="{epoch:03d}", save_last=True),
            RichProgressBar(leave=False),
            recorder,
        ],
    )
    split = len(images) - options.held_out
    interrupted = _fit(
        trainer,
        module,
        _loader(images[:split], options, train=True),
        _loader(images[split:], options, train=False),
        checkpoint if resume else None,
    )
    if trainer.is_global_zero:
        recorder.write_model(model)
        _figures.reconstruction_grid(model, images[split:][:GRID_IMAGES], out / "reconstructions.png")
        if not interrupted:
            _forget_prepared(out)
    return TrainingResult(
        model=out / "model.safetensors",
        held_out_mse=recorder.held_out_mse,
        epochs=trainer.current_epoch,
        interrupted=interrupted,
        skipped=skipped,
    )


def _fit(
    trainer: L.Trainer,
    module: L.LightningModule,
    train: DataLoader[Any],
    held_out: DataLoader[Any],
    checkpoint: Path | None,
) -> bool:
    """Fit, and say whether Ctrl-C ended it. Lightning answers Ctrl-C by ``sys.exit``."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train, held_out, ckpt_path=checkpoint, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        return True
    finally:
        signal.signal(signal.SIGINT, handler)
    return False


class _Training(L.LightningModule):
    """Mean squared error, Adam, one cycle of the learning rate."""

    def __init__(self, model: ConvAutoencoder, options: TrainingOptions) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.options = options

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        images = _as_images(batch)
        if self.options.flip:
            mirrored = torch.rand(len(images), device=images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        loss = torch.nn.functional.mse_loss(self.model(images), images)
        self.log("train_mse", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        images = _as_images(batch)
        decoded = self.model(images).clamp(0.0, 1.0)
        loss = torch.nn.functional.mse_loss(decoded, images)
        self.log("held_out_mse", loss, batch_size=len(images), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.options.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _as_images(batch: Tensor) -> Tensor:
    return batch.to(torch.float32).div_(255.0).contiguous(memory_format=torch.channels_last)


class _Recorder(Callback):
    """After every epoch: a row of the curve, the curve's picture, the model."""

    def __init__(self, out: Path, options: TrainingOptions, report: Callable[[str], None]) -> None:
        self._out, self._epochs, self._report = out, options.epochs, report
        self._rows: list[dict[str, float]] = []
        self._started = time.monotonic()
        self.held_out_mse = float("nan")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the rows of the epochs that the checkpoint holds."""
        if (self._out / CURVE).is_file():
            with (self._out / CURVE).open(newline="") as handle:
                rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]
            self._rows = [row for row in rows if row["epoch"] <= trainer.current_epoch]
            self.held_out_mse = self._rows[-1]["held_out_mse"] if self._rows else float("nan")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_mse": float(metrics["train_mse"]),
            "held_out_mse": float(metrics["held_out_mse"]),
            "seconds": round(time.monotonic() - self._started, 1),
        }
        self._rows.append(row)
        self.held_out_mse = row["held_out_mse"]
        if not trainer.is_global_zero:
            return
        with new_file(self._out / CURVE, force=True) as beside, beside.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        _figures.training_curve(self._rows, self._out / "training.png")
        self.write_model(pl_module.model)  # type: ignore[arg-type]
        self._report(
            f"epoch {row['epoch']:.0f}/{self._epochs}: train MSE {row['train_mse']:.5f}, "
            f"held-out MSE {row['held_out_mse']:.5f}, {row['seconds']:.0f} s"
        )

    def write_model(self, model: ConvAutoencoder) -> None:
        """Save the model with what is known of its training by now."""
        model.training_record |= {"epochs_done": len(self._rows), "held_out_mse": self.held_out_mse}
        model.save(self._out / "model.safetensors", force=True)


class _Batches(Dataset[Tensor]):
    """Whole batches straight from the memory-mapped uint8 images."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self._images[index].copy())

    def __getitems__(self, indices: list[int]) -> Tensor:
        return torch.from_numpy(self._images[np.asarray(indices)])


def _loader(images: NDArray[np.uint8], options: TrainingOptions, *, train: bool) -> DataLoader[Any]:
    return DataLoader(
        _Batches(images),
        batch_size=options.batch_size,
        shuffle=train,
        collate_fn=_unchanged,  # type: ignore[arg-type]  # batches come whole, see _Batches
        generator=torch.Generator().manual_seed(options.seed),
        pin_memory=torch.cuda.is_available(),
    )


def _unchanged(batch: Tensor) -> Tensor:
    return batch


def _prepare(
    source: ImageSource, preprocess: Preprocess, out: Path, *, strict: bool, progress: Progress | None
) -> tuple[NDArray[np.uint8], list[str], dict[str, str]]:
    """All images as one memory-mapped uint8 file in ``out``, made once, kept for a resume."""
    array_path, notes_path = out / f"{PREPARED}.npy", out / f"{PREPARED}.json"
    wanted = {"source": source_digest(source.ids), "preprocess": preprocess.as_dict()}
    if notes_path.is_file() and array_path.is_file():
        notes = json.loads(notes_path.read_text())
        if notes["wanted"] == wanted:
            return np.load(array_path, mmap_mode="r")[: len(notes["ids"])], notes["ids"], notes["skipped"]
    shape = (len(source.ids), preprocess.channels, preprocess.size, preprocess.size)
    reader = ImageBatches(source, preprocess, strict=strict)
    kept: list[int] = []
    with new_file(array_path, force=True) as beside:
        array = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
        batches = reader.read(PREPARE_BATCH)
        for indices, images in track(batches, progress, "preparing images", len(source.ids), lambda b: len(b[0])):
            array[len(kept) : len(kept) + len(indices)] = np.rint(images * 255).astype(np.uint8)
            kept += indices
        array.flush()
        del array
        reader.require_some(len(kept))
    ids = [source.ids[index] for index in kept]
    with new_file(notes_path, force=True) as beside:
        beside.write_text(json.dumps({"wanted": wanted, "ids": ids, "skipped": reader.skipped}))
    return np.load(array_path, mmap_mode="r")[: len(ids)], ids, reader.skipped


def _forget_prepared(out: Path) -> None:
    for suffix in ("npy", "json"):
        (out / f"{PREPARED}.{suffix}").unlink(missing_ok=True)
