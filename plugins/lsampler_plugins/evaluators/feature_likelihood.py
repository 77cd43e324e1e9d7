"""feature-likelihood: how probable a mixture of normals around the samples makes held-out real vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, normal_score

FEWEST = 10
NARROWEST = 1e-4
"""The least variance of a component, in whitened units: copies of train vectors would have none."""
ROUNDS, GAIN = 100, 0.005
"""The fit ends after so many rounds, or when one gains less, in units of the score."""
BLOCK = 256
GROUP = "likelihood of real vectors around the samples"
DIVERGENCE = Metric(
    "feature-likelihood-divergence",
    group=GROUP,
    label="divergence",
    better="real",
    about="How improbable held-out vectors are under normals around the samples, over one normal of the data, in "
    "hundredths of a nat for each dimension: far above real vectors is worse. Samples shrunk to the centre may lie "
    "below them, so it does not see lost diversity where the data are nearly normal.",
)
GAP = Metric(
    "feature-likelihood-gap",
    group=GROUP,
    label="held-out\nover train",
    better="real",
    about="By how much the same normals make held-out vectors less probable than the train vectors that they were "
    "fitted to, in the same unit: far above real vectors, the samples are copies of train vectors. It does not see "
    "whether samples that are no copies are any good.",
)

Rows = NDArray[np.float64]
Distances = NDArray[np.float32]


class FeatureLikelihood(Evaluator):
    """Feature likelihood divergence: the likelihood of real vectors under a mixture of normals around the samples.

    Jiralerspong et al. 2023 (arXiv 2302.04440) judge samples without a density by the mixture
    p(x) = (1 / m) sum_j N(x; z_j, v_j I) with one component around each of the m samples. The variances v_j maximise
    the likelihood of *train* vectors; expectation maximisation starts with the squared distance to the nearest of
    them over D, and no variance is below 1e-4. Vectors are whitened by the moments of the train vectors, and D is the
    number of dimensions in which these vary.

    - feature-likelihood-divergence: -(100 / D) times the mean of log p(x) - log N(x; 0, I) over held-out vectors. The
      paper leaves the constant of a data set open; here one normal of the data has 0. A missing mode and bad samples
      raise it, and so do copies: their components become narrow;
    - feature-likelihood-gap: (100 / D) times the mean log p of the train vectors less that of the held-out ones. The
      paper takes the other sign. Copies of train vectors have a large gap.

    Both are compared with the row of other real vectors, which are no train vectors of their own fit. Lower is better
    in the paper, whose features form clusters. A mixture around samples shrunk to the centre of *normal* data is one
    wide normal, which is the right density: there a divergence below that of real vectors is a flaw, not a merit.
    The paper's base likelihood, which takes outliers out of the fit, is left out. Intervals are those of the real
    vectors; the samples and the fitted variances are taken as they are.
    """

    name = "feature-likelihood"
    by_default = False
    compares_with_train = True

    rows: int = Field(
        default=10_000,
        ge=FEWEST,
        le=50_000,
        description="at most so many train vectors, of which all distances are held",
    )

    _train: Rows = PrivateAttr()
    _train_without_other: Rows = PrivateAttr()
    _held_out: Rows = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """Choose the train vectors to fit to, and as many for the row of other real vectors, without these."""
        super().prepare(real)
        train, other = real.reference.latents(), {row.tobytes() for row in real.other}
        train = train[np.random.default_rng(real.seed).permutation(len(train))]
        without = np.array([row.tobytes() not in other for row in train])
        count = min(self.rows, int(without.sum()))
        if count < FEWEST:
            raise LsamplerError(
                f"{count} train vectors beside other real ones; variances are fitted to {FEWEST} or more, encode more"
            )
        self._train, self._train_without_other = self._whitened(train[:count]), self._whitened(train[without][:count])
        self._held_out = self._whitened(real.held_out)

    def score(self, samples: Samples) -> list[Score]:
        drawn = self._whitened(self._real.rows_of(samples))
        train = self._train_without_other if samples.kind == "train" else self._train
        held_out = self._real.held_out_for(samples, self._held_out)
        if len(held_out) < 2:
            raise LsamplerError("1 held-out vector, an interval needs 2; encode again, and hold out more")
        with one_thread():  # so that the last digits do not depend on the number of threads
            variances, known = fitted_variances(drawn, train)
            new = log_likelihood(drawn, variances, held_out)
        unit = 100 / drawn.shape[1]
        normal = -0.5 * (np.square(held_out).sum(axis=1) + drawn.shape[1] * np.log(2 * np.pi))
        divergence, error = float((normal - new).mean()), _error(normal - new)
        gap, gap_error = float(known.mean() - new.mean()), float(np.hypot(_error(known), _error(new)))
        return [
            normal_score(DIVERGENCE, unit * divergence, unit * error, len(held_out)),
            normal_score(GAP, unit * gap, unit * gap_error, len(held_out)),
        ]

    def _whitened(self, rows: NDArray[np.float32]) -> Rows:
        statistics = self._real.reference.statistics()
        return statistics.whitening(statistics.judged).forward(rows)


def _error(values: Rows) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def fitted_variances(centres: Rows, train: Rows) -> tuple[Rows, Rows]:
    """The variances (m,) of the components around the centres (m, D), fitted to train vectors (n, D), and log p (n,).

    It is the maximum next to the smallest variances, which copies of train vectors need. All distances are held in
    single precision, 4 m n bytes, and everything else in blocks.
    """
    dimension, squares = centres.shape[1], _squares(centres, train)
    variances = np.maximum(squares.min(axis=0).astype(np.float64), NARROWEST)
    found, before = np.zeros(len(train)), -np.inf
    for _ in range(ROUNDS):
        weights, moments = np.zeros((2, len(centres)))
        for start in range(0, len(train), BLOCK):
            block = squares[start : start + BLOCK]
            shares, found[start : start + BLOCK] = _shares(block, variances, dimension)
            weights += shares.sum(axis=0, dtype=np.float64)
            shares *= block
            moments += shares.sum(axis=0, dtype=np.float64)
        if found.mean() - before < GAIN * dimension / 100:
            break
        before = found.mean()
        # A component that no vector belongs to keeps its variance.
        better = np.divide(moments, weights, out=variances.copy(), where=weights > 0)
        variances = np.maximum(better, NARROWEST)
    return variances, found


def log_likelihood(centres: Rows, variances: Rows, rows: Rows) -> Rows:
    """Log p (n,) of rows (n, D), in nats."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = _squares(centres, rows[start : start + BLOCK])
        found[start : start + BLOCK] = _shares(block, variances, centres.shape[1])[1]
    return found


