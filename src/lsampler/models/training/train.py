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

from lsampler.data.any_items import AnySource, as_training_source
from lsampler.data.image_sources import source_digest
from lsampler.errors import LsamplerError
from lsampler.models.trained_autoencoder import NetworkConfig
from lsampler.models.training.checkpoints import CHECKPOINT, content_of
from lsampler.models.training.kinds import ModelPlan
from lsampler.models.training.losses import GRADIENTS, check_loss
from lsampler.models.training.module import TrainingModule
from lsampler.models.training.options import Plan, TrainingOptions, TrainingResult
from lsampler.models.training.prepared import PreparedItems, check_split
from lsampler.models.training.recorder import Recorder
from lsampler.progress import ProgressLike, shows_progress

DEFAULTS = TrainingOptions()


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
    source: Any,
    out: str | os.PathLike[str],
    *,
    config: NetworkConfig | None = None,
    options: TrainingOptions = DEFAULTS,
    resume: bool = False,
    progress: ProgressLike = None,
    report: Callable[[str], None] = print,
) -> TrainingResult:
    """Train an autoencoder and write ``model.safetensors``, the curve and a picture to the folder ``out``.

    Images train the posts' convolutional autoencoder; rows of a table, and arrays of any other shape, a dense one;
    signals (C, L) a convolutional one. Of all but images, mean and standard deviation of the training items become part
    of the model, so that it takes and gives items in their own units, and errors are in units of the variance.

    A checkpoint is written after every epoch; Ctrl-C stops the training and keeps the model of the last finished epoch.
    With several devices, or with torchrun, each process calls this function, and the first one reports and writes.

    Args:
        source: images of :func:`lsampler.data.open_images`; rows of :func:`lsampler.data.open_items`; an array
            (N, ...) or a DataFrame, whose shape says what the items are; or the path of any of them.
        out: the folder.
        config: the network's shape: a :class:`lsampler.models.ConvConfig` for images, a
            :class:`lsampler.models.SignalConfig` or a :class:`lsampler.models.DenseConfig`; by default one that suits.
        options: how to train.
        resume: continue from the last checkpoint, as if there had been no interruption. With more epochs, also that of
            a finished training: the epochs that are left form another cycle of the learning rate.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.
        report: takes the lines that tell how the training goes.

    Raises:
        LsamplerError: the folder holds another training, no usable item, missing values, nothing to resume.
        KeyboardInterrupt: Ctrl-C before the first epoch was finished; nothing is kept.
    """
    items, out = as_training_source(source), Path(out)
    model = ModelPlan.of(items, config, options)
    begun = _begun(out) if resume else None
    plan = options.plan(model.item, len(items.ids), begun)
    check_loss(plan.loss, model.item)
    trainer = _trainer(plan, model.gradient_norm * GRADIENTS[plan.loss])
    prepared = model.prepared(items, out, plan, resume=resume, progress=progress)
    recorder = Recorder(out, plan, _settings(items, model, plan), resume=resume, progress=progress, report=report)
    with contextlib.closing(recorder):
        if trainer.is_global_zero:
            check_split(items.name, prepared.what, len(items.ids), plan.held_out, (trainer.world_size, None))
            recorder.begin(f"held out: {prepared.division.words}")
        module = _module(model, plan, extends=begun is not None and plan.epochs != begun["epochs"])
        trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        interrupted = _fit(trainer, module, prepared, recorder, resume=resume)
        return recorder.finish(trainer, prepared, interrupted=interrupted)


def _settings(items: AnySource, model: ModelPlan, plan: Plan) -> dict[str, Any]:
    """What the checkpoint and the file of the model say of a training."""
    record = plan.record() | {"source": items.name, "source_digest": source_digest(items.ids)}
    return {"training": record, "config": model.config.model_dump(mode="json"), "items": model.identity}


def _module(model: ModelPlan, plan: Plan, *, extends: bool) -> TrainingModule:
    """The network with the first weights that the seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return TrainingModule(model.built(), plan, extends=extends)


def _begun(out: Path) -> dict[str, Any] | None:
    """The ``epochs`` that the training in a folder was to have and its ``loss``; None without one, reported later."""
    checkpoint = out / CHECKPOINT
    if not checkpoint.is_file():
        return None
    content = content_of(checkpoint)
    return {"epochs": content["epochs"], "loss": content["identity"]["loss"]}


def _trainer(options: Plan, gradient_norm: float) -> L.Trainer:
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
            gradient_clip_val=gradient_norm,
            use_distributed_sampler=False,  # PreparedItems shares the items out
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


def _fit(trainer: L.Trainer, module: TrainingModule, items: PreparedItems, recorder: Recorder, *, resume: bool) -> bool:
    """Train, and return whether Ctrl-C or SIGTERM ended it; Lightning turns both into SystemExit."""
    checkpoint = recorder.checkpoint if resume else None
    try:
        trainer.fit(module, datamodule=items, ckpt_path=checkpoint, weights_only=True)
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
