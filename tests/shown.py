"""Objects of every kind that shows itself, all of them called by a name that is HTML."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler import analyze, choose, compare, evaluate, load_bundle, load_sampler
from lsampler.bundles import Bundle
from lsampler.choosing import Choice
from lsampler.data import Item, Preprocess
from lsampler.models import AdaptedAutoencoder, ConvAutoencoder, ConvConfig, TrainingResult
from lsampler.plugins import load_core, load_evaluator
from lsampler.reports import Analysis, Comparison
from lsampler.scoring import Evaluation, RealData, Samples, StatisticsReference, Subject
from lsampler.store import HeldOut, MemoryStore

HOSTILE = "<script src=\"x\">alert(1)<b onclick='y'> & co"
D, TRAIN, HELD_OUT = 5, 500, 520


@cache
def vectors() -> NDArray[np.float32]:
    """Correlated rows, the last ones to be held out."""
    rng = np.random.default_rng(11)
    return (rng.normal(size=(TRAIN + HELD_OUT, D)) @ rng.normal(size=(D, D)) + 1).astype(np.float32)


@cache
def store() -> MemoryStore:
    ids = [f"{HOSTILE} {row}" for row in range(TRAIN + HELD_OUT)]
    return MemoryStore(vectors()[:TRAIN], vectors()[TRAIN:], name=HOSTILE, fingerprint="f" * 32, ids=ids)


@cache
def model() -> ConvAutoencoder:
    torch.manual_seed(3)
    config = ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=D)
    return ConvAutoencoder(config, preprocess=Preprocess(8, "none", 1)).eval()


@cache
def subject() -> Subject:
    return Subject.of(store(), model())


@cache
def samples() -> Samples:
    drawn = load_sampler("gaussian").fit(store())
    found = Samples.drawn_by(drawn, 300, name=HOSTILE, decode=subject().decode, encode=subject().encode)
    found.note = HOSTILE
    return found


@cache
def evaluation() -> Evaluation:
    other = Samples("other", vectors()[:300])
    return evaluate([samples(), other], store(), [load_evaluator("latent-distances"), load_evaluator("novelty")])


@cache
def comparison() -> Comparison:
    judges = [load_evaluator("two-sample-classifier"), load_evaluator("fidelity-diversity")]
    strategies = [load_sampler("uniform-cube"), load_sampler("gaussian"), load_sampler("elliptical", trim=2.5)]
    return compare(subject(), strategies, evaluators=judges, n=200)


@cache
def analysis() -> Analysis:
    return analyze(store(), sections=["components", "correlations"])


@cache
def choice() -> Choice:
    return choose(store(), quick=True, candidates=[load_sampler("gaussian"), load_sampler("multivariate-normal")])


def adapted() -> AdaptedAutoencoder:
    def encode(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return latents.reshape(-1, 1, 8, 8)

    return AdaptedAutoencoder(
        HOSTILE, encode, decode, item=Item.of_images(Preprocess(8, "none", 1)), fingerprint="a" * 32
    )


def training() -> TrainingResult:
    return TrainingResult(Path("deep") / "folder" / f"{HOSTILE}.safetensors", 0.012, 3, True, {HOSTILE: HOSTILE})


OBJECTS: dict[str, Callable[[], Any]] = {
    "bundle": lambda: Bundle(model(), StatisticsReference.of(store())),
    "bundled": load_bundle,
    "carried": lambda: load_bundle("digits").strategies[0],
    "memory-store": store,
    "statistics-reference": lambda: StatisticsReference.of(store()),
    "statistics": lambda: store().statistics(),
    "pca": lambda: store().statistics().pca,
    "whitening": lambda: store().statistics().whitening(),
    "sampler": lambda: load_sampler("pca-ellipse", fact=0.6),
    "fitted-sampler": lambda: load_sampler("elliptical", trim=2.5).fit(store()),
    "evaluator": lambda: load_evaluator("fidelity-diversity"),
    "core": lambda: load_core("interval").fit(store()),
    "samples": samples,
    "real-data": lambda: RealData(subject()),
    "subject": subject,
    "evaluation": evaluation,
    "comparison": comparison,
    "verdict": lambda: comparison().verdict,
    "analysis": analysis,
    "choice": choice,
    "row": lambda: evaluation().rows[-2],
    "score": lambda: evaluation().rows[-1].scores[0],
    "autoencoder": model,
    "adapted-autoencoder": adapted,
    "training-result": training,
    "held-out": lambda: HeldOut(7, HOSTILE * 20),
}
