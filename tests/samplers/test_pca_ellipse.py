"""pca-ellipse: the region of post X, and both ways to draw from it, against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from distributions import ALPHA
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad

from lsampler import load_sampler
from lsampler.statistics import FWHM_PER_SIGMA
from lsampler.store import MemoryStore

Rows = NDArray[np.float64]


def in_half_axes(q: int, rows: int, method: str = "exact") -> Rows:
    """Draws in principal coordinates divided by the half-axes: (rows, q)."""
    reference = MemoryStore(np.random.default_rng(q).normal(size=(2 * q + 50, q)) * np.linspace(3, 1, q) + 2)
    z = load_sampler("pca-ellipse", method=method, components=q, trim=None).fit(reference).sample(rows, seed=0)
    pca = reference.statistics().pca
    return pca.transform(z.double().numpy()) / (0.7 * FWHM_PER_SIGMA * np.sqrt(pca.variances))


def by_rejection(q: int, rows: int) -> Rows:
    """Uniform on the region: of vectors in the cube [-1, 1]^q, those that satisfy every pair."""
    rng, kept = np.random.default_rng(1), list[Rows]()
    while sum(map(len, kept)) < rows:
        u = rng.uniform(-1, 1, (4 * rows, q))
        pairs = (u**2)[:, :, np.newaxis] + (u**2)[:, np.newaxis]
        kept.append(u[(pairs[:, ~np.eye(q, dtype=bool)] <= 1).all(axis=1)])
    return np.concatenate(kept)[:rows]


def by_the_loop_of_the_post(q: int, rows: int) -> Rows:
    """One component after the other in random order, checked against each of those before."""
    rng, loop = np.random.default_rng(3), np.zeros((rows, q))
    for row in loop:
        drawn: list[int] = []
        for j in rng.permutation(q):
            c = min([1.0, *(np.sqrt(1 - row[i] ** 2) for i in drawn)])
            row[j] = rng.uniform(-c, c)
            drawn.append(j)
    return loop


def p_values(ours: Rows, theirs: Rows) -> dict[str, float]:
    def features(u: Rows) -> dict[str, Rows]:
        ordered = np.sort(np.abs(u), axis=1)
        names = "a component", "the largest", "the second largest", "the radius", "a product"
        found = u[:, 0], ordered[:, -1], ordered[:, -2], np.linalg.norm(u, axis=1), u[:, 0] * u[:, -1]
        return dict(zip(names, found, strict=True))

    first, second = features(ours), features(theirs)
    return {name: stats.ks_2samp(first[name], second[name]).pvalue for name in first}


def test_exact_is_uniform_on_the_region() -> None:
    """A Kolmogorov distance of 0.03 is found with power over 99 %."""
    uniform = {q: by_rejection(q, 20_000) for q in (3, 8)}
    for q in uniform:
        assert min(p_values(in_half_axes(q, 20_000), uniform[q]).values()) > ALPHA
    # The iteration is not uniform on the region, and this comparison sees it.
    assert p_values(in_half_axes(8, 20_000, "iteration"), uniform[8])["the radius"] < ALPHA


def test_iteration_agrees_with_the_loop_of_the_post() -> None:
    assert min(p_values(in_half_axes(6, 20_000, "iteration"), by_the_loop_of_the_post(6, 4_000)).values()) > ALPHA


def outside_the_cube(q: int) -> float:
    """The volume in which one component is above 1/sqrt(2), over that of the cube in which none is."""
    return float(q * quad(lambda theta: (math.sqrt(2) * math.sin(theta)) ** q, 0, math.pi / 4, epsrel=1e-12)[0])


@pytest.mark.parametrize("q", [1, 2, 3, 10, 120, 300])
def test_volume_is_that_of_the_closed_form(q: int) -> None:
    """The density at the centre is one over the volume."""
    reference = MemoryStore(np.random.default_rng(q).normal(size=(2 * q + 50, q)))
    sampler = load_sampler("pca-ellipse", components=q, trim=None, fact=0.5).fit(reference)
    statistics = reference.statistics()
    half_axes = 0.5 * FWHM_PER_SIGMA * np.sqrt(statistics.pca.variances)
    expected = 0.5 * q * np.log(2) + np.log1p(outside_the_cube(q)) + np.log(half_axes).sum()
    assert -sampler.log_prob(statistics.mean[np.newaxis])[0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("method", ["exact", "iteration"])
@pytest.mark.parametrize("components", [1, 2, 5, 12])
def test_every_pair_condition_holds_in_every_row(reference: MemoryStore, method: str, components: int) -> None:
    sampler = load_sampler("pca-ellipse", method=method, components=components, fact=0.6).fit(reference)
    statistics = reference.statistics(1.7)
    v = statistics.pca.transform(sampler.sample(5_000, seed=4).double().numpy())
    u = v[:, :components] / (0.6 * FWHM_PER_SIGMA * np.sqrt(statistics.pca.variances[:components]))
    largest = np.sort(u**2, axis=1)[:, -2:].sum(axis=1)
    assert largest.max() <= 1 + 1e-5
    assert np.abs(v[:, components:]).max(initial=0) < 1e-5  # nothing along the components left out
    assert largest.max() > 0.95  # it fills the region: in 5,000 rows some come close to the boundary


def test_share_in_the_cube_is_that_of_its_volume_at_full_size() -> None:
    u = in_half_axes(120, 20_000)
    share = 1 / (1 + outside_the_cube(120))
    assert np.mean(np.abs(u).max(axis=1) < np.sqrt(0.5)) == pytest.approx(share, abs=0.011)  # 3 standard errors
