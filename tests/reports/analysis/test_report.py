"""The report of an analysis: complete, self-contained, escaped."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from analysis_support import (
    EVERY_SECTION,
    NAME,
    SMALL_D,
    STATUSES,
    Bars,
    Full,
    Page,
    analyzed,
    listing,
    names,
    reference_named,
    rows_of,
    spaced,
    store_of,
    strict_json,
    vectors,
)

from lsampler import Bundle, ConvAutoencoder, LatentStore, load_core, plugin_names
from lsampler.bundles.bundle import build_bundle
from lsampler.files import MARK
from lsampler.plots import INK
from lsampler.reports.analysis.options import DEFAULT_STRATEGIES
from lsampler.reports.analysis.run import SECTIONS
from lsampler.reports.analysis.sections import tsne


def test_a_report_is_its_page_its_numbers_its_verdicts_and_a_folder_a_section(full: Full) -> None:
    expected = {"index.html", "analysis.json", "judgements.csv", *EVERY_SECTION}
    for key, record in full.records().items():
        assert record["figures"], key
        assert record["tables"], key
        names = [f"{figure['name']}.svg" for figure in record["figures"]]
        names += [f"{table['name']}.csv" for table in record["tables"]]
        expected |= {f"{key}/{name}" for name in [*names, "section.json"]}
    assert set(listing(full.path)) == expected | {MARK}
    assert full.analysis.reference == NAME
    assert (full.analysis.problems, list(full.analysis.reused)) == ({}, [])


def test_analysis_json_holds_what_was_measured(full: Full) -> None:
    summary = strict_json(full.path / "analysis.json")
    assert summary["reference"] == NAME
    assert list(summary["sections"]) == list(full.analysis.measured) == EVERY_SECTION
    assert summary["sections"] == full.analysis.measured
    assert summary["problems"] == {}
    assert summary["judgements"] == [asdict(judgement) for judgement in full.analysis.judgements]
    assert summary == full.analysis.as_dict()
    for key, record in full.records().items():
        assert record["measured"] == full.analysis.measured[key]


def test_verdicts_csv_holds_every_statement(full: Full) -> None:
    rows = rows_of(full.path / "judgements.csv")
    assert len(rows) >= 20
    assert rows == [asdict(judgement) for judgement in full.analysis.judgements]
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} <= STATUSES
    assert all(row["why"] for row in rows)
    assert all(bool(row["here"]) == (row["status"] != "not measured") for row in rows)


def test_tables_have_all_of_their_rows(full: Full) -> None:
    measured = full.analysis.measured
    expected = {
        "components/components": SMALL_D,
        "components/dominant": len(measured["components"]["dominant"]),
        "correlations/strong_pairs": len(measured["correlations"]["strong_pairs"]),
        "correlations/counts": 6,
        "origin/slices": 3 * len(measured["origin"]["pairs"]),
        "cubes/cubes": 5,
        "gaussianity/normality": SMALL_D,
        "gaussianity/ellipses": 3,
        "gaussianity/pairs": len(measured["gaussianity"]["pairs"]),
        "principal/variance": SMALL_D,
        "principal/axes": SMALL_D,
        "principal/inner_cores": SMALL_D * (SMALL_D - 1) // 2,
        "principal/trimming": 5,
        "generated/inside": 1 + len(DEFAULT_STRATEGIES),
        "filaments/voids": sum(row["clark_evans"] is not None for row in measured["filaments"]["planes"]),
    }
    assert expected["correlations/strong_pairs"] > 0
    found = {str(path.relative_to(full.path).with_suffix("")): len(rows_of(path)) for path in full.path.glob("*/*.csv")}
    assert found == expected
    claimed = {f"{key}/{table['name']}": table["count"] for key, r in full.records().items() for table in r["tables"]}
    assert found == claimed


def test_tables_hold_numbers_in_full_precision(full: Full) -> None:
    measured = full.analysis.measured["components"]["components"]
    rows = rows_of(full.path / "components" / "components.csv")
    assert [float(row["mean mu"]) for row in rows] == measured["mean"]
    assert [float(row["sigma"]) for row in rows] == measured["std"]
    pairs = rows_of(full.path / "correlations" / "strong_pairs.csv")
    strong = [[int(row["i"]), int(row["j"]), float(row["Pearson r"])] for row in pairs]
    assert strong == full.analysis.measured["correlations"]["strong_pairs"]


def test_every_section_has_its_heading_and_says_its_post(full: Full) -> None:
    page = full.page()
    assert page.headings == [(s.key, s.title, s.post) for s in SECTIONS if s.key in EVERY_SECTION]
    for section in SECTIONS:
        if section.key in EVERY_SECTION:
            assert spaced(section.about) in page.text
            assert f"#{section.key}" in page.values("href")


def test_the_page_shows_findings_captions_and_verdicts(full: Full) -> None:
    page = full.page()
    for record in full.records().values():
        for words in (*record["findings"], *record["missing"], *(figure["caption"] for figure in record["figures"])):
            assert spaced(words) in page.text
    statuses = [judgement.status for judgement in full.analysis.judgements]
    assert f"{statuses.count('holds')} hold, {statuses.count('differs')} differ" in page.text
    table = page.source.split('<table class="judgements">')[1].split("</table>")[0]
    rows = [spaced(html.unescape(re.sub("<[^>]+>", " ", row))) for row in table.split("<tr>")]
    for judgement in full.analysis.judgements:
        [row] = [row for row in rows if row.startswith(judgement.statement)]
        status = "" if judgement.status == "not measured" else judgement.status
        assert all(
            spaced(cell) in row for cell in (judgement.post, judgement.theirs, judgement.here, status, judgement.why)
        )


def test_the_page_loads_nothing(full: Full) -> None:
    page = full.page()
    loading = {"script", "link", "iframe", "object", "embed", "base", "source", "audio", "video", "img", "form"}
    assert not {tag for tag, _ in page.tags} & loading
    assert not page.values("src", "srcset", "action", "data", "poster", "background", "formaction", "ping")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    files = set(listing(full.path))
    for target in page.values("href", "xlink:href"):
        assert target.startswith(("#", "data:image/png;base64,")) or target in files, target
    without_names = re.sub(r' xmlns(:\w+)?="http://www\.w3\.org/[^"]+"', "", page.source)
    assert "://" not in without_names
    assert "@import" not in without_names
    assert not re.findall(r"url\((?!#)", without_names)


def test_every_figure_is_on_the_page_itself(full: Full) -> None:
    page = full.page()
    files = sorted(full.path.glob("*/*.svg"))
    drawings = re.findall(r"<figure>\s*<svg.*?</svg>\s*<figcaption>", page.source, re.DOTALL)
    assert len(drawings) == len(files) == page.source.count("<svg") == page.source.count("<figure>")


def page_links(page: Page) -> set[str]:
    return {link for link in page.values("href") if not link.startswith("#")}


def test_every_id_is_unique(full: Full) -> None:
    ids = full.page().values("id")
    assert len(ids) > 100
    assert {name: ids.count(name) for name in set(ids) if ids.count(name) > 1} == {}


def test_every_reference_finds_its_target_in_its_own_drawing(full: Full) -> None:
    page = full.page()
    references = [link[1:] for link in page.values("href", "xlink:href") if link.startswith("#")]
    references += re.findall(r"url\(#([^)]*)\)", page.source)
    assert len(references) > 100
    assert set(references) <= set(page.values("id"))
    for drawing in re.findall(r"<svg.*?</svg>", page.source, re.DOTALL):
        own = set(re.findall(r'\bid="([^"]+)"', drawing))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', drawing)) <= own


def test_drawings_are_well_formed_xml(full: Full) -> None:
    drawings = [path.read_text(encoding="utf-8") for path in full.path.glob("*/*.svg")]
    drawings += re.findall(r"<svg.*?</svg>", full.page().source, re.DOTALL)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not root.findall(".//{http://www.w3.org/2000/svg}script")
        assert root.findall(".//{http://www.w3.org/2000/svg}path")


def test_drawings_take_the_page_s_ink(full: Full) -> None:
    assert any(INK in path.read_text(encoding="utf-8") for path in full.path.glob("*/*.svg"))
    body = full.page().source.split("<body>")[1]
    assert INK not in body
    assert "var(--ink)" in body
    assert not re.findall(r'\b(?!style)[\w-]+="var\(', body)


def test_a_name_with_markup_is_escaped(full: Full) -> None:
    page = full.page()
    assert "<script" not in page.source.lower()
    assert "alert(1)</script>" not in page.source
    assert f"<h1>{NAME}" not in page.source
    assert page.source.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;") == 2
    assert f"Latent space analysis: {NAME}" in page.text
    assert not [tag for tag, attrs in page.tags if tag == "b" and not attrs]


def test_only_the_chosen_sections_run(tmp_path: Path) -> None:
    out = tmp_path / "report"
    analysis = analyzed(vectors(300, SMALL_D), out, sections=["cubes", "origin"])
    assert list(analysis.measured) == ["origin", "cubes"]
    assert names(out) == {"index.html", "analysis.json", "judgements.csv", "origin", "cubes"}
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    why = {judgement.key: (judgement.status, judgement.why) for judgement in analysis.judgements}
    assert why["strongest-pair"] == ("not measured", "The section 'correlations' was not run.")
    assert why["thin-shell"] == ("not measured", "The section 'components' was not run.")
    assert why["tsne-voids"] == ("not measured", "The section 'tsne' was not run.")
    measured = {key for key, (status, _) in why.items() if status != "not measured"}
    assert measured == {"off-centre", "empty-slice", "border", "matching-b", "cubes-miss"}


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Full) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = analyzed(reference_named("another name"), threshold=0.3)
    assert analysis.measured == full.analysis.measured
    assert analysis.judgements == full.analysis.judgements
    assert list(tmp_path.iterdir()) == []


def test_every_section_has_a_bar_that_is_completed(full: Full) -> None:
    titles = [section.title for section in SECTIONS if section.key in EVERY_SECTION]
    assert full.bars.of_sections == [f"{k}/{len(titles)} {title}" for k, title in enumerate(titles, 1)]
    assert full.bars.complete
    assert all(bar.total > 0 for bar in full.bars.begun)


@pytest.mark.parametrize(("rows", "dimension"), [(50, 8), (100, 2), (100, 1)])
def test_few_vectors_and_few_components_work(rows: int, dimension: int, tmp_path: Path) -> None:
    bars = Bars()
    analysis = analyzed(vectors(rows, dimension), tmp_path / "report", strategies=["pca-ellipse"], progress=bars)
    planes = {"correlations", "origin", "generated", "filaments"} if dimension == 1 else set()
    assert set(analysis.problems) == planes
    assert list(analysis.measured) == [key for key in EVERY_SECTION if key not in planes]
    assert strict_json(tmp_path / "report" / "analysis.json") == analysis.as_dict()
    page = Page(tmp_path / "report")
    assert len(page.headings) == len(EVERY_SECTION)
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == dimension
    assert all("at least two components" in problem for problem in analysis.problems.values())
    assert all(problem in page.text for problem in analysis.problems.values())
    assert {v.status for v in analysis.judgements} <= STATUSES
    assert bars.complete


@pytest.fixture
def tiny_bundle(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
    return build_bundle("tiny", tiny_model, tiny_store, [load_core(name) for name in plugin_names("core")], [])


NEEDS_LATENTS = "needs the latent vectors themselves; this reference holds statistics only"


def test_a_bundle_gives_what_its_statistics_allow(tiny_bundle: Bundle, tiny_store: LatentStore, tmp_path: Path) -> None:
    out = tmp_path / "report"
    analysis = analyzed(tiny_bundle, out, strategies=["pca-ellipse"])
    assert analysis.problems == {"filaments": f"The section {NEEDS_LATENTS}; give a store."}
    assert list(analysis.measured) == [key for key in EVERY_SECTION if key != "filaments"]
    page = Page(out)
    assert f"Not measurable here: The section {NEEDS_LATENTS}" in page.text
    assert len(page.headings) == len(EVERY_SECTION)
    for key in analysis.measured:
        record = strict_json(out / key / "section.json")
        assert any(NEEDS_LATENTS in line for line in record["missing"]), key
        assert all(spaced(line) in page.text for line in record["missing"])
        assert record["figures"], key
    why = {judgement.key: judgement for judgement in analysis.judgements}
    for key in ("filaments", "one-dimensional"):
        assert (why[key].status, why[key].why) == ("not measured", analysis.problems["filaments"])
    assert why["empty-slice"].why == "The section 'origin' has no such value for this reference."
    # What needs no vectors is the same as from the store itself.
    stored = analyzed(tiny_store, sections=["components", "correlations", "principal"])
    for key in ("few-strong-pairs", "strongest-pair", "variance-80", "diagonal", "centred-components"):
        [same] = [judgement for judgement in stored.judgements if judgement.key == key]
        assert why[key] == same
        assert same.status != "not measured"


def test_a_trim_that_a_bundle_does_not_know_is_one_section_s_problem(tiny_bundle: Bundle) -> None:
    analysis = analyzed(tiny_bundle, sections=["principal"], trim=1.5)
    assert "tiny has statistics for trim=1.7 or none, not 1.5" in analysis.problems["principal"]


def test_tsne_is_mapped_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(tsne, "ITERATIONS", (50, 50))
    bars = Bars()
    analysis = analyzed(vectors(200, 3), tmp_path / "report", sections=["tsne"], tsne=150, progress=bars)
    assert analysis.problems == {}
    measured = analysis.measured["tsne"]
    assert measured["vectors"] == 150
    assert [row["space"] for row in measured["maps"]] == ["all components", "PC 0 to 1"]
    assert all(row[side] > 0 for row in measured["maps"] for side in ("clark_evans", "normal_clark_evans"))
    [judgement] = [judgement for judgement in analysis.judgements if judgement.key == "tsne-voids"]
    assert judgement.status in {"holds", "differs"}
    assert len(rows_of(tmp_path / "report" / "tsne" / "maps.csv")) == 2
    assert (tmp_path / "report" / "tsne" / "maps.svg").is_file()
    assert bars.complete
    again = analyzed(vectors(200, 3), tmp_path / "report", sections=["tsne"], tsne=150)
    assert list(again.reused) == ["tsne"]


def test_tsne_without_its_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    store = store_of(tmp_path / "z.h5", vectors(200, 3))
    answer = cli("analyze", store, "--out", tmp_path / "report", "-s", "cubes", "-s", "tsne", "--tsne", 150)
    assert (answer.code, answer.err) == (0, "")
    assert "section tsne: t-SNE needs openTSNE; run: pip install 'lsampler[tsne]'" in answer.out
    summary = strict_json(tmp_path / "report" / "analysis.json")
    assert list(summary["problems"]) == ["tsne"]
    assert list(summary["sections"]) == ["cubes"]
    assert "pip install 'lsampler[tsne]'" in Page(tmp_path / "report").text


@pytest.mark.parametrize(
    ("wanted", "message"), [(None, "not asked for"), (50, "50 vectors are too few for t-SNE; at least 100 are needed")]
)
def test_tsne_not_asked_for_or_of_too_few_is_its_own_problem(wanted: int | None, message: str) -> None:
    analysis = analyzed(vectors(200, 3), sections=["tsne"], tsne=wanted)
    assert message in analysis.problems["tsne"]
