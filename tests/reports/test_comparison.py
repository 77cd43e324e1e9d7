"""Comparisons: cells that are kept, the verdict that cannot be gamed, the report, and the command."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import PrivateAttr

from lsampler import (
    Block,
    Comparison,
    ConvAutoencoder,
    ConvConfig,
    Entry,
    Evaluation,
    Evaluator,
    LatentSampler,
    LsamplerError,
    MemoryStore,
    Preprocess,
    RealData,
    Reference,
    Samples,
    Score,
    State,
    analyze,
    compare,
    load_bundle,
    load_evaluator,
    load_sampler,
    swept,
)
from lsampler.cli.evaluate import _print
from lsampler.reports.comparison.run import Cell
from lsampler.reports.comparison.verdict import _of_closest, best_rows, judge
from lsampler.scoring.evaluator import Row

D = 8


def rows(n: int, seed: int = 0) -> NDArray[np.float32]:
    """A correlated normal, centre off the origin."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(D, D)) * np.linspace(2, 0.5, D)
    return (rng.normal(size=(n, D)) @ mixing + 3).astype(np.float32)


@pytest.fixture(scope="module")
def real() -> MemoryStore:
    """1,600 vectors and 400 held out."""
    return MemoryStore(rows(1600), rows(400, 1), name="normal <b>&")


@pytest.fixture(scope="module")
def untrained() -> ConvAutoencoder:
    """Decodes to noise."""
    torch.manual_seed(7)
    config = ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=D)
    return ConvAutoencoder(config, preprocess=Preprocess(8, "none", 1)).eval()


class Mean(LatentSampler):
    """The mean, every time."""

    name = "mean"

    def learn(self, reference: Reference) -> State:
        return {"mean": reference.statistics().mean}

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        return state["mean"].expand(block.rows, -1) + 1e-3 * block.normal(len(state["mean"]))


class Copies(LatentSampler):
    """Train vectors, over and over."""

    name = "copies"
    needs_latents = True

    def learn(self, reference: Reference) -> State:
        return {"rows": reference.latents()}

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        return state["rows"][block.integers(len(state["rows"]))]


class Broken(LatentSampler):
    """Fails in a way of its own."""

    name = "broken"
    how: str = "crash"

    def learn(self, reference: Reference) -> State:
        if self.how == "crash":
            raise RuntimeError("no such luck\nsecond line")
        return {"mean": reference.statistics().mean}

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        if self.how == "nan":
            return torch.full((block.rows, D), float("nan"))
        return torch.zeros(block.rows, D + 1)


class Counting(Evaluator):
    """Counts how often it is asked."""

    name = "counting"
    weight: float = 1.0

    _asked: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        self._asked.append("prepare")

    def score(self, samples: Samples) -> list[Score]:
        self._asked.append(samples.name)
        value = float(np.linalg.norm(samples.latents, axis=1).mean()) * self.weight
        return [Score("norm", "a <group>", "norm", value, value - 0.1, value + 0.1, 1, "real", "number", about="a & b")]


SCORES = ("core-membership", "fidelity-diversity", "latent-distances", "two-sample-classifier", "novelty")


@pytest.fixture(scope="module")
def full(real: MemoryStore) -> Comparison:
    """The strategies that the verdict must tell apart, by every score of latent vectors."""
    normal = load_sampler("multivariate-normal")
    entries: list[Entry | LatentSampler] = [
        *(load_sampler(name) for name in ("uniform-cube", "gaussian", "pca-ellipse")),
        *swept(normal, "temperature", [1.0, 0.8, 0.6]),
        *swept(load_sampler("pca-ellipse"), "fact", [0.6, 0.9, 1.2]),
        Mean(),
        Copies(),
        Broken(),
    ]
    return compare(real, entries, evaluators=[load_evaluator(name) for name in SCORES], n=800)


def by_name(comparison: Comparison) -> dict[str, Any]:
    return {cell.name: cell for cell in comparison.cells}


# What the scores say


def test_shrunken_samples_are_named_and_none_is_best_for_fidelity_alone(full: Comparison) -> None:
    roles = full.verdict.roles
    for name in ("multivariate-normal, temperature = 0.6", "pca-ellipse, fact = 0.6", "mean"):
        assert roles[name] == "trades diversity for fidelity", name
    closest = [name for name, role in roles.items() if role == "closest to real data"]
    assert "multivariate-normal, temperature = 1" in closest
    assert not {"multivariate-normal, temperature = 0.6", "pca-ellipse, fact = 0.6", "mean"} & set(closest)
    text = " ".join(full.verdict.sentences)
    assert "none is best for fidelity alone" in text
    assert "“mean”" in text


