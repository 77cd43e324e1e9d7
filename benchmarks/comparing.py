"""A comparison of all strategies, beside the bare parts of it, and on two Dask workers beside one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import Row, Settings, in_turn
from lsampler import compare, load_autoencoder, load_sampler, open_store
from lsampler.compute import on_cluster, one_thread
from lsampler.compute.dask_cluster import local_cluster
from lsampler.data import open_images
from lsampler.models import encode_to_store
from lsampler.models.decoding import BATCH
from lsampler.plugins import load_evaluator, plugin_names
from lsampler.plugins.registry import registry
from lsampler.scoring import Subject

MODEL = "celeba96"
SAMPLES = 2000
HELD_OUT = 1000
SEARCHED = 500
CHOOSES = "auto"
QUICK = ("component-uniform", "elliptical", "gaussian", "kde", "multivariate-normal", "pca-ellipse")
Rows = NDArray[np.float64]


def quick_evaluators() -> list[str]:
    """The names of the scores of ``lsampler compare --quick``."""
    known = registry()
    return [name for name in plugin_names("evaluator") if not known.get("evaluator", name).takes_minutes]


def whole(store: Path, strategies: Sequence[str], address: str | None = None) -> None:
    """The comparison with its report."""
    subject = Subject.of(open_store(store), load_autoencoder(MODEL), partial(_again, str(store)))
    samplers = [load_sampler(name) for name in strategies]
    evaluators = [load_evaluator(name) for name in quick_evaluators()]
    with tempfile.TemporaryDirectory() as folder, on_cluster(address):
        compare(subject, samplers, Path(folder) / "report", evaluators=evaluators, n=SAMPLES)


def _again(store: str) -> Subject:
    return Subject.of(open_store(store), load_autoencoder(MODEL))


def bare(store: Path, strategies: Sequence[str]) -> None:
    """What cannot be left out, row by row: fits and draws, the networks, the detector, products, classifiers."""
    reference, autoencoder = open_store(store), load_autoencoder(MODEL)
    train, held_out = torch.from_numpy(reference.latents()), reference.held_out()
    statistics = reference.statistics()
    whitening = statistics.whitening(statistics.pca.rank)
    drawn = [load_sampler(name).fit(reference).sample(SAMPLES, seed=1) for name in strategies]
    rows = [torch.from_numpy(held_out), train[:SAMPLES], *drawn]
    for latents in rows:
        images = _decoded_and_encoded(autoencoder, latents)
        _searched(images[:SEARCHED])
        _products(latents, train)
        _classified(whitening.forward(held_out), whitening.forward(latents.numpy()[: len(held_out)]))


@torch.inference_mode()
def _decoded_and_encoded(autoencoder: Any, latents: torch.Tensor) -> NDArray[np.uint8]:
    images = []
    for batch in torch.split(latents, BATCH):
        pixels = autoencoder.decode(batch)
        autoencoder.encode(pixels)
        images.append(pixels.mul(255).byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(images)


def _searched(images: NDArray[np.uint8]) -> None:
    import dlib

    detector = dlib.get_frontal_face_detector()
    for image in images:
        detector(np.ascontiguousarray(image), 2)


def _products(latents: torch.Tensor, train: torch.Tensor) -> None:
    """Among themselves, and with all and some train vectors: for novelty, its ten splits, and the balls."""
    others = [train, *(train[:HELD_OUT] for _ in range(11)), latents, train[:SAMPLES], train[:SAMPLES]]
    for points in others:
        squared = (latents @ points.T).mul_(-2).add_(points.square().sum(1)).add_(latents.square().sum(1)[:, None])
        squared.topk(6, largest=False)


def _classified(real: Rows, drawn: Rows) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict

    white = np.concatenate([real, drawn])
    features = np.column_stack([white, np.square(white), np.linalg.norm(white, axis=1)]).astype(np.float32)
    labels = np.repeat([0, 1], [len(real), len(drawn)])
    trees = HistGradientBoostingClassifier(max_depth=4, max_bins=63, max_features=0.25, early_stopping=False)
    with one_thread():  # as lsampler does: with more, so small a task waits more than it works
        cross_val_predict(trees, features, labels, method="decision_function")


def measure(settings: Settings) -> Iterator[Row]:
    """Two rows, if there are images."""
    if not settings.images.exists():
        return
    strategies = [name for name in plugin_names("sampler") if name != CHOOSES]
    with tempfile.TemporaryDirectory(dir=settings.scratch) as folder:
        store = Path(folder) / "latents.h5"
        encode_to_store(load_autoencoder(MODEL), open_images(settings.images), store, held_out=HELD_OUT)
        ours, parts = in_turn([partial(whole, store, strategies), partial(bare, store, strategies)], 1, warm=False)
        yield Row(
            f"compare {len(strategies)} strategies, {SAMPLES:,} samples each, by all quick scores",
            "their fits and draws, decoder, encoder, detector, products and classifiers alone",
            ours,
            parts,
            unit="runs",
            target=1 / 1.5,
            limit="the face detector, which holds Python's lock, and the bootstraps, which run on one core",
        )
        with local_cluster(1) as one, local_cluster(2) as two:
            addresses = [cluster.scheduler_address for cluster in (two, one)]
            runs = [partial(whole, store, QUICK, address) for address in addresses]
            ours, theirs = in_turn(runs, min(2, settings.repeats), warm=False)
        yield Row(
            f"compare {len(QUICK)} strategies on 2 Dask workers", "1 Dask worker", ours, theirs, unit="runs", target=1.7
        )
