"""Statistics of what the effects of labels leave of latent vectors, from joint moments and without a further pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.samplers.conditions.effects import Effects
from lsampler.samplers.conditions.joint_moments import JointMoments
from lsampler.statistics.passes import Segment, View, gather_histograms, gather_moments
from lsampler.statistics.pca import nearly_flat
from lsampler.statistics.statistics import Statistics

LEAST_LEFT = 1e-4
"""Where less of a component's variance is left, the difference of moments has too few digits."""


class ResidualStatistics(Statistics):
    """Count, mean and covariance of residuals; extremes and histograms take passes when they are first used.

    Args:
        name: where the residuals came from, for messages.
        count: how many there are.
        mean: (D,) of the residuals, which is that of the vectors.
        covariance: (D, D) of the residuals.
        segments: of the residuals.
    """

    def __init__(
        self,
        name: str,
        count: int,
        mean: NDArray[np.float64],
        covariance: NDArray[np.float64],
        segments: Sequence[Segment],
    ) -> None:
        known = {"name": name, "count": count, "mean": mean, "covariance": covariance, "_segments": segments}
        known["counted"] = lambda empty: gather_histograms(segments, View(), empty)
        for key, value in known.items():
            object.__setattr__(self, key, value)

    _segments: Sequence[Segment]

    @cached_property
    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = gather_moments(self._segments, View(), self.name)
        assert found is not None  # noqa: S101 - of at least two vectors
        return found.minimum, found.maximum

    @property
    def minimum(self) -> NDArray[np.float64]:
        """(D,) smallest values."""
        return self._extremes[0]

    @property
    def maximum(self) -> NDArray[np.float64]:
        """(D,) largest values."""
        return self._extremes[1]


def residual_statistics(
    effects: Effects, moments: JointMoments, segments: Sequence[Segment], name: str
) -> Statistics | None:
    """Statistics of z - (x - mean of x) B, whose scatter is S_zz - B' S_xz; None where that has too few digits.

    Where labels explain all of a component, or the residuals are nearly flat in a direction, their own pass is
    needed, as it is for vectors of more than 2,048 components.
    """
    if moments.own.ndim == 1:
        return None
    scatter = moments.own - product(np.ascontiguousarray(effects.matrix.T), moments.cross)
    covariance = (scatter + scatter.T) / (2 * (moments.count - 1))
    if (np.diagonal(scatter) < LEAST_LEFT * np.diagonal(moments.own)).any():
        return None
    if nearly_flat(moments.mean, covariance):
        return None
    return ResidualStatistics(name, moments.count, moments.mean, covariance, segments)
