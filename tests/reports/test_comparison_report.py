"""The report of a comparison, in files and in a browser, and the command that writes it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import probed
from compared import Broken, Counting, rows

from lsampler import compare, load_sampler
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_evaluator
from lsampler.reports import swept
from lsampler.reports.comparison import Report
from lsampler.samplers import UnderCondition
from lsampler.scoring import Subject
from lsampler.store import MemoryStore


@pytest.fixture(scope="module")
def report(real: MemoryStore, untrained: ConvAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with pictures, by a decoder that has learnt nothing."""
    out: Path = tmp_path_factory.mktemp("comparison") / "report"
    evaluators = [Counting(), load_evaluator("fidelity-diversity")]
    entries = [load_sampler("gaussian"), *swept(load_sampler("pca-ellipse"), "fact", [0.5, 1.0]), Broken()]
    subject, report = Subject.of(real, untrained), Report(out, "lsampler compare <x>")
    compare(subject, entries, report, evaluators=evaluators, n=120)
    return out


def test_the_report_has_all_its_files(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {
        ".lsampler",
        "index.html",
        "rows",
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
    assert summary.startswith("# Comparison of strategies on normal \\<b\\>\\&\n")
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
    assert page.count("<svg") == 5  # the trade-off for wide and for narrow screens, and the planes of three rows
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


PROBE = """
  const table = document.querySelector("table.headline");
  const first = () => [...table.querySelectorAll("tbody tr")].map((row) => row.cells[0].dataset.value);
  found.before = first();
  const head = [...table.querySelectorAll(".sort")].find((b) => b.textContent.startsWith("Diversity"));
  head.click(); found.ascending = first(); found.sorted = head.closest("th").getAttribute("aria-sort");
  head.click(); found.descending = first();
  const picture = document.querySelector(".picture"); picture.click();
  const large = document.getElementById("large");
  found.open = large.open; found.width = large.querySelector("img").naturalWidth;
  large.querySelector("button").click(); found.closed = !large.open;
  const shown = [...document.querySelectorAll(".plot text")].filter((t) => t.checkVisibility());
  found.text = Math.min(...shown.map((t) => t.getBoundingClientRect().height));
  const bars = [...document.querySelectorAll(".track .thick")].map((bar) => bar.getBoundingClientRect());
  found.bars = Math.max(...bars.map((bar) => bar.width));
  found.table = table.scrollWidth - table.parentElement.clientWidth;
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_sorts_enlarges_and_fits_the_screen(width: int, report: Path, tmp_path: Path) -> None:
    found = probed(report, tmp_path, width, PROBE)
    assert found["errors"] == []
    assert found["sorted"] == "ascending"
    # Rows without the score stay at the end.
    scores = {row["name"]: row["scores"] for row in json.loads((report / "scores.json").read_text())["rows"]}
    having = [name for name in found["before"] if "symmetric-recall" in scores[name]]
    ascending = [name for name in found["ascending"] if name in having]
    values = [scores[name]["symmetric-recall"]["value"] for name in ascending]
    assert values == sorted(values)
    assert found["ascending"][-1] not in having
    descending = [name for name in found["descending"] if name in having]
    assert [scores[name]["symmetric-recall"]["value"] for name in descending] == sorted(values)[::-1]
    assert (found["open"], found["closed"]) == (True, True)
    assert found["width"] > 300
    assert found["text"] > 8, "words in plots are too small to be read"
    assert found["bars"] > 5, "the bars of radius and novelty are not seen"
    assert found["clipped"] == 0
    assert found["overflow"] <= 0
    assert found["table"] <= 0  # the headline fits; wider tables scroll inside their box


def test_one_component_is_compared_without_planes(tmp_path: Path) -> None:
    real = MemoryStore(rows(200)[:, :1], rows(100, 1)[:, :1])
    comparison = compare(real, [load_sampler("gaussian")], tmp_path / "report", evaluators=[Counting()], n=60)
    assert comparison.rows[-1].problems == []
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Mahalanobis" in page
    assert "Leading PCA planes" not in page


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


def test_a_report_under_a_condition_shows_what_was_asked_for(
    untrained: ConvAutoencoder, tmp_path: Path, real: MemoryStore
) -> None:
    """A line of pictures for each strategy beside real vectors with it, what was found, and the labels that moved."""
    latents = real.read()
    labels = {"right": latents[:, 0] > 0, "<far>": latents[:, 1] > 0.5, "third": latents[:, 2]}
    store = MemoryStore(latents[:1600], latents[1600:], labels=labels, name="vectors")
    under, out = UnderCondition(store, {"right": 1, "<far>": 1}), tmp_path / "report"
    found = compare(
        Subject.of(under, untrained), ["gaussian", "elliptical"], out, evaluators=["condition-probe", Counting()], n=60
    )
    page, asked = (out / "index.html").read_text(), "right=1 and &lt;far&gt;=1"
    section = page[page.index('id="condition"') : page.index('id="pictures"')]
    assert f"Asked for: <b>{asked}</b>." in section
    assert f"In held-out real vectors, {asked} is found on" in section
    assert '<p class="warning">in held-out' not in page
    assert re.findall(r"<figcaption><b>(.*?)</b>: found on \d+", section) == [
        "held-out real vectors",
        "gaussian",
        "elliptical",
    ]
    assert section.count("data:image/jpeg;base64,") == 3
    assert re.findall(r'<th scope="col">(.*?)</th>', section) == ["samples", "third"]
    assert json.loads((out / "scores.json").read_text())["provenance"]["condition"] == "right=1 and <far>=1"
    assert "As asked" in page[page.index('id="scores"') : page.index('id="condition"')]
    by_metric = found.rows[-1].by_metric
    assert f"{by_metric['moved/third'].value:+.2f}" in section
    assert not any(line.startswith("no scores") for line in found.caveats)
