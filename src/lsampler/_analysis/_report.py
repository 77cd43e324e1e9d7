"""The report on disk: a folder per finished section, one JSON file, one page."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lsampler._analysis._section import Result, Section
from lsampler._errors import LsamplerError
from lsampler._files import disk_errors, new_directory, new_file
from lsampler._plots import BLUE, INK, PAPER, house_style, save_figure
from lsampler._version import __version__

__all__ = ["Report", "Written", "plain"]

RECORD = "section.json"
SUMMARY = "analysis.json"
PAGE = "index.html"


@dataclass(frozen=True)
class Written:
    """A finished section as its folder records it."""

    section: Section
    key: str
    measured: Mapping[str, Any]
    problem: str | None = None
    findings: Sequence[str] = ()
    missing: Sequence[str] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[Mapping[str, str]] = field(default_factory=list)


class Report:
    """A folder of a report, new or to be completed.

    Raises:
        LsamplerError: the folder holds something else, or cannot be made.
    """

    def __init__(self, path: Path, reference: str) -> None:
        self.path, self.reference = path, reference
        if path.exists() and not path.is_dir():
            raise LsamplerError(f"{path}: is a file; choose another name for the report's folder")
        if path.is_dir() and any(path.iterdir()) and not self._ours():
            raise LsamplerError(f"{path}: holds something other than a report; choose an empty or a new folder")
        if not path.absolute().parent.is_dir():
            raise LsamplerError(f"{path}: the folder {path.absolute().parent} does not exist; create it first")
        with disk_errors(path):
            path.mkdir(exist_ok=True)

    def _ours(self) -> bool:
        try:
            return "lsampler" in json.loads((self.path / SUMMARY).read_text())
        except (OSError, ValueError):
            return any(self.path.glob(f"*/{RECORD}"))

    def finished(self, section: Section, key: str) -> Written | None:
        """A section that an earlier run finished with the same latents and options; else None."""
        folder = self.path / section.key
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            written = Written(
                section,
                **{part: record[part] for part in ("key", "measured", "problem", "findings", "missing")},
                **{part: record[part] for part in ("tables", "figures")},
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        files = [f"{figure['name']}.svg" for figure in written.figures]
        files += [f"{table['name']}.csv" for table in written.tables]
        whole = all((folder / file).is_file() for file in files)
        # A problem may be gone by now: a missing package is installed, say.
        return written if written.key == key and whole and not written.problem else None

    def keep(self, section: Section, key: str, result: Result, problem: str | None) -> Written:
        """Write a section's figures, tables and record: its folder appears whole, or not at all."""
        written = Written(
            section,
            key,
            plain(result.measured),
            problem,
            result.findings,
            result.missing,
            [
                {
                    "name": table.name,
                    "title": table.title,
                    "columns": list(table.columns),
                    "rows": [[shown(cell) for cell in row] for row in table.rows[: table.shown]],
                    "count": len(table.rows),
                }
                for table in result.tables
            ],
            [{"name": figure.name, "caption": figure.caption} for figure in result.figures],
        )
        with new_directory(self.path / section.key, force=True) as folder, house_style():
            for figure in result.figures:
                save_figure(figure.draw(), folder / f"{figure.name}.svg")
            for table in result.tables:
                (folder / f"{table.name}.csv").write_text(as_csv(table.columns, table.rows), encoding="utf-8")
            record = {name: value for name, value in vars(written).items() if name != "section"}
            (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        return written

    def write(self, summary: Mapping[str, Any], sections: Sequence[Written]) -> None:
        """``analysis.json``, the table of verdicts, and the page, from the finished sections."""
        with new_file(self.path / SUMMARY, force=True) as beside:
            beside.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
        verdicts = summary["verdicts"]
        with new_file(self.path / "verdicts.csv", force=True) as beside:
            heads = list(verdicts[0])
            beside.write_text(as_csv(heads, [[row[head] for head in heads] for row in verdicts]), encoding="utf-8")
        with new_file(self.path / PAGE, force=True) as beside:
            beside.write_text(self._page(verdicts, sections), encoding="utf-8")

    def _page(self, verdicts: Sequence[Mapping[str, str]], sections: Sequence[Written]) -> str:
        from jinja2 import Environment

        template = (resources.files("lsampler._analysis") / "report.html").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["units"] = lambda text: str(text).replace(" %", "\N{NO-BREAK SPACE}%")
        drawings = {
            (written.section.key, figure["name"]): inline_svg(
                (self.path / written.section.key / f"{figure['name']}.svg").read_text(encoding="utf-8"),
                f"{written.section.key}-{figure['name']}",
            )
            for written in sections
            for figure in written.figures
        }
        tally = {
            status: sum(row["status"] == status for row in verdicts)
            for status in ("holds", "differs", "not measurable here")
        }
        return environment.from_string(template).render(
            reference=self.reference,
            version=__version__,
            sections=sections,
            verdicts=verdicts,
            tally=tally,
            drawings=drawings,
        )


def inline_svg(text: str, prefix: str) -> str:
    """An SVG of ours for the page: no XML prologue, names of its own, ink and paper of the page.

    Titles and labels were escaped by matplotlib when it wrote the file.
    """
    from markupsafe import Markup

    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "var(--ink)").replace(PAPER, "var(--paper)").replace(BLUE, "var(--blue)")
    return Markup(text)  # noqa: S704 - written by matplotlib, see above


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated values; numbers in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def shown(cell: Any) -> str:
    """A cell as the page shows it."""
    cell = plain(cell)
    if cell is None:
        return "-"
    if isinstance(cell, float):
        size = abs(cell)
        if size and (size < 1e-3 or size >= 1e6):
            return f"{cell:.2e}"
        return f"{cell:.4g}" if size < 1000 else f"{cell:.0f}"
    return str(cell)


def plain(value: Any) -> Any:
    """Arrays, NumPy numbers and tuples as lists and numbers; what is not finite as None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
