"""The report on disk: a folder per finished section, one JSON file, one page."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import (
    Lock,
    check_folder,
    mark_folder,
    new_directory,
    new_file,
    only_writer,
    own_text,
    regular_file,
    remove_leftovers,
    unmark_folder,
)
from lsampler.plots import house_style, save_figure
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.pages import as_csv, inline_svg, plain, render, title_of

RECORD = "section.json"
SUFFIXES = (".svg", ".csv", ".json")
RECORDED = ("key", "measured", "problem", "findings", "missing", "tables", "figures")
FILES = ("analysis.json", "judgements.csv", "index.html")

Record = Mapping[str, Any]
"""A finished section as its folder records it: ``RECORDED`` by name."""


def recorded(key: str, result: Result, problem: str | None) -> Record:
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
    values = (key, plain(result.measured), problem, result.findings, result.missing, tables, figures)
    return dict(zip(RECORDED, values, strict=True))


class Report:
    """A folder of a report, new or to be completed.

    Raises:
        LsamplerError: the folder holds something else, or cannot be made.
    """

    def __init__(self, path: Path, reference: str) -> None:
        self.path, self.reference = path, reference
        self._lock: Lock | None = None
        check_folder(path, "analysis report", FILES)

    def begin(self) -> None:
        """Make the folder and mark it as a report, which no other process writes; remove what a killed run left."""
        mark_folder(self.path, "analysis report")
        self._lock = only_writer(self.path)
        remove_leftovers(self.path)

    def close(self) -> None:
        """Let other processes write the report; the folder does not stay if nothing was written into it."""
        if self._lock:
            self._lock.close()
            unmark_folder(self.path)

    def finished(self, section: str, key: str) -> Record | None:
        """A section that an earlier run finished with the same latents and options; else None."""
        folder = self.path / section
        try:
            record = json.loads(own_text(folder / RECORD))
            files = record.pop("files")
            whole = set(record) == set(RECORDED) and all(map(regular_file, (folder / name for name in files)))
            whole = whole and all(digest(folder / name) == files[name] for name in files)
            whole = whole and all(f"{figure['name']}.svg" in files for figure in record["figures"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        # A problem may be gone by now: a missing package is installed, say.
        return record if whole and record["key"] == key and not record["problem"] else None

    def keep(self, section: str, record: Record, result: Result) -> None:
        """Write a section's figures, tables and record: its folder appears whole, or not at all."""
        for path in (self.path / section).glob("*"):
            if path.suffix not in SUFFIXES:  # the folder is replaced as a whole
                raise LsamplerError(f"{path}: was not written by lsampler; move it out of the report")
        with new_directory(self.path / section, force=True) as folder, house_style():
            for figure in result.figures:
                save_figure(figure.draw(), folder / f"{figure.name}.svg")
            for table in result.tables:
                (folder / f"{table.name}.csv").write_text(as_csv(list(table.columns), table.rows), encoding="utf-8")
            files = {path.name: digest(path) for path in sorted(folder.iterdir())}
            text = json.dumps({**record, "files": files}, indent=1, allow_nan=False)
            (folder / RECORD).write_text(text, encoding="utf-8")

    def write(self, summary: Mapping[str, Any], sections: Sequence[tuple[Section, Record]]) -> None:
        """Write ``analysis.json``, the table of judgements, and the page, from the finished sections."""
        judgements = summary["judgements"]
        texts = (
            json.dumps(summary, indent=1, allow_nan=False),
            as_csv(list(judgements[0]), [list(row.values()) for row in judgements]),
            self._page(summary, sections),
        )
        for name, text in zip(FILES, texts, strict=True):
            with new_file(self.path / name, force=True) as beside:
                # The name of a store may hold bytes that are not text.
                beside.write_text(text, encoding="utf-8", errors="replace")

    def _page(self, summary: Mapping[str, Any], sections: Sequence[tuple[Section, Record]]) -> str:
        places = [(section.key, figure["name"]) for section, record in sections for figure in record["figures"]]
        drawings = {
            (key, name): inline_svg((self.path / key / f"{name}.svg").read_text(encoding="utf-8"), f"{key}-{name}")
            for key, name in places
        }
        return render(
            "lsampler.reports.analysis",
            reference=self.reference,
            version=__version__,
            sections=sections,
            title=title_of(self.reference),
            summary=summary,
            tally=Counter(row["status"] for row in summary["judgements"]),
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
