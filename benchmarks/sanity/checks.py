"""The 15 checks: which real and drawn vectors, and what must hold of the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from benchmarks.sanity import datasets as sets
from benchmarks.sanity.criteria import (
    At,
    Bell,
    Criterion,
    Curve,
    Either,
    Falling,
    Flat,
    Kind,
    Near,
    Rising,
    ZeroOrOne,
    position,
)
from benchmarks.sanity.datasets import Rng, Rows

N = 1000
"""Vectors in each set, unless a check varies it."""
Desideratum = Literal["purpose", "hyperparameters", "data", "bounds", "invariance"]
DIMENSIONS = (1, 8, 64)
SIZES = np.logspace(2, 4, 20).astype(int)
OVERLAP = 0.2
"""Volume that two cubes share."""
MODES = 10
MODE_STD = {1: 1 / 6, 8: 1 / 3, 64: 1.0}
MEAN_REACH = {1: 6.0, 8: 3.0, 64: 1.0}
STD_REACH = {1: 3.0, 8: 1.0, 64: 0.5}


class Point(NamedTuple):
    """Two sets to compare, at a position on a curve. Points that share the real set hold the same array."""

    x: float
    real: Rows
    drawn: Rows


Points: TypeAlias = Iterator[Point]
Panel: TypeAlias = Callable[[Rng], Points]


@dataclass(frozen=True)
class Demand:
    """A criterion for every panel, or only for one; for both kinds of scores, or only for one."""

    desideratum: Desideratum
    criterion: Criterion
    kind: Kind | None = None
    panel: str | None = None

    def concerns(self, kind: Kind, panel: str) -> bool:
        """Whether it applies to scores of this kind in this panel."""
        return self.kind in (None, kind) and self.panel in (None, panel)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        about: what is compared, and what is varied; one line.
        panels: name -> the points of one curve.
        demands: what must hold of the scores.
    """

    about: str
    panels: Mapping[str, Panel]
    demands: Sequence[Demand]


def shifted(rng: Rng, dimension: int) -> Points:
    real = sets.normal(rng, N, dimension)
    for mean in np.linspace(-MEAN_REACH[dimension], MEAN_REACH[dimension], 51):
        yield Point(mean, real, sets.normal(rng, N, dimension, mean))


def with_outlier(rng: Rng, dimension: int, among: Literal["real", "drawn"]) -> Points:
    outlier = np.full((1, dimension), MEAN_REACH[dimension])
    real = None
    for point in shifted(rng, dimension):
        if among == "real":
            real = np.concatenate([point.real, outlier]) if real is None else real
            yield point._replace(real=real)
        else:
            yield point._replace(drawn=np.concatenate([point.drawn, outlier]))


def resized(rng: Rng, dimension: int) -> Points:
    real = sets.normal(rng, N, dimension)
    for std in np.logspace(-STD_REACH[dimension], STD_REACH[dimension], 51):
        yield Point(std, real, sets.normal(rng, N, dimension, std=std))


def dropped_together(rng: Rng, dimension: int) -> Points:
    centres = sets.on_diagonal(np.linspace(0, 10, MODES), dimension)
    real = sets.mixture(rng, N, centres, MODE_STD[dimension], np.ones(MODES))
    for share in np.linspace(0, 1, 50):
        weights = np.where(np.arange(MODES) == 0, 1.0, 1 - share)
        yield Point(share, real, sets.mixture(rng, N, centres, MODE_STD[dimension], weights))


def dropped_in_turn(rng: Rng, dimension: int) -> Points:
    centres = sets.on_diagonal(np.linspace(0, 10, MODES), dimension)
    real = sets.mixture(rng, N, centres, MODE_STD[dimension], np.ones(MODES))
    for dropped in range(MODES):
        kept = centres[: MODES - dropped]
        yield Point(dropped, real, sets.mixture(rng, N, kept, MODE_STD[dimension], np.ones(len(kept))))


def dropped_and_invented(rng: Rng) -> Points:
    real = sets.mixture(rng, N, sets.CENTRES[:5], 0.25, np.ones(5))
    for modes in range(1, len(sets.CENTRES) + 1):
        yield Point(modes, real, sets.mixture(rng, N, sets.CENTRES[:modes], 0.25, np.ones(modes)))


def spheres(rng: Rng, dimension: int) -> Points:
    real = sets.sphere(rng, N, dimension)
    for radius in np.linspace(0.1, 1.9, 51):
        yield Point(radius, real, sets.sphere(rng, N, dimension, radius))


