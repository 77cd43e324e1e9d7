"""A strategy, an evaluator and an autoencoder that pass all checks, and a helper for those that are broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.data import Preprocess
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import Evaluator, RealData, Samples, Score
from lsampler.store import Reference
from lsampler.testing import ComplianceError

ANY = frozenset({"any"})
"""Which other checks fail depends on chance, or on how many threads there are."""
ON_A_GPU = {"accelerators-agree", "moves"} if torch.cuda.is_available() else set()
"""Where there is a GPU, many broken plugins fail these checks as well."""


def broken(check: str, message: str, plugin: Any, also: frozenset[str] | set[str] = frozenset()) -> Any:
    """A row of a table: the check that a broken plugin fails, a part of its message, and which other checks fail."""
    return pytest.param(check, message, plugin, also, id=f"{check}: {message}")


def require_caught(kit: Callable[[Any], None], check: str, message: str, plugin: Any, also: set[str]) -> None:
    found = failures(kit, plugin)
    assert message in found.get(check, "no failure"), found
    assert also is ANY or set(found) - ON_A_GPU == {check, *also} - ON_A_GPU, found


def failures(kit: Callable[[Any], None], plugin: Any) -> dict[str, str]:
    with pytest.raises(ComplianceError) as raised:
        kit(plugin)
    assert len(str(raised.value).splitlines()) <= 1 + len(raised.value.failures)
    return raised.value.failures


class Shell(LatentSampler):
    """A normal for each component."""

    name = "shell"

    fact: float = Field(default=1.0, gt=0, description="multiplies sigma")
    shape: str = Field(default="round", description="is not used")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        return {"mean": statistics.mean, "sigma": self.fact * (statistics.std + 1e-3)}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return state["mean"] + state["sigma"] * block.normal(len(state["mean"]))

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        return torch.distributions.Normal(state["mean"], state["sigma"]).log_prob(latents).sum(dim=1)


class Distance(Evaluator):
    """Distance of the centres."""

    name = "distance"

    scale: float = Field(default=1.0, gt=0, description="multiplies the score")

    _centre: NDArray[np.float64] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        self._centre = real.reference.statistics().mean

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples)]

    def of(self, samples: Samples, **changes: Any) -> Score:
        value = self.scale * float(np.linalg.norm(samples.latents.mean(axis=0, dtype=np.float64) - self._centre))
        known = {"metric": "distance", "group": "distances", "label": "of centres", "about": "How far apart they are."}
        numbers = {"value": value, "low": value, "high": value + 1, "n": len(samples.latents), "unit": "number"}
        return Score(**(known | numbers | {"better": "lower"} | changes))


class Linear:
    """A linear encoder and decoder."""

    dimension, fingerprint, preprocess = 5, "linear", Preprocess(8, "none", 3)

    def __init__(self) -> None:
        self.weight = torch.randn(192, 5, generator=torch.Generator().manual_seed(1)) / 14

    def to(self, device: torch.device) -> Linear:
        self.weight = self.weight.to(device)
        return self

    def encode(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1:] != (3, 8, 8):
            raise LsamplerError("images of another shape; give (B, 3, 8, 8)")
        return images.to(self.weight.device).flatten(1) @ self.weight

    def decode(self, latents: Tensor) -> Tensor:
        if latents.ndim != 2 or latents.shape[1] != 5:
            raise LsamplerError("latents of another shape; give (B, 5)")
        return (latents.to(self.weight.device) @ self.weight.T).sigmoid().unflatten(1, (3, 8, 8))
