"""Section 1: how the values of each component, and the lengths of the vectors, are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.plots import BLUE, DATA, INK, SERIES, VERMILION, panels, single
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.density import Counts
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent
from lsampler.statistics.statistics import Statistics

__all__ = ["SECTION", "Densities", "densities", "dominant_components", "radius_counts"]

RADIUS_BINS = (0.5, 0.05)
ROBUST_SIGMAS = 3.0
PROMINENCE = 0.25
CHANCE_SIGMAS = 4.0


@dataclass(frozen=True)
class Densities:
    """Number densities of all components.

    Attributes:
        centres: (D,) where each density peaks: the middle of its fullest bin.
        half_widths: (D,) full widths at half maximum, read off the bins.
        peaks: (D,) how many peaks stand out by more than chance; 1 for a bell.
        bin_widths: (D,) the actual ones, multiples of what the values were first counted in.
        curves: per component the middles of its bins and the vectors per unit of its value.
    """

    centres: NDArray[np.float64]
    half_widths: NDArray[np.float64]
    peaks: NDArray[np.int64]
    bin_widths: NDArray[np.float64]
    curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def densities(statistics: Statistics, bin_width: float) -> Densities:
    """Number densities over sampling intervals of ``bin_width`` latent units."""
    curves, centres, peaks, bin_widths = [], [], [], []
    for j in range(statistics.dimension):
        middles, counts, width = statistics.histogram(j, bin_width=bin_width)
        curves.append((middles, counts / width))
        bin_widths.append(width)
        centres.append(middles[counts.argmax()])
        peaks.append(count_peaks(statistics, j))
    widths = statistics.half_widths("histogram", bin_width=bin_width)
    return Densities(np.array(centres), widths, np.array(peaks), np.array(bin_widths), curves)


def count_peaks(statistics: Statistics, component: int) -> int:
    """Peaks of a component's density over bins of half a sigma; 1 for a bell.

    A further peak must rise above the dips beside it by a quarter of the highest peak, and by four
    standard deviations of a count as large, so that chance makes none.
    """
    from scipy.signal import find_peaks

    _, counts, _ = statistics.histogram(component, bin_width=statistics.std[component] / 2)
    top = float(counts.max())
    prominent, _ = find_peaks(np.pad(counts, 1), prominence=max(PROMINENCE * top, CHANCE_SIGMAS * np.sqrt(top)))
    return max(len(prominent), 1)


def dominant_components(mean: NDArray[np.float64], half_widths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Components whose |mean| or half-width stands out from the others, widest reach first.

    Standing out: above the median over all components by more than three robust standard
    deviations (1.4826 times the median absolute deviation). Post III picks them by eye.
    """
    chosen = np.zeros(len(mean), dtype=bool)
    for values in (np.abs(mean), half_widths):
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        chosen |= values > middle + ROBUST_SIGMAS * spread
    reach = np.abs(mean) + half_widths / 2
    order = np.argsort(-reach, kind="stable")
    return order[chosen[order]]


def radius_counts(context: Context) -> Counts:
    """Lengths |z| of all vectors, in the finer of the two bin widths."""
    counts = Counts(RADIUS_BINS[1] * context.unit)
    for block in context.chunks():
        counts.add(np.linalg.norm(block.astype(np.float64), axis=1))
    return counts


def expected_radius(statistics: Statistics) -> float:
    """sqrt(sum(mu^2 + sigma^2)): the root mean square of |z|."""
    return float(np.sqrt(np.square(statistics.mean).sum() + np.square(statistics.std).sum()))


def run(context: Context) -> Result:
    """Number densities, dominant components, radii."""
    statistics, width = context.statistics, context.bin_width
    shown = densities(statistics, width)
    dominant = dominant_components(statistics.mean, shown.half_widths)
    result = Result(measure(context, shown, dominant))
    measured = result.measured
    result.findings += [
        f"{percent(measured['share_centred_near_zero'])} of the {statistics.dimension} components have their mean "
        f"within a quarter of the median half-width ({measured['median_half_width']:.2f}) of zero; {len(dominant)} "
        "stand out, far from zero or wide.",
        f"The centre lies {measured['radius']['of_centre']:.2f} from the origin.",
    ]
    add_tables(result, statistics, shown, dominant)
    result.figures += [
        Figure(
            "densities",
            f"Number density of every component over intervals of about {width:g}; the six widest in colour.",
            lambda: draw_densities(shown, dominant),
        ),
        Figure(
            "centres",
            "Half-width and mean of every component. Dominant components in red, the widest numbered.",
            lambda: draw_centres(statistics.mean, shown.half_widths, dominant),
        ),
    ]
    if context.has_latents:
        add_radii(result, context, measured["radius"]["expected"])
    else:
        result.missing.append(f"The radius density {STATISTICS_ONLY}.")
    return result


def measure(context: Context, shown: Densities, dominant: NDArray[np.int64]) -> dict[str, Any]:
    """All numbers that the statistics give."""
    statistics = context.statistics
    middle_width = float(np.median(shown.half_widths))
    return {
        "vectors": statistics.count,
        "dimension": statistics.dimension,
        "bin_width": context.bin_width,
        "unit": context.unit,
        "components": {
            "mean": statistics.mean,
            "std": statistics.std,
            "centre": shown.centres,
            "half_width": shown.half_widths,
            "peaks": shown.peaks,
            "bin_width": shown.bin_widths,
        },
        "median_half_width": middle_width,
        "share_centred_near_zero": float(np.mean(np.abs(statistics.mean) < middle_width / 4)),
        "share_single_peaked": float(np.mean(shown.peaks == 1)),
        "dominant": dominant,
        "radius": {
            "expected": expected_radius(statistics),
            "sqrt_dimension": float(np.sqrt(statistics.dimension)),
            "of_centre": float(np.linalg.norm(statistics.mean)),
        },
    }


