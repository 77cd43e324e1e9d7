"""Tables as DataFrames hold the numbers of the objects, and say how to install pandas where it is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shown import analysis, choice, comparison, evaluation, store, training, vectors

from lsampler import LsamplerError
from lsampler.models import TrainingResult
from lsampler.scoring import Row
from lsampler.store import FileStore, LatentStore, MemoryStore

TABLES: dict[str, Callable[[], Any]] = {"evaluation": evaluation, "comparison": comparison, "choice": choice}
LONG = ["metric", "label", "group", "value", "low", "high", "n", "better", "unit", "interval"]
MORE = {"evaluation": [], "comparison": ["role"], "choice": ["chosen"]}
EVERY = {
    **TABLES,
    "analysis": analysis,
    "statistics": lambda: store().statistics(),
    "store": store,
    "training": training,
}


def rows_of(found: Any) -> list[Row]:
    return list(getattr(found, "evaluation", found).rows)


@pytest.mark.parametrize("kind", TABLES)
def test_a_long_table_has_a_line_for_every_row_and_score(kind: str) -> None:
    found = TABLES[kind]()
    table = found.to_frame()
    assert list(table.columns) == ["row", "kind", *MORE[kind], *LONG]
    wanted = [(row.name, row.kind, s) for row in rows_of(found) for s in row.by_metric.values()]
    assert list(table["row"]) == [name for name, _, _ in wanted]
    assert list(table["kind"]) == [which for _, which, _ in wanted]
    for head in ("metric", "group", "value", "low", "high", "n", "better", "unit", "interval"):
        assert list(table[head]) == [getattr(score, head) for _, _, score in wanted]
    assert table["value"].dtype == np.float64


@pytest.mark.parametrize("kind", TABLES)
def test_a_wide_table_has_a_column_for_every_metric(kind: str) -> None:
    found = TABLES[kind]()
    table = found.to_frame(wide=True)
    assert list(table.index) == [row.name for row in rows_of(found)]
    assert list(table.columns)[: 2 + len(MORE[kind])] == ["kind", "vectors", *MORE[kind]]
    for position, row in enumerate(rows_of(found)):
        line = table.iloc[position]
        assert line["vectors"] == row.n
        for metric in table.columns[2 + len(MORE[kind]) :]:
            score = row.by_metric.get(metric)
            assert line[metric] == score.value if score else np.isnan(line[metric])
    assert {s.metric for row in rows_of(found) for s in row.scores} <= set(table.columns)


def test_a_table_says_the_role_and_the_choice() -> None:
    roles = comparison().to_frame(wide=True)["role"].dropna().to_dict()
    assert roles == dict(comparison().verdict.roles)
    chosen = choice().to_frame(wide=True)["chosen"]
    assert list(chosen.index[chosen]) == [choice().label]


def test_statistics_as_a_table() -> None:
    table = store().statistics().to_frame()
    train = store().latents().astype(np.float64)
    assert list(table.columns) == ["component", "mean", "std", "half_width", "minimum", "maximum"]
    np.testing.assert_allclose(table["mean"], train.mean(axis=0))
    np.testing.assert_allclose(table["std"], train.std(axis=0, ddof=1))
    np.testing.assert_allclose(table["half_width"], 2 * np.sqrt(2 * np.log(2)) * train.std(axis=0, ddof=1))
    np.testing.assert_array_equal(table[["minimum", "maximum"]], np.stack([train.min(axis=0), train.max(axis=0)], 1))


def test_the_rows_of_a_store_as_a_table(tiny_store: LatentStore) -> None:
    for found in (tiny_store, store()):
        table = found.to_frame()
        components = [f"z{j}" for j in range(found.dimension)]
        assert list(table.columns) == ["id", "split", *components]
        assert list(table["id"]) == found.ids()
        assert list(table["split"]) == found.splits()
        np.testing.assert_array_equal(table[components].to_numpy(), found.read())
        held_out = found.to_frame("held-out")
        assert len(held_out) == found.count("held-out")
        np.testing.assert_array_equal(held_out[components].to_numpy(), found.held_out())
    assert list(MemoryStore(vectors()[:, :2]).to_frame("train").columns) == ["split", "z0", "z1"]
    with pytest.raises(LsamplerError, match="`split=heldout` is unknown; did you mean 'held-out'"):
        store().to_frame("heldout")  # type: ignore[arg-type]
    assert isinstance(tiny_store, FileStore)


def test_an_analysis_as_tables() -> None:
    found = analysis()
    statements = found.to_frame()
    assert list(statements["statement"]) == [each.statement for each in found.judgements]
    assert list(statements["status"]) == [each.status for each in found.judgements]
    assert list(found.to_frame("findings")["text"]) == [each.text for each in found.findings]
    measured = found.to_frame("measured")
    assert set(measured["section"]) == set(found.measured)
    means = measured[(measured["section"] == "components") & (measured["name"] == "components.mean")]
    assert list(means["value"]) == found.measured["components"]["components"]["mean"]
    assert list(means["index"]) == list(range(len(means)))
    peak = measured[measured["name"] == "radius.peak"]
    assert list(peak["value"]) == [found.measured["components"]["radius"]["peak"]]
    with pytest.raises(LsamplerError, match="`table=finding` is unknown; did you mean 'findings'"):
        found.to_frame("finding")  # type: ignore[arg-type]


def test_the_curve_of_a_training_as_a_table(tmp_path: Path) -> None:
    result = TrainingResult(tmp_path / "model.safetensors", 0.02, 2, False, {})
    with pytest.raises(LsamplerError, match=r"training\.csv: no readable curve"):
        result.to_frame()
    (tmp_path / "training.csv").write_text("epoch,train_mse,held_out_mse,seconds\n1,0.5,0.25,1.5\n2,0.125,0.0625,1.0\n")
    table = result.to_frame()
    assert table.to_dict("list") == {
        "epoch": [1, 2],
        "train_mse": [0.5, 0.125],
        "held_out_mse": [0.25, 0.0625],
        "seconds": [1.5, 1.0],
    }


@pytest.mark.parametrize("kind", EVERY)
def test_without_pandas_a_line_says_how_to_install_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = EVERY[kind]()
    if kind == "training":
        found = TrainingResult(tmp_path / "model.safetensors", 0.02, 2, False, {})
        (tmp_path / "training.csv").write_text("epoch,train_mse,held_out_mse,seconds\n1,0.5,0.25,1.5\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LsamplerError) as told:
        found.to_frame()
    said = f"{type(found).__name__}.to_frame() needs pandas; install it with: pip install 'lsampler[frames]'"
    assert str(told.value) == said
