"""Images -> sharded latent store, a shard a task: on a cluster, every worker opens model and images itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lsampler.compute.seeded_blocks import resolve_device
from lsampler.data.sources import ImageSource, open_images, source_digest
from lsampler.errors import LsamplerError
from lsampler.models.encoding import EncodingResult, encode_range, origin, provenance
from lsampler.models.protocols import Autoencoder
from lsampler.progress import Progress
from lsampler.store.shard_writer import Note, ranges, write_shards
from lsampler.store.writer import StoreBlock
from lsampler.workspace import Opened, open_any_model

__all__ = ["encode_shards"]

SHARD_IMAGES = 1 << 13


@dataclass(frozen=True)
class _Encoded:
    """The latents of some images of a source."""

    images: str
    model: str | None
    settings: tuple[tuple[str, str], ...]
    device: str
    start: int
    rows: int
    first_held_out: int
    batch_size: int
    strict: bool
    encoder: str
    digest: str

    def planned(self) -> dict[str, Any]:
        """What decides on the latents; where images and model lie does not."""
        return {key: value for key, value in asdict(self).items() if key not in ("images", "model")}

    def chunks(self) -> Iterator[StoreBlock | Note]:
        """The latents with ids and splits; and the images left out, with the reason."""
        source, autoencoder = _opened_again(self)
        for part in encode_range(
            autoencoder,
            source,
            self.start,
            self.start + self.rows,
            first_held_out=self.first_held_out,
            batch_size=self.batch_size,
            strict=self.strict,
        ):
            yield from (Note(identity, reason) for identity, reason in part.skipped.items())
            if part.ids:
                yield part.latents, part.ids, [part.split] * len(part.ids)


def encode_shards(
    images: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    held_out: int,
    model: str | None = None,
    settings: Mapping[str, str] | None = None,
    device: str = "cpu",
    batch_size: int = 128,
    strict: bool = False,
    force: bool = False,
    shard_images: int = SHARD_IMAGES,
    progress: Progress | None = None,
) -> EncodingResult:
    """Encode images into a sharded store, on the current engine.

    The latents are those of :func:`encode_images`, up to the rounding of the number of threads.

    Args:
        images: a folder, archive or array, which all workers can read.
        path: of the sharded store.
        held_out: how many of the last images are held out.
        model: as for ``--model``.
        settings: parameters of the model's loader.
        device: where each worker encodes.
        batch_size: images a forward pass.
        strict: stop at the first image that cannot be used.
        force: replace a store that exists, and forget an interrupted run.
        shard_images: images a shard; rounded up to whole batches.
        progress: where to show the advance.

    Raises:
        LsamplerError: the store exists, an interrupted run was another, or no image can be used.
    """
    opened = Opened(model, None, tuple(sorted((settings or {}).items()))).absolute()
    folder, where = str(Path(images).absolute()), str(resolve_device(device))
    source, autoencoder = _opened(folder, opened.model, opened.settings, where)
    identity = (autoencoder.fingerprint, source_digest(source.ids))
    total = len(source.ids)
    if not 0 <= held_out < total:
        raise LsamplerError(
            f"{source.name}: {total} images, {held_out} held out; --held-out must leave some to train on"
        )
    step = -(-shard_images // batch_size) * batch_size
    tasks = [
        _Encoded(
            folder, opened.model, opened.settings, where, start, rows, total - held_out, batch_size, strict, *identity
        )
        for start, rows in ranges(total, step)
    ]
    told = provenance(autoencoder) | origin(source, held_out)
    store, notes = write_shards(
        path, autoencoder.dimension, tasks, told, force=force, progress=progress, what="encoding"
    )
    left_out = dict(notes)
    known = set(store.ids())
    reason = "could not be used in the interrupted run"
    skipped = {identity: left_out.get(identity, reason) for identity in source.ids if identity not in known}
    return EncodingResult(store, 0, skipped)


def _opened(
    images: str, model: str | None, settings: tuple[tuple[str, str], ...], device: str
) -> tuple[ImageSource, Autoencoder]:
    return open_images(images), open_any_model(model, dict(settings)).to(resolve_device(device))


def _opened_again(task: _Encoded) -> tuple[ImageSource, Autoencoder]:
    """Once for all tasks of a process with the same images and weights, whatever their files were before."""
    return _kept(task.images, task.model, task.settings, task.device, task.encoder, task.digest)


@lru_cache(maxsize=1)
def _kept(
    images: str, model: str | None, settings: tuple[tuple[str, str], ...], device: str, encoder: str, digest: str
) -> tuple[ImageSource, Autoencoder]:
    source, autoencoder = _opened(images, model, settings, device)
    for name, found, expected in (
        (model, autoencoder.fingerprint, encoder),
        (images, source_digest(source.ids), digest),
    ):
        if found != expected:
            raise LsamplerError(f"{name}: has changed, or is another file for a worker; run the command again")
    return source, autoencoder
