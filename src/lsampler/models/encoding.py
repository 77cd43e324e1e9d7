"""Images -> latent store, streaming, and resumable after a kill."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lsampler.compute.ahead import one_behind
from lsampler.compute.engine import current_engine
from lsampler.data.batches import ImageBatches, PixelBatch, cores
from lsampler.data.sources import ImageSource, source_digest
from lsampler.errors import LsamplerError
from lsampler.files import check_output
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.protocols import Autoencoder, device_of
from lsampler.progress import Progress, track
from lsampler.store.file_store import FileStore, committed_shards
from lsampler.store.latent_store import Rows
from lsampler.store.sharded_store import SUFFIX, ShardedStore
from lsampler.store.sharding import Skipped, ranges, write_shards
from lsampler.store.writer import StoreWriter

__all__ = ["EncodeOptions", "EncodingResult", "default_held_out", "encode_images", "encode_range"]

# For fewer images processes take longer to start than they save.
MANY_IMAGES = 20_000
MOST_PROCESSES = 16
SHARD_IMAGES = 1 << 13
EARLIER = "could not be used in the interrupted run"


class Opened(Protocol):
    """How a worker of a cluster opens the same model and images as this process: plain values, hashable."""

    def open(self) -> tuple[Autoencoder, ImageSource]:
        """The model and the images."""
        ...

    def __hash__(self) -> int:
        """The same for the same values, so that a process opens them once."""
        ...


@dataclass(frozen=True)
class EncodeOptions:
    """How images are encoded.

    Attributes:
        batch_size: images per forward pass.
        strict: stop at the first image that cannot be used.
        append: add to an existing store of other images, encoded by the same encoder.
        workers: processes that load images; 0 loads in threads of this one, None chooses. Processes
            import the calling script: there, guard the call by ``if __name__ == "__main__":``.
        shard_images: images per shard of a sharded store; rounded up to whole batches.
        opened: how workers of a cluster open the model and the images.
    """

    batch_size: int = 128
    strict: bool = False
    append: bool = False
    workers: int | None = 0
    shard_images: int = SHARD_IMAGES
    opened: Opened | None = None


@dataclass(frozen=True)
class EncodingResult:
    """What an encoding did.

    Attributes:
        store: the result.
        resumed: rows that an interrupted run had committed.
        skipped: images that could not be used, with the reasons.
    """

    store: FileStore | ShardedStore
    resumed: int
    skipped: dict[str, str]


def encode_images(
    autoencoder: Autoencoder,
    source: ImageSource,
    path: str | os.PathLike[str],
    *,
    held_out: int,
    options: EncodeOptions = EncodeOptions(),
    force: bool = False,
    progress: Progress | None = None,
) -> EncodingResult:
    """Encode images into a store; the last ``held_out`` of the source form the held-out split.

    If an earlier run on the same path was interrupted, it resumes after the last committed image.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images.
        path: of an HDF5 file, or of a sharded store if its name ends in ``.shards``: that one may be encoded on a
            cluster (:func:`on_cluster`).
        held_out: how many of the source's last images are held out.
        options: batch size, loading, and the like.
        force: replace an existing store and discard an interrupted run.
        progress: shows the progress.

    Raises:
        LsamplerError: the store exists, was begun with another encoder or other images, or holds these images
            already.
    """
    total = _checked_total(source, held_out)
    if Path(path).suffix == SUFFIX:
        return _encode_shards(autoencoder, source, path, held_out, options, force=force, progress=progress)
    writer = _writer(autoencoder, source, path, held_out, options, force=force)
    start, skipped = _resume_at(writer, source)
    resumed = writer.committed
    if options.strict and skipped:
        raise LsamplerError(
            f"{source.name}: image '{next(iter(skipped))}' could not be used; fix it and pass `force=True` to start "
            "anew, or leave out `strict=True`"
        )
    encoded = encode_range(autoencoder, source, start, total, first_held_out=total - held_out, options=options)
    with writer, closing(encoded):
        for part in track(encoded, progress, "encoding", total, _images, start):
            if isinstance(part, Skipped):
                skipped[part.item] = part.reason
            else:
                writer.append(part.latents, part.ids, (part.splits or ("train",))[0])
        if not writer.committed + writer.pending:
            identity, reason = next(iter(skipped.items()))
            raise LsamplerError(f"{source.name}: no usable image; '{identity}' {reason}")
    return EncodingResult(FileStore(path), resumed, skipped)


def _checked_total(source: ImageSource, held_out: int) -> int:
    """How many images there are, if some are left to train on."""
    total = len(source.ids)
    if not 0 <= held_out < total:
        raise LsamplerError(
            f"{source.name}: {total} images, {held_out} held out; `held_out={held_out}` must leave some to train on"
        )
    return total


def _images(part: Rows | Skipped) -> int:
    return 0 if isinstance(part, Skipped) else len(part)


def _writer(
    autoencoder: Autoencoder,
    source: ImageSource,
    path: str | os.PathLike[str],
    held_out: int,
    options: EncodeOptions,
    *,
    force: bool,
) -> StoreWriter:
    """A writer that resumes what an interrupted run of the same images has committed."""
    append = options.append
    if Path(path).exists() and committed_shards(Path(path)) and not (append or force):
        raise LsamplerError(f"{path}: appending to it was interrupted; pass `append=True` to resume")
    check_output(path, force=force or append)
    if append and not force and Path(path).exists():
        attributes = FileStore(path).attributes
        names, digests = (str(attributes.get(key)).split(" + ") for key in ("source", "source_digest"))
        # An append that was interrupted after it was complete must not be done again.
        if source.name in names and source_digest(source.ids) in digests:
            raise LsamplerError(
                f"{path}: holds the images of {source.name} already; append others, or pass `force=True` to start anew"
            )
    return StoreWriter(
        path,
        autoencoder.dimension,
        _provenance(autoencoder),
        origin=_origin(source, held_out),
        force=force,
    )


def _resume_at(writer: StoreWriter, source: ImageSource) -> tuple[int, dict[str, str]]:
    """The first image that is not committed yet, and those before it that were skipped."""
    committed = writer.committed_ids()
    if not committed:
        return 0, {}
    start = source.ids.index(committed[-1]) + 1
    known = set(committed)
    return start, {identity: EARLIER for identity in source.ids[:start] if identity not in known}


@dataclass(frozen=True, eq=False)
class _Live:
    """The model and the images of this process."""

    autoencoder: Autoencoder
    source: ImageSource

    def open(self) -> tuple[Autoencoder, ImageSource]:
        return self.autoencoder, self.source


@dataclass(frozen=True)
class _EncodeTask:
    """The latents of consecutive images of a source."""

    opened: Opened
    device: str
    encoder: str
    digest: str
    start: int
    rows: int
    first_held_out: int
    batch_size: int
    strict: bool
    doing: ClassVar[str] = "encoding"

    def planned(self) -> dict[str, Any]:
        """What decides on the latents; where images and model lie does not."""
        return {key: value for key, value in vars(self).items() if key != "opened"}

    def chunks(self) -> Iterator[Rows | Skipped]:
        """The latents with ids and splits, and the images that were skipped."""
        autoencoder, source = _opened(self.opened, self.encoder, self.digest)
        options = EncodeOptions(self.batch_size, self.strict)
        stop = self.start + self.rows
        return encode_range(autoencoder, source, self.start, stop, first_held_out=self.first_held_out, options=options)


@lru_cache(maxsize=1)
def _opened(opened: Opened, encoder: str, digest: str) -> tuple[Autoencoder, ImageSource]:
    """Opened once for all tasks of a process with the same images and weights."""
    autoencoder, source = opened.open()
    if (autoencoder.fingerprint, source_digest(source.ids)) != (encoder, digest):
        raise LsamplerError(
            f"{source.name}: the images or the model have changed, or are others for a worker; run the command again"
        )
    return autoencoder, source


def _encode_shards(
    autoencoder: Autoencoder,
    source: ImageSource,
    path: str | os.PathLike[str],
    held_out: int,
    options: EncodeOptions,
    *,
    force: bool,
    progress: Progress | None,
) -> EncodingResult:
    """The latents of :func:`encode_images`, up to the rounding of the number of threads, one task per shard."""
    if options.append:
        raise LsamplerError("`append=True` does not go with a sharded store; choose a name ending in .h5")
    if current_engine().remote and options.opened is None:
        raise LsamplerError("workers of a cluster cannot open this model; give `opened=...`")
    total, step = len(source.ids), -(-options.shard_images // options.batch_size) * options.batch_size
    opened, device = options.opened or _Live(autoencoder, source), str(device_of(autoencoder))
    encoder, digest, first_held_out = autoencoder.fingerprint, source_digest(source.ids), total - held_out
    tasks = [
        _EncodeTask(opened, device, encoder, digest, start, rows, first_held_out, options.batch_size, options.strict)
        for start, rows in ranges(total, step)
    ]
    attributes = _provenance(autoencoder) | _origin(source, held_out)
    store, notes = write_shards(path, autoencoder.dimension, tasks, attributes, force=force, progress=progress)
    left_out, known = dict(notes), set(store.ids())
    skipped = {identity: left_out.get(identity, EARLIER) for identity in source.ids if identity not in known}
    return EncodingResult(store, 0, skipped)


def encode_range(
    autoencoder: Autoencoder,
    source: ImageSource,
    start: int,
    stop: int,
    *,
    first_held_out: int,
    options: EncodeOptions = EncodeOptions(),
) -> Generator[Rows | Skipped, None, None]:
    """Latents of the images ``start`` to ``stop`` of a source, in order, and the skipped ones; nothing is written.

    Images are loaded ahead, so that the encoder does not wait for them. Ranges that begin at
    multiples of ``batch_size`` give the same numbers as one range over all.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images.
        start: index of the first image.
        stop: index after the last.
        first_held_out: images from this index on are of the held-out split.
        options: batch size and the like.

    Raises:
        LsamplerError: an image cannot be used and ``strict`` is set.
    """
    device = device_of(autoencoder)
    processes = _processes(options.workers, device, stop - start)
    reader = ImageBatches(source, autoencoder.preprocess, strict=options.strict, processes=processes)
    with closing(reader.pixels(options.batch_size, start, stop)) as batches:
        launched = ((batch, _launch(autoencoder, batch, device)) for batch in batches)
        # A GPU computes on while this thread goes on: it gets its next batch before the last is fetched.
        for batch, latents in one_behind(launched) if device.type == "cuda" else launched:
            yield from (Skipped(identity, reason) for identity, reason in batch.skipped.items())
            if latents is None:
                continue
            rows = latents.float().cpu().numpy()
            ids = [source.ids[index] for index in batch.indices]
            border = sum(index < first_held_out for index in batch.indices)
            if border:
                yield Rows(rows[:border], ids[:border], ["train"] * border)
            if border < len(ids):
                yield Rows(rows[border:], ids[border:], ["held-out"] * (len(ids) - border))


def _launch(autoencoder: Autoencoder, batch: PixelBatch, device: torch.device) -> Tensor | None:
    """The latents, which a GPU may still be computing; None without an image."""
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
    """How many processes load the images; with 0, threads of this one do."""
    if workers is not None:
        if workers < 0:
            raise LsamplerError(f"`workers={workers}`: give a number of processes, or 0 for none")
        return workers
    # An encoder on the CPU is itself what the cores are busy with; threads cost least.
    return min(cores(), MOST_PROCESSES) if device.type == "cuda" and images >= MANY_IMAGES else 0


def _provenance(autoencoder: Autoencoder) -> dict[str, str | int]:
    """The attributes of a store of encoded images."""
    preprocess = autoencoder.preprocess.as_dict()
    return {
        "kind": "encoded images",
        "encoder": autoencoder.fingerprint,
        "image_size": preprocess["size"],
        "crop": preprocess["crop"],
        "channels": preprocess["channels"],
    }


def _origin(source: ImageSource, held_out: int) -> dict[str, str | int]:
    """The attributes that identify the images."""
    return {"source": source.name, "source_digest": source_digest(source.ids), "held_out": held_out}


def default_held_out(autoencoder: Autoencoder, source: ImageSource) -> tuple[int, str]:
    """How many images to hold out, and why: what training held out of the same images, or a tenth."""
    record = getattr(autoencoder, "training_record", {})
    first = record.get("first_held_out")
    if first in source.ids and record.get("source_digest") == source_digest(source.ids):
        # By its id: training counted only the images that it could use.
        return len(source.ids) - source.ids.index(first), "as in training"
    return len(source.ids) // 10, "a tenth; change it with `held_out=...`"
