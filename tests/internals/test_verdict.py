"""The words of a verdict, and which scores count as best, from rows made up for it."""

from __future__ import annotations

from typing import Any

from lsampler import Row, Score
from lsampler.reports.comparison.verdict import best_rows, judge


def row(name: str, value: float, half: float, **metric: Any) -> Row:
    known = {"metric": "m", "group": "g", "label": "l", "better": "lower"} | metric
    score = Score(**known, value=value, low=value - half, high=value + half, n=9)
    return Row(name, 9, [score], kind="held-out" if name == "real" else "drawn")


def test_best_marks_respect_uncertainty() -> None:
    far = [row(name, value, 0.02, better="higher") for name, value in (("a", 0.9), ("b", 0.89), ("c", 0.5))]
    assert best_rows(far, "m") == {"a", "b"}
    assert best_rows(far[:2], "m") == set()
    values = (("real", 0.6, 0.1), ("a", 0.9, 0.02), ("b", 0.61, 0.02))
    real = [row(name, value, half, better="real") for name, value, half in values]
    assert best_rows(real, "m") == {"b"}
    assert best_rows(real[1:], "m") == set()
    assert judge([]).sentences


def test_strategies_that_are_closest_together_are_told_with_the_span_of_their_scores() -> None:
    both, *_ = judge(
        [row(name, auc, 0.02, metric="classifier-auc") for name, auc in (("one", 0.56), ("two", 0.53))]
    ).sentences
    assert "“one” and “two” come closest" in both
    assert "a classifier tells their samples from held-out vectors with AUC 0.53 to 0.56 " in both
    assert "even these" not in both
    alone, *_ = judge([row("one", 0.9, 0.02, metric="classifier-auc")]).sentences
    assert "“one” comes closest" in alone
    assert "tells its samples from held-out vectors with AUC 0.90 " in alone
    assert "even these are told apart" in alone
