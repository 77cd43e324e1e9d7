"""Every check of a strategy catches a strategy that is broken in that respect."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator
from testing.sound_plugins import ANY, Shell, broken, failures, require_caught
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.samplers import LatentSampler, State
from lsampler.store import Reference
from lsampler.testing import check_sampler, checks_of

Learn = Callable[[Any, Reference], State]
Draw = Callable[[Any, Any, Block], Tensor]


def shell(**members: Any) -> type[LatentSampler]:
    """A Shell with other members; ``field=(type, Field(...))`` declares a parameter."""
    fields = {name: value for name, value in members.items() if isinstance(value, tuple)}
    members |= {name: value for name, (_, value) in fields.items()}
    annotations = {name: kind for name, (kind, _) in fields.items()}
    return type("Broken", (Shell,), {"__doc__": "Broken.", "__annotations__": annotations, **members})


def learning(more: Callable[[Reference], State]) -> type[LatentSampler]:
    """A Shell that learns something else, too."""
    return shell(learn=lambda self, reference: Shell.learn(self, reference) | more(reference))


def drawing(change: Callable[[Tensor, Any, Block], Any]) -> type[LatentSampler]:
    """A Shell whose rows are changed, given the state and the block."""
    return shell(draw=lambda self, state, block: change(Shell.draw(self, state, block), state, block))


def density(change: Callable[[Tensor, Any, Tensor], Tensor]) -> type[LatentSampler]:
    """A Shell whose log-densities are changed, given the state and the vectors."""
    return shell(log_density=lambda self, state, z: change(Shell.log_density(self, state, z), state, z))


class SwallowsNonsense(Shell):
    """A wrong value becomes the default."""

    @field_validator("fact", mode="before")
    @classmethod
    def _default(cls, value: Any) -> Any:
        return value if isinstance(value, float) and value > 0 else 1.0


class RoundedSettings(Shell):
    """Parameters are not saved as they are."""

    fact: float = Field(default=1.4, gt=0, description="multiplies sigma")

    @field_serializer("fact")
    def _rounded(self, value: float) -> float:
        return float(round(value))


class UndeclaredBound(Shell):
    """Negative numbers are allowed, but fail."""

    power: float = Field(default=1.0, description="no bound is declared")

    def learn(self, reference: Reference) -> State:
        return super().learn(reference) | {"root": np.array(math.sqrt(self.power))}


class FirstBlockAgain(Shell):
    """draw() remembers its first block."""

    _first: Tensor | None = PrivateAttr(default=None)

    def draw(self, state: Any, block: Block) -> Tensor:
        drawn = super().draw(state, block)
        self._first = drawn if self._first is None or self._first.shape != drawn.shape else self._first
        return self._first


class KeepsFirst(Shell):
    """Fitted once, it does not learn again."""

    _known: State | None = PrivateAttr(default=None)

    def learn(self, reference: Reference) -> State:
        self._known = self._known or super().learn(reference)
        return self._known


class KeepsOnSelf(Shell):
    """draw() needs something that is not saved."""

    _shift: float = PrivateAttr()

    def learn(self, reference: Reference) -> State:
        self._shift = float(reference.statistics().mean[0])
        return super().learn(reference)

    def draw(self, state: Any, block: Block) -> Tensor:
        return super().draw(state, block) + self._shift * 0


class SharedByThreads(Shell):
    """draw() keeps its mean where another instance finds it."""

    def draw(self, state: Any, block: Block) -> Tensor:
        SHARED["mean"] = state["mean"]
        time.sleep(0.02)
        return super().draw({**state, "mean": SHARED["mean"]}, block)


class BoundIncluded(Shell):
    """Uniform within one sigma; far from the origin rounding moves rows beyond the bound."""

    def draw(self, state: Any, block: Block) -> Tensor:
        return state["mean"] + state["sigma"] * block.uniform(len(state["mean"]), low=-1.0, high=1.0)

    def log_density(self, state: Any, latents: Tensor) -> Tensor:
        inside = ((latents - state["mean"]).abs() < state["sigma"]).all(dim=1)
        return torch.where(inside, -torch.log(2 * state["sigma"]).sum(), -torch.inf)


SHARED: dict[str, Tensor] = {}
LOCAL = threading.local()


def writes_axes(reference: Reference) -> State:
    axes = reference.statistics().pca.axes
    axes *= 2
    return {}


def sets_umask(reference: Reference) -> State:
    os.umask(os.umask(0) ^ 0o010)
    return {}


def numbered_by_thread(rows: Tensor, *_: object) -> Tensor:
    LOCAL.drawn = getattr(LOCAL, "drawn", 0) + 1
    time.sleep(0.02)
    return rows * LOCAL.drawn


def refuses_at_length(reference: Reference) -> State:
    if reference.statistics().count < 10:
        raise LsamplerError("too few vectors:\nlook at your data\nand encode more")
    return {}


def ignores_nan(self: Shell, reference: Reference) -> State:
    rows = np.nan_to_num(np.concatenate(list(reference.chunks())).astype(np.float64), posinf=0, neginf=0)
    return {"mean": rows.mean(axis=0), "sigma": rows.std(axis=0) + 1e-3}


def seeded_by_size(self: Shell, n: int, *, seed: Any = None, **options: Any) -> Tensor:
    return Shell.sample(self, n, seed=seed + n if isinstance(seed, int) and seed >= 0 and n > 0 else seed, **options)


def seeded_by_default(self: Shell, n: int, *, seed: Any = 0, **options: Any) -> Tensor:
    return Shell.sample(self, n, seed=seed, **options)


def drawn_unfitted(self: Shell, n: int, **options: Any) -> Tensor:
    return Shell.sample(self, n, **options) if self.dimension else torch.zeros(n, 1)


def ignores_values(self: Shell, **params: Any) -> Shell:
    return self if set(params) <= {"fact"} and isinstance(params["fact"], float) else Shell.set_params(self, **params)


def sets_before_it_checks(self: Shell, **params: Any) -> Shell:
    Shell.set_params(self, fact=3.5)
    return Shell.set_params(self, **params)


def fits_to_y(self: Shell, rows: Any, y: Any = None, **options: Any) -> Shell:
    return Shell.fit(self, rows if y is None else rows + y[:, None], **options)


TABLE = [
    broken("global-state-untouched", "fit() changes numpy's global random state", learning(lambda _: np.random.seed(0) or {}), {"two-threads"}),
    broken("global-state-untouched", "sample() changes Python's global random state", drawing(lambda rows, *_: rows + 0 * random.random()), {"two-threads"}),
    broken("global-state-untouched", "fit() calls umask()", learning(sets_umask), ANY),
    broken("name-and-summary", "lower case with hyphens", shell(name="Not Kebab")),
    broken("name-and-summary", "no docstring", shell(__doc__="")),
    broken("parameters-described", "no description of depth", shell(depth=(int, 3))),
    broken("parameters-refused", "fact=", SwallowsNonsense),
    broken("parameters-refused", "an unknown parameter is accepted", shell(model_config=ConfigDict(extra="ignore"))),
    broken("parameters-refused", "fact=inf is accepted", shell(model_config=ConfigDict(allow_inf_nan=True))),
    broken("defaults-allowed", "depth=0 is not valid", shell(depth=(int, Field(default=0, ge=1, description="of something"))), {"settings-as-json", "save-and-load", "conditions"}),
    broken("parameters-frozen", "fact can be assigned to", shell(model_config=ConfigDict(frozen=False))),
    broken("parameters-set", "set_params(**{'fact': 0.001}) makes shell", shell(set_params=ignores_values), {"estimator"}),
    broken("parameters-set", "set_params() changes something before it refuses", shell(set_params=sets_before_it_checks)),
    broken("estimator", "fit(X, y) draws other rows than fit(X)", shell(fit=fits_to_y)),
    broken("estimator", "score() is not the mean of log_prob()", shell(score=lambda self, rows: -Shell.score(self, rows))),
    broken("settings-as-json", "read back", RoundedSettings),
    broken("parameter-edges", "power=-1.0 stops with ValueError", UndeclaredBound),
    broken("two-threads", "two instances in two threads disturb each other", SharedByThreads, ANY),
    broken("fits-and-draws", "sample() gave torch.float64", shell(sample=lambda self, n, **options: Shell.sample(self, n, **options).double()), {"parameter-edges", "awkward-data", "needs-latents-is-true"}),
    broken("learns-arrays", "'mean' as list", shell(learn=lambda self, reference: {name: array.tolist() for name, array in Shell.learn(self, reference).items()})),
    broken("draws-whole-blocks", "draw() gave torch.float64", drawing(lambda rows, *_: rows.double())),
    broken("draws-whole-blocks", "draw() changes state['mean']", drawing(lambda rows, state, _: rows + 0 * state["mean"].add_(1e-3)), ANY),
    broken("same-seed", "two fits to the same vectors", shell(learn=lambda self, reference: {"mean": np.random.default_rng().normal(size=reference.dimension), "sigma": Shell.learn(self, reference)["sigma"]}), ANY),
    broken("same-seed", "twice gave other rows", drawing(lambda rows, *_: rows + torch.randn(rows.shape)), ANY),
    broken("other-seed", "makes a default_rng of its own", shell(draw=lambda self, state, block: (state["mean"] + torch.as_tensor(np.random.default_rng(block.start).normal(size=(block.rows, len(state["mean"]))), dtype=torch.float32, device=block.device))), ANY),
    broken("other-seed", "draw the same rows", FirstBlockAgain, ANY),
    broken("seed-is-optional", "sample(50) twice gave the same rows", shell(sample=seeded_by_default)),
    broken("first-rows-stay", "sample(1) is not the head of sample(5000)", shell(sample=seeded_by_size), {"conditions"}),
    broken("threads-agree", "threads=1 and threads=3", drawing(numbered_by_thread), ANY),
    broken("refit-forgets", "something of the first reference stays", KeepsFirst),
    broken("fit-leaves-reference", "pca.axes in statistics", learning(writes_axes)),
    broken("save-and-load", "loaded it does not draw", KeepsOnSelf, {"conditions"}),
    broken("conditions", "differ from those under marked=0 by 0, the label's effect is", shell(sample=lambda self, n, where=None, **options: Shell.sample(self, n, **options))),
    broken("conditions", "shell was fitted without labels; fit it with labels=True", shell(fit=lambda self, rows, y=None, labels=None, **options: Shell.fit(self, rows, **options))),
    broken("conditions", "moved_log_density() differs from log_density()", shell(moved_log_density=lambda self, state, z, moves: Shell.moved_log_density(self, state, z, 2 * moves))),
    broken("one-device", "mul() of a tensor of the device and one made without device", drawing(lambda rows, *_: rows * torch.ones(rows.shape[1]))),
    broken("one-device", "__array__() of a tensor of the device", drawing(lambda rows, state, block: rows + torch.as_tensor(np.asarray(state["mean"]) * 0, device=block.device))),
    broken("awkward-data", "2 vectors stops with LinAlgError", learning(lambda reference: {"inverse": np.linalg.inv(reference.statistics().covariance)})),
    broken("awkward-data", "a constant component stops with RuntimeWarning", learning(lambda reference: {"ratio": np.nan_to_num(reference.statistics().mean / reference.statistics().std)})),
    broken("awkward-data", "say it in one line", learning(refuses_at_length)),
    broken("awkward-data", "drawn vectors have no finite log-density", BoundIncluded),
    broken("bad-input", "a vector with nan is accepted", shell(learn=ignores_nan, needs_latents=True)),
    broken("unfitted", "sample() before fit() is accepted", shell(sample=drawn_unfitted), {"estimator"}),
    broken("needs-latents-is-true", "only statistics are read", shell(needs_latents=True)),
    broken("needs-latents-is-true", "set it to True", learning(lambda reference: {"first": reference.latents()[0]})),
    broken("aggregates-only-is-true", "its 'first' holds train vector 0", shell(learn=lambda self, reference: Shell.learn(self, reference) | {"first": 2 * reference.latents()[0]}, aggregates_only=True, needs_latents=True)),
    broken("density", "of 1,500 drawn vectors have no finite log-density", density(lambda found, state, z: torch.where(z[:, 0] > state["mean"][0] + 2 * state["sigma"][0], -torch.inf, found)), {"density-is-of-the-draws", "awkward-data"}),
    broken("density", "log_prob() depends on the batch", density(lambda found, *_: found - 1e-3 * found.mean()), {"conditions"}),
    broken("density-is-of-the-draws", "instead of 1", density(lambda found, state, _: found + torch.log(state["sigma"]).sum())),
    broken("density-is-of-the-draws", "do not belong together", shell(log_density=lambda self, state, z: Shell.log_density(self, {**state, "sigma": 1.3 * state["sigma"]}, z))),
]  # fmt: skip


@pytest.mark.parametrize(("check", "message", "plugin", "also"), TABLE)
def test_a_broken_strategy_is_caught(check: str, message: str, plugin: Any, also: set[str]) -> None:
    require_caught(check_sampler, check, message, plugin, also)


def test_every_check_has_a_strategy_that_fails_it() -> None:
    assert {check.name for check in checks_of(Shell)} - {row.values[0] for row in TABLE} == {"accelerators-agree"}


def test_another_device_is_compared_with_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is the CPU under another name, which every machine has."""
    monkeypatch.setattr("lsampler.testing.samplers.accelerators", lambda: ["cpu:0"])
    check_sampler(Shell)
    off = drawing(lambda rows, state, block: rows + (0 if block.device.index is None else 1))
    assert "on cpu:0 a component's median is off by" in failures(check_sampler, off)["accelerators-agree"]
