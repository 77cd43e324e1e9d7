"""kernel-distance: maximum mean discrepancy, and the effective number of distinct samples."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lsampler import LsamplerError
from lsampler.compute import one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score, normal_score

FEWEST = 10
MANY = 4
RANK = 1e-6
"""A direction in which the vectors spread less than so much of the widest is left out."""
MMD = Metric(
    "kernel-mmd",
    group="kernels",
    label="MMD squared",
    better="lower",
    about="Squared maximum mean discrepancy from train vectors, unbiased: about 0, or slightly below, for real data, "
    "more is worse. It does not grow for small samples. With one bandwidth for all directions it hardly sees details.",
)
MMD_P = Metric(
    "kernel-mmd-p",
    group="kernels",
    label="p-value",
    better="real",
    about="Share of random exchanges of samples and real vectors that give a discrepancy at least as large: below 0.05 "
    "the samples differ from real vectors. Above it says only that this many vectors do not show a difference.",
)
DISTINCT = Metric(
    "distinct-samples",
    group="kernels",
    label="effective\nnumber",
    better="real",
    about="Effective number of distinct directions among the samples, from the entropy of their cosine kernel (Vendi "
    "score): best near that of real vectors, 1 if all are alike. It does not see whether they are any good.",
)

Rows = NDArray[np.float64]


class KernelDistance(Evaluator):
    """Kernel two-sample distance with a permutation test, and the effective number of distinct samples.

    - kernel-mmd: unbiased squared maximum mean discrepancy (Gretton et al. 2012, J. Mach. Learn. Res.
      13) between samples and as many train vectors, whitened by the moments of both together, with a
      normal kernel exp(-d^2 / m), m the median squared distance. 0 for one distribution, at most
      2; by chance it may be slightly below 0. The interval is that of the statistic's linear part;
    - kernel-mmd-p: its p-value by ``permutations`` random exchanges, at least 1 / (permutations + 1);
    - distinct-samples: exp of the entropy of the eigenvalues of the cosine kernel, divided by the
      number of samples (Friedman and Dieng 2023, arXiv 2210.02410): 1 to D, from one D x D eigenproblem.

    The unbiased statistic does not grow for small samples, as the Frechet distance does.
    """

    name = "kernel-distance"
    by_default = False
    compares_with_train = True

    rows: int = Field(default=1000, ge=FEWEST, le=5000, description="at most so many vectors of each kind")
    permutations: int = Field(default=200, ge=19, le=10_000, description="random exchanges for the p-value")
    resamples: int = Field(default=30, ge=2, le=1000, description="of the bootstrap for the number of distinct samples")

    def prepare(self, real: RealData) -> None:
        """Check that there are enough train vectors."""
        super().prepare(real)
        if len(real.train) < FEWEST:
            raise LsamplerError(f"{len(real.train)} train vectors to compare with; a kernel distance needs {FEWEST}")

    def score(self, samples: Samples) -> list[Score]:
        drawn, train = self._real.rows_of(samples)[: self.rows], self._real.train[: self.rows]
        n, seed = min(len(drawn), len(train)), self._real.seed
        if n < FEWEST:
            raise LsamplerError(f"{n} samples; a kernel distance needs {FEWEST}")
        with one_thread():  # many small problems: more threads would wait for each other
            return self._scores(drawn, train, n, seed)

    def _scores(self, drawn: NDArray[np.float32], train: NDArray[np.float32], n: int, seed: int) -> list[Score]:
        kernel = _kernel(np.concatenate([train[:n], drawn[:n]]))
        np.fill_diagonal(kernel, 0.0)
        signs, rng = np.repeat([1.0, -1.0], n), np.random.default_rng(seed)
        parts = discrepancies(kernel, signs)
        exchanged = permuted(kernel, np.stack([rng.permutation(signs) for _ in range(self.permutations)], axis=1))
        found = float(parts.mean())
        p = (1 + int(np.sum(exchanged >= found))) / (1 + self.permutations)
        unit = self._unit(drawn)
        distinct = bootstrap_score(
            DISTINCT, lambda i: effective_number(unit[i]), len(unit), resamples=self.resamples, seed=seed
        )
        return [
            normal_score(MMD, found, 2 * float(parts.std(ddof=1) / np.sqrt(n)), n),
            Score(**vars(MMD_P), value=p, low=p, high=p, n=n),
            replace(distinct, low=max(distinct.low, 1.0)),
        ]

    def _unit(self, rows: NDArray[np.float32]) -> Rows:
        """Whitened vectors of length one."""
        statistics = self._real.reference.statistics()
        white = statistics.whitening(statistics.judged).forward(rows)
        unit: Rows = white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-300)
        return unit


def _kernel(both: NDArray[np.float32]) -> Rows:
    """(2 n, 2 n) of vectors whitened together: moments of one set alone would tell it from the other."""
    centred = both - both.mean(axis=0, dtype=np.float64)
    if centred.shape[1] > MANY * len(both):  # the eigenvectors of X X' are the left singular vectors, and sooner had
        squared_sizes, left = np.linalg.eigh(centred @ centred.T)
        sizes = np.sqrt(np.maximum(squared_sizes, 0.0))
    else:
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    white = left[:, sizes > RANK * sizes.max()] * np.sqrt(len(both))
    squares = np.square(white).sum(axis=1)
    squared = np.maximum(squares[:, np.newaxis] + squares - 2 * white @ white.T, 0.0)
    median = float(np.median(squared[np.triu_indices(len(squared), 1)]))
    if not median:
        raise LsamplerError("most vectors are equal: a kernel needs a distance between them")
    kernel: Rows = np.exp(-squared / median)
    return kernel


def discrepancies(kernel: Rows, signs: Rows) -> Rows:
    """Each pair's part (n,) of the unbiased squared discrepancy of two sets of n vectors, which is their mean.

    Args:
        kernel: (2 n, 2 n) with zeros on the diagonal.
        signs: (2 n,) 1 for the vectors of one set, -1 for those of the other; the k-th of both are a pair.
    """
    first, second = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
    sums = kernel @ signs
    parts: Rows = (sums[first] - sums[second] + 2 * kernel[first, second]) / (len(first) - 1)
    return parts


def permuted(kernel: Rows, signs: Rows) -> Rows:
    """The unbiased squared discrepancy (p,) of the two sets of each column of signs (2 n, p), pairs by their order."""
    n = len(kernel) // 2
    sums = kernel @ signs
    pairs = np.empty(signs.shape[1])
    for index, column in enumerate(signs.T):
        pairs[index] = kernel[np.flatnonzero(column > 0), np.flatnonzero(column < 0)].sum()
    found: Rows = (np.einsum("ip,ip->p", signs, sums) + 2 * pairs) / (n * (n - 1))
    return found


def effective_number(unit: Rows) -> float:
    """The exponential of the entropy of the cosine kernel's eigenvalues over n, of vectors (n, D) of length one."""
    values = np.linalg.eigvalsh(unit.T @ unit / len(unit))
    values = values[values > 1e-12]
    return max(1.0, float(np.exp(-(values * np.log(values)).sum())))


lsampler_evaluators = offers(KernelDistance)