def add_tables(result: Result, statistics: Statistics, shown: Densities, dominant: NDArray[np.int64]) -> None:
    """The dominant components, and all of them in a file."""
    heads = ["component", "mean mu", "peak", "half-width", "sigma"]
    every = [
        [j, statistics.mean[j], shown.centres[j], shown.half_widths[j], statistics.std[j], int(shown.peaks[j])]
        for j in range(statistics.dimension)
    ]
    result.tables += [
        Table(
            "dominant", "Dominant components, as in post III (latent units)", heads, [every[j][:-1] for j in dominant]
        ),
        Table("components", "All components", [*heads, "peaks"], every, shown=0),
    ]


def add_radii(result: Result, context: Context, expected: float) -> None:
    """The density of |z|."""
    counts = radius_counts(context)
    middles, numbers, coarse = counts.density(round(RADIUS_BINS[0] / RADIUS_BINS[1]))
    peak = float(middles[numbers.argmax()])
    radius = result.measured["radius"]
    radius |= {
        "mean": counts.mean,
        "std": counts.std,
        "minimum": counts.low,
        "maximum": counts.high,
        "peak": peak,
        "peak_bin_width": coarse,
        "q05": counts.quantile(0.05),
        "median": counts.quantile(0.5),
        "q95": counts.quantile(0.95),
        "share_above_twice_peak": float(1 - counts.cumulative(np.array([2 * peak]))[0]),
    }
    result.findings.append(
        f"|z| peaks at {peak:.2f} and averages {counts.mean:.2f}, beside {expected:.2f} from "
        f"sqrt(sum(mu^2 + sigma^2)) and sqrt(D) = {radius['sqrt_dimension']:.2f}; "
        f"no vector is shorter than {counts.low:.2f} or longer than {counts.high:.2f}."
    )
    result.figures.append(
        Figure(
            "radius",
            "Number density of the radius |z|, counted in wide and in narrow intervals.",
            lambda: draw_radius(counts, expected, radius["sqrt_dimension"]),
        )
    )


def draw_densities(shown: Densities, dominant: NDArray[np.int64]) -> Any:
    """All components on the left, the first dominant ones on the right."""
    figure, (left, right) = panels(2, 2, height=3.6)
    for middles, values in shown.curves:
        left.plot(middles, values, color=DATA, alpha=0.35, linewidth=0.6, rasterized=len(shown.curves) > 64)
    left.set(title=f"all {len(shown.curves)} components")
    for place, j in enumerate(dominant[: len(SERIES)]):
        left.plot(*shown.curves[j], color=SERIES[place])
        right.plot(*shown.curves[j], color=SERIES[place], label=f"component {j}")
    if len(dominant):
        right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        right.set(title="dominant components, widest reach first")
        # One far vector would leave the bells a sliver of the plot.
        reach = [(shown.centres[j], shown.half_widths[j]) for j in dominant[: len(SERIES)]]
        right.set_xlim(min(c - 1.5 * w for c, w in reach), max(c + 1.5 * w for c, w in reach))
    else:
        right.remove()
    low = np.min(shown.centres - 2 * shown.half_widths)
    high = np.max(shown.centres + 2 * shown.half_widths)
    left.set_xlim(low, high)
    for axes in (left, right):
        axes.set(xlabel="value of the component (latent units)", ylabel="vectors per unit", ylim=(0, None))
    return figure


def draw_centres(mean: NDArray[np.float64], half_widths: NDArray[np.float64], dominant: NDArray[np.int64]) -> Any:
    """Half-width over mean, a dot per component."""
    figure, axes = single()
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.scatter(mean, half_widths, s=10, color=DATA, linewidths=0)
    axes.scatter(mean[dominant], half_widths[dominant], s=22, color=VERMILION, linewidths=0)
    for j in dominant[:12]:
        axes.annotate(str(j), (mean[j], half_widths[j]), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="mean of the component (latent units)", ylabel="half-width (latent units)")
    axes.grid()
    return figure


def draw_radius(counts: Counts, expected: float, root: float) -> Any:
    """Two bin widths, and where the radius is expected."""
    figure, both = panels(2, 2, height=3.2)
    for axes, merge in zip(both, (round(RADIUS_BINS[0] / RADIUS_BINS[1]), 1), strict=True):
        middles, numbers, width = counts.density(merge)
        axes.step(middles, numbers / width, where="mid", color=BLUE, linewidth=1.4 if merge > 1 else 0.7)
        axes.axvline(expected, color=VERMILION, linestyle="--", label=f"sqrt(sum(mu² + sigma²)) = {expected:.2f}")
        axes.axvline(root, color=INK, linestyle=":", label=f"sqrt(D) = {root:.2f}")
        axes.set(
            title=f"intervals of {width:g}",
            xlabel="|z| (latent units)",
            ylabel="vectors per unit of |z|",
            ylim=(0, None),
        )
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


SECTION = Section(
    key="components",
    title="Component distributions",
    post="the post on filaments; post II as quoted in post III",
    about="How the encoder fills each axis of the latent space: the number density of every component's values over "
    "sampling intervals, its centre, and its half-width, the full width at half of the maximum. Components far from "
    "zero or wide are called dominant. In many dimensions the lengths |z| gather in a narrow shell.",
    run=run,
    uses=("bin_width",),
)
