"""Images -> latent store, streaming, and resumable after a kill."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lsampler.compute.dense import dense_tensor
from lsampler.compute.engine import current_engine
from lsampler.compute.prefetch import one_behind
from lsampler.data.batches import ImageBatches, PixelBatch, cores, require_some
from lsampler.data.image_sources import ImageError, ImageSource, source_digest
from lsampler.data.preprocess import Crop, Preprocess
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.files import check_output, remove
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.protocols import Autoencoder, device_of
from lsampler.models.trained_split import split_for
from lsampler.progress import Progress, track
from lsampler.store.file_store import FileStore, committed_shards, partial_folder
from lsampler.store.held_out import Division, HeldOut
from lsampler.store.latent_shape import LATENT_SHAPE, shape_attribute
from lsampler.store.latent_store import RUN, SPLITS, Rows
from lsampler.store.partial_store import signature
from lsampler.store.sharded_store import SUFFIX, ShardedStore
from lsampler.store.sharding import ShardWork, write_shards
from lsampler.store.writer import StoreWriter

# For fewer images processes take longer to start than they save.
MANY_IMAGES = 20_000
MOST_PROCESSES = 16
SHARD_IMAGES = 1 << 13
# Images by which the reconstruction error is estimated.
RECONSTRUCTED = 64
EARLIER = "could not be used in the interrupted run"


Opened: TypeAlias = Callable[[], tuple[Autoencoder, ImageSource]]
"""Opens the same model and images as this process; equal ones have the same hash, so that a worker opens them once."""


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
        opened: opens the model and the images on a worker of a cluster; hashable.
        crop: how images are cropped, see :class:`lsampler.Preprocess`; None as for the autoencoder's own images.
    """

    batch_size: int = 128
    strict: bool = False
    append: bool = False
    workers: int | None = 0
    shard_images: int = SHARD_IMAGES
    opened: Opened | None = None
    crop: Crop | None = None


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
    held_out: int | HeldOut | None = None,
    options: EncodeOptions = EncodeOptions(),
    force: bool = False,
    progress: Progress | None = None,
) -> EncodingResult:
    """Encode images into a store, and hold some out.

    If an earlier run on the same path was interrupted, it resumes after the last committed image.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images.
        path: of an HDF5 file, or of a sharded store if its name ends in ``.shards``: that one may be encoded on a
            cluster (:func:`on_cluster`).
        held_out: how many images are held out, or which (:class:`HeldOut`). A number, or None, follows what the
            autoencoder's training held out of the same images. Otherwise so many, or a tenth, are held out at random.
        options: batch size, loading, and the like.
        force: replace an existing store and discard an interrupted run.
        progress: shows the progress.

    Raises:
        LsamplerError: the store exists, was begun with another encoder or other images, or holds these images
            already.
    """
    split = held_out if isinstance(held_out, HeldOut) else split_for(autoencoder, source, held_out)[0]
    run = _Run(autoencoder, source, Path(path), split, split.divide(source.ids, source.name), options, force)
    return _encode_shards(run, progress) if run.path.suffix == SUFFIX else _encode_file(run, progress)


@dataclass(frozen=True)
class _Run:
    """The arguments of :func:`encode_images`."""

    autoencoder: Autoencoder
    source: ImageSource
    path: Path
    split: HeldOut
    division: Division
    options: EncodeOptions
    force: bool

    @property
    def total(self) -> int:
        return len(self.source.ids)

    def provenance(self) -> dict[str, str | int]:
        """The attributes of a store of encoded images."""
        how = preparation(self.autoencoder, self.options)
        of_images = {"image_size": how.size, "crop": how.crop, "channels": how.channels}
        shape = shape_attribute(getattr(self.autoencoder, LATENT_SHAPE, None))
        return {"kind": "encoded images", "encoder": self.autoencoder.fingerprint, **of_images, **shape}

    def origin(self) -> dict[str, str | int]:
        """The attributes that identify the images."""
        of_images = {"source": self.source.name, "source_digest": source_digest(self.source.ids)}
        return {**of_images, "held_out": int(self.division.held_out.sum()), "split": self.split.scheme}


