"""A reference without latent vectors: their statistics, and what was found with them while they were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.samplers.conditions.labelled import Labelled
from lsampler.scoring.probes import Probe
from lsampler.showing import About, counted, encoder
from lsampler.statistics.statistics import Statistics
from lsampler.store.carried_state import CarriedState, Recommendation
from lsampler.store.reference import Reference

TRIM = 1.7
ByTrim = Mapping[float | None, Statistics]


class StatisticsReference(Reference):
    """Statistics of latent vectors, untrimmed and trimmed at 1.7 half-widths, in latent and in PCA coordinates.

    Attributes:
        calibrations: levels of calibrated cores, by :meth:`Core.calibration_key`.
        held_out_scores: (key, score) of the held-out vectors, by :meth:`Evaluator.key_of`.
        strategies: fitted states that a bundle carries.
        recommended: the name of the strategy to draw with if none is named; None if it was not recorded.
        probes: of labels, by their names.
        labelled: the effects of labels, and the statistics of what they leave of the vectors; None without labels.
    """

    def __init__(
        self,
        name: str,
        statistics: ByTrim,
        principal: ByTrim,
        *,
        fingerprint: str | None = None,
        radii: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dimension, self.fingerprint = name, statistics[None].dimension, fingerprint
        self.radii = radii
        # What other references compute from their vectors is known.
        self._statistics.update(statistics)
        self._principal.update(principal)
        self.calibrations: dict[str, float] = {}
        self.held_out_scores: list[tuple[str, dict[str, Any]]] = []
        self.strategies: list[CarriedState] = []
        self.recommended: str | None = None
        self.labelled: Labelled | None = None
        self.probes: dict[str, Probe] = {}

    @classmethod
    def of(cls, source: Reference, *, name: str | None = None) -> StatisticsReference:
        """What a source's vectors amount to. Quantiles of the radius need a covariance of full rank."""
        trims = (None, TRIM)
        return cls(
            name or source.name,
            {trim: source.statistics(trim) for trim in trims},
            {trim: source.principal_statistics(trim) for trim in trims},
            fingerprint=source.fingerprint,
            radii=source.radius_quantiles() if source.statistics().pca.rank == source.statistics().directions else None,
        )

    def _about(self) -> About:
        count = f"statistics of {counted(self.statistics().count, 'vector')}"
        return About(type(self).__name__, self.name, [count, f"D = {self.dimension}", encoder(self.fingerprint)])

    def statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the train split, for one of the two trims."""
        if trim not in self._statistics:
            raise LsamplerError(
                f"{self.name} has statistics for trim={TRIM} or none, not {trim}; give `store=...` for others"
            )
        return self._statistics[trim]

    def radius_quantiles(self, components: int | None = None, *, trim: float | None = None) -> NDArray[np.float64]:
        """Quantiles of the Mahalanobis radius in all directions; older bundles have none."""
        if trim is not None:
            return super().radius_quantiles(components, trim=trim)
        count = components or self.statistics().directions
        if count != self.statistics().directions or self.radii is None:
            raise LsamplerError(
                f"{self.name} knows no quantiles of the radius in {count} components; give `store=...`"
                + (f", or leave out `components={components}`" if self.radii is not None else "")
            )
        return self.radii

    def carried(self, name: str) -> Sequence[CarriedState]:
        """The fitted states of a strategy, one for each choice of its parameters."""
        return [each for each in self.strategies if each.name == name]

    def recommendation(self) -> Recommendation:
        """The recorded one; without a record the best of the strategies that learn from statistics alone."""
        if self.recommended is None:
            name = "multivariate-normal" if self.radii is None else "elliptical"
            return Recommendation(name, f"recommended where there are statistics only, as in {self.name}")
        carried = self.carried(self.recommended)
        why = f"which {self.name} {'carries and ' if carried else ''}recommends"
        return Recommendation(self.recommended, why, carried[0].changed if carried else {})
