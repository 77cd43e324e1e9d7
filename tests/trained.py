"""What the tests of training share."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import lsampler
from lsampler.bundles import load_safetensors_autoencoder
from lsampler.data import open_images
from lsampler.models import ConvConfig, TrainingOptions, TrainingResult

SHAPE = ("--size", "8", "--grey", "--no-flip", "--filters", "8,16", "--latent-dim", "6", "--accelerator", "cpu")
CONFIG = ConvConfig(image_size=8, channels=1, filters=(8, 16), latent_dim=6)
FILES = ["checkpoints/last.ckpt", "model.safetensors", "reconstructions.png", "training.csv", "training.png"]
# One thread: small layers gain nothing from more, and threads that wait for a busy core take it from others.
# No line per minute, on a slow machine.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LSAMPLER_PROGRESS": "off"}


def command(*arguments: object, start: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *start, "-m", "lsampler", "train", *map(str, arguments)]


def run(*arguments: object, start: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, start=start), capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )


def train(source: Path, out: Path, **changes: Any) -> TrainingResult:
    """A short training in this process; ``changes`` go to the options or to the function."""
    direct = {key: changes.pop(key) for key in ("resume", "report", "progress", "config") if key in changes}
    options = TrainingOptions(**{"epochs": 2, "held_out": 60, "batch_size": 60, "accelerator": "cpu"} | changes)
    defaults = {"report": lambda _: None, "config": CONFIG}
    return lsampler.models.train_autoencoder(open_images(source), out, options=options, **defaults | direct)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_safetensors_autoencoder(out / "model.safetensors").state_dict()


def same_weights(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "training.csv").open(newline="") as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def interrupt_after(line: str) -> Any:
    def report(text: str) -> None:
        if text.startswith(line):
            os.kill(os.getpid(), signal.SIGINT)

    return report


class Bars:
    """Progress that keeps [total, done] of each bar, and presses Ctrl-C after some training steps."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.seen: dict[str, list[int]] = {}
        self._interrupt_at = interrupt_at

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        bar = self.seen[what] = [total, done]

        def advance(amount: int) -> None:
            bar[1] += amount
            if what == "training" and bar[1] == self._interrupt_at:
                raise KeyboardInterrupt

        return advance
