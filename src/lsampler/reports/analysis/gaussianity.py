"""Section 5: are the components, the pairs, and the whole distribution normal?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, INK, VERMILION, panels
from lsampler.reports.analysis.components import dominant_components
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.correlations import strongest_pairs
from lsampler.reports.analysis.density import Counts, PairDensity, mass_of_ellipse
from lsampler.reports.analysis.planes import draw_contours
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent
from lsampler.statistics.pca import Pca
from lsampler.statistics.statistics import Statistics

__all__ = [
    "EFFECT",
    "SECTION",
    "Fits",
    "JointShares",
    "Radii",
    "fits",
    "joint_shares",
    "ks_distances",
    "lilliefors_critical",
    "mahalanobis",
    "shape_moments",
]

ELLIPSES = (1.0, 2.0, 3.0)
SHOWN_FITS = 8
PAIRS = 8
JOINT_ROWS = 4000
JOINT_VALUES = 2**28
MAHALANOBIS_BINS = 2000
PERFECT = 1e-6
EFFECT = 0.05


@dataclass(frozen=True)
class Fits:
    """Gaussians fitted to the number densities: all (D,), NaN where none fits.

    Attributes:
        centre: in latent units.
        sigma: in latent units.
        residual: root mean square of density minus fit, as a share of the density's maximum.
        height: in counts a bin.
    """

    centre: NDArray[np.float64]
    sigma: NDArray[np.float64]
    residual: NDArray[np.float64]
    height: NDArray[np.float64]


def fits(statistics: Statistics, bin_width: float | None = None) -> Fits:
    """A Gaussian for every component, by ``scipy.optimize.curve_fit``."""
    values = np.full((4, statistics.dimension), np.nan)
    for j in range(statistics.dimension):
        try:
            fit = statistics.gaussian_fit(j, bin_width=bin_width)
        except LsamplerError:
            continue
        values[:, j] = fit.centre, fit.sigma, fit.residual, fit.height
    return Fits(*values)


def ks_distances(statistics: Statistics) -> NDArray[np.float64]:
    """(D,) Kolmogorov-Smirnov distances of the components from normals of their mean and sigma.

    The largest difference of the cumulative shares, read at the edges of the statistics' own
    bins (about sigma/16): an effect size, 0 to 1, that does not grow with the number of vectors.
    """
    from scipy.stats import norm

    result = np.empty(statistics.dimension)
    for j in range(statistics.dimension):
        middles, counts, width = statistics.histogram(j, bin_width=statistics.histograms.width[j])
        edges = np.append(middles - width / 2, middles[-1] + width / 2)
        below = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
        normal = norm.cdf(edges, statistics.mean[j], statistics.std[j])
        result[j] = np.abs(below - normal).max()
    return result


def lilliefors_critical(n: int) -> float:
    """The distance above which Lilliefors' test rejects normality at 5 % (Lilliefors 1967, large n)."""
    return float(0.886 / np.sqrt(n))


