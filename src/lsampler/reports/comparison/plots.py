"""What the plots of a comparison need, kept with every cell, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.data.pictures import image_grid
from lsampler.plots import DATA, INK, PAPER, SERIES, VERMILION, panels, single
from lsampler.scoring.evaluator import RealData, Samples

if TYPE_CHECKING:
    from lsampler.reports.comparison.run import Cell

__all__ = [
    "IMAGES",
    "PlotData",
    "complete",
    "draw_nearest",
    "draw_planes",
    "draw_radii",
    "draw_trade_off",
    "plot_data",
    "save_picture",
]

POINTS = 300
PLANES = ((0, 1), (2, 3))
QUANTILES = 101
IMAGES = 32
JPEG_QUALITY = 88
TALLEST = 9


@dataclass(frozen=True)
class PlotData:
    """What the plots need of one row.

    Attributes:
        points: per plane of principal components, coordinates (300, 2) in sigma.
        radii: 101 quantiles of the Mahalanobis radius.
        nearest: 101 quantiles of the distance to the nearest train vector; empty without vectors.
    """

    points: list[list[list[float]]]
    radii: list[float]
    nearest: list[float]


def plot_data(real: RealData, samples: Samples) -> PlotData:
    """Projections, radii and nearest distances of one set of samples."""
    pca = real.reference.statistics().pca
    rank = pca.rank
    whitened = pca.transform(samples.latents, rank) / np.sqrt(pca.variances[:rank])
    levels = np.linspace(0, 1, QUANTILES)
    points = [np.round(whitened[:POINTS, [i, j]], 3).tolist() for i, j in PLANES if max(i, j) < rank]
    nearest: list[float] = []
    if real.reference.has_latents and samples.kind != "train":
        found = nearest_neighbours(real.rows_of(samples), real.reference.latents())
        nearest = np.quantile(found.distances[:, 0], levels).tolist()
    return PlotData(points, np.quantile(np.linalg.norm(whitened, axis=1), levels).tolist(), nearest)


def complete(plots: PlotData, rank: int) -> bool:
    """Whether everything is there that the plots draw, for principal components of a rank."""
    planes = sum(max(plane) < rank for plane in PLANES)
    return (
        len(plots.points) == planes
        and all(plane and all(len(point) == 2 for point in plane) for plane in plots.points)
        and len(plots.radii) == QUANTILES
        and len(plots.nearest) in (0, QUANTILES)
    )


def save_picture(images: NDArray[np.uint8], path: Path) -> None:
    """The first images as one JPEG, eight to a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = images[:IMAGES]
    enlarge = max(1, 64 // max(shown.shape[1:3]))
    pixels = shown.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    image_grid(pixels, min(8, len(pixels))).save(path, quality=JPEG_QUALITY)


def draw_trade_off(cells: Sequence[Cell]) -> Any:
    """Fidelity over diversity: precision against recall, a curve per sweep, the real data's point."""
    figure, axes = single(height=4.8, width=7.8)
    usable = [cell for cell in cells if {"precision", "recall"} <= set(cell.scores)]
    curves = list(dict.fromkeys(cell.curve for cell in usable if cell.curve))
    place = 0
    for curve in curves:
        rows = sorted((cell for cell in usable if cell.curve == curve), key=lambda cell: cell.place or 0.0)
        x, y = ([cell.scores[m].value for cell in rows] for m in ("recall", "precision"))
        colour = SERIES[place % len(SERIES)]
        axes.plot(x, y, "-o", color=colour, markersize=4, linewidth=1.2, label=curve)
        for cell, end in ((rows[0], 0), (rows[-1], len(rows) - 1)):
            axes.annotate(f"{cell.place:g}", (x[end], y[end]), xytext=(5, 4), textcoords="offset points", fontsize=7)
        place += 1
    markers = "sD^vPX*"
    for index, cell in enumerate(cell for cell in usable if not cell.curve and cell.kind == "drawn"):
        colour = SERIES[(place + index) % len(SERIES)]
        _point(axes, cell, markers[index % len(markers)], colour, cell.name)
    for cell in usable:
        if cell.kind != "drawn":
            _point(axes, cell, "*", INK, cell.name, size=170)
    axes.set(
        xlabel="diversity: recall, share of real vectors among the samples",
        ylabel="fidelity: precision, share of samples among real vectors",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.05),
    )
    axes.grid()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _point(axes: Any, cell: Cell, marker: str, colour: str, label: str, size: float = 45) -> None:
    recall, precision = cell.scores["recall"], cell.scores["precision"]
    x, y = recall.value, precision.value
    spread = [[x - recall.low], [recall.high - x]], [[y - precision.low], [precision.high - y]]
    axes.errorbar(x, y, xerr=spread[0], yerr=spread[1], color=colour, linewidth=0.8, fmt="none")
    axes.scatter(x, y, s=size, marker=marker, color=colour, edgecolors=PAPER, linewidths=0.6, label=label, zorder=3)


