"""What the commands cost for long spatial latents, 2,000 of 4 x 64 x 64: the table in ``docs/models.md``.

    python -m benchmarks.wide_latents [--rows 2000] [--held-out 200] [--scratch DIR]

The latents are smooth random fields whose channels are correlated, of a random overall size, with noise. Every command
runs in a process of its own; seconds and peak memory are those of the whole process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lsampler.store import StoreWriter

SHAPE = (4, 64, 64)
FEW = ("--param", "components=200")
PART = 50
SIX = ("channel-normal", "gaussian", "multivariate-normal", "elliptical", "gaussian-mixture", "neighbour-interpolation")


def fields(rows: int, seed: int) -> NDArray[np.float32]:
    """Spatial latents (rows, 16384)."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(SHAPE[0]) + 0.5 * np.random.default_rng(0).normal(size=(SHAPE[0], SHAPE[0]))
    smooth = gaussian_filter(rng.normal(size=(rows, *SHAPE)), (0, 0, 3, 3), mode="wrap")
    mixed = np.einsum("cd,ndhw->nchw", mixing, smooth / smooth.std())
    sizes = np.exp(0.3 * rng.normal(size=(rows, 1, 1, 1)))
    centre = np.array([0.5, -1.0, 0.0, 2.0])[:, None, None]
    found: NDArray[np.float64] = mixed * sizes + 0.15 * rng.normal(size=mixed.shape) + centre
    return found.reshape(rows, -1).astype(np.float32)


def commands(store: str) -> Iterator[tuple[str, list[str]]]:
    """What is measured: a name, and the arguments of lsampler."""
    yield "`store info`: statistics of the channels", ["store", "info", store]
    for name, more in (("channel-normal", ()), ("gaussian", ()), ("multivariate-normal", FEW), ("elliptical", FEW)):
        arguments = ["sample", "-p", name, *more, "--store", store, "--n", "2000", "--out", f"{name}.h5"]
        yield f"`sample` 2,000 of {name}{', 200 components' if more else ''}", arguments
    settings = [f"--param={name}:components={count}" for name, count in zip(SIX[2:5], (200, 200, 10), strict=True)]
    strategies = [part for name in SIX for part in ("-p", name)]
    yield (
        "`compare --quick`, six strategies",
        ["compare", "--quick", "--store", store, *strategies, *settings, "--out", "c"],
    )
    yield "`analyze`", ["analyze", store, "--out", "a"]


def measured(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak gigabytes of a command, which must succeed."""
    start = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), stream) for stream in (1, 2)]
        program = [sys.executable, "-m", "lsampler", *arguments]
        child = os.posix_spawn(sys.executable, program, {**os.environ, "PWD": str(folder)}, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"lsampler {' '.join(arguments)}: ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def main() -> None:
    """Make the store, measure, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--scratch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        os.chdir(name)
        with StoreWriter("latents.h5", int(np.prod(SHAPE)), {"latent_shape": "x".join(map(str, SHAPE))}) as writer:
            # A few at a time: a child's peak memory is at least that of the process that starts it.
            for start in range(0, given.rows + given.held_out, PART):
                rows = min(PART, given.rows + given.held_out - start)
                splits = ["held-out" if start + k >= given.rows else "train" for k in range(rows)]
                writer.append(fields(rows, start), split=splits)  # type: ignore[arg-type]
        print("| command | seconds | peak memory |\n|---|---|---|")
        for what, arguments in commands("latents.h5"):
            seconds, memory = measured(arguments, Path(name))
            print(f"| {what} | {seconds:.0f} | {memory:.1f} GB |", flush=True)


if __name__ == "__main__":
    main()
