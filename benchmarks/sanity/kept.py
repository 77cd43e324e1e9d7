"""``benchmarks/sanity.json``: what has been measured, one cell per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.sanity.scoring import Cell

KEPT = Path(__file__).parents[1] / "sanity.json"


def key_of(name: str, panel: str, repeat: int) -> str:
    """The name of a cell."""
    return f"{name}/{panel}/{repeat}"


def load(place: Path = KEPT) -> dict[str, Any]:
    """What has been measured so far: cells of the evaluator, what the kernel distance found, what the judge sees."""
    found: dict[str, Any] = {"cells": {}, "kernels": {}, "power": {}, "best": {}}
    return found | json.loads(place.read_text(encoding="utf-8")) if place.exists() else found


def compact(cell: Cell) -> dict[str, Any]:
    """A cell without what the page does not need."""
    control = cell["prdc"]
    found: dict[str, Any] = {key: curves for key, curves in cell.items() if key not in ("points", "prdc")}
    found |= {"x": [float(f"{x:.6g}") for x in cell["points"]["x"]]}
    if any(control.values()):
        found["prdc"] = {
            "points": len(control["recall"]),
            "differ": {metric: sum(one > 0 for one in values) for metric, values in control.items()},
            "most": {metric: max(values) for metric, values in control.items()},
        }
    return found


def write(kept: dict[str, Any], place: Path = KEPT) -> None:
    """Write the file anew; it is complete at any time."""
    parts = []
    for section, entries in kept.items():
        lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(entries.items()))
        parts.append(f'"{section}": {{\n' + ",\n".join(lines) + "\n}")
    new = place.with_suffix(".new")
    new.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    new.replace(place)


def repeats_of(cells: Mapping[str, Any], name: str, panel: str) -> list[Any]:
    """The cells of one curve."""
    start = f"{name}/{panel}/"
    return [found for key, found in cells.items() if key.startswith(start)]


def single_repeats(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells of each repeat that is complete, by themselves."""
    numbers = {key.rpartition("/")[2] for key in cells}
    found = [{key: one for key, one in cells.items() if key.endswith(f"/{number}")} for number in sorted(numbers)]
    return [one for one in found if len(one) == len(found[0])]
