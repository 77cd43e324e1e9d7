"""Time and memory of ``lsampler analyze``, as whole processes.

    python benchmarks/analysis.py [--rows 9000 170000]

The latents are drawn from the normal of the bundled autoencoder's statistics (D = 256) and written
to a store; all sections but t-SNE are run, with figures. Peak memory is the process's largest
resident set, torch included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


def lsampler(*arguments: object) -> None:
    """Run the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "lsampler", *map(str, arguments)], check=True, capture_output=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[9000, 170_000])
    table = Table("vectors", "D", "seconds", "peak memory (MB)")
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(parser.parse_args().rows):
            store, report = Path(folder) / f"{rows}.h5", Path(folder) / f"report{rows}"
            lsampler("sample", "--plugin", "multivariate-normal", "--n", rows, "--out", store)
            started = time.perf_counter()
            lsampler("analyze", store, "--out", report)
            elapsed = time.perf_counter() - started
            # The largest of all children so far: sizes rise, so it is this one's.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            table.add_row(f"{rows:,}", "256", f"{elapsed:.1f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
