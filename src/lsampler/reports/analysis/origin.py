"""Section 3: how empty the surroundings of the origin are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plugins.loading import load_core, load_sampler, plugin_names
from lsampler.reports.analysis.components import expected_radius
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context
from lsampler.reports.analysis.correlations import strongest_pairs
from lsampler.reports.analysis.planes import Drawn, Plane, draw_planes
from lsampler.reports.analysis.section import Figure, Result, Section, Table, percent
from lsampler.scoring.scores import Metric, share_score
from lsampler.statistics.summary import Statistics

__all__ = ["SECTION", "SliceCounts", "default_pairs", "matching_b"]

POST_HALF_SIDES = (1.5, 2.0)
CHANCE = Metric("chance", group="", label="", better="real")
NORMAL_VECTORS = 500_000
NORMAL_VALUES = 2**28


def matching_b(statistics: Statistics) -> float:
    """The half side b whose cube has the data's root mean square radius: sqrt(3 sum(mu^2 + sigma^2) / D)."""
    return float(np.sqrt(3 / statistics.dimension) * expected_radius(statistics))


def default_pairs(statistics: Statistics) -> list[tuple[int, int]]:
    """The two most strongly correlated pairs, and the two pairs of components farthest from zero."""
    strongest, _ = strongest_pairs(statistics.correlation)
    far = np.argsort(-np.abs(statistics.mean), kind="stable")
    wanted = [*strongest[:2], far[[0, 1]], *([far[[2, 3]]] if len(far) > 3 else [])]
    pairs = dict.fromkeys((min(int(i), int(j)), max(int(i), int(j))) for i, j in wanted)
    return list(pairs)


class SliceCounts:
    """How many vectors have |z_k| <= b in every component but the two of a pair."""

    def __init__(self, pairs: list[tuple[int, int]], half_sides: list[float]) -> None:
        self.pairs, self.half_sides = pairs, half_sides
        self.counts: NDArray[np.int64] = np.zeros((len(pairs), len(half_sides)), dtype=np.int64)
        self.n = 0

    def add(self, blocks: Iterable[NDArray[Any]]) -> SliceCounts:
        """Count all blocks (n, D); returns self."""
        for block in blocks:
            size = np.abs(block)
            for place, b in enumerate(self.half_sides):
                outside = size > b
                beyond = outside.sum(axis=1)
                for row, (i, j) in enumerate(self.pairs):
                    inside = beyond == outside[:, i].astype(np.int64) + outside[:, j]
                    self.counts[row, place] += int(inside.sum())
            self.n += len(block)
        return self


def run(context: Context) -> Result:
    """Where the origin lies, and how many vectors the flat slices around it hold."""
    statistics = context.statistics
    if context.dimension < 2:
        raise LsamplerError("planes need at least two components")
    measured: dict[str, Any] = {"position": position(context)}
    place = measured["position"]
    beyond = ""
    if place["share_beyond"] is not None:
        beyond = f"; {percent(place['share_beyond'], 2)} of the vectors lie beyond it"
    result = Result(
        measured,
        findings=[
            f"The origin lies {place['sigmas_along_centre']:.2f} sigma from the centre, along the line that joins them"
            f"{beyond}. {place['components_outside_half']} of {context.dimension} components have zero outside the "
            "inner half-width of their values."
        ],
    )
    pairs = list(context.options.pairs) or default_pairs(statistics)
    half_sides = [*(b * context.unit for b in POST_HALF_SIDES), matching_b(statistics)]
    measured["half_sides"] = half_sides
    measured["pairs"] = [list(pair) for pair in pairs]
    expected = SliceCounts(pairs, half_sides).add(normal_blocks(context))
    measured["normal_vectors"] = expected.n
    measured["normal_counts"] = expected.counts
    if context.has_latents:
        counted = SliceCounts(pairs, half_sides).add(context.chunks())
        measured["vectors"] = counted.n
        measured["counts"] = counted.counts
        measured["share"] = counted.counts / counted.n
        add_table(result, counted, expected)
    else:
        result.missing.append(f"Counting vectors in the slices {STATISTICS_ONLY}.")
    add_figure(result, context, pairs, half_sides[-1])
    return result


