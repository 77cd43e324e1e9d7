"""The verdict and the headline, on rows of scores that are made by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lsampler import compare, evaluate, load_sampler
from lsampler.compute import Block
from lsampler.plugins import load_evaluator
from lsampler.reports import Entry
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import RealData, Row, Samples, Score, Subject
from lsampler.scoring.headline import headline, in_order, short, short_range
from lsampler.scoring.plot_data import picture_of, plot_data
from lsampler.scoring.verdict import best_rows, judge
from lsampler.store import MemoryStore, Reference

REAL: Mapping[str, float] = {"precision": 0.7, "recall": 0.7, "strong-auc": 0.5, "clipped-density": 1.0, "faces": 0.9}
HIGHER = ("precision", "recall", "clipped-density", "symmetric-recall", "faces", "log-likelihood-gain")


def row(name: str, kind: Any = "drawn", strategy: str | None = None, width: float = 0.02, **values: float) -> Row:
    """A row whose scores have intervals of one width."""
    scores = []
    for key, value in values.items():
        metric = key.replace("_", "-")
        known = {"better": "higher" if metric in HIGHER else "lower", "n": 100}
        known |= {"value": value, "low": value - width, "high": value + width, "interval": "by hand"}
        scores.append(Score(metric, group="g", label=metric, about="", **known))  # type: ignore[arg-type]
    entry = Entry.of(load_sampler(strategy)) if strategy else None
    return Row(name, 100, scores, kind=kind, entry=entry)


REAL_ROW = row("other real vectors", "train", **{key.replace("-", "_"): value for key, value in REAL.items()})


def test_a_strategy_of_little_recall_is_not_one_of_no_recall() -> None:
    """A flow that reaches a third of the real data's recall, and a path through the middle that reaches none."""
    found = judge([REAL_ROW, row("flow", precision=0.8, recall=0.3), row("path", precision=1, recall=0.0)], 1000)
    assert dict(found.roles) == {"flow": "trades diversity for fidelity", "path": "leaves out most of the data"}
    assert "“flow” trades" in found.sentences[-1]
    assert "“path” draws from a small part of the data and leaves out the rest" in found.sentences[-1]


def test_the_verdict_has_three_sentences_and_recommends() -> None:
    rows = [
        REAL_ROW,
        row("best", precision=0.7, recall=0.7, strong_auc=0.7),
        row("next", precision=0.7, recall=0.7, strong_auc=0.9),
        row("cube", precision=0.0, recall=0.0, strong_auc=1.0),
        row("none"),
    ]
    found = judge(rows, 1000)
    assert len(found.sentences) == 3
    assert found.sentences[0].startswith("Use “best”: ")
    assert "AUC of the classifier is 0.70" in found.sentences[1]
    assert "told apart from real vectors" in found.sentences[1]
    assert "“cube” misses" in found.sentences[2]
    assert "“none” could not be scored" in found.sentences[2]
    assert found.roles == {"best": "closest to real data", "cube": "misses the data", "none": "failed"}


@pytest.mark.parametrize(("area", "words"), [("strong_auc", False), ("classifier_auc", True)])
def test_the_quick_classifier_is_named_as_what_it_is(area: str, words: bool) -> None:
    real = row("other real vectors", "train", precision=0.7, recall=0.7, **{area: 0.5})
    found = judge([real, row("one", precision=0.7, recall=0.7, **{area: 0.51})], 1000)
    assert "does not tell these samples from real vectors" in found.sentences[1]
    assert ("quick classifier" in found.sentences[1]) is words


def test_too_few_held_out_vectors_rank_nothing() -> None:
    rows = [REAL_ROW, row("a", strong_auc=0.7), row("b", strong_auc=0.9)]
    found = judge(rows, 300)
    assert not found.ranks
    # The standard error of an area between two sets of 300 equal ones is sqrt(601 / 12) / 300 = 0.024.
    assert "cannot be ranked: only 300 vectors" in found.sentences[0]
    assert "uncertain by about 0.05" in found.sentences[0]
    assert not found.roles
    assert best_rows(rows, "strong-auc", found) == set()
    assert best_rows(rows, "strong-auc", judge(rows, 500)) == {"a"}