def cubes(rng: Rng, dimension: int, fixed_real: bool) -> Points:
    real, corner = sets.cube(rng, N, dimension), 1 - OVERLAP ** (1 / dimension)
    for n in SIZES:
        yield Point(n, real if fixed_real else sets.cube(rng, n, dimension), sets.cube(rng, n, dimension, corner))


def sphere_and_torus(rng: Rng, real_is_ball: bool) -> Points:
    inner, ring = partial(sets.ball, rng, dimension=3, radius=0.8), partial(sets.torus, rng)
    real = inner(n=N) if real_is_ball else ring(n=N)
    for n in SIZES:
        yield Point(n, real, ring(n=n) if real_is_ball else inner(n=n))


def merged_modes(rng: Rng, dimension: int) -> Points:
    for gap in np.linspace(0, 5, 20):
        real = sets.mixture(rng, N, sets.on_diagonal([-gap / 2, gap / 2], dimension), 1.0, np.ones(2))
        yield Point(gap, real, sets.normal(rng, N, dimension, std=np.sqrt(1 + gap**2)))


def other_unit(rng: Rng) -> Points:
    for scale in np.logspace(-3, 3, 20):
        units = np.array([1.0, scale])
        yield Point(scale, sets.normal(rng, N, 2) * units, sets.normal(rng, N, 2, np.array([6.0, 0.0])) * units)


def shifted_beside_pareto(rng: Rng) -> Points:
    real = sets.heavy_tailed(rng, N, 0.0)
    for mean in np.linspace(-6, 6, 51):
        yield Point(mean, real, sets.heavy_tailed(rng, N, mean))


def one_of_many(rng: Rng) -> Points:
    for others in np.unique(np.logspace(0, 3, 20).astype(int)):
        mean = np.where(np.arange(others + 1) == 0, 6.0, 0.0)
        yield Point(others, sets.normal(rng, N, others + 1), sets.normal(rng, N, others + 1, mean))


def rounded(rng: Rng, real_is_rounded: bool) -> Points:
    for scale in np.logspace(0, 3, 20):
        real, drawn = (scale * sets.normal(rng, N, 1) for _ in range(2))
        yield Point(scale, *((np.round(real), drawn) if real_is_rounded else (real, np.round(drawn))))


def _by_dimension(
    points: Callable[..., Points], dimensions: Sequence[int] = DIMENSIONS, **more: bool
) -> dict[str, Panel]:
    return {f"D = {dimension}": partial(points, dimension=dimension, **more) for dimension in dimensions}


def _bell(middle: float) -> list[Demand]:
    bounds = [Near(1, middle), Near(0, "first"), Near(0, "last")]
    return [Demand("purpose", Bell(middle)), *(Demand("bounds", one) for one in bounds)]


def _dropping(by: float) -> list[Demand]:
    return [
        Demand("purpose", Flat(), "fidelity"),
        Demand("purpose", Falling(by), "diversity"),
        Demand("bounds", Near(1, "first")),
        Demand("bounds", Near(1, "last"), "fidelity"),
    ]


def _disjoint(first: Desideratum) -> list[Demand]:
    return [Demand(first, Flat()), Demand("bounds", Near(0, "first")), Demand("bounds", Near(0, "last"))]


def _rounding() -> Iterator[Demand]:
    yield Demand("purpose", Flat())
    for at in ("first", "last"):
        yield Demand("bounds", Near(0, at), "fidelity", "real rounded")
        yield Demand("bounds", ZeroOrOne(at), "diversity", "real rounded")
        yield Demand("bounds", Near(1, at), "fidelity", "samples rounded")
        yield Demand("bounds", Near(0, at), "diversity", "samples rounded")


