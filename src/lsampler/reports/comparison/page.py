"""The report of a comparison: one page that opens offline, JSON, CSV, and Markdown to paste."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsampler.files import new_file
from lsampler.plots import house_style, save_figure
from lsampler.reports.comparison.condition import marks_of, section_of
from lsampler.reports.comparison.plots import Bars, draw_planes, draw_trade_off, nearest, radii
from lsampler.reports.comparison.run import FILES, Comparison
from lsampler.reports.pages import as_csv, inline_svg, markdown, plain, render, title_of
from lsampler.scoring.headline import headline, in_order, short, short_range
from lsampler.scoring.row_cache import JPEG, Row
from lsampler.scoring.score_tables import PAIRED, by_group, metrics
from lsampler.scoring.scores import DIRECTIONS
from lsampler.scoring.verdict import best_rows

MOST_PLANES = 15
TRADE_OFF = (
    "Each strategy's precision (the share of samples among real vectors) over its recall (the share of real vectors "
    "among samples), with 95 % intervals. Curves are sweeps, with the first and last value of the parameter. Stars are "
    "real data against other real data: no sampler can be expected above and to the right of them. Samples far to the "
    "upper left are clean and alike."
)
PLANES = (
    "Samples (red) over real vectors (blue), 300 each, in units of sigma along the principal components. Circles are "
    "the confidence ellipses of 1, 2 and 3 sigma."
)
RADIUS = (
    "Distance from the centre over all components at once: 5 to 95 % (thin), 25 to 75 % (thick), and the median. The "
    "shaded region is where real vectors are; bars to its left are shrunk to the centre."
)
NOVELTY = (
    "Distance to the nearest train vector, drawn in the same way. Bars far to the left of the real vectors' are "
    "copies, or lie in the crowded centre."
)
PAIRS = (
    "The first samples of each row, decoded, and beneath each of them its nearest real vector, decoded: a sample that "
    "equals the picture beneath it is a copy. Real vectors are reconstructions: the best that a decoder gives."
)
DENSITIES = (
    "The density of every feature: of the samples, decoded (red), over that of real vectors, decoded (grey). Real "
    "vectors are reconstructions: the best that a decoder gives. What lies beyond 0.5 and 99.5 % of them is left out."
)
LINES = (
    "The first samples of each strategy, decoded, beside held-out real vectors with it, decoded. What "
    "is found is what linear probes of the labels read, with 95 % intervals; they err on real vectors, too."
)
MOVEMENTS = (
    "The labels that were not asked for whose shares, as probes read them, moved farthest from those of real vectors, "
    "with 95 % intervals; numbers move in units of their spread. The held-out row says what chance makes of it."
)
PROVENANCE = (
    "command",
    "reference",
    "condition",
    "items",
    "lsampler",
    "torch",
    "numpy",
    "encoder fingerprint",
    "content digest",
    "seed",
)
"""What the table of the page shows first; the evaluators have a list of their own."""


def write(out: Path, comparison: Comparison) -> None:
    """Write all files of the report."""
    contents = (
        json.dumps(plain(comparison.as_dict()), indent=1, allow_nan=False),
        scores_csv(comparison),
        summary(comparison),
        page(comparison),
    )
    for name, text in zip(FILES, contents, strict=True):
        with new_file(out / name, force=True) as beside:
            # The name of a store may hold bytes that are not text.
            beside.write_text(text, encoding="utf-8", errors="replace")


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
    """Verdict and headline as Markdown."""
    verdict, columns = comparison.verdict, headline(comparison.rows)
    rows = in_order(comparison.rows, verdict)
    best = {column.metric: best_rows(rows, column.metric, verdict) for column in columns}
    lines = [f"# Comparison of strategies on {markdown(comparison.reference)}", ""]
    lines += [f"- {markdown(sentence)}" for sentence in verdict.sentences]
    heads = ["samples", *(markdown(f"{each.question}: {each.measures} ({each.direction})") for each in columns)]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        name = markdown(row.name)
        texts = [f"*{name}*" if row.kind != "drawn" else name]
        for column in columns:
            own = row.by_metric.get(column.metric)
            text = f"{short(own)} ({short_range(own)})" if own else "-"
            texts.append(f"**{text}**" if row.name in best[column.metric] else text)
        lines.append("| " + " | ".join(texts) + " |")
    lines += ["", "Bold: best, or within the uncertainty of the best; 95 % intervals in brackets."]
    lines += [f"- {markdown(f'{row.name}: {problem}')}" for row in rows for problem in row.problems]
    return "\n".join(lines) + "\n"


def page(comparison: Comparison) -> str:
    """The page."""
    rows, verdict = in_order(comparison.rows, comparison.verdict), comparison.verdict
    columns, paired = metrics(comparison.rows), comparison.provenance["kind of items"] in PAIRED
    pictures = [(row, base64.b64encode(row.picture or b"").decode("ascii")) for row in rows if _is_image(row)]
    figures = [
        (row, inline_svg((row.picture or b"").decode(), f"items-{index}"))
        for index, row in enumerate(rows)
        if row.picture and not _is_image(row)
    ]
    condition = section_of(comparison, rows)
    sections = [
        "Scores",
        *(["Condition"] if condition else []),
        *(["Pictures"] if pictures or figures else []),
        "Plots",
        "All scores",
        "Provenance",
    ]
    return render(
        "lsampler.reports.comparison",
        comparison=comparison,
        caveats=[line for line in comparison.caveats if line not in marks_of(comparison)],
        condition=condition,
        title=title_of(comparison.reference),
        facts=_facts(comparison),
        rows=rows,
        headline=headline(comparison.rows),
        groups=by_group(columns),
        best={score.metric: best_rows(rows, score.metric, verdict) for score in columns},
        directions=DIRECTIONS,
        short=short,
        short_range=short_range,
        pictures=pictures,
        figures=figures,
        provenance=_provenance(comparison),
        seeds={row["name"]: row["seed"] for row in comparison.as_dict()["rows"]},
        sections=sections,
        captions={
            "pictures": PAIRS if paired else DENSITIES,
            "lines": LINES,
            "moved": MOVEMENTS,
            "trade-off": TRADE_OFF,
            "planes": PLANES,
            "radius": RADIUS,
            "novelty": NOVELTY,
        },
        **_plots(rows),
    )


def _is_image(row: Row) -> bool:
    return row.picture is not None and row.picture.startswith(JPEG)


def _facts(comparison: Comparison) -> str:
    """What was compared with what, in one line."""
    known = comparison.provenance
    count = sum(row.kind == "drawn" for row in comparison.rows)
    rows = f"{count} {'row' if count == 1 else 'rows'} of {known['vectors per strategy']:,} samples"
    held_out = known["held-out vectors"]
    real = f"{known['train vectors']:,} train" + ("" if held_out is None else f" and {held_out:,} held-out")
    return f"{rows}, beside {real} vectors, D = {known['dimension']}"


def _provenance(comparison: Comparison) -> list[tuple[str, Any]]:
    known = comparison.provenance
    return [(name, known[name]) for name in PROVENANCE if known.get(name) not in (None, "")]


def _plots(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that there is something to draw for."""
    real = next((row for row in rows if row.kind != "drawn" and row.plots), None)
    drawn = [row for row in rows if row.kind == "drawn" and row.plots]
    planar = [row for row in drawn if row.plots and row.plots.points]
    trade_off: list[Any] = []
    with house_style():
        if any({"precision", "recall"} <= set(row.by_metric) for row in rows):
            trade_off = [svg(draw_trade_off(rows, narrow=narrow), f"trade-off-{narrow}") for narrow in (False, True)]
        shown = _spread(planar)
        planes = [(row.name, svg(draw_planes(row, real), f"planes-{index}")) for index, row in enumerate(shown)]
    bars: dict[str, Bars] = {"radius": radii(rows), "novelty": nearest(rows)} if drawn else {}
    return {
        "trade_off": trade_off,
        "planes": planes,
        "few_planes": len(shown) < len(planar) and f"{len(shown)} of {len(planar)} rows are shown.",
        "bars": {name: found for name, found in bars.items() if found.bars},
    }


def _spread(drawn: Sequence[Row]) -> list[Row]:
    """At most fifteen rows: those outside sweeps first, then evenly from the sweeps."""
    fixed = [row for row in drawn if not (row.entry and row.entry.curve)][:MOST_PLANES]
    varied = [row for row in drawn if row.entry and row.entry.curve]
    room = min(MOST_PLANES - len(fixed), len(varied))
    return [*fixed, *(varied[index * len(varied) // room] for index in range(room))]


def svg(figure: Any, prefix: str) -> Any:
    """A figure as SVG for the page."""
    text = io.StringIO()
    save_figure(figure, text)
    return inline_svg(text.getvalue(), prefix)
