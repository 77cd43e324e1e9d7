"""How much of the other labels an edit moves along, by direction: ``python -m benchmarks.editing``.

Latent vectors of real images are moved along a direction and decoded, and another encoder's probes read the images. All
directions move the target's probe equally far. A few minutes on 2 cores.

python -m benchmarks.editing --store latents.h5 --judge judge/model.safetensors --judge-store judge/latents.h5

With --all, every label is a target, and a linear model of the judge's scores, fitted to every other train vector, takes
the place of decoding each edit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lsampler
from lsampler.bundles import load_safetensors_autoencoder
from lsampler.editing.readings import DISTANCE_COST, SHRINKAGE, Readings
from lsampler.models import Autoencoder, TrainedAutoencoder, decode_images
from lsampler.models.decoding import encode_pixels
from lsampler.scoring import Probe, fit_probes, labelled_rows
from lsampler.store import LatentStore

TARGETS = ("Eyeglasses", "Smiling", "Male", "Blond_Hair")
SETTINGS = ((0.0, 0.1), (0.2, 0.1), (SHRINKAGE, 0.3), (SHRINKAGE, DISTANCE_COST), (SHRINKAGE, 0.03), (1.0, 0.1))
"""Shrinkage of the readings, and cost of the distance."""
CLOSE, MOST_TRIES = 0.03, 5
RESAMPLED = 400
Rows = NDArray[np.float64]


@dataclass
class Judge:
    """Another encoder, and probes of its own latent vectors of real images."""

    decoder: Autoencoder
    model: TrainedAutoencoder
    store: LatentStore

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """For each label, fitted to the train vectors."""
        return fit_probes(self.store)

    def encode(self, latents: Rows) -> NDArray[np.float32]:
        """The judge's latent vectors of decoded images, which are resized to its own size."""
        images = decode_images(self.decoder, latents.astype(np.float32))
        _, height, width = self.model.item.shape
        resized = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.LANCZOS)) for one in images]
        return encode_pixels(self.model, np.stack(resized))

    def scores(self, encoded: NDArray[np.float32]) -> Rows:
        """Scores (n, labels) in their own spread over real images."""
        return np.hstack([probe.standardised(encoded) for probe in self.probes.values()])


@dataclass
class Result:
    """What one direction does to the judge's scores."""

    ratio: float
    error: float
    distance: float
    recognised: float

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ± {self.error:.3f}; {self.distance:.1f}; {self.recognised:.0%}"


def directions(store: LatentStore) -> Iterator[tuple[str, Rows]]:
    """Names of estimators, and their directions (labels, D) of any length."""
    latents, codes = (array.astype(np.float64) for array in labelled_rows(store, "train"))
    about, labels = latents - latents.mean(axis=0), codes - codes.mean(axis=0)
    cross = labels.T @ about / len(about)
    covariance = about.T @ about / len(about)
    yield "difference of means", cross / labels.var(axis=0)[:, np.newaxis]
    yield "partial effect", np.linalg.lstsq(labels, about, rcond=None)[0]
    yield "normal of the reading", np.linalg.solve(covariance, cross.T).T
    for shrinkage, cost in SETTINGS:
        chosen = ", the default" if (shrinkage, cost) == (SHRINKAGE, DISTANCE_COST) else ""
        readings = Readings.of(store, None, shrinkage=shrinkage)
        yield f"sparing, shrinkage {shrinkage:g}, cost {cost:g}{chosen}", _sparing(readings, cost)
    weights = np.hstack([probe.weights for probe in fit_probes(store).values()])
    slopes = (weights.T @ covariance) @ (readings.whitening.axes.T / readings.whitening.variances)
    logistic = Readings(store.name, readings.design, readings.whitening, readings.mean, readings.covariance, slopes)
    yield f"sparing logistic probes, cost {DISTANCE_COST:g}", _sparing(logistic, DISTANCE_COST)


def _sparing(readings: Readings, cost: float) -> Rows:
    count = readings.design.width
    return np.concatenate([readings.movements(np.array([k]), [k], cost) for k in range(count)])


def moved(judge: Judge, latents: Rows, direction: Rows, place: int, far: float) -> tuple[Rows, NDArray[np.float32]]:
    """The vectors moved until the mean score of a label has changed by ``far``, and the judge's view of them."""
    before, scale = judge.scores(judge.encode(latents))[:, place].mean(), 1.0
    for _ in range(MOST_TRIES):
        encoded = judge.encode(latents + scale * direction)
        change = judge.scores(encoded)[:, place].mean() - before
        if abs(change / far - 1) < CLOSE:
            break
        scale *= float(np.clip(far / change, 0.2, 5)) if change > 0 else 2.0
    return latents + scale * direction, encoded


