"""Linear readings of labels off latent vectors, and the movement that changes some of them and spares the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.errors import LsamplerError
from lsampler.samplers.conditions.design import Design
from lsampler.samplers.conditions.effects import pseudo_inverse
from lsampler.samplers.conditions.labelled import labelled
from lsampler.statistics.pca import Whitening
from lsampler.store.reference import Reference

SHRINKAGE = 0.5
"""Readings are those of ridge regression with this share of the mean variance of the components as penalty. Components
of little variance are hardly seen in decoded items, and what they seem to say of labels is partly noise."""
DISTANCE_COST = 0.1
"""What a squared whitened distance of 1 costs, where moving another reading by one spread costs 1. Smaller values spare
the readings of the other labels at any distance. docs/editing.md has the measurements of both constants."""
VECTORS_EACH = 10
"""Readings use as many leading principal components as there are so many vectors for each."""
NO_READING = 1e-6
"""Of a column's variance: a reading that explains less moves with nothing."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """The readings of labels: linear functions of z that predict each column of the labels.

    Their directions are those of ridge regression, and least squares on these makes predictions of them, of a
    categorical label of all its columns together. With S the slopes, the reading of column k is mean_k + S_k w, w the
    whitened vector, and its variance over the data is |S_k|^2. No latent vector is needed: the aggregates of a bundle
    suffice.

    Attributes:
        name: of the reference, for messages.
        design: the labels and their columns.
        whitening: of the latent vectors.
        mean: (P,) of the columns.
        covariance: (P, P) of the columns.
        slopes: (P, q) S.
    """

    name: str
    design: Design
    whitening: Whitening
    mean: Rows
    covariance: Rows
    slopes: Rows

    @classmethod
    def of(
        cls,
        reference: Reference,
        labels: Sequence[str] | None,
        asked: Sequence[str] = (),
        shrinkage: float = SHRINKAGE,
    ) -> Readings:
        """Those of a reference.

        Args:
            reference: a store with labels, or the reference of a bundle that carries their effects.
            labels: names of those to read, None for all but categorical ones of many levels.
            asked: names that have to be among them.
            shrinkage: the penalty, as a share of the mean variance of the components.

        Raises:
            LsamplerError: there are no labels, or a name is unknown.
        """
        try:
            return cls._of(reference, labels, asked, shrinkage)
        except LsamplerError as error:
            raise LsamplerError(str(error).replace("`labels=", "`keep=").replace("`where=...`: ", "")) from None

    @classmethod
    def _of(
        cls, reference: Reference, labels: Sequence[str] | None, asked: Sequence[str], shrinkage: float
    ) -> Readings:
        carried = getattr(reference, "labelled", None) is not None  # the effects of all labels, as in a bundle
        known = labelled(reference, None if carried else labels, () if carried else asked).effects
        chosen = Design.of(known.design.labels, labels, asked, reference.name)
        columns = known.design.columns_of([known.design.labels.index(label) for label in chosen.labels])
        statistics = reference.statistics()
        components = max(1, min(statistics.pca.rank, statistics.count // VECTORS_EACH))
        whitening = statistics.whitening(components)
        cross = product(product(known.covariance, known.matrix)[columns], whitening.axes.T / whitening.variances)
        penalty = shrinkage * statistics.pca.variances[: max(statistics.pca.rank, 1)].mean()
        ridge = cross * (whitening.variances / (whitening.variances + penalty))
        slopes = np.concatenate([_predicting(ridge[own], cross[own]) for own in chosen.slices])
        covariance = known.covariance[np.ix_(columns, columns)]
        return cls(reference.name, chosen, whitening, known.mean[columns], covariance, slopes)

    @cached_property
    def spread(self) -> Rows:
        """(P,) standard deviations of the readings over the data."""
        found: Rows = np.linalg.norm(self.slopes, axis=1)
        return found

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """(P,) whether a reading explains anything of its column."""
        found: NDArray[np.bool_] = self.spread**2 > NO_READING * np.diagonal(self.covariance)
        return found

    @cached_property
    def _units(self) -> Rows:
        """(P, q) unit vectors along which the readings change; zeros where a label cannot be read."""
        where = self.readable[:, np.newaxis]
        return np.divide(self.slopes, self.spread[:, np.newaxis], out=np.zeros_like(self.slopes), where=where)

    def spreads(self, changes: Rows, columns: NDArray[np.int64]) -> Rows:
        """Changes (n, columns) of readings in standard deviations of these; 0 where there is no reading."""
        spread = self.spread[columns]
        zeros = np.zeros_like(changes)
        found: Rows = np.divide(changes, spread, out=zeros, where=self.readable[columns])
        return found

    def read(self, latents: NDArray[Any]) -> Rows:
        """The readings (n, P) of latent vectors (n, D), in units of the columns."""
        found: Rows = self.mean + product(self.whitening.forward(latents.astype(np.float64)), self.slopes.T)
        return found

    def typical(self, place: int, code: float) -> Rows:
        """The mean readings (columns,) of one label's own columns over the data that have this code."""
        own = self.design.slices[place]
        codes = np.zeros((1, len(self.design.labels)))
        codes[0, place] = code
        deviation = self.design.matrix(codes)[0, own] - self.mean[own]
        slope = pseudo_inverse(self.covariance[own, own]) @ (self.slopes[own] @ self.slopes[own].T)
        found: Rows = self.mean[own] + deviation @ slope
        return found

    def within(self, column: int) -> float:
        """The standard deviation of a column's reading at equal values of the column."""
        explained = min(self.spread[column] ** 2 / self.covariance[column, column], 1.0)
        return float(self.spread[column] * np.sqrt(1 - explained))

    def movements(self, columns: NDArray[np.int64], places: Sequence[int], cost: float = DISTANCE_COST) -> Rows:
        """What moves latent vectors so that some readings change: (columns, D) per unit of each reading.

        Of all movements dw of whitened vectors that change the readings of these columns by what is asked, it is the
        one that minimises the sum of the squared changes of the other labels' readings, in units of their spreads,
        plus ``cost`` |dw|^2.

        Args:
            columns: whose readings change.
            places: of the labels that they belong to; other columns of these labels are free.
            cost: of the distance.
        """
        others = np.setdiff1d(np.arange(self.design.width), self.design.columns_of(places))
        kept, moved = self._units[others], self._units[columns]
        # (cost I + kept' kept)^-1 moved', by the identity of Woodbury in as many dimensions as there are other columns.
        between = product(kept, kept.T) + cost * np.eye(len(others))
        spared = (moved - product(np.linalg.solve(between, product(kept, moved.T)).T, kept)) / cost
        gram = product(moved, spared.T)
        inverse = np.linalg.pinv((gram + gram.T) / 2, rcond=NO_READING, hermitian=True)
        white = self.spreads(product(inverse, spared).T, columns).T
        return product(white, self.whitening.axes)

    def columns_named(self) -> list[str]:
        """A name for every column: of the label, or of a level such as ``digit=7``."""
        return [
            f"{label.name}={level}" if label.levels else label.name
            for label in self.design.labels
            for level in label.levels or ("",)
        ]


def _predicting(ridge: Rows, cross: Rows) -> Rows:
    """Slopes (k, q) of the predictions of a label's columns by least squares on scores of these slopes (k, q)."""
    return product(product(product(cross, ridge.T), pseudo_inverse(product(ridge, ridge.T))), ridge)