def position(context: Context) -> dict[str, Any]:
    """The origin seen from the data: along the line to the centre, per component, and in every core."""
    statistics = context.statistics
    mean = statistics.mean
    distance = float(np.linalg.norm(mean))
    direction = mean / distance if distance else np.eye(context.dimension)[0]
    sigma = float(np.sqrt(direction @ statistics.covariance @ direction))
    widths = statistics.half_widths()
    beyond = None
    if context.has_latents:
        below = sum(int((block @ direction <= 0).sum()) for block in context.chunks())
        beyond = below / context.count
    levels = {}
    for name in plugin_names("core"):
        try:
            core = load_core(name).fit(context.reference)
        except LsamplerError:
            continue
        levels[name] = {
            "level": float(core.levels(np.zeros((1, context.dimension)))[0]),
            "nominal": core.nominal_level,
            "calibrated": core.calibrated_level(context.reference),
        }
    return {
        "distance": distance,
        "sigmas_along_centre": distance / sigma if sigma else 0.0,
        "share_beyond": beyond,
        "components_outside_half": int(np.sum(np.abs(mean) > widths / 2)),
        "largest_half_widths": float(np.max(np.abs(mean) / widths)),
        "cores": levels,
    }


def normal_blocks(context: Context) -> Iterable[NDArray[np.float32]]:
    """Vectors of the normal of the data's mean and covariance."""
    vectors = min(NORMAL_VECTORS, NORMAL_VALUES // context.dimension)
    for block in context.normal().stream(vectors, seed=context.options.seed):
        yield block.numpy()


def add_table(result: Result, counted: SliceCounts, expected: SliceCounts) -> None:
    """Counts beside what the fitted normal predicts for as many vectors, with its 95 % interval."""
    rows = []
    for row, (i, j) in enumerate(counted.pairs):
        for place, b in enumerate(counted.half_sides):
            chance = share_score(CHANCE, int(expected.counts[row, place]), expected.n)
            number = int(counted.counts[row, place])
            predicted = (
                f"{chance.value * counted.n:.3g} ({chance.low * counted.n:.2g} to {chance.high * counted.n:.2g})"
            )
            rows.append([f"({i}, {j})", b, number, number / counted.n, predicted])
    result.tables.append(
        Table(
            "slices",
            f"Vectors, of {counted.n}, in the flat slice |z_k| <= b for all other components",
            ["pair", "b", "vectors", "share", "fitted normal predicts (95 % interval)"],
            rows,
        )
    )
    most = counted.counts[:, 0].max() / counted.n
    result.findings.append(
        f"Within b = {counted.half_sides[0]:g} in all components but two, the fullest of the slices holds "
        f"{counted.counts[:, 0].max()} of {counted.n} vectors ({percent(most, 3)}); post IV found "
        "56 of 80,000 (0.07 %)."
    )


def add_figure(result: Result, context: Context, pairs: list[tuple[int, int]], b: float) -> None:
    """The planes, with the cube of the matching b."""
    cube = load_sampler("uniform-cube", b=b).fit(context.reference).sample(60, seed=context.options.seed).numpy()
    planes = [Plane.of_components(context, i, j) for i, j in pairs[:8]]
    drawn = [Drawn(f"uniform-cube, b = {b:.2f}", cube)]
    result.figures.append(
        Figure(
            "origin",
            "The origin among the data in the chosen planes, with uniform vectors from the cube whose radius "
            "matches. In every plane alone the cube seems to overlap the data.",
            lambda: draw_planes(planes, drawn, columns=4, sigmas=(1.0, 2.0, 3.0)),
        )
    )


SECTION = Section(
    key="origin",
    title="Surroundings of the origin",
    post="post IV",
    about="A naive sampler draws around the origin. Does the encoder fill that place? Seen in planes alone the answer "
    "deceives, since a plane shows all vectors, however far they are in other directions. So the vectors in a flat "
    "slice are counted: at most b from zero in all components but the two of the plane.",
    run=run,
    passes=2,
    uses=("pairs", "seed"),
    uses_cores=True,
)
