"""cycle-consistency: whether samples survive being decoded and encoded again."""

import numpy as np
from pydantic import Field

from lsampler import LsamplerError
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, Samples, Score, bootstrap_score

DISTANCE = Metric(
    "cycle-distance",
    group="decoded items",
    label="decoded and\nencoded again",
    better="lower",
    about="How far a sample lies from where its decoded item is encoded, over its distance from the centre: 0 or "
    "above, lower is better, real vectors are the mark. It sees neither variety nor how good the model is.",
)


class CycleConsistency(Evaluator):
    """How far samples move when they are decoded and encoded again: |E(D(z)) - z| / |z - mu|, averaged.

    Where the decoder makes items like those the encoder was trained on, a vector returns to near where it was. 0 or
    above, lower is better; real vectors do not reach 0. This measure is the project's own, and nothing is claimed of
    its power.
    """

    name = "cycle-consistency"
    by_default = False

    images: int = Field(default=500, ge=1, le=10_000, description="how many of the samples are decoded")

    def score(self, samples: Samples) -> list[Score]:
        if not samples.are_decoded:
            raise LsamplerError("these items were not decoded, so there is nothing to encode again")
        some, statistics = samples.head(self.images), self._real.reference.statistics()
        moved = np.linalg.norm(some.encoded_again - some.latents.astype(np.float64), axis=1)
        radii = np.linalg.norm(some.latents - statistics.mean, axis=1)
        if radii.min() <= 1e-6 * np.linalg.norm(statistics.std):
            raise LsamplerError("a sample lies at the centre itself: no distance is relative to that")
        relative = moved / radii
        return [bootstrap_score(DISTANCE, lambda i: float(relative[i].mean()), len(relative))]


lsampler_evaluators = offers(CycleConsistency)
