"""``docs/performance.md``, from ``performance.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Row

KEPT = Path(__file__).with_name("performance.json")
PAGE = ROOT / "docs" / "performance.md"


SECTIONS = {
    "sampling": "Sampling",
    "storing": "Sampling into a store",
    "moments": "Statistics",
    "labelling": "Labels",
    "neighbours": "Nearest neighbours",
    "encoding": "Encoding and decoding",
    "commands": "Commands",
    "comparing": "Comparing strategies",
    "cluster": "On a cluster",
    "ablations": "Own infrastructure beside the library way",
    "gpu": "On a GPU",
}

HEAD = """# Performance

What each step costs, beside a peer or a limit that was measured in turn with it. The ratio is the peer's time divided
by ours for the same amount of work: the median of the runs, with the lowest and the highest. So 2 means twice as
fast, and 1 as fast as the limit. "To reach" is the project's own target. The pairwise loop is the procedure of post
X, vector by vector in Python. Peak memory is that of a separate process; its base is Python with PyTorch or, for a
store, the same step with a tenth of the rows. D = 256, float32. Every run starts after the disk has written what the
previous one left. `make bench` measures everything and writes this page and `benchmarks/performance.json`, which
holds the single runs.

## Precision and reproducibility

- Latent vectors and samples are float32. Log-densities, principal axes and the Frechet distance are computed in
  float64.
- Statistics are kept in float64. Up to 131,072 vectors, all products are in double precision. For more, centred
  chunks of 4,096 vectors are multiplied in single precision and the products are added in double precision, which
  changes a covariance by about 2e-8 of the variances. `analyze` computes in double precision whatever the number of
  vectors.
- Nearest neighbours and ball counts are exact: products are in single precision (on a GPU in double), and whatever
  their rounding leaves in doubt is computed again in double precision.
- A fitted strategy draws the same rows for a seed on any number of threads and workers. Statistics and fits are the
  same to the last digit on any number of threads and workers too, on processors of one kind; a flow on the CPU. The
  last digits of scores and log-densities may depend on the number of threads of torch and NumPy.
- Quantiles of the Mahalanobis radius are exact for up to 1,048,576 vectors. For more, their relative error is at most
  6.2e-5, and memory does not grow with the vectors.
"""


def document(kept: Mapping[str, Any]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in SECTIONS for line in section(name, kept.get(name)))]) + "\n"


def section(name: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    """The table of a section, with its notes."""
    yield f"## {SECTIONS[name]}\n"
    if found is None:
        yield "Not measured: there is none here.\n" if name == "gpu" else "Not measured.\n"
        return
    rows = [Row.from_dict(values) for values in found["rows"]]
    yield "| step | speed | beside | ratio | lowest to highest | to reach | peak memory |"
    yield "|---|---|---|---|---|---|---|"
    yield from map(_line, rows)
    yield ""
    notes = {row.step: f"limited by {row.limit}" for row in rows if row.limit}
    notes |= {row.step: f"kept for {row.promise}" for row in rows if row.promise}
    for step, note in notes.items():
        yield f"- {step}: {note}."
    if notes:
        yield ""
    runs = " to ".join(str(count) for count in sorted({len(row.seconds) for row in rows}))
    yield f"{machine_line(found['machine'])}. Measured {found['measured']}, medians of {runs} runs.\n"


def _line(row: Row) -> str:
    median = statistics.median(row.seconds)
    speed = f"{median:.2f} s" if row.unit == "runs" else f"{amount(row)} {row.unit}/s"
    beside, spread, reach = row.peer, f"{factor(min(row.ratios))} to {factor(max(row.ratios))}", ""
    ratio = factor(row.ratio)
    if row.peer == "at most":
        beside = f"{row.peer} {row.peer_seconds[0]:g} s"
    if row.peer == "nothing":
        beside = ratio = spread = ""
    if row.target is not None:
        reach = f"{factor(row.target)}: {'reached' if row.ratio >= row.target else '**missed**'}"
    return f"| {row.step} | {speed} | {beside} | {ratio} | {spread} | {reach} | {_memory(row)} |"


def _memory(row: Row) -> str:
    if row.memory_mb is None:
        return ""
    if row.memory_base_mb is None or row.memory_target_mb is None:
        return f"{row.memory_mb:.0f} MB"
    above = row.memory_mb - row.memory_base_mb
    judged = "" if above <= row.memory_target_mb else " **missed**"
    return f"{row.memory_mb:.0f} MB, {max(above, 0):.0f} above its base; {row.memory_target_mb:.0f} allowed{judged}"


def machine_line(found: Mapping[str, Any]) -> str:
    """Machine and versions, in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    gpu = f", {found['gpu']}" if found["gpu"] else ""
    return (
        f"{found['cores']} cores ({found['processor']}{gpu}), {found['memory_gib']} GiB, {found['system']}, "
        f"Python {found['python']}, {versions}"
    )


def amount(row: Row) -> str:
    """Units per second, with three figures."""
    rate = row.amount / statistics.median(row.seconds)
    return f"{round(rate, 3 - len(f'{rate:.0f}')):,.0f}"


def factor(ratio: float) -> str:
    """A ratio with at most three figures."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
