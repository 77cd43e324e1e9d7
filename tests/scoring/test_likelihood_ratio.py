"""The ratio of two densities as a judge: its area on densities that are known, and who has no ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, Samples, Score
from lsampler.store import MemoryStore

RNG = np.random.default_rng(12)
REFERENCE = MemoryStore(*(RNG.normal(size=(rows, 3)).astype(np.float32) for rows in (3000, 2000)))


def scored(samples: Samples, **parameters: Any) -> list[Score]:
    judge = load_evaluator("likelihood-ratio", **({"rival": "multivariate-normal"} | parameters))
    judge.prepare(RealData(REFERENCE))
    return judge.score(samples)


def test_the_area_of_a_shifted_normal_is_that_of_its_closed_form() -> None:
    """Between normals a distance d apart the ratio of densities has the area Phi(d / sqrt 2)."""
    drawn = RNG.normal(size=(2000, 3)).astype(np.float32) + np.float32([1, 0, 0])

    def own(z: Any) -> Any:
        return norm.logpdf(np.asarray(z, dtype=np.float64) - [1, 0, 0]).sum(axis=1)

    (score,) = scored(Samples("shifted", drawn, log_prob=own))
    # The standard deviation of the area is 0.007 for 2,000 vectors of each kind.
    assert score.value == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert score.low < norm.cdf(1 / np.sqrt(2)) < score.high


def test_a_density_as_good_as_the_rival_is_told_from_nothing() -> None:
    (score,) = scored(Samples.drawn_by(load_sampler("gaussian").fit(REFERENCE), 2000))
    assert score.value == pytest.approx(0.5, abs=0.03)


def test_who_has_no_ratio() -> None:
    assert scored(Samples("no density", REFERENCE.held_out())) == []
    assert scored(Samples.drawn_by(load_sampler("multivariate-normal").fit(REFERENCE), 100)) == []
    with pytest.raises(LsamplerError, match="there is no ratio"):
        scored(Samples.drawn_by(load_sampler("truncated-normal", share=0.5).fit(REFERENCE), 100))
    with pytest.raises(LsamplerError, match="5 samples; the ratio is compared at 20 or more"):
        scored(Samples.drawn_by(load_sampler("gaussian").fit(REFERENCE), 5))
    with pytest.raises(LsamplerError, match="no sampler 'nonsense'"):
        scored(Samples("none", REFERENCE.held_out()), rival="nonsense")
