"""The verdict of a comparison in words: which strategy to use, how good it is, and what is wrong with the others.

No single score decides. Shrinking every sample towards the centre raises fidelity (core membership, faces, precision,
density) and even coverage; recall, the radius and the classifier reveal it. So fidelity is never praised without
diversity beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lsampler.scoring.row_cache import Row
from lsampler.scoring.scores import NORMAL_QUANTILE, Better, Score
from lsampler.showing import About, Shown, paragraph, table

MISSES_PRECISION = 0.25
LESS_RECALL = 0.75
HARDLY_ANY_RECALL = 0.1
SHRUNKEN_RADIUS = 0.9
TIGHT_NOVELTY = 0.5
MANY_COPIES = 0.05
TELLING_AUC = 0.55
FEWEST_HELD_OUT = 500
"""Of fewer held-out vectors the interval of an area is wider than the differences between good strategies."""
NEAR_ZERO = 0.05
STRONG, QUICK = "strong-auc", "classifier-auc"
AREAS = (STRONG, QUICK)
"""Of classifiers, the one that learns from the most vectors first: the others are not asked where it was."""

CLOSEST = "closest to real data"
TRADES = "trades diversity for fidelity"
NARROW = "leaves out most of the data"
MISSES = "misses the data"
COPIES = "copies training vectors"
TIGHT = "keeps close to training vectors"
FAILED = "failed"

OTHERS = {
    TRADES: "{names} [trades|trade] diversity for fidelity: the samples keep to the centre of the data, where items "
    "are clean and alike, which is a trade-off and not an advantage, since no strategy is best for fidelity alone",
    NARROW: "{names} [draws|draw] from a small part of the data and [leaves|leave] out the rest",
    MISSES: "{names} [misses|miss] the region that real vectors fill",
    COPIES: "{names} [copies|copy] training vectors, so nothing new is drawn",
    TIGHT: "{names} [keeps|keep] close to single training vectors",
    FAILED: "{names} could not be scored, for the reason below the table",
}
"""What is said of the rows of a role, in the order of the report; [one|many] depends on how many rows there are."""


@dataclass(frozen=True, repr=False)
class Verdict(Shown):
    """Up to three sentences for a reader who knows none of the scores, and the role of each row by its name.

    Attributes:
        sentences: which strategy to use, how good its samples are, and what is wrong with the others.
        roles: by the names of rows; a row that is neither closest nor flawed has none.
        regret: by the names of rows of ``auto``: by how much their area exceeds that of the best row.
        ranks: whether there are enough held-out vectors to rank strategies that are close.
    """

    sentences: Sequence[str]
    roles: Mapping[str, str]
    regret: Mapping[str, float]
    ranks: bool = True

    def _about(self) -> About:
        return About("Verdict", "", self.sentences[:1])

    def _parts(self) -> Iterator[Markup]:
        yield from map(paragraph, self.sentences[1:])
        if self.roles:
            yield table(["samples", "role"], list(self.roles.items()))


def judge(rows: Sequence[Row], held_out: int | None = None) -> Verdict:
    """Find the role of each row, and the sentences about them.

    Args:
        rows: those of real data and of strategies.
        held_out: how many vectors are held out; None if unknown.
    """
    drawn = [row for row in rows if row.kind == "drawn"]
    real = _yardstick(rows)
    roles = {row.name: role for row in drawn if (role := _role(row, real))}
    closest = _closest([row for row in drawn if row.name not in roles and row.scores])
    ranks = held_out is None or held_out >= FEWEST_HELD_OUT
    first = _recommended(closest) if ranks else _too_few(held_out or 0)
    sentences = [first, _quality(closest, real), _others(drawn, roles)]
    if ranks:
        roles |= {row.name: CLOSEST for row in closest}
    return Verdict([sentence for sentence in sentences if sentence], roles, _regret(drawn, roles), ranks)


def _yardstick(rows: Sequence[Row]) -> Row | None:
    """The row of real data that drawn rows are measured by: one that compares with train vectors, if possible."""
    real = [row for row in rows if row.kind != "drawn" and row.scores]
    return next((row for row in real if "precision" in row.by_metric), real[0] if real else None)


def _role(row: Row, real: Row | None) -> str | None:
    if not row.scores:
        return FAILED
    scores, marks = row.by_metric, real.by_metric if real else {}
    if "near-copies" in scores and scores["near-copies"].low > MANY_COPIES:
        return COPIES
    shrunk = "radius-ratio" in scores and scores["radius-ratio"].high < SHRUNKEN_RADIUS
    if "precision" in scores and "precision" in marks:
        role = _fidelity_and_diversity(scores, marks, shrunk=shrunk)
        if role:
            return role
    elif shrunk:
        return TRADES
    if "novelty-ratio" in scores and scores["novelty-ratio"].high < TIGHT_NOVELTY:
        return TIGHT
    return None


def _fidelity_and_diversity(scores: Mapping[str, Score], marks: Mapping[str, Score], *, shrunk: bool) -> str | None:
    precision, recall = scores["precision"], scores["recall"]
    if precision.high < MISSES_PRECISION * marks["precision"].value:
        return MISSES
    if recall.high < HARDLY_ANY_RECALL * marks["recall"].low:
        return NARROW
    is_faithful = precision.high >= marks["precision"].low
    is_narrow = recall.high < LESS_RECALL * marks["recall"].low
    return TRADES if is_narrow and (is_faithful or shrunk) else None


def _area(rows: Sequence[Row]) -> str | None:
    """The area that rows are ranked by."""
    return next((area for area in AREAS if any(area in row.by_metric for row in rows)), None)


def _closest(rows: Sequence[Row]) -> list[Row]:
    """The row that a classifier tells least apart (or of the least Frechet distance), and all as close as it."""
    metric = _area(rows) or "frechet"
    having = sorted((row for row in rows if metric in row.by_metric), key=lambda row: row.by_metric[metric].value)
    if not having:
        return []
    best = having[0].by_metric[metric]
    return list({row.name: row for row in having if row.by_metric[metric].low <= best.high}.values())


def _too_few(held_out: int) -> str:
    text = f"The strategies cannot be ranked: only {held_out} vectors are held out"
    if held_out:  # the standard error of an area between two sets of so many equal ones
        reach = NORMAL_QUANTILE * math.sqrt(2 / held_out / 12)
        text += f", so an AUC of a classifier is uncertain by about {reach:.2f}"
    return f"{text}; hold out {FEWEST_HELD_OUT} or more."


def _recommended(closest: Sequence[Row]) -> str:
    if not closest:
        return "No strategy can be called closest to the real data."
    metric = _area(closest)
    by = "a classifier tells its samples least from real ones" if metric else "its Frechet distance is the least"
    if len(closest) == 1:
        return f"Use {_named(closest)}: of these strategies it comes closest to the real data, since {by}."
    by = "a classifier tells their samples least from real ones" if metric else "their Frechet distances are the least"
    return (
        f"Use {_named(closest, 'or')}: they come closest to the real data, since {by}, and none of them is ahead "
        "within the uncertainty."
    )


def _quality(closest: Sequence[Row], real: Row | None) -> str:
    """How good the samples of the closest rows are, beside real data."""
    area = _area(closest)
    if area is None:
        return ""
    scores = sorted((row.by_metric[area] for row in closest), key=lambda score: score.value)
    span = " to ".join(dict.fromkeys(f"{score.value:.2f}" for score in (scores[0], scores[-1])))
    mark = real.by_metric.get(area) if real else None
    text = f"The AUC of the classifier is {span}, where 0.5 is chance level and 1 is perfect separation"
    text += f" (other real vectors get {mark.value:.2f})" if mark else ""
    if scores[0].low > (mark.high if mark else TELLING_AUC):
        text += ", so even these samples are told apart from real vectors"
    else:
        text += ", so it does not tell these samples from real vectors"
    text += "; it is the quick classifier, which learns from few vectors and misses much" if area == QUICK else ""
    return text + "."


def _others(drawn: Sequence[Row], roles: Mapping[str, str]) -> str:
    """What is wrong with the others, in one sentence."""
    parts = []
    for role, words in OTHERS.items():
        rows = [row for row in drawn if roles.get(row.name) == role]
        if rows:
            numbered = re.sub(r"\[(\w+)\|(\w+)\]", r"\1" if len(rows) == 1 else r"\2", words)
            parts.append(numbered.replace("{names}", _named(rows)))
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _named(rows: Sequence[Row], conjunction: str = "and") -> str:
    quoted = [f"“{row.name}”" for row in rows]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" {conjunction} " + quoted[-1]


def _regret(drawn: Sequence[Row], roles: Mapping[str, str]) -> dict[str, float]:
    """By how much the area of rows of ``auto`` exceeds the best of a row that does not copy."""
    area = _area(drawn)
    fair = [row for row in drawn if area in row.by_metric and roles.get(row.name) not in (COPIES, TIGHT)]
    if area is None or not fair:
        return {}
    best = min(row.by_metric[area].value for row in fair)
    own = [row for row in drawn if area in row.by_metric and row.entry and row.entry.sampler.name == "auto"]
    return {row.name: row.by_metric[area].value - best for row in own}


def says_nothing(real: Sequence[Score]) -> bool:
    """Whether a score that should be high is near 0 for real data itself, such as the share of faces of digits."""
    return bool(real) and real[-1].better == "higher" and abs(real[-1].value) < NEAR_ZERO


def best_rows(rows: Sequence[Row], metric: str, verdict: Verdict) -> set[str]:
    """Names of the drawn rows that are best by a metric, and of those within their uncertainty.

    Where the value of the real data is the best, rows are measured by their distance from it. Rows with a flaw take
    no part. No row is best where all are within the uncertainty of each other, where real data itself is near 0, or
    where there are too few held-out vectors to rank any.
    """
    fair = [row for row in rows if row.kind == "drawn" and verdict.roles.get(row.name, CLOSEST) == CLOSEST]
    drawn = [(row.name, row.by_metric[metric]) for row in fair if metric in row.by_metric]
    if len(drawn) < 2 or not verdict.ranks:
        return set()
    better = drawn[0][1].better
    real = [row.by_metric[metric] for row in rows if row.kind != "drawn" and metric in row.by_metric]
    if says_nothing(real) or (better == "real" and not real):
        return set()
    losses: dict[Better, Callable[[float], float]] = {
        "higher": lambda value: -value,
        "lower": lambda value: value,
        "real": lambda value: abs(value - real[-1].value),
    }
    _, best = min(drawn, key=lambda entry: losses[better](entry[1].value))
    names = {name for name, score in drawn if score.low <= best.high and score.high >= best.low}
    return names if len(names) < len(drawn) else set()
