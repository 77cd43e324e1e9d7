"""Training by Lightning, in one process or in several."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning

from lsampler.data.image_sources import ImageSource, source_digest
from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.models.conv_autoencoder import ConvAutoencoder, ConvConfig
from lsampler.models.training.images import PreparedImages, check_split
from lsampler.models.training.module import TrainingModule
from lsampler.models.training.options import TrainingOptions, TrainingResult
from lsampler.models.training.recorder import Recorder
from lsampler.progress import ProgressLike, shows_progress

# Ordinary gradients are ten times smaller; this keeps one exploding batch from undoing the others.
GRADIENT_NORM = 0.1


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banners, tips and advice, but not its errors; restore its handler of Ctrl-C."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    handler = signal.getsignal(signal.SIGINT)
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
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@_quiet_lightning()
@shows_progress
def train_autoencoder(
    source: ImageSource,
    out: Path,
    *,
    config: ConvConfig,
    options: TrainingOptions,
    resume: bool = False,
    progress: ProgressLike = None,
    report: Callable[[str], None] = print,
) -> TrainingResult:
    """Train an autoencoder and write ``model.safetensors``, the curve and a picture to ``out``.

    A checkpoint is written after every epoch; ``resume`` continues from the last one. With the same number of
    processes the result equals that of an uninterrupted training, because the order of the images depends on seed
    and epoch only, and the flips on seed, step and process. Ctrl-C stops the training and keeps the model of the last
    finished epoch.

    With several devices Lightning starts the running program once more for each of them; with several machines,
    torchrun or the cluster's scheduler starts all processes. Each calls this function, and the first one prepares the
    images, reports and writes.

    Raises:
        LsamplerError: the folder holds another training, no usable image, nothing to resume.
        KeyboardInterrupt: Ctrl-C before the first epoch was finished; nothing is kept.
    """
    trainer = _trainer(options)
    preprocess = Preprocess(config.image_size, options.crop, config.channels)
    images = PreparedImages(source, preprocess, out, options, resume=resume, progress=progress)
    record = options.record() | {"source": source.name, "source_digest": source_digest(source.ids)}
    settings = {"training": record, "config": config.model_dump(mode="json"), "preprocess": preprocess.as_dict()}
    recorder = Recorder(out, options, settings, resume=resume, progress=progress, report=report)
    with contextlib.closing(recorder):
        if trainer.is_global_zero:
            check_split(source.name, len(source.ids), options.held_out, trainer.world_size)
            divided = f"held out: {images.division.words}"
            recorder.check_folder()
            if not resume:
                report(divided)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            module = TrainingModule(ConvAutoencoder(config, preprocess=preprocess), options)
        trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        interrupted = _fit(trainer, module, images, recorder, resume=resume)
        return recorder.finish(trainer, images, interrupted=interrupted)


def _trainer(options: TrainingOptions) -> L.Trainer:
    """Lightning's trainer, for the devices of this machine or for the processes that torchrun started."""
    devices, nodes = options.devices, options.nodes
    processes = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else None
    if processes and devices in ("auto", "-1"):
        devices = os.environ["LOCAL_WORLD_SIZE"]
        nodes = processes // int(devices) if nodes == 1 else nodes
    try:
        trainer = L.Trainer(
            max_epochs=options.epochs,
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=options.precision,  # type: ignore[arg-type]
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            gradient_clip_val=GRADIENT_NORM,
            use_distributed_sampler=False,  # PreparedImages shares the images out
        )
    except Exception as error:  # Lightning's own and ValueError, TypeError, RuntimeError
        raise LsamplerError(
            f"`accelerator={options.accelerator}`, `devices={devices}`, `precision={options.precision}`: {error}"
        ) from error
    # Processes that do not know of each other would wait for ever, or write to the same folder.
    if processes and trainer.num_devices * trainer.num_nodes != processes:
        raise LsamplerError(
            f"`devices={devices}`, `nodes={nodes}`: torchrun started {processes} processes; leave both out"
        )
    environment: Any = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes > 1 and not environment.creates_processes_externally:
        raise LsamplerError(
            f"`nodes={nodes}`: start the training with torchrun on every machine, as in docs/guide.md, section "
            "'Training on several machines'"
        )
    return trainer


def _fit(
    trainer: L.Trainer, module: TrainingModule, images: PreparedImages, recorder: Recorder, *, resume: bool
) -> bool:
    """Train, and return whether Ctrl-C or SIGTERM ended it; Lightning turns both into SystemExit."""
    checkpoint = recorder.checkpoint if resume else None
    try:
        trainer.fit(module, datamodule=images, ckpt_path=checkpoint, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        return True
    except Exception as error:
        _end_others(trainer)
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error):
            raise LsamplerError(
                "the connection to another training process was lost; its message says why, or if there is none, it "
                "was killed: is there enough memory? Pass `resume=True` to continue after the last finished epoch"
            ) from error
        if checkpoint and not recorder.begun and not isinstance(error, LsamplerError):
            raise LsamplerError(
                f"{checkpoint}: not a readable checkpoint; start the training again in another folder"
            ) from error
        raise
    return False


def _end_others(trainer: L.Trainer) -> None:
    """End the processes that Lightning started here; it ends them after Ctrl-C only."""
    processes = getattr(trainer.strategy.launcher, "procs", [])
    for process in processes:
        process.kill()
    processes.clear()  # Lightning watches them, and would kill this process because they ended
