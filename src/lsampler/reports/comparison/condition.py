"""What the report says of a condition: a line of pictures for each row, what was found, and which labels moved."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lsampler.reports.comparison.run import Comparison
from lsampler.scoring.headline import short, short_range
from lsampler.scoring.plot_data import top_line
from lsampler.scoring.row_cache import JPEG, Row
from lsampler.scoring.score_tables import metrics
from lsampler.scoring.scores import Score

MOVED = "moved/"
MOST_MOVED = 8
WAYS = {
    "condition-found": "found on {} of {:,} vectors",
    "condition-found-decoded": "on {} of {:,} after they were decoded and encoded again",
    "condition-found-judge": "by the judge on {} of {:,} decoded ones",
}
"""The shares that say whether samples have what was asked for, and how a sentence puts them."""


@dataclass(frozen=True)
class Line:
    """The first items of a row beside those of the others.

    Attributes:
        row: of the comparison.
        picture: a line of images, JPEG in base64; empty if there are none.
        text: what probes found, in words; empty without such a score.
    """

    row: Row
    picture: str
    text: str


@dataclass(frozen=True)
class Section:
    """The section on the condition.

    Attributes:
        asked: the condition in words.
        marks: sentences on real vectors.
        lines: of the rows that have pictures, or in which something was found.
        moved: the labels that were not asked for and moved farthest, as the columns of a table.
        rows: of that table.
    """

    asked: str
    marks: Sequence[str]
    lines: Sequence[Line]
    moved: Sequence[Score]
    rows: Sequence[Row]


def section_of(comparison: Comparison, rows: Sequence[Row]) -> Section | None:
    """The section on the condition of a comparison, whose rows are in the order of the page; None without one."""
    asked = comparison.provenance.get("condition", "")
    if not asked:
        return None
    lines = [Line(row, _picture(row), _found(row)) for row in rows if row.kind != "train" and row.scores]
    moved = _most_moved(rows)
    having = [row for row in rows if any(score.metric in row.by_metric for score in moved)]
    return Section(asked, marks_of(comparison), [line for line in lines if line.picture or line.text], moved, having)


def marks_of(comparison: Comparison) -> list[str]:
    """The caveats that are about the condition itself."""
    asked = comparison.provenance.get("condition", "")
    return [line for line in comparison.caveats if asked and asked in line]


def _picture(row: Row) -> str:
    if row.picture is None or not row.picture.startswith(JPEG):
        return ""
    return base64.b64encode(top_line(row.picture)).decode("ascii")


def _found(row: Row) -> str:
    known = {words: row.by_metric[metric] for metric, words in WAYS.items() if metric in row.by_metric}
    return ", ".join(words.format(f"{short(score)} ({short_range(score)})", score.n) for words, score in known.items())


def _most_moved(rows: Sequence[Row]) -> list[Any]:
    """The labels that moved farthest in any row of a strategy."""
    drawn = [row for row in rows if row.kind == "drawn"]
    far = {
        score.metric: max(abs(row.by_metric[score.metric].value) for row in drawn if score.metric in row.by_metric)
        for score in metrics(drawn)
        if score.metric.startswith(MOVED)
    }
    chosen = sorted(far, key=lambda metric: -far[metric])[:MOST_MOVED]
    known = {score.metric: score for score in metrics(drawn)}
    return [known[metric] for metric in chosen]
