"""What labels do together: the distances of their means, the variance they explain, and the angles between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.samplers.conditions.effects import COLLINEAR, Effects
from lsampler.statistics.pca import Whitening

Matrix = NDArray[np.float64]
TINY = 1e-12


@dataclass(frozen=True)
class Entangled:
    """The effects of labels in whitened coordinates, from aggregates alone.

    Attributes:
        effects: of the labels; P columns, one per binary or continuous label and per level of a categorical one.
        whitening: of all train vectors, to q coordinates.
    """

    effects: Effects
    whitening: Whitening

    @property
    def rank(self) -> int:
        """q, the number of whitened coordinates."""
        return len(self.whitening.axes)

    @cached_property
    def partial(self) -> Matrix:
        """(P, q) partial effects: what a unit of a column does at equal values of the other labels."""
        return self._white(self.effects.matrix)

    @cached_property
    def plain_latent(self) -> Matrix:
        """(P, D) mean vector with a label minus that without it; of a continuous label the slope of a line fit.

        Both are cov(z, x) / var(x), and cov(z, x) is the covariance of the labels times their partial effects.
        """
        variances = np.diagonal(self.effects.covariance)[:, np.newaxis]
        together = product(self.effects.covariance, self.effects.matrix)
        found: Matrix = np.divide(together, variances, out=np.zeros_like(together), where=variances > 0)
        return found

    @cached_property
    def plain(self) -> Matrix:
        """(P, q) :attr:`plain_latent`, whitened."""
        return self._white(self.plain_latent)

    def _white(self, rows: Matrix) -> Matrix:
        return product(rows, self.whitening.axes.T / self.whitening.variances)

    def distances(self, column: int) -> dict[str, float] | None:
        """The distance of the means of two groups, without the part that chance gives; None of a constant column.

        ``sigma_within`` is their Mahalanobis distance by the covariance within the groups: the number of sigmas along
        the best axis. With p the share of one group and S_T the scatter of all n vectors, its square is (n - 2) t /
        (1 - n p (1 - p) t), t being the square of the difference by the inverse of S_T (Sherman and Morrison). What
        chance adds is taken out by (n - q - 3)/(n - 2) and q (1/n1 + 1/n0) (Lachenbruch and Mickey 1968).
        ``sigma_whitened`` is the length of the difference in whitened coordinates, by the sigmas of all vectors:
        d / sqrt(1 + p (1 - p) d^2).
        """
        share, count = float(self.effects.mean[column]), self.effects.count
        between = share * (1 - share)
        if between <= 0 or count < self.rank + 4:
            return None
        total = float(np.square(self.plain[column]).sum()) / (count - 1)
        raw = (count - 2) * total / max(1 - count * between * total, TINY)
        square = raw * (count - self.rank - 3) / (count - 2) - self.rank / (count * between)
        square = max(0.0, square)
        return {
            "sigma_within": float(np.sqrt(square)),
            "sigma_whitened": float(np.sqrt(square / (1 + between * square))),
        }

    def explained(self) -> dict[str, float]:
        """The shares of variance that all labels explain together.

        ``share`` is the mean of R^2 over whitened coordinates, ``by_chance`` what as many random columns would explain,
        ``adjusted`` the share without that (Ezekiel), ``of_latent_variance`` the same before whitening, where
        wide axes count more.
        """
        covariance, count = self.effects.covariance, self.effects.count
        columns = rank_of(covariance)
        share = float(np.sum(self.partial * product(covariance, self.partial))) / self.rank
        latent = self.effects.matrix
        of_latent = float(np.sum(latent * product(covariance, latent)) / self.whitening.variances.sum())
        by_chance = columns / (count - 1)
        adjusted = 1 - (1 - share) * (count - 1) / (count - 1 - columns) if count - 1 > columns else None
        found = {"share": share, "by_chance": by_chance, "of_latent_variance": of_latent, "columns": columns}
        return found | ({} if adjusted is None else {"adjusted": adjusted})


def rank_of(covariance: Matrix) -> int:
    """How many columns of labels vary on their own, by the rule of their effects."""
    spread = np.sqrt(np.diagonal(covariance))
    varying = spread > 0
    if not varying.any():
        return 0
    correlation = covariance[np.ix_(varying, varying)] / np.outer(spread[varying], spread[varying])
    values = np.linalg.eigvalsh(correlation)
    return int(np.sum(values > COLLINEAR * values[-1]))


def cosines(rows: Matrix) -> Matrix:
    """(P, P) cosines between rows (P, q); 0 where one is zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    found: Matrix = np.clip(product(unit, unit.T), -1.0, 1.0)
    return found


def neighbouring_order(matrix: Matrix) -> NDArray[np.int64]:
    """An order (P,) in which rows of cosines that are alike, or opposite, come together (average linkage)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    distance = np.clip(1 - np.abs(matrix), 0, None)
    np.fill_diagonal(distance, 0)
    order: NDArray[np.int64] = leaves_list(
        linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    )
    return order
