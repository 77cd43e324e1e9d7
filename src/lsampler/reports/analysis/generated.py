"""Section 7: vectors of the strategies among the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsampler.errors import LsamplerError
from lsampler.plots import DATA, GREEN, INK, PAPER, VERMILION, panels
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.correlations import strongest_pairs
from lsampler.reports.analysis.cubes import fitted_cores
from lsampler.reports.analysis.planes import Drawn, Plane, ellipse, limits, overlays
from lsampler.reports.analysis.section import Figure, Result, Section, Table
from lsampler.scoring.core import calibration_split
from lsampler.scoring.sample_sets import HELD_OUT_ROW
from lsampler.scoring.scores import Metric, share_score

__all__ = ["SECTION"]

VECTORS = 1000
SHOWN = 60
PRINCIPAL_PAIRS = ((0, 1), (2, 3))
ELLIPSE_SIGMAS = 2.2
MARKING_CORE = "pca-ellipses"


def run(context: Context) -> Result:
    """Shares inside every core, and the planes."""
    if context.dimension < 2:
        raise LsamplerError("planes need at least two components")
    drawn, problems = overlays(context, VECTORS)
    cores = fitted_cores(context)
    result = Result(
        {
            "vectors": VECTORS,
            "levels": {name: level for name, _, level in cores},
            "inside": {},
            "planes": {},
        },
        missing=problems,
    )
    add_shares(result, [*held_out_rows(context), *drawn], cores)
    if not context.has_latents:
        result.missing.append(f"The scatter of the data behind the vectors {STATISTICS_ONLY}.")
    planes = chosen_planes(context)
    result.measured["planes"] = inside_planes(drawn, planes)
    if drawn:
        add_planes(result, drawn, planes, cores)
    return result


def held_out_rows(context: Context) -> list[Drawn]:
    """Real vectors that calibrated nothing, where there are any."""
    if not context.has_latents:
        return []
    _, judging = calibration_split(context.reference.held_out())
    return [Drawn(HELD_OUT_ROW, judging)] if len(judging) else []


def chosen_planes(context: Context) -> list[Plane]:
    """The leading PCA planes, and those of the strongest pairs: four together."""
    rank = context.pca.rank
    planes = [Plane.of_principal(context, i, j) for i, j in PRINCIPAL_PAIRS if max(i, j) < rank]
    strongest, _ = strongest_pairs(context.statistics.correlation)
    return planes + [Plane.of_components(context, int(i), int(j)) for i, j in strongest[: 4 - len(planes)]]


def add_shares(result: Result, sets: list[Drawn], cores: list[tuple[str, Any, float]]) -> None:
    """The share of each set of vectors inside each core."""
    shares = result.measured["inside"]
    rows = []
    for vectors in sets:
        row: list[Any] = [vectors.name, len(vectors.latents)]
        shares[vectors.name] = {}
        for name, core, level in cores:
            inside = int(np.sum(core.levels(vectors.latents) <= level))
            score = share_score(Metric(name, group="", label="", better="real"), inside, len(vectors.latents))
            shares[vectors.name][name] = {"share": score.value, "low": score.low, "high": score.high}
            row.append(f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f})")
        rows.append(row)
    result.tables.append(
        Table(
            "inside",
            "Share inside the cores, with 95 % Wilson intervals",
            ["vectors", "n", *(f"{name}, level {level:.2f}" for name, _, level in cores)],
            rows,
        )
    )


def add_planes(result: Result, drawn: list[Drawn], planes: list[Plane], cores: list[tuple[str, Any, float]]) -> None:
    """The vectors in the planes, coloured by one core, and that core's shares in words."""
    marker = next(((core, level) for name, core, level in cores if name == MARKING_CORE), None)
    marked = [
        Drawn(v.name, v.latents[:SHOWN], None if marker is None else marker[0].levels(v.latents[:SHOWN]) <= marker[1])
        for v in drawn
    ]
    found = ", ".join(
        f"{name} {100 * values[MARKING_CORE]['share']:.0f} %"
        for name, values in result.measured["inside"].items()
        if MARKING_CORE in values
    )
    if found:
        result.findings.append(f"Inside the core '{MARKING_CORE}': {found}.")
    result.figures.append(
        Figure(
            "planes",
            f"Vectors of each strategy over the data, in PCA planes and original planes with ellipses of "
            f"{ELLIPSE_SIGMAS} sigma: inside the core '{MARKING_CORE}' (green dots) or outside (red crosses), "
            "which is a matter of all components, not of the plane shown.",
            lambda: draw(marked, planes),
        )
    )


def inside_planes(drawn: list[Drawn], planes: list[Plane]) -> dict[str, list[float]]:
    """Share of each strategy's vectors inside the 2.2-sigma ellipse of each plane."""
    result: dict[str, list[float]] = {}
    for vectors in drawn:
        result[vectors.name] = []
        for plane in planes:
            offset = plane.project(vectors.latents) - plane.mean
            distance = np.einsum("ni,ij,nj->n", offset, np.linalg.pinv(plane.covariance), offset)
            result[vectors.name].append(float(np.mean(distance <= ELLIPSE_SIGMAS**2)))
    return result


def draw(marked: list[Drawn], planes: list[Plane]) -> Any:
    """Strategies down, planes across."""
    figure, all_axes = panels(len(marked) * len(planes), len(planes), height=9.0 / len(planes))
    place = iter(all_axes)
    for vectors in marked:
        for column, plane in enumerate(planes):
            axes = next(place)
            if column == 0:
                axes.set_title(vectors.name, loc="left", fontweight="bold")
            axes.scatter(*plane.points.T, s=1.5, color=DATA, alpha=0.4, linewidths=0, rasterized=True)
            axes.plot(*ellipse(plane.mean, plane.covariance, ELLIPSE_SIGMAS).T, color=INK, linewidth=1.0)
            points = plane.project(vectors.latents)
            inside = np.ones(len(points), dtype=bool) if vectors.inside is None else vectors.inside
            axes.scatter(*points[inside].T, s=12, color=GREEN, edgecolors=PAPER, linewidths=0.3)
            axes.scatter(*points[~inside].T, s=16, color=VERMILION, marker="x", linewidths=0.9)
            limits(axes, plane, [points], origin=False)
    return figure


SECTION = Section(
    key="generated",
    title="Generated vectors",
    post="post X",
    about="What the strategies draw, over what the encoder filled. The posts judge by eye in planes; the table says "
    "how many vectors are inside each core in all dimensions, the levels calibrated to hold 95 % of held-out data "
    "where there are any. Real vectors that calibrated nothing are the first row.",
    run=run,
    passes=0,
    uses=("strategies", "seed"),
    uses_cores=True,
)
