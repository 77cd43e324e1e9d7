"""Section 2: Pearson correlations of the components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, ORANGE, panels, single
from lsampler.reports.analysis.components import densities, dominant_components
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.planes import Plane, draw_planes, overlays
from lsampler.reports.analysis.section import Figure, Result, Section, Table

__all__ = ["SECTION", "THRESHOLDS", "strongest_pairs"]

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
POST_COUNTS = (1456, 158, 44, 25, 16, 8)
POST_PAIRS = 256 * 255 // 2
PLANES = 8


def strongest_pairs(correlation: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All pairs i < j as (P, 2), the strongest |r| first, and their r (P,)."""
    i, j = np.triu_indices(len(correlation), 1)
    r = correlation[i, j]
    order = np.argsort(-np.abs(r), kind="stable")
    return np.stack([i[order], j[order]], axis=1), r[order]


def run(context: Context) -> Result:
    """The matrix, counts of |r|, the pairs above the threshold, their planes."""
    if context.dimension < 2:
        raise LsamplerError("correlations need at least two components")
    pairs, r = strongest_pairs(context.statistics.correlation)
    result = Result(measure(context, pairs, r))
    measured = result.measured
    counts, (i, j) = measured["counts"], pairs[0]
    result.findings.append(
        f"{counts[0]} of {len(r)} pairs have |r| above 0.1, {counts[4]} above 0.5. The strongest is ({i}, {j}) "
        f"with r = {r[0]:+.3f}. From {measured['vectors']} vectors, an r of zero is measured to within "
        f"+-{measured['standard_error_of_zero']:.3f} (one standard error)."
    )
    add_tables(result)
    result.figures += [
        Figure(
            "matrix",
            "Pearson correlation of all pairs of components: in the encoder's order, and with correlated "
            "components moved together (the order of a hierarchical clustering by 1 - |r|).",
            lambda: draw_matrix(context.statistics.correlation),
        ),
        Figure(
            "counts",
            "Share of all pairs whose |r| exceeds a limit, beside post III.",
            lambda: draw_counts(measured["shares"]),
        ),
    ]
    add_planes(result, context, pairs[:PLANES])
    return result


def measure(context: Context, pairs: NDArray[np.int64], r: NDArray[np.float64]) -> dict[str, Any]:
    """All numbers of the section, from the pairs (P, 2), the strongest first, and their r (P,)."""
    statistics, threshold = context.statistics, context.options.threshold
    size = np.abs(r)
    counts = [int((size > limit).sum()) for limit in THRESHOLDS]
    above = int((size > threshold).sum())
    widths = densities(statistics, context.bin_width).half_widths
    dominant = set(dominant_components(statistics.mean, widths).tolist())
    among = [len(dominant & {int(i), int(j)}) for i, j in pairs[:above]]
    return {
        "vectors": statistics.count,
        "pairs": len(r),
        "thresholds": THRESHOLDS,
        "counts": counts,
        "shares": [count / len(r) for count in counts],
        "threshold": threshold,
        "strong_pairs": [
            [int(i), int(j), float(value)] for (i, j), value in zip(pairs[:above], r[:above], strict=True)
        ],
        "largest": float(r[0]),
        "root_mean_square": float(np.sqrt(np.mean(r * r))),
        "standard_error_of_zero": float(1 / np.sqrt(statistics.count)),
        "share_of_strong_pairs_with_a_dominant_component": float(np.mean(np.array(among) >= 1)) if above else None,
        "dominant": sorted(dominant),
    }


def add_tables(result: Result) -> None:
    """The strong pairs, and how many there are above each limit."""
    measured = result.measured
    result.tables += [
        Table(
            "strong_pairs",
            f"Pairs with |r| above {measured['threshold']:g}",
            ["i", "j", "Pearson r"],
            measured["strong_pairs"],
            shown=16,
        ),
        Table(
            "counts",
            "Pairs with |r| above a limit, beside post III (5,000 of 170,000 vectors, D = 256)",
            ["|r| above", "pairs", "share of all pairs", "post III: pairs", "post III: share"],
            [
                [limit, count, share, post, post / POST_PAIRS]
                for limit, count, share, post in zip(
                    THRESHOLDS, measured["counts"], measured["shares"], POST_COUNTS, strict=True
                )
            ],
        ),
    ]


def add_planes(result: Result, context: Context, pairs: NDArray[np.int64]) -> None:
    """Projections onto the strongest pairs, with the strategies' vectors."""
    drawn, problems = overlays(context, 20)
    result.missing += problems
    if not context.has_latents:
        result.missing.append(f"The scatter of the data in the planes {STATISTICS_ONLY}; the ellipses stand for it.")
    planes = [Plane.of_components(context, int(i), int(j)) for i, j in pairs]
    result.figures.append(
        Figure(
            "planes",
            "The most strongly correlated pairs: up to 5,000 latent vectors drawn at random, the 2-sigma confidence "
            "ellipse, the centre, the origin, and 20 vectors of each strategy. These are projections: a vector inside "
            "here may lie far outside in other components.",
            lambda: draw_planes(planes, drawn, columns=4, sigmas=(2.0,)),
        )
    )


def draw_matrix(correlation: NDArray[np.float64]) -> Any:
    """The matrix twice: as it is, and sorted."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - np.abs(correlation), 0, None)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance, checks=False), "average"))
    limit = float(max(0.2, np.abs(correlation - np.eye(len(correlation))).max()))
    figure, both = panels(2, 2, height=4.0)
    for axes, matrix, title in (
        (both[0], correlation, "components in the encoder's order"),
        (both[1], correlation[np.ix_(order, order)], "correlated components together"),
    ):
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="equal")
        axes.set(title=title, xlabel="component" if axes is both[0] else "place in the order")
    both[0].set(ylabel="component")
    figure.colorbar(picture, ax=both, shrink=0.8, label="Pearson r (the diagonal is 1)")
    return figure


def draw_counts(shares: list[float]) -> Any:
    """Bars of the share of pairs above each limit."""
    figure, axes = single(height=3.0)
    places = np.arange(len(THRESHOLDS))
    axes.bar(places - 0.2, 100 * np.array(shares), 0.38, color=BLUE, label="these latents")
    axes.bar(places + 0.2, 100 * np.array(POST_COUNTS) / POST_PAIRS, 0.38, color=ORANGE, label="post III")
    axes.set_xticks(places, [f"{limit:g}" for limit in THRESHOLDS])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="|r| above", ylabel="share of all pairs (%)")
    axes.grid(axis="y")
    axes.legend(loc="upper right")
    return figure


SECTION = Section(
    key="correlations",
    title="Correlations of the components",
    post="post III",
    about="Linear correlations between components, Pearson's r, from all vectors: the covariance is gathered block by "
    "block in one pass, in memory that depends on D alone. The post took 5,000 of its 170,000 vectors for lack of "
    "memory, which is only needed where all vectors are held at once.",
    run=run,
    passes=0,
    uses=("bin_width", "threshold", "strategies", "seed"),
)