def shape_moments(
    blocks: Iterable[NDArray[Any]], statistics: Statistics
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Skewness and excess kurtosis (D,) each, from one pass: moments about the known mean."""
    third = np.zeros(statistics.dimension)
    fourth = np.zeros(statistics.dimension)
    second = np.zeros(statistics.dimension)
    n = 0
    for block in blocks:
        centred = block.astype(np.float64) - statistics.mean
        squares = centred * centred
        second += squares.sum(axis=0)
        third += np.einsum("ij,ij->j", squares, centred)
        fourth += np.einsum("ij,ij->j", squares, squares)
        n += len(block)
    variance = second / n
    return third / n / variance**1.5, fourth / n / variance**2 - 3


@dataclass(frozen=True)
class Radii:
    """Mahalanobis distances of all vectors, beside those of a normal sample of the same size.

    Attributes:
        counts: the distances.
        rank: dimensions of the covariance that were used.
        quantiles: at 5, 50 and 95 %.
        normal_quantiles: of a normal whose mean and covariance were estimated from as many
            vectors: d^2 n / (n-1)^2 ~ Beta(q/2, (n-q-1)/2) (Gnanadesikan and Kettenring 1972).
        ks: Kolmogorov-Smirnov distance between the two.
        kurtosis: Mardia's, mean(d^4) / (q (q+2)); 1 for a normal of many vectors.
        normal_kurtosis: what it is expected to be for a normal sample of this size.
    """

    counts: Counts
    rank: int
    quantiles: list[float]
    normal_quantiles: list[float]
    ks: float
    kurtosis: float
    normal_kurtosis: float


def mahalanobis(blocks: Iterable[NDArray[Any]], pca: Pca, n: int) -> Radii:
    """One pass over all vectors. Raises LsamplerError with no more vectors than dimensions."""
    from scipy.stats import beta

    q = pca.rank
    if n <= q + 1:
        raise LsamplerError(f"{n} vectors are too few for distances in {q} dimensions; encode more images")
    whiten = (pca.axes[:q] / np.sqrt(pca.variances[:q, np.newaxis])).T
    counts = Counts(float(np.sqrt(q)) / MAHALANOBIS_BINS)
    fourth = 0.0
    for block in blocks:
        squared = np.square((block - pca.mean) @ whiten).sum(axis=1)
        counts.add(np.sqrt(squared))
        fourth += float(np.square(squared).sum())
    law = beta(q / 2, (n - q - 1) / 2, scale=(n - 1) ** 2 / n)
    edges = np.arange(len(counts.counts) + 1) * counts.width
    below = np.concatenate([[0], np.cumsum(counts.counts)]) / counts.n
    shares = (0.05, 0.5, 0.95)
    return Radii(
        counts,
        q,
        [counts.quantile(share) for share in shares],
        [float(np.sqrt(law.ppf(share))) for share in shares],
        float(np.abs(below - law.cdf(edges**2)).max()),
        fourth / counts.n / (q * (q + 2)),
        float(law.moment(2)) / (q * (q + 2)),
    )


@dataclass(frozen=True)
class JointShares:
    """Shares of vectors inside the n-sigma ellipses of all pairs, n = 1, 2, 3.

    Attributes:
        lowest: (3,) over the pairs, of the share inside one ellipse.
        mean: (3,) likewise.
        highest: (3,) likewise.
        joint: (3,) inside the ellipses of all pairs at once.
        rows: how many vectors they rest on.
    """

    lowest: NDArray[np.float64]
    mean: NDArray[np.float64]
    highest: NDArray[np.float64]
    joint: NDArray[np.float64]
    rows: int


def joint_shares(rows: NDArray[Any], statistics: Statistics) -> JointShares:
    """Every pair's ellipse: (x^2 - 2 r x y + y^2) / (1 - r^2) <= n^2 for standardised x and y."""
    x = ((rows - statistics.mean) / statistics.std).astype(np.float32)
    correlation = statistics.correlation
    squares = np.square(x)
    shares = []
    worst = np.zeros(len(x), dtype=np.float32)
    for i in range(len(correlation) - 1):
        r = correlation[i, i + 1 :].astype(np.float32)
        room = np.maximum(1 - r * r, np.float32(PERFECT))
        level = (squares[:, i, np.newaxis] - (2 * r) * x[:, i, np.newaxis] * x[:, i + 1 :] + squares[:, i + 1 :]) / room
        shares.append(np.stack([(level <= n * n).mean(axis=0) for n in ELLIPSES]))
        np.maximum(worst, level.max(axis=1), out=worst)
    every = np.concatenate(shares, axis=1)
    joint = np.array([np.mean(worst <= n * n) for n in ELLIPSES])
    return JointShares(every.min(axis=1), every.mean(axis=1), every.max(axis=1), joint, len(x))


def run(context: Context) -> Result:
    """Fits, moments, effect sizes, Mahalanobis radii, pair densities."""
    statistics = context.statistics
    statistics.require_spread()
    found = fits(statistics, context.options.bin_width)
    ks = ks_distances(statistics)
    along = ks_distances(context.reference.principal_statistics())
    context.advance(context.count)
    result = Result(measure(statistics, found, ks, along))
    result.findings += [
        f"The cumulative distribution of a component differs from its normal by {np.median(ks):.3f} (median) and "
        f"by at most {ks.max():.3f} (component {ks.argmax()}); along the principal axes by at most "
        f"{along.max():.3f} (axis {along.argmax()}).",
        f"A test of normality would reject {result.measured['rejected_at_5_percent']} of {context.dimension} "
        f"components at 5 %. With {statistics.count} vectors it rejects any difference above "
        f"{result.measured['lilliefors_critical']:.4f}: for many vectors a p-value says that there are many vectors. "
        "Read the size of the difference instead.",
    ]
    add_fits(result, context, found, ks)
    if context.has_latents:
        add_moments(result, context, found, ks)
        add_radii(result, context)
        if context.dimension > 1:
            add_pairs(result, context)
    else:
        result.missing.append(f"Skewness, kurtosis, Mahalanobis radii and pair densities: {STATISTICS_ONLY}.")
    result.measured["normal"] = verdict_of_normality(result.measured)
    return result


def measure(statistics: Statistics, found: Fits, ks: NDArray[np.float64], along: NDArray[np.float64]) -> dict[str, Any]:
    """All numbers that the statistics give; ``along`` are the distances along the principal axes."""
    failed = int(np.isnan(found.sigma).sum())
    critical = lilliefors_critical(statistics.count)
    return {
        "vectors": statistics.count,
        "fit": {
            "centre": found.centre,
            "sigma": found.sigma,
            "residual": found.residual,
            "failed": failed,
            "median_residual": float(np.nanmedian(found.residual)) if failed < statistics.dimension else None,
        },
        "ks": ks,
        "median_ks": float(np.median(ks)),
        "largest_ks": float(ks.max()),
        "largest_ks_principal": float(along.max()),
        "lilliefors_critical": critical,
        "rejected_at_5_percent": int((ks > critical).sum()),
    }


def add_fits(result: Result, context: Context, found: Fits, ks: NDArray[np.float64]) -> None:
    """The fits of dominant components, and of the least and the most normal ones."""
    statistics = context.statistics
    widths = statistics.half_widths()
    chosen = list(dict.fromkeys([*dominant_components(statistics.mean, widths), *np.argsort(-ks), *np.argsort(ks)]))
    first, worst, best = chosen[: SHOWN_FITS - 4], np.argsort(-ks)[:2], np.argsort(ks)[:2]
    shown = list(dict.fromkeys(int(j) for j in [*first, *worst, *best]))
    result.figures.append(
        Figure(
            "fits",
            "Densities, and Gaussians fitted to them (dashed), with the difference below: dominant components, then "
            "the least and the most normal ones by Kolmogorov-Smirnov distance.",
            lambda: draw_fits(statistics, found, ks, shown, context.options.bin_width),
        )
    )


def verdict_of_normality(measured: dict[str, Any]) -> bool | None:
    """Whether the latents can be called multivariate normal; None where that was not measured.

    An effect size, with what chance adds: the Kolmogorov-Smirnov distance from the normal is at
    most 0.05 for every component, every principal component, and the Mahalanobis radii. (Of a
    mixture whose clusters lie along no axis, only the principal components may tell.)
    """
    limit = EFFECT + 2 * measured["lilliefors_critical"]
    radii = measured.get("mahalanobis")
    if max(measured["largest_ks"], measured["largest_ks_principal"]) > limit:
        return False
    return None if radii is None else bool(radii["ks"] <= limit)


def add_moments(result: Result, context: Context, found: Fits, ks: NDArray[np.float64]) -> None:
    """Skewness and kurtosis, and a table of all components."""
    skewness, kurtosis = shape_moments(context.chunks(), context.statistics)
    result.measured |= {"skewness": skewness, "excess_kurtosis": kurtosis}
    result.findings.append(
        f"Skewness is {np.median(np.abs(skewness)):.2f} in size (median), excess kurtosis {np.median(kurtosis):+.2f}; "
        "both are 0 for a normal."
    )
    order = np.argsort(-ks, kind="stable")
    result.tables.append(
        Table(
            "normality",
            "Components, the least normal first",
            ["component", "KS distance", "fit: centre", "fit: sigma", "residual / maximum", "skewness", "kurtosis - 3"],
            [
                [int(j), ks[j], found.centre[j], found.sigma[j], found.residual[j], skewness[j], kurtosis[j]]
                for j in order
            ],
            shown=10,
        )
    )


def add_radii(result: Result, context: Context) -> None:
    """Mahalanobis radii beside those of a normal sample."""
    try:
        radii = mahalanobis(context.chunks(), context.pca, context.count)
    except LsamplerError as error:
        result.missing.append(f"Mahalanobis radii: {error}")
        return
    result.measured["mahalanobis"] = {
        "rank": radii.rank,
        "q05": radii.quantiles[0],
        "median": radii.quantiles[1],
        "q95": radii.quantiles[2],
        "normal_q05": radii.normal_quantiles[0],
        "normal_median": radii.normal_quantiles[1],
        "normal_q95": radii.normal_quantiles[2],
        "ks": radii.ks,
        "mardia_kurtosis_ratio": radii.kurtosis / radii.normal_kurtosis,
    }
    result.findings.append(
        "Mahalanobis radii have 5 / 50 / 95 % quantiles {:.1f} / {:.1f} / {:.1f}, where a normal has "
        "{:.1f} / {:.1f} / {:.1f}: ".format(*radii.quantiles, *radii.normal_quantiles)
        + (
            "all components together are what a normal gives."
            if radii.ks <= EFFECT + 2 * lilliefors_critical(context.count)
            else "each component may look normal, all of them together are not."
        )
    )
    result.figures.append(
        Figure(
            "mahalanobis",
            "Mahalanobis distance from the centre: these latents, and a normal sample of the same size.",
            lambda: draw_mahalanobis(radii, context.count),
        )
    )


def add_pairs(result: Result, context: Context) -> None:
    """Kernel densities of the strongest and some weak pairs; the ellipses of all pairs."""
    statistics = context.statistics
    pairs, r = strongest_pairs(statistics.correlation)
    usable = pairs[np.abs(r) < 1 - PERFECT]
    if not len(usable):
        result.missing.append("Every pair is perfectly correlated: there are no ellipses.")
        return
    weak = max(len(usable) // 2, min(PAIRS // 2, len(usable)))
    chosen = np.concatenate([usable[: PAIRS // 2], usable[weak : weak + PAIRS // 2]])
    densities = [PairDensity(statistics.mean[pair], statistics.covariance[np.ix_(pair, pair)]) for pair in chosen]
    for block in context.chunks():
        for pair, density in zip(chosen, densities, strict=True):
            density.add(block[:, pair])
    limit = min(JOINT_ROWS, max(200, JOINT_VALUES // context.dimension**2))
    add_ellipses(result, joint_shares(context.some(limit), statistics), len(pairs))
    add_contours(result, statistics, chosen, densities)


def add_ellipses(result: Result, joint: JointShares, pairs: int) -> None:
    """Shares inside the ellipses of all pairs, one by one and at once."""
    expected = [mass_of_ellipse(n) for n in ELLIPSES]
    result.measured["ellipses"] = {
        "sigmas": ELLIPSES,
        "normal": expected,
        "lowest": joint.lowest,
        "mean": joint.mean,
        "highest": joint.highest,
        "joint": joint.joint,
        "rows": joint.rows,
    }
    result.tables.append(
        Table(
            "ellipses",
            f"Share inside the confidence ellipse, over all {pairs} pairs ({joint.rows} vectors drawn at random)",
            ["sigma", "normal: 1 - exp(-n^2/2)", "lowest pair", "mean", "highest pair", "inside all pairs at once"],
            [
                [n, expected[k], joint.lowest[k], joint.mean[k], joint.highest[k], joint.joint[k]]
                for k, n in enumerate(ELLIPSES)
            ],
        )
    )
    result.findings.append(
        f"The 2-sigma ellipse of a pair holds {percent(joint.lowest[1], 1)} to {percent(joint.highest[1], 1)} of the "
        f"vectors (normal: {percent(expected[1], 1)}), but only {percent(joint.joint[1], 1)} are inside the ellipses "
        f"of all {pairs} pairs at once."
    )


def add_contours(
    result: Result, statistics: Statistics, chosen: NDArray[np.int64], densities: list[PairDensity]
) -> None:
    """Contours of the chosen pairs (P, 2) beside their ellipses."""
    shown = list(zip(chosen.tolist(), densities, strict=True))
    result.measured["pairs"] = [
        {
            "pair": pair,
            "inside": density.shares,
            "ellipticity": [density.ellipticity(n) for n in (1.0, 2.0)],
        }
        for pair, density in shown
    ]
    result.tables.append(
        Table(
            "pairs",
            "The pairs of the figure, from all vectors",
            ["pair", "r", "inside 1 sigma", "inside 2 sigma", "inside 3 sigma", "overlap of contour and ellipse"],
            [
                [f"({i}, {j})", statistics.correlation[i, j], *density.shares, density.ellipticity(1.0)]
                for (i, j), density in shown
            ],
        )
    )
    result.figures.append(
        Figure(
            "contours",
            "Contours of kernel densities with confidence ellipses: the strongest pairs, and some of median |r|. For a "
            "normal the contours of 39, 86 and 99 % of the mass lie on the ellipses.",
            lambda: draw_contours(densities, [(f"component {i}", f"component {j}") for i, j in chosen], columns=4),
        )
    )


def draw_fits(
    statistics: Statistics, found: Fits, ks: NDArray[np.float64], shown: list[int], bin_width: float | None
) -> Any:
    """A panel per component: density and fit, with the residual beneath the axis."""
    figure, all_axes = panels(len(shown), 4, height=2.5)
    for axes, j in zip(all_axes, shown, strict=True):
        middles, counts, _ = statistics.histogram(j, bin_width=bin_width)
        top = counts.max()
        axes.plot(middles, counts / top, color=BLUE)
        if np.isfinite(found.sigma[j]):
            model = found.height[j] * np.exp(-0.5 * ((middles - found.centre[j]) / found.sigma[j]) ** 2)
            axes.plot(middles, model / top, "--", color=VERMILION)
            axes.fill_between(middles, -0.3, -0.3 + (counts - model) / top, color=INK, alpha=0.5, linewidth=0)
        axes.axhline(-0.3, color=INK, linewidth=0.5)
        axes.set_xlim(statistics.mean[j] - 5 * statistics.std[j], statistics.mean[j] + 5 * statistics.std[j])
        axes.set(title=f"component {j}, KS {ks[j]:.3f}", xlabel="value (latent units)", ylim=(-0.5, 1.12))
        axes.set_yticks([-0.3, 0, 0.5, 1], ["diff.", "0", "0.5", "1"])
    return figure


def draw_mahalanobis(radii: Radii, n: int) -> Any:
    """Density of the distance beside the normal's."""
    from scipy.stats import beta

    from lsampler.plots import DATA, single

    figure, axes = single(height=3.2, width=7.5)
    middles, counts, width = radii.counts.density(max(1, round(0.015 * MAHALANOBIS_BINS)))
    axes.fill_between(middles, counts / counts.sum() / width, step="mid", color=DATA, alpha=0.6, label="latents")
    q = radii.rank
    law = beta(q / 2, (n - q - 1) / 2, scale=(n - 1) ** 2 / n)
    x = np.linspace(1e-3, max(radii.quantiles[2], radii.normal_quantiles[2]) * 1.4, 400)
    axes.plot(x, law.pdf(x * x) * 2 * x, "--", color=VERMILION, label="normal of the same\nmean and covariance")
    axes.set(
        xlabel=f"Mahalanobis distance in {q} dimensions (sigma)", ylabel="density", ylim=(0, None), xlim=(0, x[-1])
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


SECTION = Section(
    key="gaussianity",
    title="Gaussian or not",
    post="post VIII",
    about="Gaussians fitted to every component, contours of pair densities beside confidence ellipses, and the test "
    "that looks at all components at once: the Mahalanobis distances. A distribution can look normal on every axis "
    "and in every plane and still not be.",
    run=run,
    passes=4,
    uses=("bin_width", "seed"),
)
