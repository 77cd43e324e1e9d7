"""Draws under conditions on CelebA's labels, judged by probes on another encoder's latent vectors of decoded images.

``python -m benchmarks.conditions --store latents.h5 --judge model.safetensors --judge-store judge.h5`` prints the table
of docs/conditions.md. Both stores hold the latent vectors of the same images with their labels, the first from the
encoder of the bundle ``celeba96``. The judge's probes learn from its own train vectors. They read the labels of
held-out images with a property, of the same images reconstructed by the bundle, and of decoded draws. A classifier
between draws and held-out vectors with the property has an AUC beside that of a strategy without condition, between
its draws and as many held-out vectors of all kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from lsampler import evaluate, load_autoencoder, load_bundle, load_sampler, open_store
from lsampler.models import Autoencoder, item_of
from lsampler.plugins import load_evaluator
from lsampler.scoring import Probe, Samples, fit_probes, labelled_rows
from lsampler.store import LatentStore, MemoryStore

Rows = NDArray[np.float32]
Where = Mapping[str, int]
COMMON: tuple[Where, ...] = (
    {"Smiling": 1},
    {"Male": 1},
    {"Eyeglasses": 1},
    {"Blond_Hair": 1},
    {"Young": 0},
    {"Smiling": 1, "Eyeglasses": 1},
    {"Male": 1, "Smiling": 1},
    {"Blond_Hair": 1, "Male": 0, "Smiling": 1},
)
RARE: tuple[Where, ...] = ({"Bald": 1}, {"Wearing_Hat": 1}, {"Mustache": 1, "Male": 0})
HEADS = (
    "condition | held-out images with it: number | probes' rate | reconstructed | all draws | by default | "
    "shift | shift, `independent` | other labels moved, `observed` | `independent` | AUC by default | "
    "shift | without condition"
)
OTHERS: tuple[Literal["observed", "independent"], ...] = ("observed", "independent")
DRAWS, BATCH, FEWEST = 1000, 250, 50


@dataclass(frozen=True)
class Judge:
    """Another encoder with its probes.

    Attributes:
        model: the encoder.
        decoder: of the latent vectors that are judged.
        probes: by the names of labels.
    """

    model: Autoencoder
    decoder: Autoencoder
    probes: Mapping[str, Probe]

    def sees(self, latents: Rows) -> Rows:
        """What the probes read off decoded latent vectors (n, D): codes (n, L)."""
        size, found = item_of(self.model).shape[1:], []
        with torch.no_grad():
            for part in torch.split(torch.from_numpy(latents), BATCH):
                images = torch.nn.functional.interpolate(
                    self.decoder.decode(part), size, mode="bilinear", antialias=True
                )
                found.append(self.model.encode(images.clamp(0, 1)))
        return self.read(torch.cat(found).numpy())

    def read(self, own: Rows) -> Rows:
        """What the probes read off the judge's own latent vectors."""
        return np.column_stack([probe.read(own) for probe in self.probes.values()]).astype(np.float32)

    def have(self, where: Where, read: Rows) -> NDArray[np.bool_]:
        """Which rows of codes (n, L) have all wanted values."""
        found: NDArray[np.bool_] = (read[:, self.places(where)] == list(where.values())).all(axis=1)
        return found

    def places(self, where: Where) -> list[int]:
        """The numbers of labels."""
        return [list(self.probes).index(name) for name in where]


def rate(found: NDArray[np.bool_]) -> str:
    """A share with its 95 % Wilson interval; empty where there is nothing to find."""
    if not len(found):
        return ""
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(method="wilson")
    return f"{found.mean():.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def auc(drawn: Rows, store: LatentStore, held_out: Rows) -> str:
    """Of the classifier between draws and as many held-out vectors."""
    if len(held_out) < FEWEST:
        return ""
    classifier = load_evaluator("two-sample-classifier", check_split=False)
    result = evaluate([Samples("draws", drawn[: len(held_out)])], MemoryStore(store.latents(), held_out), classifier)
    [row] = [row for row in result.rows if row.name == "draws"]
    return f"{row.by_metric['classifier-auc'].value:.2f}"


def lines(store: LatentStore, seen: LatentStore, judge: Judge, strategy: str) -> Iterator[str]:
    """The lines of the table."""
    images, codes = labelled_rows(seen, "held-out")
    latents, own_codes = labelled_rows(store, "held-out")
    if not np.array_equal(codes, own_codes):
        raise SystemExit("the two stores hold different images; encode the same ones")
    sampler = load_sampler(strategy).fit(store, labels=True)
    free = sampler.sample(DRAWS, seed=0).numpy()
    real, rebuilt, usual = judge.read(images), judge.sees(latents), judge.sees(free)
    order = np.random.default_rng(0).permutation(len(latents))
    yield f"| {HEADS} |"
    yield "|---" * (HEADS.count("|") + 1) + "|"
    for where in (*COMMON, *RARE):
        has = judge.have(where, codes)
        plain = load_sampler(strategy).fit(store, where=where)
        drawn = [
            plain.sample(DRAWS, seed=0).numpy(),
            *(sampler.sample(DRAWS, seed=0, where=where, others=others).numpy() for others in OTHERS),
        ]
        found = [judge.sees(rows) for rows in drawn]
        moved = [np.delete(np.abs((each - usual).mean(axis=0)), judge.places(where)).mean() for each in found[1:]]
        cells = [", ".join(f"{name}={value}" for name, value in where.items()), f"{has.sum()}"]
        cells += [rate(judge.have(where, each[has])) for each in (real, rebuilt)]
        cells += [rate(judge.have(where, usual)), *(rate(judge.have(where, each)) for each in found)]
        cells[5] += " (subset)" if "(subset)" in plain.note() else " (shift)"
        cells += [f"{each:.3f}" for each in moved]
        cells += [auc(rows, store, latents[has]) for rows in drawn[:2]]
        cells.append(auc(free, store, latents[order[: has.sum()]]))
        yield f"| {' | '.join(cells)} |"
    yield f"\nWithout condition, {DRAWS:,} draws and all held-out vectors: AUC {auc(free, store, latents)}."


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="latent vectors of celeba96 with labels")
    parser.add_argument("--judge", type=Path, required=True, help="another autoencoder of the same images")
    parser.add_argument("--judge-store", type=Path, required=True, help="its latent vectors of the same images")
    parser.add_argument("--plugin", default="gaussian-mixture", help="the strategy")
    given = parser.parse_args()
    seen = open_store(given.judge_store)
    judge = Judge(load_autoencoder(given.judge), load_bundle("celeba96").autoencoder, fit_probes(seen))
    for line in lines(open_store(given.store), seen, judge, given.plugin):
        print(line, flush=True)


if __name__ == "__main__":
    main()
