"""The plots of a comparison, drawn from its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from lsampler.plots import DATA, INK, PAPER, SERIES, VERMILION, panels, single
from lsampler.scoring.plot_data import PLANES, PlotData
from lsampler.scoring.row_cache import Row

TALLEST = 9
MARKERS = "sD^vPX*"


def draw_trade_off(rows: Sequence[Row]) -> Any:
    """Fidelity over diversity: precision against recall, a curve per sweep, and the point of the real data."""
    figure, axes = single(height=4.8, width=7.8)
    usable = [row for row in rows if {"precision", "recall"} <= set(row.by_metric)]
    curves: dict[str, list[Row]] = {}
    for row in usable:
        if row.entry and row.entry.curve:
            curves.setdefault(row.entry.curve, []).append(row)
    for colour, (curve, varied) in zip(cycle(SERIES), curves.items(), strict=False):
        _draw_curve(axes, curve, varied, colour)
    fixed = [row for row in usable if row.kind == "drawn" and not (row.entry and row.entry.curve)]
    for index, row in enumerate(fixed):
        colour = SERIES[(len(curves) + index) % len(SERIES)]
        _point(axes, row, MARKERS[index % len(MARKERS)], colour)
    for row in usable:
        if row.kind != "drawn":
            _point(axes, row, "*", INK, size=170)
    axes.set(
        xlabel="diversity: recall, share of real vectors among the samples",
        ylabel="fidelity: precision, share of samples among real vectors",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.05),
    )
    axes.grid()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _draw_curve(axes: Any, label: str, varied: Sequence[Row], colour: str) -> None:
    points = sorted(
        (
            (row.entry and row.entry.value) or 0.0,
            row.by_metric["recall"].value,
            row.by_metric["precision"].value,
        )
        for row in varied
    )
    values, x, y = zip(*points, strict=True)
    axes.plot(x, y, "-o", color=colour, markersize=4, linewidth=1.2, label=label)
    for end in (0, -1):
        axes.annotate(f"{values[end]:g}", (x[end], y[end]), xytext=(5, 4), textcoords="offset points", fontsize=7)


def _point(axes: Any, row: Row, marker: str, colour: str, size: float = 45) -> None:
    recall, precision = row.by_metric["recall"], row.by_metric["precision"]
    x, y = recall.value, precision.value
    spread = [[x - recall.low], [recall.high - x]], [[y - precision.low], [precision.high - y]]
    axes.errorbar(x, y, xerr=spread[0], yerr=spread[1], color=colour, linewidth=0.8, fmt="none")
    axes.scatter(x, y, s=size, marker=marker, color=colour, edgecolors=PAPER, linewidths=0.6, label=row.name, zorder=3)


def draw_planes(rows: Sequence[Row]) -> Any:
    """Leading PCA planes: real vectors behind each row's samples, with the 1, 2 and 3 sigma circles."""
    real = next((row.plots.points for row in rows if row.kind != "drawn" and row.plots), None)
    drawn = [(row.name, row.plots.points) for row in rows if row.kind == "drawn" and row.plots and row.plots.points]
    planes = len(drawn[0][1]) if drawn else 0
    figure, all_axes = panels(len(drawn) * planes, 2 * planes, height=2.5)
    panel = iter(all_axes)
    angle = np.linspace(0, 2 * np.pi, 91)
    for name, points in drawn:
        for index, (i, j) in enumerate(PLANES[:planes]):
            axes = next(panel)
            if real:
                axes.scatter(*np.array(real[index]).T, s=5, color=DATA, alpha=0.7, linewidths=0)
            axes.scatter(*np.array(points[index]).T, s=5, color=VERMILION, alpha=0.7, linewidths=0)
            for sigma in (1, 2, 3):
                axes.plot(sigma * np.cos(angle), sigma * np.sin(angle), color=INK, linewidth=0.5)
            axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal", xlabel=f"PC {i} (sigma)")
            axes.set_ylabel(f"PC {j}")
            if index == 0:
                axes.set_title(_short(name), loc="left", fontsize=8)
    return figure


def draw_radii(rows: Sequence[Row]) -> Any:
    """Mahalanobis radius: a bar from the 5 to the 95 % quantile of each row, with the median marked."""
    return _bars(rows, lambda plots: plots.radii, "Mahalanobis distance from the centre (sigma)")


def draw_nearest(rows: Sequence[Row]) -> Any:
    """Distance to the nearest train vector: a bar from the 5 to the 95 % quantile of each row."""
    return _bars(rows, lambda plots: plots.nearest, "distance to the nearest train vector (latent units)")


def _bars(rows: Sequence[Row], pick: Callable[[PlotData], list[float]], label: str) -> Any:
    shown = [(row, pick(row.plots)) for row in rows if row.plots and pick(row.plots)]
    figure, axes = single(height=min(TALLEST, 0.9 + 0.26 * len(shown)), width=6.8)
    for y, (row, q) in enumerate(shown):
        colour = INK if row.kind != "drawn" else VERMILION
        axes.plot([q[5], q[95]], [y, y], color=colour, linewidth=2, alpha=0.6)
        axes.plot([q[25], q[75]], [y, y], color=colour, linewidth=6, solid_capstyle="butt")
        axes.plot(q[50], y, "|", color=PAPER, markersize=9, markeredgewidth=1.6)
    real = next((q for row, q in shown if row.kind != "drawn"), None)
    if real is not None:
        axes.axvspan(real[5], real[95], color=DATA, alpha=0.2, linewidth=0)
    axes.set_yticks(range(len(shown)), [_short(row.name) for row, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set(xlabel=label, xlim=(0, None))
    axes.grid(axis="x")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 44 else name[:43] + "…"
