"""``docs/scaling.md``: what each step costs as the number of latent vectors grows, measured and estimated.

    python -m benchmarks.scaling [--rows 100000 1000000 5000000] [--scratch DIR]

Every step runs in a process of its own. The rates of encoding and scoring, and the gain by a second
worker, are those of ``performance.json``: run ``python -m benchmarks`` first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.document import KEPT as PERFORMANCE
from benchmarks.document import machine_line
from benchmarks.measuring import DIMENSION, ROOT, machine, own_process
from benchmarks.sampling import fitted
from lsampler import load_bundle, open_store
from lsampler.compute.engine import Threads, working_on
from lsampler.plots import SERIES, house_style, save_figure, single
from lsampler.samplers import DrawOptions, sample_store
from lsampler.scoring.sample_sets import MOST_BYTES
from lsampler.scoring.samples import MOST_ROWS

KEPT = Path(__file__).with_name("scaling.json")
PAGE = ROOT / "docs" / "scaling.md"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
COMPONENTS = 100
ROW_BYTES = 4 * DIMENSION
JPEG_BYTES = 7_000
"""About the size of an aligned CelebA image."""
PLANNED = (10**6, 10**8, 10**10)
MACHINES, CORES, BANDWIDTH = 16, 16, 1e9
SAMPLE, STATISTICS, HISTOGRAMS = "sample (pca-ellipse) to a store", "statistics and PCA", "histograms, extremes"


def sample(rows: int, path: str, threads: int | None = None) -> float:
    """Seconds."""
    sampler = fitted("pca-ellipse")
    started = time.perf_counter()
    sample_store(sampler, rows, path, options=DrawOptions(threads=threads), force=True)
    return time.perf_counter() - started


def statistics(path: str, threads: int | None = None) -> float:
    """Seconds."""
    started = time.perf_counter()
    with working_on(Threads(threads)):
        _ = open_store(path).statistics().pca
    return time.perf_counter() - started


def histograms(path: str, threads: int | None = None) -> float:
    """Seconds, without those of the statistics that go before."""
    with working_on(Threads(threads)):
        found = open_store(path).statistics()
        started = time.perf_counter()
        _ = found.histograms
    return time.perf_counter() - started


def measured(rows: Sequence[int], scratch: Path) -> Iterator[dict[str, Any]]:
    """Seconds and peak memory of every step for every number of rows; one core for the last but one."""
    for number in rows:
        threads = [None, 1] if number == sorted(rows)[-2:][0] else [None]
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            path = str(Path(folder) / "store.h5")
            for count in threads:
                for step, call in (
                    (SAMPLE, f"sample({number}, {path!r}, {count})"),
                    (STATISTICS, f"statistics({path!r}, {count})"),
                    (HISTOGRAMS, f"histograms({path!r}, {count})"),
                ):
                    own = own_process("scaling", call)
                    line = {"step": step, "rows": number, "one_core": count == 1, "seconds": own.value}
                    print(line)
                    yield line | {"peak_mb": own.peak_mb}


@dataclass(frozen=True)
class Step:
    """What a step costs per vector.

    Attributes:
        name: of the step.
        read: bytes.
        written: bytes.
        operations: additions and multiplications of floats.
        rate: vectors per second on one core.
    """

    name: str
    read: float
    written: float
    operations: float
    rate: float

    def minutes(self, rows: int, cores: int, gain: float, bandwidth: float) -> tuple[float, str]:
        """How long, and what limits it: the cores, of which each further one counts ``gain``, or the disks."""
        computing = rows / (self.rate * (1 + gain * (cores - 1))) / 60
        moving = rows * (self.read + self.written) / bandwidth / 60
        return (computing, "cores") if computing >= moving else (moving, "disks")


def steps(found: Mapping[str, Any], performance: Mapping[str, Any], gain: float) -> list[Step]:
    """All steps whose cost grows with the vectors; encoding was measured on all cores, each further one ``gain``."""
    one_core = {line["step"]: line["rows"] / line["seconds"] for line in found["measured"] if line["one_core"]}
    encoding = next(row for row in performance["encoding"]["rows"] if row["step"].startswith("encode"))
    cores = performance["encoding"]["machine"]["cores"]
    images = encoding["amount"] / encoding["median_s"] / (1 + gain * (cores - 1))
    flops = _encoder_operations()
    symmetric = DIMENSION * (DIMENSION + 1)
    return [
        Step("encode images", JPEG_BYTES, ROW_BYTES, flops, images),
        Step(STATISTICS, ROW_BYTES, 0, symmetric, one_core[STATISTICS]),
        Step(HISTOGRAMS, ROW_BYTES, 0, 2 * DIMENSION, one_core[HISTOGRAMS]),
        Step(SAMPLE, 0, ROW_BYTES, 2 * COMPONENTS * DIMENSION, one_core[SAMPLE]),
    ]


def _encoder_operations() -> float:
    from torch.utils.flop_counter import FlopCounterMode

    autoencoder = load_bundle().autoencoder
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        autoencoder.encoder(torch.zeros(1, *autoencoder.item.shape))
    return float(counter.get_total_flops())


def document(found: Mapping[str, Any], performance: Mapping[str, Any]) -> str:
    """The page."""
    return "\n".join([*_measured_part(found), *_planned_part(found, performance)]) + "\n"


def _measured_part(found: Mapping[str, Any]) -> Iterator[str]:
    largest = max(line["rows"] for line in found["measured"])
    yield f"""# Scaling

What the steps cost as the number N of latent vectors grows, for D = {DIMENSION}: measured up to {largest:,} vectors
({largest * ROW_BYTES / 1e9:.1f} GB), and estimated beyond. `python -m benchmarks.scaling` writes this page.

