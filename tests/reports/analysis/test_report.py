"""The report of an analysis: complete, self-contained, escaped."""

from __future__ import annotations

import html
import re
import sys
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import analysis_support as support
import pytest
from analysis_support import EVERY_SECTION, NAME, Full, Page, analyzed, rows_of, spaced, strict_json, vectors
from support import listing

from lsampler.bundles import Bundle, build_bundle
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_core, plugin_names
from lsampler.reports import AnalysisOptions
from lsampler.store import LatentStore

INK = "#23272e"  # of the figures; the page swaps it for its own, light or dark


def test_a_report_is_its_page_its_numbers_its_judgements_and_a_folder_per_section(full: Full) -> None:
    expected = {"index.html", "analysis.json", "judgements.csv", support.MARK, *EVERY_SECTION}
    for key, record in full.records().items():
        assert record["figures"], key
        assert record["tables"], key
        assert record["measured"] == full.analysis.measured[key]
        files = [f"{figure['name']}.svg" for figure in record["figures"]]
        files += [f"{table['name']}.csv" for table in record["tables"]]
        expected |= {f"{key}/{name}" for name in [*files, "section.json"]}
    assert set(listing(full.path)) == expected
    assert (full.analysis.reference, full.analysis.problems, full.analysis.reused) == (NAME, {}, [])
    summary = strict_json(full.path / "analysis.json")
    assert summary == full.analysis.as_dict()
    assert list(summary["sections"]) == list(full.analysis.measured) == EVERY_SECTION
    assert summary["judgements"] == [asdict(judgement) for judgement in full.analysis.judgements]


def test_judgements_csv_holds_every_statement(full: Full) -> None:
    rows = rows_of(full.path / "judgements.csv")
    assert len(rows) >= 20
    assert rows == [asdict(judgement) for judgement in full.analysis.judgements]
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} <= support.STATUSES
    assert all(row["why"] for row in rows)
    assert all(bool(row["here"]) == (not row["status"].startswith("not ")) for row in rows)


def test_tables_have_all_of_their_rows_in_full_precision(full: Full) -> None:
    measured, records = full.analysis.measured, full.records()
    strong = measured["correlations"]["strong_pairs"]
    found = {str(path.relative_to(full.path).with_suffix("")): rows_of(path) for path in full.path.glob("*/*.csv")}
    counts = {name: len(rows) for name, rows in found.items()}
    assert counts == {f"{key}/{table['name']}": table["count"] for key in records for table in records[key]["tables"]}
    expected = {
        "components/components": support.SMALL_D,
        "correlations/strong_pairs": len(strong),
        "origin/slices": 3 * len(measured["origin"]["pairs"]),
        "cubes/cubes": 5,
        "principal/inner_cores": support.SMALL_D * (support.SMALL_D - 1) // 2,
        "generated/inside": 1 + len(AnalysisOptions.strategies),
    }
    assert counts | expected == counts
    assert len(strong) > 0
    for head, name in (("mean mu", "mean"), ("sigma", "std")):
        cells = [float(row[head]) for row in found["components/components"]]
        assert cells == measured["components"]["components"][name]
    pairs = found["correlations/strong_pairs"]
    assert [[int(row["i"]), int(row["j"]), float(row["Pearson r"])] for row in pairs] == strong


def test_the_page_shows_sections_findings_captions_and_judgements(full: Full) -> None:
    page = full.page()
    assert [key for key, _, _ in page.headings] == EVERY_SECTION
    assert all(title and post for _, title, post in page.headings)
    for key, record in full.records().items():
        assert f"#{key}" in page.values("href")
        for words in (*record["findings"], *record["missing"], *(figure["caption"] for figure in record["figures"])):
            assert spaced(words) in page.text
    statuses = [judgement.status for judgement in full.analysis.judgements]
    held, differing = statuses.count("holds"), statuses.count("differs")
    assert f"{held} hold here, {differing} differ, {statuses.count('not applicable')} do not apply" in page.text
    for finding in full.analysis.findings:
        assert spaced(f"{finding.text} {finding.meaning}") in page.text
    assert all(spaced(line) in page.text for line in full.analysis.suggestions)
    table = page.source.split('<table class="statements">')[1].split("</table>")[0]
    rows = [spaced(html.unescape(re.sub("<[^>]+>", " ", row))) for row in table.split("<tr>")]
    for shown in full.analysis.judgements:
        [row] = [row for row in rows if row.startswith(shown.statement)]
        assert all(spaced(cell) in row for cell in (shown.post, shown.theirs, shown.here, shown.status, shown.why))


