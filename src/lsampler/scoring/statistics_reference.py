"""A reference without latent vectors: their statistics, and what was found with them while they were there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.statistics import Statistics
from lsampler.store.reference import Reference, Split

__all__ = ["TRIM", "StatisticsReference"]

TRIM = 1.7
ByTrim = Mapping[float | None, Statistics]


class StatisticsReference(Reference):
    """Statistics of latent vectors, untrimmed and trimmed at 1.7 half-widths, in latent and in PCA coordinates.

    Attributes:
        calibrations: levels of calibrated cores, by :meth:`Core.calibration_key`.
        held_out_scores: (key, score) of the held-out vectors, by :meth:`Evaluator.key_of`.
    """

    has_latents = False

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
        self._statistics, self._principal = dict(statistics), dict(principal)
        self.radii = radii
        self.calibrations: dict[str, float] = {}
        self.held_out_scores: list[tuple[str, dict[str, Any]]] = []

    @classmethod
    def of(cls, source: Reference, *, name: str | None = None) -> StatisticsReference:
        """What a source's vectors amount to. Quantiles of the radius need a covariance of full rank."""
        trims = (None, TRIM)
        return cls(
            name or source.name,
            {trim: source.statistics(trim) for trim in trims},
            {trim: source.principal_statistics(trim) for trim in trims},
            fingerprint=source.fingerprint,
            radii=source.radius_quantiles() if source.statistics().pca.rank == source.dimension else None,
        )

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """Raises LsamplerError: there are no latent vectors."""
        raise LsamplerError(f"{self.name} holds statistics only, no latent vectors; give `store=...`")

    def statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the train split, for one of the two trims."""
        return self._of_trim(self._statistics, trim)

    def principal_statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the train split in its own PCA coordinates, for one of the two trims."""
        return self._of_trim(self._principal, trim)

    def radius_quantiles(self, components: int | None = None, *, trim: float | None = None) -> NDArray[np.float64]:
        """Quantiles of the Mahalanobis radius in all D components; older bundles have none."""
        if trim is not None:
            return super().radius_quantiles(components, trim=trim)
        count = components or self.dimension
        if count != self.dimension or self.radii is None:
            raise LsamplerError(
                f"{self.name} knows no quantiles of the radius in {count} components; give `store=...`"
                + (f", or leave out `components={components}`" if self.radii is not None else "")
            )
        return self.radii

    def _of_trim(self, known: Mapping[float | None, Statistics], trim: float | None) -> Statistics:
        if trim not in known:
            raise LsamplerError(
                f"{self.name} has statistics for trim={TRIM} or none, not {trim}; give `store=...` for others"
            )
        return known[trim]


def remembered(reference: Reference) -> Sequence[tuple[str, dict[str, Any]]]:
    """The (key, score) pairs of the real held-out vectors that a reference remembers, if it does."""
    return reference.held_out_scores if isinstance(reference, StatisticsReference) else ()
