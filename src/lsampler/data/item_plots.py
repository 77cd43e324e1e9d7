"""Pictures of items that are no images: signals as small multiples, tables as densities of their features."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.items import Item
from lsampler.errors import shortened
from lsampler.plots import BLUE, INK, PAGE_WIDTH, SERIES, VERMILION, house_style, panels, save_figure
from lsampler.showing import picture

Rows = NDArray[np.float32]
SIGNALS, COLUMNS = 12, 4
PAIRS = 8
"""How many samples are shown with the nearest real signal beneath each."""
PLOTTED = 1000
"""How many items a figure needs at most: so many for densities."""
FEATURES = 30
PLOT_WIDTH = 720
HALF_PAGE = 6.2
"""Inches, of figures that stand in two columns."""
BINS = 32
LONGEST_NAME = 24
# Beyond these quantiles of the real data a density is drawn as if it ended: one outlier would squeeze the rest.
LOW, HIGH = 0.5, 99.5


def figure_of(items: Rows, item: Item, real: Rows | None = None, *, width: float = PAGE_WIDTH) -> Any:
    """A figure that shows items as suits them.

    Args:
        items: (n, *shape), at least one.
        item: what they are.
        real: real items (m, *shape) to compare with; of a table and of arrays their density is drawn, too.
        width: in inches.
    """
    if item.kind == "table":
        return _densities(items, item.features, real, item.unit, width)
    if item.kind == "signal":
        return _signals(items, item, width=width)
    if len(item.shape) == 2 or (len(item.shape) == 3 and min(item.shape) == item.shape[0] == 1):
        return _maps(items.reshape(len(items), *item.shape[-2:]), width)
    names = [str(tuple(map(int, np.unravel_index(k, item.shape)))) for k in range(math.prod(item.shape))]
    flat = None if real is None else real.reshape(len(real), -1)
    return _densities(items.reshape(len(items), -1), names, flat, item.unit, width)


def paired_signals(signals: Rows, nearest: Rows, item: Item) -> Any:
    """A figure of the first eight signals (n, C, L), and beneath each its nearest real one (n, C, L)."""
    rows, is_real = [], []
    for start in range(0, min(len(nearest), PAIRS), COLUMNS):
        for part, known in ((signals, False), (nearest, True)):
            some = part[start : min(start + COLUMNS, len(nearest), PAIRS)]
            rows.append(some)
            is_real += [known] * len(some)
    return _signals(np.concatenate(rows), item, is_real, width=HALF_PAGE)


def _signals(items: Rows, item: Item, is_real: Sequence[bool] = (), *, width: float = PAGE_WIDTH) -> Any:
    """The first signals, one panel each with a line per channel, on one scale; real ones of one channel are in ink."""
    shown = items[: max(SIGNALS, len(is_real))]
    figure, axes = panels(len(shown), COLUMNS, height=width / 6, width=width)
    low, high = float(shown.min()), float(shown.max())
    room = 0.04 * (high - low or 1.0)
    for k, (axis, signal) in enumerate(zip(axes, shown, strict=True)):
        if any(is_real) and k % COLUMNS == 0:
            axis.set_ylabel("nearest real" if is_real[k] else "samples", fontsize=8)
        alone = INK if is_real and is_real[k] else BLUE
        for channel, values in enumerate(signal):
            axis.plot(values, linewidth=1.0, color=SERIES[channel % len(SERIES)] if len(signal) > 1 else alone)
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


def _densities(items: Rows, names: Any, real: Rows | None, unit: str, width: float) -> Any:
    """The density of every feature, of the samples and of real rows; the first 30 features."""
    count = min(items.shape[1], FEATURES)
    figure, axes = panels(count, 5 if count > 8 and width > HALF_PAGE else 4, height=width / 5.8, width=width)
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


def _maps(items: Rows, width: float) -> Any:
    """The first arrays as maps of colours, on one scale."""
    shown = items[:SIGNALS]
    figure, axes = panels(len(shown), COLUMNS, height=1.9, width=width)
    for axis, values in zip(axes, shown, strict=True):
        drawn = axis.imshow(values, vmin=shown.min(), vmax=shown.max(), aspect="auto", cmap="viridis")
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes, shrink=0.7)
    return figure


def as_svg(figure: Any) -> bytes:
    """A figure as SVG, which a page can give its own colours."""
    text = io.StringIO()
    save_figure(figure, text)
    return text.getvalue().encode()


def plot_html(items: Rows, item: Item, caption: str) -> Markup:
    """A figure of items, as a picture for a notebook."""
    with house_style():
        return picture(as_svg(figure_of(items, item)), caption, kind="svg+xml", width=PLOT_WIDTH)
