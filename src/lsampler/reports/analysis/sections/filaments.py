"""Sections 8 and 9: do the latents lie on filaments, in planes and on t-SNE maps, and does a normal sample?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.errors import LsamplerError
from lsampler.extras import require_extra
from lsampler.progress import begin
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import draw_maps, draw_windows
from lsampler.reports.analysis.section import Result, Section, columns, percent
from lsampler.statistics.passes import View

PLANES = ((0, 1), (0, 17), (7, 34))
HALF_SIDES = (3.5, 1.0, 0.25)
CONTROLS = 99
PLANE_ROWS = 200_000
NEIGHBOUR_ROWS = 5000
VOID_GRID = 80
FEWEST = 30
TSNE_LEADING = (2, 4, 10)
TSNE_FEWEST = 100
ITERATIONS = (250, 500)
EVERY = 50
PERPLEXITY = 30
FOURIER_ROWS = 2000
THREADED_ROWS = 1000
"""For fewer, threads wait longer for each other than they work."""
HEADS = {
    "half side (sigma)": "half_side_sigma",
    "points": "points",
    "Clark-Evans R": "clark_evans",
    "normal: mean R": "normal_clark_evans",
    "share of normal samples as low": "rank",
    "largest void": "largest_void",
    "normal: mean": "normal_largest_void",
    "normal samples": "normal_samples",
}


def clark_evans(points: NDArray[np.float64], area: float) -> float:
    """Mean distance to the nearest neighbour over 0.5 / sqrt(density): 1 for random points (Clark and Evans 1954)."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(points).query(points, k=2)
    return float(distance[:, 1].mean() * 2 * np.sqrt(len(points) / area))


def largest_void(points: NDArray[np.float64], half_side: float) -> float:
    """Radius of the largest empty circle in the square, in units of 1 / sqrt(density); its centre is on a grid."""
    from scipy.spatial import KDTree

    line = (np.arange(VOID_GRID) + 0.5) / VOID_GRID * 2 * half_side - half_side
    centres = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    distance, _ = KDTree(points).query(centres)
    return float(distance.max() * np.sqrt(len(points)) / (2 * half_side))


def two_nn(rows: NDArray[np.floating]) -> dict[str, float]:
    """The intrinsic dimension, n / sum(ln(r2 / r1)) (Facco et al. 2017), and the median of the nearest distances r1.

    In high dimensions with few vectors it is underestimated, for the data as for a control of the same size.
    """
    first, second = nearest_neighbours(rows, rows, 2, exclude_self=True).distances.T
    usable = (first > 0) & (second > first)
    if not usable.any():
        raise LsamplerError("all vectors coincide with another, so that there are no distances to measure")
    dimension = usable.sum() / np.log(second[usable] / first[usable]).sum()
    return {"two_nn_dimension": float(dimension), "median_nearest": float(np.median(first))}


@Section(
    title="Filaments?",
    post="the post on filaments, whose conclusion its author later withdrew",
    uses=("seed",),
    strategies=("multivariate-normal",),
    needs_latents=True,
    fewest_components=2,
)
def filaments(context: Context) -> Result:
    """Look for filaments in the latents, and compare with a normal sample.

    Zoomed far enough into a plane, the vectors seem to lie on curved lines around voids. So does any random sample of
    few points, because the eye joins them. The control that the post lacked: the same windows for a normal sample of
    the same size and covariance, with the distance to the nearest neighbour as a measure.
    """
    pca = context.pca
    if pca.rank < 2:
        raise LsamplerError("planes need at least two components")
    planes = [pair for pair in PLANES if max(pair) < pca.rank] or [(0, 1)]
    axes = list(dict.fromkeys(k for pair in planes for k in pair))
    # In sigma along the principal axes.
    view = View(centre=pca.mean, axes=pca.axes[axes] / np.sqrt(pca.variances[axes, np.newaxis]))
    coordinates = context.random_rows(PLANE_ROWS, view)
    control = context.rng("control").normal(size=coordinates.shape)
    result = Result({"vectors": len(coordinates), "of": context.count, "planes": []})
    rng, places = context.rng("controls"), {pair: [axes.index(k) for k in pair] for pair in planes}
    for pair in planes:
        for half_side in HALF_SIDES[1:]:
            row = compare(coordinates[:, places[pair]], half_side, rng)
            result.measured["planes"].append({"plane": list(pair), **row})
    add_windows(result)
    add_dimension(result, context)
    result.figure(
        "zoom",
        "The same planes at shrinking scales: these latents (blue) and one normal sample of the same size and "
        "covariance (red), which has no filaments. Each panel shows up to 20,000 points.",
        lambda: draw_windows(coordinates, control, places, HALF_SIDES),
    )
    return result


