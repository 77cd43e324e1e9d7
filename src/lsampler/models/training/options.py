"""How an autoencoder is trained, and what a training leaves behind."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from lsampler.data.preprocess import Crop
from lsampler.errors import LsamplerError
from lsampler.showing import About, Shown, counted, frame, if_possible, name_of, picture
from lsampler.store.held_out import RANDOM, HeldOut

CURVE, CURVE_PICTURE, PICTURE = "training.csv", "training.png", "reconstructions.png"
"""What a training writes beside the model."""
WIDTH = 460


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Args:
        epochs: passes over the training images.
        batch_size: images per step, in each process.
        learning_rate: the peak of the one-cycle schedule (Adam).
        held_out: how many images are not used for training.
        held_out_by: which ones, see :class:`lsampler.store.HeldOut`.
        split_seed: of their random choice; it does not depend on ``seed``, so that models can be compared.
        crop: how images are cropped, see :class:`lsampler.data.Preprocess`.
        flip: mirror every training image with probability 1/2.
        seed: fixes the initial weights, the order of the images and the flips.
        precision: Lightning's precision, such as ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator; ``auto`` uses a GPU if there is one.
        devices: Lightning's devices per machine; each gets a process of its own.
        nodes: machines; several must be started by torchrun or a cluster's scheduler.
        strict: stop at the first image that cannot be used.
    """

    epochs: int = 25
    batch_size: int = 32
    learning_rate: float = 8e-4
    held_out: int = 1000
    held_out_by: str = RANDOM
    split_seed: int = 0
    crop: Crop = "centre"
    flip: bool = True
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strict: bool = False

    @property
    def split(self) -> HeldOut:
        """What is held out."""
        return HeldOut(self.held_out, self.held_out_by, self.split_seed)

    def record(self) -> dict[str, Any]:
        """What a model's file says of its training."""
        return {key: value for key, value in asdict(self).items() if key not in ("crop", "strict")}


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """What a training left behind; ``rank`` is 0 in the process that reports and writes."""

    model: Path
    held_out_mse: float
    epochs: int
    interrupted: bool
    skipped: dict[str, str]
    rank: int = 0

    def to_frame(self) -> Any:
        """The curve as a ``pandas.DataFrame``: ``epoch``, ``train_mse``, ``held_out_mse`` and ``seconds``.

        Raises:
            LsamplerError: pandas is not installed, or the folder of the model holds no curve any more.
        """
        path = self.model.with_name(CURVE)
        try:
            with path.open(newline="", encoding="utf-8") as handle:
                rows = list(csv.DictReader(handle))
            columns: dict[str, list[Any]] = {"epoch": [int(row["epoch"]) for row in rows]}
            columns |= {head: [float(row[head]) for row in rows] for head in ("train_mse", "held_out_mse", "seconds")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LsamplerError(f"{path}: no readable curve of a training; train the model again") from error
        return frame(columns, "TrainingResult")

    def _about(self) -> About:
        epochs = counted(self.epochs, "epoch") + (", interrupted" if self.interrupted else "")
        skipped = f"{counted(len(self.skipped), 'image')} skipped" if self.skipped else ""
        error = f"held-out MSE {self.held_out_mse:.5f}"
        return About("TrainingResult", name_of(self.model), [error, epochs, skipped])

    def _parts(self) -> Iterator[Markup]:
        for name, caption in ((PICTURE, "Held-out images, and their reconstructions."), (CURVE_PICTURE, "")):
            path = self.model.with_name(name)
            yield from if_possible(lambda p=path, c=caption: picture(p.read_bytes(), c, kind="png", width=WIDTH))  # type: ignore[misc]


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, unrelated to the seeds of neighbouring numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(2))
