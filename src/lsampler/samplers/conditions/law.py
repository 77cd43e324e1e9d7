"""Draws of labels under a condition: real rows of labels, or the labels' conditional normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.samplers.conditions.condition import Condition, Wanted
from lsampler.samplers.conditions.effects import COLLINEAR, Effects, pseudo_inverse

Others = Literal["observed", "independent"]
Codes = NDArray[np.float64]
Columns = NDArray[np.float64]
FEWEST_ROWS = 20
"""With fewer rows that fulfil a condition, labels come from the conditional normal."""
MOST_ATOMS = 512
"""Of a density under a condition: with more different rows of labels, so many are drawn for it."""
ATOMS_SEED = 0
MOST_RANGES = 3.0
"""How far the value that stands for a wanted label may be outside the label's own ones, in units of their range."""
TINY = 1e-9
"""Variances below this share of a label's own count as none: what was asked for settles such a label."""


@dataclass(frozen=True)
class LabelLaw:
    """How labels are drawn.

    Attributes:
        effects: the labels with their means and covariances.
        rows: (m, L) codes of train rows; None where there are aggregates only.
        condition: what is wanted; None draws labels as in all data.
        others: how the labels that are not asked for come: ``observed`` as they do with the condition, ``independent``
            as in all data.
    """

    effects: Effects
    rows: NDArray[np.float32] | None
    condition: Condition | None
    others: Others = "observed"

    @cached_property
    def _regressions(self) -> dict[Any, tuple[Codes, NDArray[np.float64]]]:
        return {}

    @cached_property
    def matching(self) -> NDArray[np.float32] | None:
        """The rows that fulfil the condition; None if they are too few, or there are none at all."""
        if self.rows is None or self.condition is None:
            return self.rows
        found = self.rows[self.condition.fulfilled(self.rows)]
        return found if len(found) >= FEWEST_ROWS else None

    def draw(self, random: np.random.Generator, n: int) -> Codes:
        """Codes (n, L) of labels that fulfil the condition, the other labels as they come with it."""
        if self.matching is not None:
            return _some(self.matching, random, n)
        return self._normal(random, n, self._wanted(random, n))

    def columns(self, random: np.random.Generator, n: int) -> Columns:
        """The columns (n, P) of labels that vectors are moved to.

        If the other labels come as in all data, those of the wanted labels hold the values that are read off like
        wanted ones (:meth:`_alone`).
        """
        design, wanted = self.effects.design, self.draw(random, n)
        if not self._is_alone:
            return design.matrix(wanted)
        every = self._normal(random, n, {}) if self.rows is None else _some(self.rows, random, n)
        return self._alone(design.matrix(every), design.matrix(wanted))

    @property
    def _is_alone(self) -> bool:
        return self.condition is not None and self.others == "independent"

    def _alone(self, every: Columns, wanted: Columns) -> Columns:
        """Rows x of columns (n, P) of any labels, with the wanted labels alone brought to where those of rows w are.

        The columns A of the wanted labels become x_A + (w - x) K_A (K_AA)^-1 with K the read-outs of the effects
        (:func:`lsampler.samplers.conditions.effects.read_out_of`): x then has the read-outs of w for the
        wanted labels. A partial effect alone would fall short of them, because part of what makes a label readable is
        what comes with it. The values stay within three ranges of the data beyond its own.
        """
        assert self.condition is not None  # noqa: S101 - as _is_alone says
        effects, asked = self.effects, self.effects.design.columns_of(self.condition.places)
        spread = np.sqrt(np.diagonal(effects.covariance)[asked])
        spread = np.where(spread > 0, spread, 1.0)
        own = effects.read_out[np.ix_(asked, asked)] * spread[:, np.newaxis] / spread
        apart = product(wanted - every, np.ascontiguousarray(effects.read_out[:, asked])) / spread
        low, high = effects.minimum[asked], effects.maximum[asked]
        reach = MOST_RANGES * (high - low)
        found = every.copy()
        found[:, asked] += product(apart, np.linalg.pinv(own, rcond=COLLINEAR)) * spread
        found[:, asked] = np.clip(found[:, asked], low - reach, high + reach)
        return found

    def atoms(self) -> tuple[Columns, NDArray[np.float64]]:
        """Columns of labels (k, P), k <= 512, and their probabilities (k,): all if they are few, else a sample."""
        matrix, known = self.effects.design.matrix, _different(self.matching)
        if known is not None and not self._is_alone:
            return matrix(known[0]), known[1]
        every = _different(self.rows) if self._is_alone else None
        if known is not None and every is not None and len(known[0]) * len(every[0]) <= MOST_ATOMS:
            pairs = np.indices((len(every[0]), len(known[0]))).reshape(2, -1)
            return self._alone(matrix(every[0][pairs[0]]), matrix(known[0][pairs[1]])), np.outer(
                every[1], known[1]
            ).ravel()
        drawn = self.columns(np.random.default_rng(ATOMS_SEED), MOST_ATOMS)
        return drawn, np.full(MOST_ATOMS, 1 / MOST_ATOMS)

    def _wanted(self, random: np.random.Generator, n: int) -> dict[int, Codes]:
        """The wanted labels' own codes, by their places."""
        if self.condition is None:
            return {}
        found = {one.place: np.full(n, one.value) for one in self.condition.wanted if one.value is not None}
        given = self._given(found, n)
        for one in self.condition.wanted:
            if one.value is None:
                columns = self.effects.design.columns_of([one.place])
                mean, root = self._conditional(given, columns)
                found[one.place] = self._allowed(one, mean, np.linalg.norm(root, axis=1), random)
        return found

    def _allowed(self, one: Wanted, mean: Codes, spread: Codes, random: np.random.Generator) -> Codes:
        """Values of one label among the wanted ones, given the mean (n, columns) and spread (columns,) of its own."""
        n, [first, *_] = len(mean), self.effects.design.columns_of([one.place])
        if one.label.kind == "continuous":
            low, high = self.effects.minimum[first], self.effects.maximum[first]
            inside = [(max(a, low), min(b, high)) for a, b in one.intervals if a <= high and b >= low]
            return _truncated(mean[:, 0], max(float(spread[0]), TINY), inside, random)
        chances = np.column_stack([1 - mean, mean]) if one.label.kind == "binary" else mean
        chosen = _categories(chances[:, np.array(one.codes, np.int64)], random.random(n))
        found: Codes = np.array(one.codes)[chosen]
        return found

    def _given(self, known: dict[int, Codes], n: int) -> tuple[NDArray[np.int64], Codes]:
        """The columns of labels with known codes, and what they hold (n, columns)."""
        design = self.effects.design
        codes = np.zeros((n, len(design.labels)))
        for place, values in known.items():
            codes[:, place] = values
        columns = design.columns_of(sorted(known))
        return columns, design.matrix(codes)[:, columns]

    def _conditional(
        self, given: tuple[NDArray[np.int64], Codes], columns: NDArray[np.int64]
    ) -> tuple[Codes, NDArray[np.float64]]:
        """Means (n, columns) of some columns where others have given values, and a root R of the covariance R R'."""
        known, values = given
        slopes, root = self._regression(tuple(known.tolist()), tuple(columns.tolist()))
        mean = self.effects.mean
        return mean[columns] + product(values - mean[known], slopes), root

    def _regression(self, known: tuple[int, ...], columns: tuple[int, ...]) -> tuple[Codes, NDArray[np.float64]]:
        """Slopes (known, columns) of some columns of labels on others, and a root of the covariance that is left."""
        if (known, columns) not in self._regressions:
            covariance = self.effects.covariance
            between = covariance[np.ix_(known, columns)]
            slopes = pseudo_inverse(covariance[np.ix_(known, known)]) @ between
            left = covariance[np.ix_(columns, columns)] - between.T @ slopes
            self._regressions[known, columns] = slopes, _root(left)
        return self._regressions[known, columns]

    def _normal(self, random: np.random.Generator, n: int, known: dict[int, Codes]) -> Codes:
        """Codes (n, L), normal where these of some labels are given.

        Binary labels are 1 where their normal is above the level at which they have the mean of the condition; so they
        keep their rates, and nearly their correlations. Levels of a categorical label have the probabilities of the
        condition, and do not depend on the other labels that were not asked for.
        """
        design, labels = self.effects.design, self.effects.design.labels
        codes = np.zeros((n, len(labels)))
        for place, values in known.items():
            codes[:, place] = values
        open_ = [place for place in range(len(labels)) if place not in known]
        given = self._given(known, n)
        plain = [place for place in open_ if not labels[place].levels]
        mean, root = self._conditional(given, design.columns_of(plain))
        deviations, spread = product(random.standard_normal(mean.shape), root.T), np.linalg.norm(root, axis=1)
        for index, place in enumerate(plain):
            codes[:, place] = self._value(place, mean[:, index], deviations[:, index], spread[index])
        for place in (place for place in open_ if labels[place].levels):
            chances, _ = self._conditional(given, design.columns_of([place]))
            codes[:, place] = _categories(chances, random.random(n))
        return codes

    def _value(self, place: int, mean: Codes, deviation: Codes, spread: float) -> Codes:
        """Values of a binary or continuous label from the mean and a deviation of its normal."""
        from scipy.special import ndtri

        column = self.effects.design.slices[place].start
        low, high = self.effects.minimum[column], self.effects.maximum[column]
        if self.effects.design.labels[place].kind == "continuous":
            return _clipped(mean + deviation, low, high)
        if spread**2 <= TINY * self.effects.covariance[column, column] or low == high:
            return (mean > 0.5).astype(np.float64)
        above: Codes = (deviation / spread > ndtri(1 - _clipped(mean, 0, 1))).astype(np.float64)
        return above


