"""Figures of densities: of components, of radii, and of the variance along principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.plots import BLUE, DATA, INK, SERIES, VERMILION, panels, single
from lsampler.reports.analysis.passes import COARSE, Radii
from lsampler.statistics.statistics import Statistics

Curve = tuple[NDArray[np.float64], NDArray[np.int64], float]
"""Middles of bins, counts, and the width of a bin."""
Fits = Mapping[str, NDArray[np.float64]]
"""Centre, sigma, residual and height (D,) of the Gaussians fitted to components."""
RESIDUALS = -0.3
"""Where the panels of fits draw the line of no difference."""


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
    style: dict[str, Any] = {"textcoords": "offset points", "color": INK, "fontsize": 8, "va": "bottom"}
    for (share, count), colour in zip(needed.items(), (VERMILION, SERIES[2], SERIES[3]), strict=True):
        height = 100 * float(share)
        right.plot([count, count, 0], [0, height, height], color=colour, linewidth=1.0)
        right.annotate(f"{height:.0f} %: {count} components", (1, height), xytext=(3, 2), **style)
    right.set(xlabel="number of leading components", ylabel="cumulative share (%)", title="cumulated")
    right.set(xlim=(0, len(ratio)), ylim=(0, 103))
    return figure
