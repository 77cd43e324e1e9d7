"""Pictures of items that are no images: signals as small multiples, tables as densities of their features."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.items import Item
from lsampler.errors import shortened
from lsampler.plots import BLUE, INK, RASTER_DPI, VERMILION, house_style, panels
from lsampler.showing import picture

Rows = NDArray[np.float32]
SIGNALS, COLUMNS = 12, 4
FEATURES = 30
BINS = 32
LONGEST_NAME = 24
# Beyond these quantiles of the real data a density is drawn as if it ended: one outlier would squeeze the rest.
LOW, HIGH = 0.5, 99.5


def figure_of(items: Rows, item: Item, real: Rows | None = None) -> Any:
    """A figure that shows items as suits them.

    Args:
        items: (n, *shape), at least one.
        item: what they are.
        real: real items (m, *shape) to compare with; of a table and of arrays their density is drawn, too.
    """
    if item.kind == "table":
        return _densities(items, item.features, real, item.unit)
    if item.kind == "signal":
        return _signals(items, item)
    if len(item.shape) == 2 or (len(item.shape) == 3 and min(item.shape) == item.shape[0] == 1):
        return _maps(items.reshape(len(items), *item.shape[-2:]))
    names = [str(tuple(map(int, np.unravel_index(k, item.shape)))) for k in range(math.prod(item.shape))]
    flat = None if real is None else real.reshape(len(real), -1)
    return _densities(items.reshape(len(items), -1), names, flat, item.unit)


def plot_html(items: Rows, item: Item, caption: str) -> Markup:
    """The figure of items as a picture for a notebook."""
    buffer = io.BytesIO()
    with house_style():
        figure_of(items, item).savefig(buffer, format="png", dpi=RASTER_DPI)
    return picture(buffer.getvalue(), caption, kind="png")


def _signals(items: Rows, item: Item) -> Any:
    """The first signals, one panel each with a line per channel, on one scale."""
    shown = items[:SIGNALS]
    figure, axes = panels(len(shown), COLUMNS, height=1.5)
    low, high = float(shown.min()), float(shown.max())
    room = 0.04 * (high - low or 1.0)
    for k, (axis, signal) in enumerate(zip(axes, shown, strict=True)):
        for channel, values in enumerate(signal):
            axis.plot(values, linewidth=1.0, color=f"C{channel}" if len(signal) > 1 else BLUE)
        axis.set_ylim(low - room, high + room)
        axis.margins(x=0)
        if k % COLUMNS:
            axis.tick_params(labelleft=False)
        if k + COLUMNS < len(shown):
            axis.tick_params(labelbottom=False)
    if item.unit:
        figure.supylabel(item.unit, fontsize=9)
    figure.supxlabel("step", fontsize=9)
    if len(item.names) > 1:
        lines = axes[0].get_lines()
        figure.legend(lines, [shortened(n, LONGEST_NAME) for n in item.names], loc="outside upper right", ncols=6)
    return figure


def _densities(items: Rows, names: Any, real: Rows | None, unit: str) -> Any:
    """The density of every feature, of the samples and of real rows; the first 30 features."""
    count = min(items.shape[1], FEATURES)
    figure, axes = panels(count, 5 if count > 8 else 4, height=1.55)
    for feature, axis in enumerate(axes):
        values = items[:, feature].astype(np.float64)
        known = values if real is None else real[:, feature].astype(np.float64)
        low, high = np.percentile(known, [LOW, HIGH])
        if not high > low:
            low, high = low - 0.5, low + 0.5
        edges = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), BINS + 1)
        if real is not None:
            axis.stairs(_density(known, edges), edges, fill=True, color=INK, alpha=0.18)
        axis.stairs(_density(values, edges), edges, color=VERMILION, linewidth=1.2)
        axis.set_title(shortened(names[feature], LONGEST_NAME), fontsize=8)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.locator_params(axis="x", nbins=3)
    from matplotlib.patches import Patch

    handles = [Patch(facecolor="none", edgecolor=VERMILION, label="samples")]
    handles += [] if real is None else [Patch(color=INK, alpha=0.18, label="real data, decoded")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    if items.shape[1] > count:
        figure.supxlabel(f"the first {count} of {items.shape[1]} features", fontsize=8)
    elif unit:
        figure.supxlabel(unit, fontsize=8)
    return figure


def _density(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of all values in each bin, over its width."""
    counts, _ = np.histogram(values, edges)
    found: NDArray[np.float64] = counts / (len(values) * np.diff(edges))
    return found


def _maps(items: Rows) -> Any:
    """The first arrays as maps of colours, on one scale."""
    shown = items[:SIGNALS]
    figure, axes = panels(len(shown), COLUMNS, height=1.9)
    for axis, values in zip(axes, shown, strict=True):
        drawn = axis.imshow(values, vmin=shown.min(), vmax=shown.max(), aspect="auto", cmap="viridis")
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes, shrink=0.7)
    return figure
