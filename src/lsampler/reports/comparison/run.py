"""Compares strategies: scores every one beside real data, judges the rows, and writes the report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, mark_folder, only_writer, unmark_folder
from lsampler.plugins.base import listed
from lsampler.plugins.by_name import evaluators_for
from lsampler.progress import ProgressLike, shows_progress
from lsampler.reports.content_digest import content_digest
from lsampler.samplers.base import SamplerLike
from lsampler.scoring.entries import Entry, as_entries
from lsampler.scoring.evaluation import caveats_of, remembered_rows
from lsampler.scoring.evaluator import Evaluator, EvaluatorLike, as_evaluators
from lsampler.scoring.pipeline import Bench, score_rows
from lsampler.scoring.row_cache import Row, RowCache
from lsampler.scoring.sample_sets import Drawn, Given, SampleSet, drawing_seed, real_sets
from lsampler.scoring.samples import RealData, Samples, compared_rows
from lsampler.scoring.score_tables import facts_of, pictures_html, scores_frame, scores_html
from lsampler.scoring.subject import Subject, as_subject
from lsampler.scoring.suitable import require_suitable
from lsampler.scoring.verdict import CLOSEST, Verdict, judge
from lsampler.showing import About, Shown, name_of
from lsampler.store.opening import ReferenceLike

Compared: TypeAlias = "Entry | SamplerLike | Samples"
"""What a row of a comparison is made from: a strategy, or samples."""
WRITE_SECONDS = 60
FILES = ("scores.json", "scores.csv", "summary.md", "index.html")


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
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

    def to_frame(self, *, wide: bool = False) -> Any:
        """The scores as a ``pandas.DataFrame``.

        Args:
            wide: False gives a line for every row and score, with the columns ``row``, ``kind``, ``role`` (in the
                verdict), ``metric``, ``label``, ``group``, ``value``, ``low``, ``high``, ``n``, ``better``, ``unit``
                and ``interval``; True a line for every row with the values of its scores, a column for each metric.

        Raises:
            LsamplerError: pandas is not installed.
        """
        return scores_frame(self.rows, "Comparison", wide=wide, more={"role": self.verdict.roles})

    def _about(self) -> About:
        best = [row.name for row in self.rows if self.verdict.roles.get(row.name) == CLOSEST]
        closest = f"{CLOSEST}: {' and '.join(best)}" if best else ""
        return About("Comparison", f"on {name_of(self.reference)}", [*facts_of(self.rows), closest])

    def _parts(self) -> Iterator[Markup]:
        yield from scores_html(self.rows, self.verdict, self.caveats)
        yield from pictures_html(self.rows, self.verdict, self.provenance["kind of items"])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lsampler": __version__,
            "reference": self.reference,
            "provenance": dict(self.provenance),
            "verdict": {
                "sentences": list(self.verdict.sentences),
                "roles": dict(self.verdict.roles),
                "regret": dict(self.verdict.regret),
                "ranks": self.verdict.ranks,
            },
            "caveats": list(self.caveats),
            "rows": [_as_dict(row, self.provenance["seed"]) for row in self.rows],
        }


def _as_dict(row: Row, seed: int) -> dict[str, Any]:
    entry = row.entry
    return {
        "name": row.name,
        "kind": row.kind,
        "strategy": entry.sampler.name if entry else "",
        "parameters": entry.sampler.settings() if entry else {},
        "sweep": {"curve": entry.curve, "value": entry.value} if entry and entry.curve else None,
        "n": row.n,
        "seed": drawing_seed(entry.sampler, seed) if entry else None,
        "note": row.note,
        "seconds": row.seconds,
        "scores": {metric: asdict(score) for metric, score in row.by_metric.items()},
        "problems": list(row.problems),
    }


@dataclass(frozen=True)
class Report:
    """The folder of a report, the command that repeats the comparison, and what a reader of it has to know."""

    folder: Path
    command: str = ""
    caveats: Sequence[str] = ()


@shows_progress
def compare(
    latents: ReferenceLike | Subject,
    entries: Compared | Iterable[Compared],
    out: str | os.PathLike[str] | Report | None = None,
    *,
    evaluators: EvaluatorLike | Iterable[EvaluatorLike] | None = None,
    n: int = 2000,
    seed: int = 0,
    progress: ProgressLike = None,
) -> Comparison:
    """Score strategies side by side, beside real data, and say which is best at what.

    Args:
        latents: a store, a bundle (for the scores that statistics allow), the path or name of one, or an array (N, D).
            For scores of decoded items ``Subject.of(latents, autoencoder)``; a bundle, and a store of
            :func:`lsampler.encode`, bring their autoencoder along.
        entries: strategies by name, by class or with their parameters, rows made by :func:`swept`, samples that
            something else has made (:meth:`Samples.of_items`), or a single one.
        out: folder for the report, which is written every minute while rows come in, if one has a score. Rows that an
            earlier run finished are kept: a changed comparison computes only what changed. None writes nothing.
        evaluators: which scores: names, classes or instances; by default all that are installed and made for the items
            of the autoencoder.
        n: vectors drawn by each strategy.
        seed: of the choice of real vectors. Each strategy draws from a seed of its own that follows from it, and
            that ``scores.json`` holds.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: nothing to compare, an option out of range, or a folder that holds something else.
    """
    drawn = _sets(entries, n)
    _check(drawn, n, seed)
    subject = as_subject(latents)
    scores, left_out = _evaluators(evaluators, subject)
    subject.reference.statistics()  # NaN and too few vectors are reported first
    most = compared_rows([each.check(subject) for each in drawn])
    report = out if isinstance(out, Report) or out is None else Report(Path(out))
    with _writing(report.folder) if report else contextlib.nullcontext():
        content = content_digest(subject.reference, progress)
        known_items = "" if subject.reference.items is None else " with items"  # scores of items depend on it
        bench = Bench(RealData(subject, seed=seed, rows=most), scores, progress)
        known = {"command": report.command if report else "", **_provenance(bench, content, n)}
        known["caveats"] = [*left_out, *(report.caveats if report else ())]
        sets = [*real_sets(subject, other=True), *drawn]
        return _scored(bench, sets, RowCache(report.folder if report else None, content + known_items), known)


def _scored(bench: Bench, sets: Sequence[SampleSet], cache: RowCache, provenance: Mapping[str, Any]) -> Comparison:
    """The comparison of all sets; where it has a folder, a report of the rows so far is written every minute."""
    reference, written = bench.real.reference, time.monotonic()
    rows = remembered_rows(reference, bench.evaluators)
    for done, row in enumerate(score_rows(bench, sets, cache, illustrated=True), start=1):
        rows += [row] if row else []
        unfinished = [f"unfinished: {done} of {len(sets)} rows are scored"] if done < len(sets) else []
        scored = any(each.scores for each in rows)
        if cache.report and scored and (not unfinished or time.monotonic() - written > WRITE_SECONDS):
            _write(cache.report, _judged(reference.name, rows, unfinished, provenance))
            written = time.monotonic()
    return _judged(reference.name, rows, [], provenance)


def _judged(name: str, rows: list[Row], caveats: list[str], provenance: Mapping[str, Any]) -> Comparison:
    verdict = judge(rows, provenance["held-out vectors"])
    every = [*caveats, *provenance["caveats"], *caveats_of(rows)]
    return Comparison(name, list(rows), verdict, every, {k: v for k, v in provenance.items() if k != "caveats"})


def _sets(given: Compared | Iterable[Compared], n: int) -> list[SampleSet]:
    """What is compared: samples as they are, and ``n`` of each strategy."""
    found: list[SampleSet] = []
    for each in [given] if isinstance(given, Samples) else listed(given):
        if isinstance(each, Samples):
            found.append(Given.of(each))
        else:
            found += [Drawn.of(entry, n, own_seed=True) for entry in as_entries(each)]
    return found


def _evaluators(
    given: EvaluatorLike | Iterable[EvaluatorLike] | None, subject: Subject
) -> tuple[list[Evaluator], list[str]]:
    """The evaluators that are given, or all that suit the items, and a line about those that do not."""
    if given is None:
        names, left_out = evaluators_for(subject)
        return as_evaluators(names), left_out
    found = as_evaluators(given)
    require_suitable(found, subject)
    return found, []


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make the folder, which no other process writes meanwhile; it does not stay if nothing is written into it."""
    check_folder(folder, "comparison report", FILES)
    mark_folder(folder, "comparison report")
    try:
        with only_writer(folder):
            yield
    finally:
        unmark_folder(folder)


def _write(folder: Path, comparison: Comparison) -> None:
    from lsampler.reports.comparison.page import write  # which loads matplotlib

    write(folder, comparison)


def _check(entries: Sequence[object], n: int, seed: int) -> None:
    if not entries:
        raise LsamplerError("nothing to compare; give at least one strategy")
    for name, number, least in (("n", n, 1), ("seed", seed, 0)):
        if number < least:
            raise LsamplerError(f"{name}={number}: give a number of at least {least}")


def _provenance(bench: Bench, content: str, n: int) -> dict[str, Any]:
    """Where the numbers come from."""
    import torch

    reference, item = bench.real.reference, bench.real.item
    return {
        "lsampler": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "reference": reference.name,
        "condition": getattr(getattr(reference, "condition", None), "text", ""),
        "train vectors": reference.statistics().count,
        "held-out vectors": len(reference.held_out()) if reference.has_latents else None,
        "dimension": reference.dimension,
        "kind of items": item.kind if item else "image",
        "items": item.words if item else "",
        "encoder fingerprint": bench.real.subject.fingerprint or "unknown",
        "content digest": content,
        "vectors per strategy": n,
        "seed": bench.real.seed,
        "evaluators": [evaluator.key() for evaluator in bench.evaluators],
    }
