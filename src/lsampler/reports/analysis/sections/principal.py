"""Section 6: the distribution in the coordinates of its principal components."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures.densities import draw_fits, draw_variance
from lsampler.reports.analysis.figures.planes import draw_contours
from lsampler.reports.analysis.pair_density import InnerCore, Pair, PairDensities, PairDensity
from lsampler.reports.analysis.section import Result, Section, percent
from lsampler.reports.analysis.sections.components import count_peaks
from lsampler.reports.analysis.sections.gaussianity import fits, ks_distances
from lsampler.statistics.passes import View
from lsampler.statistics.statistics import Statistics, trimmed

SHARES = (0.80, 0.90, 0.95)
TRIMS = (1.35, 1.45, 1.55, 1.7, 1.8)
POST_SURVIVORS = {1.35: 122_000, 1.45: 138_000, 1.55: 149_000, 1.7: 159_000, 1.8: 164_000}
POST_ALL = 170_000
LEADING = 10
POST_PAIR = (2, 3)


@dataclass(frozen=True)
class Trimmed:
    """What is left after trimming at ``trim`` half-widths, and the followed pairs in its own principal components."""

    trim: float
    survivors: int
    densities: dict[Pair, PairDensity]
    cores: dict[Pair, InnerCore]


def components_for(variances: NDArray[np.float64]) -> dict[str, int]:
    """How many leading components explain 80, 90 and 95 % of the variance."""
    cumulative = np.cumsum(variances) / variances.sum()
    return {f"{share:.2f}": int(np.searchsorted(cumulative, share - 1e-12) + 1) for share in SHARES}


@Section(
    title="After PCA",
    post="post IX",
    uses=("trim",),
)
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
        partial(draw_variance, ratio, needed),
    )
    columns: dict[str, Any] = {"component": range(len(ratio)), "variance": pca.variances, "share": ratio}
    result.table("variance", "Explained variance", columns | {"cumulative share": np.cumsum(ratio)}, shown=0)
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
        partial(draw_fits, along, found, ks, list(dict.fromkeys([*range(min(8, along.dimension)), *order])), None),
    )
    columns = {
        "component": range(along.dimension),
        "sigma": along.std,
        "KS distance": ks,
        "fit: centre / sigma": centres,
        "fit: sigma": found["sigma"],
        "residual / maximum": found["residual"],
    }
    result.table("axes", "Principal components", columns, shown=10)


def densities_of(
    context: Context, statistics: Statistics, trim: float | None, pairs: list[Pair]
) -> dict[Pair, PairDensity]:
    """Kernel densities of pairs of principal components of ``statistics``, over its own vectors."""
    pca = statistics.pca
    view = trimmed(context.statistics, trim)
    along = View(view.low, view.high, pca.mean, pca.axes[: max(map(max, pairs)) + 1])
    empty = {(i, j): PairDensity(np.zeros(2), np.diag(pca.variances[[i, j]])) for i, j in pairs}
    return context.gather(PairDensities(empty), along).of


def add_trimming(result: Result, context: Context) -> None:
    """Leading pairs at the chosen trim, then (2, 3) and the worst pair over all trims."""
    trim = context.options.trim
    statistics = context.reference.statistics(trim)
    leading = min(LEADING, statistics.pca.rank)
    pairs = [(i, j) for i in range(leading) for j in range(i + 1, leading)]
    densities = densities_of(context, statistics, trim, pairs)
    cores = {pair: density.inner_core() for pair, density in densities.items()}
    worst = max(cores, key=lambda pair: abs(cores[pair].inner_correlation))
    followed = list(dict.fromkeys([POST_PAIR if POST_PAIR in densities else worst, worst]))
    series = list(trimmed_series(result, context, densities, followed))
    correlations = [abs(core.inner_correlation) for core in cores.values()]
    tilts = [abs(core.tilt_degrees) for core in cores.values() if core.axis_ratio < 0.9]
    result.measured |= {
        "pairs": as_rows(cores),
        "median_inner_correlation": float(np.median(correlations)),
        "largest_inner_correlation": max(correlations),
        "median_tilt": float(np.median(tilts)) if tilts else None,
        "mean_ellipticity": float(np.mean([density.ellipticity(1.0) for density in densities.values()])),
        "worst_pair": list(worst),
        "trimming": [
            {
                "trim": part.trim,
                "survivors": part.survivors,
                "share": part.survivors / context.count,
                "pairs": as_rows(part.cores),
            }
            for part in series
        ],
    }
    add_trimming_tables(result, cores, series)
    add_contours(result, densities, worst, series)


def trimmed_series(
    result: Result, context: Context, densities: dict[Pair, PairDensity], followed: list[Pair]
) -> Iterator[Trimmed]:
    """The followed pairs at each trim; ``densities`` are those at the chosen trim."""
    for trim in TRIMS:
        try:
            part = context.reference.statistics(trim)
            part.require_rank(max(map(max, followed)) + 1)
        except LsamplerError as error:
            result.missing.append(f"Trimming at {trim}: {error}")
            continue
        found = densities if trim == context.options.trim else densities_of(context, part, trim, followed)
        kept = {pair: found[pair] for pair in followed}
        yield Trimmed(trim, part.count, kept, {pair: d.inner_core() for pair, d in kept.items()})


def add_contours(result: Result, densities: dict[Pair, PairDensity], worst: Pair, series: list[Trimmed]) -> None:
    """Contours of the leading pairs, and of the followed pairs over the trims."""
    shown = {pair: densities[pair] for pair in [*[pair for pair in densities if pair != worst][:11], worst]}
    result.figure(
        "contours",
        "Contours and confidence ellipses of leading pairs of principal components, the worst pair last: if the "
        "whole were normal, the contours would be centred and upright.",
        partial(draw_contours, list(shown.values()), labels(list(shown))),
    )
    panels = [(part, pair) for pair in (series[0].densities if series else ()) for part in series]
    if panels:
        trims, pairs = [f"t = {part.trim:g}" for part, _ in panels], [pair for _, pair in panels]
        result.figure(
            "trimming",
            "The pair of post IX, and the worst pair, at each trim; every trim has a PCA of its own.",
            partial(draw_contours, [part.densities[pair] for part, pair in panels], labels(pairs), trims, len(series)),
        )


def as_rows(cores: dict[Pair, InnerCore]) -> list[dict[str, Any]]:
    """Inner cores as plain values."""
    return [{"pair": list(pair), **dataclasses.asdict(core)} for pair, core in cores.items()]


def add_trimming_tables(result: Result, cores: dict[Pair, InnerCore], series: list[Trimmed]) -> None:
    """Inner cores of the leading pairs; survivors and alignment over the trims."""
    ordered = sorted(cores.items(), key=lambda item: -abs(item[1].inner_correlation))
    result.table(
        "inner_cores",
        "The densest half of leading pairs: how its own axes lie to the principal axes, worst first",
        {
            "pair": [f"({i}, {j})" for (i, j), _ in ordered],
            "r of the inner core": [core.inner_correlation for _, core in ordered],
            "tilt (degrees)": [core.tilt_degrees for _, core in ordered],
            "axis ratio": [core.axis_ratio for _, core in ordered],
            "offset (sigma)": [core.offset_sigma for _, core in ordered],
        },
        shown=8,
    )
    shares = [row["share"] for row in result.measured["trimming"]]
    columns: dict[str, list[Any]] = {
        "t": [part.trim for part in series],
        "vectors left": [part.survivors for part in series],
        "share left": shares,
        "post IX": [POST_SURVIVORS[part.trim] / POST_ALL for part in series],
    }
    for pair in series[0].cores if series else ():
        name = f"({pair[0]}, {pair[1]})"
        columns[f"{name}: inner r"] = [part.cores[pair].inner_correlation for part in series]
        columns[f"{name}: tilt"] = [part.cores[pair].tilt_degrees for part in series]
    title = "Trimming at t half-widths in every component, and what it does to the inner core of two pairs"
    result.table("trimming", title, columns)
    (i, j), core = ordered[0]
    result.findings.append(
        f"The inner core of the worst leading pair ({i}, {j}) has r = {core.inner_correlation:+.2f}, while the whole "
        f"has 0. Trimming at {' / '.join(f'{part.trim:g}' for part in series)} half-widths leaves "
        f"{' / '.join(f'{100 * share:.0f}' for share in shares)} %."
    )


def labels(pairs: list[Pair]) -> list[tuple[str, str]]:
    """Axis labels of pairs of principal components."""
    return [(f"PC {i}", f"PC {j}") for i, j in pairs]