def _encode_file(run: _Run, progress: Progress | None) -> EncodingResult:
    source, writer = run.source, _writer(run)
    start, skipped = _resume_at(writer, source)
    resumed = writer.committed
    if run.options.strict and skipped:
        fix = "fix it and pass `force=True` to start over, or leave out `strict=True`"
        raise LsamplerError(f"{source.name}: image '{next(iter(skipped))}' could not be used; {fix}")
    held_out = run.division.held_out
    encoded = encode_range(run.autoencoder, source, start, run.total, held_out=held_out, options=run.options)
    with writer, closing(encoded):
        for rows in track(encoded, progress, "encoding", run.total, len, start):
            skipped |= rows.skipped
            writer.append(rows.latents, rows.ids, rows.splits or ())
        require_some(writer.committed + writer.pending, source.name, skipped)
    return EncodingResult(FileStore(run.path), resumed, skipped)


def _writer(run: _Run) -> StoreWriter:
    """A writer that resumes what an interrupted run of the same images has committed."""
    path, source, append, force = run.path, run.source, run.options.append, run.force
    found = signature(path)
    shards = committed_shards(path) if path.exists() and not (append or force) else []
    if shards and FileStore(path).attributes.get(RUN) != FileStore(shards[0]).attributes.get(RUN):
        raise LsamplerError(f"{path}: appending to it was interrupted; pass `append=True` to resume")
    if shards:  # a process was killed after it had merged them, and before it had removed them
        remove(partial_folder(path))
    check_output(path, force=force or append)
    origin, provenance = run.origin(), run.provenance()
    if append and not force and path.exists():
        attributes = FileStore(path).attributes
        if "split" not in attributes:  # version 0.1 did not record it
            del origin["split"]
        if LATENT_SHAPE not in attributes:  # earlier versions did not record it
            provenance.pop(LATENT_SHAPE, None)
        names, digests = (str(attributes.get(key)).split(" + ") for key in ("source", "source_digest"))
        # An append that was interrupted after it was complete must not be done again.
        if source.name in names and source_digest(source.ids) in digests:
            fix = "append others, or pass `force=True` to start over"
            raise LsamplerError(f"{path}: holds the images of {source.name} already; {fix}")
    options: dict[str, bool] = {"force": force, "append": append}
    writer = StoreWriter(path, run.autoencoder.dimension, provenance, origin=origin, **options)
    if not force and signature(path) != found:  # from now on no other process writes it
        with writer:
            raise LsamplerError(f"{path}: was written by another process meanwhile; run the command again")
    return writer


def _resume_at(writer: StoreWriter, source: ImageSource) -> tuple[int, dict[str, str]]:
    """The first image that is not committed yet, and those before it that were skipped."""
    committed = writer.committed_ids()
    if committed and committed[-1] not in source.ids:
        fix = "pass `force=True` to start over"
        raise LsamplerError(f"{writer.path}: its unfinished run holds other images than {source.name}; {fix}")
    start = source.ids.index(committed[-1]) + 1 if committed else 0
    return start, _missing(source.ids[:start], committed, {})


def _missing(ids: Sequence[str], stored: Sequence[str], reasons: dict[str, str]) -> dict[str, str]:
    """The images that are not in the store, with the reasons that this run knows."""
    known = set(stored)
    return {identity: reasons.get(identity, EARLIER) for identity in ids if identity not in known}


