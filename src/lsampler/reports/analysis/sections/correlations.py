"""Section 2: Pearson correlations of the components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import draw_counts, draw_matrix, draw_planes
from lsampler.reports.analysis.planes import overlays, plane_of
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.analysis.sections.components import dominant_components

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


@Section(
    title="Correlations of the components",
    post="post III",
    uses=("bin_width", "threshold", "strategies", "seed"),
    fewest_components=2,
)
def correlations(context: Context) -> Result:
    """Measure Pearson's r, the linear correlation, of all pairs of components from all vectors.

    The covariance is gathered in one pass, in memory that depends on D alone. The post took 5,000 of its 170,000
    vectors for lack of memory, which is needed only by methods that hold all vectors at once.
    """
    pairs, r = strongest_pairs(context.statistics.correlation)
    result = Result(measure(context, pairs, r))
    measured = result.measured
    counts, shares = measured["counts"], measured["shares"]
    result.findings.append(
        f"{counts[0]} of {len(r)} pairs have |r| above 0.1, {counts[4]} above 0.5. The strongest is "
        f"({pairs[0, 0]}, {pairs[0, 1]}) with r = {r[0]:+.3f}. With {measured['vectors']} vectors, an r of zero is "
        f"measured to within +-{measured['standard_error_of_zero']:.3f} (one standard error)."
    )
    above = len(measured["strong_pairs"])
    result.table(
        "strong_pairs",
        f"Pairs with |r| above {measured['threshold']:g}",
        {"i": pairs[:above, 0], "j": pairs[:above, 1], "Pearson r": r[:above]},
        shown=16,
    )
    result.table(
        "counts",
        "Pairs with |r| above a limit, beside post III (5,000 of 170,000 vectors, D = 256)",
        {
            "|r| above": THRESHOLDS,
            "pairs": counts,
            "share of all pairs": shares,
            "post III: pairs": POST_COUNTS,
            "post III: share": [count / POST_PAIRS for count in POST_COUNTS],
        },
    )
    result.figure(
        "matrix",
        "Pearson correlation of all pairs of components: in the encoder's order, and with correlated components moved "
        "together (the order of a hierarchical clustering by 1 - |r|).",
        lambda: draw_matrix(context.statistics.correlation),
    )
    result.figure(
        "counts",
        "Share of all pairs whose |r| exceeds a limit, beside post III.",
        lambda: draw_counts(THRESHOLDS, {"these latents": shares, "post III": np.array(POST_COUNTS) / POST_PAIRS}),
    )
    add_planes(result, context, pairs[:PLANES])
    return result


def measure(context: Context, pairs: NDArray[np.int64], r: NDArray[np.float64]) -> dict[str, Any]:
    """All numbers of the section, from the pairs (P, 2), the strongest first, and their r (P,)."""
    statistics, threshold = context.statistics, context.options.threshold
    counts = [int((np.abs(r) > limit).sum()) for limit in THRESHOLDS]
    strong = pairs[np.abs(r) > threshold].tolist()
    widths = statistics.half_widths("histogram", bin_width=context.bin_width)
    dominant = set(dominant_components(statistics.mean, widths).tolist())
    return {
        "vectors": statistics.count,
        "pairs": len(r),
        "thresholds": THRESHOLDS,
        "counts": counts,
        "shares": [count / len(r) for count in counts],
        "threshold": threshold,
        "strong_pairs": [[i, j, float(value)] for (i, j), value in zip(strong, r, strict=False)],
        "largest": float(r[0]),
        "root_mean_square": float(np.sqrt(np.mean(r * r))),
        "standard_error_of_zero": float(1 / np.sqrt(statistics.count)),
        "share_of_strong_pairs_with_a_dominant_component": (
            float(np.mean([bool(dominant & {i, j}) for i, j in strong])) if strong else None
        ),
        "dominant": sorted(dominant),
    }


def add_planes(result: Result, context: Context, pairs: NDArray[np.int64]) -> None:
    """Projections onto the strongest pairs, with the strategies' vectors."""
    drawn, problems = overlays(context, 20)
    result.missing += problems
    result.can_measure("The scatter of the data behind the ellipses", context)
    result.figure(
        "planes",
        "The most strongly correlated pairs: up to 5,000 latent vectors drawn at random, the 2-sigma confidence "
        "ellipse, the centre, the origin, and 20 vectors of each strategy. These are projections: a vector that seems "
        "inside may lie far outside in other components.",
        lambda: draw_planes([plane_of(context, i, j) for i, j in pairs.tolist()], drawn, (2.0,)),
    )