def test_the_page_loads_nothing_and_links_every_table(full: Full) -> None:
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
    tables = {str(path.relative_to(full.path)) for path in full.path.rglob("*.csv")}
    assert {*tables, "analysis.json"} <= set(page.values("href"))


def test_drawings_are_on_the_page_well_formed_and_keep_to_themselves(full: Full) -> None:
    page = full.page()
    files = [path.read_text(encoding="utf-8") for path in full.path.glob("*/*.svg")]
    drawings = re.findall(r"<figure[^>]*>\s*<a[^>]*>(<svg.*?</svg>)\s*</a>\s*<figcaption>", page.source, re.DOTALL)
    assert len(drawings) == len(files) == page.source.count("<svg") == page.source.count("<figure ")
    for drawing in [*files, *drawings]:
        root = ElementTree.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not root.findall(".//{http://www.w3.org/2000/svg}script")
        assert root.findall(".//{http://www.w3.org/2000/svg}path")
    ids = page.values("id")
    assert len(ids) > 100
    assert len(set(ids)) == len(ids)
    for drawing in drawings:
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', drawing)) <= set(re.findall(r'\bid="([^"]+)"', drawing))
    assert {link[1:] for link in page.values("href") if link.startswith("#")} <= set(ids)
    assert any(INK in drawing for drawing in files)
    body = page.source.split("<body>")[1]
    assert INK not in body
    assert "var(--ink)" in body
    assert not re.findall(r'\b(?!style)[\w-]+="var\(', body)


def test_a_name_with_markup_is_escaped(full: Full) -> None:
    page = full.page()
    assert "<script" not in page.source.lower()
    assert "alert(1)</script>" not in page.source
    assert f"<h1>{NAME}" not in page.source
    assert page.source.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;") == 3
    assert f"The latent space of {NAME}" in page.text
    assert not [tag for tag, attrs in page.tags if tag == "b" and not attrs]


def test_only_the_chosen_sections_run(tmp_path: Path) -> None:
    out = tmp_path / "report"
    analysis = analyzed(vectors(300), out, sections=["cubes", "origin"])
    assert list(analysis.measured) == ["origin", "cubes"]
    assert support.names(out) == {"index.html", "analysis.json", "judgements.csv", "origin", "cubes"}
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    why = {judgement.key: (judgement.status, judgement.why) for judgement in analysis.judgements}
    for key, section in (("strongest-pair", "correlations"), ("thin-shell", "components"), ("tsne-voids", "tsne")):
        assert why[key] == ("not measured", f"The section '{section}' was not run.")
    measured = {key for key, (status, _) in why.items() if status != "not measured"}
    assert measured == {"off-centre", "empty-slice", "border", "matching-b", "cubes-miss"}


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Full) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = analyzed(support.reference_named("another name"), threshold=0.3)
    assert analysis.measured == full.analysis.measured
    assert analysis.judgements == full.analysis.judgements
    assert list(tmp_path.iterdir()) == []


def test_every_section_has_a_bar_that_is_completed(full: Full) -> None:
    titles = [title for _, title, _ in full.page().headings]
    assert full.bars.of_sections == [f"{k}/{len(titles)} {title}" for k, title in enumerate(titles, 1)]
    assert full.bars.complete


@pytest.mark.parametrize(("rows", "dimension"), [(30, 5), (100, 2), (100, 1)])
def test_few_vectors_and_few_components_work(rows: int, dimension: int, tmp_path: Path) -> None:
    bars = support.Bars()
    analysis = analyzed(vectors(rows, dimension), tmp_path / "report", progress=bars, strategies=["pca-ellipse"])
    planes = {"correlations", "origin", "generated", "filaments"} if dimension == 1 else set()
    assert set(analysis.problems) == planes
    assert list(analysis.measured) == [key for key in EVERY_SECTION if key not in planes]
    assert strict_json(tmp_path / "report" / "analysis.json") == analysis.as_dict()
    page = Page(tmp_path / "report")
    assert len(page.headings) == len(EVERY_SECTION)
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == dimension
    assert set(analysis.problems.values()) <= {"The section needs at least 2 components."}
    assert all(f"Not measured here: {problem}" in page.text for problem in analysis.problems.values())
    assert {judgement.status for judgement in analysis.judgements} <= support.STATUSES
    assert bars.complete