def compare(points: NDArray[np.float64], half_side: float, rng: np.random.Generator) -> dict[str, Any]:
    """One window of one plane beside normal samples: Clark-Evans R and the largest void."""
    area = (2 * half_side) ** 2
    window = inside(points, half_side)
    found = dict.fromkeys(HEADS.values()) | {"half_side_sigma": half_side, "points": len(window), "normal_samples": 0}
    if len(window) < FEWEST:
        return found
    # Large normal samples scatter little, so that fewer of them are enough.
    samples = CONTROLS if len(points) <= 20_000 else 19
    expected = [inside(rng.normal(size=points.shape), half_side) for _ in range(samples)]
    full = [sample for sample in expected if len(sample) >= FEWEST]
    r = clark_evans(window, area)
    found |= {"clark_evans": r, "largest_void": largest_void(window, half_side), "normal_samples": len(full)}
    if full:
        chance = np.array([clark_evans(sample, area) for sample in full])
        found |= {
            "normal_clark_evans": float(chance.mean()),
            "rank": float((1 + np.sum(chance <= r)) / (1 + len(chance))),
            "normal_largest_void": float(np.mean([largest_void(sample, half_side) for sample in full])),
        }
    return found


def inside(points: NDArray[np.float64], half_side: float) -> NDArray[np.float64]:
    """The points of a square window around the centre."""
    return points[(np.abs(points) <= half_side).all(axis=1)]


def add_windows(result: Result) -> None:
    """The table of the windows, and the one where neighbours are closest."""
    rows = [row for row in result.measured["planes"] if row["points"] >= FEWEST]
    result.table(
        "voids",
        f"Nearest neighbours and voids in square windows around the centre, beside {CONTROLS} normal samples of "
        "the same size",
        {"plane (PC)": [f"({row['plane'][0]}, {row['plane'][1]})" for row in rows], **columns(rows, HEADS)},
    )
    compared = [row for row in rows if row["normal_clark_evans"] is not None]
    if not compared:
        result.missing.append(f"No window holds {FEWEST} vectors, so distances there have no meaning.")
        return
    lowest = min(compared, key=lambda row: row["clark_evans"] / row["normal_clark_evans"])
    result.findings.append(
        f"Where they are closest (plane PC {lowest['plane'][0]}, {lowest['plane'][1]}), nearest neighbours in the "
        f"windows are {percent(lowest['clark_evans'])} as far apart as those of random points, and those of normal "
        f"samples {percent(lowest['normal_clark_evans'])}. On filaments they would be far below 100 %."
    )


def add_dimension(result: Result, context: Context) -> None:
    """Intrinsic dimension and nearest-neighbour distance in all dimensions."""
    rows = context.some(NEIGHBOUR_ROWS)
    if len(rows) < FEWEST:
        result.missing.append(f"The intrinsic dimension needs at least {FEWEST} vectors.")
        return
    normal = context.normal().sample(len(rows), seed=context.options.seed)
    values = {name: two_nn(vectors) for name, vectors in (("data", rows), ("normal", normal.numpy()))}
    result.measured |= {"neighbour_vectors": len(rows), "neighbours": values}
    result.findings.append(
        f"The intrinsic dimension by nearest neighbours is {values['data']['two_nn_dimension']:.1f}; of a normal "
        f"sample of the same size ({len(rows)} vectors) it is {values['normal']['two_nn_dimension']:.1f}. It would be "
        "near 1 on one-dimensional filaments."
    )


