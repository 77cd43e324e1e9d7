"""``docs/performance.md``, from ``performance.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Row

KEPT = Path(__file__).with_name("performance.json")
PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Section:
    """A heading, and what is missing if there are no figures."""

    title: str
    needs: str = "nothing was measured"


SECTIONS = {
    "sampling": Section("Sampling"),
    "storing": Section("Sampling into a store"),
    "moments": Section("Statistics"),
    "neighbours": Section("Nearest neighbours"),
    "encoding": Section("Encoding and decoding"),
    "commands": Section("Commands"),
    "cluster": Section("On a cluster"),
    "ablations": Section("Own infrastructure beside the library way"),
    "gpu": Section("On a GPU", "there is none here"),
}

HEAD = """# Performance

What each step costs, beside a peer or a limit that was measured in the same run, in turn. The ratio is the peer's time
by ours for the same amount of work, the median of the runs, with the lowest and the highest; so 2 is twice as fast, and
1 as fast as the limit. "To reach" is what the project asks of itself; the pairwise loop is the procedure of the last of
the posts, vector by vector in Python. Peak memory is that of a process of its own; its base is Python with PyTorch, or,
for a store, the same with a tenth of the rows. D = 256, float32. Every run begins when the disk has written what the
one before left. `make bench` measures all of it and writes this page and `benchmarks/performance.json`, which holds
the single runs.
"""


def document(kept: Mapping[str, Any]) -> str:
    """The page."""
    return "\n".join([HEAD, *(line for name in SECTIONS for line in _section(name, kept.get(name)))]) + "\n"


def _section(name: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    section = SECTIONS[name]
    yield f"## {section.title}\n"
    if found is None:
        yield f"Not measured: {section.needs}.\n"
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
    """Machine and versions, in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    gpu = f", {found['gpu']}" if found["gpu"] else ""
    return (
        f"{found['cores']} cores ({found['processor']}{gpu}), {found['memory_gib']} GiB, {found['system']}, "
        f"Python {found['python']}, {versions}"
    )


def amount(row: Row) -> str:
    """Units a second, three figures of them."""
    rate = row.amount / statistics.median(row.seconds)
    return f"{round(rate, 3 - len(f'{rate:.0f}')):,.0f}"


def factor(ratio: float) -> str:
    """With three figures at most."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
