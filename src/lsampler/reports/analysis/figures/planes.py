"""Figures in planes of two coordinates: scatter plots, confidence ellipses, contours, windows and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.plots import BLUE, DATA, GREEN, INK, ORANGE, PAPER, SERIES, VERMILION, panels
from lsampler.reports.analysis.pair_density import Pair, PairDensity, mass_of_ellipse
from lsampler.reports.analysis.planes import Drawn, Plane

COLUMNS = 4
THINNED = 2  # every second cell is enough for a line, and halves the file
WINDOW_POINTS = 20_000
ELLIPSE_STYLES: dict[float, Any] = {1.0: "-", 2.0: "--", 3.0: ":"}
Points = NDArray[np.float64]


def ellipse(mean: Points, covariance: Points, sigmas: float) -> Points:
    """The n-sigma confidence ellipse as points (181, 2); inside it (x-m)^T C^-1 (x-m) <= n^2."""
    angle = np.linspace(0, 2 * np.pi, 181)
    variances, axes = np.linalg.eigh(covariance)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    points: Points = (axes * np.sqrt(np.maximum(variances, 0))) @ circle * sigmas
    return points.T + mean


def square_around(axes: Any, points: Points, labels: tuple[str, str], margin: float = 1.0) -> None:
    """Show a square that holds the points, at equal scales."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) * margin / 2
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set(aspect="equal", xlabel=labels[0], ylabel=labels[1])


def square_around_plane(axes: Any, plane: Plane, *extra: Points) -> None:
    """Show the 3.5-sigma ellipse of a plane, and the extra points."""
    points = np.concatenate([ellipse(plane.mean, plane.covariance, 3.5), *extra])
    square_around(axes, points, plane.labels, 1.04)


def draw_planes(planes: Sequence[Plane], drawn: Sequence[Drawn], sigmas: Sequence[float]) -> Any:
    """A panel per plane: data, ellipses, centre, origin, and the strategies' vectors in colours."""
    figure, all_axes = panels(len(planes), COLUMNS, height=9.0 / COLUMNS)
    for axes, plane in zip(all_axes, planes, strict=True):
        axes.scatter(*plane.points.T, s=2, color=DATA, alpha=0.5, linewidths=0, rasterized=True, label="data")
        projected = [plane.project(vectors.latents) for vectors in drawn]
        for number, (vectors, points) in enumerate(zip(drawn, projected, strict=True), 1):
            style: dict[str, Any] = {"color": SERIES[number % len(SERIES)], "edgecolors": PAPER, "linewidths": 0.3}
            axes.scatter(*points.T, s=8, label=vectors.name, **style)
        for sigma in sigmas:
            axes.plot(*ellipse(plane.mean, plane.covariance, sigma).T, color=INK, linewidth=1.0)
        axes.scatter(*plane.mean, marker="X", s=55, color=ORANGE, edgecolors=INK, linewidths=0.6, label="centre")
        axes.scatter(*-plane.shift, marker="P", s=55, color=PAPER, edgecolors=INK, linewidths=0.9, label="origin")
        square_around_plane(axes, plane, -plane.shift[np.newaxis], *projected)
    handles = all_axes[0].get_legend_handles_labels()
    legend = figure.legend(*handles, loc="outside lower center", ncols=min(7, len(drawn) + 3))
    for handle in legend.legend_handles:
        handle.set(alpha=1.0, sizes=[25])
    return figure


def draw_marked(marked: Sequence[Drawn], planes: Sequence[Plane], sigmas: float) -> Any:
    """Strategies down, planes across; the vectors inside the core as dots, the others as crosses."""
    figure, all_axes = panels(len(marked) * len(planes), len(planes), height=9.0 / len(planes))
    for axes, (vectors, plane) in zip(all_axes, ((v, plane) for v in marked for plane in planes), strict=True):
        if plane is planes[0]:
            axes.set_title(vectors.name, loc="left", fontweight="bold")
        axes.scatter(*plane.points.T, s=1.5, color=DATA, alpha=0.4, linewidths=0, rasterized=True)
        axes.plot(*ellipse(plane.mean, plane.covariance, sigmas).T, color=INK, linewidth=1.0)
        points = plane.project(vectors.latents)
        inside = np.ones(len(points), dtype=bool) if vectors.inside is None else vectors.inside
        axes.scatter(*points[inside].T, s=12, color=GREEN, edgecolors=PAPER, linewidths=0.3)
        axes.scatter(*points[~inside].T, s=16, color=VERMILION, marker="x", linewidths=0.9)
        square_around_plane(axes, plane, points)
    return figure


