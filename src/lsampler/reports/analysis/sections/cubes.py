"""Section 4: uniform cubes around the origin, and why their vectors miss."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsampler.plugins.by_name import load_sampler
from lsampler.reports.analysis.context import Context, FittedCore
from lsampler.reports.analysis.figures import draw_cube_radii
from lsampler.reports.analysis.passes import RADIUS_BIN, Radii
from lsampler.reports.analysis.section import Result, Section, columns, percent
from lsampler.reports.analysis.sections.components import expected_radius
from lsampler.reports.analysis.sections.origin import matching_b

HALF_SIDES = (1.0, 1.5, 2.0, 5.0)
VECTORS = 20_000
SCORED = 1000
HEADS = {
    "b": "b",
    "mean |z|": "mean_radius",
    "std |z|": "std_radius",
    "b sqrt(D/3)": "closed_form_root_mean_square",
}


@Section(title="Naive cubes", post="post V", uses=("seed",), strategies=("uniform-cube",), uses_cores=True)
def cubes(context: Context) -> Result:
    """Draw every component uniformly from [-b, b], as the simplest sampler does.

    In D dimensions such vectors lie in a thin shell of radius b sqrt(D/3), so b can be chosen to match the lengths of
    the data. The table shows how much this helps: it gives the share of such vectors inside the cores, which are
    calibrated to hold 95 % of held-out data where there are any.
    """
    statistics, closed = context.statistics, matching_b(context.statistics)
    cores = context.cores
    sides = dict.fromkeys([*(side * context.unit for side in HALF_SIDES), closed])
    cubes, radii = zip(*(draw_cube(context, b, cores) for b in sides), strict=True)
    result = Result(
        {
            "vectors_a_cube": VECTORS,
            "scored_a_cube": SCORED,
            "cubes": cubes,
            "matching_b": {"closed_form": closed, "relative_to_rms_component": float(np.sqrt(3))},
            "rms_component": expected_radius(statistics) / float(np.sqrt(context.dimension)),
            "cores": {core.name: core.level for core in cores},
        }
    )
    result.table(
        "cubes",
        f"Uniform cubes: radius, and share inside the cores ({SCORED} vectors each)",
        columns(cubes, HEADS)
        | {f"inside {core.name}": [cube["inside"][core.name] for cube in cubes] for core in cores},
    )
    data = context.radii if context.has_latents else None
    add_match(result, context, data)
    result.figure(
        "radii",
        "Radius |z| of uniform cubes of half side b beside the data's, each scaled to its own maximum.",
        lambda: draw_cube_radii(dict(zip(sides, radii, strict=True)), data, expected_radius(statistics)),
    )
    return result


def draw_cube(context: Context, b: float, cores: list[FittedCore]) -> tuple[dict[str, Any], Radii]:
    """What is measured of one cube: radii of many vectors, and how many of some are inside the cores."""
    cube = load_sampler("uniform-cube", b=b).fit(context.reference)
    radii = Radii(RADIUS_BIN * context.unit)
    for block in cube.stream(VECTORS, seed=context.options.seed):
        radii.add(block.numpy())
    scored = cube.sample(SCORED, seed=context.options.seed).numpy()
    measured = {
        "b": b,
        "mean_radius": radii.mean,
        "std_radius": radii.std,
        "closed_form_root_mean_square": float(b * np.sqrt(context.dimension / 3)),
        "inside": {core.name: float(np.mean(core.inside(scored))) for core in cores},
    }
    return measured, radii


def add_match(result: Result, context: Context, data: Radii | None) -> None:
    """The b that matches the data's radii, and how many vectors of that cube, the last one, are inside the cores."""
    match, cubes = result.measured["matching_b"], result.measured["cubes"]
    spread, inside = cubes[-1]["std_radius"] / cubes[-1]["mean_radius"], cubes[-1]["inside"]
    result.findings.append(
        f"A cube has the data's root mean square radius at b = {match['closed_form']:.3f}, sqrt(3) times the root mean "
        f"square of a component. Its radii spread by only {percent(spread, 1)} of their mean: a thin shell."
    )
    if result.can_measure("The data's own radius density", context) and data:
        unit_mean = cubes[0]["mean_radius"] / cubes[0]["b"]
        low, high = (data.quantile(share) / unit_mean for share in (0.05, 0.95))
        match |= {"measured": data.mean / unit_mean, "q05": low, "q95": high}
        result.findings.append(
            f"Measured by mean radii, b = {match['measured']:.3f} matches; b from {low:.2f} to {high:.2f} gives the "
            "radii of the middle 90 % of the data."
        )
    match["strictest_share"] = min(inside.values(), default=None)
    if inside:
        worst = min(inside, key=inside.get)
        result.findings.append(
            f"The right length is not enough: of the cube with the matching b, {percent(inside[worst], 1)} are inside "
            f"the core '{worst}' (at most {percent(max(inside.values()), 1)} in any core)."
        )
