"""The plots of a comparison, drawn from its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsampler.plots import DATA, INK, PAPER, SERIES, VERMILION, panels, single
from lsampler.scoring.plot_data import PLANES, PlotData
from lsampler.scoring.row_cache import Row

MARKERS = "osD^vP<X>phd8"
"""More than there are colours, and not a multiple of them: the first 78 rows differ in one or the other."""


def draw_trade_off(rows: Sequence[Row], *, narrow: bool) -> Any:
    """Fidelity over diversity: precision against recall, a curve per sweep, and the point of the real data.

    The figure for narrow screens is upright and has its legend beneath.
    """
    usable = [row for row in rows if {"precision", "recall"} <= set(row.by_metric)]
    entries = _entries(usable)
    if narrow:
        figure, axes = single(height=4.3 + 0.2 * len(entries), width=4.3)
    else:
        figure, axes = single(height=max(4.6, 0.4 + 0.2 * len(entries)), width=9.0)
    for index, (label, members) in enumerate(entries.items()):
        colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
        if members[0].kind != "drawn":
            _point(axes, members[0], "*", INK, size=170)
        elif members[0].entry and members[0].entry.curve:
            _draw_curve(axes, label, members, marker, colour)
        else:
            _point(axes, members[0], marker, colour)
    axes.set(xlabel="diversity: recall", ylabel="fidelity: precision", xlim=(-0.03, 1.03), ylim=(-0.03, 1.05))
    axes.grid()
    place = "outside lower left" if narrow else "outside right upper"
    figure.legend(*axes.get_legend_handles_labels(), loc=place, ncols=1)
    return figure


def _entries(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each entry of the legend: those of a sweep are one."""
    found: dict[str, list[Row]] = {}
    for row in [*(row for row in rows if row.kind == "drawn"), *(row for row in rows if row.kind != "drawn")]:
        curve = row.entry.curve if row.entry else None
        found.setdefault(curve or shortened(row.name), []).append(row)
    return found


def _draw_curve(axes: Any, label: str, varied: Sequence[Row], marker: str, colour: str) -> None:
    points = sorted(
        (
            (row.entry and row.entry.value) or 0.0,
            row.by_metric["recall"].value,
            row.by_metric["precision"].value,
        )
        for row in varied
    )
    values, x, y = zip(*points, strict=True)
    axes.plot(x, y, "-", marker=marker, color=colour, markersize=4, linewidth=1.2, label=label)
    for end in (0, -1):
        axes.annotate(f"{values[end]:g}", (x[end], y[end]), xytext=(5, 4), textcoords="offset points", fontsize=7)


def _point(axes: Any, row: Row, marker: str, colour: str, size: float = 45) -> None:
    recall, precision = row.by_metric["recall"], row.by_metric["precision"]
    x, y = recall.value, precision.value
    spread = [[x - recall.low], [recall.high - x]], [[y - precision.low], [precision.high - y]]
    label = shortened(row.name)
    axes.errorbar(x, y, xerr=spread[0], yerr=spread[1], color=colour, linewidth=0.8, fmt="none")
    axes.scatter(x, y, s=size, marker=marker, color=colour, edgecolors=PAPER, linewidths=0.6, label=label, zorder=3)


def draw_planes(row: Row, real: Row | None) -> Any:
    """Leading PCA planes: real vectors behind a row's samples, with the 1, 2 and 3 sigma circles."""
    points = row.plots.points if row.plots else []
    behind = real.plots.points if real and real.plots else None
    figure, all_axes = panels(len(points), len(points), height=2.5, width=2.5 * len(points))
    angle = np.linspace(0, 2 * np.pi, 91)
    for index, (axes, (i, j)) in enumerate(zip(all_axes, PLANES, strict=False)):
        if behind:
            axes.scatter(*np.array(behind[index]).T, s=5, color=DATA, alpha=0.7, linewidths=0)
        axes.scatter(*np.array(points[index]).T, s=5, color=VERMILION, alpha=0.7, linewidths=0)
        for sigma in (1, 2, 3):
            axes.plot(sigma * np.cos(angle), sigma * np.sin(angle), color=INK, linewidth=0.5)
        axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal", xlabel=f"PC {i} (sigma)", ylabel=f"PC {j}")
    return figure


@dataclass(frozen=True)
class Bar:
    """Quantiles of one row, in per cent of the width of the plot."""

    name: str
    real: bool
    quantiles: tuple[float, float, float, float, float]
    """5, 25, 50, 75 and 95 %."""
    text: str


@dataclass(frozen=True)
class Bars:
    """A plot of bars on a common axis from 0, which the page draws itself, so that it fits every width.

    Attributes:
        label: what the axis shows.
        bars: in the order of the rows.
        ticks: (position in per cent, label).
        real: where real vectors are, from 5 to 95 %, in per cent; None if that is unknown.
    """

    label: str
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    real: tuple[float, float] | None


def radii(rows: Sequence[Row]) -> Bars:
    """Mahalanobis radius: a bar from the 5 to the 95 % quantile of each row, with the median marked."""
    return _bars(rows, lambda plots: plots.radii, "Mahalanobis distance from the centre (sigma)")


def nearest(rows: Sequence[Row]) -> Bars:
    """Distance to the nearest train vector: a bar from the 5 to the 95 % quantile of each row."""
    return _bars(rows, lambda plots: plots.nearest, "distance to the nearest train vector (latent units)")


def _bars(rows: Sequence[Row], pick: Callable[[PlotData], list[float]], label: str) -> Bars:
    from matplotlib.ticker import MaxNLocator

    having = [(row, pick(row.plots)) for row in rows if row.plots and pick(row.plots)]
    shown = [(row, [values[level] for level in (5, 25, 50, 75, 95)]) for row, values in having]
    most = max((q[-1] for _, q in shown), default=0.0) or 1.0
    ticks = [float(tick) for tick in MaxNLocator(5).tick_values(0, most) if 0 <= tick <= 1.02 * most]
    scale = 100 / (1.02 * most)
    bars = []
    for row, q in shown:
        text = f"median {q[2]:.3g}, half of them from {q[1]:.3g} to {q[3]:.3g}, 90 % from {q[0]:.3g} to {q[4]:.3g}"
        low, lower, median, upper, high = (scale * value for value in q)
        bars.append(Bar(shortened(row.name), row.kind != "drawn", (low, lower, median, upper, high), text))
    real = next(((bar.quantiles[0], bar.quantiles[-1]) for bar in bars if bar.real), None)
    return Bars(label, bars, [(scale * tick, f"{tick:g}") for tick in ticks], real)


def shortened(name: str) -> str:
    """A name that fits a legend."""
    return name if len(name) <= 44 else name[:43] + "…"
