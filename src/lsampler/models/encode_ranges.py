"""Ranges of items -> latent vectors, in batches that are loaded ahead; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lsampler.compute.dense import dense_tensor
from lsampler.compute.prefetch import one_behind
from lsampler.data.batches import ImageBatches, PixelBatch, cores
from lsampler.data.image_sources import ImageError, ImageSource
from lsampler.data.item_rows import ItemRows, bad_rows
from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.protocols import Autoencoder, device_of, item_of, preprocess_of
from lsampler.store.labels import Labels
from lsampler.store.latent_store import SPLITS, Rows
from lsampler.store.reference import Split

# For fewer images processes take longer to start than they save.
MANY_IMAGES = 20_000
MOST_PROCESSES = 16
SPLIT_NAMES = np.array(SPLITS, dtype=object)
SHARD_IMAGES = 1 << 13
# Images by which the reconstruction error is estimated.
RECONSTRUCTED = 64
# Items per forward pass: images, and numbers in items of other kinds.
IMAGES, VALUES = 128, 1 << 19

Source: TypeAlias = ImageSource | ItemRows
"""Where items come from: images one by one, or the rows of an array."""
Opened: TypeAlias = Callable[[], tuple[Autoencoder, Source]]
"""Opens the same model and items as this process; equal ones have the same hash, so that a worker opens them once."""


@dataclass(frozen=True)
class EncodeOptions:
    """How items are encoded.

    Attributes:
        batch_size: items per forward pass; None is 128 images, and more of items that hold fewer numbers.
        strict: stop at the first image that cannot be used.
        append: add to an existing store of other images, encoded by the same encoder.
        workers: processes that load images; 0 loads in threads of this one, None chooses. Processes
            import the calling script: there, guard the call by ``if __name__ == "__main__":``.
        shard_images: images per shard of a sharded store; rounded up to whole batches.
        opened: opens the model and the images on a worker of a cluster; hashable.
        labels: of the items: the path of a table or a :class:`lsampler.store.LabelTable`, joined by ids or file names;
            ``folders`` for the folder of each item; or what ``lsampler.store.Labels.of`` takes, in their order.
        crop: how images are cropped, see :class:`lsampler.data.Preprocess`; None as for the autoencoder's own images.
    """

    batch_size: int | None = None
    strict: bool = False
    append: bool = False
    workers: int | None = 0
    shard_images: int = SHARD_IMAGES
    opened: Opened | None = None
    crop: Crop | None = None
    labels: Any = None


def encode_range(
    autoencoder: Autoencoder,
    source: Source,
    start: int,
    stop: int,
    *,
    held_out: NDArray[np.bool_],
    options: EncodeOptions = EncodeOptions(),
    labels: Labels | None = None,
) -> Generator[Rows, None, None]:
    """Latents of the items ``start`` to ``stop`` of a source, in order; nothing is written.

    Images are loaded ahead, so that the encoder does not wait for them. Ranges that begin at multiples of
    ``batch_size`` give the same numbers as one range over all. ``held_out`` has an entry for every item of
    the source, ``labels`` for those from ``start`` to ``stop``.

    Raises:
        LsamplerError: an item cannot be used and ``strict`` is set.
    """
    device, size = device_of(autoencoder), batch_size(autoencoder, options)
    if isinstance(source, ItemRows):
        found = _row_batches(source, range(start, stop, size), stop, strict=options.strict)
    else:
        processes = _processes(options.workers, device, stop - start)
        reader = ImageBatches(source, preparation(autoencoder, options), strict=options.strict, processes=processes)
        found = reader.pixels(size, start, stop)
    with closing(found) as batches:
        launched = ((batch, _launch(autoencoder, batch, source, device)) for batch in batches)
        # A GPU computes on while this thread goes on: it gets its next batch before the last is fetched.
        for batch, latents in one_behind(launched) if device.type == "cuda" else launched:
            rows = latents.float().cpu().numpy()
            ids = [source.ids[index] for index in batch.indices]
            splits: list[Split] = SPLIT_NAMES[held_out[batch.indices].astype(np.intp)].tolist()
            own = None if labels is None else labels.rows([index - start for index in batch.indices])
            yield Rows(rows, ids, splits, own, skipped=batch.skipped)


def _row_batches(source: ItemRows, starts: range, stop: int, *, strict: bool) -> Generator[PixelBatch, None, None]:
    """The rows of an array in batches, without those that hold NaN or infinite values."""
    for start in starts:
        rows = source.rows(start, min(start + starts.step, stop))
        bad = {source.ids[start + row]: reason for row, reason in bad_rows(rows, source.item).items()}
        for skipped, reason in bad.items() if strict else ():
            raise LsamplerError(
                f"{source.name}: item '{skipped}' {reason}; correct it, or leave out `strict=True` to skip it"
            )
        indices = list(range(start, start + len(rows)))
        if bad:
            kept = [row for row, index in enumerate(indices) if source.ids[index] not in bad]
            rows, indices = rows[kept], [indices[row] for row in kept]
        yield PixelBatch(indices, rows, bad)


def batch_size(autoencoder: Autoencoder, options: EncodeOptions) -> int:
    """How many items go through the encoder together."""
    item = item_of(autoencoder)
    return options.batch_size or (IMAGES if item.is_image else max(IMAGES, VALUES // math.prod(item.shape)))


def preparation(autoencoder: Autoencoder, options: EncodeOptions) -> Preprocess:
    """How images are prepared: as for the autoencoder, but for a crop that the options name."""
    own = preprocess_of(autoencoder)
    return replace(own, crop=options.crop) if options.crop else own


def reconstruction_error(autoencoder: Autoencoder, source: Source, options: EncodeOptions) -> float | None:
    """The mean squared error of some items of a source, evenly spaced, once encoded and decoded; None without items.

    A model of ``lsampler train`` measures it as its training did: of items that are no images in units of the standard
    deviations. Items that the autoencoder was not made for, or that are cropped otherwise, have a far larger one than
    those that were held out of its training.
    """
    errors = []
    for index in range(0, len(source.ids), max(1, len(source.ids) // RECONSTRUCTED)):
        if isinstance(source, ItemRows):
            rows = source.rows(index, index + 1)
            item = torch.from_numpy(_in_unit_range(rows, source))
            if bad_rows(rows, source.item):
                continue
        else:
            try:
                item = torch.from_numpy(preparation(autoencoder, options)(source.read(index)))[None]
            except ImageError:  # skipped and named later, while it is encoded
                continue
        measure = getattr(autoencoder, "reconstruction_error", functional.mse_loss)
        errors.append(float(measure(autoencoder.decode(autoencoder.encode(item)), item.to(device_of(autoencoder)))))
    return sum(errors) / len(errors) if errors else None


def _in_unit_range(rows: NDArray[np.float32], source: ItemRows) -> NDArray[np.float32]:
    """Images of an array in the model's own range, as float32 in [0, 1]; other items as they are."""
    low, high = source.item.value_range
    return (rows - np.float32(low)) / np.float32(high - low) if source.item.is_image else rows


