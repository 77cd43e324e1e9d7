"""Mean and standard deviation of the channels of spatial latents (C, h, w), and the factors that make them unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.component_moments import gather_components
from lsampler.statistics.passes import Segment, View


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel, over all vectors and positions, and of all numbers.

    ``(z - shift) * scale`` has mean 0 and variance 1, with ``mean`` as the shift and ``1 / std`` as the scale. Of all
    numbers together, that scale is the ``scaling_factor`` of latent diffusion models (Rombach et al. 2022,
    arXiv:2112.10752, appendix G), the mean their ``shift_factor``.

    Attributes:
        count: number of vectors.
        shape: of a latent, (C, ...).
        mean: (C,) float64.
        std: (C,) float64, normalised by the number of values; 0 of a constant channel.
    """

    count: int
    shape: tuple[int, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def overall_mean(self) -> float:
        """The mean of all numbers."""
        return float(self.mean.mean())

    @property
    def overall_std(self) -> float:
        """The standard deviation of all numbers: within the channels, and between their means."""
        return float(np.sqrt(np.mean(np.square(self.std) + np.square(self.mean - self.mean.mean()))))

    @property
    def scaling_factor(self) -> float | None:
        """1 / :attr:`overall_std`; None where all numbers are equal."""
        return 1 / self.overall_std if self.overall_std else None

    def rows(self) -> list[tuple[str, float, float, float | None]]:
        """Name, mean, standard deviation and scale of each channel, and of all numbers, for a table."""
        each = [
            (str(number), float(mean), float(std), 1 / float(std) if std else None)
            for number, (mean, std) in enumerate(zip(self.mean, self.std, strict=True))
        ]
        return [*each, ("all", self.overall_mean, self.overall_std, self.scaling_factor)]


def gather_channels(segments: Sequence[Segment], shape: tuple[int, ...], name: str) -> ChannelStatistics:
    """One pass over segments of vectors, each a latent of ``shape`` laid out row by row; sums are in float64.

    Raises:
        LsamplerError: no vectors, or NaN or infinite values.
    """
    found = gather_components(segments, View(), name)
    if found is None:
        raise LsamplerError(f"{name}: holds no train vectors; encode some")
    mean, variance = by_channel(found.mean, found.squares / found.count, shape[0])
    return ChannelStatistics(found.count, shape, mean, np.sqrt(variance))


def by_channel(
    mean: NDArray[np.float64], variance: NDArray[np.float64], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance (C,) of channels from those of their components (D,): within them, and between their means."""
    means, variances = mean.reshape(channels, -1), variance.reshape(channels, -1)
    centre = means.mean(axis=1)
    return centre, variances.mean(axis=1) + np.square(means - centre[:, np.newaxis]).mean(axis=1)
