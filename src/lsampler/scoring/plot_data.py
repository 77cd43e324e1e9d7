"""What a report draws of one set of samples: projections, radii, nearest distances, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.data.pictures import image_grid
from lsampler.scoring.samples import RealData, Samples

POINTS = 300
PLANES = ((0, 1), (2, 3))
QUANTILES = 101
IMAGES = 32
JPEG_QUALITY = 88


@dataclass(frozen=True)
class PlotData:
    """What the plots need of one row."""

    points: list[list[list[float]]]
    """Coordinates (300, 2) in sigma for each plane of principal components."""
    radii: list[float]
    """101 quantiles of the Mahalanobis radius."""
    nearest: list[float]
    """101 quantiles of the distance to the nearest train vector; empty without vectors."""


def plot_data(real: RealData, samples: Samples) -> PlotData:
    """Projections, radii and nearest distances of one set of samples."""
    statistics = real.reference.statistics()
    rank = statistics.pca.rank
    whitened = statistics.whitening(rank).forward(samples.latents)
    levels = np.linspace(0, 1, QUANTILES)
    points = [np.round(whitened[:POINTS, [i, j]], 3).tolist() for i, j in PLANES if max(i, j) < rank]
    nearest: list[float] = []
    if real.reference.has_latents and samples.kind != "train":
        found = nearest_neighbours(real.rows_of(samples), real.reference.latents())
        nearest = np.quantile(found.distances[:, 0], levels).tolist()
    return PlotData(points, np.quantile(np.linalg.norm(whitened, axis=1), levels).tolist(), nearest)


def picture_of(images: NDArray[np.uint8]) -> bytes:
    """Images as one JPEG, eight to a row, small ones enlarged."""
    enlarge = max(1, 64 // max(images.shape[1:3]))
    pixels = images.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    buffer = io.BytesIO()
    image_grid(pixels, min(8, len(pixels))).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
