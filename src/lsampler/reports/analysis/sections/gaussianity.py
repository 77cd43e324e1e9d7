"""Section 5: are the components, the pairs, and the whole distribution normal?"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import Fits, draw_contours, draw_fits, draw_mahalanobis
from lsampler.reports.analysis.pair_density import mass_of_ellipse, pair_densities
from lsampler.reports.analysis.passes import lengths, total
from lsampler.reports.analysis.section import Result, Section, percent
from lsampler.reports.analysis.sections.components import dominant_components
from lsampler.reports.analysis.sections.correlations import strongest_pairs
from lsampler.reports.analysis.separated import MOST_AXES, clusters
from lsampler.statistics.passes import View
from lsampler.statistics.statistics import Statistics

ELLIPSES = (1.0, 2.0, 3.0)
PAIRS = 8
JOINT_ROWS = 4000
CLUSTER_ROWS = 3000
JOINT_VALUES = 2**28
MAHALANOBIS_BINS = 2000
PERFECT = 1e-6
EFFECT = 0.05


def fits(statistics: Statistics, bin_width: float | None = None) -> Fits:
    """Centre, sigma, residual and height (D,) of the Gaussians fitted to the components; NaN where none fits."""
    found = {name: np.full(statistics.dimension, np.nan) for name in ("centre", "sigma", "residual", "height")}
    for j in range(statistics.dimension):
        with contextlib.suppress(LsamplerError):
            for name, value in asdict(statistics.gaussian_fit(j, bin_width=bin_width)).items():
                found[name][j] = value
    return found


def ks_distances(statistics: Statistics) -> NDArray[np.float64]:
    """(D,) Kolmogorov-Smirnov distances of the components from normals of their mean and sigma.

    The largest difference of the cumulative shares, read at the edges of the statistics' own bins (about sigma/16): an
    effect size, 0 to 1, that does not grow with the number of vectors.
    """
    from scipy.stats import norm

    result = np.empty(statistics.dimension)
    for j in range(statistics.dimension):
        middles, counts, width = statistics.histogram(j, bin_width=statistics.histograms.width[j])
        edges = np.append(middles - width / 2, middles[-1] + width / 2)
        below = np.append(0, np.cumsum(counts)) / counts.sum()
        result[j] = np.abs(below - norm.cdf(edges, statistics.mean[j], statistics.std[j])).max()
    return result


def critical(count: int) -> float:
    """Above this distance Lilliefors' test rejects normality at 5 % (Lilliefors 1967, large n)."""
    return float(0.886 / np.sqrt(count))


def largest_of_a_normal(count: int) -> float:
    """The largest distance that is still called normal: an effect size, and what chance adds to it."""
    return EFFECT + 2 * critical(count)


def powers(mean: NDArray[np.float64], rows: NDArray[Any]) -> NDArray[np.float64]:
    """(3, D): sums of the second, third and fourth powers of the distance from the mean."""
    centred = rows - mean
    squares = centred * centred
    higher = [np.einsum("ij,ij->j", squares, other) for other in (centred, squares)]
    return np.stack([squares.sum(axis=0), *higher])


@Section(title="Gaussian or not", post="post VIII", uses=("bin_width", "seed"))
def gaussianity(context: Context) -> Result:
    """Compare the components, the pairs and the whole distribution with a normal.

    Gaussians are fitted to every component, and contours of pair densities are drawn beside confidence ellipses. The
    Mahalanobis distances look at all components at once: a distribution can look normal on every axis and in every
    plane and still not be.
    """
    statistics = context.statistics
    found, ks = fits(statistics, context.options.bin_width), ks_distances(statistics)
    along = ks_distances(context.reference.principal_statistics())
    result = Result(measure(statistics, found, ks, along))
    result.findings += [
        f"The cumulative distribution of a component differs from its normal by {np.median(ks):.3f} (median) and "
        f"by at most {ks.max():.3f} (component {ks.argmax()}); along the principal axes by at most "
        f"{along.max():.3f} (axis {along.argmax()}).",
        f"A test of normality would reject {result.measured['rejected_at_5_percent']} of {context.dimension} "
        f"components at 5 %. With {statistics.count} vectors it rejects any difference above "
        f"{result.measured['lilliefors_critical']:.4f}: for many vectors a p-value only says that there are many "
        "vectors. The size of the difference is what matters.",
    ]
    worst, best = np.argsort(-ks), np.argsort(ks)
    chosen = dict.fromkeys([*dominant_components(statistics.mean, statistics.half_widths()), *worst, *best])
    shown = list(dict.fromkeys(int(j) for j in [*list(chosen)[:4], *worst[:2], *best[:2]]))
    result.figure(
        "fits",
        "Densities, and Gaussians fitted to them (dashed), with the difference below: dominant components, then "
        "the least and the most normal ones by Kolmogorov-Smirnov distance.",
        lambda: draw_fits(statistics, found, ks, shown, context.options.bin_width),
    )
    if result.can_measure("Skewness, kurtosis, Mahalanobis radii and pair densities", context):
        add_moments(result, context, found)
        add_radii(result, context)
        add_clusters(result, context)
        if context.dimension > 1:
            add_pairs(result, context)
    result.measured["normal"] = is_normal(result.measured)
    return result