def _encode_shards(run: _Run, progress: Progress | None) -> EncodingResult:
    """The latents of :func:`encode_images`, up to the rounding of the number of threads, one task per shard."""
    autoencoder, source, options = run.autoencoder, run.source, run.options
    if options.append:
        raise LsamplerError("`append=True` does not go with a sharded store; choose a name ending in .h5")
    encoder, digest = autoencoder.fingerprint, source_digest(source.ids)
    encode: Callable[..., Iterator[Rows]] = partial(encode_range, autoencoder, source, held_out=run.division.held_out)
    if current_engine().remote:
        if options.opened is None:
            raise LsamplerError("workers of a cluster cannot open this model; give `opened=...`")
        encode = partial(_encode_range_on_worker, options.opened, encoder, digest, run.split)
    how: dict[str, Any] = {"batch_size": options.batch_size, "strict": options.strict, "crop": options.crop}
    encode = partial(encode, options=EncodeOptions(**how))
    settings = {"encoder": encoder, "digest": digest, "device": str(device_of(autoencoder))}
    plan: dict[str, Any] = settings | how | {"split": asdict(run.split)}
    step = -(-options.shard_images // options.batch_size) * options.batch_size
    work = ShardWork("encoding", run.total, step, plan, encode)
    attributes = run.provenance() | run.origin()
    store, skipped = write_shards(run.path, autoencoder.dimension, work, attributes, force=run.force, progress=progress)
    return EncodingResult(store, 0, _missing(source.ids, store.ids(), skipped))


def _encode_range_on_worker(
    opened: Opened, encoder: str, digest: str, split: HeldOut, start: int, stop: int, *, options: EncodeOptions
) -> Generator[Rows, None, None]:
    """:func:`encode_range` with a model and images that another process has named."""
    autoencoder, source, held_out = _opened(opened, encoder, digest, split)
    return encode_range(autoencoder, source, start, stop, held_out=held_out, options=options)


@lru_cache(maxsize=1)
def _opened(
    opened: Opened, encoder: str, digest: str, split: HeldOut
) -> tuple[Autoencoder, ImageSource, NDArray[np.bool_]]:
    """Opened once for all tasks of a process with the same images and weights."""
    autoencoder, source = opened()
    if (autoencoder.fingerprint, source_digest(source.ids)) != (encoder, digest):
        raise LsamplerError(
            f"{source.name}: the images or the model have changed, or a worker sees different ones; rerun the command"
        )
    return autoencoder, source, split.divide(source.ids, source.name).held_out


def encode_range(
    autoencoder: Autoencoder,
    source: ImageSource,
    start: int,
    stop: int,
    *,
    held_out: NDArray[np.bool_],
    options: EncodeOptions = EncodeOptions(),
) -> Generator[Rows, None, None]:
    """Latents of the images ``start`` to ``stop`` of a source, in order; nothing is written.

    Images are loaded ahead, so that the encoder does not wait for them. Ranges that begin at multiples of
    ``batch_size`` give the same numbers as one range over all. ``held_out`` has an entry for every image of
    the source.

    Raises:
        LsamplerError: an image cannot be used and ``strict`` is set.
    """
    device = device_of(autoencoder)
    processes = _processes(options.workers, device, stop - start)
    reader = ImageBatches(source, preparation(autoencoder, options), strict=options.strict, processes=processes)
    with closing(reader.pixels(options.batch_size, start, stop)) as batches:
        launched = ((batch, _launch(autoencoder, batch, device)) for batch in batches)
        # A GPU computes on while this thread goes on: it gets its next batch before the last is fetched.
        for batch, latents in one_behind(launched) if device.type == "cuda" else launched:
            rows = latents.float().cpu().numpy()
            ids = [source.ids[index] for index in batch.indices]
            yield Rows(rows, ids, [SPLITS[int(held_out[index])] for index in batch.indices], batch.skipped)


def preparation(autoencoder: Autoencoder, options: EncodeOptions) -> Preprocess:
    """How images are prepared: as for the autoencoder, but for a crop that the options name."""
    own = autoencoder.preprocess
    return replace(own, crop=options.crop) if options.crop else own


def reconstruction_error(autoencoder: Autoencoder, source: ImageSource, options: EncodeOptions) -> float | None:
    """The mean squared error of some images of a source, evenly spaced, once encoded and decoded; None without images.

    Images that the autoencoder was not made for, or that are cropped otherwise, have a far larger one than those that
    were held out of its training.
    """
    prepare, errors = preparation(autoencoder, options), []
    for index in range(0, len(source.ids), max(1, len(source.ids) // RECONSTRUCTED)):
        with contextlib.suppress(ImageError):  # skipped and named later, while it is encoded
            image = torch.from_numpy(prepare(source.read(index)))[None]
            errors.append(functional.mse_loss(autoencoder.decode(autoencoder.encode(image)).cpu(), image).item())
    return sum(errors) / len(errors) if errors else None


def _launch(autoencoder: Autoencoder, batch: PixelBatch, device: torch.device) -> Tensor:
    """The latents, which a GPU may still be computing."""
    if not batch.indices:
        return torch.empty((0, autoencoder.dimension))
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
    with plugin_errors("encoding"):
        latents = dense_tensor(autoencoder.encode(images))
        if tuple(latents.shape) != (len(images), autoencoder.dimension):
            raise TypeError(f"gave shape {tuple(latents.shape)}, expected {(len(images), autoencoder.dimension)}")
    return latents


def _processes(workers: int | None, device: torch.device, images: int) -> int:
    """How many processes load the images; with 0, threads of this one do."""
    if workers is not None:
        if workers < 0:
            raise LsamplerError(f"`workers={workers}`: give a number of processes, or 0 for none")
        return workers
    # An encoder on the CPU is itself what the cores are busy with; threads cost least.
    return min(cores(), MOST_PROCESSES) if device.type == "cuda" and images >= MANY_IMAGES else 0
