"""Batches of preprocessed images, loaded ahead by threads or by processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lsampler.compute.interrupts import interrupts_ignored
from lsampler.data.image_sources import ImageError, ImageSource
from lsampler.data.preprocess import Preprocess, scaled
from lsampler.errors import LsamplerError

# More threads are slower: they wait for the interpreter lock.
MOST_THREADS = 4
# Batches that threads load ahead.
AHEAD = 2


class PixelBatch(NamedTuple):
    """Images of one size, not yet scaled."""

    indices: list[int]
    """Into ``source.ids``."""
    pixels: NDArray[Any]
    """(B, H, W, C) uint8, to be divided by 255, or float32 in [0, 1]."""
    skipped: dict[str, str]
    """The reason for each id that was left out."""


class ImageBatches:
    """Preprocessed batches of a source, loaded ahead; images that cannot be used are skipped.

    Args:
        source: where the images come from.
        preprocess: what is done to each.
        strict: stop at the first image that cannot be used instead of skipping it.
        threads: that load; by default one per core, up to four.
        processes: load in this many processes instead. They take seconds to start, but are several times as fast
            as threads if a GPU and many cores wait for images.

    After iteration, ``skipped`` maps the id of every image left out to the reason.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocess: Preprocess,
        *,
        strict: bool = False,
        threads: int | None = None,
        processes: int = 0,
    ) -> None:
        self.source, self.preprocess, self.strict = source, preprocess, strict
        self.skipped: dict[str, str] = {}
        self._threads = threads or min(MOST_THREADS, cores())
        self._processes = processes

    def read(self, batch_size: int, start: int = 0) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield pairs (indices into ``source.ids``, images (B, C, H, W) float32 in [0, 1])."""
        for batch in self.pixels(batch_size, start):
            if batch.indices:
                yield batch.indices, np.ascontiguousarray(scaled(batch.pixels).transpose(0, 3, 1, 2))

    def pixels(self, batch_size: int, start: int = 0, stop: int | None = None) -> Generator[PixelBatch, None, None]:
        """Yield the images ``start`` to ``stop`` in order; a batch of which all are skipped is empty.

        Raises:
            LsamplerError: an image cannot be used and ``strict`` is set, or a loading process died.
        """
        stop = len(self.source.ids) if stop is None else stop
        wanted = [range(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size)]
        for batch in self._from_processes(wanted) if self._processes else self._from_threads(wanted):
            for skipped, reason in batch.skipped.items() if self.strict else ():
                raise LsamplerError(
                    f"{self.source.name}: image '{skipped}' {reason}; fix it, or leave out `strict=True` to skip it"
                )
            self.skipped |= batch.skipped
            yield batch

    def _from_threads(self, wanted: list[range]) -> Iterator[PixelBatch]:
        pool = ThreadPoolExecutor(self._threads)
        try:
            ahead = [pool.map(self._image, indices) for indices in wanted[:AHEAD]]
            for number, indices in enumerate(wanted):
                # Begun before the caller uses this batch, so that a slow disk does not make it wait.
                ahead += [pool.map(self._image, later) for later in wanted[number + AHEAD : number + AHEAD + 1]]
                yield self._batch(indices, ahead.pop(0))
        finally:
            pool.shutdown(cancel_futures=True)

    def _from_processes(self, wanted: list[range]) -> Iterator[PixelBatch]:
        """Load by PyTorch's ``DataLoader``."""
        name = self.source.name
        if not wanted:
            return
        try:
            ForkingPickler.dumps(self)
        except Exception as error:  # a source of the user's own may raise anything
            raise LsamplerError(
                f"{name}: cannot be sent to other processes ({type(error).__name__}); use `workers=0`"
            ) from error
        loader: DataLoader[Any] = DataLoader(
            range(len(self.source.ids)),  # type: ignore[arg-type]  # the indices are the dataset
            batch_sampler=[list(indices) for indices in wanted],
            collate_fn=self._shared_batch,
            num_workers=min(self._processes, len(wanted)),
            # A fork would copy the locks of PyTorch's and our own threads in any state.
            multiprocessing_context="spawn",
            generator=torch.Generator(),  # otherwise it draws a seed from the global one
            worker_init_fn=_without_warnings,
        )
        batches: Iterator[Any] | None = None
        try:
            with interrupts_ignored():
                batches = iter(loader)
            for batch in batches:
                yield batch._replace(pixels=batch.pixels.numpy())
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):  # an error of the source itself
                raise
            raise LsamplerError(
                f"{name}: a process that loads images died; in a script, guard the call by "
                "'if __name__ == \"__main__\":', or use fewer `workers=...`, or `workers=0`"
            ) from error
        finally:
            del batches  # which ends the processes

    def _shared_batch(self, indices: list[int]) -> PixelBatch:
        """A batch with its pixels as a tensor, which PyTorch hands to another process without a copy."""
        batch = self._batch(indices, map(self._image, indices))
        return batch._replace(pixels=torch.from_numpy(batch.pixels))  # type: ignore[arg-type]

    def _image(self, index: int) -> NDArray[Any] | str:
        """An image, cropped and resized, or the reason why it cannot be used."""
        try:
            return self.preprocess.pixels(self.source.read(index))
        except ImageError as error:
            return str(error)

    def _batch(self, indices: Sequence[int], found: Iterable[NDArray[Any] | str]) -> PixelBatch:
        images: dict[int, NDArray[Any]] = {}
        skipped: dict[str, str] = {}
        for index, image in zip(indices, found, strict=True):
            if isinstance(image, str):
                skipped[self.source.ids[index]] = image
            else:
                images[index] = image
        if any(image.dtype != np.uint8 for image in images.values()):
            images = {index: scaled(image) for index, image in images.items()}
        pixels = np.stack(list(images.values())) if images else np.empty((0, 0, 0, 0), np.uint8)
        return PixelBatch(list(images), pixels, skipped)


def _without_warnings(_: int) -> None:
    """In a process that loads images: what a library warns of is either harmless, or the reason of a skipped image."""
    warnings.simplefilter("ignore")


def require_some(count: int, name: str, skipped: dict[str, str]) -> None:
    """Raise with the first reason if every image of a source was skipped."""
    if count == 0:
        first, reason = next(iter(skipped.items()))
        raise LsamplerError(f"{name}: no usable image; '{first}' {reason}")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
