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
from datetime import timedelta
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

from lsampler.data import pictures
from lsampler.data.images import ImageBatches, ImageSource, Preprocess, source_digest
from lsampler.errors import LsamplerError
from lsampler.files import disk_errors, new_file
from lsampler.models.conv_autoencoder import ConvAutoencoder, ConvConfig
from lsampler.models.training.processes import Team, end_at_once_on_sigterm, team
from lsampler.progress import Progress, begin, track

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
        devices: how many of them a machine, or ``auto``. Each gets a process, and ``batch_size`` images a step.
        nodes: machines. Several processes must have been started, see :mod:`lsampler.models.training.processes`.
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


@_quiet_lightning()
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

    A checkpoint is written after every epoch; ``resume`` goes on from the last. With as many
    processes the result is then the same as without the interruption, because the order of the
    images depends on seed and epoch only, and the flips on seed, step and process. Ctrl-C stops the
    training and leaves the model of the last finished epoch.

    In a team (see :mod:`lsampler.models.training.processes`) every process calls this; the first prepares the
    images, reports and writes.

    Raises:
        LsamplerError: the folder holds another training, no usable image, nothing to resume.
        KeyboardInterrupt: Ctrl-C before the first epoch was finished; nothing is kept.
    """
    trainer = _trainer(options)
    with _first_process_first(trainer):
        _check_split(source.name, len(source.ids), options.held_out, trainer.world_size)
        checkpoint = _checkpoint_in(out, resume=resume)
        reuse = resume or not trainer.is_global_zero
        images, ids, skipped = _prepare(source, preprocess, out, strict=strict, reuse=reuse, progress=progress)
        _check_split(source.name, len(images), options.held_out, trainer.world_size)
    record = _record(source, ids, options, trainer)
    identity = {key: value for key, value in record.items() if key not in MAY_CHANGE}
    identity |= {"processes": trainer.world_size} | config.model_dump(mode="json") | preprocess.as_dict()
    done = _epochs_done(checkpoint, identity) if resume else 0
    if done >= options.epochs:
        raise LsamplerError(f"{out}: holds all {done} epochs of its training; there is nothing left to resume")
    recorder = _Recorder(out, options, identity, done, report, progress)
    L.seed_everything(options.seed % 2**32, workers=True, verbose=False)
    module = _Training(ConvAutoencoder(config, preprocess=preprocess, training=record), options)
    interrupted = _fit(trainer, module, images, recorder, checkpoint if resume else None)
    return _finish(recorder, images[-options.held_out :], skipped, trainer, interrupted=interrupted)


def _record(source: ImageSource, ids: list[str], options: TrainingOptions, trainer: L.Trainer) -> dict[str, Any]:
    """What the model's file says of its training."""
    return asdict(options) | {
        "devices": trainer.num_devices,
        "nodes": trainer.num_nodes,
        "source": source.name,
        "images": len(ids),
        "source_digest": source_digest(source.ids),
        "first_held_out": ids[-options.held_out],
    }


def _finish(
    recorder: _Recorder,
    held_out: NDArray[np.uint8],
    skipped: dict[str, str],
    trainer: L.Trainer,
    *,
    interrupted: bool,
) -> TrainingResult:
    """Draw what the model makes of held-out images, clear up, and say how it went."""
    path = recorder.out / "model.safetensors"
    if interrupted and not path.is_file():
        if trainer.is_global_zero:
            _forget_prepared(recorder.out)
        raise KeyboardInterrupt
    # Not the weights of the middle of an epoch: nobody has measured those.
    model = recorder.model or ConvAutoencoder.load(path)
    if trainer.is_global_zero:
        pictures.reconstruction_grid(model, held_out[:GRID_IMAGES], recorder.out / "reconstructions.png")
        if not interrupted:
            _forget_prepared(recorder.out)
    return TrainingResult(
        model=path,
        held_out_mse=model.training_record["held_out_mse"],
        epochs=model.training_record["epochs_done"],
        interrupted=interrupted,
        skipped=skipped,
    )


