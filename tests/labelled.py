"""Latent vectors with correlated labels whose effects are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsampler.store import MemoryStore

D, TRAIN = 4, 1200
EFFECT = np.array([[3.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.1, 0.0]])
"""Of male, glasses, and a year of age."""
SHAPES = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 0.0, -4.0]])


def labelled_store(count: int = TRAIN, held_out: int = 200, seed: int = 3) -> MemoryStore:
    """People: men wear glasses more often than women, and are ten years older; the shape is independent."""
    rng = np.random.default_rng(seed)
    n = count + held_out
    male = rng.random(n) < 0.4
    glasses = rng.random(n) < np.where(male, 0.3, 0.05)
    age = np.clip(np.round(30 + 10 * male + 8 * rng.normal(size=n), 1), 16, 90)
    shape = rng.integers(3, size=n)
    rows = np.column_stack([male, glasses, age]) @ EFFECT + SHAPES[shape] + rng.normal(size=(n, D)) @ mixing()
    labels = {"male": male, "glasses": glasses, "age": age, "shape": np.array(["round", "square", "oval"])[shape]}
    return MemoryStore(rows[:count], rows[count:], labels=labels, name="people")


def mixing() -> NDArray[np.float64]:
    """Of the residuals, which are correlated."""
    return np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.3], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