def _squares(centres: Rows, rows: Rows) -> Distances:
    """Squared distances (n, m) over D."""
    found = np.empty((len(rows), len(centres)), dtype=np.float32)
    lengths = np.square(centres).sum(axis=1)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        product = np.square(block).sum(axis=1)[:, np.newaxis] + lengths - 2 * block @ centres.T
        found[start : start + BLOCK] = np.maximum(product, 0.0) / centres.shape[1]
    return found


def _shares(squares: Distances, variances: Rows, dimension: int) -> tuple[Distances, Rows]:
    """Which share each component (n, m) has in each row's density, and the logarithms of the densities (n,)."""
    slope = (-0.5 * dimension / variances).astype(np.float32)
    offset = (-0.5 * dimension * np.log(variances)).astype(np.float32)
    shares = squares * slope
    shares += offset
    highest = shares.max(axis=1, keepdims=True)
    shares -= highest
    np.exp(shares, out=shares)
    sums = shares.sum(axis=1, dtype=np.float64)
    shares /= sums[:, np.newaxis].astype(np.float32)
    constant = -np.log(len(variances)) - 0.5 * dimension * np.log(2 * np.pi)
    return shares, highest[:, 0].astype(np.float64) + np.log(sums) + constant


lsampler_evaluators = offers(FeatureLikelihood)
