"""Compares strategies: scores every one beside real data, judges the rows, and writes the report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, mark_folder, only_writer
from lsampler.plugins.by_name import load_evaluator, plugin_names
from lsampler.progress import Progress
from lsampler.reports.comparison.verdict import Verdict, judge
from lsampler.reports.content_digest import content_digest
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.entries import Entry
from lsampler.scoring.evaluation import caveats_of, remembered_rows
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.pipeline import Bench, score_rows
from lsampler.scoring.row_cache import Row, RowCache
from lsampler.scoring.sample_sets import Drawn, real_sets
from lsampler.scoring.samples import RealData, compared_rows
from lsampler.scoring.subject import Subject, as_subject
from lsampler.store.opening import ReferenceLike


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        reference: the name of the real data.
        rows: a row of scores for each strategy, after those of the real data.
        verdict: what the scores say, in words, and the roles of the rows.
        caveats: what a reader has to know: warnings about the real data, and scores that no row has, with the reasons.
        provenance: versions, fingerprints and options.
    """

    reference: str
    rows: Sequence[Row]
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
            "rows": [_as_dict(row) for row in self.rows],
        }


def _as_dict(row: Row) -> dict[str, Any]:
    entry = row.entry
    return {
        "name": row.name,
        "kind": row.kind,
        "strategy": entry.sampler.name if entry else "",
        "parameters": entry.sampler.settings() if entry else {},
        "sweep": {"curve": entry.curve, "value": entry.value} if entry and entry.curve else None,
        "n": row.n,
        "seconds": row.seconds,
        "scores": {metric: asdict(score) for metric, score in row.by_metric.items()},
        "problems": list(row.problems),
    }


@dataclass(frozen=True)
class Report:
    """The folder of a report, and the command that repeats the comparison."""

    folder: Path
    command: str = ""


def compare(
    latents: ReferenceLike | Subject,
    entries: Sequence[Entry | LatentSampler],
    out: str | os.PathLike[str] | Report | None = None,
    *,
    evaluators: Sequence[Evaluator] | None = None,
    n: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Score strategies side by side, beside real data, and say which is best at what.

    Args:
        latents: a store, a bundle (for the scores that statistics allow), or an array (N, D). For scores of decoded
            images ``Subject.of(latents, autoencoder)``; a bundle brings its autoencoder along.
        entries: strategies, or rows made by :func:`swept`.
        out: folder for the report. Rows that an earlier run finished are kept: a changed comparison computes only
            what changed. None writes nothing.
        evaluators: which scores; by default all that are installed.
        n: vectors drawn by each strategy.
        seed: of the draws and of what is compared with them.
        progress: shows the progress.

    Raises:
        LsamplerError: nothing to compare, an option out of range, or a folder that holds something else.
    """
    _check(entries, n, seed)
    if evaluators is None:
        evaluators = [load_evaluator(name) for name in plugin_names("evaluator")]
    subject = as_subject(latents)
    subject.reference.statistics()  # NaN and too few vectors are reported first
    drawn = [Drawn.of(entry if isinstance(entry, Entry) else Entry.of(entry), n) for entry in entries]
    most = compared_rows([each.check(subject) for each in drawn])
    report = out if isinstance(out, Report) or out is None else Report(Path(out))
    if report:
        check_folder(report.folder, "comparison report")
        mark_folder(report.folder, "comparison report")
    with only_writer(report.folder) if report else contextlib.nullcontext():
        content = content_digest(subject.reference, progress)
        bench = Bench(RealData(subject, seed=seed, rows=most), evaluators, progress)
        cache = RowCache(report.folder if report else None, content)
        scored = score_rows(bench, [*real_sets(subject, other=True), *drawn], cache)
        rows = [*remembered_rows(subject.reference, evaluators), *(row for row in scored if row)]
        provenance = {"command": report.command if report else "", **_provenance(bench, content, n)}
        comparison = Comparison(subject.reference.name, rows, judge(rows), caveats_of(rows), provenance)
        if report:
            from lsampler.reports.comparison.page import write

            write(report.folder, comparison)
    return comparison


def _check(entries: Sequence[object], n: int, seed: int) -> None:
    if not entries:
        raise LsamplerError("nothing to compare; give at least one strategy")
    for name, number, least in (("n", n, 1), ("seed", seed, 0)):
        if number < least:
            raise LsamplerError(f"{name}={number}: give a number of at least {least}")


def _provenance(bench: Bench, content: str, n: int) -> dict[str, Any]:
    """Where the numbers come from."""
    import torch

    reference = bench.real.reference
    return {
        "lsampler": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "reference": reference.name,
        "train vectors": reference.statistics().count,
        "held-out vectors": len(reference.held_out()) if reference.has_latents else 0,
        "dimension": reference.dimension,
        "encoder fingerprint": bench.real.subject.fingerprint or "unknown",
        "content digest": content,
        "vectors per strategy": n,
        "seed": bench.real.seed,
        "evaluators": [evaluator.key() for evaluator in bench.evaluators],
    }
