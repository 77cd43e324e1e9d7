"""How tables of scores share the width of a console."""

from __future__ import annotations

from typing import Any

import pytest

from lsampler import LsamplerError
from lsampler.cli.score_table import print_scores
from lsampler.cli.strategies import require_scores
from lsampler.scoring import Evaluation, Evaluator, Row, Samples, Score


@pytest.mark.parametrize(("width", "tables"), [(60, 4), (80, 2), (200, 1)])
def test_tables_of_scores_fit_the_console(
    width: int, tables: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every label and number is there, uncut; a group that needs several tables names itself on each."""
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("held-out real vectors", "runs/somewhere/deep/in/a/tree/of/folders/vectors.h5")
    known: dict[str, Any] = {"group": "distances", "better": "lower", "n": 9}
    numbers = [{"value": 12.34 + k, "low": 10.111 + k, "high": 14.222 + k} for k in range(8)]
    scores = [Score(f"m{k}", label=f"label{k}\nof-this", **known, **numbers[k]) for k in range(8)]
    print_scores(Evaluation("real", [Row(name, 2000, scores) for name in names], []))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    assert (said.count("distances\n"), said.count("distances (continued)\n")) == (1, tables - 1)
    words = said.split()
    for score in scores:
        assert words.count(f"label{score.metric[1:]}") == 1
        assert (words.count(score.text), words.count(score.range_text)) == (2, 2)


class Silent(Evaluator):
    """Gives no score."""

    name = "silent"

    def score(self, samples: Samples) -> list[Score]:
        return []


def test_an_evaluator_without_scores_is_named() -> None:
    with pytest.raises(LsamplerError, match="there is no score from silent; name another --evaluator"):
        require_scores([Row("drawn", 5, [])], [Silent()])
