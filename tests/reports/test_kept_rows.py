"""Rows of a comparison are kept for the data and the code that made them."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from compared import HELD_OUT, OTHER, Counting, Mean
from pydantic import PrivateAttr
from support import listing

from lsampler import LsamplerError, compare, load_sampler
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_evaluator
from lsampler.reports import Comparison
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import Evaluator, RealData, Samples, Score, Subject
from lsampler.store import MemoryStore, Reference


def asked_of(entries: Sequence[LatentSampler], real: MemoryStore, out: Path, **options: Any) -> list[str]:
    """What an evaluator is asked in a run."""
    counting = Counting()
    compare(real, entries, out, evaluators=[counting], n=60, **options)
    return counting._asked


EVERYTHING = ["prepare", HELD_OUT, OTHER, "gaussian"]


def test_a_second_run_computes_nothing_and_a_changed_one_only_what_changed(real: MemoryStore, tmp_path: Path) -> None:
    out, gaussian = tmp_path / "report", load_sampler("gaussian")
    one = compare(real, [gaussian], out, evaluators=[Counting()], n=60)
    page = (out / "index.html").read_bytes()
    again = Counting()
    assert compare(real, [gaussian], out, evaluators=[again], n=60).as_dict() == one.as_dict()
    assert again._asked == []
    assert (out / "index.html").read_bytes() == page
    assert asked_of([gaussian, Mean()], real, out) == ["prepare", "mean"]
    second = Counting(weight=2.0)
    compare(real, [gaussian, Mean()], out, evaluators=[Counting(), second], n=60)
    assert second._asked == [*EVERYTHING, "mean"]
    assert "gaussian" in asked_of([gaussian], real, out, seed=1)


PLUGINS = """
from lsampler.samplers import LatentSampler
from lsampler.scoring import Core, Evaluator, Score
from {helper} import FACTOR

class Plugged(LatentSampler):
    name = "plugged"
    def learn(self, reference):
        return {{"mean": reference.statistics().mean}}
    def draw(self, state, block):
        return state["mean"] + FACTOR * block.normal(len(state["mean"]))

class Child(Plugged):
    name = "child"

class Scoring(Evaluator):
    name = "scoring"
    def score(self, samples):
        value = FACTOR * float(samples.latents.std())
        return [Score("spread", group="g", label="l", better="real", value=value, low=value, high=value, n=1)]
