"""Clusters: whether a mixture of normals that lie apart describes the vectors better than one normal."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import one_thread

MOST_AXES = 10
MOST_GROUPS = 6
APART = 2.0
"""Two normals of one variance have two peaks along the line between them if they lie further apart (Ashman's D)."""
SMALLEST = 0.02
FLAT_AXES = 3
FLOOR = 1e-4


def clusters(white: NDArray[Any], seed: int) -> dict[str, Any]:
    """The best number of separated normals by the Bayesian information criterion (Schwarz 1978).

    A mixture of 2 to 6 normals with full covariances counts if each has 2 % of the vectors or more and every two of
    them lie apart: by Ashman's D = |m1 - m2| sqrt(2 / (s1^2 + s2^2)) above 2, the standard deviations being those
    along the line that joins them (Ashman, Bird and Zepf 1994). So heavy tails, which a narrow and a wide normal
    around one centre describe better than one normal, are not clusters.

    Args:
        white: (n, q) whitened vectors along the leading principal axes.
        seed: of the start of the fits.

    Returns:
        ``groups``: 1, or how many; ``separation``: the least D of two of them, None if there is one group.
    """
    rows = np.asarray(white[:, :MOST_AXES], dtype=np.float64)
    best, groups, separation = np.inf, 1, None
    criteria: list[float] = []
    with one_thread():
        for count in range(1, MOST_GROUPS + 1):
            if len(rows) < 10 * count * rows.shape[1]:
                break
            mixture = _mixture(rows, count, seed)
            least = _least_separation(mixture.means_, mixture.covariances_)
            apart = least is None or (least > APART and mixture.weights_.min() >= SMALLEST)
            criteria.append(float(mixture.bic(rows)))
            if apart and criteria[-1] < best:
                best, groups, separation = criteria[-1], count, least
            if len(criteria) > 2 and criteria[-3] < min(criteria[-2:]):  # more normals do not help any more
                break
    return {"groups": groups, "separation": separation, "rows": len(rows), "axes": rows.shape[1]}


def _mixture(rows: NDArray[np.float64], count: int, seed: int) -> Any:
    """The likelier of two mixtures: one begins with k-means of all axes, one with k-means of the three flattest.

    Two normals that lie apart make an axis flat (of low kurtosis), and among many axes k-means may split another one.
    """
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    settings: dict[str, Any] = {"n_components": count, "random_state": seed % 2**32, "reg_covar": FLOOR}
    flattest = np.argsort(np.mean(rows**4, axis=0))[:FLAT_AXES]
    labels = KMeans(count, n_init=3, random_state=seed % 2**32).fit(rows[:, flattest]).labels_
    groups = [rows[labels == group] for group in range(count)]
    mixtures = [GaussianMixture(**settings)]
    if min(map(len, groups)) > rows.shape[1]:
        start = {
            "weights_init": [len(group) / len(rows) for group in groups],
            "means_init": [group.mean(axis=0) for group in groups],
            "precisions_init": [
                np.linalg.inv(np.atleast_2d(np.cov(group.T)) + FLOOR * np.eye(rows.shape[1])) for group in groups
            ],
        }
        mixtures.append(GaussianMixture(**settings, **start))
    return max((mixture.fit(rows) for mixture in mixtures), key=lambda mixture: float(mixture.lower_bound_))


def _least_separation(means: NDArray[np.float64], covariances: NDArray[np.float64]) -> float | None:
    """The least of Ashman's D over all pairs; None if there is one normal."""
    found = []
    for i, j in combinations(range(len(means)), 2):
        line = means[i] - means[j]
        distance = float(np.linalg.norm(line))
        along = line / max(distance, 1e-300)
        variances = [float(along @ covariances[k] @ along) for k in (i, j)]
        found.append(distance * float(np.sqrt(2 / sum(variances))))
    return min(found, default=None)