@contextlib.contextmanager
def _first_process_first(trainer: L.Trainer) -> Iterator[None]:
    """Let the first process run the block before the others do: it leaves files for them."""
    if trainer.world_size == 1:
        yield
        return
    trainer.strategy.setup_environment()
    # Images may take hours to prepare, and the ordinary group gives up after half of one.
    patient = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=30))
    if not trainer.is_global_zero:
        torch.distributed.barrier(patient)
    yield
    if trainer.is_global_zero:
        torch.distributed.barrier(patient)


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


def _check_split(name: str, images: int, held_out: int, processes: int) -> None:
    if not 0 < held_out < images:
        raise LsamplerError(f"{name}: {images} images, {held_out} held out; --held-out must leave some on both sides")
    if min(held_out, images - held_out) < processes:
        raise LsamplerError(
            f"{name}: {images} images, {held_out} held out; --held-out must leave one on both sides for each of "
            f"{processes} processes"
        )


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


def _trainer(options: TrainingOptions) -> L.Trainer:
    """Lightning's trainer; in a team, one that trains with the others."""
    place = team()
    devices, nodes = options.devices, options.nodes
    if place:
        devices = str(place.here) if devices in ("auto", "-1") else devices
        nodes = place.machines if nodes == 1 else nodes
    try:
        trainer = L.Trainer(
            max_epochs=options.epochs,
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if place and place.here * place.machines > 1 else "auto",
            precision=options.precision,  # type: ignore[arg-type]
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            gradient_clip_val=GRADIENT_NORM,
            use_distributed_sampler=False,  # _Shuffle and _fit share the images out
        )
    except Exception as error:  # Lightning's own and ValueError, TypeError, RuntimeError
        raise LsamplerError(
            f"--accelerator {options.accelerator} --devices {devices} --precision {options.precision}: {error}"
        ) from error
    _check_team(trainer, place)
    return trainer


def _check_team(trainer: L.Trainer, place: Team | None) -> None:
    """Processes that do not know of each other would wait for ever, or train twice into one folder."""
    here, machines = (place.here, place.machines) if place else (1, 1)
    if (trainer.num_devices, trainer.num_nodes) != (here, machines):
        raise LsamplerError(
            f"--devices {trainer.num_devices} --nodes {trainer.num_nodes}: started were {here} processes on each of "
            f"{machines} machines; leave both options out, or give them these numbers"
        )