def test_a_report_on_300_held_out_vectors_says_that_it_cannot_rank() -> None:
    rng = np.random.default_rng(0)
    store = MemoryStore(rng.normal(size=(900, 4)), rng.normal(size=(300, 4)))
    samplers = [load_sampler("multivariate-normal"), load_sampler("uniform-cube")]
    found = compare(store, samplers, evaluators=[load_evaluator("two-sample-classifier")], n=300)
    assert found.verdict.sentences[0].startswith("The strategies cannot be ranked: only 300 vectors are held out")


def test_green_is_for_neither_flaws_nor_scores_that_real_data_fail() -> None:
    rows = [
        row("other real vectors", "train", precision=0.7, recall=0.7, faces=0.01, symmetric_recall=0.6),
        row("good", precision=0.7, recall=0.7, faces=0.02, symmetric_recall=0.6),
        row("fair", precision=0.6, recall=0.7, faces=0.9, symmetric_recall=0.3),
        row("path", precision=1.0, recall=0.0, faces=0.9, symmetric_recall=0.9),
    ]
    found = judge(rows, 1000)
    assert found.roles["path"] == "leaves out most of the data"
    assert best_rows(rows, "precision", found) == {"good"}
    assert best_rows(rows, "symmetric-recall", found) == {"good"}
    assert best_rows(rows, "faces", found) == set()


def test_auto_has_its_regret_against_the_best_that_does_not_copy() -> None:
    copies = row("copies", precision=0.7, recall=0.7, strong_auc=0.5, near_copies=0.9)
    best = row("best", precision=0.7, recall=0.7, strong_auc=0.70)
    rows = [REAL_ROW, copies, best, row("auto", strategy="auto", precision=0.7, recall=0.7, strong_auc=0.73)]
    assert judge(rows, 1000).regret == pytest.approx({"auto": 0.03})
    assert judge([REAL_ROW, best], 1000).regret == {}


def test_the_headline_takes_the_best_suited_score_that_says_something() -> None:
    real = row("real", "train", faces=0.01, cycle_distance=1.0, precision=0.7, clipped_density=1.0, recall=0.7)
    rows = [real, row("drawn", faces=0.0, cycle_distance=1.2, precision=0.6, clipped_density=0.9, near_copies=0.0)]
    found = [(column.question, column.metric) for column in headline(rows)]
    assert found == [
        ("Item quality", "cycle-distance"),
        ("Fidelity", "clipped-density"),
        ("Diversity", "recall"),
        ("Copies", "near-copies"),
    ]
    assert headline([row("drawn", faces=0.3)])[0].metric == "faces"


def test_rows_are_in_order_of_the_area_and_flawed_ones_last() -> None:
    rows = [
        REAL_ROW,
        row("cube", precision=0.0, recall=0.0, strong_auc=0.6),
        row("failed"),
        row("second", precision=0.7, recall=0.7, strong_auc=0.9),
        row("first", precision=0.7, recall=0.7, strong_auc=0.8),
    ]
    names = [each.name for each in in_order(rows, judge(rows, 1000))]
    assert names == ["other real vectors", "first", "second", "cube", "failed"]


@pytest.mark.parametrize(
    ("value", "text", "reach"),
    [
        (0.4, "0.40", "0.38 to 0.42"),
        (45.26, "45.3", "45.2 to 45.3"),
        (0.0, "0.00", "-0.02 to 0.02"),
        (2345.6, "2.35e+03", "2.35e+03 to 2.35e+03"),
    ],
)
def test_numbers_of_the_headline_are_short(value: float, text: str, reach: str) -> None:
    [score] = row("one", measure=value).scores
    assert (short(score), short_range(score)) == (text, reach)
    assert short(dataclasses.replace(score, unit="share", value=0.456)) == "46 %"


