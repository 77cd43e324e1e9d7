"""Ten million vectors into an HDF5 store, beside drawing alone and writing alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measuring import DIMENSION, Row, Settings, in_turn, own_process
from benchmarks.sampling import BLOCK, draw, fitted
from lsampler.samplers import sample_store
from lsampler.store.writer import write_store

ROWS = 10_000_000
FEW_ROWS = 1_000_000


def store(rows: int, path: str) -> None:
    """Draw and write; for a process of its own as well."""
    sample_store(fitted("pca-ellipse"), rows, path, force=True)


def write(rows: int, path: str) -> None:
    """The same writer, writing one block of vectors over and over."""
    block = np.random.default_rng(0).standard_normal((BLOCK, DIMENSION), dtype=np.float32)
    blocks = (block[: min(BLOCK, rows - first)] for first in range(0, rows, BLOCK))
    write_store(path, DIMENSION, blocks, {}, force=True)


def measure(settings: Settings) -> Iterator[Row]:
    """One row; its memory is that of all rows, and may be 50 MB above that of a tenth of them."""
    rows = settings.rows(ROWS)
    with TemporaryDirectory(dir=settings.scratch) as folder:
        file = Path(folder) / "store.h5"
        path = str(file)
        few = own_process("storing", f"store({settings.rows(FEW_ROWS)}, {path!r})")
        all_rows = own_process("storing", f"store({rows}, {path!r})")
        runs = [partial(store, rows, path), partial(draw, fitted("pca-ellipse"), rows), partial(write, rows, path)]
        both, drawing, writing = in_turn(
            runs, settings.repeats, warm=False, before=partial(file.unlink, missing_ok=True)
        )
    yield Row(
        f"{rows:,} pca-ellipse rows to HDF5",
        "the slower of drawing alone and writing alone",
        both,
        [max(pair) for pair in zip(drawing, writing, strict=True)],
        rows,
        target=1 / 1.3,
        memory_mb=all_rows.peak_mb,
        memory_base_mb=few.peak_mb,
        memory_target_mb=50.0,
        limit="the system's copy into its file cache on one thread, while all cores draw and compute checksums",
    )
