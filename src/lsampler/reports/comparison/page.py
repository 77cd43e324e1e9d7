"""The report of a comparison: one page that opens offline, JSON, CSV, and Markdown to paste."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsampler.files import new_file
from lsampler.plots import house_style, save_figure
from lsampler.reports.comparison.plots import draw_nearest, draw_planes, draw_radii, draw_trade_off
from lsampler.reports.comparison.run import Comparison
from lsampler.reports.comparison.verdict import best_rows
from lsampler.reports.pages import as_csv, inline_svg, markdown, plain, render
from lsampler.scoring.row_cache import Row
from lsampler.scoring.scores import Score

MOST_PLANES = 12
SUMMARY_METRICS = (
    "precision",
    "recall",
    "clipped-density",
    "clipped-coverage",
    "strong-auc",
    "classifier-auc",
    "likelihood-ratio-auc",
    "log-likelihood-gain",
    "frechet",
    "radius-ratio",
    "novelty-ratio",
    "near-copies",
    "faces",
)
TRADE_OFF = (
    "Fidelity and diversity",
    "Each strategy's precision over its recall, with 95 % intervals. Curves are sweeps, with the first and last value "
    "of the parameter. The star is real data against other real data: no sampler can be expected above and to the "
    "right of it. Samples far to the upper left are clean and alike.",
)
PLANES = (
    "Leading PCA planes",
    "Samples (red) over real vectors (blue), 300 each, in units of sigma along the principal components. Circles are "
    "the confidence ellipses of 1, 2 and 3 sigma.{few}",
)
RADIUS = (
    "Radius",
    "Distance from the centre over all components at once: 5 to 95 % (thin), 25 to 75 % (thick), and the median. The "
    "shaded region is where real vectors are; bars to its left are shrunk to the centre.",
)
NOVELTY = (
    "Novelty",
    "Distance to the nearest train vector, drawn in the same way. Bars far to the left of the real vectors' are "
    "copies, or lie in the crowded centre.",
)
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "real": "best near real"}


def write(out: Path, comparison: Comparison) -> None:
    """Write all files of the report."""
    contents = {
        "scores.json": json.dumps(plain(comparison.as_dict()), indent=1, allow_nan=False),
        "scores.csv": scores_csv(comparison),
        "summary.md": summary(comparison),
        "index.html": page(comparison),
    }
    for name, text in contents.items():
        with new_file(out / name, force=True) as beside:
            # The name of a store may hold bytes that are not text.
            beside.write_text(text, encoding="utf-8", errors="replace")


def metrics(rows: Sequence[Row]) -> list[Score]:
    """One score of each metric, which tells its label, group and meaning, in the order of the evaluators."""
    found: dict[str, Score] = {}
    for row in rows:
        for metric, score in row.by_metric.items():
            found.setdefault(metric, score)
    groups = list(dict.fromkeys(score.group for score in found.values()))
    return sorted(found.values(), key=lambda score: groups.index(score.group))


def scores_csv(comparison: Comparison) -> str:
    """One line for every row and metric."""
    lines = [
        [row.name, row.kind, row.n, s.metric, s.value, s.low, s.high, s.interval, s.better, s.n]
        for row in comparison.rows
        for s in row.by_metric.values()
    ]
    heads = ["row", "kind", "vectors", "metric", "value", "low", "high", "interval", "better", "n"]
    return as_csv(heads, lines)


def summary(comparison: Comparison) -> str:
    """Verdict and the main scores as Markdown."""
    rows = comparison.rows
    shown = [score for score in metrics(rows) if score.metric in SUMMARY_METRICS]
    best = {score.metric: best_rows(rows, score.metric) for score in shown}
    lines = [f"# Comparison of strategies on {markdown(comparison.reference)}", ""]
    lines += [f"- {markdown(sentence)}" for sentence in comparison.verdict.sentences]
    heads = ["samples", *(markdown(f"{score.label} ({score.better})") for score in shown)]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        name = markdown(row.name)
        texts = [f"*{name}*" if row.kind != "drawn" else name]
        for score in shown:
            own = row.by_metric.get(score.metric)
            text = f"{own.text} ({own.range_text})" if own else "-"
            texts.append(f"**{text}**" if row.name in best[score.metric] else text)
        lines.append("| " + " | ".join(texts) + " |")
    lines += ["", "Bold: best, or within the uncertainty of the best; 95 % intervals in brackets."]
    lines += [f"- {markdown(f'{row.name}: {problem}')}" for row in rows for problem in row.problems]
    return "\n".join(lines) + "\n"


def page(comparison: Comparison) -> str:
    """The page."""
    rows = comparison.rows
    columns = metrics(rows)
    with house_style():
        drawings = figures(rows)
    pictures = [(row, base64.b64encode(row.picture).decode("ascii")) for row in rows if row.picture]
    sections = ["Scores", *(["Pictures"] if pictures else []), "Plots", "Glossary", "Provenance"]
    return render(
        "lsampler.reports.comparison",
        comparison=comparison,
        rows=rows,
        columns=columns,
        groups=Counter(score.group for score in columns),
        best={score.metric: best_rows(rows, score.metric) for score in columns},
        directions=DIRECTIONS,
        figures=drawings,
        pictures=pictures,
        sections=sections,
    )


def figures(rows: Sequence[Row]) -> list[tuple[str, str, Any]]:
    """(title, caption, drawing) of every plot that there is something to draw for."""
    real = [row for row in rows if row.kind != "drawn"]
    drawn = [row for row in rows if row.kind == "drawn" and row.plots]
    shown = _spread(drawn)
    few = f" {len(shown)} of {len(drawn)} rows are shown." if len(shown) < len(drawn) else ""
    found = []
    if any({"precision", "recall"} <= set(row.by_metric) for row in rows):
        found.append((*TRADE_OFF, draw_trade_off(rows)))
    if any(row.plots and row.plots.points for row in drawn):
        found.append((*PLANES, draw_planes([*real, *shown])))
    if drawn:
        found.append((*RADIUS, draw_radii(rows)))
    if any(row.plots and row.plots.nearest for row in drawn):
        found.append((*NOVELTY, draw_nearest(rows)))
    return [(title, caption.replace("{few}", few), svg(figure, title)) for title, caption, figure in found]


def _spread(drawn: Sequence[Row]) -> list[Row]:
    """At most twelve rows: those outside sweeps first, then evenly from the sweeps."""
    fixed = [row for row in drawn if not (row.entry and row.entry.curve)][:MOST_PLANES]
    varied = [row for row in drawn if row.entry and row.entry.curve]
    room = min(MOST_PLANES - len(fixed), len(varied))
    return [*fixed, *(varied[index * len(varied) // room] for index in range(room))]


def svg(figure: Any, title: str) -> Any:
    """A figure as SVG for the page."""
    text = io.StringIO()
    save_figure(figure, text)
    return inline_svg(text.getvalue(), title.lower().replace(" ", "-"))