def draw_contours(
    densities: Sequence[PairDensity],
    labels: Sequence[tuple[str, str]],
    titles: Sequence[str] = (),
    columns: int = COLUMNS,
) -> Any:
    """A panel per pair: contours of the density, and confidence ellipses of the same masses."""
    from matplotlib.lines import Line2D

    figure, all_axes = panels(len(densities), columns, height=9.0 / columns + (0.2 if titles else 0.0))
    for index, (axes, density) in enumerate(zip(all_axes, densities, strict=True)):
        x, y = (grid[::THINNED, ::THINNED] for grid in density.grid)
        levels = sorted({density.level(mass_of_ellipse(n)) for n in (1, 2, 3)} | {density.level(0.15)})
        axes.contour(x, y, density.density[::THINNED, ::THINNED], levels=levels, colors=[BLUE], linewidths=0.9)
        for sigmas, style in ELLIPSE_STYLES.items():
            outline = ellipse(density.mean, density.covariance, sigmas)
            axes.plot(*outline.T, color=VERMILION, linewidth=1.2, linestyle=style)
        axes.scatter(*density.mean, marker="X", s=35, color=ORANGE, edgecolors=INK, linewidths=0.5)
        square_around(axes, ellipse(density.mean, density.covariance, 3.9), labels[index])
        if titles:
            axes.set_title(titles[index])
    handles = [Line2D([], [], color=BLUE, linewidth=0.9)]
    handles += [Line2D([], [], color=VERMILION, linestyle=style) for style in ELLIPSE_STYLES.values()]
    names = ["density, 15 / 39 / 86 / 99 % inside", *(f"{sigmas:g} sigma ellipse" for sigmas in ELLIPSE_STYLES)]
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def draw_windows(data: Points, control: Points, planes: Mapping[Pair, list[int]], half_sides: Sequence[float]) -> Any:
    """Scales across, planes down; data and control side by side.

    Args:
        data: (n, q) coordinates in sigma.
        control: (n, q) coordinates of a normal sample.
        planes: for each pair of principal components its columns in the coordinates.
        half_sides: of the windows, in sigma.
    """
    cells = [(pair, side, colour) for pair in planes for side in half_sides for colour in (BLUE, VERMILION)]
    figure, all_axes = panels(len(cells), 2 * len(half_sides), height=1.75)
    for axes, (pair, half_side, colour) in zip(all_axes, cells, strict=True):
        points = (data if colour == BLUE else control)[:, planes[pair]]
        window = points[(np.abs(points) <= half_side).all(axis=1)][:WINDOW_POINTS]
        size = float(np.clip(3000 / max(len(window), 1), 0.4, 6))
        axes.scatter(*window.T, s=size, color=colour, linewidths=0, alpha=0.8, rasterized=True)
        axes.set(xlim=(-half_side, half_side), ylim=(-half_side, half_side), aspect="equal")
        axes.set_xticks([-half_side, 0, half_side], [f"{-half_side:g}", "0", f"{half_side:g}"])
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        if pair == cells[0][0]:
            axes.set_title("latents" if colour == BLUE else "normal")
        if (half_side, colour) == cells[0][1:]:
            axes.set_ylabel(f"PC {pair[1]} over PC {pair[0]}")
        if pair == cells[-1][0]:
            axes.set_xlabel("sigma")
    return figure


def draw_maps(maps: Mapping[str, Sequence[Points]]) -> Any:
    """Spaces across; the map of the latents above, that of the control below."""
    figure, all_axes = panels(2 * len(maps), len(maps), height=9.0 / max(len(maps), 3))
    for column, (name, pair) in enumerate(maps.items()):
        for row, (points, colour) in enumerate(zip(pair, (BLUE, VERMILION), strict=True)):
            axes = all_axes[row * len(maps) + column]
            size = float(np.clip(8000 / len(points), 0.1, 5))
            axes.scatter(*points.T, s=size, color=colour, linewidths=0, alpha=0.7, rasterized=True)
            axes.set(aspect="equal", xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name)
            if column == 0:
                axes.set_ylabel("normal sample" if row else "latents")
    return figure
