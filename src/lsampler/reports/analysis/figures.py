"""How the sections' figures are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsampler.plots import BLUE, DATA, GREEN, INK, ORANGE, PAPER, SERIES, VERMILION, panels, single
from lsampler.reports.analysis.pair_density import Pair, PairDensity, mass_of_ellipse
from lsampler.reports.analysis.passes import COARSE, Radii
from lsampler.reports.analysis.planes import Drawn, Plane
from lsampler.statistics.statistics import Statistics

Curve = tuple[NDArray[np.float64], NDArray[np.int64], float]
"""Middles of bins, counts, and the width of a bin."""
Fits = Mapping[str, NDArray[np.float64]]
"""Centre, sigma, residual and height (D,) of the Gaussians fitted to components."""
Points = NDArray[np.float64]
RESIDUALS = -0.3
"""Where the panels of fits draw the line of no difference."""
COLUMNS = 4
THINNED = 2  # every second cell is enough for a line, and halves the file
WINDOW_POINTS = 20_000
ELLIPSE_STYLES: dict[float, Any] = {1.0: "-", 2.0: "--", 3.0: ":"}


def draw_densities(curves: Sequence[Curve], each: Mapping[str, Any], dominant: NDArray[np.int64]) -> Any:
    """All components on the left, the first dominant ones on the right."""
    figure, (left, right) = panels(2, 2, height=3.6)
    for middles, counts, width in curves:
        left.plot(middles, counts / width, color=DATA, alpha=0.35, linewidth=0.6, rasterized=len(curves) > 64)
    left.set(title=f"all {len(curves)} components")
    centres, half_widths = each["centre"], each["half_width"]
    left.set_xlim(np.min(centres - 2 * half_widths), np.max(centres + 2 * half_widths))
    coloured = dominant[: len(SERIES)]
    for colour, j in zip(SERIES, coloured, strict=False):
        middles, counts, width = curves[j]
        left.plot(middles, counts / width, color=colour)
        right.plot(middles, counts / width, color=colour, label=f"component {j}")
    for axes in (left, right):
        axes.set(xlabel="value of the component (latent units)", ylabel="vectors per unit", ylim=(0, None))
    if len(dominant):
        right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        right.set(title="dominant components, widest reach first")
        # One far vector would leave the bells a sliver of the plot.
        reach = 1.5 * half_widths[coloured]
        right.set_xlim(np.min(centres[coloured] - reach), np.max(centres[coloured] + reach))
    else:
        right.remove()
    return figure


def draw_centres(each: Mapping[str, Any], dominant: NDArray[np.int64]) -> Any:
    """Half-width over mean, a dot per component."""
    figure, axes = single()
    mean, half_widths = each["mean"], each["half_width"]
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.scatter(mean, half_widths, s=10, color=DATA, linewidths=0)
    axes.scatter(mean[dominant], half_widths[dominant], s=22, color=VERMILION, linewidths=0)
    for j in dominant[:12]:
        axes.annotate(str(j), (mean[j], half_widths[j]), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="mean of the component (latent units)", ylabel="half-width (latent units)")
    axes.grid()
    return figure


def draw_radius(radii: Radii, radius: Mapping[str, float]) -> Any:
    """Two bin widths, and where the radius is expected."""
    figure, both = panels(2, 2, height=3.2)
    expected, root = radius["expected"], radius["sqrt_dimension"]
    for axes, merge in zip(both, (COARSE, 1), strict=True):
        middles, numbers, width = radii.density(merge)
        axes.step(middles, numbers / width, where="mid", color=BLUE, linewidth=1.4 if merge > 1 else 0.7)
        axes.axvline(expected, color=VERMILION, linestyle="--", label=f"sqrt(sum(mu² + sigma²)) = {expected:.2f}")
        axes.axvline(root, color=INK, linestyle=":", label=f"sqrt(D) = {root:.2f}")
        axes.set(title=f"intervals of {width:g}", ylabel="vectors per unit of |z|", ylim=(0, None))
        axes.set(xlabel="|z| (latent units)")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_cube_radii(cubes: Mapping[float, Radii], data: Radii | None, expected: float) -> Any:
    """Densities over the radius of cubes by their half side, the matching one last."""
    figure, axes = single(height=3.6, width=7.5)
    if data is None:
        axes.axvline(expected, color=INK, linestyle="--", label="data, root mean square")
    else:
        middles, counts, _ = data.density(COARSE)
        axes.fill_between(middles, counts / counts.max(), color=DATA, alpha=0.6, linewidth=0, label="data")
    for number, (b, radii) in enumerate(cubes.items()):
        middles, counts, _ = radii.density(COARSE // 2)
        matches = number == len(cubes) - 1
        label = f"cube, b = {b:.3g}" + (" (matches)" if matches else "")
        colour, style = SERIES[number % len(SERIES)], "--" if matches else "-"
        axes.plot(middles, counts / counts.max(), style, color=colour, label=label)
    axes.set(xlabel="|z| (latent units)", ylabel="density, maximum 1", ylim=(0, 1.05), xlim=(0, None))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def draw_matrix(correlation: NDArray[np.float64]) -> Any:
    """The matrix twice: as it is, and sorted."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - np.abs(correlation), 0, None)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance, checks=False), "average"))
    limit = float(max(0.2, np.abs(correlation - np.eye(len(correlation))).max()))
    figure, (left, right) = panels(2, 2, height=4.0)
    for axes, matrix in ((left, correlation), (right, correlation[np.ix_(order, order)])):
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="equal")
    left.set(title="components in the encoder's order", xlabel="component", ylabel="component")
    right.set(title="correlated components together", xlabel="position in the order")
    figure.colorbar(picture, ax=(left, right), shrink=0.8, label="Pearson r (the diagonal is 1)")
    return figure


