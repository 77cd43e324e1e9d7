"""Work in threads changes no setting of the process, and its results do not depend on those settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from lsampler import load_sampler
from lsampler.compute import frechet_distance, nearest_neighbours
from lsampler.plugins import load_evaluator
from lsampler.samplers import LatentSampler
from lsampler.scoring import RealData, Samples
from lsampler.store import MemoryStore

ROWS = np.random.default_rng(3).normal(size=(20_000, 40)).astype(np.float32)


def settings() -> dict[str, int]:
    """The number of threads of every library, as a new thread sees it."""
    seen: dict[str, int] = {}

    def look() -> None:
        seen["torch"] = torch.get_num_threads()
        seen.update({library["filepath"]: library["num_threads"] for library in threadpool_info()})

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen


@contextmanager
def watched() -> Iterator[list[dict[str, int]]]:
    """Settings seen again and again while the context lasts."""
    found, ended = [settings()], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            found.append(settings())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        found.append(settings())


@pytest.fixture(scope="module")
def sampler() -> LatentSampler:
    return load_sampler("multivariate-normal").fit(MemoryStore(ROWS))


def test_overlapping_streams_leave_the_number_of_threads(sampler: LatentSampler) -> None:
    """Regression: torch was left with one thread, in all threads to come."""
    before, begun, ended = settings(), threading.Event(), threading.Event()

    def draw() -> None:
        stream = sampler.stream(20_000, threads=2)
        next(stream)
        begun.set()
        ended.wait()
        list(stream)

    first, second = sampler.stream(20_000, threads=2), threading.Thread(target=draw)
    next(first)
    second.start()
    begun.wait()
    list(first)
    ended.set()
    second.join()
    assert settings() == before


WORK: dict[str, Callable[[], Any]] = {
    "statistics": lambda: MemoryStore(ROWS).statistics().pca.axes,
    "principal": lambda: MemoryStore(ROWS).principal_statistics().covariance,
    "neighbours": lambda: nearest_neighbours(ROWS[:3000], ROWS[:3000], 3).distances,
    "frechet": lambda: frechet_distance(ROWS[0], np.cov(ROWS.T), ROWS[1], np.cov(ROWS[:300].T)),
    "samples": lambda: load_sampler("multivariate-normal").fit(MemoryStore(ROWS)).sample(20_000, seed=1).numpy(),
}
FITS: dict[str, dict[str, Any]] = {
    "elliptical": {"direction": "mixture", "mixture_components": 5},
    "flow": {"layers": 1, "hidden": 16, "max_epochs": 1},
    "factor-mixture": {"mixture_components": 3, "factors": 2, "iterations": 5},
    "refined": {"base": "multivariate-normal", "steps": 20, "networks": 1, "stages": 1},
    "gaussian-copula": {},
    "gaussian-mixture": {"covariance": "full", "components": 5},
    "kde": {"judges": 50},
}


def fit(name: str) -> Any:
    state = load_sampler(name, **FITS[name]).fit(MemoryStore(ROWS[:2000])).state
    return np.concatenate([array.ravel() for array in state.values()])


def scores(name: str) -> list[float]:
    parameters = {"latent-distances": {"resamples": 3, "directions": 8}}.get(name, {})
    evaluator = load_evaluator(name, **parameters)
    evaluator.prepare(RealData(MemoryStore(ROWS[:500], ROWS[500:1000])))
    return [score.value for score in evaluator.score(Samples("rows", ROWS[1000:1500]))]


WORK |= {name: partial(fit, name) for name in FITS}
WORK |= {name: partial(scores, name) for name in ("latent-distances", "two-sample-classifier")}


@pytest.mark.parametrize("work", WORK)
def test_settings_of_other_threads_are_not_touched(work: str) -> None:
    """Regression: the BLAS of the whole process was limited to one thread meanwhile."""
    with watched() as found:
        WORK[work]()
    assert len(found) > 2
    assert all(seen == found[0] for seen in found)


@pytest.mark.parametrize("work", WORK)
def test_number_of_blas_threads_does_not_change_a_digit(work: str) -> None:
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            found.append(WORK[work]())
    np.testing.assert_array_equal(found[0], found[1])
