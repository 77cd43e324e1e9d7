"""novelty: whether samples are copies of train vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import nearest_neighbours
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score, share_score

MOST_HELD_OUT = 5000
QUANTILE = 0.01
RATIO = Metric(
    "novelty-ratio",
    group="novelty",
    label="distance\nratio",
    better="real",
    about="Distance to the nearest train vector over that of new real vectors: 1 is as new as real ones, far below 1 "
    "are copies or samples shrunk to the centre. It does not see whether what is new is any good.",
)


NEARER_TRAIN = Metric(
    "nearer-train",
    group="novelty",
    label="nearer to train\nthan to held-out",
    better="real",
    unit="share",
    about="Share of samples nearer to a train vector than to any of as many held-out vectors: copies, exact or "
    "blurred, raise it, shrinking does not. The row of other real vectors is what new samples have. It does not see "
    "whether what is new is any good.",
)


class Novelty(Evaluator):
    """How near the samples come to train vectors, beside held-out real vectors, which are truly new.

    - novelty-ratio: median distance to the nearest of all train vectors over that of held-out
      vectors, 0 or above; 1 is as new as real vectors, far below 1 are copies, or samples shrunk to
      the centre, above 1 samples far from the data;
    - near-copies: share of samples at most as far from a train vector as half the distance that
      1 % of the held-out vectors stay below, 0 to 1, lower is better;
    - nearer-train: share of samples whose nearest vector, of equally many train and held-out
      vectors, is a train vector, averaged over ``splits`` random choices of train vectors; 0 to 1,
      best as for other real vectors. It tells copying from shrinking to the centre, which lowers
      the ratio as well.

    Nearest-neighbour distances beside those of held-out data are the usual check for memorised
    data (Meehan et al. 2020, arXiv 2004.05675). The intervals are those of the samples.
    """

    name = "novelty"
    by_default = False

    splits: int = Field(default=10, ge=1, le=1000, description="random choices of train vectors for nearer-train")

    _train: NDArray[np.float32] = PrivateAttr()
    _known: NDArray[np.float64] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        held_out, self._train = real.held_out[:MOST_HELD_OUT], real.reference.latents()
        self._known = nearest_neighbours(held_out, self._train).distances[:, 0]

    def score(self, samples: Samples) -> list[Score]:
        if samples.kind == "train":
            return [self._nearer_train(samples, self._real.train)]
        known = self._real.held_out_for(samples, self._known)
        typical, limit = float(np.median(known)), float(np.quantile(known, QUANTILE)) / 2
        if typical == 0:
            raise LsamplerError("most held-out vectors are copies of train vectors; remove repeated items")
        found = nearest_neighbours(self._real.rows_of(samples), self._train).distances[:, 0]

        def ratio(i: NDArray[np.int64]) -> float:
            return float(np.median(found[i])) / typical

        copies = Metric(
            "near-copies",
            group="novelty",
            label="near\ncopies",
            better="lower",
            about=f"Share of samples within {limit:.3g} of a train vector, nearer than nearly all new real vectors "
            "come: 0 to 1, lower is better. It does not see copies that lie further apart as latent vectors.",
        )
        return [
            bootstrap_score(RATIO, ratio, len(found)),
            share_score(copies, int(np.sum(found <= limit)), len(found)),
            *([self._nearer_train(samples, self._train)] if samples.kind == "drawn" else []),
        ]

    def _nearer_train(self, samples: Samples, train: NDArray[np.float32]) -> Score:
        """Of samples, against train vectors that they are not among themselves."""
        rows, rng = self._real.rows_of(samples), np.random.default_rng(self._real.seed)
        held_out = self._real.held_out[:MOST_HELD_OUT]
        held_out = held_out[rng.permutation(len(held_out))[: len(train)]]
        distance = nearest_neighbours(rows, held_out).distances[:, 0]
        nearer = np.zeros(len(rows))
        for _ in range(self.splits):
            chosen = train[rng.choice(len(train), len(held_out), replace=False)]
            found = nearest_neighbours(rows, chosen).distances[:, 0]
            nearer += ((found < distance) + 0.5 * (found == distance)) / self.splits
        return bootstrap_score(NEARER_TRAIN, lambda i: float(nearer[i].mean()), len(rows), seed=self._real.seed)


lsampler_evaluators = offers(Novelty)
