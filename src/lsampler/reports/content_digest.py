"""A digest of what a reference holds, under which reports keep what was computed for the same data."""

from __future__ import annotations

import hashlib

from lsampler.errors import LsamplerError
from lsampler.progress import Progress, track
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.store.latent_store import SPLITS, LatentStore
from lsampler.store.reference import Reference

__all__ = ["content_digest"]


def content_digest(reference: Reference, progress: Progress | None = None) -> str:
    """A digest of the vectors of a reference, or of its statistics if it has none; the name does not matter."""
    digest = hashlib.blake2b(digest_size=16)
    if reference.has_latents:
        rows = 0
        for split in SPLITS:
            chunks = reference.chunks(split)
            if isinstance(reference, LatentStore):
                chunks = track(chunks, progress, f"reading ({split})", reference.count(split), len)
            for chunk in chunks:
                digest.update(chunk.tobytes())
                rows += len(chunk)
            digest.update(f"|{rows}".encode())
        return digest.hexdigest()
    for trim in (None, 1.7):
        try:
            arrays = reference.statistics(trim).as_arrays()
        except LsamplerError:
            continue
        for name in sorted(arrays):
            digest.update(arrays[name].tobytes())
    if isinstance(reference, StatisticsReference):
        digest.update(repr(sorted(reference.calibrations.items())).encode())
    return digest.hexdigest()