## Measured

![Seconds of each step over the number of vectors](images/scaling.png)

| step | vectors | cores | seconds | vectors per second | peak memory |
|---|---|---|---|---|---|"""
    cores = found["machine"]["cores"]
    for line in sorted(found["measured"], key=lambda line: (line["step"], line["one_core"], line["rows"])):
        rate = line["rows"] / line["seconds"]
        yield (
            f"| {line['step']} | {line['rows']:,} | {1 if line['one_core'] else cores} | {line['seconds']:.2f} | "
            f"{rate:,.0f} | {line['peak_mb']:.0f} MB |"
        )
    yield f"""
Every step runs in a process of its own; the start of Python and fitting are not counted. Peak memory is that of the
whole process, with PyTorch. It does not grow with the vectors. Stores lie on disk, and the system's file cache
holds them here. With ten million vectors, which exceed the cache,
[sampling to a store](performance.md#sampling-into-a-store) is slower.

{machine_line(found["machine"])}. Measured {found["date"]}.
"""


def _planned_part(found: Mapping[str, Any], performance: Mapping[str, Any]) -> Iterator[str]:
    ratios = [row["ratio"] for row in performance["cluster"]["rows"]]
    gain = min(1.0, min(ratios) - 1)
    yield f"""## Estimated

For a cluster of {MACHINES} machines with {CORES} cores each, as fast as those measured, on a file system that gives
each machine {BANDWIDTH / 1e9:.0f} GB per second. Each further core counts {gain:.2f} of the first, as the second Dask
worker did in [performance](performance.md#on-a-cluster). {MACHINES * CORES} cores have not been measured, so the last
columns are lower bounds. Every step is a pass: its minutes are the vectors divided by (rate of one core x cores), or
the bytes divided by the bandwidth where that takes longer. Images are JPEG files of {JPEG_BYTES:,} bytes; pca-ellipse
draws {COMPONENTS} components.

| step | bytes per vector | operations per vector | vectors per second, 1 core | minutes: 10^6, 1 core | \
10^6, cluster | 10^8, cluster | 10^10, cluster |
|---|---|---|---|---|---|---|---|"""
    cores, bandwidth = MACHINES * CORES, MACHINES * BANDWIDTH
    for step in steps(found, performance, gain):
        alone = _minutes(*step.minutes(PLANNED[0], 1, gain, BANDWIDTH))
        planned = " | ".join(_minutes(*step.minutes(rows, cores, gain, bandwidth)) for rows in PLANNED)
        yield (
            f"| {step.name} | {step.read + step.written:,.0f} | {step.operations:,.0f} | {step.rate:,.0f} | "
            f"{alone} | {planned} |"
        )
    scoring = performance["neighbours"]["rows"][0]
    yield f"""
In bytes: 10^6 vectors are {1e6 * ROW_BYTES / 1e9:.2f} GB, 10^8 are {1e8 * ROW_BYTES / 1e9:.0f} GB, and 10^10 are \
{1e10 * ROW_BYTES / 1e12:.1f} TB, {1e10 / 2**20:,.0f} shards of 2^20 vectors.

What does not grow with N:

- **PCA** of the covariance, {DIMENSION} x {DIMENSION}: a fraction of a second.
- **Scores** that compare vectors take at most {MOST_ROWS:,} of each set and as many train vectors, whatever the store
  holds (selecting these is one pass): with 10,000 of each, precision, recall, density and coverage take \
{scoring["median_s"]:.1f} s on
  {performance["neighbours"]["machine"]["cores"]} cores. Other scores read at most {MOST_BYTES >> 20} MiB of a file of \
samples. All held-out vectors are read: do not let their number grow with N.
- **Memory**: a worker holds two chunks of 4 MB, a covariance of {8 * DIMENSION**2 / 1e6:.1f} MB, and PyTorch.
- **Tasks**: a pass over one file has at most 4,096 tasks, over shards at least one per shard, and each returns one
  covariance. Sampling and encoding have one task per shard, and each returns a number.
"""


def _minutes(minutes: float, limit: str) -> str:
    text = f"{minutes:,.0f}" if minutes >= 100 else f"{minutes:.2g}"
    return f"{text} ({limit})"


def curve(found: Mapping[str, Any]) -> None:
    """The picture."""
    with house_style():
        figure, axes = single(height=3.8)
        names = [SAMPLE, STATISTICS, HISTOGRAMS]
        for name, colour in zip(names, SERIES, strict=False):
            lines = sorted(
                (line["rows"], line["seconds"], line["one_core"]) for line in found["measured"] if line["step"] == name
            )
            many = [(rows, seconds) for rows, seconds, one_core in lines if not one_core]
            axes.plot(*zip(*many, strict=True), "o-", color=colour, label=name, markersize=4)
            one = [(rows, seconds) for rows, seconds, one_core in lines if one_core]
            axes.plot(*zip(*one, strict=True), "o", color=colour, markersize=6, markerfacecolor="none")
        axes.set(xscale="log", yscale="log", xlabel="latent vectors, D = 256", ylabel="seconds")
        axes.plot([], [], "o", color="#777777", markersize=6, markerfacecolor="none", label="the same on one core")
        axes.grid(visible=True)
        axes.legend()
        save_figure(figure, PICTURE)


def main() -> None:
    """Measure, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000, 1_000_000, 5_000_000])
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where 6 GB may be written")
    parser.add_argument("--no-measuring", action="store_true", help="write the page from the figures that are kept")
    given = parser.parse_args()
    if not given.no_measuring:
        found: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
        found["measured"] = list(measured(given.rows, given.scratch))
        KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    curve(kept)
    PAGE.write_text(document(kept, json.loads(PERFORMANCE.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
