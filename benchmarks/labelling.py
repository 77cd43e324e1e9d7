"""Fits of shifts: effects of labels and statistics of what they leave, from an HDF5 store, beside statistics alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measuring import DIMENSION, Row, Settings, in_turn, own_process
from benchmarks.sampling import fitted
from lsampler import load_sampler, open_store
from lsampler.store import Labels, StoreWriter

ROWS, LABELS = 1_000_000, 40
AT_ONCE = 1 << 16


def once(path: str) -> None:
    """For a process whose memory is measured."""
    load_sampler("multivariate-normal").fit(open_store(path), labels=True)


def alone(path: str) -> None:
    """The same strategy without labels."""
    load_sampler("multivariate-normal").fit(open_store(path))


def write(path: Path, rows: int) -> None:
    """A store of vectors with binary labels that are correlated with them and with each other."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(DIMENSION, LABELS)) / DIMENSION
    sampler = fitted("multivariate-normal")
    with StoreWriter(path, DIMENSION, {}, commit_rows=AT_ONCE) as writer:
        for start in range(0, rows, AT_ONCE):
            latents = sampler.sample(min(AT_ONCE, rows - start), seed=start).numpy()
            noise = random.normal(size=(len(latents), LABELS))
            labels = (latents @ directions + noise > np.linspace(0, 2, LABELS)).astype(np.float32)
            names = {f"label {k}": labels[:, k] for k in range(LABELS)}
            writer.append(latents, labels=Labels.of(names, len(latents), kinds=dict.fromkeys(names, "binary")))


def measure(settings: Settings) -> Iterator[Row]:
    """One row: from opening a store to a fitted strategy that draws under any condition."""
    rows = settings.rows(ROWS)
    with TemporaryDirectory(dir=settings.scratch) as folder:
        path = Path(folder) / "store.h5"
        write(path, rows)
        ours, theirs = in_turn([lambda: once(str(path)), lambda: alone(str(path))], settings.repeats)
        few = Path(folder) / "few.h5"
        write(few, rows // 10)
        own, base = (own_process("labelling", f"once({str(each)!r})") for each in (path, few))
    yield Row(
        f"fit with {LABELS} labels (effects, and statistics of what they leave) from an HDF5 store",
        "the same fit without labels (statistics alone) from the same store",
        ours,
        theirs,
        rows,
        target=0.7,
        memory_mb=own.peak_mb,
        memory_base_mb=base.peak_mb,
        memory_target_mb=50.0,
        limit="the products for the covariances, and reading labels",
    )
