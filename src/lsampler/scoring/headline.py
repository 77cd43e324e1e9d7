"""The questions that the first table of a comparison answers, each by the score that is best suited to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsampler.scoring.row_cache import Row
from lsampler.scoring.scores import DIRECTIONS, Score
from lsampler.scoring.verdict import CLOSEST, FAILED, Verdict, says_nothing


@dataclass(frozen=True)
class Question:
    """A column of the headline.

    Attributes:
        name: the head of the column.
        answers: metrics and what they measure, the best suited first. Which scores of fidelity and diversity these
            are follows from the checks of docs/scores-tested.md.
    """

    name: str
    answers: tuple[tuple[str, str], ...]


QUESTIONS = (
    Question(
        "As asked",
        (
            ("condition-found-judge", "found by the judge"),
            ("condition-found-decoded", "found, encoded again"),
            ("condition-found", "found in vectors"),
        ),
    ),
    Question("Other labels", (("condition-entanglement", "moved on average"),)),
    Question(
        "Item quality",
        (
            ("faces", "share with a face"),
            ("image-frechet", "Frechet distance of features"),
            ("reconstruction-auc", "AUC beside decoded real vectors"),
            ("cycle-distance", "error, decoded and encoded again"),
        ),
    ),
    Question("Beside real items", (("item-auc", "AUC, decoder included"),)),
    Question("Fidelity", (("clipped-density", "clipped density"), ("precision", "precision"))),
    Question("Diversity", (("symmetric-recall", "symmetric recall"), ("recall", "recall"))),
    Question("Copies", (("near-copies", "share of near-copies"),)),
    Question("Told apart", (("strong-auc", "AUC, strong judge"), ("classifier-auc", "AUC, quick judge"))),
    Question("Likelihood", (("log-likelihood-gain", "gain on a normal, nats"),)),
)


@dataclass(frozen=True)
class Column:
    """A question with the score that answers it in this comparison."""

    question: str
    measures: str
    score: Score

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.score.metric

    @property
    def direction(self) -> str:
        """How to read it."""
        return DIRECTIONS[self.score.better]


def headline(rows: Sequence[Row]) -> list[Column]:
    """The columns that these rows have an answer for."""
    found: list[Column] = []
    for question in QUESTIONS:
        for metric, measures in question.answers:
            having = [row.by_metric[metric] for row in rows if metric in row.by_metric]
            real = [row.by_metric[metric] for row in rows if row.kind != "drawn" and metric in row.by_metric]
            if having and not says_nothing(real):
                found.append(Column(question.name, measures, having[0]))
                break
    return found


def short(score: Score) -> str:
    """A score as the headline shows it."""
    return f"{100 * score.value:.0f} %" if score.unit == "share" else _rounded(score.value)


def short_range(score: Score) -> str:
    """Its interval as the headline shows it."""
    if score.unit == "share":
        return f"{100 * score.low:.0f} to {100 * score.high:.0f}"
    return f"{_rounded(score.low)} to {_rounded(score.high)}"


def _rounded(value: float) -> str:
    size = abs(value)
    return f"{value:.3g}" if 0 < size < 0.1 or size >= 1000 else f"{value:.{2 if size < 10 else 1}f}"


def in_order(rows: Sequence[Row], verdict: Verdict) -> list[Row]:
    """The rows as the headline shows them: real data, the best first, those with a flaw, those that failed."""
    areas = [column.metric for column in headline(rows) if column.question == "Told apart"]

    def place(row: Row) -> tuple[int, float]:
        role = verdict.roles.get(row.name)
        group = 0 if row.kind != "drawn" else 3 if role == FAILED else 2 if role not in (None, CLOSEST) else 1
        known = [row.by_metric[area].value for area in areas if area in row.by_metric]
        return group, known[0] if known and group else 0.0 if not group else 2.0

    return sorted(rows, key=place)
