"""The classifier that sees all train vectors: what it tells apart, what it does not, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from lsampler import LsamplerError, evaluate, load_sampler
from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, Samples, Score
from lsampler.store import MemoryStore

Rows = NDArray[np.float32]
D = 6


def heavy(rows: int, seed: int) -> Rows:
    """Directions of a normal with radii that vary more than a normal's."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, D)) * np.exp(0.5 * rng.normal(size=(rows, 1)))
    return (z * np.arange(1, D + 1)).astype(np.float32)


REFERENCE = MemoryStore(heavy(2000, 0), heavy(600, 1))


def scored(samples: Samples, **parameters: Any) -> dict[str, Score]:
    judge = load_evaluator("strong-classifier", **({"epochs": 8, "trees": 60, "curve": False} | parameters))
    judge.prepare(RealData(REFERENCE))
    return {score.metric: score for score in judge.score(samples)}


def test_a_normal_is_told_from_heavy_radii_and_the_right_radii_are_not() -> None:
    """600 vectors of each kind: the area of a blind judge has a standard deviation of 0.017."""
    normal, elliptical = (
        scored(Samples.drawn_by(load_sampler(name).fit(REFERENCE), 100))["strong-auc"]
        for name in ("multivariate-normal", "elliptical")
    )
    assert normal.low > 0.65
    assert elliptical.value < 0.58
    assert elliptical.low < 0.5 + 2 * 0.017


def test_two_halves_of_real_data_are_alike() -> None:
    found = scored(Samples("other", heavy(5, 2), kind="train"))
    assert found["strong-auc-network"].low < 0.5 < found["strong-auc-network"].high
    assert found["strong-auc-trees"].low < 0.5 < found["strong-auc-trees"].high


def test_the_headline_is_the_larger_area_and_the_rise_is_against_half_the_vectors() -> None:
    found = scored(Samples.drawn_by(load_sampler("multivariate-normal").fit(REFERENCE), 50), curve=True)
    areas = [found[f"strong-auc-{name}"].value for name in ("trees", "network")]
    assert found["strong-auc"].value == max(areas)
    assert abs(found["strong-auc-rise"].value) < 0.1
    assert found["strong-auc-rise"].low <= found["strong-auc-rise"].value <= found["strong-auc-rise"].high


def test_samples_without_a_strategy_are_split() -> None:
    """A shift that scikit-learn's area of the best single coordinate sees as well."""
    shifted = heavy(1200, 3) + np.float32(6)
    expected = roc_auc_score(np.repeat([0, 1], [600, 1200]), np.concatenate([REFERENCE.held_out(), shifted])[:, 0])
    assert scored(Samples("shifted", shifted))["strong-auc"].value >= expected - 0.02


def test_more_vectors_are_those_that_follow() -> None:
    sampler = load_sampler("gaussian").fit(REFERENCE)
    samples = Samples.drawn_by(sampler, 50, seed=4)
    assert samples.more is not None
    np.testing.assert_array_equal(
        np.concatenate([samples.latents, samples.more(3000)]), sampler.sample(3050, seed=4).numpy()
    )
    assert samples.head(10).more is samples.more


def test_one_seed_one_result() -> None:
    samples = Samples.drawn_by(load_sampler("gaussian").fit(REFERENCE), 50)
    assert scored(samples, epochs=2, trees=10) == scored(samples, epochs=2, trees=10)


def test_what_cannot_be_judged_is_refused_in_one_line() -> None:
    with pytest.raises(LsamplerError, match="too few vectors: 10 of one kind"):
        scored(Samples("few", heavy(20, 5)))
    with pytest.raises(LsamplerError, match="30 held-out vectors; a classifier is judged on 50 or more"):
        load_evaluator("strong-classifier").prepare(RealData(MemoryStore(heavy(300, 6), heavy(30, 7))))


def test_rows_of_real_data_are_the_yardstick() -> None:
    judge = load_evaluator("strong-classifier", epochs=2, trees=10, curve=False)
    held_out, other = evaluate([], REFERENCE, [judge]).rows
    assert "see other real vectors" in held_out.problems[0]
    assert {score.metric for score in other.scores} == {"strong-auc", "strong-auc-trees", "strong-auc-network"}
