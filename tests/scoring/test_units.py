"""Every core and every score of latents with components that are constant, repeated, or in very unequal units."""

from __future__ import annotations

import numpy as np
import pytest
from distributions import odd_units

from lsampler import evaluate, load_sampler
from lsampler.plugins import load_core, load_evaluator
from lsampler.scoring import Samples, StatisticsReference
from lsampler.store import MemoryStore

pytestmark = pytest.mark.usefixtures("one_torch_thread")
LATENT_SCORES = {
    "core-membership": {}, "fidelity-diversity": {}, "log-likelihood": {}, "feature-likelihood": {}, "novelty": {},
    "latent-distances": {"resamples": 3, "directions": 16},
    "kernel-distance": {"resamples": 3, "permutations": 19, "rows": 100},
    "two-sample-classifier": {"learner": "logistic", "check_split": False},
}  # fmt: skip


def reference_of(case: str) -> MemoryStore:
    rows = odd_units()[case]
    return MemoryStore(rows[:800], rows[800:], name="odd")


@pytest.mark.parametrize("name", ["interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"])
@pytest.mark.parametrize("case", odd_units())
def test_every_core_is_fitted_and_calibrated(name: str, case: str) -> None:
    """Regression: beside a dead unit four of five cores were refused."""
    reference = reference_of(case)
    core = load_core(name).fit(reference)
    level = core.calibrated_level(reference)
    assert level is not None
    # 200 judging vectors: 0.95 with a standard deviation of 0.022, of the calibration included.
    assert np.mean(core.levels(reference.held_out()[1::2]) <= level) == pytest.approx(0.95, abs=0.07)


@pytest.mark.parametrize("name", ["interval", "pair-ellipses", "ellipsoid", "pca-ellipses"])
def test_levels_are_those_of_the_components_that_vary(name: str) -> None:
    rows = odd_units()["both"].astype(np.float64)
    with_dead, without = (load_core(name).fit(part).levels(part[:50]) for part in (rows, np.delete(rows, 0, axis=1)))
    np.testing.assert_allclose(with_dead, without, rtol=1e-5)
    if name in ("interval", "pair-ellipses"):  # the principal axes turn with a repeated component
        np.testing.assert_allclose(
            with_dead, load_core(name).fit(rows[:, [1, 2, 3, 5]]).levels(rows[:50, [1, 2, 3, 5]])
        )


@pytest.mark.parametrize("case", odd_units())
def test_every_score_is_finite_or_says_why_not(case: str) -> None:
    reference = reference_of(case)
    drawn = Samples.drawn_by(load_sampler("multivariate-normal").fit(reference), 200)
    table = evaluate([drawn], reference, [load_evaluator(name, **given) for name, given in LATENT_SCORES.items()])
    flat = case in ("a repeated component", "both")
    assert [caveat.split(":")[0] for caveat in table.caveats] == ["no scores of log-likelihood"] * flat
    scores = table.rows[-1].by_metric
    assert table.rows[-1].problems == []
    assert ("log-likelihood-gain" in scores) == (not flat)
    assert {"knn/calibrated", "clipped-coverage", "ks", "radius-ratio", "novelty-ratio", "classifier-auc"} <= set(
        scores
    )
    if case != "an outlier":
        assert scores["classifier-auc"].value < 0.62
        assert scores["recall"].value > 0.8
        assert scores["correlation-error"].value < 0.1


def test_a_bundle_of_latents_with_a_dead_unit_has_quantiles_of_the_radius() -> None:
    reference = reference_of("a dead unit")
    bundled = StatisticsReference.of(reference)
    for name in ("elliptical", "pca-ellipse", "multivariate-normal"):
        drawn = [load_sampler(name).fit(source).sample(20, seed=1).numpy() for source in (reference, bundled)]
        np.testing.assert_array_equal(*drawn)
