"""The items of a training: prepared once as one array file, then read in a shuffled order."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, DistributedSampler

from lsampler.data.image_sources import source_digest
from lsampler.errors import LsamplerError
from lsampler.files import new_file, regular_file
from lsampler.models.training.options import Plan, mixed_seed
from lsampler.progress import ProgressLike
from lsampler.store.held_out import Division


class Source(Protocol):
    """A sequence of items with ids."""

    name: str
    ids: list[str]


class PreparedItems(L.LightningDataModule):
    """All usable items of a source as one memory-mapped array in the folder of the training.

    Lightning lets the first process prepare the array while the others wait. A fresh training prepares it anew,
    because the same names may stand for other items by now; a resumed one uses it again.
    """

    items: NDArray[Any]
    ids: list[str]
    skipped: dict[str, str]
    prepared_anew = False
    """Whether this process has prepared them."""
    what: str
    """What messages call them."""
    dtype: type[np.generic]
    shape: tuple[int, ...]
    """Of one item."""

    def __init__(self, source: Source, out: Path, plan: Plan, *, resume: bool, progress: ProgressLike) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self._source, self._plan = source, plan
        self._resume, self._progress = resume, progress
        self._array, self._notes = out / "prepared.npy", out / "prepared.json"

    def prepare_data(self) -> None:
        """Prepare the items, unless a resumed training has them already."""
        self.prepared_anew = not (self._resume and self._open())
        if self.prepared_anew:
            self._prepare()

    def setup(self, stage: str) -> None:
        """Open the prepared items."""
        if not self._open():
            raise LsamplerError(
                f"{self._array.parent}: holds no {self.what} prepared by the first process; all machines must share "
                "the folder"
            )
        trainer: Any = self.trainer
        usable, total = len(self.items), len(self._source.ids)
        try:
            check_split(self._source.name, self.what, usable, int(self._held_out.sum()), (trainer.world_size, total))
        except LsamplerError:
            if trainer.is_global_zero and self.prepared_anew:
                self.forget()
            raise

    @cached_property
    def division(self) -> Division:
        """Which items of the source are held out; those that cannot be used count as well, as for ``encode``."""
        return self._plan.split.divide(self._source.ids, self._source.name, self.what)

    @property
    def _held_out(self) -> NDArray[np.bool_]:
        """Which of the usable items are held out."""
        if len(self.ids) == len(self._source.ids):
            return self.division.held_out
        kept = set(self.ids)
        return self.division.held_out[[identity in kept for identity in self._source.ids]]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training items, shuffled anew in every epoch."""
        trainer: Any = self.trainer
        chosen = np.flatnonzero(~self._held_out)
        sampler: DistributedSampler[Any] = DistributedSampler(
            range(len(chosen)),  # type: ignore[arg-type]
            num_replicas=trainer.world_size,
            rank=trainer.global_rank,
            seed=mixed_seed(self._plan.seed),
        )
        sampler.set_epoch(trainer.current_epoch)  # Lightning does so for later epochs, but not for a resumed one
        return self._loader(chosen, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the held-out items; every process measures all of them."""
        return self._loader(np.flatnonzero(self._held_out))

    def held_out(self, most: int) -> NDArray[Any]:
        """The first held-out items (n, *shape), at most so many."""
        return self.items[np.flatnonzero(self._held_out)[:most]]

    def train(self, most: int) -> NDArray[Any]:
        """The first training items (n, *shape), at most so many."""
        return self.items[np.flatnonzero(~self._held_out)[:most]]

    def forget(self) -> None:
        """Remove the prepared items."""
        self._array.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _loader(self, chosen: NDArray[np.int64], sampler: DistributedSampler[Any] | None = None) -> DataLoader[Any]:
        return DataLoader(
            _Chosen(self.items, chosen),  # type: ignore[arg-type]  # it need be no subclass
            batch_size=self._plan.batch_size,
            sampler=sampler,
            collate_fn=torch.from_numpy,
            generator=torch.Generator(),  # otherwise it draws a seed from the global one
            pin_memory=torch.cuda.is_available(),
        )

    @abstractmethod
    def _wanted(self) -> dict[str, Any]:
        """What the items are prepared from, and how."""

    def _from_source(self) -> dict[str, Any]:
        return {"source": source_digest(self._source.ids)}

    def _open(self) -> bool:
        """Open what was prepared, if it was prepared from this source and in this way, and is sound."""
        if not (regular_file(self._notes) and regular_file(self._array)):
            return False
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            skipped = dict(notes["skipped"])
            ids = [identity for identity in self._source.ids if identity not in skipped]
            # Copy on write: PyTorch warns about arrays that it must not write to.
            items = np.load(self._array, mmap_mode="c", allow_pickle=False)
        except Exception:  # damaged files raise anything
            return False
        complete = items.dtype == self.dtype and items.shape == (len(self._source.ids), *self.shape)
        if not complete or notes.get("wanted") != self._wanted() or (self._plan.strict and skipped):
            return False
        self.ids, self.skipped, self.items = ids, skipped, items[: len(ids)]
        return True

    def _prepare(self) -> None:
        shape = (len(self._source.ids), *self.shape)
        descr = np.lib.format.dtype_to_descr(np.dtype(self.dtype))
        # Written, not memory-mapped: a full disk is then an error, and not a crash of the process.
        with new_file(self._array, force=True) as beside, beside.open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, {"descr": descr, "fortran_order": False, "shape": shape})
            start = handle.tell()
            skipped = self._write(handle)
            size = int(np.prod(shape)) * np.dtype(self.dtype).itemsize
            handle.truncate(start + size)  # the header promises room for the skipped ones too
        with new_file(self._notes, force=True) as beside:
            beside.write_text(json.dumps({"wanted": self._wanted(), "skipped": skipped}))

    @abstractmethod
    def _write(self, handle: IO[bytes]) -> dict[str, str]:
        """Write the numbers of all usable items in their order; return the reasons of those that are skipped, by id."""


class _Chosen:
    """Some items of an array, which a loader takes a batch at a time."""

    def __init__(self, items: NDArray[Any], chosen: NDArray[np.int64]) -> None:
        self._items, self._chosen = items, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitems__(self, places: Sequence[int]) -> NDArray[Any]:
        return self._items[self._chosen[places]]


def check_split(name: str, what: str, items: int, held_out: int, most: tuple[int, int | None]) -> None:
    """Raise LsamplerError unless there are training items for every process, and held-out ones.

    ``most`` holds how many processes there are, and how many items there were before those that cannot be used were
    left out.
    """
    processes, total = most
    if 1 <= held_out <= items - processes:
        return
    if total is not None and total > items:
        raise LsamplerError(
            f"{name}: {items} of {total} {what} can be used, {held_out} of them held out; a training needs 1 that is "
            f"held out and {processes} that are not, so give more {what} that can be opened"
        )
    if items < 1 + processes:
        raise LsamplerError(
            f"{name}: {items} {what}; a training holds out 1 or more and needs {processes} that are not held out, so "
            f"give {1 + processes} {what} or more"
        )
    raise LsamplerError(
        f"{name}: `held_out={held_out}`: of {items} {what}, hold out at least 1 and at most {items - processes}"
    )
