"""Linear readings of labels off latent vectors, and the movement that changes some of them and spares the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.errors import LsamplerError, shortened
from lsampler.samplers.conditions.design import Design
from lsampler.samplers.conditions.effects import pseudo_inverse
from lsampler.samplers.conditions.labelled import labelled
from lsampler.statistics.pca import Whitening
from lsampler.store.reference import Reference

DISTANCE_COST = 0.2
"""What a squared whitened distance of 1 costs, where moving another reading by one spread costs 1. Larger values
approach the difference of means, smaller ones spare the readings of the other labels at any distance; docs/editing.md
has the measurement."""
VECTORS_EACH = 10
"""Readings use as many leading principal components as there are so many vectors for each."""
NO_READING = 1e-6
"""Of a column's variance: a reading that explains less moves with nothing."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """The least-squares readings of labels: the linear functions of z that best predict each column of the labels.

    With C the covariances of columns and whitened vectors w, the reading of column k is mean_k + C_k w, and its
    variance over the data |C_k|^2: no latent vector is needed, the aggregates of a bundle suffice.

    Attributes:
        name: of the reference, for messages.
        design: the labels and their columns.
        whitening: of the latent vectors.
        mean: (P,) of the columns.
        covariance: (P, P) of the columns.
        slopes: (P, q) C.
    """

    name: str
    design: Design
    whitening: Whitening
    mean: Rows
    covariance: Rows
    slopes: Rows

    @classmethod
    def of(cls, reference: Reference, labels: Sequence[str] | None, asked: Sequence[str] = ()) -> Readings:
        """Those of a reference.

        Args:
            reference: a store with labels, or the reference of a bundle that carries their effects.
            labels: names of those to read, None for all but categorical ones of many levels.
            asked: names that have to be among them.

        Raises:
            LsamplerError: there are no labels, or a name is unknown.
        """
        carried = getattr(reference, "labelled", None) is not None  # the effects of all labels, as in a bundle
        try:
            known = labelled(reference, None if carried else labels, () if carried else asked).effects
        except LsamplerError as error:
            raise LsamplerError(str(error).replace("`labels=", "`keep=").replace("`where=...`: ", "")) from None
        statistics = reference.statistics()
        components = max(1, min(statistics.pca.rank, statistics.count // VECTORS_EACH))
        whitening = statistics.whitening(components)
        cross = product(known.covariance, known.matrix)
        slopes = product(cross, whitening.axes.T / whitening.variances)
        found = cls(reference.name, known.design, whitening, known.mean, known.covariance, slopes)
        return found._only(labels) if carried else found

    def _only(self, labels: Sequence[str] | None) -> Readings:
        """The readings of some of the labels."""
        if labels is None:
            return self
        design = Design.of(self.design.labels, labels, (), self.name)
        places = [place for place, label in enumerate(self.design.labels) if label in design.labels]
        columns = self.design.columns_of(places)
        covariance = self.covariance[np.ix_(columns, columns)]
        return Readings(self.name, design, self.whitening, self.mean[columns], covariance, self.slopes[columns])

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

        Raises:
            LsamplerError: a label that cannot be read off the vectors, or labels whose readings are the same.
        """
        for place in places:
            own = self.design.slices[place]
            if not self.readable[own].any():
                name = shortened(self.design.labels[place].name)
                raise LsamplerError(
                    f"{self.name}: '{name}' has no linear effect on the latent vectors, so nothing can be moved by it; "
                    "name another label"
                )
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
