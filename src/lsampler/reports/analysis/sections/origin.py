"""Section 3: how empty the surroundings of the origin are."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.plugins.by_name import load_sampler
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.figures import draw_planes
from lsampler.reports.analysis.passes import total
from lsampler.reports.analysis.planes import Drawn, plane_of
from lsampler.reports.analysis.section import Result, Section, percent, wilson
from lsampler.reports.analysis.sections.components import expected_radius
from lsampler.reports.analysis.sections.correlations import strongest_pairs
from lsampler.statistics.statistics import Statistics

POST_HALF_SIDES = (1.5, 2.0)
NORMAL_VECTORS = 500_000
NORMAL_VALUES = 2**28
Pairs = list[tuple[int, int]]


def matching_b(statistics: Statistics) -> float:
    """The half side b whose cube has the data's root mean square radius: sqrt(3 sum(mu^2 + sigma^2) / D)."""
    return float(np.sqrt(3 / statistics.dimension) * expected_radius(statistics))


def default_pairs(statistics: Statistics) -> Pairs:
    """The two most strongly correlated pairs, and the two pairs of components farthest from zero."""
    strongest, _ = strongest_pairs(statistics.correlation)
    far = np.argsort(-np.abs(statistics.mean), kind="stable")
    wanted = [*strongest[:2], far[[0, 1]], *([far[[2, 3]]] if len(far) > 3 else [])]
    return list(dict.fromkeys((int(min(pair)), int(max(pair))) for pair in wanted))


def slice_counts(pairs: Pairs, half_sides: list[float], rows: NDArray[Any]) -> NDArray[np.int64]:
    """(pairs, half sides): how many rows have |z_k| <= b in every component but the two of a pair."""
    counts = np.empty((len(pairs), len(half_sides)), dtype=np.int64)
    for column, b in enumerate(half_sides):
        outside = np.abs(rows) > b
        beyond = outside.sum(axis=1)
        for row, (i, j) in enumerate(pairs):
            counts[row, column] = np.sum(beyond == outside[:, i].astype(np.int64) + outside[:, j])
    return counts


def count_beyond(direction: NDArray[np.float64], rows: NDArray[Any]) -> int:
    """How many rows lie beyond the origin, seen along a direction."""
    return int((rows @ direction <= 0).sum())


@Section(
    title="Surroundings of the origin",
    post="post IV",
    uses=("pairs", "seed"),
    strategies=("uniform-cube", "multivariate-normal"),
    uses_cores=True,
    fewest_components=2,
)
def origin(context: Context) -> Result:
    """Find out whether the encoder fills the surroundings of the origin, around which a naive sampler draws.

    Single planes deceive, since a plane shows all vectors, however far they are in other directions. Therefore the
    vectors in a flat slice are counted: those at most b from zero in all components but the two of the plane.
    """
    place = position(context)
    beyond = place["share_beyond"]
    result = Result({"position": place})
    result.findings.append(
        f"The origin lies {place['sigmas_along_centre']:.2f} sigma from the centre, along the line that joins them"
        f"{'' if beyond is None else f'; {percent(beyond, 2)} of the vectors lie beyond it'}. "
        f"{place['components_outside_half']} of {context.dimension} components have zero outside the "
        "inner half-width of their values."
    )
    pairs = [(i, j) for i, j in context.options.pairs] or default_pairs(context.statistics)
    half_sides = [*(b * context.unit for b in POST_HALF_SIDES), matching_b(context.statistics)]
    vectors = min(NORMAL_VECTORS, NORMAL_VALUES // context.dimension)
    normal = context.normal().stream(vectors, seed=context.options.seed)
    expected = np.sum([slice_counts(pairs, half_sides, block.numpy()) for block in normal], axis=0)
    result.measured |= {
        "half_sides": half_sides,
        "pairs": [list(pair) for pair in pairs],
        "normal_vectors": vectors,
        "normal_counts": expected,
    }
    if result.can_measure("The number of vectors in the slices", context):
        counts = total(context.segments, partial(slice_counts, pairs, half_sides))
        result.measured |= {"vectors": context.count, "counts": counts, "share": counts / context.count}
        add_slices(result)
    b = half_sides[-1]
    cube = load_sampler("uniform-cube", b=b).fit(context.reference).sample(60, seed=context.options.seed).numpy()
    planes = [plane_of(context, i, j) for i, j in pairs[:8]]
    result.figure(
        "origin",
        "The origin among the data in the chosen planes, with uniform vectors from the cube whose radius "
        "matches. In every single plane the cube seems to overlap the data.",
        lambda: draw_planes(planes, [Drawn(f"uniform-cube, b = {b:.2f}", cube)], (1.0, 2.0, 3.0)),
    )
    return result


def position(context: Context) -> dict[str, Any]:
    """The origin seen from the data: along the line to the centre, per component, and in every core."""
    statistics = context.statistics
    mean, widths = statistics.mean, statistics.half_widths()
    distance = float(np.linalg.norm(mean))
    direction = mean / distance if distance else np.eye(context.dimension)[0]
    sigma = float(np.sqrt(direction @ statistics.covariance @ direction))
    beyond = None
    if context.has_latents:
        beyond = total(context.segments, partial(count_beyond, direction)) / context.count
    return {
        "distance": distance,
        "sigmas_along_centre": distance / sigma if sigma else 0.0,
        "share_beyond": beyond,
        "components_outside_half": int(np.sum(np.abs(mean) > widths / 2)),
        "largest_half_widths": float(np.max(np.abs(mean) / widths)),
        "cores": {
            fitted.name: {
                "level": float(fitted.core.levels(np.zeros((1, context.dimension)))[0]),
                "nominal": fitted.core.nominal_level,
                "calibrated": fitted.calibrated,
            }
            for fitted in context.cores
        },
    }


def add_slices(result: Result) -> None:
    """Counts beside what the fitted normal predicts for as many vectors, with its 95 % interval."""
    m = result.measured
    counts, n, half_sides, vectors = m["counts"], m["vectors"], m["half_sides"], m["normal_vectors"]
    predicted = []
    for number in m["normal_counts"].ravel().tolist():
        low, high = wilson(number, vectors)
        predicted.append(f"{number / vectors * n:.3g} ({low * n:.3g} to {high * n:.3g})")
    result.table(
        "slices",
        f"Vectors, of {n}, in the flat slice |z_k| <= b for all other components",
        {
            "pair": [f"({i}, {j})" for i, j in m["pairs"] for _ in half_sides],
            "b": half_sides * len(m["pairs"]),
            "vectors": counts.ravel(),
            "share": counts.ravel() / n,
            "fitted normal predicts (95 % interval)": predicted,
        },
    )
    most = counts[:, 0].max()
    result.findings.append(
        f"Within b = {half_sides[0]:g} in all components but two, the fullest of the slices holds {most} of {n} "
        f"vectors ({percent(most / n, 3)}); post IV found 56 of 80,000 (0.07 %)."
    )
