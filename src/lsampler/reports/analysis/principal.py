"""Section 6: the distribution in the coordinates of its principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, INK, SERIES, VERMILION, panels
from lsampler.reports.analysis.components import count_peaks
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.density import InnerCore, PairDensity
from lsampler.reports.analysis.gaussianity import draw_fits, fits, ks_distances
from lsampler.reports.analysis.planes import draw_contours
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent
from lsampler.statistics.statistics import Statistics, trimmed

__all__ = ["SECTION", "TRIMS", "Trimmed", "components_for"]

SHARES = (0.80, 0.90, 0.95)
TRIMS = (1.35, 1.45, 1.55, 1.7, 1.8)
POST_SURVIVORS = {1.35: 122_000, 1.45: 138_000, 1.55: 149_000, 1.7: 159_000, 1.8: 164_000}
POST_ALL = 170_000
LEADING = 10
POST_PAIR = (2, 3)


@dataclass(frozen=True)
class Trimmed:
    """What is left after trimming at ``trim`` half-widths, and how its inner core lies to its own axes."""

    trim: float | None
    survivors: int
    cores: dict[tuple[int, int], InnerCore]
    densities: dict[tuple[int, int], PairDensity]


def components_for(variances: NDArray[np.float64], share: float) -> int:
    """How many leading components explain ``share`` of the variance."""
    cumulative = np.cumsum(variances) / variances.sum()
    return int(np.searchsorted(cumulative, share - 1e-12) + 1)


def run(context: Context) -> Result:
    """Explained variance, normality along the axes, pair densities, trimming."""
    trim = context.options.trim
    statistics = context.reference.statistics(trim)
    pca = statistics.pca
    ratio = pca.variances / pca.variances.sum()
    measured: dict[str, Any] = {
        "trim": trim,
        "vectors": statistics.count,
        "of": context.count,
        "rank": pca.rank,
        "explained_variance_ratio": ratio,
        "components_for": {f"{share:.2f}": components_for(pca.variances, share) for share in SHARES},
        "components_for_untrimmed": {f"{share:.2f}": components_for(context.pca.variances, share) for share in SHARES},
        "share_of_first_15": float(ratio[:15].sum()),
        "largest_ratio": float(ratio[0]),
    }
    needed = measured["components_for"]
    result = Result(
        measured,
        findings=[
            f"{needed['0.80']}, {needed['0.90']} and {needed['0.95']} principal components of {context.dimension} "
            f"explain 80, 90 and 95 % of the variance; the first explains {percent(ratio[0], 1)}, the first 15 "
            f"{ratio[:15].sum():.0%}."
        ],
        figures=[
            Figure(
                "variance",
                "Explained variance of each principal component, and cumulated, with the numbers of components for "
                "80, 90 and 95 %.",
                lambda: draw_variance(ratio, measured["components_for"]),
            )
        ],
        tables=[
            Table(
                "variance",
                "Explained variance",
                ["component", "variance", "share", "cumulative share"],
                [[k, pca.variances[k], ratio[k], float(ratio[: k + 1].sum())] for k in range(len(ratio))],
                shown=0,
            )
        ],
    )
    add_axes(result, context, trim)
    if not context.has_latents:
        result.missing.append(f"Pair densities after PCA, and the trimming table: {STATISTICS_ONLY}.")
    elif pca.rank > 1:
        add_trimming(result, context)
    return result


def add_axes(result: Result, context: Context, trim: float | None) -> None:
    """How normal and how uncorrelated the principal components are."""
    along = context.reference.principal_statistics(trim)
    context.advance(2 * context.count)
    found, ks = fits(along), ks_distances(along)
    off_diagonal = np.abs(along.correlation - np.eye(along.dimension))
    peaks = np.array([count_peaks(along, k) for k in range(along.dimension)])
    offset = np.abs(found.centre) / along.std
    result.measured |= {
        "largest_off_diagonal": float(off_diagonal.max()),
        "ks": ks,
        "median_ks": float(np.median(ks)),
        "largest_ks": float(ks.max()),
        "least_normal": [int(k) for k in np.argsort(-ks)[:4]],
        "fit_centre_in_sigma": offset,
        "largest_fit_centre": float(np.nanmax(offset)) if np.isfinite(offset).any() else None,
        "share_single_peaked": float(np.mean(peaks == 1)),
    }
    result.findings.append(
        f"After the PCA no two components correlate: the largest |r| is {off_diagonal.max():.0e}. Their densities "
        f"differ from normals by {np.median(ks):.3f} (median KS distance), at most {ks.max():.3f}; least normal are "
        f"components {', '.join(map(str, result.measured['least_normal']))}."
    )
    shown = list(dict.fromkeys([*range(min(8, along.dimension)), *map(int, np.argsort(-ks)[:4])]))
    result.figures.append(
        Figure(
            "fits",
            "Densities of the first principal components, and of the least normal ones, with fitted Gaussians (dashed) "
            "and the difference below.",
            lambda: draw_fits(along, found, ks, shown, None),
        )
    )
    result.tables.append(
        Table(
            "axes",
            "Principal components",
            ["component", "sigma", "KS distance", "fit: centre / sigma", "fit: sigma", "residual / maximum"],
            [
                [k, along.std[k], ks[k], found.centre[k] / along.std[k], found.sigma[k], found.residual[k]]
                for k in range(along.dimension)
            ],
            shown=10,
        )
    )


def pair_densities(
    context: Context, statistics: Statistics, trim: float | None, pairs: list[tuple[int, int]]
) -> dict[tuple[int, int], PairDensity]:
    """Kernel densities of pairs of principal components of ``statistics``, over its own vectors."""
    pca = statistics.pca
    leading = max(max(pair) for pair in pairs) + 1
    densities = {(i, j): PairDensity(np.zeros(2), np.diag([pca.variances[i], pca.variances[j]])) for i, j in pairs}
    blocks: Any = context.chunks()
    if trim is not None:
        blocks = map(trimmed(context.statistics, trim), blocks)
    for block in blocks:
        coordinates = pca.transform(block, leading)
        for (i, j), density in densities.items():
            density.add(coordinates[:, [i, j]])
    return densities


def add_trimming(result: Result, context: Context) -> None:
    """Leading pairs at the chosen trim, then (2, 3) and the worst pair over all trims."""
    trim = context.options.trim
    statistics = context.reference.statistics(trim)
    leading = min(LEADING, statistics.pca.rank)
    pairs = [(i, j) for i in range(leading) for j in range(i + 1, leading)]
    densities = pair_densities(context, statistics, trim, pairs)
    cores = {pair: density.inner_core() for pair, density in densities.items()}
    worst = max(cores, key=lambda pair: abs(cores[pair].correlation))
    post_pair = POST_PAIR if POST_PAIR in densities else worst
    followed = list(dict.fromkeys([post_pair, worst]))
    series = []
    for factor in TRIMS:
        try:
            part = context.reference.statistics(factor)
            part.require_rank(max(max(pair) for pair in followed) + 1)
        except LsamplerError as error:
            result.missing.append(f"Trimming at {factor}: {error}")
            continue
        found = densities if factor == trim else pair_densities(context, part, factor, followed)
        series.append(
            Trimmed(
                factor,
                part.count,
                {pair: found[pair].inner_core() for pair in followed},
                {pair: found[pair] for pair in followed},
            )
        )
    tilts = sorted(abs(core.tilt) for core in cores.values() if core.axis_ratio < 0.9)
    result.measured |= {
        "pairs": [{"pair": list(pair), **core_values(core)} for pair, core in cores.items()],
        "median_inner_correlation": float(np.median([abs(core.correlation) for core in cores.values()])),
        "largest_inner_correlation": abs(cores[worst].correlation),
        "median_tilt": float(np.median(tilts)) if tilts else None,
        "mean_ellipticity": float(np.mean([density.ellipticity(1.0) for density in densities.values()])),
        "worst_pair": list(worst),
        "trimming": [
            {
                "trim": part.trim,
                "survivors": part.survivors,
                "share": part.survivors / context.count,
                "pairs": [{"pair": list(pair), **core_values(core)} for pair, core in part.cores.items()],
            }
            for part in series
        ],
    }
    add_trimming_tables(result, context, cores, series)
    add_trimming_figures(result, densities, series, worst)


def core_values(core: InnerCore) -> dict[str, float]:
    """An inner core as plain values."""
    return {
        "inner_correlation": core.correlation,
        "tilt_degrees": core.tilt,
        "axis_ratio": core.axis_ratio,
        "offset_sigma": core.offset,
    }


def add_trimming_tables(
    result: Result, context: Context, cores: dict[tuple[int, int], InnerCore], series: list[Trimmed]
) -> None:
    """Inner cores of the leading pairs; survivors and alignment over the trims."""
    heads = ["r of the inner core", "tilt (degrees)", "axis ratio", "offset (sigma)"]
    ordered = sorted(cores.items(), key=lambda item: -abs(item[1].correlation))
    result.tables.append(
        Table(
            "inner_cores",
            "The densest half of leading pairs: how its own axes lie to the principal axes, worst first",
            ["pair", *heads],
            [[f"({i}, {j})", *core_values(core).values()] for (i, j), core in ordered],
            shown=8,
        )
    )
    rows = []
    for part in series:
        assert part.trim is not None  # noqa: S101 - the series holds factors only
        cells: list[Any] = [part.trim, part.survivors, part.survivors / context.count]
        cells.append(POST_SURVIVORS[part.trim] / POST_ALL)
        for core in part.cores.values():
            cells += [core.correlation, core.tilt]
        rows.append(cells)
    names = [f"({i}, {j})" for i, j in series[0].cores] if series else []
    result.tables.append(
        Table(
            "trimming",
            "Trimming at t half-widths in every component, and what it does to the inner core of two pairs",
            [
                "t",
                "vectors left",
                "share left",
                "post IX",
                *(f"{name}: {what}" for name in names for what in ("inner r", "tilt")),
            ],
            rows,
        )
    )
    (i, j), core = ordered[0]
    left = [f"{100 * part.survivors / context.count:.0f}" for part in series]
    result.findings.append(
        f"The inner core of the worst leading pair ({i}, {j}) has r = {core.correlation:+.2f} where the whole has 0. "
        f"Trimming at {' / '.join(f'{t:g}' for t in TRIMS[: len(left)])} half-widths leaves {' / '.join(left)} %."
    )


def add_trimming_figures(
    result: Result, densities: dict[tuple[int, int], PairDensity], series: list[Trimmed], worst: tuple[int, int]
) -> None:
    """Contours of the leading pairs, and of the followed pairs over the trims."""
    shown = list(densities)[:11] + ([worst] if worst not in list(densities)[:11] else [])
    result.figures.append(
        Figure(
            "contours",
            "Contours and confidence ellipses of leading pairs of principal components, the worst pair last: if the "
            "whole were normal, the contours would be centred and upright.",
            lambda: draw_contours([densities[pair] for pair in shown], labels(shown), columns=4),
        )
    )
    pairs = [pair for part in series for pair in part.cores]
    if series:
        count = len(series[0].cores)
        result.figures.append(
            Figure(
                "trimming",
                "The pair of post IX, and the worst pair, at each trim; every trim has a PCA of its own.",
                lambda: draw_contours(
                    [part.densities[pair] for k in range(count) for part in series for pair in [pairs[k]]],
                    [label for k in range(count) for label in labels([pairs[k]] * len(series))],
                    columns=len(series),
                    titles=[f"t = {part.trim:g}" for _ in range(count) for part in series],
                ),
            )
        )


def labels(pairs: list[tuple[int, int]]) -> list[tuple[str, str]]:
    """Axis labels of pairs of principal components."""
    return [(f"PC {i}", f"PC {j}") for i, j in pairs]


def draw_variance(ratio: NDArray[np.float64], needed: dict[str, int]) -> Any:
    """Scree plot and cumulative curve."""
    figure, (left, right) = panels(2, 2, height=3.3)
    shown = min(40, len(ratio))
    left.bar(np.arange(shown), 100 * ratio[:shown], color=BLUE, width=0.75)
    left.set(xlabel="principal component", ylabel="explained variance (%)", title=f"the first {shown}")
    left.grid(axis="y")
    cumulative = 100 * np.cumsum(ratio)
    right.plot(np.arange(1, len(ratio) + 1), cumulative, color=BLUE, linewidth=1.8)
    for (share, count), colour in zip(needed.items(), (VERMILION, SERIES[2], SERIES[3]), strict=True):
        right.plot([count, count, 0], [0, 100 * float(share), 100 * float(share)], color=colour, linewidth=1.0)
        right.annotate(
            f"{100 * float(share):.0f} %: {count} components",
            (1, 100 * float(share)),
            xytext=(3, 2),
            textcoords="offset points",
            color=INK,
            fontsize=8,
            va="bottom",
        )
    right.set(xlabel="number of leading components", ylabel="cumulative share (%)", title="cumulated")
    right.set(xlim=(0, len(ratio)), ylim=(0, 103))
    return figure


SECTION = Section(
    key="principal",
    title="After PCA",
    post="post IX",
    about="In the coordinates of its principal components a normal distribution falls apart into independent Gaussians "
    "with upright ellipses; deviations that the original axes hide show up here. Outliers are trimmed first, as in the "
    "post: vectors with any component farther than t half-widths from its mean are left out. The inner core of a pair "
    "is the densest region that holds half of it.",
    run=run,
    passes=8,
    uses=("trim",),
)
