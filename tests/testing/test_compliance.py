"""The compliance kit: what is installed passes every check, and every check catches a plugin that was broken for it."""

from __future__ import annotations

import functools
import math
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator
from torch import Tensor, nn

from lsampler import (
    Block,
    ConvAutoencoder,
    ConvConfig,
    Evaluator,
    LatentSampler,
    LsamplerError,
    Preprocess,
    RealData,
    Reference,
    Samples,
    Score,
    State,
    load_bundle,
    load_core,
    load_evaluator,
    load_sampler,
    plugin_names,
)
from lsampler.testing import (
    ComplianceError,
    autoencoder_checks,
    check_autoencoder,
    check_evaluator,
    check_sampler,
    evaluator_checks,
    parametrize_with_checks,
    sampler_checks,
)

ROOT = Path(__file__).parents[2]
# What takes long is asked for less of it: the promises are the same.
QUICK: dict[str, dict[str, Any]] = {
    "flow": {"max_epochs": 1, "hidden": 8, "layers": 1},
    "faces": {"images": 4, "enlarge": 0},
    "image-distance": {"resamples": 3},
    "latent-distances": {"resamples": 3, "directions": 8},
    "two-sample-classifier": {"learner": "logistic"},
}
# What such a plugin fails besides depends on chance, or on how many threads there are.
ANY = {"any"}


def installed() -> list[LatentSampler | Evaluator]:
    samplers = [load_sampler(name, **QUICK.get(name, {})) for name in plugin_names("sampler")]
    return [*samplers, *(load_evaluator(name, **QUICK.get(name, {})) for name in plugin_names("evaluator"))]


