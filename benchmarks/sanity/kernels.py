"""What ``kernel-distance`` finds at three points of every curve: it has no direction, but must see differences."""

from __future__ import annotations

import numpy as np

from benchmarks.sanity.checks import CHECKS, three_points
from benchmarks.sanity.scoring import AllVectors, random_numbers, scores_of
from lsampler import LsamplerError
from lsampler.plugins import load_evaluator

METRICS = ("kernel-mmd", "kernel-mmd-p")
DIGITS = 5


def three(name: str, panel: str) -> dict[str, list[float | None]]:
    """Score -> its values at the three points, of the first repeat's vectors; None where it cannot be computed.

    The evaluator whitens all vectors by their common moments, so there is nothing to standardise.
    """
    points = list(CHECKS[name].panels[panel](random_numbers(name, panel, 0)))
    found: dict[str, list[float | None]] = {metric: [] for metric in METRICS}
    for index in three_points(CHECKS[name], np.array([point.x for point in points], dtype=np.float64)):
        real, drawn = (rows.astype(np.float32) for rows in points[index][1:])
        evaluator = load_evaluator("kernel-distance")
        try:
            evaluator.prepare(AllVectors(real))
            scores = scores_of(evaluator, drawn)
        except LsamplerError:
            scores = {}
        for metric in METRICS:
            found[metric].append(round(scores[metric], DIGITS) if scores else None)
    return found
