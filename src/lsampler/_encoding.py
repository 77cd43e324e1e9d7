"""Images -> latent store, streaming, and resumable after a kill."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from lsampler._errors import LsamplerError
from lsampler._files import check_output
from lsampler._images import ImageBatches, ImageSource, source_digest
from lsampler._interfaces import Autoencoder
from lsampler._progress import Progress, track
from lsampler._store import LatentStore, pieces
from lsampler._store_writer import StoreWriter

__all__ = ["EncodingResult", "default_held_out", "encode_images"]


@dataclass(frozen=True)
class EncodingResult:
    """What an encoding did: rows in the store, rows that were already committed, images skipped."""

    store: LatentStore
    resumed: int
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
        progress: where to show the advance.

    Raises:
        LsamplerError: the store exists, was begun with another encoder or other images, or
            holds these images already.
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
    reader = ImageBatches(source, autoencoder.preprocess, strict=strict)
    batches = reader.read(batch_size, start)
    with writer:
        for indices, images in track(batches, progress, "encoding", total, lambda b: len(b[0]), start):
            latents = autoencoder.encode(torch.from_numpy(images)).float().cpu().numpy()
            for split, chosen in (
                ("train", [k for k, index in enumerate(indices) if index < total - held_out]),
                ("held-out", [k for k, index in enumerate(indices) if index >= total - held_out]),
            ):
                if chosen:
                    ids = [source.ids[indices[k]] for k in chosen]
                    writer.append(latents[chosen], ids, split)  # type: ignore[arg-type]
        reader.require_some(writer.committed + writer.pending)
    return EncodingResult(LatentStore(path), resumed, left_out | reader.skipped)


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
    committed = [identity for piece in pieces(writer.path) for identity in LatentStore(piece).ids()]
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
    attributes = LatentStore(path).attributes
    names, digests = (str(attributes.get(key)).split(" + ") for key in ("source", "source_digest"))
    if source.name in names and source_digest(source.ids) in digests:
        raise LsamplerError(
            f"{path}: holds the images of {source.name} already; append others, or make the store anew with --force"
        )
