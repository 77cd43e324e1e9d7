"""How an autoencoder is trained, and what a training leaves behind."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from lsampler.data.items import Item
from lsampler.data.preprocess import Crop
from lsampler.errors import LsamplerError
from lsampler.showing import About, Shown, counted, frame, if_possible, name_of, picture
from lsampler.store.held_out import RANDOM, HeldOut

CURVE, CURVE_PICTURE, PICTURE = "training.csv", "training.png", "reconstructions.png"
"""What a training writes beside the model."""
WIDTH = 460
Loss = Literal["mse", "l1", "laplacian", "ms-ssim"]
IMAGE_EPOCHS, IMAGE_BATCH, IMAGE_RATE = 25, 32, 8e-4
"""The posts' settings."""
STEPS, FEWEST_EPOCHS, MOST_EPOCHS, ROW_RATE = 3000, 10, 200, 3e-3
"""Of items that are no images: steps in all, as far as the epochs allow it, and the learning rate."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; what is None is chosen by the kind of the items and by their number.

    Args:
        epochs: passes over the training items: 25 for images; for others as many as make 3,000 steps, from 10 to 200.
            A training that is resumed keeps its number unless a larger one extends it.
        batch_size: items per step, in each process: 32 for images; for others one for every 64 items, from 32 to 1,024.
        loss: what is minimised: the mean squared error (``mse``, the posts'), the mean absolute error (``l1``), or, of
            images, the L1 distance of Laplacian pyramids (``laplacian``) or a mixture of multi-scale structural
            similarity and L1 (``ms-ssim``). A training that is resumed keeps its own.
        learning_rate: the peak of the one-cycle schedule (Adam): 0.0008 for images, 0.003 for others.
        held_out: how many items are not used for training: a tenth, but at least two.
        held_out_by: which ones, see :class:`lsampler.store.HeldOut`.
        split_seed: of their random choice; it does not depend on ``seed``, so that models can be compared.
        crop: how images are cropped, see :class:`lsampler.data.Preprocess`; ``centre``.
        flip: mirror every training image with probability 1/2; True for images.
        seed: fixes the initial weights, the order of the items and the flips.
        precision: Lightning's precision, such as ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator; ``auto`` uses a GPU if there is one.
        devices: Lightning's devices per machine; each gets a process of its own.
        nodes: machines; several must be started by torchrun or a cluster's scheduler.
        strict: stop at the first image that cannot be used.
    """

    epochs: int | None = None
    batch_size: int | None = None
    loss: Loss | None = None
    learning_rate: float | None = None
    held_out: int | None = None
    held_out_by: str = RANDOM
    split_seed: int = 0
    crop: Crop | None = None
    flip: bool | None = None
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strict: bool = False

    def plan(self, item: Item, count: int, begun: Mapping[str, Any] | None = None) -> Plan:
        """The options of a training of so many items, of which none is left open.

        Args:
            item: what they are.
            count: how many.
            begun: ``epochs`` and ``loss`` of the training that is resumed.

        Raises:
            LsamplerError: an option does not go with items of this kind.
        """
        if not item.is_image:
            for name in ("crop", "flip"):
                if getattr(self, name) is not None:
                    raise LsamplerError(
                        f"`{name}={getattr(self, name)}` is an option of images, and these are {item.plural}; leave it "
                        "out"
                    )
        given = {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) is not None}
        chosen: dict[str, Any] = {"held_out": min(max(2, count // 10), max(count - 1, 0))}
        if item.is_image:
            chosen |= {"epochs": IMAGE_EPOCHS, "batch_size": IMAGE_BATCH, "learning_rate": IMAGE_RATE}
        else:
            batch = given.get("batch_size") or int(min(max(2 ** round(math.log2(max(count, 1) / 64)), 32), 1024))
            wanted = -(-STEPS * batch // max(count, 1))
            chosen |= {"epochs": min(max(wanted, FEWEST_EPOCHS), MOST_EPOCHS), "batch_size": batch}
            chosen |= {"learning_rate": ROW_RATE, "flip": False}
        return Plan(**chosen | dict(begun or {}) | given)


@dataclass(frozen=True)
class Plan(TrainingOptions):
    """Options of which none is left open."""

    epochs: int = IMAGE_EPOCHS
    batch_size: int = IMAGE_BATCH
    loss: Loss = "mse"
    learning_rate: float = IMAGE_RATE
    held_out: int = 2
    crop: Crop = "centre"
    flip: bool = True

    @property
    def split(self) -> HeldOut:
        """What is held out."""
        return HeldOut(self.held_out, self.held_out_by, self.split_seed)

    @property
    def measures(self) -> list[str]:
        """What each epoch measures, and the columns of the curve: the squared error and, if it is another, the loss."""
        names = ["mse"] if self.loss == "mse" else ["mse", "loss"]
        return [f"{part}_{name}" for name in names for part in ("train", "held_out")]

    def record(self) -> dict[str, Any]:
        """What a model's file says of its training."""
        return {key: value for key, value in asdict(self).items() if key not in ("crop", "strict")}


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """What a training left behind, after so many ``epochs`` of those ``planned``.

    ``rank`` is 0 in the process that reports and writes.
    """

    model: Path
    held_out_mse: float
    epochs: int
    interrupted: bool
    skipped: dict[str, str]
    rank: int = 0
    planned: int = 0

    def to_frame(self) -> Any:
        """The curve as a ``pandas.DataFrame``: ``epoch``, ``train_mse``, ``held_out_mse`` and ``seconds``.

        After a training with another loss than the mean squared error, ``train_loss`` and ``held_out_loss`` as well.

        Raises:
            LsamplerError: pandas is not installed, or the folder of the model holds no curve any more.
        """
        path = self.model.with_name(CURVE)
        try:
            with path.open(newline="", encoding="utf-8") as handle:
                rows = list(csv.DictReader(handle))
            columns: dict[str, list[Any]] = {"epoch": [int(row["epoch"]) for row in rows]}
            losses = [head for head in ("train_loss", "held_out_loss") if head in rows[0]]
            heads = ["train_mse", "held_out_mse", *losses, "seconds"]
            columns |= {head: [float(row[head]) for row in rows] for head in heads}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise LsamplerError(f"{path}: no readable curve of a training; train the model again") from error
        return frame(columns, "TrainingResult")

    def _about(self) -> About:
        epochs = counted(self.epochs, "epoch") + (", interrupted" if self.interrupted else "")
        skipped = f"{counted(len(self.skipped), 'image')} skipped" if self.skipped else ""
        error = f"held-out MSE {self.held_out_mse:.5f}"
        return About("TrainingResult", name_of(self.model), [error, epochs, skipped])

    def _parts(self) -> Iterator[Markup]:
        for name, caption in ((PICTURE, "Held-out items, and their reconstructions."), (CURVE_PICTURE, "")):
            path = self.model.with_name(name)
            yield from if_possible(lambda p=path, c=caption: picture(p.read_bytes(), c, kind="png", width=WIDTH))  # type: ignore[misc]


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, unrelated to the seeds of neighbouring numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(2))
