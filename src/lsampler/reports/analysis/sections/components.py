"""Section 1: how the values of each component, and the lengths of the vectors, are distributed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import Curve, draw_centres, draw_densities, draw_radius
from lsampler.reports.analysis.passes import COARSE
from lsampler.reports.analysis.section import Result, Section, percent
from lsampler.statistics.statistics import Statistics

ROBUST_SIGMAS = 3.0
PROMINENCE = 0.25
CHANCE_SIGMAS = 4.0


def count_peaks(statistics: Statistics) -> NDArray[np.int64]:
    """(D,) peaks of the components' densities over bins of half a sigma; 1 for a bell.

    A further peak must rise above the dips beside it by a quarter of the highest peak, and by four standard deviations
    of a count as large, so that chance makes none.
    """
    from scipy.signal import find_peaks

    peaks = np.ones(statistics.dimension, dtype=np.int64)
    for j in range(statistics.dimension):
        _, counts, _ = statistics.histogram(j, bin_width=statistics.std[j] / 2)
        top = float(counts.max())
        prominent, _ = find_peaks(np.pad(counts, 1), prominence=max(PROMINENCE * top, CHANCE_SIGMAS * np.sqrt(top)))
        peaks[j] = max(len(prominent), 1)
    return peaks


def dominant_components(mean: NDArray[np.float64], half_widths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Components whose |mean| or half-width is far above the median, widest reach first; post III picks them by eye.

    Far means three robust standard deviations, each 1.4826 times the median absolute deviation.
    """
    chosen = np.zeros(len(mean), dtype=bool)
    for values in (np.abs(mean), half_widths):
        middle = np.median(values)
        chosen |= values > middle + ROBUST_SIGMAS * 1.4826 * np.median(np.abs(values - middle))
    order = np.argsort(-(np.abs(mean) + half_widths / 2), kind="stable")
    return order[chosen[order]]


def expected_radius(statistics: Statistics) -> float:
    """sqrt(sum(mu^2 + sigma^2)): the root mean square of |z|."""
    return float(np.sqrt(np.square(statistics.mean).sum() + np.square(statistics.std).sum()))


@Section(
    title="Component distributions", post="the post on filaments; post II as quoted in post III", uses=("bin_width",)
)
def components(context: Context) -> Result:
    """Analyse how the encoder fills each axis of the latent space.

    Measured are the number density of every component's values over sampling intervals, its centre, and its half-width,
    which is the full width at half of the maximum. Components far from zero or wide are called dominant. In many
    dimensions the lengths |z| gather in a narrow shell.
    """
    statistics, width = context.statistics, context.bin_width
    curves = [statistics.histogram(j, bin_width=width) for j in range(statistics.dimension)]
    result = Result(measure(context, curves))
    measured, each, dominant = result.measured, result.measured["components"], result.measured["dominant"]
    result.findings += [
        f"{percent(measured['share_centred_near_zero'])} of the {statistics.dimension} components have their mean "
        f"within a quarter of the median half-width ({measured['median_half_width']:.2f}) of zero; {len(dominant)} "
        "stand out because they lie far from zero or are wide.",
        f"The centre lies {measured['radius']['of_centre']:.2f} from the origin.",
    ]
    every = {
        "component": np.arange(statistics.dimension),
        "mean mu": statistics.mean,
        "peak": each["centre"],
        "half-width": each["half_width"],
        "sigma": statistics.std,
    }
    picked = {head: cells[dominant] for head, cells in every.items()}
    result.table("dominant", "Dominant components, as in post III (latent units)", picked)
    result.table("components", "All components", every | {"peaks": each["peaks"]}, shown=0)
    result.figure(
        "densities",
        f"Number density of every component over intervals of about {width:g}; the six widest in colour.",
        lambda: draw_densities(curves, each, dominant),
    )
    result.figure(
        "centres",
        "Half-width and mean of every component. Dominant components are red, the widest are numbered.",
        lambda: draw_centres(each, dominant),
    )
    if context.reference.latent_shape is not None and result.can_measure("The channels", context):
        add_channels(result, context)
    if result.can_measure("The radius density", context):
        add_radii(result, context)
    return result


def measure(context: Context, curves: list[Curve]) -> dict[str, Any]:
    """All numbers that the statistics give."""
    statistics = context.statistics
    half_widths = statistics.half_widths("histogram", bin_width=context.bin_width)
    peaks = count_peaks(statistics)
    median = float(np.median(half_widths))
    return {
        "vectors": statistics.count,
        "dimension": statistics.dimension,
        "bin_width": context.bin_width,
        "unit": context.unit,
        "components": {
            "mean": statistics.mean,
            "std": statistics.std,
            "centre": np.array([middles[counts.argmax()] for middles, counts, _ in curves]),
            "half_width": half_widths,
            "peaks": peaks,
            "bin_width": [width for _, _, width in curves],
        },
        "median_half_width": median,
        "share_centred_near_zero": float(np.mean(np.abs(statistics.mean) < median / 4)),
        "share_single_peaked": float(np.mean(peaks == 1)),
        "dominant": dominant_components(statistics.mean, half_widths),
        "radius": {
            "expected": expected_radius(statistics),
            "sqrt_dimension": float(np.sqrt(statistics.dimension)),
            "of_centre": float(np.linalg.norm(statistics.mean)),
        },
    }


def add_channels(result: Result, context: Context) -> None:
    """Mean, standard deviation, and the scale that makes them unit, of each channel of spatial latents."""
    found = context.reference.channel_statistics()
    heads = "channel", "mean (shift)", "std", "scale (1 / std)"
    table = {head: list(cells) for head, cells in zip(heads, zip(*found.rows(), strict=True), strict=True)}
    result.table("channels", f"Channels of latents {' x '.join(map(str, found.shape))}", table, shown=64)
    result.measured["channels"] = {"shape": list(found.shape), "count": found.count, "rows": found.rows()}


def add_radii(result: Result, context: Context) -> None:
    """The density of |z|."""
    radii, radius = context.radii, result.measured["radius"]
    middles, numbers, width = radii.density(COARSE)
    peak = float(middles[numbers.argmax()])
    radius |= {
        "mean": radii.mean,
        "std": radii.std,
        "minimum": radii.low,
        "maximum": radii.high,
        "peak": peak,
        "peak_bin_width": width,
        **radii.quantiles(),
        "share_above_twice_peak": 1 - float(np.interp(2 * peak, *radii.distribution)),
    }
    result.findings.append(
        f"|z| peaks at {peak:.2f} and averages {radii.mean:.2f}; sqrt(sum(mu^2 + sigma^2)) is "
        f"{radius['expected']:.2f} and sqrt(D) is {radius['sqrt_dimension']:.2f}. "
        f"No vector is shorter than {radii.low:.2f} or longer than {radii.high:.2f}."
    )
    result.figure(
        "radius",
        "Number density of the radius |z|, counted in wide and in narrow intervals.",
        lambda: draw_radius(radii, radius),
    )
