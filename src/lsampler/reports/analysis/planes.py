"""Planes of two coordinates: the data, confidence ellipses, origin, centre, and strategies' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, DATA, INK, ORANGE, PAPER, SERIES, VERMILION, panels
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.density import PairDensity, mass_of_ellipse

__all__ = ["Drawn", "Plane", "draw_contours", "draw_planes", "ellipse", "overlays"]

SCATTER_ROWS = 5000
THINNED = 2  # every second cell is enough for a line, and halves the file
ELLIPSE_STYLES: dict[float, Any] = {1.0: "-", 2.0: "--", 3.0: ":"}


@dataclass(frozen=True)
class Drawn:
    """Vectors (n, D) of one strategy, and which of them are inside a core, if that was asked."""

    name: str
    latents: NDArray[np.float32]
    inside: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Plane:
    """Two coordinates of latent space: z @ directions.T, counted from the origin of the latent space.

    Attributes:
        label: of the two axes.
        directions: (2, D).
        shift: (2,), subtracted after the projection.
        mean: (2,) of the data in the plane.
        covariance: (2, 2) likewise.
        points: (n, 2) of the data, empty without latents.
    """

    labels: tuple[str, str]
    directions: NDArray[np.float64]
    shift: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    points: NDArray[np.float64]

    @classmethod
    def of_components(cls, context: Context, i: int, j: int) -> Plane:
        """The plane of two original components."""
        directions = np.zeros((2, context.dimension))
        directions[[0, 1], [i, j]] = 1.0
        return cls._of(context, directions, np.zeros(2), (f"component {i}", f"component {j}"))

    @classmethod
    def of_principal(cls, context: Context, i: int, j: int) -> Plane:
        """The plane of two principal components, counted from 0, centred."""
        directions = context.pca.axes[[i, j]]
        return cls._of(context, directions, directions @ context.pca.mean, (f"PC {i}", f"PC {j}"))

    @classmethod
    def _of(
        cls, context: Context, directions: NDArray[np.float64], shift: NDArray[np.float64], labels: tuple[str, str]
    ) -> Plane:
        statistics = context.statistics
        rows = context.some(SCATTER_ROWS) if context.has_latents else None
        points = np.empty((0, 2)) if rows is None else rows @ directions.T - shift
        return cls(
            labels,
            directions,
            shift,
            directions @ statistics.mean - shift,
            directions @ statistics.covariance @ directions.T,
            points,
        )

    def project(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Latent vectors (n, D) -> (n, 2)."""
        return np.asarray(latents @ self.directions.T - self.shift, dtype=np.float64)


def overlays(context: Context, n: int) -> tuple[list[Drawn], list[str]]:
    """``n`` vectors of every strategy of the options; for those that cannot be fitted, why."""
    drawn, problems = [], []
    names = [strategy.name for strategy in context.options.strategies]
    for strategy in context.options.strategies:
        name = strategy.name if names.count(strategy.name) == 1 else strategy.key()
        try:
            # A copy: the caller's own stays as it was fitted.
            latents = strategy.model_copy().fit(context.reference).sample(n, seed=context.options.seed)
        except LsamplerError as error:
            problems.append(f"No vectors of {name}: {error}")
        else:
            drawn.append(Drawn(name, latents.numpy()))
    return drawn, problems


def ellipse(mean: NDArray[np.float64], covariance: NDArray[np.float64], sigmas: float) -> NDArray[np.float64]:
    """The n-sigma confidence ellipse as points (181, 2); inside it (x-m)^T C^-1 (x-m) <= n^2."""
    angle = np.linspace(0, 2 * np.pi, 181)
    variances, axes = np.linalg.eigh(covariance)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    points: NDArray[np.float64] = (axes * np.sqrt(np.maximum(variances, 0))) @ circle * sigmas
    return points.T + mean


