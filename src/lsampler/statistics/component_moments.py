"""Mean, variance and extremes of each component of vectors, without their covariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment, View, over_segments

PIECE = 1 << 22
"""Numbers that are converted to float64 at a time: 32 MB."""


@dataclass(frozen=True)
class ComponentMoments:
    """Moments and extremes of the components of at least one vector.

    Attributes:
        count: number of vectors.
        mean: (D,) float64.
        squares: (D,) float64, sums of squared deviations from the mean.
        minimum: (D,) float64.
        maximum: (D,) float64.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    def __add__(self, other: ComponentMoments) -> ComponentMoments:
        """Of the vectors of both (Chan, Golub and LeVeque 1983)."""
        count, shift = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + np.square(shift) * (self.count * other.count / count)
        low, high = np.minimum(self.minimum, other.minimum), np.maximum(self.maximum, other.maximum)
        return ComponentMoments(count, self.mean + shift * (other.count / count), squares, low, high)


def gather_components(segments: Sequence[Segment], view: View, name: str) -> ComponentMoments | None:
    """One pass over all vectors that ``view`` lets through; None if there are none. Sums are in float64.

    Raises:
        LsamplerError: NaN or infinite values.
    """
    found: ComponentMoments | None = None
    for part in over_segments(partial(_segment, view, name), segments, "statistics"):
        found = part if found is None or part is None else found + part
    return found


def _segment(view: View, name: str, segment: Segment) -> ComponentMoments | None:
    found: ComponentMoments | None = None
    for part in _parts(view, name, segment):
        found = part if found is None else found + part
    return found


def _parts(view: View, name: str, segment: Segment) -> Iterator[ComponentMoments]:
    row = segment.start
    for chunk in segment.chunks():
        step = max(1, PIECE // chunk.shape[1])
        for first in range(0, len(chunk), step):
            rows = chunk[first : first + step]
            if len(bad := not_finite(rows)):
                number = row + first + bad[0]
                raise LsamplerError(f"{name}: row {number} holds NaN or infinite values; encode it again")
            if len(rows := view(rows)):
                yield _moments(rows)
        row += len(chunk)


def _moments(rows: NDArray[Any]) -> ComponentMoments:
    values = rows.astype(np.float64)
    mean = values.mean(axis=0)
    low, high = values.min(axis=0), values.max(axis=0)
    return ComponentMoments(len(values), mean, np.square(values - mean).sum(axis=0), low, high)
