"""Mean, covariance and extremes from an HDF5 store, beside scikit-learn's PCA of the rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.decomposition import PCA

from benchmarks.measuring import Row, Settings, in_turn, own_process
from benchmarks.sampling import fitted
from lsampler import open_store
from lsampler.samplers import sample_store

ROWS = 600_000


def once(path: str) -> None:
    """For a process whose memory is measured."""
    open_store(path).statistics()


def measure(settings: Settings) -> Iterator[Row]:
    """One row: from opening a store to the finished statistics."""
    rows = settings.rows(ROWS)
    with TemporaryDirectory(dir=settings.scratch) as folder:
        path = Path(folder) / "store.h5"
        sample_store(fitted("multivariate-normal"), rows, path)
        in_memory = open_store(path).read()
        peer = PCA(svd_solver="covariance_eigh")
        if not np.allclose(peer.fit(in_memory).mean_, open_store(path).statistics().mean, atol=1e-4):
            raise RuntimeError("lsampler and scikit-learn disagree on the mean")
        runs: list[Callable[[], object]] = [lambda: open_store(path).statistics().pca, partial(peer.fit, in_memory)]
        ours, theirs = in_turn(runs, 3 * settings.repeats)
        own = own_process("moments", f"once({str(path)!r})")
    yield Row(
        "statistics and PCA from an HDF5 store",
        "scikit-learn's PCA.fit of the same float32 rows in memory",
        ours,
        theirs,
        rows,
        target=0.7,
        memory_mb=own.peak_mb,
        memory_base_mb=own.before_mb,
        memory_target_mb=200.0,
        limit="the product for the covariance and the checksum of the data read",
    )
