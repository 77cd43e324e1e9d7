"""Tables of scores: what ``evaluate`` makes of samples, in memory, in stores, or yet to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from markupsafe import Markup

from lsampler.errors import LsamplerError
from lsampler.progress import ProgressLike, shows_progress
from lsampler.scoring.evaluator import Evaluator, EvaluatorLike, as_evaluators
from lsampler.scoring.pipeline import Bench, score_rows
from lsampler.scoring.row_cache import Row, RowCache
from lsampler.scoring.sample_sets import HELD_OUT_ROW, Given, SampleSet, real_sets
from lsampler.scoring.samples import RealData, Samples, compared_rows
from lsampler.scoring.score_tables import facts_of, scores_frame, scores_html, without_ranking
from lsampler.scoring.scores import Score
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.scoring.subject import Subject, as_subject
from lsampler.scoring.suitable import require_suitable
from lsampler.scoring.verdict import Verdict, judge
from lsampler.showing import About, Shown, name_of
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import ReferenceLike
from lsampler.store.reference import Reference


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """A table of scores: a row for every set of samples, those of the real data first.

    Attributes:
        reference: the name of the real data.
        rows: the scores of each set of samples.
        caveats: what a reader has to know, such as scores that no row has, with the reasons.
        held_out: how many vectors are held out; None if unknown.
    """

    reference: str
    rows: list[Row]
    caveats: list[str]
    held_out: int | None = None

    @cached_property
    def verdict(self) -> Verdict:
        """What the scores say, in words; of several sets of samples also which is the closest to the real data."""
        found = judge(self.rows, self.held_out)
        return found if sum(row.kind == "drawn" for row in self.rows) > 1 else without_ranking(found)

    def to_frame(self, *, wide: bool = False) -> Any:
        """The scores as a ``pandas.DataFrame``.

        Args:
            wide: False gives a line for every row and score, with the columns ``row``, ``kind``, ``metric``, ``label``,
                ``group``, ``value``, ``low``, ``high``, ``n``, ``better``, ``unit`` and ``interval``; True a line for
                every row with the values of its scores, a column for each metric.

        Raises:
            LsamplerError: pandas is not installed.
        """
        return scores_frame(self.rows, "Evaluation", wide=wide, more={})

    def _about(self) -> About:
        return About("Evaluation", f"on {name_of(self.reference)}", facts_of(self.rows))

    def _parts(self) -> Iterator[Markup]:
        return scores_html(self.rows, self.verdict, self.caveats)

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


@shows_progress
def evaluate(
    samples: Sequence[Samples | SampleSet],
    reference: ReferenceLike | Subject,
    evaluators: EvaluatorLike | Iterable[EvaluatorLike],
    *,
    seed: int = 0,
    progress: ProgressLike = None,
) -> Evaluation:
    """Score sets of samples by every evaluator, beside real vectors.

    Args:
        samples: the sets.
        reference: the real data: a store, a bundle, the path or name of one, or an array (N, D). For scores of decoded
            items ``Subject.of(reference, autoencoder)``; a bundle, and a store of :func:`lsampler.encode`, bring their
            autoencoder along.
        evaluators: which scores: names, classes or instances, or a single one.
        seed: of the choice of real vectors that samples are compared with, and of sets that are yet to be drawn.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: samples that are not finite vectors (n, D) of the reference's D, or no evaluator that can
            learn from the reference.
    """
    evaluators, subject = as_evaluators(evaluators), as_subject(reference, "reference")
    require_suitable(evaluators, subject)
    sets = [each if isinstance(each, SampleSet) else Given.of(each) for each in samples]
    bench = Bench(RealData(subject, seed=seed, rows=_compared(sets, subject)), evaluators, progress)
    every = [*real_sets(subject, other=any(one.compares_with_train for one in evaluators)), *sets]
    rows: list[Row] = []
    drawn: list[SampleSet] = []
    left_out: list[str] = []
    for each, row in zip(every, score_rows(bench, every, RowCache()), strict=True):
        if row and row.n:
            rows.append(row)
            drawn += [each] if each in sets else []
        elif row and each.required:
            raise LsamplerError(row.problems[0])
        elif row:
            left_out.append(row.problems[0])
    if left_out and not drawn:
        raise LsamplerError(left_out[0])
    caveats = [f"left out: {reason}" for reason in left_out]
    if left_out and _compared(drawn, subject) != bench.real.rows:
        # The largest sets are left out: the others are compared with fewer rows than the evaluators were prepared for.
        table = evaluate(drawn, subject, evaluators, seed=seed, progress=progress)
        return replace(table, caveats=[*table.caveats, *caveats])
    rows = [*remembered_rows(subject.reference, evaluators), *rows]
    held_out = subject.reference.count("held-out") if isinstance(subject.reference, LatentStore) else None
    return Evaluation(subject.reference.name, rows, [*_caveats(rows, subject, drawn), *caveats], held_out)


def _compared(sets: Sequence[SampleSet], subject: Subject) -> int:
    return compared_rows([each.check(subject) for each in sets])


def _caveats(rows: Sequence[Row], subject: Subject, sets: Sequence[SampleSet]) -> list[str]:
    found = caveats_of(rows)
    if all(row.kind == "drawn" for row in rows):
        found.append(
            f"no row of real vectors: {subject.reference.name} holds none for these scores; give `store=...` that does"
        )
    return [*found, *(caveat for each in sets for caveat in each.caveats(subject))]


def caveats_of(rows: Sequence[Row]) -> list[str]:
    """What is missing from all rows, and why, and warnings about the real data; each line once."""
    return list(dict.fromkeys(line for row in rows for line in row.caveats))


def remembered_rows(reference: Reference, evaluators: Sequence[Evaluator]) -> list[Row]:
    """The row of held-out vectors that a reference without vectors remembers, if it remembers their scores."""
    known = reference.held_out_scores if isinstance(reference, StatisticsReference) else []
    scores = [Score(**score) for key, score in known if any(key == one.key_of(score["metric"]) for one in evaluators)]
    return [Row(HELD_OUT_ROW, max(score.n for score in scores), scores, kind="held-out")] if scores else []
