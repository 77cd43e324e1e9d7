"""Every check of an evaluator catches an evaluator that is broken in that respect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, PrivateAttr
from testing.sound_plugins import ANY, Distance, Shell, broken, require_caught

from lsampler.scoring import Evaluator, RealData, Samples, Score
from lsampler.testing import check_evaluator, checks_of


def distance(**members: Any) -> type[Evaluator]:
    """A Distance with other members."""
    return type("Broken", (Distance,), {"__doc__": "Broken.", **members})


def saying(**changes: Any) -> type[Evaluator]:
    """A Distance whose score has other fields, given or computed from the samples."""

    def score(self: Distance, samples: Samples) -> list[Score]:
        return [self.of(samples, **{k: v(samples) if isinstance(v, Callable) else v for k, v in changes.items()})]

    return distance(score=score)


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


class Relative(Distance):
    """Before prepare() there is a None, and equal real vectors have no standard deviation."""

    _real: Any = PrivateAttr(default=None)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._real = real.reference

    def score(self, samples: Samples) -> list[Score]:
        return [self.of(samples, high=1e12 + float(np.mean(1 / self._real.statistics().std)))]


def wants_vectors(self: Distance, real: RealData) -> None:
    Distance.prepare(self, real)
    if not real.reference.has_latents:
        raise KeyError("latents")


def writes_samples(self: Distance, samples: Samples) -> list[Score]:
    found = self.of(samples)
    samples.latents -= samples.latents.mean(axis=0)
    return [found]


def seeds(self: Distance, samples: Samples) -> list[Score]:
    torch.manual_seed(0)
    return [self.of(samples)]


def wants_density(self: Distance, samples: Samples) -> list[Score]:
    if samples.kind == "drawn":
        samples.log_prob(samples.latents)  # type: ignore[misc]
    return [self.of(samples)]


def twice(self: Distance, samples: Samples) -> list[Score]:
    return [self.of(samples), self.of(samples, value=0.0, low=0.0)]


REAL = {"awkward-samples", "awkward-real-data", "bundle", "missing-parts", "rows-of-real-vectors"}
EVERYWHERE = {"parameter-edges", *REAL}
TABLE = [
    broken("parameters-frozen", "", distance(model_config=ConfigDict(frozen=False))),
    broken("scores-complete", "return a list of Score", distance(score=lambda self, samples: []), {"parameter-edges"}),
    broken("scores-complete", "a metric comes twice: distance, distance", distance(score=twice), EVERYWHERE),
    broken("scores-complete", "an interval contains its value", saying(low=-2.0, high=-1.0), EVERYWHERE),
    broken("scores-complete", "write float(...)", saying(value=np.float64(0), low=0.0), EVERYWHERE),
    broken("scores-complete", "is not finite", saying(high=float("inf")), EVERYWHERE),
    broken("scores-complete", "outside 0 .. 1", saying(unit="share", high=1e9), EVERYWHERE),
    broken("scores-complete", "n=0 is not a number of samples", saying(n=0), EVERYWHERE),
    broken("scores-complete", "better='more'", saying(better="more"), EVERYWHERE),
    broken("scores-complete", "no about", saying(about=""), EVERYWHERE),
    broken("scores-complete", "has blanks", saying(metric="two words"), EVERYWHERE),
    broken("same-scores", "in a second instance, distance differs", saying(high=lambda _: 1e12 + 1e6 * np.random.default_rng().random()), {"prepare-forgets", "two-threads"}),
    broken("same-scores", "scored again, distance differs", Remembers),
    broken("prepare-forgets", "prepared again, distance differs", PreparesOnce),
    broken("inputs-untouched", "samples.latents are changed", distance(score=writes_samples)),
    broken("global-state-untouched", "score() changes torch's global random state", distance(score=seeds), {"two-threads"}),
    broken("not-prepared", "score() before prepare() stops with AttributeError", Relative, ANY),
    broken("bundle", "a bundle stops with KeyError", distance(prepare=wants_vectors)),
    broken("missing-parts", "samples without density stops with TypeError", distance(score=wants_density)),
    broken("awkward-samples", "1 sample stops with RuntimeWarning", saying(high=lambda samples: 1e12 + float(samples.latents.std(axis=0, ddof=1).mean()))),
    broken("awkward-real-data", "a constant component, half of them held out, stops with RuntimeWarning", Relative, {"not-prepared"}),
    broken("rows-of-real-vectors", "the row of held-out vectors stops with KeyError", saying(group=lambda samples: {"drawn": "distances"}[samples.kind])),
    broken("rows-of-real-vectors", "return a list of lines", distance(caveats=lambda self: ["one\ntwo"])),
]  # fmt: skip


@pytest.mark.parametrize(("check", "message", "plugin", "also"), TABLE)
def test_a_broken_evaluator_is_caught(check: str, message: str, plugin: Any, also: set[str]) -> None:
    require_caught(check_evaluator, check, message, plugin, also)


def test_every_check_has_an_evaluator_that_fails_it() -> None:
    shared = {check.name for check in checks_of(Shell)}
    assert {check.name for check in checks_of(Distance)} - {row.values[0] for row in TABLE} <= shared
