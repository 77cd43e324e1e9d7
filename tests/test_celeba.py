"""The bundled model on the real images, where they are."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lsampler import compare, load_bundle, load_sampler
from lsampler.data import open_images
from lsampler.data.batches import ImageBatches
from lsampler.plugins import load_evaluator
from lsampler.scoring import Samples
from lsampler.store import MemoryStore

HELD_OUT = 1000


@pytest.fixture(scope="module")
def latents_and_error(celeba_zip: Path) -> tuple[NDArray[np.float32], float]:
    """Latents of 2,000 training and all held-out images, and the held-out mean squared error."""
    model, source = load_bundle().autoencoder, open_images(celeba_zip)
    parts, error, count = [], 0.0, 0
    for indices, images in ImageBatches(source, model.preprocess).read(200, len(source.ids) - 2000 - HELD_OUT):
        batch = torch.from_numpy(images)
        latents = model.encode(batch)
        parts.append(latents.numpy())
        if indices[0] >= len(source.ids) - HELD_OUT:
            error += float(((model.decode(latents) - batch).double() ** 2).sum())
            count += batch.numel()
    return np.concatenate(parts), error / count


def test_held_out_images_are_reconstructed(latents_and_error: tuple[NDArray[np.float32], float]) -> None:
    assert latents_and_error[1] < 0.0056
    assert latents_and_error[1] == pytest.approx(load_bundle().autoencoder.training_record["held_out_mse"], rel=0.01)


def test_the_bundle_describes_these_latents(latents_and_error: tuple[NDArray[np.float32], float]) -> None:
    """2,000 of the 9,000 vectors behind the statistics: means within 5 standard errors, sigmas within 10 %."""
    statistics, rows = load_bundle().reference.statistics(), latents_and_error[0][:2000]
    assert statistics.count == 9000
    assert np.abs((rows.mean(axis=0) - statistics.mean) / statistics.std).max() < 5 / np.sqrt(2000)
    np.testing.assert_allclose(rows.std(axis=0), statistics.std, rtol=0.15)


def test_trimming_is_near_the_posts(latents_and_error: tuple[NDArray[np.float32], float]) -> None:
    """Post IX keeps 72 / 81 / 88 / 94 / 96 % at t = 1.35 / 1.45 / 1.55 / 1.7 / 1.8, of another model's latents."""
    rows = latents_and_error[0][:2000]
    reference = MemoryStore(rows)
    kept = [reference.statistics(t).count / len(rows) for t in (1.35, 1.45, 1.55, 1.7, 1.8)]
    assert kept == sorted(kept)
    np.testing.assert_allclose(kept, [0.72, 0.81, 0.88, 0.94, 0.96], atol=0.1)


def test_pca_ellipse_gives_faces_and_the_cube_does_not() -> None:
    """100 images each. At the measured rates, near 100 % and 0 %, a failure by chance is below 1e-6."""
    pytest.importorskip("dlib", reason="the extra 'faces' is not installed")
    bundle, faces = load_bundle(), load_evaluator("faces")
    share = {}
    for name in ("pca-ellipse", "uniform-cube"):
        latents = load_sampler(name).fit(bundle).sample(100, seed=1).numpy()
        (score,) = faces.score(Samples(name, latents, decode=bundle.subject.decode))
        share[name] = score.value
    assert share["pca-ellipse"] >= 0.9
    assert share["uniform-cube"] <= 0.1


def test_the_ranking_of_strategies_is_stable_over_three_seeds(
    latents_and_error: tuple[NDArray[np.float32], float],
) -> None:
    """500 vectors each: the Frechet distances are far apart beside their intervals."""
    rows = latents_and_error[0]
    reference = MemoryStore(rows[:2000], rows[2000:])
    ranking = ["multivariate-normal", "pca-ellipse", "component-uniform", "gaussian", "uniform-cube"]
    evaluators = [load_evaluator("latent-distances", resamples=10), load_evaluator("fidelity-diversity")]
    roles = []
    for seed in range(3):
        strategies = [load_sampler(name) for name in reversed(ranking)]
        found = compare(reference, strategies, evaluators=evaluators, n=500, seed=seed)
        drawn = [row for row in found.rows if row.kind == "drawn"]
        assert [row.name for row in sorted(drawn, key=lambda row: row.by_metric["frechet"].value)] == ranking
        roles.append(dict(found.verdict.roles))
        # Its recall is a few per cent, which is near the border of the two.
        role = roles[-1].pop("pca-ellipse")
        assert role in ("trades diversity for fidelity", "leaves out most of the data")
    assert roles[0] == roles[1] == roles[2]
    assert roles[0]["multivariate-normal"] == "closest to real data"
    assert roles[0]["uniform-cube"] == "misses the data"


def test_the_bundle_fits_into_the_wheel() -> None:
    folder = resources.files("lsampler") / "bundles"
    assert Path(str(folder / "celeba96.safetensors")).stat().st_size < 17e6


def test_the_bundle_holds_no_single_vector(latents_and_error: tuple[NDArray[np.float32], float]) -> None:
    """Every stored array is an aggregate: none has a row that is one of the encoded vectors."""
    bundle, rows = load_bundle(), latents_and_error[0]
    for statistics in (bundle.reference.statistics(), bundle.reference.statistics(1.7)):
        for array in statistics.as_arrays().values():
            if array.ndim == 1 and array.shape == rows.shape[1:]:
                assert np.abs(rows - array).max(axis=1).min() > 0.01
