"""The images of a training: prepared once as one array file, then read in a shuffled order."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, DistributedSampler, Subset

from lsampler.data.batches import ImageBatches, PixelBatch, require_some
from lsampler.data.image_sources import ImageSource, source_digest
from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.files import new_file, regular_file
from lsampler.models.training.options import TrainingOptions, mixed_seed
from lsampler.progress import ProgressLike, track
from lsampler.store.held_out import Division

PREPARE_BATCH = 256


class PreparedImages(L.LightningDataModule):
    """All usable images of a source as one memory-mapped uint8 array in the folder of the training.

    Lightning lets the first process prepare the array while the others wait. A fresh training prepares it anew,
    because the same names may stand for other pixels by now; a resumed one uses it again.
    """

    images: NDArray[np.uint8]
    ids: list[str]
    skipped: dict[str, str]
    prepared_anew = False
    """Whether this process has prepared them."""

    def __init__(
        self,
        source: ImageSource,
        preprocess: Preprocess,
        out: Path,
        options: TrainingOptions,
        *,
        resume: bool,
        progress: ProgressLike,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self._source, self._preprocess, self._options = source, preprocess, options
        self._resume, self._progress = resume, progress
        self._array, self._notes = out / "prepared.npy", out / "prepared.json"

    def prepare_data(self) -> None:
        """Prepare the images, unless a resumed training has them already."""
        self.prepared_anew = not (self._resume and self._open())
        if self.prepared_anew:
            self._prepare()

    def setup(self, stage: str) -> None:
        """Open the prepared images."""
        if not self._open():
            raise LsamplerError(
                f"{self._array.parent}: holds no images prepared by the first process; all machines must share the "
                "folder"
            )
        trainer: Any = self.trainer
        usable, total = len(self.images), len(self._source.ids)
        try:
            check_split(self._source.name, usable, int(self._held_out.sum()), trainer.world_size, total)
        except LsamplerError:
            if trainer.is_global_zero and self.prepared_anew:
                self.forget()
            raise

    @cached_property
    def division(self) -> Division:
        """Which images of the source are held out; those that cannot be used count as well, as for ``encode``."""
        return self._options.split.divide(self._source.ids, self._source.name)

    @property
    def _held_out(self) -> NDArray[np.bool_]:
        """Which of the usable images are held out."""
        kept = set(self.ids)
        return self.division.held_out[[identity in kept for identity in self._source.ids]]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training images, shuffled anew in every epoch."""
        trainer: Any = self.trainer
        chosen = np.flatnonzero(~self._held_out)
        sampler: DistributedSampler[Any] = DistributedSampler(
            range(len(chosen)),  # type: ignore[arg-type]
            num_replicas=trainer.world_size,
            rank=trainer.global_rank,
            seed=mixed_seed(self._options.seed),
        )
        sampler.set_epoch(trainer.current_epoch)  # Lightning does so for later epochs, but not for a resumed one
        return self._loader(chosen, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the held-out images; every process measures all of them."""
        return self._loader(np.flatnonzero(self._held_out))

    def held_out(self, most: int) -> NDArray[np.uint8]:
        """The first held-out images (n, C, H, W) uint8, at most so many."""
        return self.images[np.flatnonzero(self._held_out)[:most]]

    def forget(self) -> None:
        """Remove the prepared images."""
        self._array.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _loader(self, chosen: NDArray[np.int64], sampler: DistributedSampler[Any] | None = None) -> DataLoader[Any]:
        return DataLoader(
            Subset(self.images, chosen),  # type: ignore[arg-type]  # an array is a dataset
            batch_size=self._options.batch_size,
            sampler=sampler,
            generator=torch.Generator(),  # otherwise it draws a seed from the global one
            pin_memory=torch.cuda.is_available(),
        )

    def _wanted(self) -> dict[str, Any]:
        return {"source": source_digest(self._source.ids), "preprocess": self._preprocess.as_dict()}

    def _open(self) -> bool:
        """Open what was prepared, if it was prepared from this source and in this way, and is sound."""
        if not (regular_file(self._notes) and regular_file(self._array)):
            return False
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            ids, skipped = list(notes["ids"]), dict(notes["skipped"])
            # Copy on write: PyTorch warns about arrays that it must not write to.
            images = np.load(self._array, mmap_mode="c", allow_pickle=False)
        except Exception:  # damaged files raise anything
            return False
        complete = images.dtype == np.uint8 and images.shape == self._shape and {*ids, *skipped} == {*self._source.ids}
        if not complete or notes.get("wanted") != self._wanted() or (self._options.strict and skipped):
            return False
        self.ids, self.skipped, self.images = ids, skipped, images[: len(ids)]
        return True

    @property
    def _shape(self) -> tuple[int, ...]:
        how = self._preprocess
        return len(self._source.ids), how.channels, how.height, how.width

    def _prepare(self) -> None:
        source, preprocess = self._source, self._preprocess
        shape = self._shape
        reader = ImageBatches(source, preprocess, strict=self._options.strict)
        kept: list[int] = []
        with new_file(self._array, force=True) as beside:
            # Written, not memory-mapped: a full disk is then an error, and not a crash of the process.
            with beside.open("wb") as handle:
                np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})
                start = handle.tell()
                batches = reader.pixels(PREPARE_BATCH)
                for batch in track(batches, self._progress, "preparing images", len(source.ids), _size):
                    pixels = batch.pixels if batch.pixels.dtype == np.uint8 else np.rint(batch.pixels * 255)
                    handle.write(pixels.astype(np.uint8).transpose(0, 3, 1, 2).tobytes())
                    kept += batch.indices
                handle.truncate(start + int(np.prod(shape)))  # the header promises room for the skipped ones too
            require_some(len(kept), source.name, reader.skipped)
        notes = {"wanted": self._wanted(), "ids": [source.ids[index] for index in kept], "skipped": reader.skipped}
        with new_file(self._notes, force=True) as beside:
            beside.write_text(json.dumps(notes))


def check_split(name: str, images: int, held_out: int, processes: int, total: int | None = None) -> None:
    """Raise LsamplerError unless there are training images for every process and held-out ones, which have a spread.

    ``total`` is how many images there were before those that cannot be used were left out.
    """
    if 2 <= held_out <= images - processes:
        return
    if total is not None and total > images:
        raise LsamplerError(
            f"{name}: {images} of {total} images can be used, {held_out} of them held out; a training needs 2 that are "
            f"held out and {processes} that are not, so give more images that can be opened"
        )
    if images < 2 + processes:
        raise LsamplerError(
            f"{name}: {images} images; a training holds out 2 or more and needs {processes} that are not held out, so "
            f"give {2 + processes} images or more"
        )
    raise LsamplerError(
        f"{name}: `held_out={held_out}`: of {images} images, hold out at least 2 and at most {images - processes}"
    )


def _size(batch: PixelBatch) -> int:
    return len(batch.indices) + len(batch.skipped)
