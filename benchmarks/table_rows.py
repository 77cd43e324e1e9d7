"""What the commands cost for many rows of a table, beside the bare model: the table in ``docs/performance.md``.

    python -m benchmarks.table_rows [--rows 1000000] [--scratch DIR]

The rows have 30 features. The model is an MLP of 30, 128, 64 and 6 units in PyTorch, and its mirror image; the bare
model reads the file in parts of 16,384 rows, and writes the latents to another. Every command runs in a process of its
own: seconds and peak memory are those of the whole process. A tenth of the rows shows what the number of rows costs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lsampler.errors import LsamplerError

FEATURES, LATENTS = 30, 6
PART = 1 << 14
MODEL = f"""
import sys
import numpy as np
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    widths = [{FEATURES}, 128, 64, {LATENTS}]
    halves = []
    for order in (widths, widths[::-1]):
        layers = [part for a, b in zip(order, order[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
        halves.append(nn.Sequential(*layers[:-1]).eval())
    return halves


@torch.inference_mode()
def bare(half, source, target, width):
    rows = np.load(source, mmap_mode="r")
    out = np.lib.format.open_memmap(target, "w+", np.float32, (len(rows), width))
    for start in range(0, len(rows), {PART}):
        out[start : start + {PART}] = half(torch.from_numpy(rows[start : start + {PART}].copy())).numpy()


if __name__ == "__main__":
    encoder, decoder = make()
    if sys.argv[1] == "encode":
        bare(encoder, "rows.npy", "bare.npy", {LATENTS})
    else:
        bare(decoder, "bare.npy", "back.npy", {FEATURES})
"""


def write_rows(path: Path, count: int) -> None:
    """Correlated rows (count, 30), a part at a time."""
    mixing = np.random.default_rng(0).normal(size=(FEATURES, FEATURES)) / 5
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, FEATURES))
    for start in range(0, count, PART):
        normal = np.random.default_rng(start + 1).normal(size=(min(PART, count - start), FEATURES))
        rows[start : start + PART] = normal @ mixing
    rows.flush()


def measured(program: list[str]) -> tuple[float, float]:
    """Seconds and peak gigabytes of a program, which must succeed."""
    start = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), stream) for stream in (1, 2)]
        child = os.posix_spawn(sys.executable, [sys.executable, *program], os.environ, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    if status:
        raise LsamplerError(f"{' '.join(program)}: ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def main() -> None:
    """Make the rows, measure, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scratch")
    given = parser.parse_args()
    model = ["--model", "mlp.py:make", "--model-param", f"shape={FEATURES}"]
    sample = ["sample", "--fitted", "fitted.safetensors", "--force", "--n"]
    print("| rows | what | seconds | peak memory |\n|---|---|---|---|")
    for count in (given.rows // 10, given.rows):
        with tempfile.TemporaryDirectory(dir=given.scratch) as name:
            os.chdir(name)
            Path("mlp.py").write_text(MODEL)
            write_rows(Path("rows.npy"), count)
            lines = {
                "start of Python with PyTorch": ["-c", "import torch"],
                "bare model: encode": ["mlp.py", "encode"],
                "`lsampler encode`": ["-m", "lsampler", "encode", "rows.npy", *model, "--out", "z.h5"],
                "`lsampler fit -p elliptical`": [
                    "-m", "lsampler", "fit", "-p", "elliptical", "--store", "z.h5", "--out", "fitted.safetensors",
                ],
                "`lsampler sample`: as many latent vectors": ["-m", "lsampler", *sample, str(count), "--out", "new.h5"],
                "bare model: decode": ["mlp.py", "decode"],
                "`lsampler sample`: as many decoded rows": [
                    "-m", "lsampler", *sample, str(count), *model, "--out", "new.npy",
                ],
            }  # fmt: skip
            for what, program in lines.items():
                seconds, memory = measured(program)
                print(f"| {count:,} | {what} | {seconds:.1f} | {memory:.2f} GB |", flush=True)
            os.chdir("/")


if __name__ == "__main__":
    main()
