"""One hump or two: Hartigan's dip test, and one normal against two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import one_thread
from lsampler.reports.analysis.separated import APART

Values = NDArray[np.float64]
CERTAIN = 0.01
"""A dip with a p-value below this is one of two humps."""
TELLING = 10.0
"""How much lower the BIC of two normals must be: very strong evidence (Kass and Raftery 1995)."""
RAREST = 0.02
"""Of the values that the smaller of two normals must hold; fewer are outliers."""
UNEQUAL = 0.35
"""Where the smaller group has a smaller share, the dip test finds little, and the two normals decide."""

LEVELS = np.array([0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 0.0001])
SIZES = np.array([10, 20, 50, 100, 200, 500, 1000, 5000])
DIPS = np.array(
    [
        [0.2465, 0.3091, 0.3753, 0.4127, 0.4418, 0.4773, 0.5042, 0.5267, 0.5699, 0.6167],  # n = 10
        [0.2539, 0.3278, 0.3949, 0.4347, 0.4701, 0.5109, 0.5390, 0.5647, 0.6163, 0.6855],  # n = 20
        [0.2670, 0.3455, 0.4155, 0.4580, 0.4962, 0.5405, 0.5715, 0.6001, 0.6590, 0.7351],  # n = 50
        [0.2744, 0.3552, 0.4280, 0.4718, 0.5104, 0.5577, 0.5914, 0.6216, 0.6857, 0.7630],  # n = 100
        [0.2799, 0.3617, 0.4363, 0.4810, 0.5223, 0.5709, 0.6040, 0.6364, 0.6998, 0.7911],  # n = 200
        [0.2845, 0.3677, 0.4427, 0.4892, 0.5303, 0.5809, 0.6149, 0.6460, 0.7148, 0.8133],  # n = 500
        [0.2879, 0.3713, 0.4475, 0.4948, 0.5361, 0.5860, 0.6206, 0.6531, 0.7238, 0.7954],  # n = 1000
        [0.2915, 0.3752, 0.4528, 0.4988, 0.5426, 0.5919, 0.6255, 0.6591, 0.7299, 0.8111],  # n = 5000
    ]
)
"""(sizes, levels) sqrt(n) times the dip that so large a share of samples of n uniform values exceeds, of 200,000
simulated samples of each size (60,000 of the last)."""


@dataclass(frozen=True)
class Humps:
    """What speaks for two humps in a sample.

    Attributes:
        dip: Hartigan's statistic, the largest difference from the nearest unimodal distribution.
        dip_p: its p-value against the uniform distribution.
        bic_gain: by how much the Bayesian information criterion of two normals is lower than that of one.
        separation: of the two normals, Ashman's D = |m1 - m2| sqrt(2 / (s1^2 + s2^2)).
        peaks: of the density of the two normals together, 1 or 2.
        smaller: the share of the smaller one.
        two: whether there are two humps.
    """

    dip: float
    dip_p: float
    bic_gain: float
    separation: float
    peaks: int
    smaller: float
    two: bool


def humps(values: Values, share: float, start: tuple[float, float], seed: int) -> Humps:
    """Look for two humps in a sample.

    The dip test (Hartigan and Hartigan 1985) decides where both groups are frequent: it assumes nothing about the shape
    of a hump. A small group beside a large one hardly changes the nearest unimodal distribution; there two normals
    decide: their BIC must be lower by 10, Ashman's D must be above 2, their density must have two peaks, and each must
    hold 2 % of the values.

    Args:
        values: (n,) at least ten.
        share: of the smaller of the groups that could make the humps.
        start: means of these groups, from which one of two fits of the normals starts.
        seed: of the fits.
    """
    statistic = dip(values)
    p = dip_p_value(statistic, len(values))
    gain, means, sigmas, weights = two_normals(values, share, start, seed)
    separation = float(abs(means[0] - means[1]) * np.sqrt(2 / np.square(sigmas).sum()))
    peaks, smaller = peaks_of(means, sigmas, weights), float(weights.min())
    by_normals = gain > TELLING and separation > APART and peaks == 2 and smaller >= RAREST
    two = by_normals if share < UNEQUAL else p < CERTAIN
    return Humps(statistic, p, gain, separation, peaks, smaller, two)


def dip(values: Values) -> float:
    """Hartigan's dip: the least, over unimodal distributions, of the largest difference from the empirical one.

    Between the greatest convex minorant and the least concave majorant of the empirical distribution, the modal
    interval is narrowed until the differences outside it exceed the gap inside it (Hartigan 1985, AS 217).
    """
    x, counts = np.unique(values, return_counts=True)
    upper = np.cumsum(counts) / counts.sum()
    lower = upper - counts / counts.sum()
    low, high, found = 0, len(x) - 1, 1 / counts.sum()
    while high > low:
        part = slice(low, high + 1)
        convex, concave = low + _hull(x[part], lower[part]), low + _hull(x[part], -upper[part])
        at_convex = np.interp(x[convex], x[concave], upper[concave]) - lower[convex]
        at_concave = upper[concave] - np.interp(x[concave], x[convex], lower[convex])
        if max(at_convex.max(), at_concave.max()) <= found:
            break
        if at_convex.max() > at_concave.max():
            left = int(convex[at_convex.argmax()])
            right = int(concave[concave >= left][0])
        else:
            right = int(concave[at_concave.argmax()])
            left = int(convex[convex <= right][-1])
        before, after = slice(low, left + 1), slice(right, high + 1)
        below = upper[before] - np.interp(x[before], x[convex], lower[convex])
        above = np.interp(x[after], x[concave], upper[concave]) - lower[after]
        found = max(found, float(below.max()), float(above.max()))
        if (left, right) == (low, high):
            break
        low, high = left, right
    return float(found / 2)


def _hull(x: Values, y: Values) -> NDArray[np.int64]:
    """The numbers of the points on the lower convex hull, the first and the last among them; x ascends."""
    places, ends = x.tolist(), y.tolist()
    kept: list[int] = []
    for k, (at, height) in enumerate(zip(places, ends, strict=True)):
        while len(kept) > 1:
            i, j = kept[-2], kept[-1]
            if (ends[j] - ends[i]) * (at - places[i]) < (height - ends[i]) * (places[j] - places[i]):
                break
            kept.pop()
        kept.append(k)
    return np.array(kept)


def dip_p_value(statistic: float, n: int) -> float:
    """How often n uniform values have such a dip or a larger one, between 0.0001 and 1.

    The uniform distribution is the one whose dips are largest, so that bell shapes are called bimodal even more rarely.
    Interpolated between the quantiles of simulations of sqrt(n) times the dip.
    """
    row = np.array([np.interp(np.log(n), np.log(SIZES), column) for column in DIPS.T])
    scaled = np.sqrt(n) * statistic
    if scaled <= row[0]:
        return float(1 - (1 - LEVELS[0]) * scaled / row[0])
    return float(np.exp(np.interp(scaled, row, np.log(LEVELS))))


def two_normals(
    values: Values, share: float, start: tuple[float, float], seed: int
) -> tuple[float, Values, Values, Values]:
    """By how much the BIC of two normals is lower than that of one, and their means, sigmas and weights, two each.

    The likelier of two fits counts: one begins with k-means, one with groups that are given.
    """
    from sklearn.mixture import GaussianMixture

    column = (values - values.mean())[:, np.newaxis] / (values.std() or 1.0)
    given = {
        "means_init": ((np.array(start) - values.mean()) / (values.std() or 1.0))[:, np.newaxis],
        "weights_init": [1 - share, share],
    }
    with one_thread():
        one = GaussianMixture(1).fit(column)
        fits = [GaussianMixture(2, random_state=seed % 2**32, **more).fit(column) for more in ({}, given)]
        two = max(fits, key=lambda fit: float(fit.score(column)))
        gain = float(one.bic(column) - two.bic(column))
    return gain, two.means_[:, 0], np.sqrt(two.covariances_[:, 0, 0]), two.weights_


def peaks_of(means: Values, sigmas: Values, weights: Values) -> int:
    """How many peaks the density of two normals together has; all of them lie between the two means."""
    x = np.linspace(means.min(), means.max(), 2001)[:, np.newaxis]
    density = (weights / sigmas * np.exp(-0.5 * ((x - means) / sigmas) ** 2)).sum(axis=1)
    rises = np.concatenate([[True], np.diff(density) > 0, [False]])
    return int(np.sum(rises[:-1] & ~rises[1:]))
