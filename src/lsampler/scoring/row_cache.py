"""Rows of scores, one per set of samples, and the folder that keeps them under keys of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import TypeAdapter

from lsampler.files import disk_errors, new_file, own_text
from lsampler.plugins.base import library_digest
from lsampler.scoring.entries import Entry
from lsampler.scoring.plot_data import PlotData
from lsampler.scoring.samples import Kind
from lsampler.scoring.scores import DIRECTIONS, Score
from lsampler.showing import About, Shown, cautions, counted, table

RECORD = "row.json"
IMAGES, FIGURE = "images.jpg", "items.svg"
JPEG = b"\xff\xd8"
"""The first bytes of a picture that is no figure."""


@dataclass(frozen=True, repr=False)
class Row(Shown):
    """The scores of one set of samples, and the reasons for what could not be scored.

    Attributes:
        name: the row's name.
        n: how many vectors; 0 if they could not be drawn.
        scores: in the order of the evaluators.
        problems: what is missing from this row, and why.
        kind: ``drawn``, ``held-out`` or ``train``.
        entry: the strategy that drew them, in a comparison.
        caveats: what is missing from every row of an evaluator, and why.
        plots: what the plots of a report need.
        picture: in a report, the first items: decoded images as JPEG, others as a figure in SVG.
        seconds: how long drawing and scoring took, when it was done.
        note: what the strategy says of its fit, in one sentence.
    """

    name: str
    n: int
    scores: Sequence[Score]
    problems: Sequence[str] = ()
    kind: Kind = "drawn"
    entry: Entry | None = None
    caveats: Sequence[str] = ()
    plots: PlotData | None = None
    picture: bytes | None = None
    seconds: float = field(default=0.0, compare=False)
    note: str = ""

    @cached_property
    def by_metric(self) -> dict[str, Score]:
        """The scores by the names of their metrics."""
        return {score.metric: score for score in self.scores}

    def _about(self) -> About:
        problems = counted(len(self.problems), "problem") if self.problems else ""
        numbers = [counted(self.n, "vector"), counted(len(self.by_metric), "score"), problems]
        return About("Row", self.name, [self.kind, *numbers])

    def _parts(self) -> Iterator[Markup]:
        heads = ["metric", "value", "95 % interval", "n", "how to read it"]
        scores = self.by_metric.values()
        yield table(heads, [(s.metric, s.text, s.range_text, s.n, DIRECTIONS[s.better]) for s in scores])
        yield from cautions(self.problems)


@dataclass(frozen=True)
class Outcome:
    """What one evaluator found for one row; ``unprepared``: why it could not learn from the real data at all."""

    scores: list[Score] = field(default_factory=list)
    problem: str | None = None
    caveats: list[str] = field(default_factory=list)
    unprepared: str | None = None


@dataclass
class Record:
    """Everything about a row that takes time to compute. Outcomes are under the digests of their evaluators."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    plots: PlotData | None = None
    n: int = 0
    seconds: float = 0.0
    note: str = ""
    picture: bytes | None = None
    """Kept in a file of its own."""
    problems: list[str] = field(default_factory=list)
    """Of this run alone, not kept."""

    def add(self, found: Record) -> bool:
        """Take over what was found; returns whether anything of it is new."""
        before = self.outcomes, self.plots, self.picture
        self.outcomes, self.plots = self.outcomes | found.outcomes, found.plots or self.plots
        self.picture, self.n, self.problems = found.picture or self.picture, found.n or self.n, found.problems
        self.note = found.note or self.note
        is_new = before != (self.outcomes, self.plots, self.picture)
        if is_new:
            self.seconds = round(self.seconds + found.seconds, 1)
        return is_new


class RowCache:
    """Finished rows in a folder, under keys of everything that they depend on, and the pictures beside them.

    Without a folder nothing is kept. ``content`` is a digest of the real data.
    """

    def __init__(self, folder: Path | None = None, content: str = "") -> None:
        self.report, self.folder, self._content = folder, folder and folder / "rows", content

    def key(self, *others: Any) -> str:
        """The key of a row, from the real data and all else that it depends on."""
        return _digest([library_digest(), self._content, *others])

    def read(self, key: str) -> Record:
        """What an earlier run kept; an empty record where there is nothing, or a damaged or edited file."""
        if self.folder is None:
            return Record()
        folder = self.folder / key
        try:
            kept = json.loads(own_text(folder / RECORD))
            if kept["digest"] != _digest(kept["record"]):
                return Record()
            record = TypeAdapter(Record).validate_python(kept["record"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return Record()
        for picture in (folder / IMAGES, folder / FIGURE):
            if picture.is_file():
                record.picture = picture.read_bytes()
        return record

    def keep(self, key: str, record: Record) -> None:
        """Write a record in place of an earlier one."""
        if self.folder is None:
            return
        folder = self.folder / key
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        kept = asdict(replace(record, picture=None, problems=[]))
        with new_file(folder / RECORD, force=True) as beside:
            beside.write_text(json.dumps({"digest": _digest(kept), "record": kept}), encoding="utf-8")
        if record.picture is not None:
            name = IMAGES if record.picture.startswith(JPEG) else FIGURE
            with new_file(folder / name, force=True) as beside:
                beside.write_bytes(record.picture)


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=10).hexdigest()
