"""What a report draws of one set of samples: projections, radii, nearest distances, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.data.item_plots import HALF_PAGE, PLOTTED, as_svg, figure_of, paired_signals
from lsampler.data.items import Item
from lsampler.data.pictures import enlarged, image_grid
from lsampler.plots import house_style
from lsampler.scoring.samples import RealData, Samples
from lsampler.scoring.subject import Latents

POINTS = 300
PLANES = ((0, 1), (2, 3))
QUANTILES = 101
PICTURED = 16
ACROSS = 8
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


def picture_of(real: RealData, samples: Samples, neighbours: Latents | None) -> bytes | None:
    """The items of the first samples beside real ones, decoded: images as one JPEG, others as an SVG.

    Beneath each image and each signal is the one of its nearest real vector; rows of tables, and other arrays, are
    shown by their densities over those of real vectors.

    Returns:
        The file; None if there is no decoder.
    """
    if real.decode is None:
        return None
    first = samples.head(PICTURED).items
    beneath = real.decode(neighbours) if neighbours is not None else first[:0]
    if first.dtype == np.uint8:
        return _sheet(first, beneath)
    item = real.item or Item.guessed(first.shape[1:])
    if item.kind == "signal" and len(beneath):
        figure = partial(paired_signals, first, beneath, item)
    else:
        known = real.decode(real.train[:PLOTTED]) if real.reference.has_latents else None
        figure = partial(figure_of, samples.head(PLOTTED).items, item, known, width=HALF_PAGE)
    with house_style():
        return as_svg(figure())


def _sheet(samples: NDArray[np.uint8], beneath: NDArray[np.uint8]) -> bytes:
    """Images (n, H, W, C), and beneath each its nearest real one, as one JPEG."""
    across = min(ACROSS, len(samples))
    placed, top = [], 0
    for start in range(0, len(samples), ACROSS):
        part = slice(start, start + ACROSS)
        top += APART if start and len(beneath) else 0
        for images in filter(len, (samples[part], beneath[part])):
            placed.append((top, image_grid(enlarged(images), across)))
            top += placed[-1][1].height
    first = placed[0][1]
    sheet = Image.new(first.mode, (first.width, top), "white")
    for place, grid in placed:
        sheet.paste(grid, (0, place))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=JPEG_QUALITY, comment=str(first.height).encode())
    return buffer.getvalue()


def top_line(picture: bytes) -> bytes:
    """The first line of samples of a picture, as JPEG; its height is a comment in the file."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        height = min(int(image.info["comment"]), image.height)
        image.crop((0, 0, image.width, height)).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
