"""Data and scores that several tests of evaluators share."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, Score
from lsampler.store import MemoryStore, Reference

Rows = NDArray[Any]


def draw(n: int, d: int = 12, seed: int = 50) -> NDArray[np.float32]:
    """The distribution of :func:`known`, once more."""
    mixing = np.eye(d) + 0.3 * np.random.default_rng(51).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 2.0).astype(np.float32)


def known(n: int = 1200, held_out: int = 400, d: int = 12) -> MemoryStore:
    rows = draw(n + held_out, d, seed=52)
    return MemoryStore(rows[:n], rows[n:], name="known")


def scored(
    name: str,
    rows: Rows,
    reference: Reference,
    *,
    kind: Literal["drawn", "held-out", "train"] = "drawn",
    real: RealData | None = None,
    **parameters: Any,
) -> dict[str, Score]:
    """The scores of one set of samples by their metric."""
    evaluator = load_evaluator(name, **parameters)
    real = real or RealData(reference, rows=len(rows))
    evaluator.prepare(real)
    samples = real.samples("mine", np.asarray(rows, dtype=np.float32), kind)
    return {score.metric: score for score in evaluator.score(samples)}


def values(name: str, rows: Rows, reference: Reference, **options: Any) -> dict[str, float]:
    return {metric: score.value for metric, score in scored(name, rows, reference, **options).items()}


def brute_frechet(mean1: Rows, cov1: Rows, mean2: Rows, cov2: Rows) -> float:
    return float(np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * np.real(sqrtm(cov1 @ cov2))))
