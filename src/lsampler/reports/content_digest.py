"""A digest of what a reference holds, under which reports keep what was computed for the same data."""

from __future__ import annotations

import hashlib

from lsampler.progress import ProgressLike, track
from lsampler.samplers.conditions.conditioned import UnderCondition
from lsampler.scoring.statistics_reference import TRIM, StatisticsReference
from lsampler.store.latent_store import SPLITS, LatentStore
from lsampler.store.reference import Reference


def content_digest(reference: Reference, progress: ProgressLike = None) -> str:
    """A digest of the vectors of a reference, or of its statistics and fitted strategies if it has none.

    The name does not matter.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(reference, StatisticsReference):
        for trim in (None, TRIM):
            arrays = reference.statistics(trim).as_arrays()
            for name in sorted(arrays):
                digest.update(arrays[name].tobytes())
        digest.update(repr(sorted(reference.calibrations.items())).encode())
        for carried in reference.strategies:
            digest.update(carried.digest.encode())
        return digest.hexdigest()
    if isinstance(reference, UnderCondition):  # strategies are fitted to the whole
        digest.update(repr(reference.conditions).encode())
        reference = reference.whole
        digest.update(labels_digest(reference).encode())
    rows = 0
    for split in SPLITS:
        total = reference.count(split) if isinstance(reference, LatentStore) else 0
        for chunk in track(reference.chunks(split), progress, f"reading ({split})", total, len):
            digest.update(chunk.tobytes())
            rows += len(chunk)
        digest.update(f"|{rows}".encode())
    return digest.hexdigest()


def labels_digest(reference: Reference) -> str:
    """A digest of the labels of a store, or of the effects of labels of a bundle; of neither if it has none."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(reference, LatentStore) and reference.label_columns:
        digest.update(repr(reference.label_columns).encode())
        for _, _, codes in reference.label_parts():
            digest.update(codes.tobytes())
    elif isinstance(reference, StatisticsReference) and reference.labelled is not None:
        effects = reference.labelled.effects
        digest.update(repr((effects.design, effects.count)).encode())
        for array in (effects.matrix, effects.mean, effects.covariance):
            digest.update(array.tobytes())
    return digest.hexdigest()
