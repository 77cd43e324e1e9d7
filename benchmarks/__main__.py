"""Measure everything, keep it in ``performance.json``, and write ``docs/performance.md`` from it.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.document import KEPT, PAGE, SECTIONS, document, section
from benchmarks.measuring import Settings, machine


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
    for name in given.section or SECTIONS:
        started = time.perf_counter()
        rows = list(importlib.import_module(f"benchmarks.{name}").measure(settings))
        if not rows:
            print(f"{SECTIONS[name]}: left out")
            continue
        found: dict[str, Any] = {"measured": datetime.now(UTC).date().isoformat(), "machine": machine()}
        found["rows"] = [row.as_dict() for row in rows]
        print("\n".join(section(name, found)))
        print(f"{time.perf_counter() - started:.0f} s")
        if not given.no_keep:
            kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
            kept[name] = found | {"repeats": given.repeats}
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            PAGE.write_text(document(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
