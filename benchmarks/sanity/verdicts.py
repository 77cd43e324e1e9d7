"""Verdicts from recorded scores, for single scores and for rules that join several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.sanity.checks import CHECKS, Desideratum
from benchmarks.sanity.criteria import Curve, Kind, Verdict, together
from benchmarks.sanity.kept import repeats_of
from benchmarks.sanity.scoring import METRICS, SCALINGS

TINY = 1e-9
"""Against a division by 0 where not even other real vectors score."""


@dataclass(frozen=True)
class Column:
    """A score, or a rule: one relative to real vectors, or the smallest of several.

    Attributes:
        label: heads the column.
        kind: what it claims to measure.
        metrics: the scores that it uses.
        relative: those of them that are divided by what other real vectors reach; at most 1.
    """

    label: str
    kind: Kind
    metrics: tuple[str, ...]
    relative: tuple[str, ...] = ()

    @property
    def is_rule(self) -> bool:
        """Whether it is more than a score of the evaluator."""
        return len(self.metrics) > 1 or bool(self.relative)

    def values(self, one: Mapping[str, Any], scaling: str) -> Curve:
        """Its curve in one repeat."""
        return np.array(np.min([self._of(metric, one, scaling) for metric in self.metrics], axis=0))

    def _of(self, metric: str, one: Mapping[str, Any], scaling: str) -> Curve:
        found = np.array(one[scaling][metric])
        if metric not in self.relative:
            return found
        share: Curve = found / np.maximum(one[f"real {scaling}"][metric], TINY)
        return np.clip(share, 0, 1)


def _rules(kind: Kind, plain: str, symmetric: str, clipped: str) -> list[Column]:
    return [
        Column("R1", kind, (symmetric, clipped)),
        Column("R2", kind, (plain, clipped)),
        Column("R3", kind, (symmetric,), (symmetric,)),
        Column("R4", kind, (plain,), (plain,)),
        Column("R5", kind, (symmetric, clipped), (symmetric,)),
        Column("R6", kind, (plain, clipped), (plain,)),
    ]


COLUMNS = [
    *(Column(metric.replace("-", " "), kind, (metric,)) for metric, kind in METRICS.items()),
    *_rules("fidelity", "precision", "symmetric-precision", "clipped-density"),
    *_rules("diversity", "recall", "symmetric-recall", "clipped-coverage"),
]
"""All columns; those of fidelity and of diversity make a table each."""


class Row(NamedTuple):
    """A row of the table of verdicts."""

    check: str
    desideratum: Desideratum


def rows() -> list[Row]:
    """The rows, check by check."""
    found = [Row(name, demand.desideratum) for name, check in CHECKS.items() for demand in check.demands]
    return list(dict.fromkeys(found))


class Found(NamedTuple):
    """A verdict, and whether each single repeat would give it, too."""

    verdict: Verdict
    is_steady: bool


def curve(repeats: Sequence[Mapping[str, Any]], scaling: str, column: Column) -> tuple[Curve, Curve]:
    """Positions, and the column's mean over the repeats at each."""
    return np.array(repeats[0]["x"]), np.mean([column.values(one, scaling) for one in repeats], axis=0)


def verdict(cells: Mapping[str, Any], row: Row, column: Column, scaling: str) -> Found:
    """Whether the column passes all demands of a row in all panels."""
    panels = {panel: repeats_of(cells, row.check, panel) for panel in CHECKS[row.check].panels}

    def of(chosen: Mapping[str, Sequence[Any]]) -> Verdict:
        return together(_judged(row, column, scaling, chosen))

    mean = of(panels)
    count = min(len(repeats) for repeats in panels.values())
    single = (of({panel: repeats[i : i + 1] for panel, repeats in panels.items()}) for i in range(count))
    return Found(mean, all(one == mean for one in single))


def _judged(row: Row, column: Column, scaling: str, panels: Mapping[str, Sequence[Any]]) -> Iterator[Verdict]:
    for panel, repeats in panels.items():
        x, y = curve(repeats, scaling, column)
        for demand in CHECKS[row.check].demands:
            if demand.desideratum == row.desideratum and demand.concerns(column.kind, panel):
                yield demand.criterion.judge(x, y)


def table(cells: Mapping[str, Any], kind: Kind) -> dict[Row, dict[str, dict[str, Found]]]:
    """Row -> column -> scaling -> what was found, for the scores of one kind."""
    columns = [column for column in COLUMNS if column.kind == kind]
    return {
        row: {
            column.label: {scaling: verdict(cells, row, column, scaling) for scaling in SCALINGS} for column in columns
        }
        for row in rows()
    }