@pytest.fixture
def tiny_bundle(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
    return build_bundle("tiny", tiny_model, tiny_store, [load_core(name) for name in plugin_names("core")], [])


def test_a_bundle_gives_what_its_statistics_allow(tiny_bundle: Bundle, tiny_store: LatentStore, tmp_path: Path) -> None:
    out, without = tmp_path / "report", "cannot be measured: tiny holds statistics only, no latent vectors."
    analysis = analyzed(tiny_bundle, out, strategies=["pca-ellipse"])
    assert analysis.problems == {"filaments": f"The section {without} Give a store."}
    assert list(analysis.measured) == [key for key in EVERY_SECTION if key != "filaments"]
    page = Page(out)
    assert f"Not measured here: The section {without}" in page.text
    assert len(page.headings) == len(EVERY_SECTION)
    for key in analysis.measured:
        record = strict_json(out / key / "section.json")
        assert any(without in line for line in record["missing"]), key
        assert all(spaced(line) in page.text for line in record["missing"])
        assert record["figures"], key
    why = {judgement.key: judgement for judgement in analysis.judgements}
    for key in ("filaments", "one-dimensional"):
        assert (why[key].status, why[key].why) == ("not measured", analysis.problems["filaments"])
    assert why["empty-slice"].why == "The section 'origin' has no such value for this reference."
    # What needs no vectors is the same as from the store itself.
    stored = {
        row.key: row for row in analyzed(tiny_store, sections=["components", "correlations", "principal"]).judgements
    }
    for key in ("few-strong-pairs", "strongest-pair", "variance-80", "diagonal", "centred-components"):
        assert why[key] == stored[key]
        assert why[key].status != "not measured"
    # A second run keeps the sections, and reports the impossible one again.
    before, again = listing(out), analyzed(tiny_bundle, out, strategies=["pca-ellipse"])
    assert (list(again.reused), again.problems) == (list(analysis.measured), analysis.problems)
    assert listing(out) == before


def test_a_trim_that_a_bundle_does_not_know_is_one_section_s_problem(tiny_bundle: Bundle) -> None:
    analysis = analyzed(tiny_bundle, sections=["principal"], trim=1.5)
    assert "tiny has statistics for trim=1.7 or none, not 1.5" in analysis.problems["principal"]


def test_tsne_maps_the_latents_and_a_normal_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openTSNE")
    monkeypatch.setattr("lsampler.reports.analysis.sections.filaments.ITERATIONS", (50, 50))
    bars, chosen = support.Bars(), {"sections": ["tsne"], "tsne": 150}
    analysis = analyzed(vectors(200, 3), tmp_path / "report", progress=bars, **chosen)
    assert analysis.problems == {}
    measured = analysis.measured["tsne"]
    assert measured["vectors"] == 150
    assert [row["space"] for row in measured["maps"]] == ["all components", "PC 0 to 1"]
    assert all(row[side] > 0 for row in measured["maps"] for side in ("clark_evans", "normal_clark_evans"))
    assert {row.key: row.status for row in analysis.judgements}["tsne-voids"] in {"holds", "differs"}
    assert len(rows_of(tmp_path / "report" / "tsne" / "maps.csv")) == 2
    assert (tmp_path / "report" / "tsne" / "maps.svg").is_file()
    assert bars.complete
    assert list(analyzed(vectors(200, 3), tmp_path / "report", **chosen).reused) == ["tsne"]


def test_tsne_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    analysis = analyzed(vectors(200, 3), tmp_path / "report", sections=["cubes", "tsne"], tsne=150)
    assert analysis.problems == {"tsne": "t-SNE needs openTSNE; install it with: pip install 'lsampler[tsne]'"}
    assert list(strict_json(tmp_path / "report" / "analysis.json")["sections"]) == ["cubes"]
    assert "pip install 'lsampler[tsne]'" in Page(tmp_path / "report").text


@pytest.mark.parametrize(
    ("wanted", "message"), [(None, "`tsne=20000`"), (50, "50 vectors are too few for t-SNE; at least 100 are needed")]
)
def test_tsne_of_no_or_too_few_vectors_is_its_own_problem(wanted: int | None, message: str) -> None:
    analysis = analyzed(vectors(200, 3), sections=["tsne"], tsne=wanted)
    assert message in analysis.problems["tsne"]