@Section(
    title="Filaments under t-SNE",
    post="the post on filaments",
    uses=("tsne", "seed"),
    strategies=("multivariate-normal",),
    needs_latents=True,
)
def tsne(context: Context) -> Result:
    """Map the latents by t-SNE, and a normal sample of the same covariance in the same way.

    t-SNE maps vectors to a plane so that near ones stay near, and tears gaps where the plane has no room. The post read
    these gaps as voids of the latent space.
    """
    from scipy.spatial import ConvexHull

    wanted, pca = context.options.tsne, context.pca
    if wanted is None:
        raise LsamplerError("t-SNE maps only as many vectors as you name; give `tsne=20000`")
    rows = context.random_rows(wanted)
    if len(rows) < TSNE_FEWEST:
        raise LsamplerError(f"{len(rows)} vectors are too few for t-SNE; at least {TSNE_FEWEST} are needed")
    normal = context.normal().sample(len(rows), seed=context.options.seed).numpy()
    spaces = {"all components": None, **{f"PC 0 to {q - 1}": q for q in TSNE_LEADING if q < pca.rank}}
    maps = {
        name: [embed(context, x if q is None else pca.transform(x, q)) for x in (rows, normal)]
        for name, q in spaces.items()
    }
    # In the plane scipy calls the area of a hull its volume.
    ratios = {name: [clark_evans(points, ConvexHull(points).volume) for points in pair] for name, pair in maps.items()}
    result = Result(
        {
            "vectors": len(rows),
            "perplexity": PERPLEXITY,
            "iterations": sum(ITERATIONS),
            "maps": [
                {"space": name, "clark_evans": data, "normal_clark_evans": control}
                for name, (data, control) in ratios.items()
            ],
        }
    )
    data, control = zip(*ratios.values(), strict=True)
    ours = ", ".join(f"{data:.2f} ({name})" for name, (data, _) in ratios.items())
    theirs = ", ".join(f"{value:.2f}" for value in control)
    result.findings.append(
        f"On the maps, nearest neighbours are {ours} times as far apart as those of random points; on the maps of the "
        f"normal sample {theirs}. t-SNE makes gaps and strings out of a normal sample too."
    )
    result.table(
        "maps", "Clark-Evans R on the maps", {"space": list(ratios), "latents": data, "normal sample": control}
    )
    result.figure(
        "maps",
        f"t-SNE of {len(rows):,} vectors (openTSNE, perplexity {PERPLEXITY}): these latents (above) and a normal "
        "sample of the same covariance (below). The axes of a map have no meaning.",
        lambda: draw_maps(maps),
    )
    return result


def embed(context: Context, values: NDArray[Any]) -> NDArray[np.float64]:
    """t-SNE of (n, d) -> (n, 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        open_tsne = require_extra("openTSNE", extra="tsne", user="t-SNE")
    advance = begin(context.progress, "t-SNE", sum(ITERATIONS))

    def report(iteration: int, error: float, embedding: Any) -> None:
        advance(EVERY)

    tsne = open_tsne.TSNE(
        perplexity=min(PERPLEXITY, (len(values) - 1) // 3),
        early_exaggeration_iter=ITERATIONS[0],
        n_iter=ITERATIONS[1],
        random_state=context.options.seed % 2**32,
        n_jobs=-1 if len(values) >= THREADED_ROWS else 1,
        # By itself openTSNE changes over at 10,000 only; by Fourier transform 9,000 take less than half of the time.
        negative_gradient_method="fft" if len(values) >= FOURIER_ROWS else "bh",
        callbacks=report,
        callbacks_every_iters=EVERY,
    )
    return np.asarray(tsne.fit(np.asarray(values, dtype=np.float64)), dtype=np.float64)