def measure(statistics: Statistics, found: Fits, ks: NDArray[np.float64], along: NDArray[np.float64]) -> dict[str, Any]:
    """All numbers that the statistics give; ``along`` are the distances along the principal axes."""
    failed = int(np.isnan(found["residual"]).sum())
    return {
        "vectors": statistics.count,
        "fit": {
            **found,
            "failed": failed,
            "median_residual": float(np.nanmedian(found["residual"])) if failed < statistics.dimension else None,
        },
        "ks": ks,
        "median_ks": float(np.median(ks)),
        "largest_ks": float(ks.max()),
        "largest_ks_principal": float(along.max()),
        "share_near_normal": float(np.mean(ks <= largest_of_a_normal(statistics.count))),
        "lilliefors_critical": critical(statistics.count),
        "rejected_at_5_percent": int((ks > critical(statistics.count)).sum()),
    }


def is_normal(measured: dict[str, Any]) -> bool | None:
    """Whether the latents can be called multivariate normal; None if that was not measured.

    Of a mixture whose clusters lie along no axis, only the principal components may show it.
    """
    limit, radii = largest_of_a_normal(measured["vectors"]), measured.get("mahalanobis")
    if max(measured["largest_ks"], measured["largest_ks_principal"]) > limit:
        return False
    return None if radii is None else bool(radii["ks"] <= limit)


def add_moments(result: Result, context: Context, found: Fits) -> None:
    """Skewness and kurtosis, and a table of all components."""
    second, third, fourth = total(context.segments, partial(powers, context.statistics.mean)) / context.count
    skewness, kurtosis = third / second**1.5, fourth / second**2 - 3
    result.measured |= {"skewness": skewness, "excess_kurtosis": kurtosis}
    result.findings.append(
        f"Skewness is {np.median(np.abs(skewness)):.2f} in size (median), excess kurtosis {np.median(kurtosis):+.2f}; "
        "both are 0 for a normal."
    )
    ks = result.measured["ks"]
    order = np.argsort(-ks, kind="stable")
    columns = {
        "component": np.arange(context.dimension),
        "KS distance": ks,
        "fit: centre": found["centre"],
        "fit: sigma": found["sigma"],
        "residual / maximum": found["residual"],
        "skewness": skewness,
        "kurtosis - 3": kurtosis,
    }
    ordered = {head: cells[order] for head, cells in columns.items()}
    result.table("normality", "Components, the least normal first", ordered, shown=10)


def add_radii(result: Result, context: Context) -> None:
    """Mahalanobis radii of all vectors, beside those of a normal sample of the same size.

    Its mean and covariance are estimated from as many vectors, so that d^2 n / (n-1)^2 ~ Beta(q/2, (n-q-1)/2)
    (Gnanadesikan and Kettenring 1972). Mardia's kurtosis is mean(d^4) / (q (q+2)), here as a ratio to what is expected
    for a normal sample of this size.
    """
    from scipy.stats import beta

    pca, n = context.pca, context.count
    q = pca.rank
    if n <= q + 1:
        result.missing.append(
            f"Mahalanobis radii: {n} vectors are too few for distances in {q} dimensions; encode more items."
        )
        return
    white = View(centre=pca.mean, axes=pca.axes[:q] / np.sqrt(pca.variances[:q, np.newaxis]))
    radii = lengths(context.segments, float(np.sqrt(q)) / MAHALANOBIS_BINS, white)
    law = beta(q / 2, (n - q - 1) / 2, scale=(n - 1) ** 2 / n)
    edges, below = radii.distribution
    ours = radii.quantiles()
    normal = {name: float(np.sqrt(law.ppf(share))) for name, share in zip(ours, (0.05, 0.5, 0.95), strict=True)}
    ks = float(np.abs(below - law.cdf(edges**2)).max())
    result.measured["mahalanobis"] = {
        "rank": q,
        **ours,
        **{f"normal_{name}": value for name, value in normal.items()},
        "ks": ks,
        "mardia_kurtosis_ratio": float(radii.powers[2] / radii.n) / float(law.moment(2)),
    }
    joint = (
        "all components together are as a normal has them."
        if ks <= largest_of_a_normal(n)
        else "each component may look normal, but all of them together are not."
    )
    here, there = (" / ".join(f"{value:.1f}" for value in values.values()) for values in (ours, normal))
    result.findings.append(
        f"Mahalanobis radii have 5 / 50 / 95 % quantiles {here}, where a normal has {there}: {joint}"
    )
    result.figure(
        "mahalanobis",
        "Mahalanobis distance from the centre: these latents, and a normal sample of the same size.",
        lambda: draw_mahalanobis(radii, q, law),
    )