def draw_planes(cells: Sequence[Cell]) -> Any:
    """Leading PCA planes: real vectors behind each row's samples, with the 1, 2 and 3 sigma circles."""
    real = next((cell for cell in cells if cell.kind != "drawn" and cell.plots), None)
    rows = [cell for cell in cells if cell.kind == "drawn" and cell.plots and cell.plots.points]
    planes = len(rows[0].plots.points) if rows and rows[0].plots else 0
    figure, all_axes = panels(len(rows) * planes, 2 * planes, height=2.5)
    place = iter(all_axes)
    for cell in rows:
        assert cell.plots is not None  # noqa: S101 - chosen above
        for index in range(planes):
            axes = next(place)
            if real and real.plots:
                axes.scatter(*np.array(real.plots.points[index]).T, s=5, color=DATA, alpha=0.7, linewidths=0)
            axes.scatter(*np.array(cell.plots.points[index]).T, s=5, color=VERMILION, alpha=0.7, linewidths=0)
            angle = np.linspace(0, 2 * np.pi, 91)
            for sigma in (1, 2, 3):
                axes.plot(sigma * np.cos(angle), sigma * np.sin(angle), color=INK, linewidth=0.5)
            i, j = PLANES[index]
            axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal", xlabel=f"PC {i} (sigma)")
            axes.set_ylabel(f"PC {j}")
            if index == 0:
                axes.set_title(_short(cell.name), loc="left", fontsize=8)
    return figure


def draw_radii(cells: Sequence[Cell]) -> Any:
    """Mahalanobis radius: a box from the 5 to the 95 % quantile, the median marked, a row each."""
    return _ranges(cells, lambda plots: plots.radii, "Mahalanobis distance from the centre (sigma)")


def draw_nearest(cells: Sequence[Cell]) -> Any:
    """Distance to the nearest train vector likewise."""
    return _ranges(cells, lambda plots: plots.nearest, "distance to the nearest train vector (latent units)")


def _ranges(cells: Sequence[Cell], pick: Any, label: str) -> Any:
    rows = [cell for cell in cells if cell.plots and pick(cell.plots)]
    figure, axes = single(height=min(TALLEST, 0.9 + 0.26 * len(rows)), width=6.8)
    real: list[float] | None = None
    for place, cell in enumerate(rows):
        q = pick(cell.plots)
        colour = INK if cell.kind != "drawn" else VERMILION
        if cell.kind != "drawn" and real is None:
            real = q
        axes.plot([q[5], q[95]], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot([q[25], q[75]], [place, place], color=colour, linewidth=6, solid_capstyle="butt")
        axes.plot(q[50], place, "|", color=PAPER, markersize=9, markeredgewidth=1.6)
    if real is not None:
        axes.axvspan(real[5], real[95], color=DATA, alpha=0.2, linewidth=0)
    axes.set_yticks(range(len(rows)), [_short(cell.name) for cell in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set(xlabel=label, xlim=(0, None))
    axes.grid(axis="x")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 44 else name[:43] + "…"
