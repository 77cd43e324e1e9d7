"""The style of all plots: readable at page width, colour-blind safe, for light and dark pages.

Ink and paper are two fixed colours with no other use, so that a page can swap them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

INK = "#23272e"
PAPER = "#fefefe"
# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
DATA = "#5b8db8"
"""Latent vectors of the data, in every scatter plot."""
PAGE_WIDTH = 9.0
RASTER_DPI = 130


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Apply the style to figures that are made and saved inside."""
    import matplotlib as mpl

    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    paper = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    style: dict[str, Any] = {
        **dict.fromkeys(ink, INK),
        **dict.fromkeys(paper, PAPER),
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.grid": False,
        "lines.linewidth": 1.4,
        "grid.color": "#9aa0a8",
        "grid.alpha": 0.35,
        "grid.linewidth": 0.5,
        "svg.fonttype": "none",
        "svg.hashsalt": "lsampler",
    }
    settings: Any = style
    with mpl.rc_context(settings):
        yield


def panels(count: int, columns: int, *, height: float, width: float = PAGE_WIDTH) -> tuple[Any, list[Any]]:
    """Return a figure and ``count`` axes in rows of at most ``columns``; ``height`` is in inches per row."""
    from matplotlib.figure import Figure

    columns = max(1, min(count, columns))
    rows = -(-count // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def single(*, height: float = 3.6, width: float = 6.4) -> tuple[Any, Any]:
    """Return a figure of one plot, and its axes."""
    figure, axes = panels(1, 1, height=height, width=width)
    return figure, axes[0]


def save_figure(figure: Any, out: Path | IO[str]) -> None:
    """Write a figure in the format of the suffix, or as SVG. The same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    kind = out.suffix[1:] if isinstance(out, Path) else "svg"
    is_svg = kind == "svg"
    # matplotlib places the axes by drawing everything, unseen, with the same canvas and resolution.
    figure.set_dpi(72 if is_svg else RASTER_DPI)
    (FigureCanvasSVG if is_svg else FigureCanvasAgg)(figure)
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)
    figure.savefig(out, format=kind, dpi=RASTER_DPI, metadata={"Date": None, "Creator": None} if is_svg else {})
