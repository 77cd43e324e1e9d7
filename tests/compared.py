"""What several tests of comparisons share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PrivateAttr

from lsampler.compute import Block
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import Evaluator, RealData, Samples, Score
from lsampler.store import Reference

D = 8


def rows(n: int, seed: int = 0) -> NDArray[np.float32]:
    """A correlated normal, centre off the origin."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(D, D)) * np.linspace(2, 0.5, D)
    return (rng.normal(size=(n, D)) @ mixing + 3).astype(np.float32)


class Counting(Evaluator):
    """Counts how often it is asked."""

    name = "counting"
    weight: float = 1.0

    _asked: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        self._asked.append("prepare")

    def score(self, samples: Samples) -> list[Score]:
        self._asked.append(samples.name)
        value = float(np.linalg.norm(samples.latents, axis=1).mean()) * self.weight
        interval = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 1}
        return [Score("norm", group="a <group>", label="norm", better="real", about="a & b", **interval)]


class Mean(LatentSampler):
    """The mean, every time."""

    name = "mean"

    def learn(self, reference: Reference) -> State:
        return {"mean": reference.statistics().mean}

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        return state["mean"].expand(block.rows, -1) + 1e-3 * block.normal(len(state["mean"]))


class Broken(Mean):
    """Fails in a way of its own."""

    name = "broken"
    how: str = "crash"

    def learn(self, reference: Reference) -> State:
        if self.how == "crash":
            raise RuntimeError("no such luck\nsecond line")
        return super().learn(reference)

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        return torch.full((block.rows, D), float("nan")) if self.how == "nan" else torch.zeros(block.rows, D + 1)


HELD_OUT, OTHER = "held-out real vectors", "other real vectors"
