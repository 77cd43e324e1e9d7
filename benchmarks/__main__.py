"""Measures everything, keeps it in ``performance.json``, and writes ``docs/performance.md`` from it.

python -m benchmarks                        all of it; about an hour on 2 cores, 25 GB of disk
python -m benchmarks sampling moments       these again
python -m benchmarks --scale 0.01 --no-keep a quick look
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.document import KEPT, PAGE, SECTIONS, amount, document, factor
from benchmarks.measuring import Row, Settings, machine


def table(title: str, rows: Sequence[Row]) -> Table:
    """For a terminal."""
    found = Table("step", "beside", "rate", "ratio", "spread", "target", "peak MB", title=title, title_justify="left")
    for row in rows:
        rate = f"{amount(row)}/s" if row.unit != "runs" else f"{sorted(row.seconds)[len(row.seconds) // 2]:.2f} s"
        spread = f"{factor(min(row.ratios))} to {factor(max(row.ratios))}"
        target = "" if row.target is None else f"{factor(row.target)} {'reached' if row.met else 'MISSED'}"
        peak = "" if row.memory_mb is None else f"{row.memory_mb:.0f}"
        found.add_row(row.step, row.peer, rate, factor(row.ratio), spread, target, peak)
    return found


def main() -> None:
    """Measure, show, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", nargs="*", help=f"which of {', '.join(SECTIONS)}; by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--images", type=Path, default=Path("img_align_celeba.zip"), help="for encoding")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where 25 GB may be written")
    parser.add_argument("--no-keep", action="store_true", help="change no file")
    given = parser.parse_args()
    unknown = [name for name in given.section if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if given.scale < 1 and not given.no_keep:
        parser.error("figures of less than all rows are not kept; add --no-keep")
    settings = Settings(given.repeats, given.scale, given.images, given.scratch)
    console = Console(width=160)
    for name in given.section or SECTIONS:
        started = time.perf_counter()
        rows = list(importlib.import_module(f"benchmarks.{name}").measure(settings))
        if not rows:
            console.print(f"{SECTIONS[name].title}: left out, {SECTIONS[name].needs}")
            continue
        console.print(table(SECTIONS[name].title, rows))
        console.print(f"{time.perf_counter() - started:.0f} s")
        if not given.no_keep:
            _keep(name, rows, given.repeats)


def _keep(name: str, rows: Sequence[Row], repeats: int) -> None:
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept[name] = {
        "measured": datetime.now(UTC).date().isoformat(),
        "repeats": repeats,
        "machine": machine(),
        "rows": [row.as_dict() for row in rows],
    }
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(document(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
