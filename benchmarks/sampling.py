"""Rows a second of every strategy, and of pca-ellipse beside the pairwise loop it replaces.

    python benchmarks/sampling.py [--rows 400000] [--repeats 5]

All rows of the table are measured in one run, in turn, and given as medians. The loop is post X's
procedure written down plainly: components in random order, each interval the smallest that the
ellipses with all components drawn before leave.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lsampler import ArrayReference, LatentSampler, load_sampler, plugin_names

DIMENSION = 256
COMPONENTS = 120
LOOP_ROWS = 100


@dataclass(frozen=True)
class Contender:
    """Something that draws rows: a name, how many a run, and the run."""

    name: str
    rows: int
    run: Callable[[], object]


def pairwise_loop(
    rows: int, half_axes: NDArray[np.float64], axes: NDArray[np.float64], mean: NDArray[np.float64]
) -> object:
    """Post X, vector by vector and pair by pair."""
    rng = np.random.default_rng(0)
    result = np.empty((rows, len(mean)))
    for row in range(rows):
        v = np.zeros(len(half_axes))
        drawn: list[int] = []
        for j in rng.permutation(len(half_axes)):
            limit = half_axes[j]
            for i in drawn:
                limit = min(limit, half_axes[j] * (1 - (v[i] / half_axes[i]) ** 2) ** 0.5)
            v[j] = rng.uniform(-limit, limit)
            drawn.append(j)
        result[row] = mean + v @ axes
    return result


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def draw(sampler: LatentSampler, rows: int) -> None:
    """Draw and drop the rows, block by block, as a writer of a file would."""
    for _ in sampler.stream(rows):
        pass


def contenders(rows: int) -> list[Contender]:
    """The loop first, then every strategy, on correlated latents of D = 256."""
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(5000, DIMENSION)) @ rng.normal(size=(DIMENSION, DIMENSION))
    reference = ArrayReference(latents.astype(np.float32))
    pca = reference.statistics(1.7).pca
    half_axes = 0.7 * 2.3548 * np.sqrt(pca.variances[:COMPONENTS])
    axes, mean = pca.axes[:COMPONENTS], pca.mean
    found = [
        Contender("pairwise loop in Python", LOOP_ROWS, lambda: pairwise_loop(LOOP_ROWS, half_axes, axes, mean)),
    ]
    settings: list[tuple[str, dict[str, object]]] = [
        ("pca-ellipse", {"components": COMPONENTS, "method": "exact"}),
        ("pca-ellipse", {"components": COMPONENTS, "method": "iteration"}),
        *((name, {}) for name in plugin_names("sampler") if name != "pca-ellipse"),
    ]
    for name, parameters in settings:
        sampler = load_sampler(name, **parameters).fit(reference)
        label = " ".join([name, *(f"{key}={value}" for key, value in parameters.items())])
        found.append(Contender(label, rows, lambda sampler=sampler: draw(sampler, rows)))  # type: ignore[misc]
    return found


def main() -> None:
    """Measure in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    listed = contenders(options.rows)
    for contender in listed:
        contender.run()  # warm-up
    times = {contender.name: [] for contender in listed}  # type: dict[str, list[float]]
    for _ in range(options.repeats):
        for contender in listed:
            times[contender.name].append(seconds(contender.run))
    loop = [listed[0].rows / t for t in times[listed[0].name]]
    table = Table(title=f"D = {DIMENSION}, float32, {torch.get_num_threads()} threads, medians of {options.repeats}")
    for head in ("strategy", "rows/s", "times the loop"):
        table.add_column(head, justify="left" if head == "strategy" else "right")
    for contender in listed:
        rates = [contender.rows / t for t in times[contender.name]]
        ratio = statistics.median(a / b for a, b in zip(rates, loop, strict=True))
        table.add_row(contender.name, f"{statistics.median(rates):,.0f}", f"{ratio:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