def test_strategies_draw_from_seeds_of_their_own_and_the_values_of_a_sweep_from_one() -> None:
    rng = np.random.default_rng(0)
    store = MemoryStore(rng.normal(size=(300, 4)), rng.normal(size=(100, 4)))
    samplers = [load_sampler("gaussian"), load_sampler("elliptical"), load_sampler("elliptical", temperature=0.5)]
    found = compare(store, samplers, evaluators=[load_evaluator("latent-distances")], n=50).as_dict()
    one, two, three = (each["seed"] for each in found["rows"][-3:])
    assert one != two == three
    # The seed repeats the draw, and so its scores.
    drawn = Samples.drawn_by(load_sampler("gaussian").fit(store), 50, seed=one)
    [*_, again] = evaluate([drawn], store, [load_evaluator("latent-distances")]).as_dict()["rows"]
    known = {score["metric"]: score["value"] for score in again["scores"]}
    assert known == {metric: score["value"] for metric, score in found["rows"][-3]["scores"].items()}


def test_beneath_every_sample_is_its_nearest_real_vector() -> None:
    """Ten samples of one grey and their neighbours of another: eight across, each strip above its neighbours."""

    def decode(latents: Any) -> Any:
        return np.broadcast_to(latents[:, :1, None, None], (len(latents), 64, 64, 1)).astype(np.uint8)

    samples, neighbours = np.full((10, 2), 60, np.float32), np.full((10, 2), 200, np.float32)
    real = RealData(Subject(MemoryStore(neighbours), decode))
    picture = picture_of(real, real.samples("grey", samples), neighbours) or b""
    sheet = np.asarray(Image.open(io.BytesIO(picture))).astype(int)
    row, side = 64 + 2 * 2, 64 + 2
    assert sheet.shape == (4 * row + 10, 8 * side + 2)
    tops = [33, row + 33, 2 * row + 10 + 33, 3 * row + 10 + 33]
    assert [int(sheet[top, 33]) for top in tops] == pytest.approx([60, 200, 60, 200], abs=4)
    assert [int(sheet[top, side + 33]) for top in tops] == pytest.approx([60, 200, 60, 200], abs=4)
    assert sheet[tops[2], 2 * side + 33] > 250  # nothing after the tenth


def test_train_vectors_are_their_own_neighbours() -> None:
    real = MemoryStore(np.random.default_rng(0).normal(size=(40, 4)))
    plots, neighbours = plot_data(RealData(real), Samples("train", real.latents()[5:9]))
    assert neighbours is not None
    np.testing.assert_array_equal(neighbours, real.latents()[5:9])
    assert plots.nearest[-1] == 0


def test_a_report_is_written_while_rows_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted comparison leaves a report that says how far it came; the next run completes it."""
    monkeypatch.setattr("lsampler.reports.comparison.run.WRITE_SECONDS", -1)
    rng = np.random.default_rng(0)
    store, samplers = MemoryStore(rng.normal(size=(300, 4)), rng.normal(size=(100, 4))), [load_sampler("gaussian")]
    scores = [load_evaluator("latent-distances")]

    class Interrupts(LatentSampler):
        name = "interrupts"

        def learn(self, reference: Reference) -> State:
            raise KeyboardInterrupt

        def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
            raise NotImplementedError

    with pytest.raises(KeyboardInterrupt):
        compare(store, [*samplers, Interrupts()], tmp_path / "report", evaluators=scores, n=50)
    found = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert [each["name"] for each in found["rows"]][-1] == "gaussian"
    assert "unfinished: 3 of 4 rows are scored" in found["caveats"]
    assert "unfinished: 3 of 4 rows are scored" in (tmp_path / "report" / "index.html").read_text()
    compare(store, samplers, tmp_path / "report", evaluators=scores, n=50)
    assert "unfinished" not in (tmp_path / "report" / "index.html").read_text()


def test_a_quick_comparison_chooses_quickly_unless_told_otherwise(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: --quick left out the strong judge as a score, and auto still asked it for every candidate."""
    asked = []

    def compared(subject: Any, entries: Any, *_: Any, **__: Any) -> Any:
        asked.append([entry.sampler.settings()["quick"] for entry in entries])
        raise KeyboardInterrupt

    monkeypatch.setattr("lsampler.reports.comparison.compare", compared)
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    assert cli("store", "import", tmp_path / "z.npy", "--out", tmp_path / "z.h5").code == 0
    given = ("compare", "-p", "auto", "--store", tmp_path / "z.h5", "--out", tmp_path / "report")
    for extra in ((), ("--quick",), ("--quick", "--param", "auto:quick=false")):
        cli(*given, *extra)
    assert asked == [[False], [True], [False]]
