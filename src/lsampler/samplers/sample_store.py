"""Draws vectors of a fitted strategy straight into a latent store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lsampler.compute.engine import current_engine
from lsampler.compute.seeded_blocks import BLOCK_ROWS, resolve_device
from lsampler.errors import LsamplerError
from lsampler.files import check_output, disk_errors
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.samplers.base import LatentSampler, SamplerLike, as_sampler
from lsampler.store.file_store import FileStore, partial_folder
from lsampler.store.latent_store import Rows
from lsampler.store.sharded_store import SUFFIX, ShardedStore
from lsampler.store.sharding import SHARD_ROWS, ShardWork, write_shards
from lsampler.store.writer import write_store

SAMPLER = "sampler.safetensors"


@dataclass(frozen=True)
class DrawOptions:
    """How a store of samples is drawn.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``. Devices agree in distribution, not in digits.
        threads: blocks drawn at once on the CPU; by default one per core. A worker of a cluster draws with one.
        reference: what the strategy was fitted to, in words, for the store's attributes.
        shard_rows: rows per shard of a sharded store, rounded up to whole blocks of 2,048.
    """

    device: str | torch.device = "cpu"
    threads: int | None = None
    reference: str = ""
    shard_rows: int = SHARD_ROWS


@shows_progress
def sample_store(
    sampler: SamplerLike,
    n: int,
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    options: DrawOptions = DrawOptions(),
    force: bool = False,
    progress: ProgressLike = None,
) -> FileStore | ShardedStore:
    """Draw ``n`` vectors into a new store: the rows of :meth:`LatentSampler.sample`, on whatever machine.

    Memory does not grow with ``n``. The store is complete or absent.

    Args:
        sampler: a fitted strategy.
        n: how many.
        path: of an HDF5 file, or of a sharded store if its name ends in ``.shards``: that one may
            be drawn on a cluster (:func:`on_cluster`), and an interrupted run is resumed.
        seed: as for :meth:`LatentSampler.sample`; it is recorded in the store.
        options: device, threads, and the like.
        force: replace a store that exists, and discard an interrupted run.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: the strategy is not fitted, the store exists, an interrupted run drew something else, or the
            disk is full.
    """
    sampler = as_sampler(sampler)
    if n < 1:
        raise LsamplerError(f"`n={n}`: draw at least one vector")
    check_output(path, force=force)
    target = resolve_device(options.device)
    _require_disk(Path(path), n, sampler.dimension)
    attributes = _attributes(sampler, seed, target, options.reference)
    if Path(path).suffix == SUFFIX:
        saved = str(partial_folder(Path(path)).absolute() / SAMPLER)
        planned = {"sampler": sampler._digest(), "seed": seed, "device": str(target)}
        draw = partial(_drawn, type(sampler), saved, seed=seed, device=str(target), threads=options.threads)
        step = -(-options.shard_rows // BLOCK_ROWS) * BLOCK_ROWS
        work = ShardWork("drawing", n, step, planned, draw)

        def save(folder: Path) -> None:
            sampler.save(folder / SAMPLER, force=True)

        return write_shards(path, sampler.dimension, work, attributes, force=force, progress=progress, prepare=save)[0]
    drawn = sampler.stream(n, seed=seed, device=target, threads=options.threads)
    chunks = (rows.cpu().numpy() for rows in drawn)
    write_store(path, sampler.dimension, track(chunks, progress, "drawing", n, len), attributes, force=force)
    return FileStore(path)


def _require_disk(path: Path, n: int, dimension: int) -> None:
    with disk_errors(path):
        free = shutil.disk_usage(path.absolute().parent).free
    if 4 * n * dimension > free:
        needed = 4e-9 * n * dimension
        raise LsamplerError(f"`n={n}`: needs {needed:,.1f} GB of disk, and {free / 1e9:,.1f} are free; draw fewer")


def _drawn(
    strategy: type[LatentSampler], saved: str, start: int, stop: int, *, threads: int | None, **options: Any
) -> Iterator[Rows]:
    """Rows of a fitted strategy, block by block."""
    threads = 1 if current_engine().remote else threads
    for rows in strategy.load(saved).stream(stop - start, threads=threads, start=start, **options):
        yield Rows(rows.cpu().numpy())


def _attributes(sampler: LatentSampler, seed: int, device: torch.device, reference: str) -> dict[str, Any]:
    settings = {"sampler": sampler.name, "parameters": json.dumps(sampler.settings()), "seed": seed}
    attributes = {"kind": "samples", **settings, "device": device.type, "reference": reference}
    condition = sampler._conditioned
    attributes |= {"condition": condition.text} if condition else {}
    return attributes | ({"encoder": sampler.fingerprint} if sampler.fingerprint else {})
