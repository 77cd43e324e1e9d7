"""Statistics of vectors of many components: without a covariance where none is needed, and refused where too large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler import LsamplerError, choose, load_sampler, open_store
from lsampler.plugins import load_core, load_evaluator
from lsampler.scoring import RealData, Samples
from lsampler.statistics import Statistics
from lsampler.store import MemoryStore, StoreWriter

D, N = 256, 60
SHAPE = (4, 8, 8)
SCORED = 2304
"""Components where the scores need to know that they are many."""


@pytest.fixture(autouse=True)
def few_components_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsampler.statistics.wide.WIDE", 200)


def smooth(rows: int, seed: int = 0, dimension: int = D) -> NDArray[np.float32]:
    """Vectors that vary along 40 directions and by a little noise, off the origin."""
    directions = np.random.default_rng(9).normal(size=(40, dimension)) * np.linspace(3, 0.3, 40)[:, None]
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, 40)) @ directions + 0.1 * rng.normal(size=(rows, dimension)) + 5).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    found = smooth(N)
    found[:, 7] = 2.5  # a dead unit
    return found


def test_moments_and_histograms_are_those_of_numpy(rows: NDArray[np.float32]) -> None:
    found, exact = MemoryStore(rows).statistics(), rows.astype(np.float64)
    assert (found.count, found.dimension, found.varying) == (N, D, D - 1)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, exact.std(axis=0, ddof=1), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(found.maximum, exact.max(axis=0))
    assert (found.histograms.counts.sum(axis=1) == N).all()
    np.testing.assert_allclose(found.covariance, np.cov(exact.T), atol=1e-10)
    kept = np.arange(D) != 7
    np.testing.assert_allclose(found.correlation[np.ix_(kept, kept)], np.corrcoef(exact[:, kept].T), atol=1e-9)


def test_principal_axes_are_the_singular_vectors(rows: NDArray[np.float32]) -> None:
    reference = MemoryStore(rows)
    pca, exact = reference.statistics().pca, rows.astype(np.float64)
    _, sizes, axes = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    assert (pca.rank, pca.axes.shape, pca.variances.shape) == (N - 1, (N - 1, D), (D,))
    np.testing.assert_allclose(pca.variances[: N - 1], np.square(sizes[: N - 1]) / (N - 1), rtol=1e-9)
    assert not pca.variances[N - 1 :].any()
    np.testing.assert_allclose(np.abs(np.sum(pca.axes * axes[: N - 1], axis=1)), 1, atol=1e-8)
    np.testing.assert_allclose(pca.axes @ pca.axes.T, np.eye(N - 1), atol=1e-9)
    assert (pca.axes[np.arange(N - 1), np.abs(pca.axes).argmax(axis=1)] > 0).all()
    assert not pca.axes[:, 7].any()
    white = reference.statistics().whitening(N - 1).forward(exact)
    np.testing.assert_allclose(np.cov(white.T), np.eye(N - 1), atol=1e-8)


def test_repeated_vectors_and_flat_directions_do_not_count() -> None:
    rng = np.random.default_rng(2)
    flat = rng.normal(size=(50, 5)) @ rng.normal(size=(5, D))
    assert MemoryStore(np.repeat(flat, 2, axis=0)).statistics().pca.rank == 5
    with pytest.raises(LsamplerError, match="all 20 vectors are equal"):
        MemoryStore(np.ones((20, D))).statistics().require_rank(3)


def test_more_vectors_than_components_have_the_axes_of_their_covariance() -> None:
    rows = smooth(400)
    reference = MemoryStore(rows)
    statistics, exact = reference.statistics(), rows.astype(np.float64)
    expected = np.linalg.eigvalsh(np.cov(exact.T))[::-1]
    np.testing.assert_allclose(statistics.pca.variances[:40], expected[:40], rtol=1e-9)
    assert statistics.judged == 40
    directions = np.random.default_rng(1).normal(size=(3, D))
    spread = (exact @ directions.T).std(axis=0, ddof=1)
    np.testing.assert_allclose(statistics.spread_along(directions), spread, rtol=1e-8)


def test_trimming_and_principal_statistics(rows: NDArray[np.float32]) -> None:
    reference = MemoryStore(rows)
    widths = 2.3548200450309493 * rows.std(axis=0, ddof=1, dtype=np.float64)
    inside = (np.abs(rows - rows.mean(axis=0, dtype=np.float64)) <= 1.2 * widths + 1e-9).all(axis=1)
    assert 2 < inside.sum() < N
    trimmed = reference.statistics(1.2)
    assert trimmed.count == inside.sum()
    np.testing.assert_allclose(trimmed.mean, rows[inside].mean(axis=0, dtype=np.float64), rtol=1e-10)
    along = reference.principal_statistics()
    assert (along.dimension, along.count) == (N - 1, N)
    np.testing.assert_allclose(np.square(along.std), reference.statistics().pca.variances[: N - 1], rtol=1e-8)
    directions = np.random.default_rng(1).normal(size=(3, D))
    spread = (rows.astype(np.float64) @ directions.T).std(axis=0, ddof=1)
    np.testing.assert_allclose(reference.statistics().spread_along(directions), spread, rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("multivariate-normal", {"components": 20}),
        ("multivariate-normal", {"components": N - 1}),
        ("elliptical", {"components": 20}),
        ("gaussian-mixture", {"components": 2}),
        ("pca-ellipse", {"components": 20}),
        ("gaussian", {}),
        ("channel-normal", {"channels": 4}),
    ],
)
def test_strategies_draw_with_the_spread_of_the_data(
    name: str, parameters: dict[str, Any], rows: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("a D x D covariance was formed")

    monkeypatch.setattr("lsampler.statistics.moments.gram", refuse)
    monkeypatch.setattr("lsampler.statistics.wide.WideStatistics._require_pairs", refuse)
    sampler = load_sampler(name, **parameters).fit(rows)
    drawn = sampler.sample(2000, seed=3).double().numpy()
    spread = np.linalg.norm(drawn.std(axis=0)) / np.linalg.norm(rows.std(axis=0))
    assert spread == pytest.approx(0.7 if name == "pca-ellipse" else 1.0, abs=0.2)
    np.testing.assert_allclose(drawn.mean(axis=0).mean(), 5, atol=0.1)


def test_a_strategy_of_all_components_names_the_number_that_works(rows: NDArray[np.float32]) -> None:
    with pytest.raises(
        LsamplerError, match=rf"the covariance of {N} vectors has rank {N - 1}, .* `components={N - 1}`"
    ):
        load_sampler("multivariate-normal").fit(rows)


def test_what_takes_too_long_is_refused_before_it_is_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lsampler.compute.memory.MOST_MINUTES", 1e-6)
    large = smooth(400)
    reference = MemoryStore(large)
    problem = (
        r"the covariance of 400 vectors of D = 256 needs about 0.0 GB of memory and 1 minutes; use channel-normal, "
    )
    with pytest.raises(LsamplerError, match=problem):
        load_sampler("multivariate-normal").fit(reference)
    for name in ("gaussian", "component-uniform", "uniform-cube", "channel-normal"):
        assert load_sampler(name).fit(reference).sample(3).shape == (3, D)
    with pytest.raises(
        LsamplerError, match=r"the covariance of vectors of D = 256 needs about .*; give them as a store"
    ):
        Statistics.from_chunks([large])


def test_what_needs_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch, rows: NDArray[np.float32]) -> None:
    monkeypatch.setattr("lsampler.compute.memory.BUDGET", 1 << 16)
    statistics = MemoryStore(rows).statistics()
    for attribute in ("covariance", "correlation"):
        with pytest.raises(
            LsamplerError, match=r"the correlation of every two of 256 components needs about 0\.0 GB of"
        ):
            getattr(statistics, attribute)
    monkeypatch.setattr("lsampler.compute.memory.physical_memory", lambda: 0)
    with pytest.raises(
        LsamplerError, match=rf"the covariance of {N} vectors of D = {D} needs about 0.0 GB of memory and"
    ):
        _ = statistics.pca


def test_pair_ellipses_of_many_components_are_refused() -> None:
    reference = MemoryStore(np.random.default_rng(0).normal(size=(10, 5000)))
    with pytest.raises(
        LsamplerError, match=r"an ellipse for every two of 5000 components takes hours; use the core pca"
    ):
        load_core("pair-ellipses").fit(reference)
    load_core("pca-ellipses", components=5).fit(reference)


@pytest.mark.parametrize("name", ["latent-distances", "two-sample-classifier", "kernel-distance", "novelty"])
def test_scores_see_a_shrunk_normal_and_not_the_data_itself(name: str) -> None:
    reference = MemoryStore(smooth(400, 1, SCORED), smooth(150, 2, SCORED))
    real = RealData(reference)
    evaluator = load_evaluator(name, **({"resamples": 3} if name == "latent-distances" else {}))
    evaluator.prepare(real)
    good, shrunk = (
        {
            s.metric: s
            for s in evaluator.score(Samples("x", ((smooth(150, 3, SCORED) - 5) * factor + 5).astype(np.float32)))
        }
        for factor in (1.0, 0.5)
    )
    decisive = {
        "latent-distances": "frechet",
        "two-sample-classifier": "classifier-auc",
        "kernel-distance": "kernel-mmd",
        "novelty": "novelty-ratio",
    }[name]
    far, near = abs(shrunk[decisive].value - _best(decisive)), abs(good[decisive].value - _best(decisive))
    assert far > 3 * near
    assert not evaluator.caveats()  # held-out vectors are not told from train vectors


def _best(metric: str) -> float:
    return {"classifier-auc": 0.5, "novelty-ratio": 1.0}.get(metric, 0.0)


def test_choose_offers_candidates_that_few_vectors_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsampler.choosing.CANDIDATES", (("multivariate-normal", {}), ("gaussian-mixture", {})))
    reference = MemoryStore(smooth(255, 1), latent_shape=SHAPE)
    found = choose(reference, quick=True)
    labels = [row.name for row in found.evaluation.rows]
    assert "multivariate-normal, components = 20" in labels
    assert "channel-normal" in labels
    assert found.sampler.sample(2).shape == (2, D)


def test_a_file_is_read_in_chunks_of_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsampler.store.latent_store.CHUNK_BYTES", 1 << 14)
    wide = np.random.default_rng(0).normal(size=(12, 1024)).astype(np.float32)
    with StoreWriter(tmp_path / "a.h5", wide.shape[1], {}) as writer:
        writer.append(wide)
    store = open_store(tmp_path / "a.h5")
    assert [len(chunk) for chunk in store.chunks()] == [4, 4, 4]
    np.testing.assert_allclose(store.statistics().mean[:50], wide[:, :50].mean(axis=0, dtype=np.float64), rtol=1e-12)
