"""The feature likelihood divergence against plain formulas, and on data where the right order is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scored import draw, known, scored, values

from lsampler import LsamplerError
from lsampler.scoring import RealData
from lsampler.store import MemoryStore

DIVERGENCE, GAP = "feature-likelihood-divergence", "feature-likelihood-gap"
Rows = NDArray[np.float64]


def likelihoods(rows: Rows, centres: Rows, logs: Rows) -> Rows:
    """log p of each row, one component after the other; ``logs`` are the logarithms of the variances."""
    found = [
        stats.multivariate_normal(centre, np.exp(log) * np.eye(len(centre))).logpdf(rows)
        for centre, log in zip(centres, logs, strict=True)
    ]
    total: Rows = np.logaddexp.reduce(np.stack(found), axis=0) - np.log(len(centres))
    return total


def test_both_scores_are_those_of_a_general_optimiser() -> None:
    """From the same start, the distance to the nearest train vector."""
    reference = known(240, 60, d=3)
    samples = draw(12, d=3, seed=8)
    statistics = reference.statistics()
    inverse = np.linalg.inv(np.linalg.cholesky(statistics.covariance))
    data = RealData(reference, rows=12)
    other = {row.tobytes() for row in data.other}
    fitted = 240 - len(other)
    order = np.random.default_rng(0).permutation(240)[:fitted]
    train, held_out, centres = (
        (rows.astype(np.float64) - statistics.mean) @ inverse.T
        for rows in (reference.latents()[order], reference.held_out(), samples)
    )

    def loss(logs: Rows) -> float:
        return -float(likelihoods(train, centres, logs).mean())

    bounds = [(np.log(1e-4), 5.0)] * 12
    nearest = np.square(train[:, np.newaxis] - centres).sum(axis=2).min(axis=0) / 3
    best = optimize.minimize(loss, np.log(np.maximum(nearest, 1e-4)), bounds=bounds, method="L-BFGS-B")
    new, seen = likelihoods(held_out, centres, best.x), likelihoods(train, centres, best.x)
    normal = stats.multivariate_normal(np.zeros(3)).logpdf(held_out)
    found = scored("feature-likelihood", samples, reference, real=data)
    assert found[DIVERGENCE].value == pytest.approx(100 / 3 * (normal - new).mean(), abs=0.2)
    assert found[GAP].value == pytest.approx(100 / 3 * (seen.mean() - new.mean()), abs=0.2)
    reach = 1.96 * 100 / 3 * (normal - new).std(ddof=1) / np.sqrt(60)
    assert found[DIVERGENCE].high - found[DIVERGENCE].value == pytest.approx(reach, rel=0.05)
    assert (found[DIVERGENCE].n, found[DIVERGENCE].better, found[GAP].better) == (60, "real", "real")


def clusters(n: int, modes: int = 10, d: int = 8, seed: int = 3) -> Rows:
    """Vectors around the first of ten narrow modes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(2).normal(size=(10, d))
    found: Rows = centres[rng.integers(modes, size=n)] + 0.1 * rng.normal(size=(n, d))
    return found


@pytest.fixture(scope="module")
def reference() -> MemoryStore:
    rows = clusters(2600)
    return MemoryStore(rows[:2000], rows[2000:])


def divergences(reference: MemoryStore, sets: list[Rows]) -> list[float]:
    return [values("feature-likelihood", rows.astype(np.float32), reference)[DIVERGENCE] for rows in sets]


def test_the_divergence_of_clusters_rises_with_every_flaw(reference: MemoryStore) -> None:
    mean, drawn = reference.statistics().mean, clusters(400, seed=4)
    for scales in ((1, 0.9, 0.7, 0.5, 0.3), (1, 1.1, 1.5, 2)):
        found = divergences(reference, [mean + scale * (drawn - mean) for scale in scales])
        assert np.all(np.diff(found) > 5)
    found = divergences(reference, [clusters(400, modes, seed=4) for modes in (10, 9, 7, 5)])
    assert np.all(np.diff(found) > 5)
    noise = mean + np.random.default_rng(6).normal(size=drawn.shape)
    found = divergences(reference, [np.concatenate([drawn[k:], noise[:k]]) for k in (0, 200, 350)])
    assert np.all(np.diff(found) > 5)


def test_copies_of_train_vectors_have_a_large_gap(reference: MemoryStore) -> None:
    rng = np.random.default_rng(7)
    copies = reference.latents()[rng.permutation(2000)[:400]]
    near = (copies + 0.01 * rng.normal(size=copies.shape)).astype(np.float32)
    fresh, mixed = clusters(400, seed=4).astype(np.float32), clusters(400, seed=5).astype(np.float32)
    mixed[:200] = copies[:200]
    new, half, blurred, all_of_them = (
        scored("feature-likelihood", rows, reference) for rows in (fresh, mixed, near, copies)
    )
    assert new[GAP].value < 8
    for copied in (half, blurred, all_of_them):
        assert copied[GAP].low > new[GAP].high + 5
    assert all_of_them[GAP].low > half[GAP].high
    assert all_of_them[DIVERGENCE].value > new[DIVERGENCE].high


def test_other_real_vectors_score_as_new_ones_do(reference: MemoryStore) -> None:
    """They are left out of the train vectors of their own fit, which would have taken them for copies."""
    real = RealData(reference, rows=400)
    other = scored("feature-likelihood", real.other, reference, kind="train", real=real)
    fresh = scored("feature-likelihood", clusters(400, seed=4).astype(np.float32), reference, real=real)
    for metric in (DIVERGENCE, GAP):
        assert abs(other[metric].value - fresh[metric].value) < 8
    assert scored("feature-likelihood", real.other, reference, real=real)[GAP].value > other[GAP].high + 10


def test_shrunk_samples_of_one_normal_lie_below_real_ones() -> None:
    """The blind spot: around the centre one wide component is the density of the data."""
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(2900, 8)).astype(np.float32)
    reference = MemoryStore(rows[:2000], rows[2000:2500])
    found = divergences(reference, [np.float32(scale) * rows[2500:].astype(np.float64) for scale in (1, 0.5, 0.1)])
    assert found[0] > found[1] > found[2]
    assert found[2] == pytest.approx(0, abs=1.5)


def test_units_do_not_matter(reference: MemoryStore) -> None:
    drawn, scale = clusters(300, seed=4).astype(np.float32), (10.0 ** np.arange(-3, 5)).astype(np.float32)
    scaled = MemoryStore(reference.latents() * scale, reference.held_out() * scale)
    ours, theirs = values("feature-likelihood", drawn, reference), values("feature-likelihood", drawn * scale, scaled)
    for metric, value in ours.items():
        assert theirs[metric] == pytest.approx(value, abs=0.05)


def test_too_few_vectors_are_one_line() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 3))
    with pytest.raises(
        LsamplerError, match="8 train vectors beside other real ones; variances are fitted to 10 or more"
    ):
        scored("feature-likelihood", rows[:9], MemoryStore(rows[:16], rows[16:]))
    with pytest.raises(LsamplerError, match="1 held-out vector, an interval needs 2"):
        scored("feature-likelihood", rows[:9], MemoryStore(rows[:39], rows[39:]))
