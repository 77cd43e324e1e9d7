"""Draws and scores every strategy, keeps each cell as it is finished, and writes the report."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, disk_errors, mark_folder, new_file
from lsampler.models.protocols import Autoencoder
from lsampler.plugins.loading import load_evaluator, plugin_names
from lsampler.progress import Progress, begin
from lsampler.reports.comparison.plots import IMAGES, PlotData, complete, plot_data, save_picture
from lsampler.reports.comparison.verdict import Verdict, judge
from lsampler.reports.identity import identity
from lsampler.reports.pages import plain
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.scoring.evaluator import (
    HELD_OUT_ROW,
    OTHER_ROW,
    Evaluator,
    Kind,
    RealData,
    Samples,
    Score,
    check_samples,
    real_rows,
)
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

__all__ = ["Cell", "Comparison", "Entry", "compare", "swept"]

CELLS = "cells"
RECORD = "cell.json"
PICTURE = "images.jpg"


@dataclass(frozen=True)
class Entry:
    """A strategy with its parameters: one row of a comparison.

    Attributes:
        sampler: the strategy, not fitted.
        label: the row's name.
        curve: of a sweep: the strategy and parameter that are varied; rows of one curve are joined.
        place: of a sweep: the parameter's value in this row.
    """

    sampler: LatentSampler
    label: str
    curve: str | None = None
    place: float | None = None

    @classmethod
    def of(cls, sampler: LatentSampler) -> Entry:
        """A row named after the strategy and the parameters that are not at their default."""
        return cls(sampler, _label(sampler))


def _label(sampler: LatentSampler, **first: float) -> str:
    changed = first | {
        k: v for k, v in sampler.model_dump(mode="json", exclude_defaults=True).items() if k not in first
    }
    values = (
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}" for key, value in changed.items()
    )
    return ", ".join([sampler.name, *values])


def swept(sampler: LatentSampler, parameter: str, values: Iterable[float]) -> list[Entry]:
    """One row for each value of a parameter, such as ``swept(load_sampler("pca-ellipse"), "fact", [0.6, 0.8])``."""
    settings = sampler.model_dump(exclude_defaults=True)
    if parameter not in type(sampler).model_fields:
        type(sampler)(**{parameter: None})  # says that there is no such parameter, and which is near
    entries = []
    for value in values:
        whole = isinstance(getattr(sampler, parameter), int) or float(value).is_integer()
        varied = type(sampler)(**(settings | {parameter: _number(value, whole)}))
        label = _label(varied, **{parameter: float(value)})
        entries.append(Entry(varied, label, f"{sampler.name}: {parameter}", float(value)))
    return entries


def _number(value: float, whole: bool) -> float | int:
    return int(value) if whole and float(value).is_integer() else round(float(value), 10)


@dataclass(frozen=True)
class Cell:
    """One row: its scores, what could not be scored, and what the plots need.

    Attributes:
        key: of the folder it is kept in.
        name: the row's name.
        kind: ``drawn``, ``held-out`` or ``train``.
        strategy: the plugin's name; empty for real data.
        parameters: all of them.
        curve: see :class:`Entry`.
        place: see :class:`Entry`.
        n: how many vectors.
        scores: by metric.
        problems: what is missing, and why.
        plots: what the plots need.
        picture: whether images were decoded.
        seconds: it took to draw and score, when that was done.
    """

    key: str
    name: str
    kind: str
    strategy: str
    parameters: Mapping[str, Any]
    curve: str | None
    place: float | None
    n: int
    scores: Mapping[str, Score]
    problems: Sequence[str]
    plots: PlotData | None
    picture: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class Part:
    """What one evaluator said of one row.

    Attributes:
        scores: in the evaluator's order.
        problem: why there are none, or not all.
        caveats: what is missing from all rows.
        prepared: whether the evaluator could learn of the real data at all.
    """

    scores: list[Score]
    problem: str | None = None
    caveats: list[str] = field(default_factory=list)
    prepared: bool = True


@dataclass
class Record:
    """What is kept of a row: all that takes time.

    Attributes:
        scores: by the key of the evaluator.
        plots: see :class:`Cell`.
        picture: see :class:`Cell`.
        n: see :class:`Cell`.
        seconds: see :class:`Cell`.
    """

    scores: dict[str, Part] = field(default_factory=dict)
    plots: PlotData | None = None
    picture: bool = False
    n: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        reference: the name of the real data.
        cells: rows, those of real data first.
        verdict: what the scores say, in words, and the roles of the rows.
        caveats: scores that no row has, and why.
        provenance: versions, fingerprints, options and the command.
    """

    reference: str
    cells: Sequence[Cell]
    verdict: Verdict
    caveats: Sequence[str]
    provenance: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lsampler": __version__,
            "reference": self.reference,
            "provenance": dict(self.provenance),
            "verdict": {"sentences": list(self.verdict.sentences), "roles": dict(self.verdict.roles)},
            "caveats": list(self.caveats),
            "rows": [
                {
                    "name": cell.name,
                    "kind": cell.kind,
                    "strategy": cell.strategy,
                    "parameters": dict(cell.parameters),
                    "sweep": None if cell.curve is None else {"curve": cell.curve, "value": cell.place},
                    "n": cell.n,
                    "seconds": cell.seconds,
                    "scores": {metric: asdict(score) for metric, score in cell.scores.items()},
                    "problems": list(cell.problems),
                }
                for cell in self.cells
            ],
        }


