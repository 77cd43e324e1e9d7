"""Rows of scores, one per set of samples, and the folder that keeps them under keys of their content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lsampler.files import disk_errors, new_file
from lsampler.scoring.plot_data import PlotData
from lsampler.scoring.samples import Kind
from lsampler.scoring.scores import Score

__all__ = ["Origin", "Outcome", "Record", "Row", "RowCache", "row_key"]

ROWS = "rows"
RECORD = "row.json"
PICTURE = "images.jpg"


@dataclass(frozen=True)
class Origin:
    """Where the samples of a row come from.

    Attributes:
        strategy: the strategy's name.
        parameters: all of its parameters.
        curve: of a sweep: the strategy and the parameter that is varied; rows of one curve are joined.
        value: of a sweep: the parameter's value in this row.
    """

    strategy: str
    parameters: Mapping[str, Any]
    curve: str | None = None
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """The scores of one set of samples, and the reasons for what could not be scored.

    Attributes:
        name: the row's name.
        n: how many vectors; 0 if they could not be drawn.
        scores: in the order of the evaluators.
        problems: what is missing from this row, and why.
        kind: ``drawn``, ``held-out`` or ``train``.
        origin: of drawn samples; None for real data and files.
        unprepared: evaluators that could not learn from the real data, and why.
        caveats: what is missing from every row of an evaluator, and why.
        plots: what the plots need.
        picture: the first decoded images, as JPEG.
        seconds: how long drawing and scoring took, when it was done.
    """

    name: str
    n: int
    scores: Sequence[Score]
    problems: Sequence[str] = ()
    kind: Kind = "drawn"
    origin: Origin | None = None
    unprepared: Sequence[str] = ()
    caveats: Sequence[str] = ()
    plots: PlotData | None = None
    picture: bytes | None = field(default=None, repr=False)
    seconds: float = field(default=0.0, compare=False)

    @cached_property
    def by_metric(self) -> dict[str, Score]:
        """The scores by the names of their metrics."""
        return {score.metric: score for score in self.scores}


@dataclass(frozen=True)
class Outcome:
    """What one evaluator found for one row.

    Attributes:
        scores: in the evaluator's order.
        problem: why there are none, or not all.
        caveats: what is missing from all rows.
        prepared: whether the evaluator could learn from the real data at all.
    """

    scores: list[Score]
    problem: str | None = None
    caveats: list[str] = field(default_factory=list)
    prepared: bool = True


@dataclass
class Record:
    """Everything about a row that takes time to compute.

    Attributes:
        outcomes: by the digest of the evaluator.
        plots: see :class:`Row`.
        n: see :class:`Row`.
        seconds: see :class:`Row`.
        picture: see :class:`Row`; kept in a file of its own.
        problems: of this run alone, not kept.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    plots: PlotData | None = None
    n: int = 0
    seconds: float = 0.0
    picture: bytes | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, found: Record) -> bool:
        """Take over what was found; returns whether anything of it is new."""
        outcomes = self.outcomes | found.outcomes
        is_new = outcomes != self.outcomes or found.plots is not None or found.picture is not None
        self.outcomes, self.plots = outcomes, found.plots or self.plots
        self.picture, self.n, self.problems = found.picture or self.picture, found.n or self.n, found.problems
        if is_new:
            self.seconds = round(self.seconds + found.seconds, 1)
        return is_new


class RowCache:
    """Finished rows in a folder, under keys of everything that they depend on.

    Args:
        folder: None keeps nothing.
        rank: how many principal components the real data have, to tell complete plots from damaged ones.
    """

    def __init__(self, folder: Path | None = None, rank: int = 0) -> None:
        self._folder, self._rank = folder, rank

    def read(self, key: str) -> Record:
        """What an earlier run kept; an empty record where there is nothing, or a damaged or edited file."""
        if self._folder is None:
            return Record()
        folder = self._folder / ROWS / key
        try:
            record = TypeAdapter(Record).validate_json((folder / RECORD).read_bytes(), strict=True)
            json.dumps(asdict(record), allow_nan=False)  # NaN is read without complaint
        except (OSError, ValueError):
            return Record()
        if record.plots is not None and not record.plots.is_complete(self._rank):
            return Record()
        if (folder / PICTURE).is_file():
            record.picture = (folder / PICTURE).read_bytes()
        return record

    def keep(self, key: str, record: Record) -> None:
        """Write a record in place of an earlier one."""
        if self._folder is None:
            return
        folder = self._folder / ROWS / key
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in asdict(record).items() if name not in ("picture", "problems")}
        with new_file(folder / RECORD, force=True) as beside:
            beside.write_text(json.dumps(kept, allow_nan=False), encoding="utf-8")
        if record.picture is not None:
            with new_file(folder / PICTURE, force=True) as beside:
                beside.write_bytes(record.picture)


def row_key(*content: Any) -> str:
    """The key of a row, from everything that it depends on."""
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=10).hexdigest()


def is_finite(score: Score) -> bool:
    """Whether a score and its interval are numbers."""
    return all(map(math.isfinite, (score.value, score.low, score.high)))
