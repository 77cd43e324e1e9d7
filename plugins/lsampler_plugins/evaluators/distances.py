"""latent-distances: distances between the distribution of the samples and that of the real vectors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lsampler import LsamplerError
from lsampler.compute import frechet_distance, moments_of, one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score

Rows = NDArray[np.float64]
Indices = NDArray[np.int64]
MOST_COMPONENTS = 2048
FEW = "It grows for few samples: compare sets of one size."


def _metric(name: str, label: str, about: str, better: Literal["lower", "real"] = "lower") -> Metric:
    return Metric(name, group="distance of the distributions", label=label, better=better, about=about)


FRECHET = _metric(
    "frechet",
    "Frechet\ndistance",
    f"Difference of means and covariances in one number, 0 or above. It sees no other shape. {FEW}",
)
CORRELATION_ERROR = _metric(
    "correlation-error",
    "error of\ncorrelations",
    f"How far linear correlations of two components are off, 0 to 2. It sees nothing else. {FEW}",
)
SLICED = _metric(
    "sliced-wasserstein",
    "sliced\nWasserstein",
    "How far samples would have to be moved, in sigma, seen along random directions; 0 or above. It hardly sees what "
    f"happens in few directions only. {FEW}",
)
KS = _metric(
    "ks",
    "KS of\ncomponents",
    "Largest difference of the shares below a value, 0 to 1, averaged over the components. It does not see how "
    "components depend on each other.",
)
RADIUS_DISTANCE = _metric(
    "radius-distance",
    "distance\nof radii",
    "Distance of the Mahalanobis radii, 0 or above, in median real radii. It sees no directions.",
)
RADIUS_RATIO = _metric(
    "radius-ratio",
    "ratio\nof radii",
    "Median distance from the centre over that of real vectors: 1 is perfect, below 1 is shrunk. It sees no "
    "directions.",
    "real",
)


class LatentDistances(Evaluator):
    """Distances of the distributions: moments, projections, single components, correlations, radii.

    - frechet: squared, between the moments of samples and reference; latent units squared (Dowson and
      Landau 1982);
    - sliced-wasserstein: 1-Wasserstein distance of projections on random directions, in sigma of
      the reference's projection, averaged (Rabin et al. 2011);
    - ks: two-sample Kolmogorov-Smirnov distance of a component, averaged;
    - correlation-error: root mean square difference of the Pearson correlations to the reference's;
    - radius-distance: 1-Wasserstein distance of the Mahalanobis radii, in median real radii;
    - radius-ratio: median |z - mu| of the samples over that of real vectors; 1 is perfect.

    All but the last are 0 or above, and lower is better. Samples are compared with random train
    vectors; a bundle, which has none, gives frechet and correlation-error only. The intervals are
    those of the samples.

    Of vectors of more than 2,048 components, frechet and radius-distance are those along the leading principal axes,
    one for every ten train vectors; ks is that of 2,048 random components; and there is no correlation-error.
    """

    name = "latent-distances"
    by_default = False
    compares_with_train = True

    directions: int = Field(default=128, ge=1, le=5000, description="random directions of the sliced distance")
    resamples: int = Field(default=50, ge=2, le=1000, description="of the bootstrap")

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        real.reference.statistics().require_spread()

    def score(self, samples: Samples) -> list[Score]:
        known = self._real.reference.has_latents
        rows = (self._real.rows_of(samples) if known else samples.latents[: self._real.rows]).astype(np.float64)
        if len(rows) < 2:
            raise LsamplerError("a single vector has no covariance; draw more, or encode more items")
        with one_thread():  # many small products: more threads would wait for each other
            scores = self._moments(rows)
            return [*scores, *self._projections(rows), *self._radii(rows)] if known else scores

    def _moments(self, rows: Rows) -> list[Score]:
        statistics = self._real.reference.statistics()
        if statistics.dimension > MOST_COMPONENTS:
            return [self._score(FRECHET, self._principal_frechet(rows), rows)]

        def frechet(i: Indices) -> float:
            return frechet_distance(statistics.mean, statistics.covariance, *moments_of(rows[i]))

        scores = [self._score(FRECHET, frechet, rows)]
        varying = np.flatnonzero(statistics.std)
        pairs = np.ix_(varying, varying)
        if len(varying) > 1:
            expected = _correlations(statistics.mean, statistics.covariance)[pairs]

            def error(i: Indices) -> float:
                errors = (_correlations(*moments_of(rows[i]))[pairs] - expected)[np.triu_indices(len(varying), 1)]
                return float(np.sqrt(np.mean(np.square(errors))))

            scores.append(self._score(CORRELATION_ERROR, error, rows))
        return scores

    def _principal_frechet(self, rows: Rows) -> Callable[[Indices], float]:
        """The distance along the leading principal axes, where the covariance of all components would be too large."""
        statistics = self._real.reference.statistics()
        q = statistics.judged
        along, variances = statistics.pca.transform(rows, q), np.diag(statistics.pca.variances[:q])
        return lambda i: frechet_distance(np.zeros(q), variances, *moments_of(along[i]))

    def _projections(self, rows: Rows) -> list[Score]:
        train = self._real.train.astype(np.float64)
        directions = np.random.default_rng(self._real.seed).normal(size=(self.directions, rows.shape[1]))
        directions /= self._real.reference.statistics().spread_along(directions)[:, np.newaxis]
        projected, expected = directions @ rows.T, np.sort(directions @ train.T, axis=1)

        def sliced(i: Indices) -> float:
            return float(wasserstein(np.sort(projected[:, i], axis=1), expected).mean())

        return [self._score(SLICED, sliced, rows), self._score(KS, _Steps(*self._some(rows, train)).distance, rows)]

    def _some(self, *both: Rows) -> list[Rows]:
        """The same components of both, at most :data:`MOST_COMPONENTS`, chosen at random."""
        dimension = both[0].shape[1]
        if dimension <= MOST_COMPONENTS:
            return list(both)
        chosen = np.random.default_rng(self._real.seed).choice(dimension, MOST_COMPONENTS, replace=False)
        return [rows[:, np.sort(chosen)] for rows in both]

    def _radii(self, rows: Rows) -> list[Score]:
        statistics, train = self._real.reference.statistics(), self._real.train
        whitening = statistics.whitening(statistics.judged)
        found, expected = (np.linalg.norm(whitening.forward(half), axis=1) for half in (rows, train))
        unit, ordered = float(np.median(expected)), np.sort(expected)[np.newaxis]
        plain, real = (np.linalg.norm(half - statistics.mean, axis=1) for half in (rows, train))
        median = float(np.median(real))
        if not (unit and median):
            raise LsamplerError("most real vectors lie at their centre: there is no radius to compare with")

        def distance(i: Indices) -> float:
            return float(wasserstein(np.sort(found[i])[np.newaxis], ordered)[0]) / unit

        def ratio(i: Indices) -> float:
            return float(np.median(plain[i])) / median

        return [self._score(RADIUS_DISTANCE, distance, rows), self._score(RADIUS_RATIO, ratio, rows)]

    def _score(self, metric: Metric, statistic: Callable[[Indices], float], rows: Rows) -> Score:
        score = bootstrap_score(metric, statistic, len(rows), resamples=self.resamples, seed=self._real.seed)
        return replace(score, low=max(score.low, 0.0))


class _Steps:
    """The two empirical distribution functions of every component, ready for resampled rows."""

    def __init__(self, rows: Rows, train: Rows) -> None:
        self._n, together = len(rows), np.concatenate([rows, train]).T
        self._order = np.argsort(together, axis=1)
        ordered = np.take_along_axis(together, self._order, axis=1)
        # Within equal values the functions are compared after the last one only.
        self._last = np.concatenate([ordered[:, 1:] > ordered[:, :-1], np.ones((len(ordered), 1), bool)], axis=1)
        self._weights = np.concatenate([np.empty(len(rows)), np.full(len(train), -1 / len(train))])

    def distance(self, i: Indices) -> float:
        self._weights[: self._n] = np.bincount(i, minlength=self._n) / self._n
        difference = np.abs(np.cumsum(self._weights[self._order], axis=1))
        return float(np.where(self._last, difference, 0.0).max(axis=1).mean())


def wasserstein(first: Rows, second: Rows) -> Rows:
    """1-Wasserstein distance of ascending values (k, n) and (k, m), row by row: (k,).

    The integral of |F^-1(u) - G^-1(u)| over u from 0 to 1; both are constant between multiples of 1/n and 1/m.
    """
    n, m = first.shape[1], second.shape[1]
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    left, widths = edges[:-1], np.diff(edges) / (n * m)
    distance: Rows = np.abs(first[:, left // m] - second[:, left // n]) @ widths
    return distance


def _correlations(mean: Rows, covariance: Rows) -> Rows:
    """Pearson correlations; those of a component that is constant but for rounding are 0."""
    sigma = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 1e-7 * np.abs(mean))
    matrix: Rows = covariance * np.outer(inverse, inverse)
    return matrix


lsampler_evaluators = offers(LatentDistances)
