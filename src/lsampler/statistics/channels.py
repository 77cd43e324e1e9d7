"""Mean and standard deviation of the channels of spatial latents (C, h, w), and the factors that make them unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.moments import not_finite
from lsampler.statistics.passes import Segment, over_segments

PIECE = 1 << 22
"""Numbers that are converted to float64 at a time: 32 MB."""


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


@dataclass(frozen=True)
class _Moments:
    """Number of vectors, and mean and sum of squared deviations of each channel's values, (C,) float64."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    positions: int

    def __add__(self, other: _Moments) -> _Moments:
        """Of the vectors of both (Chan, Golub and LeVeque 1983)."""
        count, shift = self.count + other.count, other.mean - self.mean
        values = self.positions * self.count * other.count / count
        squares = self.squares + other.squares + np.square(shift) * values
        return _Moments(count, self.mean + shift * (other.count / count), squares, self.positions)


def gather_channels(segments: Sequence[Segment], shape: tuple[int, ...], name: str) -> ChannelStatistics:
    """One pass over segments of vectors, each a latent of ``shape`` laid out row by row; sums are in float64.

    Raises:
        LsamplerError: no vectors, or NaN or infinite values.
    """
    found = _total(over_segments(partial(_segment, shape, name), segments, "channels"))
    if found is None:
        raise LsamplerError(f"{name}: holds no train vectors; encode some")
    deviation = np.sqrt(found.squares / (found.count * found.positions))
    return ChannelStatistics(found.count, shape, found.mean, deviation)


def _segment(shape: tuple[int, ...], name: str, segment: Segment) -> _Moments | None:
    def parts() -> Iterable[_Moments]:
        row = segment.start
        for chunk in segment.chunks():
            step = max(1, PIECE // chunk.shape[1])
            for first in range(0, len(chunk), step):
                yield _moments(chunk[first : first + step], shape, name, row + first)
            row += len(chunk)

    return _total(parts())


def _moments(rows: NDArray[Any], shape: tuple[int, ...], name: str, start: int) -> _Moments:
    if len(bad := not_finite(rows)):
        raise LsamplerError(f"{name}: row {start + bad[0]} holds NaN or infinite values; encode it again")
    values = rows.reshape(len(rows), shape[0], -1).astype(np.float64)
    mean = values.mean(axis=(0, 2))
    squares = np.square(values - mean[:, np.newaxis]).sum(axis=(0, 2))
    return _Moments(len(rows), mean, squares, values.shape[2])


def _total(parts: Iterable[_Moments | None]) -> _Moments | None:
    found: _Moments | None = None
    for part in parts:
        if part is not None:
            found = part if found is None else found + part
    return found
