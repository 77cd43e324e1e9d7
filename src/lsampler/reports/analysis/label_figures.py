"""How the figures of the section on labels are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.data.items import Item
from lsampler.errors import shortened
from lsampler.plots import BLUE, GREEN, INK, ORANGE, PAGE_WIDTH, VERMILION, panels

COLOURS = {"cluster": VERMILION, "strong direction": BLUE, "direction": BLUE, "no direction": INK}
ROW_HEIGHT = 0.19
BINS = 40
LONGEST = 28
Rows = NDArray[np.float64]


def draw_directions(found: Sequence[Mapping[str, Any]], strong: float, clustered: float) -> Any:
    """Labels down; on the left AUC or R^2 with intervals, on the right the gain of neighbours in both spaces."""
    figure, (left, right) = panels(2, 2, height=1.1 + ROW_HEIGHT * len(found))
    rows = np.arange(len(found))
    for row, one in zip(rows, found, strict=True):
        name, marker = ("auc", "o") if "auc" in one else ("r2", "D")
        colour = COLOURS.get(one["verdict"] or "", INK)
        filled = one["verdict"] in ("cluster", "strong direction")
        left.plot([one[f"{name}_low"], one[f"{name}_high"]], [row, row], color=colour, linewidth=1.0)
        face = colour if filled else "none"
        left.plot([one[name]], [row], marker, color=colour, markersize=4, markerfacecolor=face)
        near = one.get("neighbours", {})
        for space, shape, shade in (("latent", "o", GREEN), ("whitened", "s", ORANGE)):
            if space in near:
                right.plot([near[space]["gain"]], [row], shape, color=shade, markersize=4)
        if one.get("humps", {}).get("two"):
            right.annotate("two humps", (1.0, row), fontsize=7, ha="right", va="center")
    left.set_yticks(rows, [shortened(one["name"], LONGEST) for one in found], fontsize=7)
    right.set_yticks(rows, [""] * len(found))
    lowest = min((one.get("auc_low", one.get("r2_low", 0.5)) for one in found), default=0.0)
    left.set(xlabel="AUC, 95 % interval" + (" (diamonds: R²)" if any("r2" in o for o in found) else ""))
    left.set_xlim(min(0.45, lowest - 0.02), 1.01)
    right.set(xlabel="neighbours of the same kind: 0 by chance, 1 all", xlim=(min(-0.1, right.get_xlim()[0]), 1.03))
    for axes, chance, limit in ((left, 0.5, strong), (right, 0.0, clustered)):
        axes.axvline(chance, color=INK, linewidth=0.7)
        axes.axvline(limit, color=INK, linewidth=0.7, linestyle="--")
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="x")
    handles = [right.plot([], [], mark, color=shade, markersize=4)[0] for mark, shade in (("o", GREEN), ("s", ORANGE))]
    figure.legend(handles, ["latent vectors", "whitened vectors"], loc="outside upper right", ncols=2)
    return figure


def draw_humps(found: Sequence[Mapping[str, Any]], scores: Mapping[str, tuple[Rows, Rows]]) -> Any:
    """A panel per label: densities of both groups at their shares, and of all."""
    figure, all_axes = panels(len(found), 4, height=1.9)
    for axes, one in zip(all_axes, found, strict=True):
        along, values = scores[one["name"]]
        edges = np.linspace(along.min(), along.max(), int(np.clip(np.sqrt(len(along)), 8, BINS)) + 1)
        unit = len(along) * (edges[1] - edges[0])
        both = []
        for value, colour in ((0, BLUE), (1, VERMILION)):
            counts = np.histogram(along[values == value], edges)[0] / unit
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.45, linewidth=0)
            both.append(counts)
        axes.stairs(both[0] + both[1], edges, color=INK, linewidth=1.0)
        p = one["humps"]["dip_p"]
        axes.set_title(
            f"{shortened(one['name'], LONGEST)}\ndip p {p:.2g}, {'two humps' if one['humps']['two'] else 'one hump'}"
        )
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    figure.supxlabel("score along the probe (sigma of all)", fontsize=9)
    return figure


def draw_cosines(names: Sequence[str], plain: Rows, partial: Rows) -> Any:
    """Two heat maps with the labels' names beside them."""
    count = len(names)
    figure, (left, right) = panels(2, 2, height=6.0)
    size = float(np.clip(250 / count, 2.5, 8))
    told = [shortened(name, LONGEST) for name in names]
    for axes, matrix, title in ((left, plain, "mean differences"), (right, partial, "partial effects")):
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="equal")
        axes.set_title(title)
        axes.set_xticks(np.arange(count), told, rotation=90, fontsize=size)
        axes.tick_params(length=1.5, pad=1.5)
    left.set_yticks(np.arange(count), told, fontsize=size)
    right.set_yticks(np.arange(count), [""] * count)
    bar = figure.colorbar(picture, ax=(left, right), location="bottom", shrink=0.4, aspect=40, label="cosine")
    bar.outline.set_linewidth(0.5)
    return figure


def draw_images(names: Sequence[str], with_it: NDArray[np.uint8], without: NDArray[np.uint8]) -> Any:
    """A column per label: the mean image (H, W, C) of rows with it above that of rows without it."""
    height = PAGE_WIDTH / max(len(names), 4) * with_it.shape[1] / with_it.shape[2] + 0.25
    figure, axes = panels(2 * len(names), len(names), height=height, width=PAGE_WIDTH * min(1.0, len(names) / 4))
    for place, image in enumerate([*with_it, *without]):
        grey = image.shape[-1] == 1
        axes[place].imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
        axes[place].set(xticks=[], yticks=[])
        axes[place].spines[:].set_visible(False)
        name = shortened(names[place % len(names)], 18)
        axes[place].set_title(name if place < len(names) else f"not {name}", fontsize=7)
    return figure


def draw_signals(names: Sequence[str], with_it: NDArray[Any], without: NDArray[Any], item: Item) -> Any:
    """A panel per label: the mean signal (C, L) of rows with it, and that of rows without it; the first channel."""
    figure, all_axes = panels(len(names), 4, height=1.7)
    for axes, name, one, other in zip(all_axes, names, with_it, without, strict=True):
        axes.plot(other[0], color=BLUE, linewidth=1.1, label="without")
        axes.plot(one[0], color=VERMILION, linewidth=1.1, label="with the label")
        axes.set_title(shortened(name, LONGEST))
        axes.margins(x=0)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    channel = f", channel {item.names[0] if item.names else 0}" if item.shape[0] > 1 else ""
    figure.supxlabel(f"step{channel}", fontsize=9)
    if item.unit:
        figure.supylabel(item.unit, fontsize=9)
    return figure
