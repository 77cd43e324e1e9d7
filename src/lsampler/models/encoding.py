"""Images -> latent store, streaming, and resumable after a kill.

:func:`encode_range` does the work and writes nothing; :func:`encode_images` keeps what it gives.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler import open_store
from lsampler.compute.ahead import one_behind
from lsampler.data.batches import ImageBatches, PixelBatch, cores
from lsampler.data.sources import ImageSource, source_digest
from lsampler.errors import LsamplerError
from lsampler.files import check_output
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.protocols import Autoencoder, device_of
from lsampler.progress import Progress, track
from lsampler.store.reference import Split
from lsampler.store.single_file import LatentStore, pieces
from lsampler.store.writer import StoreWriter

__all__ = ["EncodedImages", "EncodingResult", "default_held_out", "encode_images", "encode_range"]

# For fewer images processes take longer to start than they save.
MANY_IMAGES = 20_000
MOST_PROCESSES = 16


@dataclass(frozen=True)
class EncodingResult:
    """What an encoding did: rows in the store, rows that were already committed, images skipped."""

    store: LatentStore
    resumed: int
    skipped: dict[str, str]


class EncodedImages(NamedTuple):
    """Latent vectors (n, D) float32 of images of one split, and the images skipped since the last ones."""

    ids: list[str]
    latents: NDArray[np.float32]
    split: Split
    skipped: dict[str, str]


def encode_images(
    autoencoder: Autoencoder,
    source: ImageSource,
    path: str | os.PathLike[str],
    *,
    held_out: int,
    batch_size: int = 128,
    strict: bool = False,
    force: bool = False,
    append: bool = False,
    workers: int | None = 0,
    progress: Progress | None = None,
) -> EncodingResult:
    """Encode images into a store; the last ``held_out`` of the source form the held-out split.

    If an earlier run on the same path was interrupted, it goes on after the last committed image.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images.
        path: of the store.
        held_out: how many of the source's last images are held out.
        batch_size: images a forward pass.
        strict: stop at the first image that cannot be used.
        force: replace an existing store and forget an interrupted run.
        append: add to an existing store of other images, encoded by the same encoder.
        workers: processes that load images; 0 loads in threads of this one, None chooses. Processes
            import the calling script: there, guard the call by ``if __name__ == "__main__":``.
        progress: where to show the advance.

    Raises:
        LsamplerError: the store exists, was begun with another encoder or other images, or holds these images
            already.
    """
    total = len(source.ids)
    if not 0 <= held_out < total:
        raise LsamplerError(
            f"{source.name}: {total} images, {held_out} held out; --held-out must leave some to train on"
        )
    if Path(path).exists() and pieces(Path(path)) and not (append or force):
        raise LsamplerError(f"{path}: an --append to it was interrupted; add --append to go on")
    check_output(path, force=force or append)
    if append and not force:
        _refuse_twice(Path(path), source)
    writer = StoreWriter(
        path, autoencoder.dimension, provenance(autoencoder), origin=origin(source, held_out), force=force
    )
    start, left_out = _resume_at(writer, source)
    resumed = writer.committed
    if strict and left_out:
        raise LsamplerError(
            f"{source.name}: image '{next(iter(left_out))}' could not be used; mend it and start anew with --force, "
            "or leave out --strict"
        )
    encoded = encode_range(
        autoencoder,
        source,
        start,
        total,
        first_held_out=total - held_out,
        batch_size=batch_size,
        strict=strict,
        workers=workers,
    )
    with writer, closing(encoded):
        for images in track(encoded, progress, "encoding", total, lambda part: len(part.ids), start):
            left_out |= images.skipped
            writer.append(images.latents, images.ids, images.split)
        if not writer.committed + writer.pending:
            identity, reason = next(iter(left_out.items()))
            raise LsamplerError(f"{source.name}: no usable image; '{identity}' {reason}")
    return EncodingResult(open_store(path), resumed, left_out)


def encode_range(
    autoencoder: Autoencoder,
    source: ImageSource,
    start: int,
    stop: int,
    *,
    first_held_out: int,
    batch_size: int = 128,
    strict: bool = False,
    workers: int | None = 0,
) -> Generator[EncodedImages, None, None]:
    """Latents of the images ``start`` to ``stop`` of a source, in order; nothing is written.

    Images are loaded ahead, so that the encoder does not wait for them. Ranges that begin at
    multiples of ``batch_size`` give the same numbers as one range over all.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images.
        start: index of the first image.
        stop: index after the last.
        first_held_out: images from this index on are of the held-out split.
        batch_size: images a forward pass.
        strict: stop at the first image that cannot be used.
        workers: as in :func:`encode_images`.

    Raises:
        LsamplerError: an image cannot be used and ``strict`` is set.
    """
    device = device_of(autoencoder)
    processes = _processes(workers, device, stop - start)
    reader = ImageBatches(source, autoencoder.preprocess, strict=strict, processes=processes)
    skipped: dict[str, str] = {}
    with closing(reader.pixels(batch_size, start, stop)) as batches:
        launched = ((batch, _launch(autoencoder, batch, device)) for batch in batches)
        # A GPU works on while this thread goes on: it gets its next batch before the last is fetched.
        for batch, latents in one_behind(launched) if device.type == "cuda" else launched:
            skipped |= batch.skipped
            if latents is None:
                continue
            rows = latents.float().cpu().numpy()
            border = sum(index < first_held_out for index in batch.indices)
            parts: list[tuple[Split, slice]] = [("train", slice(0, border)), ("held-out", slice(border, None))]
            for split, part in parts:
                if chosen := batch.indices[part]:
                    yield EncodedImages([source.ids[index] for index in chosen], rows[part], split, skipped)
                    skipped = {}
    if skipped:
        yield EncodedImages([], np.empty((0, autoencoder.dimension), np.float32), "train", skipped)


def _launch(autoencoder: Autoencoder, batch: PixelBatch, device: torch.device) -> Tensor | None:
    """The latents, which a GPU may still be at work on; None without an image."""
    if not batch.indices:
        return None
    pixels = torch.from_numpy(batch.pixels)
    if device.type == "cuda":
        # From pinned memory a copy does not hold up this thread; as bytes it is a quarter as long.
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    images = pixels.permute(0, 3, 1, 2)
    if not isinstance(autoencoder, ConvAutoencoder):
        images = images.contiguous()  # which others may rely on
    if images.dtype == torch.uint8:
        # By a tensor: a GPU would multiply by the reciprocal of a plain number, which rounds differently.
        images = images.float().div_(torch.tensor(255.0, device=images.device))
    return autoencoder.encode(images)


def _processes(workers: int | None, device: torch.device, images: int) -> int:
    """How many processes load the images; none: threads of this one do."""
    if workers is not None:
        if workers < 0:
            raise LsamplerError(f"--workers {workers}: give a number of processes, or 0 for none")
        return workers
    # An encoder on the CPU is itself what the cores are busy with; threads cost least.
    return min(cores(), MOST_PROCESSES) if device.type == "cuda" and images >= MANY_IMAGES else 0


def provenance(autoencoder: Autoencoder) -> dict[str, str | int]:
    """The attributes of a store of encoded images."""
    preprocess = autoencoder.preprocess.as_dict()
    return {
        "kind": "encoded images",
        "encoder": autoencoder.fingerprint,
        "image_size": preprocess["size"],
        "crop": preprocess["crop"],
        "channels": preprocess["channels"],
    }


def origin(source: ImageSource, held_out: int) -> dict[str, str | int]:
    """The attributes that tell which images they are."""
    return {"source": source.name, "source_digest": source_digest(source.ids), "held_out": held_out}


def default_held_out(autoencoder: Autoencoder, source: ImageSource) -> tuple[int, str]:
    """How many images to hold out, and why: what training held out of the same images, or a tenth."""
    record = getattr(autoencoder, "training_record", {})
    first = record.get("first_held_out")
    if first in source.ids and record.get("source_digest") == source_digest(source.ids):
        # By its id: training counted only the images that it could use.
        return len(source.ids) - source.ids.index(first), "as in training"
    return len(source.ids) // 10, "a tenth; change it with --held-out"


def _resume_at(writer: StoreWriter, source: ImageSource) -> tuple[int, dict[str, str]]:
    """The first image that no committed piece holds yet, and those before it that were skipped."""
    committed = [identity for piece in pieces(writer.path) for identity in open_store(piece).ids()]
    if not committed:
        return 0, {}
    start = source.ids.index(committed[-1]) + 1
    known = set(committed)
    reason = "could not be used in the interrupted run"
    return start, {identity: reason for identity in source.ids[:start] if identity not in known}


def _refuse_twice(path: Path, source: ImageSource) -> None:
    """An append that was interrupted after it was complete must not be done again."""
    if not path.exists():
        return
    attributes = open_store(path).attributes
    names, digests = (str(attributes.get(key)).split(" + ") for key in ("source", "source_digest"))
    if source.name in names and source_digest(source.ids) in digests:
        raise LsamplerError(
            f"{path}: holds the images of {source.name} already; append others, or make the store anew with --force"
        )
