"""Section 9: t-SNE maps of the latents, and of a normal sample."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.progress import begin
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures.planes import draw_maps
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.analysis.sections.filaments import clark_evans

LEADING = (2, 4, 10)
ITERATIONS = (250, 500)
EVERY = 50
PERPLEXITY = 30
FEWEST = 100
FOURIER_ROWS = 2000


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
    if len(rows) < FEWEST:
        raise LsamplerError(f"{len(rows)} vectors are too few for t-SNE; at least {FEWEST} are needed")
    normal = context.normal().sample(len(rows), seed=context.options.seed).numpy()
    spaces = {"all components": None, **{f"PC 0 to {q - 1}": q for q in LEADING if q < pca.rank}}
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
    result.findings.append(
        "On the maps, nearest neighbours are "
        + ", ".join(f"{data:.2f} ({name})" for name, (data, _) in ratios.items())
        + " times as far apart as those of random points; on the maps of the normal sample "
        + ", ".join(f"{control:.2f}" for _, control in ratios.values())
        + ". t-SNE makes gaps and strings out of a normal sample too."
    )
    data, control = zip(*ratios.values(), strict=True)
    columns = {"space": list(ratios), "latents": data, "normal sample": control}
    result.table("maps", "Clark-Evans R on the maps", columns)
    result.figure(
        "maps",
        f"t-SNE of {len(rows):,} vectors (openTSNE, perplexity {PERPLEXITY}): these latents (above) and a normal "
        "sample of the same covariance (below). The axes of a map have no meaning.",
        partial(draw_maps, maps),
    )
    return result


def embed(context: Context, values: NDArray[Any]) -> NDArray[np.float64]:
    """t-SNE of (n, d) -> (n, 2)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            from openTSNE import TSNE
    except ImportError as error:
        raise LsamplerError("t-SNE needs openTSNE; run: pip install 'lsampler[tsne]'") from error

    advance = begin(context.progress, "t-SNE", sum(ITERATIONS))

    def report(iteration: int, error: float, embedding: Any) -> None:
        advance(EVERY)

    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(values) - 1) // 3),
        early_exaggeration_iter=ITERATIONS[0],
        n_iter=ITERATIONS[1],
        random_state=context.options.seed % 2**32,
        n_jobs=-1,
        # By itself openTSNE changes over at 10,000 only; by Fourier transform 9,000 take less than half of the time.
        negative_gradient_method="fft" if len(values) >= FOURIER_ROWS else "bh",
        callbacks=report,
        callbacks_every_iters=EVERY,
    )
    return np.asarray(tsne.fit(np.asarray(values, dtype=np.float64)), dtype=np.float64)
