"""The verdict of a comparison in words: closest to real data, traded diversity, copies, misses.

No single score decides. Shrinking every sample towards the centre raises fidelity (core membership, faces, precision,
density) and even coverage; recall, the radius and the classifier reveal it. So fidelity is never praised without
diversity beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lsampler.scoring.row_cache import Row
from lsampler.scoring.scores import Better

MISSES_PRECISION = 0.25
LESS_RECALL = 0.75
SHRUNKEN_RADIUS = 0.9
TIGHT_NOVELTY = 0.5
MANY_COPIES = 0.05
TELLING_AUC = 0.55
AREAS = ("strong-auc", "classifier-auc")
"""Of classifiers, the one that learns from the most vectors first: the others are not asked where it was."""

CLOSEST = "closest to real data"
TRADES = "trades diversity for fidelity"
MISSES = "misses the data"
COPIES = "copies training vectors"
TIGHT = "keeps close to training vectors"
FAILED = "failed"

SENTENCES = {
    TRADES: "{names} [trades|trade] diversity for fidelity: the samples keep to the centre of the data, where images "
    "are clean and alike. That is a trade-off, not an advantage: no strategy is best for fidelity alone.",
    MISSES: "{names} [misses|miss] the region that real vectors fill.",
    COPIES: "{names} [copies|copy] training vectors: nothing new is drawn.",
    TIGHT: "{names} [keeps|keep] close to single training vectors.",
    FAILED: "{names} could not be scored; the reason is in the table.",
}
"""What is said of the rows of a role, in the order of the report; [one|many] depends on how many rows there are."""


@dataclass(frozen=True)
class Verdict:
    """Sentences for a reader who knows none of the scores, and the role of each row by its name."""

    sentences: Sequence[str]
    roles: Mapping[str, str]


def judge(rows: Sequence[Row]) -> Verdict:
    """Find the role of each row, and the sentences about them."""
    drawn = [row for row in rows if row.kind == "drawn"]
    real = _yardstick(rows)
    roles = {row.name: role for row in drawn if (role := _role(row, real))}
    closest = _closest([row for row in drawn if row.name not in roles and row.scores])
    sentences = [_of_closest(closest, real) if closest else "No strategy can be called closest to the real data."]
    for role, sentence in SENTENCES.items():
        names = [row.name for row in drawn if roles.get(row.name) == role]
        if names:
            sentences.append(_filled(sentence, names))
    return Verdict(sentences, roles | {row.name: CLOSEST for row in closest})


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
        precision = scores["precision"]
        if precision.high < MISSES_PRECISION * marks["precision"].value:
            return MISSES
        is_faithful = precision.high >= marks["precision"].low
        is_narrow = scores["recall"].high < LESS_RECALL * marks["recall"].low
        if is_narrow and (is_faithful or shrunk):
            return TRADES
    elif shrunk:
        return TRADES
    if "novelty-ratio" in scores and scores["novelty-ratio"].high < TIGHT_NOVELTY:
        return TIGHT
    return None


def _closest(rows: Sequence[Row]) -> list[Row]:
    """The row that a classifier tells least apart (or of the least Frechet distance), and all as close as it."""
    for metric in (*AREAS, "frechet"):
        having = [row for row in rows if metric in row.by_metric]
        if having:
            best = min(having, key=lambda row: row.by_metric[metric].value)
            near = [row for row in having if row.by_metric[metric].low <= best.by_metric[metric].high]
            return list({row.name: row for row in near}.values())
    return []


def _of_closest(closest: Sequence[Row], real: Row | None) -> str:
    asked = next((area for area in AREAS if any(area in row.by_metric for row in closest)), AREAS[0])
    scores = [row.by_metric[asked] for row in closest if asked in row.by_metric]
    scores.sort(key=lambda score: score.value)
    text = "{names} [comes|come] closest to the real data"
    if len(closest) > 1:
        text += " (within the uncertainty, so none is ahead)"
    if not scores:
        text += ", by the Frechet distance of the latent vectors"
    else:
        span = " to ".join(dict.fromkeys(f"{score.value:.2f}" for score in (scores[0], scores[-1])))
        text += f": a classifier tells [its|their] samples from held-out vectors with AUC {span}"
        text += " (0.5 is chance level, 1 is perfect separation)"
        mark = real.by_metric.get(asked) if real else None
        if mark:
            text += f", where other real vectors get {mark.value:.2f}"
        if scores[0].low > (mark.high if mark else TELLING_AUC):
            text += ". So even these are told apart from real vectors"
    return _filled(text + ".", [row.name for row in closest])


def _filled(sentence: str, names: Sequence[str]) -> str:
    quoted = [f"“{name}”" for name in names]
    listed = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1]
    numbered = re.sub(r"\[(\w+)\|(\w+)\]", r"\1" if len(names) == 1 else r"\2", sentence)
    return numbered.replace("{names}", listed)


def best_rows(rows: Sequence[Row], metric: str) -> set[str]:
    """Names of the drawn rows that are best by a metric, and of those within their uncertainty.

    Where the value of the real data is the best, rows are measured by their distance from it. No row is best where
    all are within the uncertainty of each other.
    """
    drawn = [(row.name, row.by_metric[metric]) for row in rows if row.kind == "drawn" and metric in row.by_metric]
    if len(drawn) < 2:
        return set()
    better = drawn[0][1].better
    real = [row.by_metric[metric].value for row in rows if row.kind != "drawn" and metric in row.by_metric]
    if better == "real" and not real:
        return set()
    losses: dict[Better, Callable[[float], float]] = {
        "higher": lambda value: -value,
        "lower": lambda value: value,
        "real": lambda value: abs(value - real[-1]),
    }
    _, best = min(drawn, key=lambda entry: losses[better](entry[1].value))
    names = {name for name, score in drawn if score.low <= best.high and score.high >= best.low}
    return names if len(names) < len(drawn) else set()
