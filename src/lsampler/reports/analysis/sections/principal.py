"""Section 6: the distribution in the coordinates of its principal components."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import draw_contours, draw_fits, draw_variance
from lsampler.reports.analysis.pair_density import Pair, PairDensity, pair_densities
from lsampler.reports.analysis.section import Result, Section, columns, percent
from lsampler.reports.analysis.sections.components import count_peaks
from lsampler.reports.analysis.sections.gaussianity import fits, ks_distances, largest_of_a_normal
from lsampler.statistics.passes import View
from lsampler.statistics.statistics import Statistics, trimmed

SHARES = (0.80, 0.90, 0.95)
POST_SURVIVORS = {1.35: 122_000, 1.45: 138_000, 1.55: 149_000, 1.7: 159_000, 1.8: 164_000}
POST_ALL = 170_000
LEADING = 10
POST_PAIR = (2, 3)
CORE_HEADS = {
    "r of the inner core": "inner_correlation",
    "tilt (degrees)": "tilt_degrees",
    "axis ratio": "axis_ratio",
    "offset (sigma)": "offset_sigma",
}
Densities = dict[Pair, PairDensity]


def components_for(variances: NDArray[np.float64]) -> dict[str, int]:
    """How many leading components explain 80, 90 and 95 % of the variance."""
    cumulative = np.cumsum(variances) / variances.sum()
    return {f"{share:.2f}": int(np.searchsorted(cumulative, share - 1e-12) + 1) for share in SHARES}


@Section(title="After PCA", post="post IX", uses=("trim",))
def principal(context: Context) -> Result:
    """Analyse the latents in the coordinates of their principal components.

    There a normal distribution separates into independent Gaussians with upright ellipses; deviations that the original
    axes hide become visible. Outliers are trimmed first, as in the post: vectors with any component farther than t
    half-widths from its mean are left out. The inner core of a pair is the densest region that holds half of it.
    """
    trim = context.options.trim
    statistics = context.reference.statistics(trim)
    pca = statistics.pca
    ratio = pca.variances / pca.variances.sum()
    needed = components_for(pca.variances)
    result = Result(
        {
            "trim": trim,
            "vectors": statistics.count,
            "of": context.count,
            "rank": pca.rank,
            "explained_variance_ratio": ratio,
            "components_for": needed,
            "components_for_untrimmed": components_for(context.pca.variances),
            "share_of_first_15": float(ratio[:15].sum()),
            "largest_ratio": float(ratio[0]),
            "first_to_second": float(ratio[0] / ratio[1]) if pca.rank > 1 else None,
        }
    )
    result.findings.append(
        f"{needed['0.80']}, {needed['0.90']} and {needed['0.95']} principal components of {context.dimension} "
        f"explain 80, 90 and 95 % of the variance; the first explains {percent(ratio[0], 1)}, the first 15 "
        f"{percent(ratio[:15].sum())}."
    )
    result.figure(
        "variance",
        "Explained variance of each principal component, and cumulated, with the numbers of components for 80, 90 and "
        "95 %.",
        lambda: draw_variance(ratio, needed),
    )
    cells: dict[str, Any] = {"component": range(len(ratio)), "variance": pca.variances, "share": ratio}
    result.table("variance", "Explained variance", cells | {"cumulative share": np.cumsum(ratio)}, shown=0)
    add_axes(result, context)
    if result.can_measure("Pair densities after PCA, and the trimming table", context) and pca.rank > 1:
        add_trimming(result, context)
    return result


def add_axes(result: Result, context: Context) -> None:
    """How normal and how uncorrelated the principal components are."""
    along = context.reference.principal_statistics(context.options.trim)
    found, ks = fits(along), ks_distances(along)
    off_diagonal = float(np.abs(along.correlation - np.eye(along.dimension)).max())
    centres = found["centre"] / along.std
    offset = np.abs(centres)
    order = np.argsort(-ks)[:4].tolist()
    result.measured |= {
        "largest_off_diagonal": off_diagonal,
        "ks": ks,
        "median_ks": float(np.median(ks)),
        "largest_ks": float(ks.max()),
        "share_near_normal": float(np.mean(ks <= largest_of_a_normal(context.count))),
        "least_normal": order,
        "fit_centre_in_sigma": offset,
        "largest_fit_centre": float(np.nanmax(offset)) if np.isfinite(offset).any() else None,
        "share_single_peaked": float(np.mean(count_peaks(along) == 1)),
    }
    result.findings.append(
        f"After the PCA no two components correlate: the largest |r| is {off_diagonal:.0e}. Their densities "
        f"differ from normals by {np.median(ks):.3f} (median KS distance), at most {ks.max():.3f}; the least normal "
        f"are components {', '.join(map(str, order))}."
    )
    result.figure(
        "fits",
        "Densities of the first principal components, and of the least normal ones, with fitted Gaussians (dashed) "
        "and the difference below.",
        lambda: draw_fits(along, found, ks, list(dict.fromkeys([*range(min(8, along.dimension)), *order])), None),
    )
    cells = {
        "component": range(along.dimension),
        "sigma": along.std,
        "KS distance": ks,
        "fit: centre / sigma": centres,
        "fit: sigma": found["sigma"],
        "residual / maximum": found["residual"],
    }
    result.table("axes", "Principal components", cells, shown=10)


def densities_of(context: Context, statistics: Statistics, trim: float | None, pairs: list[Pair]) -> Densities:
    """Kernel densities of pairs of principal components of ``statistics``, over its own vectors."""
    pca = statistics.pca
    view = trimmed(context.statistics, trim)
    along = View(view.low, view.high, pca.mean, pca.axes[: max(map(max, pairs)) + 1])
    return pair_densities(
        context.segments, {pair: (np.zeros(2), np.diag(pca.variances[[*pair]])) for pair in pairs}, along
    )


def add_trimming(result: Result, context: Context) -> None:
    """Leading pairs at the chosen trim, then (2, 3) and the worst pair over all trims."""
    trim = context.options.trim
    statistics = context.reference.statistics(trim)
    pairs = list(itertools.combinations(range(min(LEADING, statistics.pca.rank)), 2))
    densities = densities_of(context, statistics, trim, pairs)
    cores = cores_of(densities)
    ordered = sorted(cores, key=lambda core: -abs(core["inner_correlation"]))
    worst = (ordered[0]["pair"][0], ordered[0]["pair"][1])
    followed = list(dict.fromkeys([POST_PAIR if POST_PAIR in densities else worst, worst]))
    series = dict(trimmed_series(result, context, densities, followed))
    tilts = [abs(core["tilt_degrees"]) for core in cores if core["axis_ratio"] < 0.9]
    rows: list[dict[str, Any]] = [
        {"trim": trim, "survivors": count, "share": count / context.count, "pairs": cores_of(kept)}
        for trim, (count, kept) in series.items()
    ]
    complete = len(rows) == len(POST_SURVIVORS)
    inner = [abs(row["pairs"][0]["inner_correlation"]) for row in rows if complete] or [None]
    result.measured |= {
        "pairs": cores,
        "median_inner_correlation": float(np.median([abs(core["inner_correlation"]) for core in cores])),
        "largest_inner_correlation": abs(ordered[0]["inner_correlation"]),
        "median_tilt": float(np.median(tilts)) if tilts else None,
        "mean_ellipticity": float(np.mean([density.ellipticity(1.0) for density in densities.values()])),
        "worst_pair": list(worst),
        "trimming": rows,
        "shares_left": [row["share"] for row in rows] if complete else None,
        "inner_at_tightest": inner[0],
        "inner_at_loosest": inner[-1],
    }
    add_trimming_tables(result, ordered)
    add_contours(result, densities, worst, {trim: kept for trim, (_, kept) in series.items()})


def cores_of(densities: Densities) -> list[dict[str, Any]]:
    """The inner cores of pairs, as plain values."""
    return [{"pair": list(pair), **density.inner_core()} for pair, density in densities.items()]


def trimmed_series(
    result: Result, context: Context, densities: Densities, followed: list[Pair]
) -> Iterator[tuple[float, tuple[int, Densities]]]:
    """Each trim with the vectors left and the followed pairs; ``densities`` are those at the chosen trim."""
    for trim in POST_SURVIVORS:
        try:
            part = context.reference.statistics(trim)
            part.require_rank(max(map(max, followed)) + 1)
        except LsamplerError as error:
            result.missing.append(f"Trimming at {trim}: {error}")
            continue
        found = densities if trim == context.options.trim else densities_of(context, part, trim, followed)
        yield trim, (part.count, {pair: found[pair] for pair in followed})


def add_contours(result: Result, densities: Densities, worst: Pair, series: dict[float, Densities]) -> None:
    """Contours of the leading pairs, and of the followed pairs over the trims."""
    shown = [*[pair for pair in densities if pair != worst][:11], worst]
    result.figure(
        "contours",
        "Contours and confidence ellipses of leading pairs of principal components, the worst pair last: if the "
        "whole were normal, the contours would be centred and upright.",
        lambda: draw_contours([densities[pair] for pair in shown], labels(shown)),
    )
    if series:
        followed = list(next(iter(series.values())))
        panels = [kept[pair] for pair in followed for kept in series.values()]
        titles = [f"t = {trim:g}" for trim in series] * len(followed)
        pairs = [pair for pair in followed for _ in series]
        result.figure(
            "trimming",
            "The pair of post IX, and the worst pair, at each trim; every trim has a PCA of its own.",
            lambda: draw_contours(panels, labels(pairs), titles, len(series)),
        )


def add_trimming_tables(result: Result, ordered: list[dict[str, Any]]) -> None:
    """Inner cores of the leading pairs, the worst first; survivors and alignment over the trims."""
    result.table(
        "inner_cores",
        "The densest half of leading pairs: how its own axes lie to the principal axes, worst first",
        {"pair": ["({}, {})".format(*core["pair"]) for core in ordered], **columns(ordered, CORE_HEADS)},
        shown=8,
    )
    rows = result.measured["trimming"]
    table = columns(rows, {"t": "trim", "vectors left": "survivors", "share left": "share"})
    table["post IX"] = [POST_SURVIVORS[row["trim"]] / POST_ALL for row in rows]
    for place, core in enumerate(rows[0]["pairs"] if rows else ()):
        name = "({}, {})".format(*core["pair"])
        followed = [row["pairs"][place] for row in rows]
        table |= columns(followed, {f"{name}: inner r": "inner_correlation", f"{name}: tilt": "tilt_degrees"})
    title = "Trimming at t half-widths in every component, and what it does to the inner core of two pairs"
    result.table("trimming", title, table)
    i, j = ordered[0]["pair"]
    trims = " / ".join(f"{trim:g}" for trim in table["t"])
    shares = " / ".join(f"{100 * share:.0f}" for share in table["share left"])
    result.findings.append(
        f"The inner core of the worst leading pair ({i}, {j}) has r = {ordered[0]['inner_correlation']:+.2f}, while "
        f"the whole has 0. Trimming at {trims} half-widths leaves {shares} %."
    )


def labels(pairs: list[Pair]) -> list[tuple[str, str]]:
    """Axis labels of pairs of principal components."""
    return [(f"PC {i}", f"PC {j}") for i, j in pairs]
