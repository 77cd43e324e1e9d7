"""Figures of paths of items that are no images: signals as lines, one for each step, features as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.item_plots import FEATURES, LONGEST_NAME, PLOT_WIDTH, as_svg, figure_of
from lsampler.data.items import Item
from lsampler.errors import shortened
from lsampler.plots import SERIES, house_style, panels
from lsampler.showing import picture

Rows = NDArray[np.float32]
MOST_PATHS, MOST_LINES = 12, 24
"""Items that a figure shows, and steps of each signal."""


def figure_of_paths(items: Rows, item: Item, ids: Sequence[str]) -> Any:
    """A figure of paths of items (n, steps, *shape), the first twelve.

    A signal has a panel, with a line for each step that darkens from the first to the last. A table has a panel for
    each of its first 30 features, with a curve over the steps for each item. Other arrays are shown as maps.
    """
    shown, names = items[:MOST_PATHS], [shortened(name, LONGEST_NAME) for name in ids[:MOST_PATHS]]
    if item.kind == "signal":
        return _signals(shown, item, names)
    if item.kind == "table":
        return _features(shown, item, names)
    return figure_of(items.reshape(-1, *item.shape), item)


def _signals(items: Rows, item: Item, names: Sequence[str]) -> Any:
    import matplotlib as mpl

    channels = item.shape[0]
    count = len(items) * channels
    figure, axes = panels(count, 1 if count == 1 else 2 if count < 5 else 3, height=1.9)
    steps = np.unique(np.linspace(0, items.shape[1] - 1, MOST_LINES).round().astype(int))
    tones = mpl.colormaps["viridis_r"](0.1 + 0.8 * steps / max(steps[-1], 1))
    low, high = float(items.min()), float(items.max())
    room = 0.04 * (high - low or 1.0)
    for place, axis in enumerate(axes):
        path, channel = divmod(place, channels)
        for step, tone in zip(steps, tones, strict=True):
            axis.plot(items[path, step, channel], color=tone, linewidth=1.0)
        title = names[path] if channels == 1 else f"{names[path]}: {shortened(item.features[channel], LONGEST_NAME)}"
        axis.set_title(title, fontsize=8)
        axis.set_ylim(low - room, high + room)
        axis.margins(x=0)
    from matplotlib.lines import Line2D

    ends = [Line2D([], [], color=tones[0], label="first step"), Line2D([], [], color=tones[-1], label="last step")]
    figure.legend(handles=ends, loc="outside upper right", ncols=2)
    if item.unit:
        figure.supylabel(item.unit, fontsize=9)
    figure.supxlabel("step of the signal", fontsize=9)
    return figure


def _features(items: Rows, item: Item, names: Sequence[str]) -> Any:
    count = min(item.shape[0], FEATURES)
    figure, axes = panels(count, 5, height=1.5)
    for feature, axis in enumerate(axes):
        for place, path in enumerate(items):
            style = "-" if place < len(SERIES) else "--"
            axis.plot(path[:, feature], style, color=SERIES[place % len(SERIES)], linewidth=1.2)
        axis.set_title(shortened(item.features[feature], LONGEST_NAME), fontsize=8)
        axis.locator_params(axis="both", nbins=4)
        axis.margins(x=0)
    if len(items) > 1:
        figure.legend(axes[0].get_lines(), names, loc="outside upper right", ncols=6)
    more = f"; the first {count} of {item.shape[0]} features" if item.shape[0] > count else ""
    figure.supxlabel(f"step of the path{more}", fontsize=8)
    return figure


def paths_html(items: Rows, item: Item, ids: Sequence[str], caption: str) -> Markup:
    """A figure of paths, as a picture for a notebook."""
    with house_style():
        return picture(as_svg(figure_of_paths(items, item, ids)), caption, kind="svg+xml", width=PLOT_WIDTH)