def test_the_mean_scores_full_membership_and_next_to_no_recall(full: Comparison) -> None:
    scores = by_name(full)["mean"].scores
    assert scores["ellipsoid/calibrated"].value == 1.0
    assert scores["precision"].value > 0.95
    assert scores["recall"].value < 0.02
    assert scores["coverage"].value < 0.3


def test_copies_are_exposed(full: Comparison) -> None:
    assert full.verdict.roles["copies"] == "copies training vectors"
    assert by_name(full)["copies"].scores["near-copies"].value == 1.0


def test_the_cube_misses(full: Comparison) -> None:
    assert full.verdict.roles["uniform-cube"] == "misses the data"


def test_other_real_vectors_are_the_yardstick(full: Comparison) -> None:
    """Two random halves of 800 real vectors: precision and recall are those of the true normal."""
    cells = by_name(full)
    other, normal = cells["other real vectors"].scores, cells["multivariate-normal, temperature = 1"].scores
    for metric in ("precision", "recall", "coverage"):
        assert other[metric].value == pytest.approx(normal[metric].value, abs=0.06)


def test_a_strategy_that_fails_is_a_row_with_its_reason(full: Comparison) -> None:
    cell = by_name(full)["broken"]
    [problem] = cell.problems
    assert "RuntimeError: no such luck" in problem
    assert "second line" not in problem
    assert full.verdict.roles["broken"] == "failed"
    assert not cell.scores


@pytest.mark.parametrize(("how", "words"), [("nan", "NaN or infinite"), ("shape", "drew shape")])
def test_wrong_samples_are_a_row_with_its_reason(how: str, words: str, real: MemoryStore) -> None:
    comparison = compare(real, [Broken(how=how), load_sampler("gaussian")], evaluators=[Counting()], n=50)
    broken, gaussian = comparison.cells[-2:]
    assert words in broken.problems[0]
    assert "norm" in gaussian.scores


def test_one_vector_is_scored_as_far_as_it_goes(real: MemoryStore) -> None:
    evaluators = [load_evaluator(name) for name in SCORES]
    comparison = compare(real, [load_sampler("gaussian")], evaluators=evaluators, n=1)
    cell = comparison.cells[-1]
    assert cell.scores["interval/nominal"].n == 1
    assert [*cell.problems, *comparison.caveats]
    assert all("\n" not in line for line in [*cell.problems, *comparison.caveats])


def test_best_marks_respect_uncertainty() -> None:
    def cell(name: str, value: float, half: float, better: Any) -> Any:
        score = Score("m", "g", "l", value, value - half, value + half, 9, better)
        kind = "held-out" if name == "real" else "drawn"
        return Cell("", name, kind, name, {}, None, None, 9, {"m": score}, [], None, False)

    far = [cell("a", 0.9, 0.02, "higher"), cell("b", 0.89, 0.02, "higher"), cell("c", 0.5, 0.02, "higher")]
    assert best_rows(far, "m") == {"a", "b"}
    assert best_rows(far[:2], "m") == set()
    real = [cell("real", 0.6, 0.1, "real"), *(cell(n, v, 0.02, "real") for n, v in (("a", 0.9), ("b", 0.61)))]
    assert best_rows(real, "m") == {"b"}
    assert best_rows(real[1:], "m") == set()
    assert judge([]).sentences


# Cells are kept


def test_a_second_run_computes_nothing_and_a_changed_one_only_what_changed(real: MemoryStore, tmp_path: Path) -> None:
    def run(entries: Sequence[LatentSampler], evaluators: Sequence[Evaluator], **options: Any) -> Comparison:
        return compare(real, entries, tmp_path / "report", evaluators=evaluators, n=60, **options)

    first, second = Counting(), Counting(weight=2.0)
    one = run([load_sampler("gaussian")], [first])
    assert first._asked == ["prepare", "held-out real vectors", "other real vectors", "gaussian"]
    page = (tmp_path / "report" / "index.html").read_bytes()
    again = Counting()
    two = run([load_sampler("gaussian")], [again])
    assert again._asked == []
    assert two.as_dict() == one.as_dict()
    assert (tmp_path / "report" / "index.html").read_bytes() == page
    run([load_sampler("gaussian"), Mean()], [again])
    assert again._asked == ["prepare", "mean"]
    run([load_sampler("gaussian"), Mean()], [Counting(), second])
    assert second._asked == ["prepare", "held-out real vectors", "other real vectors", "gaussian", "mean"]
    seeded = Counting()
    run([load_sampler("gaussian")], [seeded], seed=1)
    assert "gaussian" in seeded._asked