def _clipped(values: Codes, low: float | Codes, high: float | Codes) -> Codes:
    return np.asarray(np.clip(values, low, high), dtype=np.float64)


def _some(rows: NDArray[np.float32], random: np.random.Generator, n: int) -> Codes:
    return rows[random.integers(len(rows), size=n)].astype(np.float64)


def _different(rows: NDArray[np.float32] | None) -> tuple[Codes, NDArray[np.float64]] | None:
    """The different rows of labels and their shares; None if there are more than 512, or no rows."""
    if rows is None:
        return None
    different, counts = np.unique(rows, axis=0, return_counts=True)
    return (different.astype(np.float64), counts / counts.sum()) if len(different) <= MOST_ATOMS else None


def _categories(chances: Codes, uniform: Codes) -> NDArray[np.int64]:
    """Numbers of columns, each with the probability (n, k) of its row; equal ones where none is above 0."""
    sums = np.clip(chances, 0.0, None).cumsum(axis=1)
    sums = np.where(sums[:, -1:] > 0, sums, np.arange(1.0, chances.shape[1] + 1))
    below = (sums <= (uniform * sums[:, -1])[:, np.newaxis]).sum(axis=1)
    found: NDArray[np.int64] = np.minimum(below, chances.shape[1] - 1)
    return found


