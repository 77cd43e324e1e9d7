"""Tables of scores: what ``evaluate`` makes of samples, in memory, in stores, or yet to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lsampler.errors import LsamplerError
from lsampler.progress import Progress
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.pipeline import Bench, score_rows
from lsampler.scoring.rows import Row
from lsampler.scoring.sample_sets import HELD_OUT_ROW, Given, Real, SampleSet, Subject
from lsampler.scoring.samples import Decode, Encode, Samples, compared_rows
from lsampler.scoring.scores import Score
from lsampler.scoring.statistics_reference import remembered
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

__all__ = ["Evaluation", "caveats_of", "evaluate", "remembered_rows", "score_sets"]


@dataclass(frozen=True)
class Evaluation:
    """A table of scores: a row for every set of samples, those of the real data first."""

    reference: str
    rows: list[Row]
    caveats: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        rows = [
            {
                "name": row.name,
                "n": row.n,
                "scores": [asdict(score) for score in row.scores],
                "problems": list(row.problems),
            }
            for row in self.rows
        ]
        return {"reference": self.reference, "rows": rows, "caveats": self.caveats}


def evaluate(
    samples: Sequence[Samples],
    reference: ReferenceLike,
    evaluators: Sequence[Evaluator],
    *,
    decode: Decode | None = None,
    encode: Encode | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score sets of samples by every evaluator, beside real vectors.

    Args:
        samples: the sets.
        reference: the real data: a store, a bundle, or an array (N, D).
        evaluators: which scores.
        decode: for the rows of real vectors, as in :class:`Samples`.
        encode: for the rows of real vectors, as in :class:`Samples`.
        seed: of the choice of real vectors that samples are compared with.

    Raises:
        LsamplerError: samples that are not finite vectors (n, D) of the reference's D, or no evaluator that can
            learn from the reference.
    """
    subject = Subject(as_reference(reference), decode, encode)
    return score_sets([Given(name=each.name, held=each) for each in samples], subject, evaluators, seed=seed)[0]


def score_sets(
    sets: Sequence[SampleSet],
    subject: Subject,
    evaluators: Sequence[Evaluator],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Evaluation, list[str]]:
    """Score sets of samples by every evaluator, beside real vectors, on the current engine.

    Args:
        sets: of samples.
        subject: what they belong to.
        evaluators: which scores.
        seed: of the draws and of what is compared with them.
        progress: where to show the progress.

    Returns:
        The table, and why sets that are not required were left out.

    Raises:
        LsamplerError: a set that is required cannot be had, or none can; no evaluator can learn from the reference.
    """
    sizes = [each.check(subject) for each in sets]
    bench = Bench(subject, evaluators, seed=seed, rows=compared_rows(sizes), progress=progress)
    if not bench.is_remote:
        bench.require_prepared()
    rows: list[Row] = []
    had: list[SampleSet] = []
    left_out: list[str] = []
    every = [*Real.both(subject, always=False), *sets]
    for each, row in zip(every, score_rows(bench, every), strict=True):
        if row and row.n:
            rows.append(row)
            had.append(each)
            if evaluators and len(row.unprepared) == len(evaluators):
                raise LsamplerError(row.unprepared[0])
        elif row and each.required:
            raise LsamplerError(row.problems[0])
        elif row:
            left_out.append(row.problems[0])
    drawn = [each for each in sets if each in had]
    if left_out and not drawn:
        raise LsamplerError(left_out[0])
    if left_out and compared_rows([each.check(subject) for each in drawn]) != bench.real.rows:
        # The largest sets are left out: the others are compared with fewer rows than the evaluators were prepared for.
        return score_sets(drawn, subject, evaluators, seed=seed, progress=progress)[0], left_out
    rows = [*remembered_rows(subject.reference, evaluators), *rows]
    return Evaluation(subject.reference.name, rows, _caveats(rows, subject, drawn)), left_out


def _caveats(rows: Sequence[Row], subject: Subject, sets: Sequence[SampleSet]) -> list[str]:
    found = caveats_of(rows)
    if all(row.kind == "drawn" for row in rows):
        found.append(
            f"no row of real vectors: {subject.reference.name} holds none for these scores; give `store=...` that does"
        )
    return [*found, *(caveat for each in sets for caveat in each.caveats(subject))]


def caveats_of(rows: Sequence[Row]) -> list[str]:
    """Scores that no row has, and why, each reason once."""
    unprepared = [line for row in rows for line in row.unprepared]
    return list(dict.fromkeys([*unprepared, *(line for row in rows for line in row.caveats)]))


def remembered_rows(reference: Reference, evaluators: Sequence[Evaluator]) -> list[Row]:
    """The row of held-out vectors that a reference without vectors remembers, if it remembers their scores."""
    scores = [
        Score(**score)
        for key, score in remembered(reference)
        if any(key == evaluator.key_of(score["metric"]) for evaluator in evaluators)
    ]
    return [Row(HELD_OUT_ROW, max(score.n for score in scores), scores, kind="held-out")] if scores else []
