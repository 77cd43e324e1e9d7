"""An analysis in a notebook: its findings, its figures as far as they are small, and its tables as DataFrames."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

from markupsafe import Markup

from lsampler.errors import LsamplerError, nearest_name
from lsampler.plots import house_style, save_figure
from lsampler.reports.analysis.findings import Finding
from lsampler.reports.analysis.report import Record
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.analysis.statements import Judgement
from lsampler.reports.pages import inline_svg
from lsampler.showing import cautions, cell, figure, fold, frame, if_possible, paragraph, picture, table

TableName = Literal["statements", "findings", "measured"]
LARGEST_DRAWING, LARGEST_PICTURE = 60_000, 150_000
"""Bytes; a figure whose drawing is larger is shown as a picture, and not at all where that is larger too."""
PICTURE_DPI, PICTURE_WIDTH = 80, 720


@dataclass(frozen=True)
class ShownFigure:
    """A figure of an analysis.

    Attributes:
        section: the title of its section.
        name: as in the report.
        caption: what it shows.
        draw: makes it: a matplotlib figure, or the path of one that an earlier run has drawn as SVG.
    """

    section: str
    name: str
    caption: str
    draw: Callable[[], Any]

    def html(self) -> Markup | None:
        """The figure, as a drawing or as a picture; None if it would be too large."""
        with house_style():
            drawn = self.draw()
            if isinstance(drawn, Path):
                text = drawn.read_text(encoding="utf-8")
            else:
                buffer = io.StringIO()
                save_figure(drawn, buffer)
                text = buffer.getvalue()
            if len(text) <= LARGEST_DRAWING:
                # Names of equal drawings are equal: a notebook shows several analyses on one page.
                prefix = "f" + blake2b(text.encode(), digest_size=6).hexdigest()
                return figure(inline_svg(text, prefix), self.caption, "drawing")
            if isinstance(drawn, Path):
                return None
            pixels = io.BytesIO()
            drawn.savefig(pixels, format="png", dpi=PICTURE_DPI)
        data = pixels.getvalue()
        return picture(data, self.caption, kind="png", width=PICTURE_WIDTH) if len(data) <= LARGEST_PICTURE else None


def new_figures(section: Section, result: Result) -> list[ShownFigure]:
    """The figures of a section that was run."""
    return [ShownFigure(section.title, each.name, each.caption, each.draw) for each in result.figures]


def kept_figures(section: Section, record: Record | None, report: Path) -> list[ShownFigure]:
    """The figures of a section that an earlier run has written into a report."""
    found = []
    for each in record["figures"] if record else ():
        path = partial(Path, (report / section.key / f"{each['name']}.svg").absolute())
        found.append(ShownFigure(section.title, each["name"], each["caption"], path))
    return found


def analysis_html(
    findings: Sequence[Finding],
    suggestions: Sequence[str],
    judgements: Sequence[Judgement],
    problems: Mapping[str, str],
    figures: Sequence[ShownFigure],
) -> Iterator[Markup]:
    """Findings and suggestions, and, folded, a figure of each section and the posts' statements."""
    said = [(cell(each.key, css="text"), cell(each.text, css="text", below=each.meaning)) for each in findings]
    if said:
        yield table(["finding", "measured, and what it means"], said)
    yield from map(paragraph, suggestions)
    yield from cautions(f"{section}: {problem}" for section, problem in problems.items())
    first = {each.section: each for each in reversed(figures)}
    shown = [part for title in reversed(first) for part in if_possible(first[title].html)]
    if shown:
        more = (
            f"The first of each section, {len(shown)} of {len(figures)}; analyze(..., out=...) writes a page with all."
        )
        yield fold("Figures", paragraph(more, "dim"), *shown)
    rows = [
        (cell(each.statement, css="text", below=each.why), each.post, each.theirs, each.here or "-", each.status)
        for each in judgements
    ]
    if rows:
        yield fold("What the posts say", table(["statement", "post", "the post's value", "here", "judgement"], rows))


def table_of(
    name: TableName,
    findings: Sequence[Finding],
    judgements: Sequence[Judgement],
    measured: Mapping[str, Mapping[str, Any]],
) -> Any:
    """A table of an analysis as a DataFrame. Raises LsamplerError where there is none of this name."""
    if name not in get_args(TableName):
        raise LsamplerError(f"`table={name}` is unknown{nearest_name(str(name), get_args(TableName))}")
    if name == "measured":
        lines = [(section, *line) for section, values in measured.items() for line in _numbers("", values)]
        heads = ("section", "name", "index", "value")
        return frame({head: [line[k] for line in lines] for k, head in enumerate(heads)}, "Analysis")
    records = [asdict(each) for each in (judgements if name == "statements" else findings)]
    kind: type[Any] = Judgement if name == "statements" else Finding
    heads = tuple(kind.__dataclass_fields__)
    return frame({head: [record[head] for record in records] for head in heads}, "Analysis")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, int | None, Any]]:
    """Every number, with its dotted name, and with its index if it is in a list."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, Mapping | list):
                yield from _numbers(f"{name}.{index}", inner)
            else:
                yield name, index, inner
    else:
        yield name, None, value