"""


@pytest.mark.parametrize("strategy", ["Plugged", "Child"])
@pytest.mark.parametrize("changed", ["module", "helper"])
def test_scores_are_computed_anew_after_the_code_of_a_plugin_changed(
    strategy: str, changed: str, real: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module of the plugin or of its base class, or another module of its package."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").touch()

    def scores(factor: int, source: str) -> Any:
        (package / "helper.py").write_text(f"FACTOR = {factor}\n")
        (package / "plugged.py").write_text(source)
        for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        module = importlib.import_module("mine.plugged")
        sampler, evaluator = getattr(module, strategy)(), module.Scoring()
        found = compare(real, [sampler], tmp_path / "report", evaluators=[evaluator, Counting()], n=60)
        return [score.value for score in found.rows[-1].scores]

    source = PLUGINS.format(helper="mine.helper")
    assert scores(1, source) == scores(1, source)
    other = source.replace("+ FACTOR", "+ 100 * FACTOR") if changed == "module" else source
    before, after = scores(1, source), scores(1 if changed == "module" else 100, other)
    assert after[0] > 10 * before[0]
    assert after[1] > 2 * before[1]
    assert scores(1, source) == before


def test_core_membership_depends_on_the_code_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    membership = load_evaluator("core-membership")
    before = membership.digest()
    assert membership.digest() == load_evaluator("core-membership").digest()
    core = sys.modules["lsampler_plugins.evaluators.core_membership"]
    monkeypatch.setattr(core, "plugin_names", lambda kind: ["interval"])
    assert membership.digest() != before


def test_image_distance_depends_on_the_file_of_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, features in (("net.onnx", str(tmp_path / "net.onnx")), ("their_net.py", "their_net:features")):
        digests = []
        for content in (b"a = 1", b"a = 2"):
            (tmp_path / name).write_bytes(content)
            importlib.invalidate_caches()
            digests.append(load_evaluator("image-distance", features=features).digest())
        assert len(set(digests)) == 2


def test_an_interrupted_comparison_resumes_and_keeps_the_finished_scores_of_the_row(
    real: MemoryStore, tmp_path: Path
) -> None:
    class Stops(Counting):
        """Interrupted at the second strategy."""

        name = "stops"

        def score(self, samples: Samples) -> list[Score]:
            if samples.name == "mean":
                raise KeyboardInterrupt
            return super().score(samples)

    entries = [load_sampler("gaussian"), Mean()]
    with pytest.raises(KeyboardInterrupt):
        compare(real, entries, tmp_path / "report", evaluators=[Counting(), Stops()], n=60)
    assert asked_of(entries, real, tmp_path / "report") == []


def edited(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


DAMAGES: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[:200],
    "a list": lambda text: "[]",
    "no record": lambda text: '{"digest": "", "record": 3}',
    "a score that is NaN": lambda text: text.replace('"value": ', '"value": NaN, "was": '),
    "another score": edited('"n": 1,', '"n": 2,'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_or_edited_row_is_computed_again(
    damage: Callable[[str], str], real: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsampler.reports.comparison.page.write", lambda *_: None)  # which takes most of the time
    asked_of([load_sampler("gaussian")], real, tmp_path / "report")
    for record in (tmp_path / "report" / "rows").glob("*/row.json"):
        text = record.read_text()
        record.write_text(damage(text))
        assert record.read_text() != text
    assert asked_of([load_sampler("gaussian")], real, tmp_path / "report") == EVERYTHING
    assert asked_of([load_sampler("gaussian")], real, tmp_path / "report") == []


class Fragile(Counting):
    """Fails until whatever is missing is there, as a package may be."""

    name = "fragile"

    _missing: str = PrivateAttr("")

    def without(self, what: str) -> Fragile:
        self._missing = what
        return self

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        if self._missing == "prepare":
            raise LsamplerError("needs a package; install it")

    def score(self, samples: Samples) -> list[Score]:
        scores = super().score(samples)
        if self._missing == "score":
            raise LsamplerError("needs a package; install it")
        if self._missing == "value":
            return [*scores, dataclasses.replace(scores[0], metric="ratio", value=float("nan"))]
        return scores


@pytest.mark.parametrize("missing", ["prepare", "score", "value"])
def test_what_failed_is_tried_again_and_nothing_changes_until_it_succeeds(
    missing: str, real: MemoryStore, tmp_path: Path
) -> None:
    out = tmp_path / "report"

    def run(evaluator: Evaluator) -> tuple[Comparison, dict[str, bytes | None]]:
        found = compare(real, [load_sampler("gaussian")], out, evaluators=[Counting(), evaluator], n=60)
        return found, listing(out)

    failed, before = run(Fragile().without(missing))
    said = [*failed.caveats, *failed.rows[-1].problems]
    assert any(line.startswith(("no scores of fragile: needs", "fragile: ")) for line in said), said
    evaluator = Fragile().without(missing)
    again, after = run(evaluator)
    assert evaluator._asked[0] == "prepare"
    assert again.as_dict() == failed.as_dict()
    assert after == before
    fixed, last = Fragile(), Fragile()
    found, _ = run(fixed)
    assert fixed._asked == EVERYTHING
    assert not [*found.caveats, *found.rows[-1].problems]
    run(last)
    assert last._asked == []


def test_a_row_that_cannot_be_drawn_any_more_keeps_its_scores(real: MemoryStore, tmp_path: Path) -> None:
    class Moody(Mean):
        """Fails when told to, which is none of its parameters."""

        name = "moody"

        def learn(self, reference: Reference) -> State:
            if (tmp_path / "mood").exists():
                raise LsamplerError("not today")
            return super().learn(reference)

    first = compare(real, [Moody()], tmp_path / "report", evaluators=[Counting()], n=60).rows[-1]
    (tmp_path / "mood").touch()
    evaluators = [Counting(), Counting(weight=2.0)]
    second = compare(real, [Moody()], tmp_path / "report", evaluators=evaluators, n=60).rows[-1]
    assert (second.scores, second.problems) == (first.scores, ["not today"])


@pytest.mark.parametrize(("step", "words"), [("plot_data", "no plots"), ("picture_of", "no pictures")])
def test_scores_stay_where_plots_or_pictures_fail(
    step: str,
    words: str,
    real: MemoryStore,
    untrained: ConvAutoencoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no such luck")

    def run() -> Comparison:
        subject = Subject.of(real, untrained)
        return compare(subject, [load_sampler("gaussian")], tmp_path / "report", evaluators=[Counting()], n=60)

    with monkeypatch.context() as patch:
        patch.setattr(f"lsampler.scoring.pipeline.{step}", fail)
        first, second = run(), run()
    assert second.as_dict() == first.as_dict()
    for row in second.rows:
        assert row.problems == [f"{words}: ValueError: no such luck"]
        assert "norm" in row.by_metric
    assert words in (tmp_path / "report" / "index.html").read_text()
    for row in run().rows:
        assert row.problems == []
        assert row.plots
        assert row.picture
