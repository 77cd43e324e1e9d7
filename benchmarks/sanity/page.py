"""``docs/scores-tested.md``, from what has been measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.sanity.checks import CHECKS, three_points
from benchmarks.sanity.criteria import Kind
from benchmarks.sanity.kept import repeats_of, single_repeats
from benchmarks.sanity.kernels import METRICS
from benchmarks.sanity.power import REPEATS
from benchmarks.sanity.power import lines as power_lines
from benchmarks.sanity.scoring import CONTROLLED
from benchmarks.sanity.verdicts import COLUMNS, Found, Row, curve, table
from benchmarks.sanity.words import (
    ABOUT_VALUES,
    CONCLUSIONS,
    CONTROL,
    HEAD,
    KERNELS,
    POWER,
    POWER_CONCLUSIONS,
    RULES,
    TABLE,
)

PAGE = Path(__file__).parents[2] / "docs" / "scores-tested.md"
KINDS: tuple[Kind, ...] = ("fidelity", "diversity")

Table = dict[Row, dict[str, dict[str, Found]]]


def document(kept: Mapping[str, Any]) -> str:
    """The whole page. Every check must have been measured at least once."""
    cells = kept["cells"]
    tables = {kind: table(cells, kind) for kind in KINDS}
    lines = [HEAD, *_checks(), TABLE.format(repeats=_repeats(cells))]
    for kind in KINDS:
        lines += [f"### {kind.capitalize()}\n", *_verdicts(tables[kind], kind), *_singly(cells, kind), ""]
    lines += [
        RULES,
        *_rules(tables),
        CONCLUSIONS,
        CONTROL,
        *_control(cells),
        KERNELS,
        *_kernels(kept["kernels"]),
        POWER.format(repeats=REPEATS),
        *power_lines(kept["power"], kept["best"]),
        POWER_CONCLUSIONS,
        ABOUT_VALUES,
        *_values(cells),
    ]
    return "\n".join(lines) + "\n"


def _repeats(cells: Mapping[str, Any]) -> str:
    counts = sorted({len(repeats_of(cells, name, panel)) for name, check in CHECKS.items() for panel in check.panels})
    if not counts[0]:
        raise ValueError("not every check has been measured; run python -m benchmarks.sanity")
    return " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))


def _checks() -> Iterator[str]:
    yield "| check | what is compared, and what must hold | asks for |"
    yield "|---|---|---|"
    for name, check in CHECKS.items():
        desiderata = dict.fromkeys(demand.desideratum for demand in check.demands)
        yield f"| `{name}` | {check.about} | {', '.join(desiderata)} |"
    yield ""


def _verdicts(found: Table, kind: Kind) -> Iterator[str]:
    labels = [column.label for column in COLUMNS if column.kind == kind]
    yield f"| check | asks for | {' | '.join(labels)} |"
    yield "|---|---" + "|:-:" * len(labels) + "|"
    for row, verdicts in found.items():
        yield f"| `{row.check}` | {row.desideratum} | {' | '.join(_cell(verdicts[label]) for label in labels)} |"
    for scaling in ("scaled", "unscaled"):
        counts = [sum(one[label][scaling].verdict != "F" for one in found.values()) for label in labels]
        words = "standardised" if scaling == "scaled" else "as they are"
        yield f"| **passed of {len(found)}** | {words} | {' | '.join(map(str, counts))} |"


def _singly(cells: Mapping[str, Any], kind: Kind) -> Iterator[str]:
    """How many verdicts each repeat alone would pass, from the fewest to the most."""
    singles = [table(one, kind) for one in single_repeats(cells)]
    labels = next(iter(singles[0].values()))
    counts = [
        sorted(sum(row[label]["scaled"].verdict != "F" for row in one.values()) for one in singles) for label in labels
    ]
    shown = (" to ".join(str(count) for count in dict.fromkeys([found[0], found[-1]])) for found in counts)
    yield f"| | standardised, one repeat alone | {' | '.join(shown)} |"


def _cell(found: Mapping[str, Found]) -> str:
    marks = [f"{one.verdict}{'' if one.is_steady else '*'}" for one in (found["scaled"], found["unscaled"])]
    return marks[0] if found["scaled"].verdict == found["unscaled"].verdict else " / ".join(marks)


def _rules(tables: Mapping[Kind, Table]) -> Iterator[str]:
    yield "| | rule | passes what no single score passes | fails what a score that it uses passes |"
    yield "|---|---|---|---|"
    for kind in KINDS:
        columns = [column for column in COLUMNS if column.kind == kind]
        singles = [column.label for column in columns if not column.is_rule]
        for rule in (column for column in columns if column.is_rule):
            used = [metric.replace("-", " ") for metric in rule.metrics]
            won, lost = [], []
            for row, verdicts in tables[kind].items():
                passed = {label: one["scaled"].verdict != "F" for label, one in verdicts.items()}
                if passed[rule.label] and not any(passed[label] for label in singles):
                    won.append(f"`{row.check}` ({row.desideratum})")
                if not passed[rule.label] and any(passed[label] for label in used):
                    lost.append(f"`{row.check}` ({row.desideratum})")
            yield f"| {kind} | {rule.label} | {', '.join(won) or 'nothing'} | {', '.join(lost) or 'nothing'} |"
    yield ""


def _control(cells: Mapping[str, Any]) -> Iterator[str]:
    yield f"| check | points | {' | '.join(CONTROLLED)} |"
    yield "|---|---" + "|---" * len(CONTROLLED) + "|"
    for name, check in CHECKS.items():
        found = [one["prdc"] for panel in check.panels for one in repeats_of(cells, name, panel) if "prdc" in one]
        points = sum(one["points"] for one in found)
        shown = []
        for metric in CONTROLLED:
            differ, most = sum(one["differ"][metric] for one in found), max(one["most"][metric] for one in found)
            shown.append(f"{differ} differ, by at most {most:.3g}" if differ else "equal")
        yield f"| `{name}` | {points} | {' | '.join(shown)} |"
    yield ""


def _kernels(kernels: Mapping[str, Any]) -> Iterator[str]:
    yield "| check | | MMD squared | p-value |"
    yield "|---|---|---|---|"
    for name, check in CHECKS.items():
        for panel in check.panels:
            found = kernels[f"{name}/{panel}"]
            shown = (" ".join("-" if one is None else f"{one:.3f}" for one in found[metric]) for metric in METRICS)
            yield f"| `{name}` | {panel} | {' | '.join(shown)} |"
    yield ""


def _values(cells: Mapping[str, Any]) -> Iterator[str]:
    singles = [column for column in COLUMNS if not column.is_rule]
    yield f"| check | | {' | '.join(column.label for column in singles)} |"
    yield "|---|---" + "|---" * len(singles) + "|"
    for name, check in CHECKS.items():
        for panel in check.panels:
            repeats, shown = repeats_of(cells, name, panel), []
            for column in singles:
                x, y = curve(repeats, "scaled", column)
                shown.append(" ".join(f"{y[i]:.2f}" for i in three_points(check, x)))
            yield f"| `{name}` | {panel} | {' | '.join(shown)} |"
