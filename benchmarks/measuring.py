"""What all measurements share: turns, ratios, peak memory, the machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DIMENSION = 256
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "h5py", "prdc", "distributed")


@dataclass(frozen=True)
class Settings:
    """How much to measure.

    Attributes:
        repeats: runs of each contender.
        scale: share of the full number of rows; below 1 the figures are only for a quick look.
        images: zip archive or folder of images; without them, the sections that need them are left out.
        scratch: folder for large files.
    """

    repeats: int
    scale: float
    images: Path
    scratch: Path

    def rows(self, full: int) -> int:
        """The scaled number of rows of ``full``."""
        return max(4096, int(full * self.scale))


@dataclass(frozen=True)
class Row:
    """A step beside its peer.

    Attributes:
        step: what was done.
        peer: what it is compared with.
        seconds: of each of our runs.
        peer_seconds: of each of the peer's runs, next to ours.
        amount: of units in one of our runs.
        unit: what an amount counts: rows, images, runs.
        peer_amount: of units in one of the peer's runs; None: the same.
        target: the ratio to reach, the peer's time per unit divided by ours; None: only for comparison.
        memory_mb: peak memory of a process of its own; None where it was not measured.
        memory_base_mb: the part of it that the interpreter with torch takes.
        memory_target_mb: how much it may take above that.
        limit: what limits the step now.
        promise: what it keeps that the peer does not.
    """

    step: str
    peer: str
    seconds: list[float]
    peer_seconds: list[float]
    amount: float = 1
    unit: str = "rows"
    peer_amount: float | None = None
    target: float | None = None
    memory_mb: float | None = None
    memory_base_mb: float | None = None
    memory_target_mb: float | None = None
    limit: str = ""
    promise: str = ""

    @property
    def ratios(self) -> list[float]:
        """The peer's time per unit divided by ours, for runs next to each other."""
        ours, theirs = self.amount, self.peer_amount or self.amount
        return [(b / theirs) / (a / ours) for a, b in zip(self.seconds, self.peer_seconds, strict=True)]

    @property
    def ratio(self) -> float:
        """Their median."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the targets are reached; None without targets."""
        if self.target is None and self.memory_target_mb is None:
            return None
        above = (self.memory_mb or 0) - (self.memory_base_mb or 0)
        return self.ratio >= (self.target or 0) and above <= (self.memory_target_mb or float("inf"))

    def as_dict(self) -> dict[str, Any]:
        """For JSON, medians and spreads included."""
        return asdict(self) | {
            "median_s": statistics.median(self.seconds),
            "peer_median_s": statistics.median(self.peer_seconds),
            "ratio": self.ratio,
            "ratio_lowest": min(self.ratios),
            "ratio_highest": max(self.ratios),
            "met": self.met,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """The inverse of :meth:`as_dict`."""
        return cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(
    runs: Sequence[Callable[[], object]],
    repeats: int,
    *,
    warm: bool = True,
    before: Callable[[], object] = lambda: None,
) -> list[list[float]]:
    """Seconds of every run, (contender, repeat): all in turn, so that the machine is the same for all.

    Args:
        runs: the contenders.
        repeats: how many runs of each are counted.
        warm: run each once more at the start without counting it, to set up what is set up once.
        before: what to do before every run, not counted. Each run starts after the disk has written
            what the previous one left.
    """
    times: list[list[float]] = []
    for _ in range(repeats + warm):
        times.append([])
        for run in runs:
            before()
            os.sync()
            times[-1].append(seconds(run))
    return [list(column) for column in zip(*times[warm:], strict=True)]


class Own(NamedTuple):
    """The result of a process of its own, its peak memory (MB), and the memory before the call (MB)."""

    value: Any
    peak_mb: float
    before_mb: float


def own_process(module: str, call: str) -> Own:
    """Evaluate ``benchmarks.module.call`` in a process with torch imported (Linux)."""
    code = (
        f"import json, torch\nfrom benchmarks import measuring, {module}\nbefore = measuring.memory('VmRSS')\n"
        f"value = {module}.{call}\nprint(json.dumps([value, measuring.memory('VmHWM'), before]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return Own(*json.loads(done.stdout.splitlines()[-1]))


def memory(field: str) -> float:
    """VmRSS or VmHWM of this process in MB. Unlike getrusage, VmHWM does not begin with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field + ":"))) / 1024


# The peak memory of a process starts from its parent's, so a small parent starts it.
SMALL_PARENT = """
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss / 1024, status]))
"""


def command(*arguments: object) -> tuple[float, float]:
    """Seconds and peak memory (MB) of the command line in a process of its own."""
    started = [sys.executable, "-c", SMALL_PARENT, "-m", "lsampler", *map(str, arguments)]
    done = subprocess.run(started, check=True, capture_output=True, text=True)
    took, peak, status = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"lsampler {arguments[0]} failed: {done.stderr}")
    return took, peak


def machine() -> dict[str, Any]:
    """The machine and the versions that the figures depend on."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in ("lsampler", *PACKAGES)},
    }


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