def test_an_interrupted_comparison_goes_on(real: MemoryStore, tmp_path: Path) -> None:
    class Stops(Counting):
        """Interrupted at the second strategy."""

        def score(self, samples: Samples) -> list[Score]:
            if samples.name == "mean":
                raise KeyboardInterrupt
            return super().score(samples)

    with pytest.raises(KeyboardInterrupt):
        compare(real, [load_sampler("gaussian"), Mean()], tmp_path / "report", evaluators=[Stops()], n=60)
    counting = Counting()
    compare(real, [load_sampler("gaussian"), Mean()], tmp_path / "report", evaluators=[counting], n=60)
    assert counting._asked == ["prepare", "mean"]


def recorded(out: Path) -> list[Path]:
    return sorted((out / "cells").glob("*/cell.json"))


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        record = json.loads(text)
        change(record)
        return json.dumps(record)

    return edit


def part(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(record["scores"].values()))
    return found


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut off": lambda text: text[:200],
    "scores are a number": lambda text: '{"scores": 3}',
    "a list": lambda text: "[]",
    "a part without scores": edited(lambda record: part(record).pop("scores")),
    "a part is a list": edited(lambda record: record["scores"].update({k: [] for k in record["scores"]})),
    "a caveat is a number": edited(lambda record: part(record).update(caveats=[3])),
    "caveats are none": edited(lambda record: part(record).update(caveats=None)),
    "a problem is a list": edited(lambda record: part(record).update(problem=[1])),
    "a score without its value": edited(lambda record: part(record)["scores"][0].pop("value")),
    "a score of text": edited(lambda record: part(record)["scores"][0].update(value="high")),
    "a score of nothing": edited(lambda record: part(record)["scores"][0].update(low=None)),
    "a score that is NaN": edited(lambda record: part(record)["scores"][0].update(high=float("nan"))),
    "an unknown direction": edited(lambda record: part(record)["scores"][0].update(better="up")),
    "plots of another kind": edited(lambda record: record.update(plots=[1, 2])),
    "plots without radii": edited(lambda record: record["plots"].pop("radii")),
    "too few radii": edited(lambda record: record["plots"].update(radii=[1.0])),
    "too few distances": edited(lambda record: record["plots"].update(nearest=[1.0])),
    "a plane is missing": edited(lambda record: record["plots"].update(points=record["plots"]["points"][:1])),
    "an empty plane": edited(lambda record: record["plots"]["points"].__setitem__(0, [])),
    "points in space": edited(lambda record: record["plots"]["points"][0][0].append(1.0)),
    "n is text": edited(lambda record: record.update(n="many")),
    "seconds are text": edited(lambda record: record.update(seconds="few")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_cell_is_computed_again(
    damage: Callable[[str], str], real: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsampler.reports.comparison.page.write", lambda *_: None)  # which takes most of the time

    def run(evaluator: Evaluator) -> list[Cell]:
        found = compare(real, [load_sampler("gaussian")], tmp_path / "report", evaluators=[evaluator], n=60)
        return [dataclasses.replace(cell, seconds=0.0) for cell in found.cells]

    whole = run(Counting())
    for record in recorded(tmp_path / "report"):
        record.write_text(damage(record.read_text()))
    counting = Counting()
    assert run(counting) == whole
    assert counting._asked == ["prepare", "held-out real vectors", "other real vectors", "gaussian"]


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
    missing: str, real: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"

    def run(evaluator: Evaluator) -> tuple[Comparison, dict[str, bytes]]:
        found = compare(real, [load_sampler("gaussian")], out, evaluators=[Counting(), evaluator], n=60)
        return found, {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    clock = iter(range(10**6))  # every look at the clock takes a second
    monkeypatch.setattr("lsampler.reports.comparison.run.time.monotonic", lambda: float(next(clock)))
    failed, before = run(Fragile().without(missing))
    said = [*failed.caveats, *failed.cells[-1].problems]
    assert any(line.startswith(("no scores of fragile: needs", "fragile: ")) for line in said), said
    evaluator = Fragile().without(missing)
    again, after = run(evaluator)
    assert evaluator._asked[0] == "prepare"
    assert again.as_dict() == failed.as_dict()
    assert after == before
    mended = Fragile()
    found, _ = run(mended)
    assert mended._asked == ["prepare", "held-out real vectors", "other real vectors", "gaussian"]
    assert not [*found.caveats, *found.cells[-1].problems]
    assert found.cells[-1].seconds > failed.cells[-1].seconds
    last = Fragile()
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

    first = compare(real, [Moody()], tmp_path / "report", evaluators=[Counting()], n=60).cells[-1]
    (tmp_path / "mood").touch()
    evaluators = [Counting(), Counting(weight=2.0)]
    second = compare(real, [Moody()], tmp_path / "report", evaluators=evaluators, n=60).cells[-1]
    assert (second.scores, second.problems) == (first.scores, ["not today"])


@pytest.mark.parametrize(("step", "words"), [("plot_data", "no plots"), ("save_picture", "no pictures")])
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
        entries = [load_sampler("gaussian")]
        return compare(real, entries, tmp_path / "report", autoencoder=untrained, evaluators=[Counting()], n=60)

    with monkeypatch.context() as patch:
        patch.setattr(f"lsampler.reports.comparison.run.{step}", fail)
        first, second = run(), run()
    assert second.as_dict() == first.as_dict()
    for cell in second.cells:
        assert cell.problems == [f"{words}: ValueError: no such luck"]
        assert "norm" in cell.scores
    assert words in (tmp_path / "report" / "index.html").read_text()
    for cell in run().cells:
        assert cell.problems == []
        assert cell.plots
        assert cell.picture


def test_one_component_is_compared_without_planes(tmp_path: Path) -> None:
    real = MemoryStore(rows(200)[:, :1], rows(100, 1)[:, :1])
    comparison = compare(real, [load_sampler("gaussian")], tmp_path / "report", evaluators=[Counting()], n=60)
    assert comparison.cells[-1].problems == []
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Mahalanobis" in page
    assert "Leading PCA planes" not in page


def test_a_folder_with_an_analysis_is_refused_and_left_as_it_is(real: MemoryStore, tmp_path: Path) -> None:
    out = tmp_path / "report"
    analyze(real, out, sections=["correlations"])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(
        LsamplerError, match="report: holds an analysis report, not a comparison report; choose an empty"
    ):
        compare(real, [load_sampler("gaussian")], out, evaluators=[Counting()])
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "draw at least one"),
        ({"seed": -1}, "at least 0"),
        ({"out": "taken"}, "taken: was not written by lsampler"),
    ],
)
def test_bad_options_leave_nothing(options: dict[str, Any], message: str, real: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "wedding.jpg").write_bytes(b"precious")
    out = tmp_path / options.pop("out", "report")
    with pytest.raises(LsamplerError, match=message):
        compare(real, [load_sampler("gaussian")], out, evaluators=[Counting()], **options)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "wedding.jpg"]