def _truncated(
    mean: Codes, spread: float, intervals: Sequence[tuple[float, float]], random: np.random.Generator
) -> Codes:
    """Normals of these means (n,) and this spread inside the intervals."""
    from scipy.stats import norm, truncnorm

    bounds = (np.array(intervals)[:, :, np.newaxis] - mean) / spread  # (intervals, 2, n)
    upper = bounds[:, 0] > 0  # where differences of upper tails are the precise ones
    mass = np.where(
        upper, norm.sf(bounds[:, 0]) - norm.sf(bounds[:, 1]), norm.cdf(bounds[:, 1]) - norm.cdf(bounds[:, 0])
    )
    rows = np.arange(len(mean))
    chosen = _categories(mass.T, random.random(len(mean)))
    low, high = bounds[chosen, 0, rows], bounds[chosen, 1, rows]
    inside = truncnorm.ppf(random.random(len(mean)), low, np.maximum(high, low + TINY))
    ends = np.array(intervals)[chosen]
    return _clipped(mean + spread * np.where(np.isfinite(inside), inside, low), ends[:, 0], ends[:, 1])


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A root R of a covariance, R R' = it, of any rank."""
    values, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    found: NDArray[np.float64] = axes * np.sqrt(np.clip(values, 0.0, None))
    return found
