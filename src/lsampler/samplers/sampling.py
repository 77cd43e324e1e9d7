"""A fitted strategy's vectors, straight into a latent store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsampler.compute.seeded_blocks import resolve_device
from lsampler.files import check_output
from lsampler.progress import Progress, track
from lsampler.samplers.base import LatentSampler
from lsampler.store.chunks import Sealed, sealed
from lsampler.store.shard_writer import SHARD_ROWS, sample_shards
from lsampler.store.sharded import SUFFIX, open_store
from lsampler.store.single_file import LatentStore
from lsampler.store.writer import rows_per_chunk, write_store

__all__ = ["sample_store"]


def sample_store(
    sampler: LatentSampler,
    n: int,
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    reference: str = "",
    shard_rows: int = SHARD_ROWS,
    force: bool = False,
    progress: Progress | None = None,
) -> LatentStore:
    """Draw ``n`` vectors into a new store: the rows of :meth:`LatentSampler.sample`, whoever draws them.

    Memory does not grow with ``n``. The store is complete or absent.

    Args:
        sampler: fitted.
        n: how many.
        path: of an HDF5 file, or of a sharded store if its name ends in ``.shards``: that one may
            be drawn on a cluster (:func:`on_cluster`), and an interrupted run goes on.
        seed: as for :meth:`LatentSampler.sample`; likewise ``device`` and ``threads``.
        device: see ``seed``.
        threads: see ``seed``.
        reference: what the strategy was fitted to, in words, for the store's provenance.
        shard_rows: rows a shard, rounded up to whole blocks of 2048.
        force: replace a store that exists.
        progress: where to show the advance.

    Raises:
        LsamplerError: the strategy is not fitted, the store exists, or the disk is full.
    """
    check_output(path, force=force)
    target = resolve_device(device)
    provenance = _provenance(sampler, seed, target, reference)
    if Path(path).suffix == SUFFIX:
        return sample_shards(
            sampler,
            n,
            path,
            provenance,
            seed=seed,
            device=str(target),
            threads=threads,
            shard_rows=shard_rows,
            force=force,
            progress=progress,
        )
    blocks = sampler._stream_as(_sealed, n, seed=seed, device=target, threads=threads)
    write_store(path, sampler.dimension, track(blocks, progress, "drawing", n, len), provenance, force=force)
    return open_store(path)


def _sealed(rows: Tensor) -> Sealed:
    return sealed(rows.cpu().numpy(), rows_per_chunk(rows.shape[1]))


def _provenance(sampler: LatentSampler, seed: int, device: torch.device, reference: str) -> dict[str, Any]:
    provenance: dict[str, Any] = {
        "kind": "samples",
        "sampler": sampler.name,
        "parameters": json.dumps(sampler.settings()),
        "seed": seed,
        "device": device.type,
        "reference": reference,
    }
    if sampler.fingerprint:
        provenance["encoder"] = sampler.fingerprint
    return provenance
