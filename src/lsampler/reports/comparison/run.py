"""Compares strategies: scores every one beside real data, judges the rows, and writes the report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, mark_folder
from lsampler.plugins.loading import load_evaluator, plugin_names
from lsampler.progress import Progress
from lsampler.reports.comparison.entries import Entry
from lsampler.reports.comparison.verdict import Verdict, judge
from lsampler.reports.content_digest import content_digest
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.evaluation import caveats_of, remembered_rows
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.pipeline import Bench, Keeping, score_rows
from lsampler.scoring.rows import Row, RowCache
from lsampler.scoring.sample_sets import Real, Subject, as_subject
from lsampler.scoring.samples import compared_rows
from lsampler.store.reference import ReferenceLike

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        reference: the name of the real data.
        rows: a row of scores for each strategy, after those of the real data.
        verdict: what the scores say, in words, and the roles of the rows.
        caveats: scores that no row has, and why.
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
    origin = row.origin
    return {
        "name": row.name,
        "kind": row.kind,
        "strategy": origin.strategy if origin else "",
        "parameters": dict(origin.parameters) if origin else {},
        "sweep": {"curve": origin.curve, "value": origin.value} if origin and origin.curve else None,
        "n": row.n,
        "seconds": row.seconds,
        "scores": {metric: asdict(score) for metric, score in row.by_metric.items()},
        "problems": list(row.problems),
    }


def compare(
    latents: ReferenceLike | Subject,
    entries: Sequence[Entry | LatentSampler],
    out: str | os.PathLike[str] | None = None,
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
    return Comparer(as_subject(latents), evaluators, n=n, seed=seed, progress=progress).compare(entries, out)


class Comparer:
    """Compares strategies on one subject.

    Args:
        subject: the real data, and the autoencoder that goes with them.
        evaluators: which scores; None for all that are installed.
        n: vectors drawn by each strategy.
        seed: of the draws and of what is compared with them.
        progress: shows the progress.
    """

    def __init__(
        self,
        subject: Subject,
        evaluators: Sequence[Evaluator] | None,
        *,
        n: int = 2000,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if n < 1:
            raise LsamplerError(f"n={n}: draw at least one vector")
        if seed < 0:
            raise LsamplerError(f"seed={seed}: give a number of at least 0")
        if evaluators is None:
            evaluators = [load_evaluator(name) for name in dict.fromkeys(plugin_names("evaluator"))]
        self.n = n
        self.bench = Bench(subject, evaluators, seed=seed, rows=compared_rows([n]), progress=progress)

    def compare(
        self, entries: Sequence[Entry | LatentSampler], out: str | os.PathLike[str] | None = None, *, command: str = ""
    ) -> Comparison:
        """Score the entries, and write the report if there is a folder for it.

        Args:
            entries: strategies, or rows made by :func:`swept`.
            out: folder for the report.
            command: that repeats the comparison, for the report.
        """
        from lsampler.reports.comparison.page import write

        if not entries:
            raise LsamplerError("nothing to compare; give at least one strategy")
        subject, folder = self.bench.subject, Path(out) if out is not None else None
        rank = subject.reference.statistics().pca.rank  # NaN and too few vectors are reported first
        if folder:
            check_folder(folder, "comparison report")
        content = content_digest(subject.reference, self.bench.progress)
        if folder:
            mark_folder(folder, "comparison report")
        drawn = [(entry if isinstance(entry, Entry) else Entry.of(entry)).drawn(self.n) for entry in entries]
        keeping = Keeping(RowCache(folder, rank), content, plots=True, pictures=folder is not None)
        found = score_rows(self.bench, [*Real.both(subject, always=True), *drawn], keeping)
        rows = [*remembered_rows(subject.reference, self.bench.evaluators), *(row for row in found if row)]
        provenance = self._provenance(command, content)
        comparison = Comparison(subject.reference.name, rows, judge(rows), caveats_of(rows), provenance)
        if folder:
            write(folder, comparison)
        return comparison

    def _provenance(self, command: str, content: str) -> dict[str, Any]:
        """Where the numbers come from."""
        import torch

        subject = self.bench.subject
        reference = subject.reference
        return {
            "command": command,
            "lsampler": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "reference": reference.name,
            "train vectors": reference.statistics().count,
            "held-out vectors": len(reference.held_out()) if reference.has_latents else 0,
            "dimension": reference.dimension,
            "encoder fingerprint": subject.fingerprint or "unknown",
            "content digest": content,
            "vectors per strategy": self.n,
            "seed": self.bench.seed,
            "evaluators": [evaluator.key() for evaluator in self.bench.evaluators],
        }
