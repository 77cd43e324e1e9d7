"""Scores of the evaluator at every point of a check, with the package ``prdc`` as a control."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np
from joblib import parallel_backend  # type: ignore[import-untyped]

from benchmarks.sanity.checks import CHECKS
from benchmarks.sanity.criteria import Kind
from benchmarks.sanity.datasets import Rows, standardised
from lsampler.plugins import load_evaluator
from lsampler.scoring import Evaluator, RealData, Samples
from lsampler.scoring.subject import Latents

METRICS: dict[str, Kind] = {
    "precision": "fidelity",
    "symmetric-precision": "fidelity",
    "density": "fidelity",
    "clipped-density": "fidelity",
    "recall": "diversity",
    "symmetric-recall": "diversity",
    "coverage": "diversity",
    "clipped-coverage": "diversity",
}
"""The evaluator's scores."""
SCALINGS = ("scaled", "unscaled")
CONTROLLED = ("precision", "recall", "density", "coverage")
"""The scores that ``prdc`` has, too."""
MOST_CONTROLLED = 2000
"""The control keeps whole matrices of distances; larger sets are left to the evaluator."""
DIGITS = 4
"""What is kept of each score."""
SEED = 0

Curves: TypeAlias = dict[str, list[float]]
Cell: TypeAlias = dict[str, Curves]


class AllVectors(RealData):
    """All real vectors, and all samples, whatever their numbers.

    An evaluator is otherwise given half of the train vectors, and as many samples.
    """

    @cached_property
    def train(self) -> Latents:
        return np.concatenate(list(self.reference.chunks()))

    def rows_of(self, samples: Samples) -> Latents:
        return samples.latents


def random_numbers(name: str, panel: str, repeat: int, *more: int) -> np.random.Generator:
    """Those of one cell; they depend on nothing else."""
    return np.random.default_rng([SEED, zlib.crc32(f"{name}/{panel}".encode()), repeat, *more])


def cell(name: str, panel: str, repeat: int, *, control: bool) -> Cell:
    """The scores of one curve, of the vectors as they are and standardised, and how far ``prdc`` differs from them.

    Args:
        name: of a check.
        panel: of this check.
        repeat: which one; each has its own vectors.
        control: whether to ask ``prdc``, too.

    Returns:
        ``points``: ``x``, where the points lie; ``scaled`` and ``unscaled``: score -> its values; ``real scaled`` and
        ``real unscaled``: the same of other real vectors, once if the real set is the same at all points; ``prdc``:
        score -> the absolute differences.
    """
    found: Cell = {key: {m: [] for m in METRICS} for scaling in SCALINGS for key in (scaling, f"real {scaling}")}
    found |= {"points": {"x": []}, "prdc": {metric: [] for metric in CONTROLLED}}
    evaluators = {scaling: load_evaluator("fidelity-diversity") for scaling in SCALINGS}
    points, previous = CHECKS[name].panels[panel], None
    others = points(random_numbers(name, panel, repeat, 1))
    for (x, real, drawn), (_, other, _) in zip(points(random_numbers(name, panel, repeat)), others, strict=True):
        found["points"]["x"].append(float(x))
        for scaling, evaluator in evaluators.items():
            first, second, third = in_units(scaling, real, drawn, other)
            if real is not previous:
                evaluator.prepare(AllVectors(first))
                _append(found[f"real {scaling}"], scores_of(evaluator, third))
            scores = scores_of(evaluator, second)
            _append(found[scaling], scores)
            if control and max(len(real), len(drawn)) <= MOST_CONTROLLED:
                theirs = by_prdc(first, second, evaluator.k)  # type: ignore[attr-defined]
                _append(found["prdc"], {metric: abs(scores[metric] - theirs[metric]) for metric in CONTROLLED})
        previous = real
    return found


def in_units(scaling: str, real: Rows, *others: Rows) -> list[Latents]:
    """Single precision, in units of the real set if that is what the scaling says."""
    rows = [standardised(real, one) if scaling == "scaled" else one for one in (real, *others)]
    return [np.ascontiguousarray(one, dtype=np.float32) for one in rows]


def _append(curves: Curves, scores: Mapping[str, float]) -> None:
    for metric, values in curves.items():
        values.append(round(float(scores[metric]), DIGITS))


def scores_of(evaluator: Evaluator, drawn: Latents) -> dict[str, float]:
    """Score -> its value."""
    return {score.metric: score.value for score in evaluator.score(Samples("drawn", drawn))}


def by_prdc(real: Latents, drawn: Latents, k: int) -> dict[str, float]:
    """The four scores of ``prdc``, in double precision and on one thread."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()), parallel_backend("sequential"):
        found: dict[str, float] = compute_prdc(real.astype(np.float64), drawn.astype(np.float64), k)
    return found
