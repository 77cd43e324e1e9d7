"""Precision, recall, density and coverage beside the prdc package, in one run, with the numbers of both.

    python benchmarks/neighbours.py [--rows 10000] [--large 170000] [--repeats 3] [--device cpu]

Both take turns in one process; the ratio is the median of their ratios. Also the peak memory of a
large reference: nearest neighbours of ``rows`` samples among ``large`` vectors, in a process of its
own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lsampler import mutual_ball_counts, nearest_neighbours

DIMENSION = 256
NEIGHBOURS = 5
ROWS = 10_000
TARGET = 5.0
NUMBERS = ("precision", "recall", "density", "coverage")
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


def measure(repeats: int, rows: int = ROWS, device: str = "cpu") -> list[dict[str, Any]]:
    """One row: seconds of both in turn, the ratios, their median, and the peak memory (MB) of ours.

    Raises:
        RuntimeError: the two do not agree.
    """
    memory = peak_memory(f"neighbours.ours(*neighbours.sets({rows}), device={device!r})")
    real, drawn = sets(rows)
    mine, peer = [], []
    for _ in range(repeats):
        own, own_seconds = timed(lambda: ours(real, drawn, device))
        other, other_seconds = timed(lambda: theirs(real, drawn))
        if not all(math.isclose(own[key], other[key], rel_tol=1e-9) for key in own):
            raise RuntimeError(f"lsampler has {own}, prdc {other}")
        mine.append(own_seconds)
        peer.append(other_seconds)
    ratios = [there / here for here, there in zip(mine, peer, strict=True)]
    return [
        {
            "step": f"precision ... coverage, {rows:,} x {rows:,}",
            "ours_s": mine,
            "peer": "prdc",
            "peer_s": peer,
            "ratios": ratios,
            "ratio": statistics.median(ratios),
            "target": TARGET,
            "peak_mb": memory,
            **own,
        }
    ]


def sets(rows: int) -> tuple[Rows, Rows]:
    """Normal vectors, and others drawn a little towards the centre."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    return real, rng.standard_normal((rows, DIMENSION), dtype=np.float32) * np.float32(0.97)


def timed(run: Callable[[], Numbers]) -> tuple[Numbers, float]:
    """What ``run`` returns, and its seconds."""
    started = time.perf_counter()
    found = run()
    return found, time.perf_counter() - started


def large_search(rows: int, large: int, device: str = "cpu") -> None:
    """The nearest of ``large`` vectors to each of ``rows``."""
    points = np.random.default_rng(0).standard_normal((large, DIMENSION), dtype=np.float32)
    nearest_neighbours(points[:rows] + np.float32(0.1), points, NEIGHBOURS, device=device)


def peak_memory(call: str) -> float:
    """Megabytes of a process of its own in which ``call`` is evaluated (Linux)."""
    # Its largest resident set since it started; that of getrusage would begin with its parent's.
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})\n"
        f"import neighbours\n{call}\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--large", type=int, default=170_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    started = time.perf_counter()
    memory = peak_memory(f"neighbours.large_search({arguments.rows}, {arguments.large}, {arguments.device!r})")
    elapsed = time.perf_counter() - started
    out = Console()
    found = measure(arguments.repeats, arguments.rows, arguments.device)
    table = Table("", "lsampler (s)", "prdc (s)", "ratio", "target", "peak (MB)")
    for row in found:
        mine, peer = (f"{statistics.median(row[key]):.2f}" for key in ("ours_s", "peer_s"))
        table.add_row(row["step"], mine, peer, f"{row['ratio']:.1f}", f"{row['target']:.0f}", f"{row['peak_mb']:.0f}")
    out.print(table)
    out.print("both: " + ", ".join(f"{key} {found[0][key]:.4f}" for key in NUMBERS))
    out.print("ratios: " + ", ".join(f"{ratio:.1f}" for ratio in found[0]["ratios"]))
    out.print(f"{arguments.rows:,} x {arguments.large:,}: {elapsed:.0f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