def compare(
    latents: ReferenceLike,
    entries: Sequence[Entry | LatentSampler],
    out: str | os.PathLike[str] | None = None,
    *,
    autoencoder: Autoencoder | None = None,
    evaluators: Sequence[Evaluator] | None = None,
    n: int = 2000,
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> Comparison:
    """Score strategies side by side, beside real data, and say which is best at what.

    Args:
        latents: a store, a bundle (for the scores that statistics allow), or an array (N, D).
        entries: strategies, or rows made by :func:`swept`.
        out: folder for the report. Cells that an earlier run finished are kept; a changed
            comparison computes only what changed. None writes nothing.
        autoencoder: whose latents these are, for scores of decoded images.
        evaluators: which scores; by default all that are installed.
        n: vectors drawn by each strategy.
        seed: of the draws and of what is compared with them.
        command: that repeats the comparison, for the report.
        progress: shows the advance.

    Raises:
        LsamplerError: nothing to compare, an option out of range, or a folder that holds something else.
    """
    rows = [entry if isinstance(entry, Entry) else Entry.of(entry) for entry in entries]
    if not rows:
        raise LsamplerError("nothing to compare; give at least one strategy")
    if n < 1:
        raise LsamplerError(f"n={n}: draw at least one vector")
    if seed < 0:
        raise LsamplerError(f"seed={seed}: give a number of at least 0")
    reference = as_reference(latents)
    known = list(dict.fromkeys(plugin_names("evaluator")))
    chosen = list(evaluators) if evaluators is not None else [load_evaluator(name) for name in known]
    bench = Bench(reference, autoencoder, chosen, n, seed, Path(out) if out is not None else None, progress)
    cells = bench.real_cells()
    advance = begin(progress, "strategies", len(rows))
    for entry in rows:
        cells.append(bench.cell(entry))
        advance(1)
    provenance = bench.provenance(command)
    comparison = Comparison(reference.name, cells, judge(cells), bench.caveats(), provenance)
    if bench.out:
        from lsampler.reports.comparison.page import write

        write(bench.out, comparison, {cell.key: bench.picture(cell) for cell in cells if cell.picture})
    return comparison


class Bench:
    """Fits, draws and scores; keeps finished scores in the report's folder."""

    def __init__(
        self,
        reference: Reference,
        autoencoder: Autoencoder | None,
        evaluators: Sequence[Evaluator],
        n: int,
        seed: int,
        out: Path | None,
        progress: Progress | None,
    ) -> None:
        from lsampler.models.decoding import decode_images, encode_pixels

        self.reference, self.autoencoder, self.n, self.seed = reference, autoencoder, n, seed
        self.out, self.progress = out, progress
        self.decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None
        self.encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
        if autoencoder is not None:
            self.decode = lambda z: decode_images(autoencoder, z)
            self.encode = lambda images: encode_pixels(autoencoder, images)
        self.real = RealData(reference, decode=self.decode, encode=self.encode, seed=seed, rows=min(n, 2000))
        self.evaluators = list(evaluators)
        self._ready: dict[str, str | None] = {}
        self._caveats: list[str] = []
        reference.statistics()  # NaN and too few vectors are the first thing to say
        if out is not None:
            check_folder(out, "comparison report")
        self.identity = identity(reference, progress)
        if out is not None:
            mark_folder(out, "comparison report")

    def real_cells(self) -> list[Cell]:
        """Rows of real data: held out, and others of the train split; a bundle remembers the first."""
        if not self.reference.has_latents:
            return [self._remembered(row.name, row.n, row.scores) for row in real_rows(self.real, self.evaluators)]
        cells = []
        _, judging = calibration_split(self.reference.held_out())
        if len(judging):
            cells.append(self._real_cell("real/held-out", HELD_OUT_ROW, judging, "held-out"))
        if len(self.real.other) > 1:
            cells.append(self._real_cell("real/other", OTHER_ROW, self.real.other, "train"))
        return cells

    def _remembered(self, name: str, n: int, scores: Sequence[Score]) -> Cell:
        by_metric = {score.metric: score for score in scores}
        return Cell("", name, "held-out", "", {}, None, None, n, by_metric, [], None, False)

    def cell(self, entry: Entry) -> Cell:
        """A strategy's row; what fails becomes its problem, and the others stand."""

        def draw() -> Samples:
            fitted = entry.sampler.model_copy().fit(self.reference, progress=self.progress)
            return Samples.drawn_by(
                fitted, self.n, seed=self.seed, name=entry.label, decode=self.decode, encode=self.encode
            )

        return self._scored(entry.sampler.key(), entry.label, "drawn", draw, entry)

    def _real_cell(self, what: str, name: str, rows: NDArray[np.float32], kind: Kind) -> Cell:
        return self._scored(what, name, kind, lambda: Samples(name, rows, self.decode, self.encode, kind))

    def _scored(
        self,
        what: str,
        name: str,
        kind: Kind,
        draw: Callable[[], Samples],
        entry: Entry | None = None,
    ) -> Cell:
        key = _digest([__version__, self.identity, self._fingerprint(), what, self.n, self.seed])
        record = self._read(key)
        stale = [e for e in self.evaluators if self._is_stale(e, record)]
        problems: list[str] = []
        if stale or record.plots is None or self._lacks_picture(record):
            started = time.monotonic()
            try:
                samples = draw()
                check_samples(samples, self.reference)
            except Exception as error:
                # Anybody's strategy may fail in any way: its row says so, and the others stand.
                problems.append(_reason(error))
            else:
                news = self._complete(record, key, samples, stale, problems)
                if news:
                    record.seconds = round(record.seconds + time.monotonic() - started, 1)
                    self._keep(key, record)
        return self._cell(key, name, kind, entry, record, problems)

    def _is_stale(self, evaluator: Evaluator, record: Record) -> bool:
        """Whether an evaluator has to be asked: for the first time, or because it may do now what it could not."""
        part = record.scores.get(evaluator.key())
        if part is None or part.problem:
            return True
        return not part.prepared and self._part_unless_prepared(evaluator) != part

    def _lacks_picture(self, record: Record) -> bool:
        return self.decode is not None and self.out is not None and not record.picture

    def _complete(
        self, record: Record, key: str, samples: Samples, stale: Sequence[Evaluator], problems: list[str]
    ) -> bool:
        """Add to the record what it lacks, and to the problems what cannot be added; tells whether anything was."""
        advance = begin(self.progress, f"  {samples.name}", len(stale) + 1)
        before = replace(record, scores=dict(record.scores))
        record.n = len(samples.latents)
        for evaluator in stale:
            part = self._score(evaluator, samples)
            if part != record.scores.get(evaluator.key()):
                record.scores[evaluator.key()] = part
                self._keep(key, record)
            advance(1)
        if record.plots is None:
            try:
                record.plots = plot_data(self.real, samples)
            except Exception as error:
                problems.append(f"no plots: {_reason(error)}")
        if self.decode and self._lacks_picture(record):
            try:
                save_picture(self.decode(samples.latents[:IMAGES]), self._folder(key) / PICTURE)
                record.picture = True
            except Exception as error:
                problems.append(f"no pictures: {_reason(error)}")
        advance(1)
        return record != before

    def _score(self, evaluator: Evaluator, samples: Samples) -> Part:
        failed = self._part_unless_prepared(evaluator)
        if failed:
            return failed
        try:
            scores = evaluator.score(samples)
            finite = [bool(np.isfinite([score.value, score.low, score.high]).all()) for score in scores]
        except Exception as error:
            return Part([], f"{evaluator.name}: {_reason(error)}", evaluator.caveats())
        wrong = ", ".join(score.metric for score, fine in zip(scores, finite, strict=True) if not fine)
        problem = f"{evaluator.name}: NaN or infinite values of {wrong}" if wrong else None
        return Part([score for score, fine in zip(scores, finite, strict=True) if fine], problem, evaluator.caveats())

    def _part_unless_prepared(self, evaluator: Evaluator) -> Part | None:
        problem = self._prepare(evaluator)
        return Part([], caveats=[problem], prepared=False) if problem else None

    def _prepare(self, evaluator: Evaluator) -> str | None:
        if evaluator.key() not in self._ready:
            try:
                evaluator.prepare(self.real)
                self._ready[evaluator.key()] = None
            except Exception as error:
                self._ready[evaluator.key()] = f"no scores of {evaluator.name}: {_reason(error)}"
        return self._ready[evaluator.key()]

    def _cell(
        self, key: str, name: str, kind: str, entry: Entry | None, record: Record, problems: Sequence[str]
    ) -> Cell:
        parts = [record.scores[e.key()] for e in self.evaluators if e.key() in record.scores]
        self._caveats += [line for part in parts for line in part.caveats]
        strategy, settings, curve, place = _origin(entry)
        return Cell(
            key,
            name,
            kind,
            strategy,
            settings,
            curve,
            place,
            record.n,
            {score.metric: score for part in parts for score in part.scores},
            [*(part.problem for part in parts if part.problem), *problems],
            record.plots,
            record.picture,
            record.seconds,
        )

    def caveats(self) -> list[str]:
        """Scores that no row has, and why."""
        return list(dict.fromkeys(self._caveats))

    def picture(self, cell: Cell) -> Path:
        """Where a cell's images are."""
        return self._folder(cell.key) / PICTURE

    def provenance(self, command: str) -> dict[str, Any]:
        """Where the numbers come from."""
        import torch

        statistics = self.reference.statistics()
        held_out = len(self.reference.held_out()) if self.reference.has_latents else 0
        return {
            "command": command,
            "lsampler": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "reference": self.reference.name,
            "train vectors": statistics.count,
            "held-out vectors": held_out,
            "dimension": self.reference.dimension,
            "encoder fingerprint": self._fingerprint() or "unknown",
            "content digest": self.identity,
            "vectors per strategy": self.n,
            "seed": self.seed,
            "evaluators": [evaluator.key() for evaluator in self.evaluators],
        }

    def _fingerprint(self) -> str:
        return self.autoencoder.fingerprint if self.autoencoder is not None else (self.reference.fingerprint or "")

    def _folder(self, key: str) -> Path:
        assert self.out is not None  # noqa: S101 - only asked for where a report is written
        return self.out / CELLS / key

    def _read(self, key: str) -> Record:
        """What an earlier run kept; nothing where that is damaged or edited."""
        if self.out is None:
            return Record()
        try:
            record = TypeAdapter(Record).validate_json((self._folder(key) / RECORD).read_bytes(), strict=True)
            json.dumps(asdict(record), allow_nan=False)  # NaN is read without complaint
        except (OSError, ValueError):
            return Record()
        if record.plots is not None and not complete(record.plots, self.reference.statistics().pca.rank):
            return Record()
        record.picture = record.picture and (self._folder(key) / PICTURE).is_file()
        return record

    def _keep(self, key: str, record: Record) -> None:
        if self.out is None:
            return
        folder = self._folder(key)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / RECORD, force=True) as beside:
            beside.write_text(json.dumps(plain(asdict(record)), allow_nan=False), encoding="utf-8")


def _origin(entry: Entry | None) -> tuple[str, dict[str, Any], str | None, float | None]:
    if entry is None:
        return "", {}, None, None
    return entry.sampler.name, entry.sampler.settings(), entry.curve, entry.place


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, LsamplerError) else f"{type(error).__name__}: {lines[0]}"


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=10).hexdigest()