@parametrize_with_checks(installed())
def test_what_is_installed_complies(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(
    [
        load_sampler("line-path", path="between", spacing="random"),
        load_sampler("pca-ellipse", method="iteration", half_width="histogram"),
        load_sampler("multivariate-normal", components=1, trim=1.7),
    ]
)
def test_other_parameters_comply(check: Callable[[], None]) -> None:
    check()


def test_the_bundled_autoencoder_complies() -> None:
    check_autoencoder(load_bundle().autoencoder)


class Shell(LatentSampler):
    """A normal for each component; complies, and is broken below in one respect at a time."""

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


def test_a_sound_strategy_passes_all() -> None:
    check_sampler(Shell)
    check_sampler(Shell(fact=0.5))


class WithoutKebab(Shell):
    """A name that the command line does not like."""

    name = "Not Kebab"


class WithoutSummary(Shell):
    name = "no-summary"


class WithoutDescription(Shell):
    """A parameter that nobody can understand."""

    depth: int = 3


class SwallowsNonsense(Shell):
    """A wrong value becomes the default."""

    @field_validator("fact", mode="before")
    @classmethod
    def _mended(cls, value: Any) -> Any:
        return value if isinstance(value, float) and value > 0 else 1.0


class SwallowsUnknown(Shell):
    """A parameter that is not there is forgotten."""

    model_config = ConfigDict(extra="ignore")


class SwallowsNaN(Shell):
    """NaN becomes a parameter."""

    model_config = ConfigDict(allow_inf_nan=True)


class BadDefault(Shell):
    """The default is beyond the bound."""

    depth: int = Field(default=0, ge=1, description="of something")


class Thawed(Shell):
    """Parameters can be assigned to."""

    model_config = ConfigDict(frozen=False)


class RoundedSettings(Shell):
    """Parameters are not saved as they are."""

    fact: float = Field(default=1.4, gt=0, description="multiplies sigma")

    @field_serializer("fact")
    def _rounded(self, value: float) -> float:
        return float(round(value))


class UndeclaredBound(Shell):
    """A number may be negative, and the code cannot stand it."""

    power: float = Field(default=1.0, description="no bound, though there is one")

    def learn(self, reference: Reference) -> State:
        found = super().learn(reference)
        return found | {"sigma": found["sigma"] * math.sqrt(self.power)}


class DoubleRows(Shell):
    """sample() is overridden, and gives float64."""

    def sample(self, n: int, **options: Any) -> Tensor:  # type: ignore[override]
        return super().sample(n, **options).double()


class ListState(Shell):
    """learn() returns lists."""

    def learn(self, reference: Reference) -> State:
        return {name: array.tolist() for name, array in super().learn(reference).items()}  # type: ignore[misc]


class DrawsDouble(Shell):
    """draw() computes in float64."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return super().draw(state, block).double()


class WritesState(Shell):
    """draw() writes into the state that other blocks are drawn from."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.normal(len(state["mean"])) * state["sigma"] + state["mean"].add_(1e-3)


class UnseededFit(Shell):
    """learn() takes random numbers from nowhere."""

    def learn(self, reference: Reference) -> State:
        found = super().learn(reference)
        return found | {"mean": found["mean"] + 0.01 * np.random.default_rng().normal()}


class GlobalDraw(Shell):
    """draw() takes torch's global random numbers."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return state["mean"] + state["sigma"] * torch.randn(block.rows, len(state["mean"]), device=block.device)


class OwnGenerator(Shell):
    """draw() has a generator that the seed does not reach."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        drawn = np.random.default_rng(block.start).normal(size=(block.rows, len(state["mean"])))
        return state["mean"] + state["sigma"] * torch.as_tensor(drawn, dtype=torch.float32, device=block.device)


class FirstBlockAgain(Shell):
    """draw() remembers its first block."""

    _first: Tensor | None = PrivateAttr(default=None)

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        drawn = super().draw(state, block)
        self._first = drawn if self._first is None or self._first.shape != drawn.shape else self._first
        return self._first


class SizeChangesRows(Shell):
    """The rows depend on how many are asked for."""

    def sample(self, n: int, *, seed: int = 0, **options: Any) -> Tensor:  # type: ignore[override]
        return super().sample(n, seed=seed + n if seed >= 0 and n > 0 else seed, **options)


class ThreadChangesRows(Shell):
    """The rows depend on the thread that draws them."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        alone = threading.current_thread() is threading.main_thread()
        return super().draw(state, block) * (1 if alone else 2)


class KeepsFirst(Shell):
    """Fitted once, it does not learn again."""

    _known: State | None = PrivateAttr(default=None)

    def learn(self, reference: Reference) -> State:
        if self._known is None:
            self._known = super().learn(reference)
        return self._known


class WritesStatistics(Shell):
    """learn() scales the axes in place, which are everybody's."""

    def learn(self, reference: Reference) -> State:
        axes = reference.statistics().pca.axes
        axes *= 2
        return super().learn(reference)


class WritesVectors(Shell):
    """learn() centres the blocks in place."""

    def learn(self, reference: Reference) -> State:
        found = super().learn(reference)
        if reference.has_latents:
            for block in reference.chunks():
                block -= block.mean(axis=0)
        return found


class KeepsOnSelf(Shell):
    """What draw() needs is on self, and is not saved."""

    _shift: float = PrivateAttr()

    def learn(self, reference: Reference) -> State:
        self._shift = float(reference.statistics().mean[0])
        return super().learn(reference)

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return super().draw(state, block) + self._shift * 0


class SeedsEverybody(Shell):
    """learn() seeds the global generators."""

    def learn(self, reference: Reference) -> State:
        np.random.seed(0)  # noqa: NPY002
        return super().learn(reference)


class SeedsPython(Shell):
    """draw() takes Python's random numbers, and throws them away."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        random.random()
        return super().draw(state, block)


class ForgetsDevice(Shell):
    """draw() makes a tensor on the CPU."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return super().draw(state, block) * torch.ones(len(state["mean"]))


class GoesToNumpy(Shell):
    """draw() leaves torch."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        offset = torch.as_tensor(np.asarray(state["mean"]) * 0, device=block.device)
        return super().draw(state, block) + offset


class OffOnDevice(Shell):
    """On the second device the rows are wrong."""

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return super().draw(state, block) + (0 if block.device.index is None else 1)


class InvertsCovariance(Shell):
    """A covariance without full rank cannot be inverted."""

    def learn(self, reference: Reference) -> State:
        return super().learn(reference) | {"inverse": np.linalg.inv(reference.statistics().covariance)}


class DividesByZero(Shell):
    """A constant component has no sigma to divide by."""

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        return super().learn(reference) | {"scale": np.nan_to_num(statistics.mean / statistics.std)}


class LongRefusal(Shell):
    """A refusal that fills the screen."""

    def learn(self, reference: Reference) -> State:
        if reference.statistics().count < 10:
            raise LsamplerError("too few vectors:\nlook at your data\nand encode more")
        return super().learn(reference)


class AcceptsNaN(Shell):
    """NaN in the data is hidden."""

    needs_latents: ClassVar[bool] = True

    def learn(self, reference: Reference) -> State:
        rows = np.nan_to_num(np.concatenate(list(reference.chunks())).astype(np.float64), posinf=0, neginf=0)
        return {"mean": rows.mean(axis=0), "sigma": rows.std(axis=0) + 1e-3}


class DrawsUnfitted(Shell):
    """Without fit() it draws zeros."""

    def sample(self, n: int, **options: Any) -> Tensor:  # type: ignore[override]
        return torch.zeros(n, 1) if not self.dimension else super().sample(n, **options)


class ClaimsToNeedLatents(Shell):
    """A bundle would do."""

    needs_latents: ClassVar[bool] = True


class HidesItsNeed(Shell):
    """A bundle does not do."""

    def learn(self, reference: Reference) -> State:
        return super().learn(reference) | {"first": reference.latents()[0]}


class InfiniteDensity(Shell):
    """One drawn vector in many has no density."""

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        found = super().log_density(state, latents)
        return torch.where(latents[:, 0] > state["mean"][0] + 2 * state["sigma"][0], -torch.inf, found)


class BatchDensity(Shell):
    """The density of a vector depends on its neighbours."""

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        found = super().log_density(state, latents)
        return found - 1e-3 * found.mean()


class UnnormalisedDensity(Shell):
    """The density lacks its constant."""

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        return super().log_density(state, latents) + torch.log(state["sigma"]).sum()


class OtherDensity(Shell):
    """The density is one of a wider normal."""

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        return super().log_density(state | {"sigma": 1.3 * state["sigma"]}, latents)


SAMPLERS: Sequence[tuple[str, type[LatentSampler], str, set[str]]] = [
    ("name-and-summary", WithoutKebab, "lower case with hyphens", set()),
    ("name-and-summary", WithoutSummary, "no docstring", set()),
    ("parameters-described", WithoutDescription, "no description of depth", set()),
    ("parameters-refused", SwallowsNonsense, "fact=", set()),
    ("parameters-refused", SwallowsUnknown, "an unknown parameter is accepted", set()),
    ("parameters-refused", SwallowsNaN, "fact=inf is accepted", set()),
    ("defaults-allowed", BadDefault, "depth=0 is not valid", {"settings-as-json", "save-and-load"}),
    ("parameters-frozen", Thawed, "fact can be assigned to", set()),
    ("settings-as-json", RoundedSettings, "read back", set()),
    ("parameter-edges", UndeclaredBound, "power=-1.0 stops with ValueError", set()),
    (
        "fits-and-draws",
        DoubleRows,
        "sample() gave torch.float64",
        {"parameter-edges", "awkward-data", "needs-latents-is-true"},
    ),
    ("learns-arrays", ListState, "'mean' as list", set()),
    ("draws-whole-blocks", DrawsDouble, "draw() gave torch.float64", set()),
    ("draws-whole-blocks", WritesState, "draw() changes state['mean']", ANY),
    ("same-seed", UnseededFit, "two fits to the same vectors", {"refit-forgets"}),
    ("same-seed", GlobalDraw, "twice gave other rows", ANY),
    ("other-seed", OwnGenerator, "makes a default_rng of its own", set()),
    ("other-seed", FirstBlockAgain, "draw the same rows", ANY),
    ("first-rows-stay", SizeChangesRows, "sample(1) is not the head of sample(5000)", set()),
    ("threads-agree", ThreadChangesRows, "threads=1 and threads=3", ANY),
    ("refit-forgets", KeepsFirst, "something of the first reference stays", set()),
    ("fit-leaves-reference", WritesStatistics, "pca.axes in statistics", set()),
    ("fit-leaves-reference", WritesVectors, "fit() changes the vectors", set()),
    ("save-and-load", KeepsOnSelf, "loaded it does not draw", set()),
    ("global-state-untouched", SeedsEverybody, "fit() changes numpy's global random state", set()),
    ("global-state-untouched", SeedsPython, "sample() changes Python's global random state", set()),
    ("one-device", ForgetsDevice, "mul() of a tensor of the device and one made without device", set()),
    ("one-device", GoesToNumpy, "__array__() of a tensor of the device", set()),
    ("awkward-data", InvertsCovariance, "2 vectors stops with LinAlgError", set()),
    ("awkward-data", DividesByZero, "a constant component stops with RuntimeWarning", set()),
    ("awkward-data", LongRefusal, "say it in one line", set()),
    ("bad-input", AcceptsNaN, "a vector with nan is accepted", set()),
    ("unfitted", DrawsUnfitted, "sample() before fit() is accepted", set()),
    ("needs-latents-is-true", ClaimsToNeedLatents, "only statistics are read", set()),
    ("needs-latents-is-true", HidesItsNeed, "set it to True", set()),
    ("density", InfiniteDensity, "of 1,500 drawn vectors have no finite log-density", {"density-is-of-the-draws"}),
    ("density", BatchDensity, "log_prob() depends on the batch", set()),
    ("density-is-of-the-draws", UnnormalisedDensity, "instead of 1", set()),
    ("density-is-of-the-draws", OtherDensity, "do not belong together", set()),
]


def failures(check: Callable[[Any], None], plugin: Any) -> dict[str, str]:
    with pytest.raises(ComplianceError) as raised:
        check(plugin)
    assert len(str(raised.value).splitlines()) <= 1 + len(raised.value.failures)
    return raised.value.failures


@pytest.mark.parametrize(
    ("name", "broken", "message", "also"), SAMPLERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_broken_strategy_is_caught(name: str, broken: Any, message: str, also: set[str]) -> None:
    found = failures(check_sampler, broken)
    assert message in found[name]
    assert also is ANY or set(found) == {name, *also}


class Distance(Evaluator):
    """Distance of the centres; complies, and is broken below in one respect at a time."""

    name = "distance"

    scale: float = Field(default=1.0, gt=0, description="multiplies the score")

    _centre: NDArray[np.float64] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        self._centre = real.reference.statistics().mean

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples)]

    def of(self, samples: Samples, **changes: Any) -> Score:
        value = self.scale * float(np.linalg.norm(samples.latents.mean(axis=0, dtype=np.float64) - self._centre))
        known: dict[str, Any] = {
            "metric": "distance",
            "group": "distances",
            "label": "of centres",
            "value": value,
            "low": value,
            "high": value + 1,
            "n": len(samples.latents),
            "better": "lower",
            "unit": "number",
            "about": "How far the centres are apart.",
        }
        return Score(**(known | changes))


def test_a_sound_evaluator_passes_all() -> None:
    check_evaluator(Distance)
    check_evaluator(Distance(scale=3))


def saying(**changes: Any) -> type[Evaluator]:
    class Said(Distance):
        """One field of the score is not as it should be."""

        def score(self, samples: Samples) -> list[Score]:
            return [self.of(samples, **changes)]

    return Said


class NoScores(Distance):
    """Silent, without a reason."""

    def score(self, samples: Samples) -> list[Score]:
        return []


class TwiceTheSame(Distance):
    """One metric, two values."""

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples), self.of(samples, value=0.0, low=0.0)]


class Unseeded(Distance):
    """Every instance has random numbers of its own."""

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples, high=1e9 + np.random.default_rng().random())]


class Remembers(Distance):
    """Earlier samples count."""

    _largest: float = PrivateAttr(default=0.0)

    def score(self, samples: Samples) -> list[Score]:
        self._largest = max(self._largest, float(np.abs(samples.latents).max()))
        return [self.of(samples, high=1e9 + self._largest)]


class PreparesOnce(Distance):
    """The first real data stay."""

    _ready: bool = PrivateAttr(default=False)

    def prepare(self, real: RealData) -> None:
        if not self._ready:
            super().prepare(real)
        self._ready = True


class WritesSamples(Distance):
    """Samples are centred in place."""

    def score(self, samples: Samples) -> list[Score]:
        found = self.of(samples)
        samples.latents -= samples.latents.mean(axis=0)
        return [found]


class SeedsForScores(Distance):
    """score() seeds the global generator."""

    def score(self, samples: Samples) -> list[Score]:
        torch.manual_seed(0)
        return super().score(samples)


class NeedsPrepare(Distance):
    """Before prepare() there is a None."""

    _known: Any = PrivateAttr(default=None)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._known = real

    def score(self, samples: Samples) -> list[Score]:
        assert self._known.reference.dimension
        return super().score(samples)


class WantsVectors(Distance):
    """A bundle has no such thing."""

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        if not real.reference.has_latents:
            raise KeyError("latents")


class WantsDensity(Distance):
    """Not all samples have a density."""

    def score(self, samples: Samples) -> list[Score]:
        if samples.kind == "drawn":
            samples.log_prob(samples.latents)  # type: ignore[misc]
        return super().score(samples)


class Spread(Distance):
    """One sample has no standard deviation."""

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples, high=1e9 + float(samples.latents.std(axis=0, ddof=1).mean()))]


class Relative(Distance):
    """Equal real vectors have no standard deviation."""

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples, high=1e9 + self._width)]

    _width: float = PrivateAttr(default=0.0)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._width = float(np.mean(1 / real.reference.statistics().std))


class KnowsDrawnOnly(Distance):
    """Rows of real vectors are unknown."""

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples, group={"drawn": "distances"}[samples.kind])]


class LongCaveats(Distance):
    """A caveat of two lines."""

    def caveats(self) -> list[str]:
        return ["one\ntwo"]


NO_SCORE = {
    "parameter-edges",
    "awkward-samples",
    "awkward-real-data",
    "bundle",
    "missing-parts",
    "rows-of-real-vectors",
}
EVALUATORS: Sequence[tuple[str, type[Evaluator], str, set[str]]] = [
    (
        "parameters-frozen",
        type("Thawed", (Distance,), {"__doc__": "x", "model_config": ConfigDict(frozen=False)}),
        "",
        set(),
    ),
    ("scores-complete", NoScores, "return a list of Score", {"parameter-edges"}),
    ("scores-complete", TwiceTheSame, "a metric comes twice: distance, distance", NO_SCORE),
    ("scores-complete", saying(low=-2.0, high=-1.0), "an interval contains its value", NO_SCORE),
    ("scores-complete", saying(value=np.float64(0), low=0.0), "write float(...)", NO_SCORE),
    ("scores-complete", saying(high=float("inf")), "is not finite", NO_SCORE),
    ("scores-complete", saying(unit="share", high=1e9), "outside 0 .. 1", NO_SCORE),
    ("scores-complete", saying(n=0), "n=0 is not a number of samples", NO_SCORE),
    ("scores-complete", saying(better="more"), "better='more'", NO_SCORE),
    ("scores-complete", saying(about=""), "no about", NO_SCORE),
    ("scores-complete", saying(metric="two words"), "has blanks", NO_SCORE),
    ("same-scores", Unseeded, "in a second instance distance has high", {"prepare-forgets"}),
    ("same-scores", Remembers, "scored again, distance has high", set()),
    ("prepare-forgets", PreparesOnce, "prepared again, distance has value", set()),
    ("inputs-untouched", WritesSamples, "samples.latents are changed", set()),
    ("global-state-untouched", SeedsForScores, "score() changes torch's global random state", set()),
    ("not-prepared", NeedsPrepare, "score() before prepare() stops with AttributeError", set()),
    ("bundle", WantsVectors, "a bundle stops with KeyError", set()),
    ("missing-parts", WantsDensity, "samples without density stops with TypeError", set()),
    ("awkward-samples", Spread, "1 sample stops with RuntimeWarning", set()),
    ("awkward-real-data", Relative, "equal real vectors stops with RuntimeWarning", set()),
    ("rows-of-real-vectors", KnowsDrawnOnly, "the held-out row stops with KeyError", set()),
    ("rows-of-real-vectors", LongCaveats, "return a list of lines", set()),
]


@pytest.mark.parametrize(
    ("name", "broken", "message", "also"), EVALUATORS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_broken_evaluator_is_caught(name: str, broken: Any, message: str, also: set[str]) -> None:
    found = failures(check_evaluator, broken)
    assert message in found[name]
    assert also is ANY or set(found) == {name, *also}


class Linear:
    """A linear encoder and decoder; complies, and is broken below in one respect at a time."""

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


def test_sound_autoencoders_pass_all(tiny_model: ConvAutoencoder) -> None:
    check_autoencoder(Linear())
    check_autoencoder(tiny_model)
    torch.manual_seed(3)
    config = ConvConfig(image_size=16, channels=3, filters=(4,), latent_dim=3)
    check_autoencoder(ConvAutoencoder(config, preprocess=Preprocess(16, "centre", 3)).eval())


def with_methods(**methods: Any) -> Any:
    return type("Broken", (Linear,), methods)()


def encoding(change: Callable[[Tensor], Any]) -> Any:
    return with_methods(encode=lambda self, images: change(Linear.encode(self, images)))


def decoding(change: Callable[[Tensor], Any]) -> Any:
    return with_methods(decode=lambda self, latents: change(Linear.decode(self, latents)))


def moved_to_another(self: Linear, device: torch.device) -> Linear:
    return Linear()


def writes(self: Linear, images: Tensor) -> Tensor:
    found = Linear.encode(self, images)
    images -= 0.5
    return found


def with_gradient(self: Linear, latents: Tensor) -> Tensor:
    return Linear.decode(self, latents) * nn.Parameter(torch.ones(()))


def takes_any_shape(self: Linear, latents: Tensor) -> Tensor:
    return Linear.decode(self, latents.reshape(-1)[:5][None].expand(max(1, latents.numel() // 5), 5))


def crashes(self: Linear, images: Tensor) -> Tensor:
    return images.flatten(1) @ self.weight


def dropped(x: Tensor) -> Tensor:
    return x * (torch.rand(x.shape, generator=GENERATOR) > 0.5)


GENERATOR = torch.Generator()
AUTOENCODERS: Sequence[tuple[str, Any, str, set[str]]] = [
    ("has-all-members", with_methods(dimension=5.0), "dimension is 5.0", {"wrong-shapes-refused"}),
    ("has-all-members", with_methods(fingerprint=None), "fingerprint is None", set()),
    ("encodes", encoding(lambda z: z.double()), "encode() gave torch.float64", ANY),
    ("encodes", encoding(lambda z: z * torch.nan), "encode() gave NaN", ANY),
    ("encodes", encoding(lambda z: z * 0), "black and white have one latent vector", set()),
    ("decodes", decoding(lambda x: x.flatten(1)), "decode() gave shape", set()),
    ("decodes", decoding(lambda x: 3 * x - 1), "clamp them to 0 .. 1", set()),
    ("same-result", encoding(dropped), "encode() twice", ANY),
    ("batch-does-not-matter", encoding(lambda z: z - 0.1 * z.mean(dim=0)), "use no statistics of the batch", set()),
    ("inputs-untouched", with_methods(encode=writes), "encode() changes the images", ANY),
    ("no-gradient", with_methods(decode=with_gradient), "decode() keep a gradient", set()),
    ("fingerprint-stays", with_methods(fingerprint=property(lambda self: str(random.random()))), "with use", set()),
    ("moves", with_methods(to=moved_to_another), "does not return self", set()),
    ("wrong-shapes-refused", with_methods(encode=crashes), "stops with RuntimeError", set()),
    ("wrong-shapes-refused", with_methods(decode=takes_any_shape), "is accepted", ANY),
    ("global-state-untouched", decoding(lambda x: torch.dropout(x, 0.5, True) * 0 + x), "", set()),
]


@pytest.mark.parametrize(("name", "broken", "message", "also"), AUTOENCODERS)
def test_a_broken_autoencoder_is_caught(name: str, broken: Any, message: str, also: set[str]) -> None:
    found = failures(check_autoencoder, broken)
    assert message in found[name]
    assert also is ANY or set(found) == {name, *also}


class OffWhenMoved(Linear):
    brightness = 1.0

    def to(self, device: torch.device) -> Linear:
        self.brightness = 1.0 if device.index is None else 0.5
        return self

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) * self.brightness


def test_another_device_is_compared_with_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is the CPU under another name: every machine has that."""
    for kind in ("_samplers", "_autoencoders"):
        monkeypatch.setattr(f"lsampler.testing.{kind}.accelerators", lambda: ["cpu:0"])
    check_sampler(Shell)
    check_autoencoder(Linear())
    found = failures(check_sampler, OffOnDevice)
    assert "on cpu:0 a component's median is off by" in found["accelerators-agree"]
    assert "on cpu:0 decoded values are off by" in failures(check_autoencoder, OffWhenMoved())["moves"]


@functools.cache
def all_checks() -> dict[str, list[Any]]:
    return {
        "Sampling strategies": sampler_checks(Shell),
        "Evaluators": evaluator_checks(Distance),
        "Autoencoders": autoencoder_checks(Linear()),
    }


def test_every_check_has_a_plugin_that_fails_it() -> None:
    shared = {check.name for check in all_checks()["Sampling strategies"][:7]}
    for title, table, elsewhere in (
        ("Sampling strategies", SAMPLERS, {"accelerators-agree"}),
        ("Evaluators", EVALUATORS, shared),
        ("Autoencoders", AUTOENCODERS, set()),
    ):
        assert {check.name for check in all_checks()[title]} - {row[0] for row in table} <= elsewhere


def test_the_page_lists_every_check() -> None:
    page = (ROOT / "docs" / "compliance.md").read_text()
    for title, checks in all_checks().items():
        rows = [f"| `{check.name}` | {check.about} |" for check in checks]
        section = page.split(f"### {title}\n")[1].split("\n#")[0]
        assert re.findall(r"^\| `.*", section, flags=re.MULTILINE) == rows, "\n".join(rows)


def test_all_failures_come_in_one_message() -> None:
    with pytest.raises(ComplianceError) as raised:
        check_sampler(UnseededFit(fact=2.0))
    lines = str(raised.value).splitlines()
    assert re.fullmatch(r"shell\(fact=2.0\): 2 of \d+ checks failed", lines[0])
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["same-seed", "refit-forgets"]


def test_what_cannot_be_fitted_is_told_once() -> None:
    class Refuses(Shell):
        """Nothing is good enough."""

        def learn(self, reference: Reference) -> State:
            raise LsamplerError("not these")

    with pytest.raises(
        ComplianceError, match="cannot be fitted to 600 vectors of D = 6: LsamplerError: not these"
    ) as e:
        check_sampler(Refuses)
    assert len(str(e.value).splitlines()) < 6


def test_a_strategy_for_many_dimensions_brings_its_own_reference() -> None:
    wide = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)
    with pytest.raises(ComplianceError, match="cannot be fitted"):
        check_sampler(load_sampler("multivariate-normal", components=10))
    check_sampler(load_sampler("multivariate-normal", components=10), reference=wide)


