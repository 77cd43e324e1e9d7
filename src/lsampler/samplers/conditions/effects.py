"""What each label does to latent vectors, on average and at equal values of the other labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.samplers.conditions.design import Design
from lsampler.samplers.conditions.joint_moments import JointMoments, only

COLLINEAR = 1e-8
"""Directions of standardised labels whose variance is below this share of the largest have no effect of their own."""


@dataclass(frozen=True)
class Effects:
    """The partial effects of labels: z = mu + (x - mean of x) B + e, x the columns of the labels.

    B is the least-squares solution; where labels are collinear, as the levels of a categorical one are, it is the one
    of least norm for labels of unit variance (:data:`COLLINEAR`). Its rows are effects at equal values of the
    other labels, and averages, not causes.

    Attributes:
        design: the labels and their columns.
        count: of the train vectors that they were estimated from, all without a missing label.
        left_out: how many train vectors miss a label.
        matrix: (P, D) B, in latent units per unit of a column.
        mean: (P,) of the columns.
        covariance: (P, P) of the columns, normalised by count - 1.
        minimum: (P,) smallest values of the columns.
        maximum: (P,) largest ones.
        read_out: (P, P) how far a unit of one column moves what is read off the vectors for another
            (:func:`read_out_of`).
    """

    design: Design
    count: int
    left_out: int
    matrix: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    read_out: NDArray[np.float64]

    @classmethod
    def of(cls, found: JointMoments, design: Design, left_out: int) -> Effects:
        """Those of vectors and labels with these moments."""
        matrix, covariance = _solved(found), found.scatter / (found.count - 1)
        read_out = read_out_of(matrix, covariance, found.own / (found.count - 1))
        known = found.label_mean, covariance, found.minimum, found.maximum, read_out
        return cls(design, found.count, left_out, matrix, *known)

    def shift(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """How far labels with these codes (n, L) move a latent vector from the mean: (n, D)."""
        return self.moved(self.design.matrix(codes))

    def moved(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far these values (n, P) of the columns move a latent vector from the mean: (n, D)."""
        return product(columns - self.mean, self.matrix)


def read_out_of(
    matrix: NDArray[np.float64], covariance: NDArray[np.float64], own: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far a unit of one column of labels moves the read-out of another: K = B S B' C, (P, P).

    The read-out of labels is their ridge regression on the latent vectors, (z - mu)' S B' C with S the inverse of
    V + v I; the penalty v is the mean variance of a component, so that labels are read off wide directions more than
    off narrow ones, in which a decoder shows little.

    Args:
        matrix: (P, D) B, the effects.
        covariance: (P, P) C, of the labels.
        own: (D, D) V, of the latent vectors; or its diagonal (D,), which stands for all of it.
    """
    if own.ndim == 1:
        wide = own + own.mean()
        solved = np.divide(matrix, wide, out=np.zeros_like(matrix), where=wide > 0).T
    else:
        penalty = float(np.trace(own)) / len(own)
        solved = np.linalg.solve(own + penalty * np.eye(len(own)), matrix.T) if penalty > 0 else 0 * matrix.T
    return product(product(matrix, solved), covariance)


def residuals(
    effects: Effects, places: Sequence[int], rows: NDArray[np.float32], codes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Latent vectors (n, D) without what their labels do; the mean stays."""
    return np.subtract(rows, effects.shift(only(codes, places)), dtype=np.float64).astype(np.float32)


def _solved(found: JointMoments) -> NDArray[np.float64]:
    """B (P, D) by the normal equations; a label that does not vary has no effect."""
    varies = found.minimum < found.maximum
    return product(pseudo_inverse(found.scatter * np.outer(varies, varies)), found.cross)


def pseudo_inverse(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pseudo-inverse of a covariance of labels, which does not depend on their units."""
    spread = np.sqrt(np.clip(np.diagonal(covariance), 0.0, None))
    unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    units = np.outer(unit, unit)
    found: NDArray[np.float64] = units * np.linalg.pinv(covariance * units, rcond=COLLINEAR, hermitian=True)
    return found
