"""Section 4: uniform cubes around the origin, and why their vectors miss."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsampler._analysis._context import STATISTICS_ONLY, Context
from lsampler._analysis._density import Counts
from lsampler._analysis._section import Figure, Result, Section, Table, percent
from lsampler._analysis.components import RADIUS_BINS, expected_radius, radius_counts
from lsampler._analysis.origin import matching_b
from lsampler._api import load_core, load_sampler, plugin_names
from lsampler._errors import LsamplerError
from lsampler._plots import DATA, INK, SERIES, single

__all__ = ["SECTION"]

HALF_SIDES = (1.0, 1.5, 2.0, 5.0)
VECTORS = 20_000
SCORED = 1000


def run(context: Context) -> Result:
    """Radii of cubes beside the data's; the b that matches; how many vectors are inside the cores."""
    statistics, d = context.statistics, context.dimension
    closed = matching_b(statistics)
    cubes: list[tuple[float, Counts]] = []
    rows: list[list[float]] = []
    measured_cubes: list[dict[str, Any]] = []
    cores = fitted_cores(context)
    for b in dict.fromkeys([*(side * context.unit for side in HALF_SIDES), closed]):
        cube = load_sampler("uniform-cube", b=b).fit(context.reference)
        counts = Counts(RADIUS_BINS[1] * context.unit)
        for block in cube.stream(VECTORS, seed=context.options.seed):
            counts.add(np.linalg.norm(block.double().numpy(), axis=1))
        cubes.append((b, counts))
        scored = cube.sample(SCORED, seed=context.options.seed).numpy()
        inside = {name: float(np.mean(core.levels(scored) <= level)) for name, core, level in cores}
        expected = b * np.sqrt(d / 3)
        measured_cubes.append(
            {
                "b": b,
                "mean_radius": counts.mean,
                "std_radius": counts.std,
                "closed_form_root_mean_square": float(expected),
                "inside": inside,
            }
        )
        rows.append([b, counts.mean, counts.std, float(expected), *inside.values()])
    unit_mean = cubes[0][1].mean / cubes[0][0]
    measured: dict[str, Any] = {
        "vectors_a_cube": VECTORS,
        "scored_a_cube": SCORED,
        "cubes": measured_cubes,
        "matching_b": {"closed_form": closed, "relative_to_rms_component": float(np.sqrt(3))},
        "rms_component": expected_radius(statistics) / float(np.sqrt(d)),
        "cores": {name: level for name, _, level in cores},
    }
    result = Result(
        measured,
        findings=[
            f"A cube has the data's root mean square radius at b = {closed:.3f}, sqrt(3) times the root mean square "
            f"of a component. Its radii spread by only {percent(cubes[-1][1].std / cubes[-1][1].mean, 1)} of their "
            "mean: a thin shell."
        ],
        tables=[
            Table(
                "cubes",
                f"Uniform cubes: radius, and share inside the cores ({SCORED} vectors each)",
                ["b", "mean |z|", "std |z|", "b sqrt(D/3)", *(f"inside {name}" for name, _, _ in cores)],
                rows,
            )
        ],
    )
    radii = None
    if context.has_latents:
        radii = radius_counts(context)
        measured["matching_b"] |= {
            "measured": radii.mean / unit_mean,
            "q05": radii.quantile(0.05) / unit_mean,
            "q95": radii.quantile(0.95) / unit_mean,
        }
        match = measured["matching_b"]
        result.findings.append(
            f"Measured by mean radii, b = {match['measured']:.3f} matches; b from {match['q05']:.2f} to "
            f"{match['q95']:.2f} gives radii of the middle 90 % of the data."
        )
    else:
        result.missing.append(f"The data's own radius density {STATISTICS_ONLY}.")
    if cores:
        shares: dict[str, float] = measured_cubes[-1]["inside"]
        best, worst = max(shares.values()), min(shares, key=lambda name: shares[name])
        result.findings.append(
            f"The right length is not enough: of the cube with the matching b, "
            f"{percent(shares[worst], 1)} are inside the core '{worst}' (at most {percent(best, 1)} in any)."
        )
    result.figures.append(
        Figure(
            "radii",
            "Radius |z| of uniform cubes of half side b beside the data's, each scaled to its own maximum.",
            lambda: draw_radii(cubes, radii, expected_radius(statistics)),
        )
    )
    return result


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


def draw_radii(cubes: list[tuple[float, Counts]], data: Counts | None, expected: float) -> Any:
    """Densities over the radius."""
    figure, axes = single(height=3.6, width=7.5)
    if data is None:
        axes.axvline(expected, color=INK, linestyle="--", label="data, root mean square")
    else:
        middles, counts, _ = data.density(round(RADIUS_BINS[0] / RADIUS_BINS[1]))
        axes.fill_between(middles, counts / counts.max(), color=DATA, alpha=0.6, linewidth=0, label="data")
    for place, (b, radii) in enumerate(cubes):
        middles, counts, _ = radii.density(round(RADIUS_BINS[0] / RADIUS_BINS[1] / 2))
        label = f"cube, b = {b:.3g}" + (" (matches)" if place == len(cubes) - 1 else "")
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
)
