"""Section 8: do the latents lie on filaments, and would a normal sample look different?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, VERMILION, panels
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent

__all__ = ["SECTION", "clark_evans", "largest_void", "two_nn_dimension"]

PLANES = ((0, 1), (0, 17), (7, 34))
HALF_SIDES = (3.5, 1.0, 0.25)
CONTROLS = 99
PLANE_ROWS = 200_000
NEIGHBOUR_ROWS = 5000
VOID_GRID = 80
FEWEST = 30
SHOWN = 20_000


def clark_evans(points: NDArray[np.float64], area: float) -> float:
    """Mean distance to the nearest neighbour over 0.5 / sqrt(density): 1 for chance (Clark and Evans 1954).

    Smaller for points on lines or in clumps; (n, 2) points of a region of ``area``.
    """
    from scipy.spatial import KDTree

    distance, _ = KDTree(points).query(points, k=2)
    return float(distance[:, 1].mean() * 2 * np.sqrt(len(points) / area))


def largest_void(points: NDArray[np.float64], half_side: float) -> float:
    """Radius of the largest empty circle centred in the square, in units of 1 / sqrt(density).

    Centres are tried on a grid of 80 x 80, so the radius is a little too small.
    """
    from scipy.spatial import KDTree

    line = (np.arange(VOID_GRID) + 0.5) / VOID_GRID * 2 * half_side - half_side
    centres = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    distance, _ = KDTree(points).query(centres)
    return float(distance.max() * np.sqrt(len(points)) / (2 * half_side))


def two_nn_dimension(rows: NDArray[np.floating]) -> float:
    """The intrinsic dimension by the ratio of the two nearest distances (Facco et al. 2017): n / sum(ln(r2 / r1)).

    1 for a curve however it winds. In high dimensions with few vectors it underestimates, for
    the data as for a control of the same size. Duplicates are left out.
    """
    from sklearn.neighbors import NearestNeighbors

    distance, _ = NearestNeighbors(n_neighbors=3).fit(rows).kneighbors(rows)
    first, second = distance[:, 1], distance[:, 2]
    usable = (first > 0) & (second > first)
    if not usable.any():
        raise LsamplerError("all vectors coincide with another; nothing to measure")
    return float(usable.sum() / np.log(second[usable] / first[usable]).sum())


def run(context: Context) -> Result:
    """Windows of PCA planes at shrinking scales, and the same for normal samples."""
    pca = context.pca
    planes = [pair for pair in PLANES if max(pair) < pca.rank] or [(0, min(1, pca.rank - 1))]
    if planes[0][0] == planes[0][1]:
        raise LsamplerError("planes need at least two components")
    axes = list(dict.fromkeys(k for pair in planes for k in pair))
    coordinates = standard_coordinates(context, axes)
    control = context.rng("control").normal(size=coordinates.shape)
    result = Result({"vectors": len(coordinates), "of": context.count, "planes": []})
    rng = context.rng("controls")
    rows = []
    for pair in planes:
        columns = [axes.index(k) for k in pair]
        for half_side in HALF_SIDES[1:]:
            row = compare(coordinates[:, columns], half_side, rng)
            result.measured["planes"].append({"plane": list(pair), "half_side_sigma": half_side, **row})
            if row["points"] >= FEWEST:
                rows.append([f"({pair[0]}, {pair[1]})", half_side, *row.values()])
            context.advance(context.count // (len(planes) * (len(HALF_SIDES) - 1)))
    result.tables.append(
        Table(
            "voids",
            f"Nearest neighbours and voids in square windows around the centre, beside {CONTROLS} normal samples of "
            "the same size",
            [
                "plane (PC)",
                "half side (sigma)",
                "points",
                "Clark-Evans R",
                "normal: mean R",
                "share of normal samples as low",
                "largest void",
                "normal: mean",
                "normal samples",
            ],
            rows,
        )
    )
    add_dimension(result, context)
    finest = [row for row in result.measured["planes"] if row["normal_clark_evans"] is not None]
    if finest:
        lowest = min(finest, key=lambda row: row["clark_evans"] / row["normal_clark_evans"])
        result.findings.append(
            f"Nearest neighbours in the windows are {percent(lowest['clark_evans'])} as far apart as chance has it "
            f"where they are closest (plane PC {lowest['plane'][0]}, {lowest['plane'][1]}), "
            f"{percent(lowest['normal_clark_evans'])} for normal samples: 100 % is chance, filaments would be far "
            "below."
        )
    else:
        result.missing.append(f"No window holds {FEWEST} vectors; distances there say nothing.")
    result.figures.append(
        Figure(
            "zoom",
            "The same planes at shrinking scales: these latents (blue) and one normal sample of the same size and "
            f"covariance (red), which has no filaments. Up to {SHOWN:,} points a panel.",
            lambda: draw(coordinates, control, axes, planes),
        )
    )
    return result


def standard_coordinates(context: Context, axes: list[int]) -> NDArray[np.float64]:
    """(n, len(axes)) coordinates along principal axes, in sigma, of up to 200,000 vectors at random."""
    pca = context.pca
    directions = pca.axes[axes] / np.sqrt(pca.variances[axes, np.newaxis])
    keep = context.rng("planes").random
    share = min(1.0, PLANE_ROWS / context.count)
    parts = [np.empty((0, len(axes)))]
    for block in context.chunks():
        chosen = block if share == 1.0 else block[keep(len(block)) < share]
        parts.append((chosen - pca.mean) @ directions.T)
    return np.concatenate(parts)


def compare(points: NDArray[np.float64], half_side: float, rng: np.random.Generator) -> dict[str, Any]:
    """One window of one plane beside normal samples: Clark-Evans R and the largest void."""
    area = (2 * half_side) ** 2
    window = inside(points, half_side)
    if len(window) < FEWEST:
        return {"points": len(window), "clark_evans": None, "normal_clark_evans": None, "rank": None} | {
            "largest_void": None,
            "normal_largest_void": None,
            "normal_samples": 0,
        }
    r = clark_evans(window, area)
    expected = [inside(rng.normal(size=points.shape), half_side) for _ in range(controls_for(len(points)))]
    full = [sample for sample in expected if len(sample) >= FEWEST]
    chance = np.array([clark_evans(sample, area) for sample in full])
    voids = [largest_void(sample, half_side) for sample in full]
    return {
        "points": len(window),
        "clark_evans": r,
        "normal_clark_evans": float(chance.mean()) if full else None,
        "rank": float((1 + np.sum(chance <= r)) / (1 + len(chance))) if full else None,
        "largest_void": largest_void(window, half_side),
        "normal_largest_void": float(np.mean(voids)) if full else None,
        "normal_samples": len(full),
    }


def controls_for(rows: int) -> int:
    """Fewer normal samples when each is large: their spread is then small too."""
    return CONTROLS if rows <= 20_000 else 19


def inside(points: NDArray[np.float64], half_side: float) -> NDArray[np.float64]:
    """The points of a square window around the centre."""
    return points[(np.abs(points) <= half_side).all(axis=1)]


def add_dimension(result: Result, context: Context) -> None:
    """Intrinsic dimension and nearest-neighbour distance in all dimensions."""
    rows = context.some(NEIGHBOUR_ROWS)
    if len(rows) < FEWEST:
        result.missing.append(f"The intrinsic dimension needs at least {FEWEST} vectors.")
        return
    normal = context.normal().sample(len(rows), seed=context.options.seed)
    values = {}
    for name, vectors in (("data", rows), ("normal", normal.numpy())):
        values[name] = {"two_nn_dimension": two_nn_dimension(vectors), "median_nearest": median_nearest(vectors)}
    result.measured |= {"neighbour_vectors": len(rows), "neighbours": values}
    result.findings.append(
        f"The intrinsic dimension by nearest neighbours is {values['data']['two_nn_dimension']:.1f}, of a normal "
        f"sample of the same size ({len(rows)} vectors) {values['normal']['two_nn_dimension']:.1f}; it would be near 1 "
        "on one-dimensional filaments."
    )


def median_nearest(rows: NDArray[np.floating]) -> float:
    """Median distance to the nearest other vector."""
    from sklearn.neighbors import NearestNeighbors

    distance, _ = NearestNeighbors(n_neighbors=2).fit(rows).kneighbors(rows)
    return float(np.median(distance[:, 1]))


def draw(
    coordinates: NDArray[np.float64], control: NDArray[np.float64], axes: list[int], planes: list[tuple[int, int]]
) -> Any:
    """Scales across, planes down; data and control side by side."""
    figure, all_axes = panels(2 * len(planes) * len(HALF_SIDES), 2 * len(HALF_SIDES), height=1.75)
    place = iter(all_axes)
    for pair in planes:
        columns = [axes.index(k) for k in pair]
        for half_side in HALF_SIDES:
            for points, colour in ((coordinates, BLUE), (control, VERMILION)):
                panel = next(place)
                window = inside(points[:, columns], half_side)
                window = window[:SHOWN]
                size = float(np.clip(3000 / max(len(window), 1), 0.4, 6))
                panel.scatter(*window.T, s=size, color=colour, linewidths=0, alpha=0.8, rasterized=True)
                panel.set(xlim=(-half_side, half_side), ylim=(-half_side, half_side), aspect="equal")
                panel.set_xticks([-half_side, 0, half_side], [f"{-half_side:g}", "0", f"{half_side:g}"])
                panel.set_yticks([])
                panel.tick_params(labelsize=7)
                if pair == planes[0]:
                    panel.set_title("latents" if colour == BLUE else "normal")
                if half_side == HALF_SIDES[0] and colour == BLUE:
                    panel.set_ylabel(f"PC {pair[1]} over PC {pair[0]}")
                if pair == planes[-1]:
                    panel.set_xlabel("sigma")
    return figure


SECTION = Section(
    key="filaments",
    title="Filaments?",
    post="the post on filaments, whose conclusion its author later withdrew",
    about="Zoomed far enough into a plane, the vectors seem to lie on curved lines around voids. So does any random "
    "sample of few points, and the eye joins them. The control that the post lacked: the same windows for a normal "
    "sample of the same size and covariance, with the distance to the nearest neighbour as a measure.",
    run=run,
    passes=2,
    uses=("seed",),
    needs_latents=True,
)