CHECKS: dict[str, Check] = {
    "mean": Check(
        "A normal and the same, moved along the diagonal: highest and 1 where both agree, 0 far away",
        _by_dimension(shifted),
        _bell(0.0),
    ),
    "outlier": Check(
        "The same with one more vector far out, among the real vectors or among the samples",
        {
            f"{among} outlier, D = {dimension}": partial(with_outlier, dimension=dimension, among=among)
            for among in ("real", "drawn")
            for dimension in DIMENSIONS
        },
        _bell(0.0),
    ),
    "std": Check(
        "A normal and a narrower or wider one: fidelity falls from 1 to 0 as samples spread; diversity is 0 for narrow "
        "samples, and for wide ones either 0 (low) or 1 (high)",
        _by_dimension(resized),
        [
            Demand("purpose", Falling(), "fidelity"),
            Demand("purpose", Either(Bell(1.0), Rising()), "diversity"),
            Demand("bounds", Near(1, 1.0)),
            Demand("bounds", Near(1, "first"), "fidelity"),
            Demand("bounds", Near(0, "first"), "diversity"),
            Demand("bounds", Near(0, "last"), "fidelity"),
            Demand("bounds", ZeroOrOne("last"), "diversity"),
        ],
    ),
    "simultaneous": Check(
        "Ten normals, nine of which lose their samples little by little: fidelity stays 1, diversity falls, "
        "and has fallen at 95 % already",
        _by_dimension(dropped_together),
        _dropping(0.95),
    ),
    "sequential": Check(
        "The same ten normals, of which one after the other is missing: fidelity stays 1, diversity falls",
        _by_dimension(dropped_in_turn),
        _dropping(0.5),
    ),
    "invention": Check(
        "Five normals in the plane, of which the samples have one, two, ..., five, then up to five that are not real",
        {"D = 2": dropped_and_invented},
        [
            Demand("purpose", Falling(), "fidelity"),
            Demand("purpose", Rising(), "diversity"),
            Demand("bounds", Near(1, 5.0)),
            Demand("bounds", Near(1, "first"), "fidelity"),
            Demand("bounds", Near(1, "last"), "diversity"),
        ],
    ),
    "sphere": Check(
        "The surface of a sphere and a smaller or larger one around the same centre: 1 where both agree, 0 at the ends",
        _by_dimension(spheres, (2, 16, 128)),
        _bell(1.0),
    ),
    "cube-size": Check(
        "Two cubes that share a fifth of their volume, 100 to 10,000 vectors in each: 0.2, and steady from 1,000 on",
        _by_dimension(cubes, fixed_real=False),
        [Demand("data", Flat(from_middle=True)), Demand("purpose", Near(OVERLAP, "last"))],
    ),
    "cube-samples": Check(
        "The same with 1,000 real vectors and 100 to 10,000 samples",
        _by_dimension(cubes, fixed_real=True),
        [Demand("hyperparameters", Flat(from_middle=True)), Demand("purpose", Near(OVERLAP, "last"))],
    ),
    "torus": Check(
        "A ball in the hole of a torus, each of them real in turn, 100 to 10,000 samples: 0, and steady",
        {
            "real ball": partial(sphere_and_torus, real_is_ball=True),
            "real torus": partial(sphere_and_torus, real_is_ball=False),
        },
        [Demand("purpose", Flat(from_middle=True)), Demand("bounds", Near(0, "last"))],
    ),
    "merged": Check(
        "Two normals that move apart, and one as wide as both: fidelity falls; diversity falls (low) or stays (high)",
        _by_dimension(merged_modes),
        [
            Demand("purpose", Falling(), "fidelity"),
            Demand("purpose", Either(Falling(), Flat()), "diversity"),
            Demand("bounds", Near(1, "first")),
        ],
    ),
    "unit": Check(
        "Two normals that differ in the first of two components, the second in units of 1/1,000 to 1,000: 0",
        {"D = 2": other_unit},
        _disjoint("invariance"),
    ),
    "pareto": Check(
        "A normal component, which is moved, and one with very heavy tails, which is the same in both sets",
        {"D = 2": shifted_beside_pareto},
        _bell(0.0),
    ),
    "one-of-many": Check(
        "Normals that differ clearly in one component, beside 1 to 1,000 that agree: 0 throughout",
        {"D = 2 to 1001": one_of_many},
        _disjoint("purpose"),
    ),
    "rounded": Check(
        "Normal numbers and rounded ones, coarsely to finely: real numbers are not rounded ones, however fine; "
        "rounded ones are among the real numbers",
        {
            "real rounded": partial(rounded, real_is_rounded=True),
            "samples rounded": partial(rounded, real_is_rounded=False),
        },
        list(_rounding()),
    ),
}


def three_points(check: Check, x: Curve) -> tuple[int, int, int]:
    """The first point, that where both sets agree (in the middle if they nowhere do), and the last."""
    known: list[At] = [one.middle for one in (demand.criterion for demand in check.demands) if isinstance(one, Bell)]
    known += [one.at for one in (demand.criterion for demand in check.demands) if isinstance(one, Near)]
    known = [at for at in known if not isinstance(at, str)]
    return 0, position(x, known[0] if known else float(np.median(x))), len(x) - 1
