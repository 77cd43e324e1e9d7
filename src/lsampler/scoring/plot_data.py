"""What a report draws of one set of samples: projections, radii, nearest distances, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.data.pictures import image_grid
from lsampler.scoring.samples import RealData, Samples
from lsampler.scoring.subject import Decode, Latents

POINTS = 300
PLANES = ((0, 1), (2, 3))
QUANTILES = 101
PICTURED = 16
ACROSS = 8
SMALL = 64
APART = 10
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


def plot_data(real: RealData, samples: Samples) -> tuple[PlotData, Latents | None]:
    """Projections, radii and nearest distances of one set of samples.

    Returns:
        The data, and the train vectors (16, D) nearest to the first samples; None where there are no vectors.
    """
    statistics = real.reference.statistics()
    rank = statistics.judged
    whitened = statistics.whitening(rank).forward(samples.latents)
    levels = np.linspace(0, 1, QUANTILES)
    points = [np.round(whitened[:POINTS, [i, j]], 3).tolist() for i, j in PLANES if max(i, j) < rank]
    distances: list[float] = []
    neighbours = None
    if real.reference.has_latents and samples.kind != "train":
        train = real.reference.latents()
        found = nearest_neighbours(real.rows_of(samples), train)
        distances = np.quantile(found.distances[:, 0], levels).tolist()
        neighbours = train[found.indices[:PICTURED, 0]]
    radii = np.quantile(np.linalg.norm(whitened, axis=1), levels).tolist()
    return PlotData(points, radii, distances), neighbours


def picture_of(decode: Decode, latents: Latents, neighbours: Latents | None) -> bytes:
    """The first samples (n, D) decoded, and beneath each its nearest real vector decoded, as one JPEG."""
    samples = decode(latents[:PICTURED])
    beneath = decode(neighbours) if neighbours is not None else samples[:0]
    across, enlarge = min(ACROSS, len(samples)), max(1, SMALL // samples.shape[2])
    placed, top = [], 0
    for start in range(0, len(samples), ACROSS):
        part = slice(start, start + ACROSS)
        top += APART if start and len(beneath) else 0
        for images in filter(len, (samples[part], beneath[part])):
            placed.append((top, image_grid(images.repeat(enlarge, axis=1).repeat(enlarge, axis=2), across)))
            top += placed[-1][1].height
    first = placed[0][1]
    sheet = Image.new(first.mode, (first.width, top), "white")
    for place, grid in placed:
        sheet.paste(grid, (0, place))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
