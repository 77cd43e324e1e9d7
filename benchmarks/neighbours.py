"""Precision, recall, density and coverage beside the prdc package, with the numbers of both."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import DIMENSION, Row, Settings, in_turn, own_process
from lsampler.compute import mutual_ball_counts, nearest_neighbours

NEIGHBOURS = 5
ROWS = 10_000
Rows = NDArray[np.float32]
Numbers = dict[str, float]


def ours(real: Rows, drawn: Rows, device: str = "cpu") -> Numbers:
    """The four numbers from exact distances in tiles."""
    of_real, of_drawn = (
        nearest_neighbours(rows, rows, NEIGHBOURS, exclude_self=True, device=device).distances[:, -1]
        for rows in (real, drawn)
    )
    balls, back = mutual_ball_counts(real, of_real, drawn, of_drawn, device=device)
    return {
        "precision": float(np.mean(balls.per_point > 0)),
        "recall": float(np.mean(back.per_point > 0)),
        "density": float(balls.per_point.mean() / NEIGHBOURS),
        "coverage": float(np.mean(balls.per_ball > 0)),
    }


def theirs(real: Rows, drawn: Rows) -> Numbers:
    """The same by prdc, in double precision so that both see the same distances."""
    from prdc import compute_prdc  # here, so that its memory is not counted as ours

    with contextlib.redirect_stdout(io.StringIO()):
        found: Numbers = compute_prdc(real.astype(np.float64), drawn.astype(np.float64), NEIGHBOURS)
    return found


def measure(settings: Settings) -> Iterator[Row]:
    """One row.

    Raises:
        RuntimeError: the two do not agree.
    """
    rows = settings.rows(ROWS)
    real, drawn = sets(rows)
    own, other = ours(real, drawn), theirs(real, drawn)
    if not all(math.isclose(own[key], other[key], rel_tol=1e-9) for key in own):
        raise RuntimeError(f"lsampler has {own}, prdc {other}")
    runs = [partial(ours, real, drawn), partial(theirs, real, drawn)]
    mine, peer = in_turn(runs, min(3, settings.repeats), warm=False)
    yield Row(
        f"precision, recall, density, coverage, {rows:,} x {rows:,}",
        "prdc",
        mine,
        peer,
        unit="runs",
        target=5.0,
        memory_mb=own_process("neighbours", f"ours(*neighbours.sets({rows}))").peak_mb,
        limit="three single-precision matrix products, of each set with itself and between them",
    )


def sets(rows: int) -> tuple[Rows, Rows]:
    """Normal vectors, and others drawn a little towards the centre."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    return real, rng.standard_normal((rows, DIMENSION), dtype=np.float32) * np.float32(0.97)
