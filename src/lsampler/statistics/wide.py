"""Statistics of vectors of many components, such as spatial latents: a covariance is formed only where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.memory import require_matrix, require_memory
from lsampler.compute.one_thread import one_thread, product
from lsampler.errors import LsamplerError
from lsampler.statistics.component_moments import gather_components
from lsampler.statistics.passes import Segment, View, gather_histograms
from lsampler.statistics.pca import Pca, constant_as_zero
from lsampler.statistics.statistics import Statistics

WIDE = 2048
"""Above so many components, statistics are these."""
JUDGED = 10
"""Of few vectors, so many are needed for each direction whose spread scores rely on."""
ELSE = (
    "use channel-normal, gaussian, component-uniform or uniform-cube, which need no covariance, or encode smaller "
    "images (`size=...`)"
)
PAIRS = "use what needs principal components or single components only, or encode smaller images (`size=...`)"


class WideStatistics(Statistics):
    """Count, mean, spread and extremes of each component at once; principal axes and covariance on demand.

    The principal axes of N vectors of D > N components come from the N x N products of the vectors' deviations from
    their mean, which give exactly those of the covariance, of rank N - 1 at most: the D x D covariance is not formed.
    With more vectors than components it has to be. What would need more than half of the machine's memory, or more
    than half an hour, is refused beforehand.

    Args:
        segments: of the vectors.
        view: which of them count.
        name: where they came from, for messages.

    Raises:
        LsamplerError: fewer than two vectors, or NaN or infinite values.
    """

    def __init__(self, segments: Sequence[Segment], view: View, name: str) -> None:
        found = gather_components(segments, view, name)
        if found is None or found.count < 2:
            count = found.count if found else 0
            raise LsamplerError(f"{name}: {count} latent vectors, statistics need at least 2")
        known = {"name": name, "count": found.count, "mean": found.mean}
        known |= {"minimum": found.minimum, "maximum": found.maximum, "_variances": found.squares / (found.count - 1)}
        known |= {"counted": lambda empty: gather_histograms(segments, view, empty)}
        for key, value in (known | {"_segments": segments, "_view": view}).items():
            object.__setattr__(self, key, value)

    _segments: Sequence[Segment]
    _view: View
    _variances: NDArray[np.float64]

    @property
    def low_rank(self) -> bool:
        """Whether there are fewer vectors than components."""
        return self.count < self.dimension

    @cached_property
    def std(self) -> NDArray[np.float64]:
        """(D,) standard deviations, sigma_j; exactly 0 where a component is constant."""
        return constant_as_zero(self.mean, self._variances)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(D, D) float64, normalised by count - 1. Raises LsamplerError if it is too large."""
        if not self.low_rank:
            self._require_affordable(self.dimension)
            return Statistics.from_segments(self._segments, self._view, name=self.name).covariance
        self._require_pairs()
        deviations = self._deviations()
        with one_thread():
            return product(np.ascontiguousarray(deviations.T), deviations) / (self.count - 1)

    @cached_property
    def correlation(self) -> NDArray[np.float64]:
        """(D, D) Pearson correlations. Raises LsamplerError if they are too many."""
        self._require_pairs()
        return Statistics.correlation.func(self)  # type: ignore[attr-defined,no-any-return]

    @cached_property
    def pca(self) -> Pca:
        """Principal axes and variances: of fewer vectors than components, as many as they vary in."""
        self._require_affordable(min(self.count, self.dimension))
        if not self.low_rank:
            return Pca.of(self.mean, self.covariance)
        return Pca.of_deviations(self.mean, self.std, self._deviations())

    @property
    def judged(self) -> int:
        """How many leading principal components scores rely on: one for every ten vectors, at most."""
        return min(self.pca.rank, max(self.count // JUDGED, 1))

    def spread_along(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k,) standard deviations of the projections on directions (k, D)."""
        if not self.low_rank:
            return super().spread_along(directions)
        rank = self.pca.rank
        along = product(directions, np.ascontiguousarray(self.pca.axes[:rank].T))
        spread: NDArray[np.float64] = np.sqrt(np.square(along) @ self.pca.variances[:rank])
        return spread

    def _deviations(self) -> NDArray[np.float64]:
        """(N, D) deviations from the mean, exactly 0 of a constant component."""
        found, row = np.empty((self.count, self.dimension)), 0
        for segment in self._segments:
            for chunk in segment.chunks():
                rows: NDArray[Any] = self._view(chunk)
                np.subtract(rows, self.mean, out=found[row : row + len(rows)], dtype=np.float64)
                row += len(rows)
        if row != self.count:
            raise LsamplerError(f"{self.name}: has changed while it was read; run the command again")
        found[:, self.std == 0] = 0.0
        return found

    def _require_pairs(self) -> None:
        """Raise if arrays with a number for every two components are too large."""
        what = f"{self.name}: the correlation of every two of {self.dimension} components"
        require_memory(32.0 * self.dimension**2, what, PAIRS)

    def _require_affordable(self, side: int) -> None:
        """Raise if matrices of this order, made of the vectors, are too large."""
        held = min(self.count, self.dimension) * self.dimension
        what = f"{self.name}: the covariance of {self.count} vectors of D = {self.dimension}"
        require_matrix(side, held, what, ELSE)


def statistics_of(segments: Sequence[Segment], view: View, dimension: int, *, name: str) -> Statistics:
    """Statistics of vectors of this dimension, as ``view`` sees them, in the form that suits it."""
    if dimension > WIDE:
        return WideStatistics(segments, view, name)
    return Statistics.from_segments(segments, view, name=name)
