"""The report on disk: a folder per finished section, one JSON file, one page."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, mark_folder, new_directory, new_file
from lsampler.plots import house_style, save_figure
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.pages import as_csv, inline_svg, plain, render

RECORD = "section.json"
SUMMARY = "analysis.json"
PAGE = "index.html"
SUFFIXES = (".svg", ".csv", ".json")
RECORDED = ("key", "measured", "problem", "findings", "missing", "tables", "figures")


@dataclass(frozen=True)
class Written:
    """A finished section as its folder records it."""

    section: Section
    key: str
    measured: Mapping[str, Any]
    problem: str | None
    findings: Sequence[str]
    missing: Sequence[str]
    tables: Sequence[Mapping[str, Any]]
    figures: Sequence[Mapping[str, str]]

    @classmethod
    def of(cls, section: Section, key: str, result: Result, problem: str | None) -> Written:
        """What is recorded of a section's result."""
        tables = [
            {
                "name": table.name,
                "title": table.title,
                "columns": list(table.columns),
                "rows": [[as_text(cell) for cell in row] for row in table.rows[: table.shown]],
                "count": len(table.rows),
            }
            for table in result.tables
        ]
        figures = [{"name": figure.name, "caption": figure.caption} for figure in result.figures]
        return cls(section, key, plain(result.measured), problem, result.findings, result.missing, tables, figures)


class Report:
    """A folder of a report, new or to be completed.

    Raises:
        LsamplerError: the folder holds something else, or cannot be made.
    """

    def __init__(self, path: Path, reference: str) -> None:
        self.path, self.reference = path, reference
        check_folder(path, "analysis report")

    def begin(self, sections: Sequence[str]) -> None:
        """Make the folder and mark it as a report; remove what a killed run left half-written."""
        mark_folder(self.path, "analysis report")
        for key in sections:
            for rest in self.path.glob(f".{key}.*"):
                shutil.rmtree(rest, ignore_errors=True)

    def finished(self, section: Section, key: str) -> Written | None:
        """A section that an earlier run finished with the same latents and options; else None."""
        folder = self.path / section.key
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            written = Written(section, **{name: record[name] for name in RECORDED})
            whole = all(digest(folder / name) == known for name, known in record["files"].items())
            whole = whole and all(f"{figure['name']}.svg" in record["files"] for figure in written.figures)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        # A problem may be gone by now: a missing package is installed, say.
        return written if written.key == key and whole and not written.problem else None

    def keep(self, section: Section, key: str, result: Result, problem: str | None) -> Written:
        """Write a section's figures, tables and record: its folder appears whole, or not at all."""
        written = Written.of(section, key, result, problem)
        self._refuse_foreign_files(self.path / section.key)
        with new_directory(self.path / section.key, force=True) as folder, house_style():
            for figure in result.figures:
                save_figure(figure.draw(), folder / f"{figure.name}.svg")
            for table in result.tables:
                (folder / f"{table.name}.csv").write_text(as_csv(list(table.columns), table.rows), encoding="utf-8")
            record = {name: getattr(written, name) for name in RECORDED}
            record["files"] = {path.name: digest(path) for path in sorted(folder.iterdir())}
            (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        return written

    def _refuse_foreign_files(self, folder: Path) -> None:
        """A section's folder is replaced as a whole, which must not remove files of the user."""
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix not in SUFFIXES:
                raise LsamplerError(f"{path}: was not written by lsampler; move it out of the report")

    def write(self, summary: Mapping[str, Any], sections: Sequence[Written]) -> None:
        """Write ``analysis.json``, the table of judgements, and the page, from the finished sections."""
        with new_file(self.path / SUMMARY, force=True) as beside:
            beside.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
        judgements = summary["judgements"]
        with new_file(self.path / "judgements.csv", force=True) as beside:
            beside.write_text(as_csv(list(judgements[0]), [list(row.values()) for row in judgements]), encoding="utf-8")
        with new_file(self.path / PAGE, force=True) as beside:
            # The name of a store may hold bytes that are not text.
            beside.write_text(self._page(judgements, sections), encoding="utf-8", errors="replace")

    def _page(self, judgements: Sequence[Mapping[str, str]], sections: Sequence[Written]) -> str:
        drawings = {
            (written.section.key, figure["name"]): inline_svg(
                (self.path / written.section.key / f"{figure['name']}.svg").read_text(encoding="utf-8"),
                f"{written.section.key}-{figure['name']}",
            )
            for written in sections
            for figure in written.figures
        }
        return render(
            "lsampler.reports.analysis",
            reference=self.reference,
            version=__version__,
            sections=sections,
            judgements=judgements,
            tally=Counter(row["status"] for row in judgements),
            drawings=drawings,
        )


def digest(path: Path) -> str:
    """A digest of a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def as_text(cell: Any) -> str:
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
