"""What the scores say, in words: closest to real data, traded diversity, copies, misses.

No single score decides. Shrinking every sample towards the centre raises fidelity (core
membership, faces, precision, density) and even coverage; recall, the radius and the classifier
show it. So fidelity is never praised without diversity beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsampler.scoring.evaluator import Score

if TYPE_CHECKING:
    from lsampler.reports.comparison.run import Cell

__all__ = ["Verdict", "best_rows", "judge"]

MISSES_PRECISION = 0.25
LESS_RECALL = 0.75
SHRUNKEN_RADIUS = 0.9
TIGHT_NOVELTY = 0.5


@dataclass(frozen=True)
class Verdict:
    """Sentences for a reader who knows none of the scores, and the role of each row by its name."""

    sentences: Sequence[str]
    roles: Mapping[str, str]


def judge(cells: Sequence[Cell]) -> Verdict:
    """Roles first, then sentences about them."""
    drawn = [cell for cell in cells if cell.kind == "drawn"]
    real = _yardstick(cells)
    roles: dict[str, str] = {}
    for cell in drawn:
        role = _role(cell, real)
        if role:
            roles[cell.name] = role
    honest = [cell for cell in drawn if roles.get(cell.name) is None and cell.scores]
    closest = _closest(honest)
    for cell in closest:
        roles[cell.name] = "closest to real data"
    return Verdict(_sentences(drawn, real, roles, closest), roles)


def _yardstick(cells: Sequence[Cell]) -> Cell | None:
    real = [cell for cell in cells if cell.kind != "drawn" and cell.scores]
    return next((cell for cell in real if "precision" in cell.scores), real[0] if real else None)


def _role(cell: Cell, real: Cell | None) -> str | None:
    if not cell.scores:
        return "failed"
    scores, marks = cell.scores, real.scores if real else {}
    copies, fewest = scores.get("near-copies"), scores.get("novelty-ratio")
    if copies and copies.low > 0.05:
        return "copies training vectors"
    if "precision" in scores and "precision" in marks:
        if scores["precision"].high < MISSES_PRECISION * marks["precision"].value:
            return "misses the data"
        faithful = scores["precision"].high >= marks["precision"].low
        narrow = scores["recall"].high < LESS_RECALL * marks["recall"].low
        shrunk = "radius-ratio" in scores and scores["radius-ratio"].high < SHRUNKEN_RADIUS
        if (faithful and narrow) or (shrunk and narrow):
            return "trades diversity for fidelity"
    elif "radius-ratio" in scores and scores["radius-ratio"].high < SHRUNKEN_RADIUS:
        return "trades diversity for fidelity"
    if fewest and fewest.high < TIGHT_NOVELTY:
        return "keeps close to training vectors"
    return None


def _closest(cells: Sequence[Cell]) -> list[Cell]:
    """The row a classifier tells least apart (or of the least Frechet distance), and all as close as it."""
    for metric in ("classifier-auc", "frechet"):
        rows = [cell for cell in cells if metric in cell.scores]
        if rows:
            best = min(rows, key=lambda cell: cell.scores[metric].value)
            near = [best, *(cell for cell in rows if cell.scores[metric].low <= best.scores[metric].high)]
            return list({cell.key or cell.name: cell for cell in reversed(near)}.values())[::-1]
    return []


def _sentences(
    drawn: Sequence[Cell], real: Cell | None, roles: Mapping[str, str], closest: Sequence[Cell]
) -> list[str]:
    by_role: dict[str, list[str]] = {}
    for cell in drawn:
        by_role.setdefault(roles.get(cell.name, ""), []).append(cell.name)
    sentences = []
    if closest:
        sentences.append(_of_closest(closest, real))
    else:
        sentences.append("No strategy can be called closest to the real data.")
    if names := by_role.get("trades diversity for fidelity"):
        sentences.append(
            f"{_list(names)} {_verb(names, 'trades', 'trade')} diversity for fidelity: the samples keep to the centre "
            "of the data, where images are clean and alike. That is a choice, not a merit: none is best for fidelity "
            "alone."
        )
    if names := by_role.get("misses the data"):
        sentences.append(f"{_list(names)} {_verb(names, 'misses', 'miss')} the region that real vectors fill.")
    if names := by_role.get("copies training vectors"):
        sentences.append(f"{_list(names)} {_verb(names, 'copies', 'copy')} training vectors: nothing new is drawn.")
    if names := by_role.get("keeps close to training vectors"):
        sentences.append(f"{_list(names)} {_verb(names, 'keeps', 'keep')} close to single training vectors.")
    if names := by_role.get("failed"):
        sentences.append(f"{_list(names)} could not be scored; the reason is in the table.")
    return sentences


def _value(score: Score) -> float:
    return score.value


def _of_closest(closest: Sequence[Cell], real: Cell | None) -> str:
    names = [cell.name for cell in closest]
    scores = sorted((cell.scores["classifier-auc"] for cell in closest if "classifier-auc" in cell.scores), key=_value)
    text = f"{_list(names)} {_verb(names, 'comes', 'come')} closest to the real data"
    if len(names) > 1:
        text += " (within the uncertainty, so none is ahead)"
    if not scores:
        return text + ", by the Frechet distance of the latent vectors."
    span = " to ".join(dict.fromkeys(f"{score.value:.2f}" for score in (scores[0], scores[-1])))
    text += f": a classifier tells {_verb(names, 'its', 'their')} samples from held-out vectors with AUC {span}"
    text += " (0.5 is a coin toss, 1 is always)"
    mark = real.scores.get("classifier-auc") if real else None
    if mark:
        text += f", where other real vectors get {mark.value:.2f}"
    if scores[0].low > (mark.high if mark else 0.55):
        text += ". So even these are told apart from real vectors"
    return text + "."


def _list(names: Sequence[str]) -> str:
    quoted = [f"“{name}”" for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1]


def _verb(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def best_rows(cells: Sequence[Cell], metric: str) -> set[str]:
    """Names of the drawn rows that are best by a metric, and of those within their uncertainty.

    Where the real data's value is the best, rows are measured by their distance from it. No row is
    best where all are within the uncertainty of each other.
    """
    rows = [(cell.name, cell.scores[metric]) for cell in cells if cell.kind == "drawn" and metric in cell.scores]
    if len(rows) < 2:
        return set()
    direction = rows[0][1].better
    target: float | None = None
    if direction == "real":
        marks = [cell.scores[metric] for cell in cells if cell.kind != "drawn" and metric in cell.scores]
        if not marks:
            return set()
        target = marks[-1].value

    def loss(score: Score) -> float:
        if target is not None:
            return abs(score.value - target)
        return -score.value if direction == "higher" else score.value

    _, best = min(rows, key=lambda row: loss(row[1]))
    names = {name for name, score in rows if score.low <= best.high and score.high >= best.low}
    return names if len(names) < len(rows) else set()