def measure(judge: Judge, latents: Rows, direction: Rows, place: int, far: float, white: Rows) -> Result:
    """What a direction does to vectors (n, D) of real images; ``white`` (D, q) whitens."""
    direction = direction / np.linalg.norm(direction @ white) * 1.5 * far
    start = judge.encode(latents)
    found, encoded = moved(judge, latents, direction, place, far)
    changes = judge.scores(encoded) - judge.scores(start)
    random = np.random.default_rng(0)
    rows = random.integers(len(changes), size=(RESAMPLED, len(changes)))
    ratios = [_ratio(changes[chosen], place) for chosen in rows]
    metric = np.linalg.cholesky(np.linalg.inv(np.cov(judge.store.latents().T)))
    gaps = np.square((encoded @ metric)[:, np.newaxis] - (start @ metric)[np.newaxis]).sum(axis=2)
    same = float((gaps.argmin(axis=1) == np.arange(len(gaps))).mean())
    distance = float(np.linalg.norm((found - latents)[0] @ white))
    return Result(_ratio(changes, place), float(np.std(ratios)), distance, same)


def _ratio(changes: Rows, place: int) -> float:
    """Mean size of the mean changes of the other labels' scores, over that of the target's."""
    mean = changes.mean(axis=0)
    return float(np.abs(np.delete(mean, place)).mean() / mean[place])


def every_label(judge: Judge, store: LatentStore) -> Iterator[str]:
    """Lines of a table: the ratio over all labels as targets, by a linear model of the judge's scores.

    Its last line has the judge's own directions in place of the readings: a limit, which no edit can know.
    """
    latents = store.latents()[::2].astype(np.float64)
    about = latents - latents.mean(axis=0)
    scores = judge.scores(judge.encode(latents))
    effects, *_ = np.linalg.lstsq(about, scores - scores.mean(axis=0), rcond=None)
    readings = Readings.of(store, None)
    slopes = (effects.T @ np.cov(about.T)) @ (readings.whitening.axes.T / readings.whitening.variances)
    oracle = Readings(store.name, readings.design, readings.whitening, readings.mean, readings.covariance, slopes)
    names = list(judge.probes)
    places = [names.index(name) for name in TARGETS]
    first = None
    for name, found in [*directions(store), ("sparing the judge's own probes", _sparing(oracle, DISTANCE_COST))]:
        ratios = np.array([_ratio((row @ effects)[np.newaxis], k) for k, row in enumerate(found)])
        first = ratios if first is None else first
        cells = [f"{ratios[k]:.3f}" for k in places]
        yield f"| {name} | {' | '.join(cells)} | {ratios.mean():.3f} | {(ratios < first / 2).sum()} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="latents of the bundled celeba96, with labels")
    parser.add_argument("--judge", type=Path, required=True, help="another encoder of the same images")
    parser.add_argument("--judge-store", type=Path, required=True, help="its latents, with labels")
    parser.add_argument("--vectors", type=int, default=400, help="train vectors that are moved")
    parser.add_argument("--far", type=float, default=2.0, help="how far the target's score moves, in its spread")
    parser.add_argument("--all", action="store_true", help="all labels, by a linear model of the judge's scores")
    parser.add_argument("--target", action="append", help=f"labels; by default {', '.join(TARGETS)}")
    given = parser.parse_args()
    store, targets = lsampler.open_store(given.store), given.target or TARGETS
    other = load_safetensors_autoencoder(given.judge)
    judge = Judge(lsampler.load_bundle().autoencoder, other, lsampler.open_store(given.judge_store))
    names = list(judge.probes)
    held_out, codes = labelled_rows(judge.store, "held-out")
    areas = {name: judge.probes[name].auc(held_out, codes[:, names.index(name)]) for name in targets}
    print("AUC of the judge's probes on its held-out vectors:", {name: round(a or 0, 3) for name, a in areas.items()})
    if given.all:
        print("| direction |", " | ".join(TARGETS), "| mean of all labels | below half of the first |")
        for line in every_label(judge, store):
            print(line)
        return
    chosen = np.random.default_rng(0).choice(store.count("train"), given.vectors, replace=False)
    latents = store.latents()[np.sort(chosen)].astype(np.float64)
    whitening = store.statistics().whitening()
    white = whitening.axes.T / whitening.variances
    print(
        f"\n{given.vectors} vectors, the target's score moved by {given.far:g}: others / target; distance; recognised\n"
    )
    print("| direction |", " | ".join(targets), "|\n|---|" + "---|" * len(targets))
    for name, found in directions(store):
        cells = [measure(judge, latents, found[names.index(t)], names.index(t), given.far, white) for t in targets]
        print(f"| {name} |", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