def _launch(autoencoder: Autoencoder, batch: PixelBatch, source: Source, device: torch.device) -> Tensor:
    """The latents, which a GPU may still be computing."""
    if not batch.indices:
        return torch.empty((0, autoencoder.dimension))
    if isinstance(source, ItemRows):
        items = torch.from_numpy(_in_unit_range(batch.pixels, source)).to(device)
    else:
        items = _images(autoencoder, torch.from_numpy(batch.pixels), device)
    with plugin_errors("encoding"):
        latents = dense_tensor(autoencoder.encode(items))
        if tuple(latents.shape) != (len(items), autoencoder.dimension):
            raise TypeError(f"gave shape {tuple(latents.shape)}, expected {(len(items), autoencoder.dimension)}")
    return latents


def _images(autoencoder: Autoencoder, pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels (B, H, W, C) as images (B, C, H, W) float32 in [0, 1] on a device."""
    if device.type == "cuda":
        # From pinned memory a copy does not hold up this thread; as bytes it is a quarter as long.
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    images = pixels.permute(0, 3, 1, 2)
    if not isinstance(autoencoder, ConvAutoencoder):
        images = images.contiguous()  # which others may rely on
    if images.dtype == torch.uint8:
        # By a tensor: a GPU would multiply by the reciprocal of a plain number, which rounds differently.
        images = images.float().div_(torch.tensor(255.0, device=images.device))
    return images


def _processes(workers: int | None, device: torch.device, images: int) -> int:
    """How many processes load the images; with 0, threads of this one do."""
    if workers is not None:
        if workers < 0:
            raise LsamplerError(f"`workers={workers}`: give a number of processes, or 0 for none")
        return workers
    # An encoder on the CPU is itself what the cores are busy with; threads cost least.
    return min(cores(), MOST_PROCESSES) if device.type == "cuda" and images >= MANY_IMAGES else 0
