"""The report on disk: a folder per finished section, one JSON file, one page."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, mark_folder, new_directory, new_file
from lsampler.plots import house_style, save_figure
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.pages import as_csv, inline_svg, plain, render

__all__ = ["Report", "Written"]

RECORD = "section.json"
SUMMARY = "analysis.json"
PAGE = "index.html"
SUFFIXES = (".svg", ".csv", ".json")


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
        check_folder(path, "analysis report")

    def begin(self, sections: Sequence[str]) -> None:
        """Make the folder and mark it as a report; what a killed run left half-written goes."""
        mark_folder(self.path, "analysis report")
        for key in sections:
            for rest in self.path.glob(f".{key}.*"):
                shutil.rmtree(rest, ignore_errors=True)

    def finished(self, section: Section, key: str) -> Written | None:
        """A section that an earlier run finished with the same latents and options; else None."""
        folder = self.path / section.key
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            written = Written(
                section,
                measured=dict(record["measured"]),
                **{part: record[part] for part in ("key", "problem", "findings", "missing")},
                tables=[dict(table) for table in record["tables"]],
                figures=[dict(figure) for figure in record["figures"]],
            )
            whole = all(digest(folder / name) == known for name, known in record["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
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
        self._refuse_foreign_files(self.path / section.key)
        with new_directory(self.path / section.key, force=True) as folder, house_style():
            for figure in result.figures:
                save_figure(figure.draw(), folder / f"{figure.name}.svg")
            for table in result.tables:
                (folder / f"{table.name}.csv").write_text(as_csv(table.columns, table.rows), encoding="utf-8")
            record = {name: value for name, value in vars(written).items() if name != "section"}
            record["files"] = {path.name: digest(path) for path in sorted(folder.iterdir())}
            (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        return written

    def _refuse_foreign_files(self, folder: Path) -> None:
        """A section's folder is replaced as a whole: nothing of the user's shall go with it."""
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix not in SUFFIXES:
                raise LsamplerError(f"{path}: was not written by lsampler; move it out of the report")

    def write(self, summary: Mapping[str, Any], sections: Sequence[Written]) -> None:
        """``analysis.json``, the table of verdicts, and the page, from the finished sections."""
        with new_file(self.path / SUMMARY, force=True) as beside:
            beside.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
        verdicts = summary["verdicts"]
        with new_file(self.path / "verdicts.csv", force=True) as beside:
            heads = list(verdicts[0])
            beside.write_text(as_csv(heads, [[row[head] for head in heads] for row in verdicts]), encoding="utf-8")
        with new_file(self.path / PAGE, force=True) as beside:
            # A path may hold bytes that are no text.
            beside.write_text(self._page(verdicts, sections), encoding="utf-8", errors="replace")

    def _page(self, verdicts: Sequence[Mapping[str, str]], sections: Sequence[Written]) -> str:
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
        return render(
            "lsampler.reports.analysis",
            reference=self.reference,
            version=__version__,
            sections=sections,
            verdicts=verdicts,
            tally=tally,
            drawings=drawings,
        )


def digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


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
