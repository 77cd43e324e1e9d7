"""Own infrastructure beside the plain library way, on the whole step that a user sees."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import joblib  # type: ignore[import-untyped]
import torch
from sklearn.neighbors import NearestNeighbors

from benchmarks.measuring import Row, Settings, in_turn
from benchmarks.neighbours import NEIGHBOURS, sets
from benchmarks.sampling import draw, fitted
from lsampler import open_store
from lsampler.compute import Block, nearest_neighbours
from lsampler.compute.engine import Threads
from lsampler.samplers import sample_store
from lsampler.statistics.passes import in_double_precision

DRAWN_ROWS = 400_000
STATISTICS_ROWS = 400_000
NEIGHBOUR_ROWS = (2000, 10_000)
GAIN = 1.5
"""What own infrastructure has to gain unless it keeps a promise that the library way does not."""


def measure(settings: Settings) -> Iterator[Row]:
    """A row for each piece of infrastructure that is kept."""
    yield from _neighbours(settings)
    yield from _drawing(settings)
    yield _statistics(settings)


def _neighbours(settings: Settings) -> Iterator[Row]:
    for full in NEIGHBOUR_ROWS:
        rows = sets(min(full, settings.rows(full)))[0]
        library = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute", n_jobs=-1)
        exact = partial(nearest_neighbours, rows, rows, NEIGHBOURS, exclude_self=True)
        ours, theirs = in_turn([exact, partial(library.fit(rows).kneighbors, None)], settings.repeats)
        yield Row(
            f"{NEIGHBOURS} nearest neighbours of {len(rows):,} vectors (neighbours)",
            "scikit-learn's NearestNeighbors, brute force",
            ours,
            theirs,
            unit="runs",
            promise="exact ball counts in both directions from one set of distances, on any device",
        )


def _drawing(settings: Settings) -> Iterator[Row]:
    rows, sampler = settings.rows(DRAWN_ROWS), fitted("uniform-cube")

    def beside(library: AbstractContextManager[Any]) -> list[list[float]]:
        def drawn_by_library() -> None:
            with library:
                draw(sampler, rows)

        return in_turn([partial(draw, sampler, rows), drawn_by_library], settings.repeats)

    ours, theirs = beside(patch.object(Block, "_unit", _torch_uniforms))
    yield Row("uniform-cube (NumPy's SFC64 for uniforms)", "torch's generator alone", ours, theirs, rows, target=GAIN)
    ours, theirs = beside(patch.object(Threads, "map", _by_joblib))
    promise = "constant memory while the consumer is slower than the threads, and kernels on one thread"
    yield Row("uniform-cube (engine)", "joblib on threads, as a generator", ours, theirs, rows, promise=promise)


def _torch_uniforms(block: Block, size: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(size, generator=block.generator)


def _by_joblib(_: Threads, function: Callable[[Any], Any], tasks: Any) -> Any:
    parallel = joblib.Parallel(os.cpu_count(), prefer="threads", return_as="generator")
    return parallel(joblib.delayed(function)(task) for task in tasks)


def _statistics(settings: Settings) -> Row:
    rows = settings.rows(STATISTICS_ROWS)
    with TemporaryDirectory(dir=settings.scratch) as folder:
        path = Path(folder) / "store.h5"
        sample_store(fitted("multivariate-normal"), rows, path)

        def double() -> None:
            with in_double_precision():
                open_store(path).statistics()

        ours, theirs = in_turn([lambda: open_store(path).statistics(), double], settings.repeats)
    step, peer = "statistics of a store (products in single precision, added in double)", "double precision throughout"
    return Row(step, peer, ours, theirs, rows, target=GAIN)
