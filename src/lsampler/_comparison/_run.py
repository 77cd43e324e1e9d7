"""Draws and scores every strategy, keeps each cell as it is finished, and writes the report."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler._api import load_evaluator, plugin_names
from lsampler._comparison._plots import IMAGES, PlotData, plot_data, save_picture
from lsampler._comparison._verdict import Verdict, judge
from lsampler._core import calibration_split
from lsampler._errors import LsamplerError
from lsampler._evaluator import (
    HELD_OUT_ROW,
    OTHER_ROW,
    Evaluator,
    RealData,
    Samples,
    Score,
    check_samples,
    real_rows,
)
from lsampler._files import disk_errors, new_file
from lsampler._identity import identity
from lsampler._interfaces import Autoencoder
from lsampler._pages import plain
from lsampler._progress import Progress
from lsampler._reference import Reference, ReferenceLike, as_reference
from lsampler._sampler import LatentSampler
from lsampler._version import __version__

__all__ = ["Cell", "Comparison", "Entry", "compare", "swept"]

MARK = ".lsampler"
CELLS = "cells"
RECORD = "cell.json"
PICTURE = "images.jpg"
FEWEST_IMAGES = 1


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
    total = progress.begin("strategies", len(rows)) if progress else None
    for entry in rows:
        cells.append(bench.cell(entry))
        if total:
            total(1)
    provenance = bench.provenance(command)
    comparison = Comparison(reference.name, cells, judge(cells), bench.caveats(), provenance)
    if bench.out:
        from lsampler._comparison._page import write

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
        from lsampler._decoding import decode_images, encode_pixels

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
            _check_folder(out)
        self.identity = identity(reference, progress)
        if out is not None:
            _begin_folder(out)

    def real_cells(self) -> list[Cell]:
        """Rows of real data: held out, and others of the train split; a bundle remembers the first."""
        if not self.reference.has_latents:
            return [self._remembered(row.name, row.n, row.scores) for row in real_rows(self.real, self.evaluators)]
        cells = []
        _, judging = calibration_split(self.reference.held_out())
        if len(judging):
            cells.append(self._scored("real/held-out", HELD_OUT_ROW, lambda: judging, "held-out"))
        if len(self.real.other) > 1:
            cells.append(self._scored("real/other", OTHER_ROW, lambda: self.real.other, "train"))
        return cells

    def _remembered(self, name: str, n: int, scores: Sequence[Score]) -> Cell:
        by_metric = {score.metric: score for score in scores}
        return Cell("", name, "held-out", "", {}, None, None, n, by_metric, [], None, False)

    def cell(self, entry: Entry) -> Cell:
        """A strategy's row; what fails becomes its problem, and the others stand."""

        def draw() -> NDArray[np.float32]:
            rows: NDArray[np.float32] = (
                entry.sampler.model_copy().fit(self.reference).sample(self.n, seed=self.seed).numpy()
            )
            return rows

        return self._scored(entry.sampler.key(), entry.label, draw, "drawn", entry)

    def _scored(
        self,
        what: str,
        name: str,
        draw: Callable[[], NDArray[np.float32]],
        kind: Any,
        entry: Entry | None = None,
    ) -> Cell:
        key = _digest([__version__, self.identity, self._fingerprint(), what, self.n, self.seed])
        record = self._read(key)
        stale = [e for e in self.evaluators if e.key() not in record["scores"]]
        samples: Samples | None = None
        if stale or record["plots"] is None or (self.decode and not record["picture"]):
            started = time.monotonic()
            try:
                samples = Samples(name, draw(), self.decode, self.encode, kind)
                check_samples(samples, self.reference)
                record["n"] = len(samples.latents)
                self._complete(record, key, samples, stale)
            except Exception as error:
                # Anybody's strategy may fail in any way: its row says so, and the others stand.
                return _failed(key, name, kind, entry, _reason(error))
            record["seconds"] = round(record["seconds"] + time.monotonic() - started, 1)
            self._keep(key, record)
        return self._cell(key, name, kind, entry, record)

    def _complete(self, record: dict[str, Any], key: str, samples: Samples, stale: Sequence[Evaluator]) -> None:
        advance = self.progress.begin(f"  {samples.name}", len(stale) + 1) if self.progress else None
        for evaluator in stale:
            record["scores"][evaluator.key()] = self._score(evaluator, samples)
            self._keep(key, record)
            if advance:
                advance(1)
        record["plots"] = asdict(plot_data(self.real, samples))
        if self.decode and self.out:
            folder = self.out / CELLS / key
            save_picture(self.decode(samples.latents[:IMAGES]), folder / PICTURE)
            record["picture"] = True
        if advance:
            advance(1)

    def _score(self, evaluator: Evaluator, samples: Samples) -> dict[str, Any]:
        problem = self._prepare(evaluator)
        if problem:
            return {"scores": [], "problem": None, "caveats": [problem]}
        try:
            scores = [asdict(score) for score in evaluator.score(samples)]
        except Exception as error:
            problem = f"{evaluator.name}: {_reason(error)}"
            return {"scores": [], "problem": problem, "caveats": evaluator.caveats()}
        return {"scores": scores, "problem": None, "caveats": evaluator.caveats()}

    def _prepare(self, evaluator: Evaluator) -> str | None:
        if evaluator.key() not in self._ready:
            try:
                evaluator.prepare(self.real)
                self._ready[evaluator.key()] = None
            except Exception as error:
                self._ready[evaluator.key()] = f"no scores of {evaluator.name}: {_reason(error)}"
        return self._ready[evaluator.key()]

    def _cell(self, key: str, name: str, kind: str, entry: Entry | None, record: Mapping[str, Any]) -> Cell:
        parts = [record["scores"][e.key()] for e in self.evaluators if e.key() in record["scores"]]
        self._caveats += [line for part in parts for line in part["caveats"]]
        scores = {score["metric"]: Score(**score) for part in parts for score in part["scores"]}
        problems = [part["problem"] for part in parts if part["problem"]]
        plots = None if record["plots"] is None else PlotData(**record["plots"])
        strategy, settings, curve, place = _origin(entry)
        return Cell(
            key,
            name,
            kind,
            strategy,
            settings,
            curve,
            place,
            record["n"],
            scores,
            problems,
            plots,
            record["picture"],
            record["seconds"],
        )

    def caveats(self) -> list[str]:
        """Scores that no row has, and why."""
        return list(dict.fromkeys(self._caveats))

    def picture(self, cell: Cell) -> Path:
        """Where a cell's images are."""
        assert self.out is not None  # noqa: S101 - only asked for where a report is written
        return self.out / CELLS / cell.key / PICTURE

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

    def _read(self, key: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"scores": {}, "plots": None, "picture": False, "n": 0, "seconds": 0.0}
        if self.out is None:
            return empty
        try:
            folder = self.out / CELLS / key
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            whole = set(record) == set(empty) and isinstance(record["scores"], dict)
            record["picture"] = record["picture"] and (folder / PICTURE).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return empty
        return record if whole else empty

    def _keep(self, key: str, record: Mapping[str, Any]) -> None:
        if self.out is None:
            return
        folder = self.out / CELLS / key
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / RECORD, force=True) as beside:
            beside.write_text(json.dumps(plain(record), allow_nan=False), encoding="utf-8")


def _origin(entry: Entry | None) -> tuple[str, dict[str, Any], str | None, float | None]:
    if entry is None:
        return "", {}, None, None
    return entry.sampler.name, entry.sampler.settings(), entry.curve, entry.place


def _failed(key: str, name: str, kind: str, entry: Entry | None, reason: str) -> Cell:
    strategy, settings, curve, place = _origin(entry)
    return Cell(key, name, kind, strategy, settings, curve, place, 0, {}, [reason], None, False)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, LsamplerError) else f"{type(error).__name__}: {lines[0]}"


def _check_folder(out: Path) -> None:
    with disk_errors(out):
        exists, folder = out.exists(), out.is_dir()
    if exists and not folder:
        raise LsamplerError(f"{out}: is a file; choose another name for the report's folder")
    if folder and any(out.iterdir()) and not (out / MARK).is_file():
        raise LsamplerError(f"{out}: holds something other than a report; choose an empty or a new folder")
    if not out.absolute().parent.is_dir():
        raise LsamplerError(f"{out}: the folder {out.absolute().parent} does not exist; create it first")


def _begin_folder(out: Path) -> None:
    with disk_errors(out):
        (out / CELLS).mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=10).hexdigest()
