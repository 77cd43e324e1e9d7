"""Section 7: vectors of the strategies among the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsampler.reports.analysis.context import Context, FittedCore
from lsampler.reports.analysis.figures import draw_marked
from lsampler.reports.analysis.planes import Drawn, Plane, overlays, plane_of
from lsampler.reports.analysis.section import Result, Section, percent, wilson
from lsampler.reports.analysis.sections.correlations import strongest_pairs
from lsampler.scoring.core import calibration_split
from lsampler.scoring.sample_sets import HELD_OUT_ROW

VECTORS = 1000
SHOWN = 60
PRINCIPAL_PAIRS = ((0, 1), (2, 3))
ELLIPSE_SIGMAS = 2.2
MARKING_CORE = "pca-ellipses"


@Section(
    title="Generated vectors",
    post="post X",
    uses=("strategies", "seed"),
    uses_cores=True,
    fewest_components=2,
)
def generated(context: Context) -> Result:
    """Show what the strategies draw, over what the encoder filled.

    The posts judge by eye in planes; the table says how many vectors are inside each core in all dimensions. The levels
    are calibrated to hold 95 % of held-out data where there are any. Real vectors that were not used for calibration
    are the first row.
    """
    drawn, problems = overlays(context, VECTORS)
    planes = [plane_of(context, i, j, principal=True) for i, j in PRINCIPAL_PAIRS if max(i, j) < context.pca.rank]
    strongest, _ = strongest_pairs(context.statistics.correlation)
    planes += [plane_of(context, i, j) for i, j in strongest[: 4 - len(planes)].tolist()]
    cores = context.cores
    result = Result(
        {
            "vectors": VECTORS,
            "levels": {core.name: core.level for core in cores},
            "inside": {},
            "planes": {vectors.name: [share_in_ellipse(vectors, plane) for plane in planes] for vectors in drawn},
        },
        missing=problems,
    )
    # Real vectors that calibrated nothing, if there are any.
    judging = calibration_split(context.reference.held_out())[1] if context.has_latents else np.empty((0, 1))
    held_out = [Drawn(HELD_OUT_ROW, judging)] if len(judging) else []
    add_shares(result, [*held_out, *drawn], cores)
    result.can_measure("The scatter of the data behind the vectors", context)
    if drawn:
        add_planes(result, drawn, planes, cores)
    return result


def share_in_ellipse(vectors: Drawn, plane: Plane) -> float:
    """The share of a strategy's vectors inside the 2.2-sigma ellipse of a plane."""
    offset = plane.project(vectors.latents) - plane.mean
    distance = np.einsum("ni,ij,nj->n", offset, np.linalg.pinv(plane.covariance), offset)
    return float(np.mean(distance <= ELLIPSE_SIGMAS**2))


def add_shares(result: Result, sets: list[Drawn], cores: list[FittedCore]) -> None:
    """The share of each set of vectors inside each core."""
    columns: dict[str, list[Any]] = {"vectors": [v.name for v in sets], "n": [len(v.latents) for v in sets]}
    shares: dict[str, dict[str, Any]] = {vectors.name: {} for vectors in sets}
    for core in cores:
        cells = columns[f"{core.name}, level {core.level:.2f}"] = []
        for vectors in sets:
            inside = core.inside(vectors.latents)
            share, (low, high) = float(np.mean(inside)), wilson(int(np.sum(inside)), len(inside))
            shares[vectors.name][core.name] = {"share": share, "low": low, "high": high}
            cells.append(f"{percent(share, 1)} ({100 * low:.1f} to {100 * high:.1f})")
    result.measured["inside"] = shares
    result.measured["strictest"] = {
        name: min((core["share"] for core in found.values()), default=None) for name, found in shares.items()
    }
    result.table("inside", "Share inside the cores, with 95 % Wilson intervals", columns)


def add_planes(result: Result, drawn: list[Drawn], planes: list[Plane], cores: list[FittedCore]) -> None:
    """The vectors in the planes, coloured by one core, and that core's shares in words."""
    marker = next((core for core in cores if core.name == MARKING_CORE), None)
    marked = [Drawn(v.name, v.latents[:SHOWN], marker.inside(v.latents[:SHOWN]) if marker else None) for v in drawn]
    found = ", ".join(
        f"{name} {percent(values[MARKING_CORE]['share'])}"
        for name, values in result.measured["inside"].items()
        if MARKING_CORE in values
    )
    if found:
        result.findings.append(f"Inside the core '{MARKING_CORE}': {found}.")
    result.figure(
        "planes",
        f"Vectors of each strategy over the data, in PCA planes and original planes with ellipses of "
        f"{ELLIPSE_SIGMAS} sigma: inside the core '{MARKING_CORE}' (green dots) or outside (red crosses). A core "
        "concerns all components, not only those of the plane shown.",
        lambda: draw_marked(marked, planes, ELLIPSE_SIGMAS),
    )