def draw_counts(thresholds: Sequence[float], shares: Mapping[str, ArrayLike]) -> Any:
    """Bars of the share of pairs above each limit, for these latents and for the post."""
    figure, axes = single(height=3.0)
    positions = np.arange(len(thresholds))
    for (label, values), offset, colour in zip(shares.items(), (-0.2, 0.2), (BLUE, ORANGE), strict=True):
        axes.bar(positions + offset, 100 * np.asarray(values), 0.38, color=colour, label=label)
    axes.set_xticks(positions, [f"{limit:g}" for limit in thresholds])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="|r| above", ylabel="share of all pairs (%)")
    axes.grid(axis="y")
    axes.legend(loc="upper right")
    return figure


def draw_fits(
    statistics: Statistics,
    fits: Fits,
    ks: NDArray[np.float64],
    shown: Sequence[int],
    bin_width: float | None,
) -> Any:
    """A panel per component: density and fit, with the difference below the axis."""
    figure, all_axes = panels(len(shown), 4, height=2.5)
    for axes, j in zip(all_axes, shown, strict=True):
        middles, counts, _ = statistics.histogram(j, bin_width=bin_width)
        top = counts.max()
        axes.plot(middles, counts / top, color=BLUE)
        if np.isfinite(fits["sigma"][j]):
            model = fits["height"][j] * np.exp(-0.5 * ((middles - fits["centre"][j]) / fits["sigma"][j]) ** 2)
            axes.plot(middles, model / top, "--", color=VERMILION)
            difference = RESIDUALS + (counts - model) / top
            axes.fill_between(middles, RESIDUALS, difference, color=INK, alpha=0.5, linewidth=0)
        axes.axhline(RESIDUALS, color=INK, linewidth=0.5)
        axes.set_xlim(statistics.mean[j] - 5 * statistics.std[j], statistics.mean[j] + 5 * statistics.std[j])
        axes.set(title=f"component {j}, KS {ks[j]:.3f}", xlabel="value (latent units)", ylim=(-0.5, 1.12))
        axes.set_yticks([RESIDUALS, 0, 0.5, 1], ["diff.", "0", "0.5", "1"])
    return figure


def draw_mahalanobis(radii: Radii, rank: int, law: Any) -> Any:
    """Density of the distance beside that of a normal, whose squared distances follow ``law``."""
    figure, axes = single(height=3.2, width=7.5)
    middles, counts, width = radii.density(30)
    axes.fill_between(middles, counts / counts.sum() / width, step="mid", color=DATA, alpha=0.6, label="latents")
    x = np.linspace(1e-3, max(radii.quantile(0.95), float(np.sqrt(law.ppf(0.95)))) * 1.4, 400)
    axes.plot(x, law.pdf(x * x) * 2 * x, "--", color=VERMILION, label="normal of the same\nmean and covariance")
    axes.set(xlabel=f"Mahalanobis distance in {rank} dimensions (sigma)", ylabel="density")
    axes.set(ylim=(0, None), xlim=(0, x[-1]))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def draw_variance(ratio: NDArray[np.float64], needed: Mapping[str, int]) -> Any:
    """Scree plot and cumulative curve."""
    figure, (left, right) = panels(2, 2, height=3.3)
    shown = min(40, len(ratio))
    left.bar(np.arange(shown), 100 * ratio[:shown], color=BLUE, width=0.75)
    left.set(xlabel="principal component", ylabel="explained variance (%)", title=f"the first {shown}")
    left.grid(axis="y")
    right.plot(np.arange(1, len(ratio) + 1), 100 * np.cumsum(ratio), color=BLUE, linewidth=1.8)
    for (share, count), colour in zip(needed.items(), (VERMILION, SERIES[2], SERIES[3]), strict=True):
        height, lines = 100 * float(share), [count, count, 0]
        label = f"{height:.0f} %: {count} components"
        right.plot(lines, [0, height, height], color=colour, linewidth=1.0, label=label)
    right.legend(loc="lower right")
    right.set(xlabel="number of leading components", ylabel="cumulative share (%)", title="cumulated")
    right.set(xlim=(0, len(ratio)), ylim=(0, 103))
    return figure


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
    """Scales across, planes down (with their columns of data and control, in sigma); data and control side by side."""
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
