"""Training of the posts' autoencoder on Lightning (extra ``train``)."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import logging
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

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
# Ordinary gradients are ten times smaller; one batch that explodes shall not undo the others.
GRADIENT_NORM = 0.1
# What a resumed training may change; anything else would make it another training.
MAY_CHANGE = ("accelerator", "devices", "nodes", "precision")


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
    batch_size: int = 32
    learning_rate: float = 8e-4
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

    A checkpoint is written after every epoch; ``resume`` goes on from the last. On one device the
    result is then the same as without the interruption, because the order of the images depends on
    seed and epoch only, and the flips on seed and step. Ctrl-C stops the training and leaves the
    model of the last finished epoch.

    Raises:
        LsamplerError: the folder holds another training, no usable image, nothing to resume.
        KeyboardInterrupt: Ctrl-C before the first epoch was finished; nothing is kept.
    """
    _check_held_out(source.name, len(source.ids), options.held_out)
    checkpoint = _checkpoint_in(out, resume=resume)
    images, ids, skipped = _prepare(source, preprocess, out, strict=strict, reuse=resume, progress=progress)
    _check_held_out(source.name, len(images), options.held_out)
    record = {
        **{key: value for key, value in asdict(options).items() if key not in ("devices", "nodes")},
        "source": source.name,
        "images": len(images),
        "source_digest": source_digest(source.ids),
        "first_held_out": ids[-options.held_out],
    }
    identity = {key: value for key, value in record.items() if key not in MAY_CHANGE}
    identity |= config.model_dump(mode="json") | preprocess.as_dict()
    done = _epochs_done(checkpoint, identity) if resume else 0
    if done >= options.epochs:
        raise LsamplerError(f"{out}: holds all {done} epochs of its training; there is nothing left to resume")
    recorder = _Recorder(out, options, identity, done, report, progress)
    with _quiet_lightning():
        L.seed_everything(options.seed % 2**32, workers=True, verbose=False)
        module = _Training(ConvAutoencoder(config, preprocess=preprocess, training=record), options)
        trainer = _trainer(options, recorder)
        split = len(images) - options.held_out
        interrupted = _fit(
            trainer,
            module,
            _loader(images[:split], options, shuffle=_Shuffle(split, options.seed, done)),
            _loader(images[split:], options),
            checkpoint if resume else None,
        )
    path = out / "model.safetensors"
    if interrupted and not path.is_file():
        _forget_prepared(out)
        raise KeyboardInterrupt
    # Not the weights of the middle of an epoch: nobody has measured those.
    model = recorder.model or ConvAutoencoder.load(path)
    if trainer.is_global_zero:
        _figures.reconstruction_grid(model, images[split:][:GRID_IMAGES], out / "reconstructions.png")
        if not interrupted:
            _forget_prepared(out)
    return TrainingResult(
        model=path,
        held_out_mse=model.training_record["held_out_mse"],
        epochs=model.training_record["epochs_done"],
        interrupted=interrupted,
        skipped=skipped,
    )


def _checkpoint_in(out: Path, *, resume: bool) -> Path:
    """Where the checkpoint of a training in ``out`` is, or will be; the folder is made."""
    checkpoint = out / CHECKPOINTS / "last.ckpt"
    if resume and not checkpoint.is_file():
        raise LsamplerError(f"{out}: no checkpoint to resume; leave out --resume to start")
    if not resume and (checkpoint.exists() or (out / "model.safetensors").exists()):
        raise LsamplerError(f"{out}: holds a training already; add --resume to go on, or choose another folder")
    with disk_errors(out):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    return checkpoint


def _check_held_out(name: str, images: int, held_out: int) -> None:
    if not 0 < held_out < images:
        raise LsamplerError(f"{name}: {images} images, {held_out} held out; --held-out must leave some on both sides")


