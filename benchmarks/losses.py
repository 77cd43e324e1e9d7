"""Trained models beside each other: how sharp their images are, and what that costs.

    python -m benchmarks.losses --images img_align_celeba.zip --runs runs/mse-0 runs/l1-0 [--out runs/losses]

Each folder is one of ``lsampler train``. Its model encodes the images, a strategy is fitted to the latents, and its
samples are scored by lsampler's own evaluators, beside held-out vectors. Printed is a table with a row for every model:

- the squared error of the held-out images;
- the variance of the Laplacian (the measure of the evaluator ``sharpness``), median over decoded held-out images, and
  over decoded samples, each over that of the same held-out images themselves: 1 is as sharp as the photographs. The
  evaluator's own score divides by decoded images, so it cannot compare decoders;
- the share of images with a face, the cycle distance, and the strong AUC, with intervals of 95 %; beside them those of
  held-out vectors, for the AUC those of train vectors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler import evaluate, load_autoencoder, load_sampler, open_store
from lsampler.data import open_images
from lsampler.models import encode_to_store
from lsampler.scoring import Row, Samples, Subject
from lsampler.store import LatentStore
from lsampler_plugins.evaluators.sharpness import laplacian_variances

EVALUATORS = ("faces", "cycle-consistency", "strong-classifier")
STRATEGY = "gaussian-mixture"
SAMPLES = 1000
SCORES = {"faces": "faces", "cycle-distance": "cycle", "strong-auc": "strong AUC"}
"""Columns of the table, of samples and of held-out vectors."""
HEADS = (
    "model",
    "loss",
    "epochs",
    "held-out MSE",
    "sharpness of held-out images",
    "sharpness of samples",
    *(f"{name}, {of}" for name in SCORES.values() for of in ("samples", "real")),
)


@dataclass(frozen=True)
class Sharp:
    """Held-out images and what the model makes of them: the squared error, and sharpness over the images'."""

    error: float
    reconstructed: float
    drawn: float


def measured(run: Path, images: Path, out: Path, settings: argparse.Namespace) -> str:
    """The line of the table for one trained model."""
    autoencoder: Any = load_autoencoder(str(run / "model.safetensors"))
    autoencoder.to(settings.device)
    source, path = open_images(images), out / f"{run.name}.h5"
    if not path.exists():
        encode_to_store(autoencoder, source, path)
    store = open_store(path)
    subject = Subject.of(store, autoencoder)
    sampler = load_sampler(settings.plugin).fit(store)
    drawn = Samples.drawn_by(sampler, settings.n, seed=settings.seed, decode=subject.decode, encode=subject.encode)
    sharp = sharpness(autoencoder, store, source, drawn)
    table = evaluate([drawn], subject, settings.evaluator or EVALUATORS, seed=settings.seed)
    real = {row.kind: row for row in table.rows}
    record = autoencoder.training_record
    cells = [run.name, record.get("loss", "mse"), record["epochs_done"], f"{sharp.error:.5f}"]
    cells += [f"{sharp.reconstructed:.3f}", f"{sharp.drawn:.3f}"]
    for metric in SCORES:
        # Real vectors have no strong AUC of their own: train vectors are judged against each other.
        yardstick = real.get("train") if metric == "strong-auc" else real.get("held-out")
        cells += [score_of(real["drawn"], metric), score_of(yardstick, metric)]
    return f"| {' | '.join(map(str, cells))} |"


def score_of(row: Row | None, metric: str) -> str:
    """A score of a row with its interval; a dash where there is none."""
    for score in row.scores if row else ():
        if score.metric == metric:
            return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
    return "-"


def sharpness(autoencoder: Any, store: LatentStore, source: Any, drawn: Samples) -> Sharp:
    """Of all held-out images and of as many samples as there are."""
    ids = [name for name, part in zip(store.ids(), store.splits(), strict=True) if part == "held-out"]
    originals = np.concatenate(list(pixels(autoencoder, source, ids)))
    decoded = Samples("held out", store.held_out(), decode=Subject.of(store, autoencoder).decode).images
    error = ((originals.astype(np.float64) - decoded) ** 2).mean() / 255**2
    real, again, new = (float(np.median(laplacian_variances(each))) for each in (originals, decoded, drawn.images))
    return Sharp(float(error), again / real, new / real)


def pixels(autoencoder: Any, source: Any, ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Images (1, H, W, C) uint8 of these names, prepared as for the autoencoder."""
    places = {name: place for place, name in enumerate(source.ids)}
    for name in ids:
        image = autoencoder.preprocess(source.read(places[name]))
        yield np.rint(image.transpose(1, 2, 0)[None] * 255).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="that the models were trained on")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of lsampler train")
    parser.add_argument("--out", type=Path, default=Path("runs/losses"), help="where the latents are kept")
    parser.add_argument("--plugin", default=STRATEGY, help="the strategy")
    parser.add_argument("--evaluator", action="append", help=f"default: {', '.join(EVALUATORS)}")
    parser.add_argument("-n", type=int, default=SAMPLES, help="how many samples")
    parser.add_argument("--seed", type=int, default=1, help="of the samples")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}", flush=True)
    for run in given.runs:
        print(measured(run, given.images, given.out, given), flush=True)


if __name__ == "__main__":
    main()
