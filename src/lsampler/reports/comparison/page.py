"""The report of a comparison: one page that opens offline, JSON, CSV, and Markdown to paste."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsampler.files import new_file
from lsampler.plots import house_style, save_figure
from lsampler.reports.comparison.plots import draw_nearest, draw_planes, draw_radii, draw_trade_off
from lsampler.reports.comparison.run import Cell, Comparison
from lsampler.reports.comparison.verdict import best_rows
from lsampler.reports.pages import as_csv, inline_svg, plain, render
from lsampler.scoring.evaluator import Score

__all__ = ["write"]

MOST_PLANES = 12
SUMMARY_METRICS = (
    "precision",
    "recall",
    "clipped-density",
    "clipped-coverage",
    "classifier-auc",
    "log-likelihood-gain",
    "frechet",
    "radius-ratio",
    "novelty-ratio",
    "near-copies",
    "faces",
)
DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "real": "best near real",
}


def write(out: Path, comparison: Comparison, pictures: Mapping[str, Path]) -> None:
    """All files of the report."""
    contents = {
        "scores.json": json.dumps(plain(comparison.as_dict()), indent=1, allow_nan=False),
        "scores.csv": scores_csv(comparison),
        "summary.md": summary(comparison),
        "index.html": page(comparison, pictures),
    }
    for name, text in contents.items():
        with new_file(out / name, force=True) as beside:
            beside.write_text(text, encoding="utf-8")


def metrics(cells: Sequence[Cell]) -> list[Score]:
    """One score of each metric, in the order of the evaluators: its label, group, meaning."""
    found: dict[str, Score] = {}
    for cell in cells:
        for metric, score in cell.scores.items():
            found.setdefault(metric, score)
    groups = list(dict.fromkeys(score.group for score in found.values()))
    return sorted(found.values(), key=lambda score: groups.index(score.group))


def scores_csv(comparison: Comparison) -> str:
    """A line for every row and metric."""
    rows = [
        [cell.name, cell.kind, cell.n, s.metric, s.value, s.low, s.high, s.interval, s.better, s.n]
        for cell in comparison.cells
        for s in cell.scores.values()
    ]
    heads = ["row", "kind", "vectors", "metric", "value", "low", "high", "interval", "better", "n"]
    return as_csv(heads, rows)


def summary(comparison: Comparison) -> str:
    """Verdict and the main scores as Markdown."""
    cells = comparison.cells
    shown = [score for score in metrics(cells) if score.metric in SUMMARY_METRICS]
    best = {score.metric: best_rows(cells, score.metric) for score in shown}
    lines = [f"# Comparison of strategies on {comparison.reference}", ""]
    lines += [f"- {sentence}" for sentence in comparison.verdict.sentences]
    heads = ["samples", *(f"{score.label} ({score.better})".replace("\n", " ") for score in shown)]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for cell in cells:
        texts = [f"*{cell.name}*" if cell.kind != "drawn" else cell.name]
        for score in shown:
            own = cell.scores.get(score.metric)
            text = f"{own.text} ({own.range_text})" if own else "-"
            texts.append(f"**{text}**" if cell.name in best[score.metric] else text)
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |")
    lines += ["", "Bold: best, or within the uncertainty of the best; 95 % intervals in brackets."]
    lines += [f"- {cell.name}: {problem}" for cell in cells for problem in cell.problems]
    return "\n".join(lines) + "\n"


def page(comparison: Comparison, pictures: Mapping[str, Path]) -> str:
    """The page."""
    cells = comparison.cells
    columns = metrics(cells)
    best = {score.metric: best_rows(cells, score.metric) for score in columns}
    groups: dict[str, int] = {}
    for score in columns:
        groups[score.group] = groups.get(score.group, 0) + 1
    return render(
        "lsampler.reports.comparison",
        comparison=comparison,
        cells=cells,
        columns=columns,
        groups=groups,
        best=best,
        directions=DIRECTIONS,
        figures=figures(cells),
        pictures=[(cell, data_uri(pictures[cell.key])) for cell in cells if cell.key in pictures],
        sections=_sections(cells, pictures),
    )


def _sections(cells: Sequence[Cell], pictures: Mapping[str, Path]) -> list[tuple[str, str]]:
    every = [("scores", "Scores"), ("pictures", "Pictures"), ("plots", "Plots"), ("glossary", "Glossary")]
    every.append(("provenance", "Provenance"))
    return [entry for entry in every if entry[0] != "pictures" or pictures]


def figures(cells: Sequence[Cell]) -> list[tuple[str, str, Any]]:
    """(title, caption, drawing) of every plot that there is something to draw for."""
    drawn = [cell for cell in cells if cell.kind == "drawn" and cell.plots]
    result = []
    if any({"precision", "recall"} <= set(cell.scores) for cell in cells):
        result.append(
            (
                "Fidelity and diversity",
                "Each strategy's precision over its recall, with 95 % intervals; curves are sweeps, with the first and "
                "last value of the parameter. The star is real data against other real data: no sampler can be "
                "expected above and to the right of it. Far left and high: clean, alike.",
                drawing("trade-off", lambda: draw_trade_off(cells)),
            )
        )
    if any(cell.plots and cell.plots.points for cell in drawn):
        some = _spread(cells)
        result.append(
            (
                "Leading PCA planes",
                "Samples (red) over real vectors (blue), 300 each, in units of sigma along the principal components; "
                "circles are the confidence ellipses of 1, 2 and 3 sigma."
                + (f" {MOST_PLANES} of {len(drawn)} rows are shown." if len(some) < len(cells) else ""),
                drawing("planes", lambda: draw_planes(some)),
            )
        )
    if drawn:
        result.append(
            (
                "Radius",
                "Distance from the centre, all components at once: 5 to 95 % (thin), 25 to 75 % (thick), median. "
                "Shaded: where real vectors are. Bars left of it are shrunk to the centre.",
                drawing("radii", lambda: draw_radii(cells)),
            )
        )
    if any(cell.plots and cell.plots.nearest for cell in drawn):
        result.append(
            (
                "Novelty",
                "Distance to the nearest train vector, likewise. Bars far left of the real vectors' are copies, or lie "
                "in the crowded centre.",
                drawing("nearest", lambda: draw_nearest(cells)),
            )
        )
    return result


def _spread(cells: Sequence[Cell]) -> list[Cell]:
    """Real rows, and at most twelve drawn ones: those outside sweeps first, then evenly from the sweeps."""
    real = [cell for cell in cells if cell.kind != "drawn"]
    drawn = [cell for cell in cells if cell.kind == "drawn" and cell.plots]
    fixed = [cell for cell in drawn if not cell.curve]
    varied = [cell for cell in drawn if cell.curve]
    room = max(MOST_PLANES - len(fixed), 0)
    step = max(1, -(-len(varied) // room)) if room else len(varied) + 1
    return [*real, *fixed[:MOST_PLANES], *(varied[::step] if room else [])]


def drawing(name: str, draw: Callable[[], Any]) -> Any:
    """A figure as SVG for the page."""
    import tempfile

    with house_style(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.svg"
        save_figure(draw(), path)
        return inline_svg(path.read_text(encoding="utf-8"), name)


def data_uri(path: Path) -> str:
    """A picture inside the page."""
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
