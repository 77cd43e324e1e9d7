"""likelihood-ratio: whether a second density tells a strategy's samples from held-out real vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score
from lsampler_plugins.evaluators.roc_area import RocArea

FEWEST = 20


class LikelihoodRatio(Evaluator):
    """Area under the ROC curve of the ratio of two densities: a rival's and the strategy's own.

    By the lemma of Neyman and Pearson no test between a strategy and the real distribution is more powerful than the
    ratio of their densities. The real one is unknown; here a second strategy with a high likelihood, fitted to the
    same train vectors, stands in for it. The score compares log p_rival(z) - log p_own(z) at held-out vectors with
    its values at the strategy's own samples: 0.5 is guessing, 1 is no mistake, lower is better. Nothing is trained on
    the samples, so it sees in one pass what a classifier would need many vectors to learn.

    Only strategies with a density that is above 0 at all held-out vectors have it, and not the rival itself. A value
    near 0.5 says only that this rival knows no better. The interval is that of the judged vectors.
    """

    name = "likelihood-ratio"
    by_default = False
    takes_minutes = True

    rival: str = Field(default="flow", description="the strategy whose density stands in for the real one")
    rows: int = Field(default=2000, ge=FEWEST, le=1_000_000, description="at most so many vectors of each kind")

    _rival: LatentSampler = PrivateAttr()
    _held_out: NDArray[np.float32] = PrivateAttr()
    _real_density: NDArray[np.float64] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """Fit the rival, and its density at held-out vectors."""
        super().prepare(real)
        held_out = real.held_out
        if len(held_out) < FEWEST:
            raise LsamplerError(f"{len(held_out)} held-out vectors; the ratio is compared at {FEWEST} or more")
        chosen = np.random.default_rng(real.seed).permutation(len(held_out))[: self.rows]
        self._held_out = held_out[chosen]
        self._rival = load_sampler(self.rival).fit(real.reference)
        self._real_density = self._rival.log_prob(self._held_out)

    def score(self, samples: Samples) -> list[Score]:
        if samples.log_prob is None:
            return []
        drawn = samples.latents[: self.rows]
        if len(drawn) < FEWEST:
            raise LsamplerError(f"{len(drawn)} samples; the ratio is compared at {FEWEST} or more")
        own_density = samples.log_prob(self._held_out)
        if np.array_equal(own_density, self._real_density):
            return []  # it is the rival itself
        real = self._real_density - own_density
        own = self._rival.log_prob(drawn) - samples.log_prob(drawn)
        if not (np.isfinite(real).all() and np.isfinite(own).all()):
            raise LsamplerError("one of the two densities is 0 at a held-out vector or a sample: there is no ratio")
        area = RocArea(-real, -own)
        metric = Metric(
            "likelihood-ratio-auc",
            group="can a classifier that sees all train vectors tell them apart",
            label=f"density ratio\n{self.rival}",
            better="lower",
            about=f"How well the density of {self.rival} over the strategy's own tells held-out real vectors from "
            "samples: 0.5 is guessing, the best, and 1 is no mistake. It sees what the rival models better, and "
            "nothing that both miss.",
        )
        return [bootstrap_score(metric, lambda i: area(i, i % len(own)), len(real), seed=self._real.seed)]


lsampler_evaluators = offers(LikelihoodRatio)
