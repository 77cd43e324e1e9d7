"""Precision, recall, density and coverage beside the prdc package, in one run, with the numbers of both.

    python benchmarks/neighbours.py [--rows 10000] [--large 170000]

Also the peak memory of a large reference: nearest neighbours of ``rows`` samples among ``large``
vectors, in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from prdc import compute_prdc
from rich.console import Console
from rich.table import Table

from lsampler import mutual_ball_counts, nearest_neighbours

DIMENSION = 256
NEIGHBOURS = 5
Rows = NDArray[np.float32]


def ours(real: Rows, drawn: Rows) -> dict[str, float]:
    """The four numbers from exact blocked distances."""
    of_real = nearest_neighbours(real, real, NEIGHBOURS, exclude_self=True).distances[:, -1]
    of_drawn = nearest_neighbours(drawn, drawn, NEIGHBOURS, exclude_self=True).distances[:, -1]
    balls, back = mutual_ball_counts(real, of_real, drawn, of_drawn)
    return {
        "precision": float(np.mean(balls.per_point > 0)),
        "recall": float(np.mean(back.per_point > 0)),
        "density": float(balls.per_point.mean() / NEIGHBOURS),
        "coverage": float(np.mean(balls.per_ball > 0)),
    }


def theirs(real: Rows, drawn: Rows) -> dict[str, float]:
    """The same by prdc, in double precision so that both see the same distances."""
    with contextlib.redirect_stdout(io.StringIO()):
        found: dict[str, float] = compute_prdc(real.astype(np.float64), drawn.astype(np.float64), NEIGHBOURS)
    return found


def large_memory(rows: int, large: int) -> float:
    """Megabytes of a process that finds the nearest of ``large`` vectors to each of ``rows``."""
    code = (
        "import numpy as np, resource, lsampler\n"
        f"points = np.random.default_rng(0).standard_normal(({large}, {DIMENSION}), dtype=np.float32)\n"
        f"lsampler.nearest_neighbours(points[:{rows}] + np.float32(0.1), points, {NEIGHBOURS})\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=170_000)
    arguments = parser.parse_args()
    # First, since a new process's peak starts from its parent's size.
    started = time.perf_counter()
    memory = large_memory(arguments.rows, arguments.large)
    elapsed = time.perf_counter() - started
    rng = np.random.default_rng(0)
    real = rng.standard_normal((arguments.rows, DIMENSION), dtype=np.float32)
    drawn = rng.standard_normal((arguments.rows, DIMENSION), dtype=np.float32) * np.float32(0.97)
    table = Table("", "seconds", "precision", "recall", "density", "coverage")
    seconds = []
    for name, run in (("lsampler", ours), ("prdc", theirs)):
        started = time.perf_counter()
        found = run(real, drawn)
        seconds.append(time.perf_counter() - started)
        table.add_row(name, f"{seconds[-1]:.1f}", *(f"{found[key]:.4f}" for key in list(found)))
    out = Console()
    out.print(table)
    out.print(f"prdc takes {seconds[1] / seconds[0]:.1f} times as long")
    out.print(f"{arguments.rows:,} x {arguments.large:,}: {elapsed:.0f} s, {memory:.0f} MB")
    out.print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, mostly prdc's")


if __name__ == "__main__":
    main()