def _epochs_done(checkpoint: Path, identity: dict[str, Any]) -> int:
    """The epochs that the checkpoint holds; an error if it belongs to another training."""
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        done, began = int(saved["epoch"]) + 1, saved.get("lsampler", {})
    except Exception as error:  # damaged archives raise what they like
        raise LsamplerError(f"{checkpoint}: not a readable checkpoint; train anew in another folder") from error
    for key, value in identity.items():
        before = began.get(key, value)
        if before != value:
            raise LsamplerError(
                f"{checkpoint.parent.parent}: its training began with {key.replace('_', ' ')} {before}, not {value}; "
                "give --resume the same images and options"
            )
    return done


def _trainer(options: TrainingOptions, recorder: _Recorder) -> L.Trainer:
    try:
        return L.Trainer(
            max_epochs=options.epochs,
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            precision=options.precision,  # type: ignore[arg-type]
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            gradient_clip_val=GRADIENT_NORM,
            callbacks=[recorder],
        )
    except Exception as error:  # Lightning's own and ValueError, TypeError, RuntimeError
        raise LsamplerError(
            f"--accelerator {options.accelerator} --devices {options.devices} --precision {options.precision}: {error}"
        ) from error


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's banners, tips and advice; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
        self._seen: list[Tensor] = []

    def on_validation_epoch_start(self) -> None:
        """Forget the latents of the epoch before."""
        self._seen = []

    def in_unit_latents(self) -> ConvAutoencoder:
        """A copy whose held-out latents have a standard deviation of 1 (root mean square over components).

        Which unit training ends with is chance. With this one lengths in latent units mean the same
        for every model, and |z| is near sqrt(D), as in the posts (16 for D = 256).
        """
        model: ConvAutoencoder = copy.deepcopy(self.model)
        spread = float(torch.cat(self._seen).double().var(dim=0).mean().sqrt()) if self._seen else 0.0
        if math.isfinite(spread) and spread > 0:
            model.scale_latents(1 / spread)
        return model

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        images = _as_images(batch)
        if self.options.flip:
            generator = torch.Generator().manual_seed(_mixed(self.options.seed, self.global_step, self.global_rank))
            mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        loss = torch.nn.functional.mse_loss(self.model(images), images)
        self.log("train_mse", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        images = _as_images(batch)
        latents = self.model.encoder(images)
        self._seen.append(latents.float().cpu())
        decoded = self.model.decoder(latents).clamp(0.0, 1.0)
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
    """Shows the progress; after every epoch: the curve, a checkpoint, the model, the curve's picture."""

    def __init__(
        self,
        out: Path,
        options: TrainingOptions,
        identity: dict[str, Any],
        done: int,
        report: Callable[[str], None],
        progress: Progress | None,
    ) -> None:
        self._out, self._epochs, self._identity = out, options.epochs, identity
        self._report, self._progress = report, progress
        self._advance: Callable[[int], None] | None = None
        self._rows = _read_curve(out / CURVE, done) if done else []
        self._started = time.monotonic()
        self.model: ConvAutoencoder | None = None
        """As of the last epoch finished here."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["lsampler"] = self._identity

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()
        if self._progress and trainer.is_global_zero:
            total = int(trainer.estimated_stepping_batches)
            self._advance = self._progress.begin("training", total, trainer.global_step)

    def on_train_batch_end(self, *_: Any) -> None:
        if self._advance:
            self._advance(1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics, now = trainer.callback_metrics, time.monotonic()
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_mse": float(metrics["train_mse"]),
            "held_out_mse": float(metrics["held_out_mse"]),
            "seconds": round(now - self._started, 1),
        }
        self._started = now
        if not np.isfinite([row["train_mse"], row["held_out_mse"]]).all():
            raise LsamplerError(f"{self._out}: the training diverged in epoch {row['epoch']}; lower --learning-rate")
        self._rows.append(row)
        model: ConvAutoencoder = pl_module.in_unit_latents()  # type: ignore[operator]
        self.model = model
        model.training_record |= {"epochs_done": row["epoch"], "held_out_mse": row["held_out_mse"]}
        checkpoint = self._out / CHECKPOINTS / "last.ckpt"
        if not trainer.is_global_zero:
            trainer.save_checkpoint(checkpoint)  # writes nothing, but the other processes wait for it
            return
        with new_file(self._out / CURVE, force=True) as beside, beside.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        with new_file(checkpoint, force=True) as beside:
            trainer.save_checkpoint(beside)
        model.save(self._out / "model.safetensors", force=True)
        _figures.training_curve(self._rows, self._out / "training.png")
        self._report(
            f"epoch {row['epoch']}/{self._epochs}: train MSE {row['train_mse']:.5f}, "
            f"held-out MSE {row['held_out_mse']:.5f}, {row['seconds']:.0f} s"
        )


def _read_curve(path: Path, epochs: int) -> list[dict[str, float]]:
    """The rows of the first ``epochs`` epochs; none if the file is gone or was edited."""
    try:
        with path.open(newline="") as handle:
            rows: list[dict[str, float]] = [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
                for row in csv.DictReader(handle)
            ]
        return [row for row in rows if row["epoch"] <= epochs]
    except (OSError, ValueError, KeyError, TypeError):
        return []


class _Shuffle(RandomSampler):
    """An order of the images that depends on seed and epoch only, so that a resume is exact."""

    def __init__(self, count: int, seed: int, epoch: int) -> None:
        super().__init__(range(count), generator=torch.Generator())
        self._seed, self._epoch = seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch but the first and a resumed one."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(_mixed(self._seed, self._epoch))
        return super().__iter__()


def _mixed(*numbers: int) -> int:
    """One seed from several numbers, far from that of their neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


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


def _loader(images: NDArray[np.uint8], options: TrainingOptions, *, shuffle: _Shuffle | None = None) -> DataLoader[Any]:
    return DataLoader(
        _Batches(images),
        batch_size=options.batch_size,
        sampler=shuffle,
        collate_fn=_unchanged,  # type: ignore[arg-type]  # batches come whole, see _Batches
        generator=torch.Generator().manual_seed(options.seed % 2**32),
        pin_memory=torch.cuda.is_available(),
    )


def _unchanged(batch: Tensor) -> Tensor:
    return batch


def _prepare(
    source: ImageSource, preprocess: Preprocess, out: Path, *, strict: bool, reuse: bool, progress: Progress | None
) -> tuple[NDArray[np.uint8], list[str], dict[str, str]]:
    """All images as one memory-mapped uint8 file in ``out``, made once, kept for a resume."""
    array_path, notes_path = out / f"{PREPARED}.npy", out / f"{PREPARED}.json"
    wanted = {"source": source_digest(source.ids), "preprocess": preprocess.as_dict()}
    # A fresh start prepares afresh: the same names may stand for other pixels by now.
    if reuse and notes_path.is_file() and array_path.is_file():
        notes = json.loads(notes_path.read_text())
        if notes["wanted"] == wanted and not (strict and notes["skipped"]):
            return np.load(array_path, mmap_mode="r")[: len(notes["ids"])], notes["ids"], notes["skipped"]
    shape = (len(source.ids), preprocess.channels, preprocess.size, preprocess.size)
    reader = ImageBatches(source, preprocess, strict=strict)
    kept: list[int] = []
    with new_file(array_path, force=True) as beside:
        # Written, not memory-mapped: a disk that fills up is then an error, not a crash of the process.
        with beside.open("wb") as handle:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(handle, header)
            start = handle.tell()
            batches = reader.read(PREPARE_BATCH)
            for indices, images in track(batches, progress, "preparing images", len(source.ids), lambda b: len(b[0])):
                handle.write(np.rint(images * 255).astype(np.uint8).tobytes())
                kept += indices
            handle.truncate(start + int(np.prod(shape)))  # the header promises room for the skipped ones too
        reader.require_some(len(kept))
    ids = [source.ids[index] for index in kept]
    with new_file(notes_path, force=True) as beside:
        beside.write_text(json.dumps({"wanted": wanted, "ids": ids, "skipped": reader.skipped}))
    return np.load(array_path, mmap_mode="r")[: len(ids)], ids, reader.skipped


def _forget_prepared(out: Path) -> None:
    for suffix in ("npy", "json"):
        (out / f"{PREPARED}.{suffix}").unlink(missing_ok=True)
