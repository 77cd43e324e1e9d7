"""log-likelihood: how probable a strategy's own density makes held-out real vectors."""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score

ROUNDING = 9  # decimals, so that the normal itself gains 0 and not 1e-14
GROUP = "likelihood of held-out vectors"
LOG_LIKELIHOOD = Metric(
    "held-out-log-likelihood",
    group=GROUP,
    label="log density\nnats",
    better="higher",
    about="Mean log density of held-out real vectors, whitened, in nats per vector: higher is better. It sees vectors "
    "that the strategy cannot draw, and hardly sees those that it draws in vain: one bad sample in two costs 0.7.",
)
GAIN = Metric(
    "log-likelihood-gain",
    group=GROUP,
    label="gain on\na normal",
    better="higher",
    about="What this density gains on one multivariate normal, in nats per held-out vector: above 0 is better. "
    "It sees no more than the mean log density does.",
)


class LogLikelihood(Evaluator):
    """Mean logarithm of a strategy's density at held-out real vectors, and what it gains on one normal.

    - held-out-log-likelihood: nats per vector, in coordinates whitened by the reference's principal
      components, log p(z) + sum_k log(lambda_k) / 2, so that the unit of the latent space does not
      matter. Higher is better; there is no upper bound;
    - log-likelihood-gain: the same minus that of the multivariate normal of the reference, vector
      by vector, which makes its interval narrow. Above 0 is better than one normal.

    Samples of strategies without a density, and real vectors, have neither score.
    """

    name = "log-likelihood"
    by_default = False

    rows: int = Field(
        default=2000, ge=2, le=1_000_000, description="at most so many held-out vectors are used, chosen at random"
    )

    _held_out: NDArray[np.float32] = PrivateAttr()
    _normal: NDArray[np.float64] = PrivateAttr()
    _log_volume: float = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """Choose the held-out vectors; their density under one normal."""
        held_out = real.held_out
        if len(held_out) < 2:
            raise LsamplerError(
                f"{len(held_out)} held-out vector, an interval needs 2; encode again, and hold out more"
            )
        statistics = real.reference.statistics()
        if statistics.pca.rank < statistics.varying:
            raise LsamplerError(
                f"the vectors of {real.reference.name} vary in {statistics.pca.rank} directions, which is fewer than "
                f"their {statistics.varying} components: they have no density; encode more items, or read other scores"
            )
        whitening = statistics.whitening(statistics.varying)
        if len(held_out) > self.rows:
            chosen = np.random.default_rng(real.seed).choice(len(held_out), self.rows, replace=False)
            held_out = held_out[np.sort(chosen)]
        squares = np.square(whitening.forward(held_out))
        super().prepare(real)
        self._held_out = held_out
        self._normal = -0.5 * (squares.sum(axis=1) + statistics.varying * math.log(2 * math.pi))
        self._log_volume = whitening.log_det

    def score(self, samples: Samples) -> list[Score]:
        if samples.log_prob is None:
            return []
        found, m = np.asarray(samples.log_prob(self._held_out), dtype=np.float64), len(self._held_out)
        zero = int(np.isneginf(found).sum())
        if zero:
            raise LsamplerError(f"gives {zero} of {m} held-out vectors density 0: their mean log density is -infinite")
        if found.shape != (m,) or not np.isfinite(found).all():
            raise LsamplerError(f"its density of {m} held-out vectors is NaN, infinite or of a wrong shape")
        found = found + self._log_volume
        gain, seed = np.round(found - self._normal, ROUNDING) + 0.0, self._real.seed
        return [
            bootstrap_score(LOG_LIKELIHOOD, lambda i: float(found[i].mean()), m, seed=seed),
            bootstrap_score(GAIN, lambda i: float(gain[i].mean()), m, seed=seed),
        ]


lsampler_evaluators = offers(LogLikelihood)
