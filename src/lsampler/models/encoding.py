"""Items -> latent store, streaming, and resumable after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.engine import current_engine
from lsampler.data.batches import require_some
from lsampler.data.image_sources import source_digest
from lsampler.errors import LsamplerError
from lsampler.files import check_output, remove
from lsampler.models.encode_ranges import EncodeOptions, Opened, Source, batch_size, encode_range, preparation
from lsampler.models.protocols import Autoencoder, device_of, item_of
from lsampler.models.trained_split import split_for
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.file_store import FileStore, committed_shards, partial_folder
from lsampler.store.held_out import Division, HeldOut
from lsampler.store.label_joining import joined_labels
from lsampler.store.labels import Labels, as_json
from lsampler.store.latent_shape import LATENT_SHAPE, shape_attribute
from lsampler.store.latent_store import RUN, Rows
from lsampler.store.partial_store import signature
from lsampler.store.sharded_store import SUFFIX, ShardedStore
from lsampler.store.sharding import ShardWork, write_shards
from lsampler.store.writer import StoreWriter

DEFAULTS = EncodeOptions()
EARLIER = "could not be used in the interrupted run"


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


@shows_progress
def encode_to_store(
    autoencoder: Autoencoder,
    source: Source,
    path: str | os.PathLike[str],
    *,
    held_out: int | HeldOut | None = None,
    options: EncodeOptions = DEFAULTS,
    force: bool = False,
    progress: ProgressLike = None,
) -> EncodingResult:
    """Encode items into a store, and hold some out.

    If an earlier run on the same path was interrupted, it resumes after the last committed image.

    Args:
        autoencoder: whose encoder is used, with its preprocessing.
        source: the images of :func:`lsampler.data.open_images`, or the rows of :func:`lsampler.data.open_items`.
        path: of an HDF5 file, or of a sharded store if its name ends in ``.shards``: that one may be encoded on a
            cluster (:func:`on_cluster`).
        held_out: how many images are held out, or which (:class:`HeldOut`). A number, or None, follows what the
            autoencoder's training held out of the same images. Otherwise so many, or a tenth, are held out at random.
        options: batch size, loading, labels, and the like.
        force: replace an existing store and discard an interrupted run.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: the store exists, was begun with another encoder or other images, or holds these images
            already.
    """
    split = held_out if isinstance(held_out, HeldOut) else split_for(autoencoder, source, held_out)[0]
    known = None if options.labels is None else joined_labels(options.labels, source.ids, source.name)
    run = _Run(
        autoencoder,
        source,
        Path(path),
        split,
        split.divide(source.ids, source.name),
        options,
        force,
        None if known is None else known.labels,
    )
    return _encode_shards(run, progress) if run.path.suffix == SUFFIX else _encode_file(run, progress)


@dataclass(frozen=True)
class _Run:
    """The arguments of :func:`encode_to_store`."""

    autoencoder: Autoencoder
    source: Source
    path: Path
    split: HeldOut
    division: Division
    options: EncodeOptions
    force: bool
    labels: Labels | None

    @property
    def total(self) -> int:
        return len(self.source.ids)

    def provenance(self) -> dict[str, Any]:
        """The attributes of a store of encoded items."""
        item = item_of(self.autoencoder)
        known: dict[str, Any] = {"encoder": self.autoencoder.fingerprint}
        shape = shape_attribute(getattr(self.autoencoder, LATENT_SHAPE, None))
        if not item.is_image:
            words = {"names": json.dumps(item.names), "unit": item.unit}
            known |= {"item": item.kind, "item_shape": "x".join(map(str, item.shape)), **shape}
            return {"kind": f"encoded {item.plural}", **known} | {
                key: text for key, text in words.items() if text not in ("", "[]")
            }
        how = preparation(self.autoencoder, self.options)
        size = how.size if isinstance(how.size, int) else how.size_text
        known |= {"crop": how.crop, "channels": how.channels}
        return {"kind": "encoded images", **known, "image_size": size, **shape}

    def origin(self) -> dict[str, str | int]:
        """The attributes that identify the images."""
        of_images = {"source": self.source.name, "source_digest": source_digest(self.source.ids)}
        return {**of_images, "held_out": int(self.division.held_out.sum()), "split": self.split.scheme}


def _encode_file(run: _Run, progress: ProgressLike) -> EncodingResult:
    source = run.source
    with _writer(run) as writer:
        start, skipped = _resume_at(writer, run)
        resumed = writer.committed
        if run.options.strict and skipped:
            fix = "fix it and pass `force=True` to start over, or leave out `strict=True`"
            raise LsamplerError(f"{source.name}: image '{next(iter(skipped))}' could not be used; {fix}")
        held_out, labels = run.division.held_out, run.labels and run.labels.rows(slice(start, None))
        encoded = encode_range(
            run.autoencoder, source, start, run.total, held_out=held_out, options=run.options, labels=labels
        )
        with closing(encoded):
            for rows in track(encoded, progress, "encoding", run.total, len, start):
                skipped |= rows.skipped
                writer.append(rows.latents, rows.ids, rows.splits or (), rows.labels)
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


def _resume_at(writer: StoreWriter, run: _Run) -> tuple[int, dict[str, str]]:
    """The first image that is not committed yet, and those before it that were skipped."""
    committed, source = writer.committed_ids(), run.source
    if committed and committed[-1] not in source.ids:
        fix = "pass `force=True` to start over"
        raise LsamplerError(f"{writer.path}: its unfinished run holds other images than {source.name}; {fix}")
    start = source.ids.index(committed[-1]) + 1 if committed else 0
    if committed and not _same_labels(writer.committed_labels(), run, committed):
        fix = "give the same labels to resume, or pass `force=True` to start over"
        raise LsamplerError(f"{writer.path}: its unfinished run has other labels; {fix}")
    return start, _missing(source.ids[:start], committed, {})


def _same_labels(there: Labels | None, run: _Run, committed: Sequence[str]) -> bool:
    """Whether the labels of the committed rows are those that are given for them."""
    if there is None or run.labels is None:
        return there is run.labels
    rows = {identity: row for row, identity in enumerate(run.source.ids)}
    expected = run.labels.rows([rows[identity] for identity in committed])
    return there.columns == expected.columns and np.array_equal(there.codes, expected.codes, equal_nan=True)


def _missing(ids: Sequence[str], stored: Sequence[str], reasons: dict[str, str]) -> dict[str, str]:
    """The images that are not in the store, with the reasons that this run knows."""
    known = set(stored)
    return {identity: reasons.get(identity, EARLIER) for identity in ids if identity not in known}


def _encode_shards(run: _Run, progress: ProgressLike) -> EncodingResult:
    """The latents of :func:`encode_to_store`, up to the rounding of the number of threads, one task per shard."""
    autoencoder, source, options = run.autoencoder, run.source, run.options
    if options.append:
        raise LsamplerError("`append=True` does not go with a sharded store; choose a name ending in .h5")
    encoder, digest = autoencoder.fingerprint, source_digest(source.ids)
    encode: Callable[..., Iterator[Rows]] = partial(encode_range, autoencoder, source, held_out=run.division.held_out)
    if current_engine().remote:
        if options.opened is None:
            raise LsamplerError("workers of a cluster cannot open this model; give `opened=...`")
        encode = partial(_encode_range_on_worker, options.opened, encoder, digest, run.split)
    size = batch_size(autoencoder, options)
    how: dict[str, Any] = {"batch_size": size, "strict": options.strict, "crop": options.crop}
    encode = partial(encode, options=EncodeOptions(**how))
    settings = {"encoder": encoder, "digest": digest, "device": str(device_of(autoencoder))}
    plan: dict[str, Any] = settings | how | {"split": asdict(run.split)}
    step = -(-options.shard_images // size) * size
    columns = run.labels.columns if run.labels else ()
    if run.labels:
        plan["labels"] = hashlib.sha256(as_json(columns).encode() + run.labels.codes.tobytes()).hexdigest()
    work = ShardWork("encoding", run.total, step, plan, encode, columns, run.labels)
    attributes = run.provenance() | run.origin()
    store, skipped = write_shards(run.path, autoencoder.dimension, work, attributes, force=run.force, progress=progress)
    return EncodingResult(store, 0, _missing(source.ids, store.ids(), skipped))


def _encode_range_on_worker(
    opened: Opened,
    encoder: str,
    digest: str,
    split: HeldOut,
    *share: int,
    options: EncodeOptions,
    labels: Labels | None = None,
) -> Generator[Rows, None, None]:
    """:func:`encode_range` with a model and images that another process has named."""
    autoencoder, source, held_out = _opened(opened, encoder, digest, split)
    return encode_range(autoencoder, source, *share, held_out=held_out, options=options, labels=labels)


@lru_cache(maxsize=1)
def _opened(opened: Opened, encoder: str, digest: str, split: HeldOut) -> tuple[Autoencoder, Source, NDArray[np.bool_]]:
    """Opened once for all tasks of a process with the same images and weights."""
    autoencoder, source = opened()
    if (autoencoder.fingerprint, source_digest(source.ids)) != (encoder, digest):
        raise LsamplerError(
            f"{source.name}: the images or the model have changed, or a worker sees different ones; rerun the command"
        )
    return autoencoder, source, split.divide(source.ids, source.name).held_out
