"""Section 9: t-SNE maps of the latents, and of a normal sample."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plots import BLUE, VERMILION, panels
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.filaments import clark_evans
from lsampler.reports.analysis.section import Figure, Result, Section, Table

__all__ = ["SECTION"]

LEADING = (2, 4, 10)
ITERATIONS = (250, 500)
EVERY = 50
PERPLEXITY = 30
FEWEST = 100
FOURIER_ROWS = 2000


def run(context: Context) -> Result:
    """Maps of all components and of the first 2, 4 and 10 principal components, data and control."""
    wanted = context.options.tsne
    if wanted is None:
        raise LsamplerError("not asked for; add --tsne 20000")
    rows = context.random_rows(min(wanted, context.count))
    if len(rows) < FEWEST:
        raise LsamplerError(f"{len(rows)} vectors are too few for t-SNE; at least {FEWEST} are needed")
    normal = context.normal().sample(len(rows), seed=context.options.seed)
    pca = context.pca
    spaces = [("all components", None), *((f"PC 0 to {q - 1}", q) for q in LEADING if q < pca.rank)]
    result = Result({"vectors": len(rows), "perplexity": PERPLEXITY, "iterations": sum(ITERATIONS), "maps": []})
    maps: list[tuple[str, NDArray[np.float64], NDArray[np.float64]]] = []
    table = []
    steps = 2 * len(spaces) * (sum(ITERATIONS) // EVERY)
    for name, q in spaces:
        pair = []
        for vectors in (rows, normal.numpy()):
            values = vectors if q is None else pca.transform(vectors, q)
            pair.append(embed(context, np.asarray(values, dtype=np.float64), SECTION.passes * context.count / steps))
        ratios = [clark_evans(points, hull_area(points)) for points in pair]
        maps.append((name, pair[0], pair[1]))
        result.measured["maps"].append({"space": name, "clark_evans": ratios[0], "normal_clark_evans": ratios[1]})
        table.append([name, *ratios])
    result.findings.append(
        "On the maps, nearest neighbours are "
        + ", ".join(f"{row['clark_evans']:.2f} ({row['space']})" for row in result.measured["maps"])
        + " as far apart as chance has it; on the maps of the normal sample "
        + ", ".join(f"{row['normal_clark_evans']:.2f}" for row in result.measured["maps"])
        + ". t-SNE makes gaps and strings out of a normal sample too."
    )
    result.tables.append(Table("maps", "Clark-Evans R on the maps", ["space", "latents", "normal sample"], table))
    result.figures.append(
        Figure(
            "maps",
            f"t-SNE of {len(rows):,} vectors (openTSNE, perplexity {PERPLEXITY}): these latents (above) and a normal "
            "sample of the same covariance (below). The axes of a map have no meaning.",
            lambda: draw(maps),
        )
    )
    return result


def embed(context: Context, values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """t-SNE of (n, d) -> (n, 2)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            from openTSNE import TSNE
    except ImportError as error:
        raise LsamplerError("t-SNE needs openTSNE; run: pip install 'lsampler[tsne]'") from error

    def report(iteration: int, error: float, embedding: Any) -> bool:
        context.advance(round(step))
        return False

    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(values) - 1) // 3),
        early_exaggeration_iter=ITERATIONS[0],
        n_iter=ITERATIONS[1],
        random_state=context.options.seed % 2**32,
        n_jobs=-1,
        # openTSNE itself changes over at 10,000 only; by Fourier transform 9,000 take less than half of the time.
        negative_gradient_method="fft" if len(values) >= FOURIER_ROWS else "bh",
        callbacks=report,
        callbacks_every_iters=EVERY,
    )
    return np.asarray(tsne.fit(values), dtype=np.float64)


def hull_area(points: NDArray[np.float64]) -> float:
    """Area of the convex hull."""
    from scipy.spatial import ConvexHull

    return float(ConvexHull(points).volume)  # in the plane scipy calls the area a volume


def draw(maps: list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]) -> Any:
    """Spaces across; latents above, control below."""
    figure, all_axes = panels(2 * len(maps), len(maps), height=9.0 / max(len(maps), 3))
    for column, (name, data, control) in enumerate(maps):
        for row, (points, colour) in enumerate(((data, BLUE), (control, VERMILION))):
            axes = all_axes[row * len(maps) + column]
            size = float(np.clip(8000 / len(points), 0.1, 5))
            axes.scatter(*points.T, s=size, color=colour, linewidths=0, alpha=0.7, rasterized=True)
            axes.set(aspect="equal", xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name)
            if column == 0:
                axes.set_ylabel("normal sample" if row else "latents")
    return figure


SECTION = Section(
    key="tsne",
    title="Filaments under t-SNE",
    post="the post on filaments",
    about="t-SNE maps vectors to a plane so that near ones stay near, and tears gaps where the plane has no room. The "
    "post read these gaps as voids of the latent space. Here a normal sample of the same covariance is mapped in the "
    "same way.",
    run=run,
    passes=8,
    uses=("tsne", "seed"),
    needs_latents=True,
)
