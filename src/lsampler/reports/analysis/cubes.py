"""Section 4: uniform cubes around the origin, and why their vectors miss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lsampler.errors import LsamplerError
from lsampler.plots import DATA, INK, SERIES, single
from lsampler.plugins.loading import load_core, load_sampler, plugin_names
from lsampler.reports.analysis.components import RADIUS_BINS, expected_radius, radius_counts
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.density import Counts
from lsampler.reports.analysis.origin import matching_b
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent

__all__ = ["SECTION"]

HALF_SIDES = (1.0, 1.5, 2.0, 5.0)
VECTORS = 20_000
SCORED = 1000


@dataclass(frozen=True)
class Cube:
    """Vectors drawn from one cube.

    Attributes:
        b: half of its side, in latent units.
        radii: lengths of the vectors.
        expected: their root mean square, b sqrt(D/3).
        inside: by core the share of vectors inside it.
    """

    b: float
    radii: Counts
    expected: float
    inside: dict[str, float]


def draw_cube(context: Context, b: float, cores: list[tuple[str, Any, float]]) -> Cube:
    """Radii of many vectors, and how many of some are inside the cores."""
    cube = load_sampler("uniform-cube", b=b).fit(context.reference)
    radii = Counts(RADIUS_BINS[1] * context.unit)
    for block in cube.stream(VECTORS, seed=context.options.seed):
        radii.add(np.linalg.norm(block.double().numpy(), axis=1))
    scored = cube.sample(SCORED, seed=context.options.seed).numpy()
    inside = {name: float(np.mean(core.levels(scored) <= level)) for name, core, level in cores}
    return Cube(b, radii, float(b * np.sqrt(context.dimension / 3)), inside)


def run(context: Context) -> Result:
    """Radii of cubes beside the data's; the b that matches; how many vectors are inside the cores."""
    statistics, closed = context.statistics, matching_b(context.statistics)
    cores = fitted_cores(context)
    sides = dict.fromkeys([*(side * context.unit for side in HALF_SIDES), closed])
    cubes = [draw_cube(context, b, cores) for b in sides]
    result = Result(
        {
            "vectors_a_cube": VECTORS,
            "scored_a_cube": SCORED,
            "cubes": [
                {
                    "b": cube.b,
                    "mean_radius": cube.radii.mean,
                    "std_radius": cube.radii.std,
                    "closed_form_root_mean_square": cube.expected,
                    "inside": cube.inside,
                }
                for cube in cubes
            ],
            "matching_b": {"closed_form": closed, "relative_to_rms_component": float(np.sqrt(3))},
            "rms_component": expected_radius(statistics) / float(np.sqrt(context.dimension)),
            "cores": {name: level for name, _, level in cores},
        }
    )
    add_table(result, cubes)
    radii = radius_counts(context) if context.has_latents else None
    add_match(result, cubes, radii)
    result.figures.append(
        Figure(
            "radii",
            "Radius |z| of uniform cubes of half side b beside the data's, each scaled to its own maximum.",
            lambda: draw_radii(cubes, radii, expected_radius(statistics)),
        )
    )
    return result


def add_table(result: Result, cubes: list[Cube]) -> None:
    """Radii and shares inside the cores, a row for each cube."""
    result.tables.append(
        Table(
            "cubes",
            f"Uniform cubes: radius, and share inside the cores ({SCORED} vectors each)",
            ["b", "mean |z|", "std |z|", "b sqrt(D/3)", *(f"inside {name}" for name in cubes[0].inside)],
            [[cube.b, cube.radii.mean, cube.radii.std, cube.expected, *cube.inside.values()] for cube in cubes],
        )
    )


def add_match(result: Result, cubes: list[Cube], data: Counts | None) -> None:
    """The b that matches the data's radii, and what the cube of the last, matching b is worth."""
    match = result.measured["matching_b"]
    radii, inside = cubes[-1].radii, cubes[-1].inside
    result.findings.append(
        f"A cube has the data's root mean square radius at b = {match['closed_form']:.3f}, sqrt(3) times the root mean "
        f"square of a component. Its radii spread by only {percent(radii.std / radii.mean, 1)} of their mean: a thin "
        "shell."
    )
    if data is None:
        result.missing.append(f"The data's own radius density {STATISTICS_ONLY}.")
    else:
        unit_mean = cubes[0].radii.mean / cubes[0].b
        match |= {
            "measured": data.mean / unit_mean,
            "q05": data.quantile(0.05) / unit_mean,
            "q95": data.quantile(0.95) / unit_mean,
        }
        result.findings.append(
            f"Measured by mean radii, b = {match['measured']:.3f} matches; b from {match['q05']:.2f} to "
            f"{match['q95']:.2f} gives radii of the middle 90 % of the data."
        )
    if inside:
        worst = min(inside, key=lambda name: inside[name])
        result.findings.append(
            f"The right length is not enough: of the cube with the matching b, {percent(inside[worst], 1)} are inside "
            f"the core '{worst}' (at most {percent(max(inside.values()), 1)} in any)."
        )


def fitted_cores(context: Context) -> list[tuple[str, Any, float]]:
    """Every core that can be fitted, with its calibrated level, or the nominal one without held-out vectors."""
    cores = []
    for name in plugin_names("core"):
        try:
            core = load_core(name).fit(context.reference)
        except LsamplerError:
            continue
        level = core.calibrated_level(context.reference)
        cores.append((name, core, core.nominal_level if level is None else level))
    return cores


def draw_radii(cubes: list[Cube], data: Counts | None, expected: float) -> Any:
    """Densities over the radius."""
    figure, axes = single(height=3.6, width=7.5)
    if data is None:
        axes.axvline(expected, color=INK, linestyle="--", label="data, root mean square")
    else:
        middles, counts, _ = data.density(round(RADIUS_BINS[0] / RADIUS_BINS[1]))
        axes.fill_between(middles, counts / counts.max(), color=DATA, alpha=0.6, linewidth=0, label="data")
    for place, cube in enumerate(cubes):
        middles, counts, _ = cube.radii.density(round(RADIUS_BINS[0] / RADIUS_BINS[1] / 2))
        label = f"cube, b = {cube.b:.3g}" + (" (matches)" if place == len(cubes) - 1 else "")
        style = "--" if place == len(cubes) - 1 else "-"
        axes.plot(middles, counts / counts.max(), style, color=SERIES[place % len(SERIES)], label=label)
    axes.set(xlabel="|z| (latent units)", ylabel="density, maximum 1", ylim=(0, 1.05), xlim=(0, None))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


SECTION = Section(
    key="cubes",
    title="Naive cubes",
    post="post V",
    about="The simplest sampler draws every component uniformly from [-b, b]. In D dimensions its vectors lie in a "
    "thin shell of radius b sqrt(D/3), so b can be chosen to match the lengths of the data. The table shows what that "
    "is worth: the share of such vectors inside the cores, calibrated to hold 95 % of held-out data where there "
    "are any.",
    run=run,
    uses=("seed",),
    uses_cores=True,
)