def test_nothing_to_compare(real: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match="nothing to compare"):
        compare(real, [])


def test_a_sweep_has_a_row_for_each_value() -> None:
    entries = swept(load_sampler("pca-ellipse", components=5), "fact", np.linspace(0.4, 1.2, 5))
    assert [entry.sampler.fact for entry in entries] == [0.4, 0.6, 0.8, 1.0, 1.2]  # type: ignore[attr-defined]
    assert {entry.curve for entry in entries} == {"pca-ellipse: fact"}
    assert all(entry.sampler.components == 5 for entry in entries)  # type: ignore[attr-defined]
    with pytest.raises(LsamplerError, match=r"no parameter 'facts'.*fact"):
        swept(load_sampler("pca-ellipse"), "facts", [1.0])
    with pytest.raises(LsamplerError, match="fact"):
        swept(load_sampler("pca-ellipse"), "fact", [-1.0, 1.0])


# The report


@pytest.fixture(scope="module")
def report(real: MemoryStore, untrained: ConvAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures, by a decoder that has learnt nothing."""
    out: Path = tmp_path_factory.mktemp("comparison") / "report"
    evaluators = [Counting(), load_evaluator("fidelity-diversity")]
    entries = [load_sampler("gaussian"), *swept(load_sampler("pca-ellipse"), "fact", [0.5, 1.0]), Broken()]
    compare(real, entries, out, autoencoder=untrained, evaluators=evaluators, n=120, command="lsampler compare <x>")
    return out


def test_the_report_has_all_its_files(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {
        ".lsampler",
        "cells",
        "index.html",
        "scores.csv",
        "scores.json",
        "summary.md",
    }
    scores = json.loads((report / "scores.json").read_text())
    names = [row["name"] for row in scores["rows"]]
    assert names[:2] == ["held-out real vectors", "other real vectors"]
    assert names[2:] == ["gaussian", "pca-ellipse, fact = 0.5", "pca-ellipse, fact = 1", "broken"]
    lines = list(csv.DictReader(io.StringIO((report / "scores.csv").read_text())))
    assert len(lines) == sum(len(row["scores"]) for row in scores["rows"])
    one = next(line for line in lines if line["row"] == "gaussian" and line["metric"] == "recall")
    assert float(one["value"]) == scores["rows"][2]["scores"]["recall"]["value"]
    summary = (report / "summary.md").read_text()
    assert summary.startswith("# Comparison of strategies")
    assert all(name in summary for name in names)


def test_the_page_loads_nothing_and_escapes_names(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "<link" not in page
    assert "@import" not in page
    assert "normal <b>&" not in page
    assert "normal &lt;b&gt;&amp;" in page
    assert "lsampler compare &lt;x&gt;" in page
    assert "a &lt;group&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 5
    assert page.count("<svg") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


PROBE = """
<script>
const found = {errors: []};
window.addEventListener("error", (event) => found.errors.push(String(event.message)));
window.addEventListener("load", () => {
  const first = () => [...document.querySelectorAll("#table tbody tr")].map((row) => row.cells[0].dataset.value);
  found.before = first();
  const head = [...document.querySelectorAll(".sort")].find((b) => b.textContent.startsWith("recall"));
  head.click(); found.ascending = first(); found.sorted = head.closest("th").getAttribute("aria-sort");
  head.click(); found.descending = first();
  const picture = document.querySelector(".picture"); picture.click();
  const large = document.getElementById("large");
  found.open = large.open; found.width = large.querySelector("img").naturalWidth;
  large.querySelector("button").click(); found.closed = !large.open;
  found.focusable = document.querySelectorAll("button, a[href], [tabindex]").length;
  found.text = Math.min(...[...document.querySelectorAll(".plot text")].map((t) => t.getBoundingClientRect().height));
  found.overflow = document.documentElement.scrollWidth - window.innerWidth;
  const out = document.createElement("pre"); out.id = "probe"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
"""


def chromium() -> str:
    """A Chromium or Chrome of this machine."""
    names = [os.environ.get("LSAMPLER_TEST_BROWSER", ""), "chromium", "chromium-browser", "google-chrome"]
    for name in filter(None, names):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium found; install it, or set LSAMPLER_TEST_BROWSER to its path")


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_sorts_and_enlarges_in_a_browser(width: int, report: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text((report / "index.html").read_text().replace("<head>", "<head>" + PROBE, 1))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=5000",
    ]
    browser = [chromium(), *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run([*browser, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stderr[-2000:]
    found = json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["errors"] == []
    assert found["sorted"] == "ascending"
    # Rows without the score stay at the end.
    scores = {row["name"]: row["scores"] for row in json.loads((report / "scores.json").read_text())["rows"]}
    with_recall = [name for name in found["before"] if "recall" in scores[name]]
    ascending = [name for name in found["ascending"] if name in with_recall]
    values = [scores[name]["recall"]["value"] for name in ascending]
    assert values == sorted(values)
    assert found["ascending"][-1] not in with_recall
    assert [scores[n]["recall"]["value"] for n in found["descending"] if n in with_recall] == sorted(values)[::-1]
    assert (found["open"], found["closed"]) == (True, True)
    assert found["width"] > 300
    assert found["text"] > 8, "words in plots are too small to be read"
    assert found["overflow"] <= 0  # wide tables scroll inside their box, also on a narrow screen


# The command


def test_the_command_compares(cli: Callable[..., Any], tiny_model_file: Path, tiny_store: Any, tmp_path: Path) -> None:
    common = ("--store", tiny_store.path, "--model", tiny_model_file, "--out", tmp_path / "report", "--n", 60)
    chosen = ("-e", "core-membership", "-e", "fidelity-diversity")
    answer = cli(
        "compare", "-p", "gaussian", "--param", "pca-ellipse:components=4", "--sweep", "pca-ellipse:fact=0.5:1:2",
        *common, *chosen,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "report:" in answer.out
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert [row["name"] for row in scores["rows"]][2:] == [
        "gaussian",
        "pca-ellipse, fact = 0.5, components = 4",
        "pca-ellipse, fact = 1, components = 4",
    ]
    assert scores["provenance"]["command"].startswith("lsampler compare -p gaussian")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to compare"),
        (("-p", "gausian"), "gaussian"),
        (("-p", "gaussian", "--param", "fact=1"), "NAME:KEY=VALUE"),
        (("-p", "gaussian", "--param", "pca-ellipse:fact=1"), "is not compared"),
        (("-p", "pca-ellipse", "--param", "pca-ellipse:fact=-1"), "fact=-1"),
        (("--sweep", "pca-ellipse:fact=1:2"), "NAME:KEY=LOW:HIGH:STEPS"),
        (("--sweep", "pca-ellipse:fact=1:2:1"), "at least 2 steps"),
        (("--sweep", "pca-ellipse:fact=a:2:3"), "NAME:KEY=LOW:HIGH:STEPS"),
        (("--sweep", "pca-ellipse:facts=1:2:3"), "no parameter 'facts'"),
        (("-p", "gaussian", "-e", "no-such"), "no evaluator 'no-such'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], words: str, cli: Callable[..., Any], tiny_store: Any, tmp_path: Path
) -> None:
    answer = cli("compare", *arguments, "--store", tiny_store.path, "--out", tmp_path / "report")
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(("width", "tables"), [(60, 4), (80, 2), (200, 1)])
def test_tables_of_scores_fit_the_console(
    width: int, tables: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every label and number is there, uncut; a group that needs several tables names itself on each."""
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("held-out real vectors", "runs/somewhere/deep/in/a/tree/of/folders/vectors.h5")
    scores = [
        Score(f"m{k}", "distances", f"label{k}\nof-this", 12.34 + k, 10.111 + k, 14.222 + k, 9, "lower", "number")
        for k in range(8)
    ]
    _print(Evaluation("real", [Row(name, 2000, scores, []) for name in names], ["a caveat"]))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    assert (said.count("distances\n"), said.count("distances (continued)\n")) == (1, tables - 1)
    words = said.split()
    for score in scores:
        assert words.count(f"label{score.metric[1:]}") == 1
        assert (words.count(score.text), words.count(score.range_text)) == (2, 2)
    assert said.endswith("a caveat\n")


def test_a_bundle_gives_the_scores_that_statistics_allow() -> None:
    evaluators = [load_evaluator(name) for name in ("core-membership", "latent-distances", "novelty")]
    comparison = compare(load_bundle(), [load_sampler("gaussian")], evaluators=evaluators, n=50)
    cell = comparison.cells[-1]
    assert "interval/calibrated" in cell.scores
    assert "frechet" in cell.scores
    assert any("novelty" in line and "real vectors" in line for line in [*comparison.caveats, *cell.problems])


def test_strategies_that_are_closest_together_are_told_with_the_span_of_their_scores() -> None:
    def cell(name: str, auc: float) -> Cell:
        score = Score("classifier-auc", "g", "AUC", auc, auc - 0.02, auc + 0.02, 100, "lower", "number")
        return Cell(name, name, "drawn", name, {}, None, None, 100, {score.metric: score}, [], None, False)

    both = _of_closest([cell("one", 0.56), cell("two", 0.51)], None)
    assert "“one” and “two” come closest" in both
    assert "a classifier tells their samples from held-out vectors with AUC 0.51 to 0.56 " in both
    assert "even these" not in both
    alone = _of_closest([cell("one", 0.9)], None)
    assert "“one” comes closest" in alone
    assert "tells its samples from held-out vectors with AUC 0.90 " in alone
    assert "even these are told apart" in alone