def add_clusters(result: Result, context: Context) -> None:
    """Whether several normals that lie apart describe the vectors better than one."""
    pca = context.pca
    if not pca.rank:
        return
    leading = min(pca.rank, MOST_AXES)
    white = (context.some(CLUSTER_ROWS) - pca.mean) @ pca.axes[:leading].T / np.sqrt(pca.variances[:leading])
    result.measured["clusters"] = found = clusters(white, context.options.seed)
    if found["groups"] > 1:
        result.findings.append(
            f"Along the first {leading} principal axes, {found['groups']} normals at least {found['separation']:.1f} "
            "sigma apart describe the vectors better than one (Bayesian information criterion): there are clusters."
        )
    else:
        result.findings.append(
            f"Along the first {leading} principal axes, no mixture of normals that lie more than two sigma apart "
            "describes the vectors better than a single one (Bayesian information criterion): there are no clusters."
        )


def add_pairs(result: Result, context: Context) -> None:
    """Kernel densities of the strongest and some weak pairs; the ellipses of all pairs."""
    statistics = context.statistics
    pairs, r = strongest_pairs(statistics.correlation)
    usable = pairs[np.abs(r) < 1 - PERFECT].tolist()
    if not usable:
        result.missing.append("Every pair is perfectly correlated: there are no ellipses.")
        return
    weak = max(len(usable) // 2, min(PAIRS // 2, len(usable)))
    chosen = [*usable[: PAIRS // 2], *usable[weak : weak + PAIRS // 2]]
    moments = {(i, j): (statistics.mean[[i, j]], statistics.covariance[[i, j]][:, [i, j]]) for i, j in chosen}
    densities = pair_densities(context.segments, moments)
    add_ellipses(result, context, len(pairs))
    inside = np.array([density.shares for density in densities.values()])
    ellipticity = [[density.ellipticity(n) for n in (1.0, 2.0)] for density in densities.values()]
    result.measured["pairs"] = [
        {"pair": list(pair), "inside": shares, "ellipticity": overlap}
        for pair, shares, overlap in zip(densities, inside, ellipticity, strict=True)
    ]
    result.table(
        "pairs",
        "The pairs of the figure, from all vectors",
        {
            "pair": [f"({i}, {j})" for i, j in densities],
            "r": [statistics.correlation[pair] for pair in densities],
            **{f"inside {n:g} sigma": inside[:, k] for k, n in enumerate(ELLIPSES)},
            "overlap of contour and ellipse": [overlap for overlap, _ in ellipticity],
        },
    )
    result.figure(
        "contours",
        "Contours of kernel densities with confidence ellipses: the strongest pairs, and some of median |r|. For a "
        "normal the contours of 39, 86 and 99 % of the mass lie on the ellipses.",
        lambda: draw_contours(list(densities.values()), [(f"component {i}", f"component {j}") for i, j in densities]),
    )


def add_ellipses(result: Result, context: Context, pairs: int) -> None:
    """Shares inside the ellipses of all pairs, one by one and at once."""
    rows = context.some(min(JOINT_ROWS, max(200, JOINT_VALUES // context.dimension**2)))
    shares, joint = shares_inside(rows, context.statistics)
    measured = {
        "sigmas": ELLIPSES,
        "normal": [mass_of_ellipse(n) for n in ELLIPSES],
        "lowest": shares.min(axis=1),
        "mean": shares.mean(axis=1),
        "highest": shares.max(axis=1),
        "joint": joint,
    }
    heads = ("sigma", "normal: 1 - exp(-n^2/2)", "lowest pair", "mean", "highest pair", "inside all pairs at once")
    result.table(
        "ellipses",
        f"Share inside the confidence ellipse, over all {pairs} pairs ({len(rows)} vectors drawn at random)",
        dict(zip(heads, measured.values(), strict=True)),
    )
    result.measured["ellipses"] = measured | {"rows": len(rows)}
    low, high = measured["lowest"][1], measured["highest"][1]
    result.findings.append(
        f"The 2-sigma ellipse of a pair holds {percent(low, 1)} to {percent(high, 1)} of the vectors (normal: "
        f"{percent(measured['normal'][1], 1)}), but only {percent(joint[1], 1)} are inside the ellipses of all {pairs} "
        "pairs at once."
    )


def shares_inside(rows: NDArray[Any], statistics: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (3, pairs) of rows inside the 1, 2 and 3-sigma ellipse of every pair, and (3,) inside all of them at once.

    Inside means (x^2 - 2 r x y + y^2) / (1 - r^2) <= n^2 for standardised x and y.
    """
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
    return np.concatenate(shares, axis=1), np.array([np.mean(worst <= n * n) for n in ELLIPSES])
