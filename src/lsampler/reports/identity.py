"""What a reference holds, as a short text: reports keep what was computed for the same data."""

from __future__ import annotations

import hashlib

from lsampler.errors import LsamplerError
from lsampler.progress import Progress, track
from lsampler.store.latent_store import SPLITS, LatentStore
from lsampler.store.reference import Reference

__all__ = ["identity"]


def identity(reference: Reference, progress: Progress | None = None) -> str:
    """A digest of what a reference holds, whatever its name: the same vectors give the same one."""
    digest = hashlib.blake2b(digest_size=16)
    if reference.has_latents:
        rows = 0
        for split in SPLITS:
            blocks = reference.chunks(split)
            if isinstance(reference, LatentStore):
                blocks = track(blocks, progress, f"reading ({split})", reference.count(split), len)
            for block in blocks:
                digest.update(block.tobytes())
                rows += len(block)
            digest.update(f"|{rows}".encode())
    else:
        for trim in (None, 1.7):
            try:
                arrays = reference.statistics(trim).as_arrays()
            except LsamplerError:
                continue
            for name in sorted(arrays):
                digest.update(arrays[name].tobytes())
        digest.update(repr(sorted(reference.calibrations.items())).encode())
    return digest.hexdigest()
