"""Measure what is missing in ``benchmarks/sanity.json``, and write ``docs/scores-tested.md`` from it.

python -m benchmarks.sanity                  three repeats of everything; half an hour on one core
python -m benchmarks.sanity mean --repeats 1 only this check
python -m benchmarks.sanity --repeats 0      only write the page again
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

from benchmarks.sanity import kept, page, power
from benchmarks.sanity.checks import CHECKS
from benchmarks.sanity.kernels import three
from benchmarks.sanity.scoring import cell


def main() -> None:
    """Measure, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="*", help=f"which of {', '.join(CHECKS)}; by default all")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    unknown = [name for name in given.check if name not in CHECKS]
    if unknown:
        parser.error(f"no check {unknown[0]}; there are {', '.join(CHECKS)}")
    found = kept.load()
    for repeat in range(given.repeats):
        for name in given.check or CHECKS:
            for panel in CHECKS[name].panels:
                key = kept.key_of(name, panel, repeat)
                if key not in found["cells"]:
                    started = time.perf_counter()
                    found["cells"][key] = kept.compact(cell(name, panel, repeat, control=repeat == 0))
                    kept.write(found)
                    print(f"{key}: {time.perf_counter() - started:.0f} s", flush=True)
    for name in given.check or CHECKS:
        for panel in CHECKS[name].panels:
            key = f"{name}/{panel}"
            if key not in found["kernels"]:
                found["kernels"][key] = three(name, panel)
                kept.write(found)
    if not given.check:
        _measure_power(found)
    page.PAGE.write_text(page.document(found), encoding="utf-8")


def _measure_power(found: dict[str, Any]) -> None:
    """What the strong judge sees; eight minutes."""
    for name in power.SHIFTS:
        if name not in found["best"]:
            found["best"][name] = power.best_area(name)
    for repeat, name, size in itertools.product(range(power.REPEATS), power.NAMES, power.SIZES):
        key = power.key_of(name, size, repeat)
        if key not in found["power"]:
            started = time.perf_counter()
            found["power"][key] = power.area(name, size, repeat)
            kept.write(found)
            print(f"{key}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