def limits(axes: Any, plane: Plane, extra: Sequence[NDArray[np.float64]] = (), *, origin: bool = True) -> None:
    """A square that holds the 3.5-sigma ellipse, the origin and the extra points, at equal scales."""
    around = [ellipse(plane.mean, plane.covariance, 3.5), *extra]
    if origin:
        around.append(-plane.shift[np.newaxis])
    points = np.concatenate(around)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) * 1.04
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
    axes.set_ylim(middle[1] - side / 2, middle[1] + side / 2)
    axes.set_aspect("equal")
    axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1])


def draw_planes(
    planes: Sequence[Plane],
    drawn: Sequence[Drawn],
    *,
    columns: int,
    sigmas: Sequence[float] = (2.0,),
    origin: bool = True,
) -> Any:
    """A panel per plane: data, ellipses, centre, origin, and the strategies' vectors in colours."""
    figure, all_axes = panels(len(planes), columns, height=9.0 / columns)
    for axes, plane in zip(all_axes, planes, strict=True):
        axes.scatter(*plane.points.T, s=2, color=DATA, alpha=0.5, linewidths=0, rasterized=True, label="data")
        for place, vectors in enumerate(drawn):
            axes.scatter(
                *plane.project(vectors.latents).T,
                s=8,
                color=SERIES[(place + 1) % len(SERIES)],
                linewidths=0.3,
                edgecolors=PAPER,
                label=vectors.name,
            )
        for sigma in sigmas:
            axes.plot(*ellipse(plane.mean, plane.covariance, sigma).T, color=INK, linewidth=1.0)
        axes.scatter(*plane.mean, marker="X", s=55, color=ORANGE, edgecolors=INK, linewidths=0.6, label="centre")
        if origin:
            axes.scatter(*-plane.shift, marker="P", s=55, color=PAPER, edgecolors=INK, linewidths=0.9, label="origin")
        limits(axes, plane, [plane.project(vectors.latents) for vectors in drawn], origin=origin)
    legend = figure.legend(
        *all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(7, len(drawn) + 3)
    )
    for handle in legend.legend_handles:
        handle.set(alpha=1.0, sizes=[25])
    return figure


def draw_contours(
    densities: Sequence[PairDensity], labels: Sequence[tuple[str, str]], *, columns: int, titles: Sequence[str] = ()
) -> Any:
    """A panel per pair: contours of the density, and confidence ellipses of the same masses."""
    figure, all_axes = panels(len(densities), columns, height=9.0 / columns + (0.2 if titles else 0.0))
    for index, (axes, density) in enumerate(zip(all_axes, densities, strict=True)):
        x, y = (grid[::THINNED, ::THINNED] for grid in density.grid)
        levels = sorted({density.level(mass_of_ellipse(n)) for n in (1, 2, 3)} | {density.level(0.15)})
        axes.contour(x, y, density.density[::THINNED, ::THINNED], levels=levels, colors=[BLUE], linewidths=0.9)
        for sigmas, style in ELLIPSE_STYLES.items():
            outline = ellipse(density.mean, density.covariance, sigmas)
            axes.plot(*outline.T, color=VERMILION, linewidth=1.2, linestyle=style)
        axes.scatter(*density.mean, marker="X", s=35, color=ORANGE, edgecolors=INK, linewidths=0.5)
        reach = ellipse(density.mean, density.covariance, 3.9)
        side = float(np.ptp(reach, axis=0).max())
        middle = (reach.max(axis=0) + reach.min(axis=0)) / 2
        axes.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
        axes.set_ylim(middle[1] - side / 2, middle[1] + side / 2)
        axes.set_aspect("equal")
        axes.set(xlabel=labels[index][0], ylabel=labels[index][1])
        if titles:
            axes.set_title(titles[index])
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=BLUE, linewidth=0.9)]
    handles += [Line2D([], [], color=VERMILION, linestyle=style) for style in ELLIPSE_STYLES.values()]
    names = ["density, 15 / 39 / 86 / 99 % inside", *(f"{sigmas:g} sigma ellipse" for sigmas in ELLIPSE_STYLES)]
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure
