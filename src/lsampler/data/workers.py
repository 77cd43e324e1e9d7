"""Loading of images in processes of their own, by PyTorch's ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lsampler.compute.interrupts import interrupts_ignored
from lsampler.data.images import ImageSource, PixelBatch, Preprocess, load_pixels, pixel_batch
from lsampler.errors import LsamplerError

__all__ = ["batches_from_processes"]

AHEAD_PER_PROCESS = 2
Loaded = tuple[list[int], Tensor, dict[str, str]]


class _Pixels(Dataset[Any]):
    """A source as the processes see it."""

    def __init__(self, source: ImageSource, preprocess: Preprocess) -> None:
        self.source, self.preprocess = source, preprocess

    def __getitem__(self, index: int) -> tuple[int, NDArray[Any] | str]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[int, NDArray[Any] | str]]:
        return list(zip(indices, load_pixels(self.source, self.preprocess, indices), strict=True))


def _collate(source: ImageSource, found: list[tuple[int, NDArray[Any] | str]]) -> Loaded:
    batch = pixel_batch(source, [index for index, _ in found], [image for _, image in found])
    # As a tensor: it comes back in shared memory.
    return batch.indices, torch.from_numpy(np.ascontiguousarray(batch.pixels)), batch.skipped


def batches_from_processes(
    source: ImageSource, preprocess: Preprocess, ranges: Sequence[range], processes: int
) -> Iterator[PixelBatch]:
    """The images of each range, in order, loaded ahead by so many processes.

    Raises:
        LsamplerError: the source cannot be handed over, or a process died.
    """
    if not ranges:  # a DataLoader of no processes takes other settings
        return
    _check_portable(source)
    pixels = _Pixels(source, preprocess)
    loader: DataLoader[Any] = DataLoader(
        pixels,
        batch_sampler=ranges,  # type: ignore[arg-type]  # any iterable of indices is one
        num_workers=min(processes, len(ranges)),
        collate_fn=partial(_collate, source),
        # A fork would copy the locks of PyTorch's and our own threads in whatever state they are.
        multiprocessing_context="spawn",
        prefetch_factor=AHEAD_PER_PROCESS,
        generator=torch.Generator(),  # else it draws a seed from the global one
    )
    batches: Iterator[Loaded] | None = None
    try:
        with interrupts_ignored():
            batches = iter(loader)
        for indices, images, skipped in batches:
            yield PixelBatch(indices, images.numpy(), skipped)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise LsamplerError(
            f"{source.name}: a process that loads images died; in a script, guard the call by "
            "'if __name__ == \"__main__\":', or use fewer --workers, or 0"
        ) from error
    finally:
        del batches  # which ends the processes


def _check_portable(source: ImageSource) -> None:
    try:
        ForkingPickler.dumps(source)
    except Exception as error:  # whatever a foreign source raises
        raise LsamplerError(
            f"{source.name}: cannot be handed to other processes ({type(error).__name__}); use --workers 0"
        ) from error
