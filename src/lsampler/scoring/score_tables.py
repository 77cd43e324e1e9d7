"""Rows of scores as tables: as HTML for a notebook, and as the columns of a DataFrame."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup
from PIL import Image

from lsampler.scoring.headline import headline, in_order, short, short_range
from lsampler.scoring.row_cache import JPEG, Row
from lsampler.scoring.scores import DIRECTIONS, Score
from lsampler.scoring.verdict import CLOSEST, Verdict, best_rows
from lsampler.showing import cautions, cell, counted, fold, frame, if_possible, paragraph, picture, table

MOST_PICTURES = 12
PICTURE_WIDTH, PICTURE_QUALITY, DRAWING_WIDTH = 300, 75, 420
PAIRED = ("image", "signal")
"""Kinds of items whose pictures show the nearest real one beneath each sample."""
PAIRS = "Samples, decoded, and beneath each its nearest real vector, decoded."
DENSITIES = "The density of each feature: of the samples (red) over that of real vectors, decoded (grey)."


def metrics(rows: Sequence[Row]) -> list[Score]:
    """One score of each metric, which tells its label, group and meaning, in the order of the evaluators."""
    found: dict[str, Score] = {}
    for row in rows:
        for metric, score in row.by_metric.items():
            found.setdefault(metric, score)
    groups = list(dict.fromkeys(score.group for score in found.values()))
    return sorted(found.values(), key=lambda score: groups.index(score.group))


def by_group(columns: Sequence[Score]) -> dict[str, list[Score]]:
    """The scores by the titles of their tables."""
    found: dict[str, list[Score]] = {}
    for score in columns:
        found.setdefault(score.group, []).append(score)
    return found


def facts_of(rows: Sequence[Row]) -> list[str]:
    """What a table of scores holds, in a few words."""
    drawn = sum(row.kind == "drawn" for row in rows)
    sets = counted(drawn, "set of samples", "sets of samples")
    return [sets, f"{counted(len(rows) - drawn, 'row')} of real vectors", counted(len(metrics(rows)), "score")]


def scores_html(rows: Sequence[Row], verdict: Verdict, caveats: Sequence[str]) -> Iterator[Markup]:
    """The verdict, caveats, the headline's scores, and all scores, folded."""
    shown = in_order(rows, verdict)
    yield from (paragraph(sentence) for sentence in verdict.sentences)
    yield from cautions(caveats)
    columns = headline(rows)
    if columns:
        heads = [_head(each.question, f"{each.measures}, {each.direction}", each.score) for each in columns]
        scores = [each.score for each in columns]
        yield _table(shown, verdict, heads, scores, brief=True)
    yield from cautions(f"{row.name}: {problem}" for row in shown for problem in row.problems)
    every = metrics(rows)
    tables = [
        part
        for group, members in by_group(every).items()
        for part in (paragraph(group), _table(shown, verdict, list(map(_named, members)), members))
    ]
    if every:
        yield fold(f"All {len(every)} scores", *tables)


def _head(text: str, below: str, score: Score) -> Markup:
    return cell(text, tag="th", below=below, hint=score.about)


def _named(score: Score) -> Markup:
    return _head(score.label.replace("\n", " "), DIRECTIONS[score.better], score)


def _table(
    rows: Sequence[Row], verdict: Verdict, heads: Sequence[Markup], scores: Sequence[Score], *, brief: bool = False
) -> Markup:
    """A row for each set of samples, those of real data shaded, the best scores marked."""
    best = {score.metric: best_rows(rows, score.metric, verdict) for score in scores}
    lines = []
    for row in rows:
        line = [cell(row.name, css="text", below=verdict.roles.get(row.name, "") if brief else "")]
        for column in scores:
            own = row.by_metric.get(column.metric)
            text, reach = _texts(own, brief=brief)
            line.append(cell(text, css="best" if row.name in best[column.metric] else "", below=reach))
        lines.append(line)
    return table(["samples", *heads], lines, lambda index: rows[index].kind != "drawn")


def _texts(score: Score | None, *, brief: bool) -> tuple[str, str]:
    if score is None:
        return "-", ""
    reach = (short_range(score) if brief else score.range_text) if score.interval else ""
    return short(score) if brief else score.text, ", ".join(filter(None, (reach, score.note)))


def pictures_html(rows: Sequence[Row], verdict: Verdict, kind: str) -> Iterator[Markup]:
    """The first samples of each row, small; ``kind`` is that of the items."""
    having = [row for row in in_order(rows, verdict) if row.picture]
    for row in having[:MOST_PICTURES]:
        yield from if_possible(lambda row=row: _picture(row))  # type: ignore[misc]
    if len(having) > MOST_PICTURES:
        yield paragraph(f"{MOST_PICTURES} of {len(having)} rows are pictured.", "dim")
    if having:
        yield paragraph(PAIRS if kind in PAIRED else DENSITIES, "dim")


def _picture(row: Row) -> Markup:
    data = row.picture or b""
    if data.startswith(JPEG):
        return picture(_small(data), row.name)
    return picture(data, row.name, kind="svg+xml", width=DRAWING_WIDTH)


def _small(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        image.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH * 4))
        out = io.BytesIO()
        image.save(out, format="JPEG", quality=PICTURE_QUALITY)
    return out.getvalue()


def scores_frame(rows: Sequence[Row], user: str, *, wide: bool, more: Mapping[str, Mapping[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` with a line for every row and score or, ``wide``, a line for every row.

    Args:
        rows: the table of scores.
        user: the class whose method it is, for messages.
        wide: whether metrics are columns, which hold the values.
        more: further columns, each with its entries by the names of rows; rows that are not named get None.
    """
    if wide:
        own = {
            "row": [row.name for row in rows],
            "kind": [row.kind for row in rows],
            "vectors": [row.n for row in rows],
        }
        added = {head: [entries.get(row.name) for row in rows] for head, entries in more.items()}
        names = [score.metric for score in metrics(rows)]
        known = {name: [row.by_metric[name].value if name in row.by_metric else None for row in rows] for name in names}
        return frame(own | added | known, user).set_index("row").astype(dict.fromkeys(names, float))
    lines = [(row, score) for row in rows for score in row.by_metric.values()]
    columns: dict[str, list[Any]] = {
        "row": [row.name for row, _ in lines],
        "kind": [row.kind for row, _ in lines],
        **{head: [entries.get(row.name) for row, _ in lines] for head, entries in more.items()},
    }
    for head in ("metric", "label", "group", "value", "low", "high", "n", "better", "unit", "interval"):
        columns[head] = [getattr(score, head) for _, score in lines]
    columns["label"] = [" ".join(label.split()) for label in columns["label"]]
    return frame(columns, user)


def without_ranking(verdict: Verdict) -> Verdict:
    """A verdict on a single set of samples, of which there is no best."""
    roles = {name: role for name, role in verdict.roles.items() if role != CLOSEST}
    return replace(verdict, sentences=verdict.sentences[1:], roles=roles)