def test_an_instance_stays_as_it_is() -> None:
    sampler = Shell()
    check_sampler(sampler)
    assert sampler.dimension == 0


def test_checks_can_be_skipped_with_a_reason() -> None:
    check_sampler(ClaimsToNeedLatents, skip={"needs-latents-is-true": "a later version will read them"})
    with pytest.raises(LsamplerError, match="no check 'same-sed'; did you mean 'same-seed'"):
        check_sampler(Shell, skip={"same-sed": "a typing error"})
    mark = parametrize_with_checks([Shell], skip={"density": "later"}).mark
    skipped = [parameter for parameter in mark.args[1] if parameter.marks]
    assert [parameter.id for parameter in skipped] == ["shell-density"]


def test_what_is_no_such_plugin_is_refused() -> None:
    for check, plugin in ((check_sampler, Distance), (check_evaluator, Shell), (check_sampler, object())):
        with pytest.raises(LsamplerError, match="is not a subclass of lsampler"):
            check(plugin)
    with pytest.raises(LsamplerError, match="there are checks of"):
        parametrize_with_checks([load_core("interval")])

    class Required(Shell):
        """A parameter without a default."""

        depth: int = Field(description="of something")

    with pytest.raises(ComplianceError, match="give an instance instead of the class"):
        check_sampler(Required)
    check_sampler(Required(depth=3))


def test_the_kit_leaves_global_states_alone() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    check_sampler(Shell)
    check_evaluator(Distance)
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())
    assert before[2] == random.getstate()


def test_the_functions_do_not_need_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from lsampler import ConvAutoencoder, ConvConfig, Preprocess, load_evaluator, load_sampler\n"
        "from lsampler.testing import check_autoencoder, check_evaluator, check_sampler\n"
        "config = ConvConfig(image_size=16, channels=3, filters=(4,), latent_dim=3)\n"
        "check_sampler(load_sampler('gaussian'))\n"
        "check_evaluator(load_evaluator('core-membership'))\n"
        "check_autoencoder(ConvAutoencoder(config, preprocess=Preprocess(16, 'centre', 3)).eval())\n"
        "print('all checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "all checked\n", done.stderr
