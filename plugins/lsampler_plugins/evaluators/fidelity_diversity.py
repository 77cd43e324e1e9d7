"""fidelity-diversity: precision, recall, density, coverage, and the two clipped scores."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import ball_counts, mutual_ball_counts, nearest_neighbours
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score, share_score

# The radii are distances of the points themselves: nudged, none slips over its surface by a rounding error.
NUDGE = 1e-9


def _metric(
    name: str, label: str, about: str, *, better: Literal["higher", "real"] = "higher", is_share: bool = True
) -> Metric:
    unit: Literal["share", "number"] = "share" if is_share else "number"
    return Metric(name, group="fidelity and diversity", label=label, better=better, unit=unit, about=about)


RANGE = "From 0 to 1, higher is better; real vectors reach less than 1."
PRECISION = _metric(
    "precision",
    "precision",
    f"Share of samples among real vectors. {RANGE} It does not see what is left out, and is full for samples that are "
    "all alike.",
)
RECALL = _metric(
    "recall",
    "recall",
    f"Share of real vectors among samples. {RANGE} It does not see bad samples; outliers among the samples raise it.",
)
COVERAGE = _metric(
    "coverage",
    "coverage",
    f"Share of real vectors with a sample near. {RANGE} It does not see bad samples, nor samples shrunk towards the "
    "centre, where many balls overlap.",
)
DENSITY = _metric(
    "density",
    "density",
    "How densely real vectors surround a sample, on average, 0 or above; about 1 for real data, more for samples that "
    "crowd where real vectors are dense. It does not see what is left out.",
    better="real",
    is_share=False,
)
SYMMETRIC_PRECISION = _metric(
    "symmetric-precision",
    "symmetric\nprecision",
    f"The smaller of precision and the share of samples with a real vector near. {RANGE} Samples shrunk towards the "
    "centre, or too far out, cannot hide in the large balls of real outliers. It does not see what is left out.",
)
SYMMETRIC_RECALL = _metric(
    "symmetric-recall",
    "symmetric\nrecall",
    f"The smaller of recall and coverage. {RANGE} Outliers among the samples do not raise it, since their large balls "
    "lend coverage nothing. It does not see bad samples.",
)
CLIPPED_DENSITY = _metric(
    "clipped-density",
    "clipped\ndensity",
    "How real the samples are, from 0 to 1, as good as real data; a sample counts at most once however dense its "
    "surroundings, and outliers lend it nothing. It does not see what is left out.",
)
CLIPPED_COVERAGE = _metric(
    "clipped-coverage",
    "clipped\ncoverage",
    "How much of the variety of the real data the samples have, from 0 to 1, as much as real data; it falls in "
    "proportion to the bad samples among them. It does not see samples shrunk towards the centre, where many balls "
    "overlap: recall does.",
)


class FidelityDiversity(Evaluator):
    """How many samples lie among real vectors, and how many real vectors among samples.

    With B_i the open ball around real vector i, up to its k-th nearest real neighbour:

    - precision: share of samples in some B_i; recall: share of real vectors in some ball that is
      made in the same way around a sample (Kynkaanniemi et al. 2019);
    - density: the number of B_i around a sample, over k, averaged; coverage: share of the B_i that
      hold a sample (Naeem et al. 2020, arXiv 2002.09797);
    - symmetric precision: the smaller of precision and the share of samples' own balls that hold a
      real vector; symmetric recall: the smaller of recall and coverage (Khayatkhoei and AbdAlmageed
      2023, arXiv 2306.09618);
    - clipped density: no ball larger than the median, no sample counted above k, over the same of
      the real vectors among themselves; clipped coverage: samples in B_i counted up to k, then
      mapped to the share of good samples that would give as much (Salvy et al. 2025, arXiv
      2507.01761).

    Range 0 to 1, density may exceed 1. Samples are compared with as many random train vectors. The
    intervals are those of the samples (of the real vectors for recall and the coverages).

    In hundreds of dimensions a point nearer to the centre lies in very many balls. Real vectors of ``celeba96`` moved
    towards the centre, to 0.7 of their distance, have precision 0.97, both clipped scores 1 and coverage 1; only
    recall, 0.07, reveals it. Read it beside the others.
    """

    name = "fidelity-diversity"
    by_default = False
    compares_with_train = True

    k: int = Field(default=5, ge=1, le=10_000, description="the neighbour whose distance is the radius of a ball")

    _radii: NDArray[np.float64] = PrivateAttr()
    _clipped_radii: NDArray[np.float64] = PrivateAttr()
    _real_share: float = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """Radii of the real vectors, and in how many clipped balls each of them lies."""
        train = real.train
        if len(train) < self.k + 2:
            raise LsamplerError(f"{len(train)} real vectors to compare with; k={self.k} needs {self.k + 2} or more")
        super().prepare(real)
        self._radii = nearest_neighbours(train, train, self.k, exclude_self=True).distances[:, -1]
        self._clipped_radii = np.minimum(self._radii, np.median(self._radii)) * (1 + NUDGE)
        around = ball_counts(train, self._clipped_radii, train, closed=True, exclude_self=True).per_point
        self._real_share = float(np.minimum(around / self.k, 1.0).mean())

    def score(self, samples: Samples) -> list[Score]:
        real, rows, k = self._real.train, self._real.rows_of(samples), self.k
        if samples.kind == "held-out" and len(rows) < len(real):
            raise LsamplerError("too few held-out vectors for sets of equal size; see the row of other real vectors")
        if len(rows) <= k:
            raise LsamplerError(f"{len(rows)} samples; k={k} needs {k + 1} or more")
        radii = nearest_neighbours(rows, rows, k, exclude_self=True).distances[:, -1]
        balls, back = mutual_ball_counts(real, self._radii * (1 - NUDGE), rows, radii * (1 - NUDGE))
        density = balls.per_point / k
        clipped = np.minimum(ball_counts(real, self._clipped_radii, rows, closed=True).per_point / k, 1.0)
        held, expected = np.minimum(balls.per_ball, k) / k, expected_coverage(len(rows), len(real), k)

        def clipped_density(i: NDArray[np.int64]) -> float:
            return min(float(clipped[i].mean()) / self._real_share, 1.0)

        def clipped_coverage(i: NDArray[np.int64]) -> float:
            return float(np.searchsorted(expected, held[i].mean()) / len(expected))

        precise, near_real, recalled, covered = (
            int(np.sum(count > 0)) for count in (balls.per_point, back.per_ball, back.per_point, balls.per_ball)
        )
        return [
            share_score(PRECISION, precise, len(rows)),
            share_score(RECALL, recalled, len(real)),
            share_score(SYMMETRIC_PRECISION, min(precise, near_real), len(rows)),
            share_score(SYMMETRIC_RECALL, min(recalled, covered), len(real)),
            bootstrap_score(DENSITY, lambda i: float(density[i].mean()), len(rows)),
            share_score(COVERAGE, covered, len(real)),
            bootstrap_score(CLIPPED_DENSITY, clipped_density, len(rows)),
            bootstrap_score(CLIPPED_COVERAGE, clipped_coverage, len(real)),
        ]


def expected_coverage(samples: int, real: int, k: int) -> NDArray[np.float64]:
    """f(m), m = 0 ... samples: the coverage, unmapped, expected of m good samples beside bad ones.

    E[min(X, k)] / k for the number X of m real vectors in one ball, which is beta-binomial with
    parameters k and real - k; 0 for m < k, as in the authors' code.
    """
    from scipy.stats import betabinom

    m, j = np.arange(k, samples + 1), np.arange(k)
    missing = (k - j)[:, np.newaxis] * betabinom.pmf(j[:, np.newaxis], m, k, real - k)
    return np.concatenate([np.zeros(k), 1 - missing.sum(axis=0) / k])


lsampler_evaluators = offers(FidelityDiversity)
