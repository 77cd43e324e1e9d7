"""novelty: whether samples are copies of train vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from lsampler import (
    Evaluator,
    LsamplerError,
    Metric,
    RealData,
    Samples,
    Score,
    bootstrap_score,
    nearest_neighbours,
    offers,
    share_score,
)

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


class Novelty(Evaluator):
    """How near the samples come to train vectors, beside held-out real vectors, which are truly new.

    - novelty-ratio: median distance to the nearest of all train vectors over that of held-out
      vectors, 0 or above; 1 is as new as real vectors, far below 1 are copies, or samples shrunk to
      the centre, above 1 samples far from the data;
    - near-copies: share of samples at most as far from a train vector as half the distance that
      1 % of the held-out vectors stay below, 0 to 1, lower is better.

    Nearest-neighbour distances beside those of held-out data are the usual check for memorised
    data (Meehan et al. 2020, arXiv 2004.05675). The intervals are those of the samples.
    """

    name = "novelty"
    by_default = False

    _train: NDArray[np.float32] = PrivateAttr()
    _known: NDArray[np.float64] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        held_out, self._train = real.held_out[:MOST_HELD_OUT], real.reference.latents()
        self._known = nearest_neighbours(held_out, self._train).distances[:, 0]

    def score(self, samples: Samples) -> list[Score]:
        if samples.kind == "train":
            raise LsamplerError("these are train vectors themselves")
        known = self._real.held_out_for(samples, self._known)
        typical, limit = float(np.median(known)), float(np.quantile(known, QUANTILE)) / 2
        if typical == 0:
            raise LsamplerError("most held-out vectors are copies of train vectors; remove repeated images")
        found = nearest_neighbours(self._real.rows_of(samples), self._train).distances[:, 0]

        def ratio(i: NDArray[np.int64]) -> float:
            return float(np.median(found[i])) / typical

        copies = Metric(
            "near-copies",
            group="novelty",
            label="near\ncopies",
            better="lower",
            about=f"Share of samples within {limit:.3g} of a train vector, nearer than nearly all new real vectors "
            "come: 0 to 1, lower is better. It does not see copies of images that lie further apart as latent vectors.",
        )
        return [
            bootstrap_score(RATIO, ratio, len(found)),
            share_score(copies, int(np.sum(found <= limit)), len(found)),
        ]


lsampler_evaluators = offers(Novelty)