def _fit(
    trainer: L.Trainer,
    module: _Training,
    images: NDArray[np.uint8],
    recorder: _Recorder,
    checkpoint: Path | None,
) -> bool:
    """Fit, and say whether Ctrl-C ended it. Lightning answers Ctrl-C by ``sys.exit``."""
    options, split = module.options, len(images) - module.options.held_out
    rank, processes = trainer.global_rank, trainer.world_size
    shuffle = _Shuffle(split, options.seed, recorder.done, rank, processes)
    trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module,
            _loader(images[:split], options, shuffle=shuffle),
            _loader(images[split:][rank::processes], options),
            ckpt_path=checkpoint,
            weights_only=True,
        )
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
        spread = float(self._held_out_latents().double().var(dim=0).mean().sqrt()) if self._seen else 0.0
        if math.isfinite(spread) and spread > 0:
            model.scale_latents(1 / spread)
        return model

    def _held_out_latents(self) -> Tensor:
        """Those of all processes, in the order of the images."""
        latents, processes, total = torch.cat(self._seen), self.trainer.world_size, self.options.held_out
        if processes == 1:
            return latents
        # All must send as much; what fills up the shorter shares comes last when they are woven together.
        filler = latents.new_zeros(-(-total // processes) - len(latents), latents.shape[1])
        shares: Any = self.all_gather(torch.cat([latents, filler]).to(self.device))
        woven: Tensor = shares.cpu().transpose(0, 1).flatten(0, 1)
        return woven[:total]

    def errors_of_all(self, train: float, held_out: float) -> tuple[float, float]:
        """The mean errors over the images of all processes, from those over this one's.

        Lightning's ``sync_dist`` is not exact where shares differ: it drops the fraction of their mean size.
        """
        if self.trainer.world_size == 1:
            return train, held_out
        mine = torch.tensor([train, held_out, sum(map(len, self._seen))], device=self.device)
        shares: Any = self.all_gather(mine)
        trains, held_outs, sizes = shares.cpu().double().T
        return float(trains.mean()), float((held_outs * sizes).sum() / sizes.sum())

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        images = _as_images(batch)
        if self.options.flip:
            generator = torch.Generator().manual_seed(_mixed(self.options.seed, self.global_step, self.global_rank))
            mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        loss = torch.nn.functional.mse_loss(self.model(images), images)
        self.log("train_mse", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        images = _as_images(batch)
        latents = self.model.encoder(images)
        self._seen.append(latents.float().cpu())
        decoded = self.model.decoder(latents).clamp(0.0, 1.0)
        loss = torch.nn.functional.mse_loss(decoded, images)
        self.log("held_out_mse", loss, batch_size=len(images), prog_bar=True)

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
        self.out, self.done = out, done
        self._epochs, self._identity = options.epochs, identity
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
        if trainer.world_size > 1:
            end_at_once_on_sigterm()
        if trainer.is_global_zero:
            total = int(trainer.estimated_stepping_batches)
            self._advance = begin(self._progress, "training", total, trainer.global_step)

    def on_train_batch_end(self, *_: Any) -> None:
        if self._advance:
            self._advance(1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        row = self._row(trainer, pl_module)
        if not np.isfinite([row["train_mse"], row["held_out_mse"]]).all():
            raise LsamplerError(f"{self.out}: the training diverged in epoch {row['epoch']}; lower --learning-rate")
        self._rows.append(row)
        self.model = pl_module.in_unit_latents()
        self.model.training_record |= {"epochs_done": row["epoch"], "held_out_mse": row["held_out_mse"]}
        if trainer.is_global_zero:
            self._write(trainer, self.model, row)
        else:
            trainer.save_checkpoint(self.out / CHECKPOINTS / "last.ckpt")  # writes nothing, but the first waits for it

    def _row(self, trainer: L.Trainer, module: _Training) -> dict[str, float]:
        metrics, now = trainer.callback_metrics, time.monotonic()
        train, held_out = module.errors_of_all(float(metrics["train_mse"]), float(metrics["held_out_mse"]))
        seconds, self._started = round(now - self._started, 1), now
        return {"epoch": trainer.current_epoch + 1, "train_mse": train, "held_out_mse": held_out, "seconds": seconds}

    def _write(self, trainer: L.Trainer, model: ConvAutoencoder, row: dict[str, float]) -> None:
        checkpoint = self.out / CHECKPOINTS / "last.ckpt"
        with new_file(self.out / CURVE, force=True) as beside, beside.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        with new_file(checkpoint, force=True) as beside:
            trainer.save_checkpoint(beside)
        model.save(self.out / "model.safetensors", force=True)
        pictures.training_curve(self._rows, self.out / "training.png")
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
    """An order of the images that depends on seed and epoch only, so that a resume is exact.

    Of P processes the r-th takes every P-th image from the r-th on: batch by batch all of them
    together see what one process with batches P times as large would. All must take as many steps,
    so up to P - 1 images of an epoch are seen twice where P does not divide their number.
    """

    def __init__(self, count: int, seed: int, epoch: int, rank: int = 0, processes: int = 1) -> None:
        super().__init__(range(count), generator=torch.Generator())
        self._seed, self._epoch, self._rank, self._processes = seed, epoch, rank, processes

    def __len__(self) -> int:
        return -(-self.num_samples // self._processes)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch but the first and a resumed one."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(_mixed(self._seed, self._epoch))
        order = list(super().__iter__())
        order += order[: len(self) * self._processes - len(order)]
        return iter(order[self._rank :: self._processes])


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
    place = team()
    if place and place.rank:
        raise LsamplerError(f"{out}: holds no images prepared by the first process; all machines must share the folder")
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
