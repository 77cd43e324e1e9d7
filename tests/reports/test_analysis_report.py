"""The report of an analysis and its command: whole, self-contained, kept where nothing changed, refused in one line."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lsampler import (
    Analysis,
    Bundle,
    ConvAutoencoder,
    LatentStore,
    LsamplerError,
    MemoryStore,
    StoreWriter,
    analyze,
    load_core,
    load_sampler,
    open_store,
    plugin_names,
)
from lsampler.bundles.bundle import build_bundle
from lsampler.files import MARK, mark_folder
from lsampler.plots import INK
from lsampler.reports.analysis import DEFAULT_STRATEGIES, SECTIONS, section_keys, tsne
from lsampler.reports.analysis import report as _report
from lsampler.reports.analysis import run as _run
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.section import Result, Section, Table

D = 4
NAME = '<script>alert(1)</script> & <b>"'
BY_DEFAULT = [key for key in section_keys() if key != "tsne"]
STATUSES = {"holds", "differs", "not measurable here"}


def vectors(rows: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """A correlated normal off the origin."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimension, dimension))
    return (rng.normal(size=(rows, dimension)) @ mixing + rng.normal(size=dimension)).astype(np.float32)


def reference_named(name: str, seed: int = 0) -> MemoryStore:
    """300 train and 100 held-out vectors."""
    rows = vectors(400, D, seed)
    return MemoryStore(rows[:300], rows[300:], name=name)


def store_of(path: Path, latents: NDArray[Any]) -> Path:
    with StoreWriter(path, latents.shape[1], {}) as writer:
        writer.append(latents)
    return path


def listing(folder: Path) -> dict[str, bytes | None]:
    """All files with their content, and all folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def names(out: Path) -> set[str]:
    """What a report's folder holds, but for the mark that it is one."""
    return {path.name for path in out.iterdir()} - {MARK}


def strict_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{path}: {constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """A page's tags with their attributes, and its text with single spaces."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self.source = (folder / "index.html").read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def text(self) -> str:
        return spaced("".join(self._words))

    def values(self, *attributes: str) -> list[str]:
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in attributes and value]

    @property
    def headings(self) -> list[tuple[str, str, str]]:
        """Id, text and post of every section, in order."""
        return re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>\s*<p class="post">after ([^<]+)</p>', self.source)


def spaced(text: str) -> str:
    return " ".join(text.split())


class Bar:
    """One bar of :class:`Bars`."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.steps = what, total, [0]

    def advance(self, amount: int) -> None:
        self.steps.append(amount)


class Bars:
    """Progress that remembers its bars."""

    def __init__(self) -> None:
        self.begun: list[Bar] = []

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        self.begun.append(Bar(what, total - done))
        return self.begun[-1].advance

    @property
    def of_sections(self) -> list[str]:
        return [bar.what for bar in self.begun if not bar.what.startswith("reading")]

    @property
    def complete(self) -> bool:
        return all(sum(bar.steps) == bar.total and min(bar.steps) >= 0 for bar in self.begun)


class Full(NamedTuple):
    """One report of everything but t-SNE; read it, and copy it before writing."""

    path: Path
    analysis: Analysis
    bars: Bars

    def copy_to(self, path: Path) -> Path:
        shutil.copytree(self.path, path)
        return path

    def records(self) -> dict[str, Any]:
        return {key: strict_json(self.path / key / "section.json") for key in BY_DEFAULT}

    def page(self) -> Page:
        return Page(self.path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    path, bars = tmp_path_factory.mktemp("full") / "report", Bars()
    return Full(path, analyze(reference_named(NAME), path, threshold=0.3, progress=bars), bars)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every section is replaced by one that does nothing but leave its name here, under the same key and options."""
    done: list[str] = []

    def quick(section: Section) -> Section:
        def run(context: Context) -> Result:
            done.append(section.key)
            seen = {name: context.options.plain(name) for name in section.uses}
            return Result({"options": seen}, tables=[Table("options", "Options", ["name"], [[name] for name in seen])])

        return dataclasses.replace(section, run=run)

    monkeypatch.setattr(_run, "SECTIONS", tuple(quick(section) for section in SECTIONS))
    return done


def instead(monkeypatch: pytest.MonkeyPatch, key: str, run: Callable[[Context], Result]) -> None:
    """Let the section ``key`` do something else."""
    sections = [dataclasses.replace(s, run=run) if s.key == key else s for s in _run.SECTIONS]
    monkeypatch.setattr(_run, "SECTIONS", tuple(sections))


# What a report consists of


def test_a_report_is_its_page_its_numbers_its_verdicts_and_a_folder_a_section(full: Full) -> None:
    expected = {"index.html", "analysis.json", "verdicts.csv", *BY_DEFAULT}
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
    assert list(summary["sections"]) == list(full.analysis.measured) == BY_DEFAULT
    assert summary["sections"] == full.analysis.measured
    assert summary["problems"] == {}
    assert summary["verdicts"] == [asdict(verdict) for verdict in full.analysis.verdicts]
    assert summary == full.analysis.as_dict()
    for key, record in full.records().items():
        assert record["measured"] == full.analysis.measured[key]


def test_verdicts_csv_holds_every_statement(full: Full) -> None:
    rows = rows_of(full.path / "verdicts.csv")
    assert len(rows) >= 20
    assert rows == [asdict(verdict) for verdict in full.analysis.verdicts]
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} <= STATUSES
    assert all(row["why"] for row in rows)
    assert all(bool(row["here"]) == (row["status"] != "not measurable here") for row in rows)


def test_tables_have_all_of_their_rows(full: Full) -> None:
    measured = full.analysis.measured
    expected = {
        "components/components": D,
        "components/dominant": len(measured["components"]["dominant"]),
        "correlations/strong_pairs": len(measured["correlations"]["strong_pairs"]),
        "correlations/counts": 6,
        "origin/slices": 3 * len(measured["origin"]["pairs"]),
        "cubes/cubes": 5,
        "gaussianity/normality": D,
        "gaussianity/ellipses": 3,
        "gaussianity/pairs": len(measured["gaussianity"]["pairs"]),
        "principal/variance": D,
        "principal/axes": D,
        "principal/inner_cores": D * (D - 1) // 2,
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


def test_the_page_says_how_much_of_a_long_table_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[f"row {k}", k / 3] for k in range(45)]
    tables = [Table(name, f"Title of {name}", ["name", "k"], rows, shown) for name, shown in (("part", 8), ("file", 0))]
    instead(monkeypatch, "cubes", lambda _: Result({}, tables=[*tables, Table("all", "Title of all", ["name"], rows)]))
    analyze(vectors(50, D), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert "The first 8 of 45 rows. part.csv" in page.text
    assert "Title of file: file.csv" in page.text
    assert "The first 30 of 45 rows. all.csv" in page.text
    assert page.source.count("row 7<") == 2
    assert page.source.count("row 8<") == page.source.count("row 29<") == 1
    assert "row 30<" not in page.source
    for name in ("part", "file", "all"):
        found = rows_of(tmp_path / "report" / "cubes" / f"{name}.csv")
        assert [row["name"] for row in found] == [f"row {k}" for k in range(45)]
    assert [float(row["k"]) for row in rows_of(tmp_path / "report" / "cubes" / "part.csv")] == [
        k / 3 for k in range(45)
    ]


# The page


def test_every_section_has_its_heading_and_says_its_post(full: Full) -> None:
    page = full.page()
    assert page.headings == [(s.key, s.title, s.post) for s in SECTIONS if s.key in BY_DEFAULT]
    for section in SECTIONS:
        if section.key in BY_DEFAULT:
            assert spaced(section.about) in page.text
            assert f"#{section.key}" in page.values("href")


def test_the_page_shows_findings_captions_and_verdicts(full: Full) -> None:
    page = full.page()
    for record in full.records().values():
        for words in (*record["findings"], *record["missing"], *(figure["caption"] for figure in record["figures"])):
            assert spaced(words) in page.text
    statuses = [verdict.status for verdict in full.analysis.verdicts]
    assert f"{statuses.count('holds')} hold, {statuses.count('differs')} differ" in page.text
    table = page.source.split('<table class="verdicts">')[1].split("</table>")[0]
    rows = [spaced(html.unescape(re.sub("<[^>]+>", " ", row))) for row in table.split("<tr>")]
    for verdict in full.analysis.verdicts:
        [row] = [row for row in rows if row.startswith(verdict.statement)]
        status = "" if verdict.status == "not measurable here" else verdict.status
        assert all(spaced(cell) in row for cell in (verdict.post, verdict.theirs, verdict.here, status, verdict.why))


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


def test_every_table_is_linked(full: Full) -> None:
    links = page_links(full.page())
    assert {str(path.relative_to(full.path)) for path in full.path.rglob("*.csv")} <= links
    assert "analysis.json" in links
    assert all((full.path / link).is_file() for link in links)


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


def test_a_problem_with_markup_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Context) -> Result:
        raise LsamplerError(f"{NAME} is wrong")

    instead(monkeypatch, "cubes", fail)
    analysis = analyze(vectors(50, D), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert f"Not measurable here: {NAME} is wrong" in page.text
    assert "<script" not in page.source
    assert strict_json(tmp_path / "report" / "analysis.json")["problems"] == {"cubes": f"{NAME} is wrong"}
    assert {v.why for v in analysis.verdicts if v.key == "matching-b"} == {f"{NAME} is wrong"}


def test_cells_and_lines_with_markup_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("odd", NAME, [NAME], [[NAME]])
    instead(monkeypatch, "cubes", lambda _: Result({}, findings=[NAME], tables=[table], missing=[NAME]))
    analyze(vectors(50, D), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert "<script" not in page.source
    assert page.text.count(NAME) == 5
    assert rows_of(tmp_path / "report" / "cubes" / "odd.csv") == [{NAME: NAME}]


# Options


def test_only_the_chosen_sections_run(tmp_path: Path) -> None:
    out = tmp_path / "report"
    analysis = analyze(vectors(300, D), out, sections=["cubes", "origin"])
    assert list(analysis.measured) == ["origin", "cubes"]
    assert names(out) == {"index.html", "analysis.json", "verdicts.csv", "origin", "cubes"}
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    why = {verdict.key: (verdict.status, verdict.why) for verdict in analysis.verdicts}
    assert why["strongest-pair"] == ("not measurable here", "The section 'correlations' was not run.")
    assert why["thin-shell"] == ("not measurable here", "The section 'components' was not run.")
    assert why["tsne-voids"] == ("not measurable here", "The section 'tsne' was not run.")
    measured = {key for key, (status, _) in why.items() if status != "not measurable here"}
    assert measured == {"off-centre", "empty-slice", "border", "matching-b", "cubes-miss"}


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Full) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = analyze(reference_named("another name"), threshold=0.3)
    assert analysis.measured == full.analysis.measured
    assert analysis.verdicts == full.analysis.verdicts
    assert list(tmp_path.iterdir()) == []


def test_no_section_at_all_leaves_a_report_or_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(LsamplerError):
        analyze(vectors(50, D), tmp_path / "report", sections=[])
    assert not (tmp_path / "report").exists() or (tmp_path / "report" / "index.html").is_file()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown section", {"sections": ["cube"]}, "no section 'cube'; did you mean 'cubes'?; there are components"),
    ("unknown strategy", {"strategies": ["gausian"]}, "no sampler 'gausian'; did you mean 'gaussian'?"),
    ("threshold above 1", {"threshold": 2.0}, "threshold=2.0: give a number between 0 and 1"),
    ("threshold of 0", {"threshold": 0.0}, "threshold=0.0: give a number between 0 and 1"),
    ("threshold NaN", {"threshold": float("nan")}, "threshold=nan: give a number between 0 and 1"),
    ("one component twice", {"pairs": [(1, 1)]}, "pair 1,1: give two different components from 0 to 3"),
    ("component beyond D", {"pairs": [(0, 1), (0, 99)]}, "pair 0,99: give two different components from 0 to 3"),
    ("negative component", {"pairs": [(-1, 2)]}, "pair -1,2: give two different components from 0 to 3"),
    ("bin width of 0", {"bin_width": 0.0}, "bin_width=0.0: give a number above 0"),
    ("bin width infinite", {"bin_width": float("inf")}, "bin_width=inf: give a number above 0"),
    ("negative trim", {"trim": -1.0}, "trim=-1.0: give a number of half-widths above 0"),
    ("t-SNE of nothing", {"tsne": 0}, "tsne=0: give the number of vectors to map"),
    ("negative seed", {"seed": -1}, "seed=-1: give a number of at least 0"),
]


@pytest.mark.parametrize(("options", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_option_out_of_range_is_refused(options: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError) as error:
        analyze(vectors(50, D), tmp_path / "report", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"pairs": np.array([[0, 2]])}, {"seed": np.int64(0)}, {"bin_width": np.float32(0.25)}], ids=list
)
def test_options_may_be_numpy_s_numbers(options: Mapping[str, Any], ran: list[str], tmp_path: Path) -> None:
    analyze(vectors(50, D), tmp_path / "report", **options)
    assert ran == BY_DEFAULT


def broken(what: str) -> NDArray[np.float32]:
    rows = vectors(10 if what == "few" else 50, D)
    if what == "NaN":
        rows[3, 1] = np.nan
    if what == "constant":
        rows[:, 2] = 0.1
    return rows


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("NaN", "row 3 holds NaN or infinite values"),
        ("few", "10 vectors are too few to analyse; give at least 20"),
        ("constant", "component 2 is constant"),
    ],
)
def test_latents_that_cannot_be_analysed_are_refused_and_leave_nothing(what: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match=message):
        analyze(broken(what), tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


# The folder


def test_an_empty_folder_is_filled(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    analyze(vectors(50, D), tmp_path / "report")
    assert ran == BY_DEFAULT
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_file_is_not_replaced_by_a_report(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"precious")
    with pytest.raises(LsamplerError, match="report: is a file; choose another name"):
        analyze(vectors(50, D), tmp_path / "report")
    assert listing(tmp_path) == {"report": b"precious"}
    assert ran == []


def test_a_missing_parent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="missing does not exist; create it first"):
        analyze(vectors(50, D), tmp_path / "missing" / "report")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_disk_does_not_allow_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="File name too long"):
        analyze(vectors(50, D), tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "content",
    [
        {"wedding.jpg": b"precious"},
        {"analysis.json": b'{"title": "of another program"}'},
        {"analysis.json": b"\xff\xfe\x00"},
        {"analysis.json": b"3"},
        {"analysis.json": b'["lsampler"]'},
        {"introduction/section.json": b"{}", "cubes/precious.txt": b"precious"},
    ],
    ids=["file", "JSON of another program", "not text", "a number", "a list", "sections of another program"],
)
def test_a_folder_with_something_else_is_refused_and_left_as_it_is(
    content: Mapping[str, bytes], ran: list[str], tmp_path: Path
) -> None:
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    before = listing(tmp_path)
    with contextlib.suppress(LsamplerError):  # what it says, see the next lines
        analyze(vectors(50, D), tmp_path)
    assert listing(tmp_path) == before
    with pytest.raises(LsamplerError, match=r"was not written by lsampler.*; choose an empty or a new folder"):
        analyze(vectors(50, D), tmp_path)
    assert ran == []


@pytest.mark.parametrize(
    ("kind", "words"), [("comparison report", "a comparison report"), ("images", "decoded images")]
)
def test_a_folder_of_another_command_is_refused_and_left_as_it_is(
    kind: Any, words: str, ran: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mark_folder(out, kind)
    (out / "index.html").write_text("the work of hours")
    before = listing(out)
    with pytest.raises(LsamplerError, match=f"out: holds {words}, not an analysis report; choose an empty or a new"):
        analyze(vectors(50, D), out)
    assert listing(out) == before
    assert ran == []


def test_files_of_the_user_inside_a_section_s_folder_are_not_lost(ran: list[str], tmp_path: Path) -> None:
    analyze(vectors(50, D), tmp_path / "report", sections=["correlations"])
    notes = tmp_path / "report" / "correlations" / "notes.txt"
    notes.write_bytes(b"precious")
    with contextlib.suppress(LsamplerError):  # refused or kept, as may be
        analyze(vectors(50, D), tmp_path / "report", sections=["correlations"], threshold=0.7)
    assert notes.is_file()


def test_files_and_folders_of_the_user_beside_the_sections_are_kept(ran: list[str], tmp_path: Path) -> None:
    out = tmp_path / "report"
    analyze(vectors(50, D), out)
    own = {
        ".git/config": b"precious",
        ".notes/a.txt": b"precious",
        "more/section.json": b"{}",
        "notes.txt": b"precious",
    }
    for name, data in own.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    with contextlib.suppress(LsamplerError):  # refused or kept, as may be
        analyze(vectors(50, D, seed=1), out)
    assert {name: data for name, data in listing(out).items() if name in own} == own


# Sections that need not be done again


def test_a_second_run_keeps_every_section_and_every_byte(full: Full, tmp_path: Path) -> None:
    out, bars = full.copy_to(tmp_path / "report"), Bars()
    again = analyze(reference_named(NAME), out, threshold=0.3, progress=bars)
    assert list(again.reused) == BY_DEFAULT
    assert again.measured == full.analysis.measured
    assert again.verdicts == full.analysis.verdicts
    assert listing(out) == listing(full.path)
    assert bars.of_sections == []


def test_a_report_elsewhere_has_the_same_bytes(full: Full, tmp_path: Path) -> None:
    """Nothing depends on the time, the folder, or the sections done before."""
    analyze(reference_named(NAME), tmp_path / "report", sections=["cubes", "filaments"], threshold=0.3)
    for key in ("cubes", "filaments"):
        assert listing(tmp_path / "report" / key) == listing(full.path / key)


# Every option, another value of it, and the sections that have to be done again.
CHANGES: list[tuple[str, Any, set[str]]] = [
    ("bin_width", 0.3, {"components", "correlations", "gaussianity"}),
    ("threshold", 0.7, {"correlations"}),
    ("pairs", [(1, 3)], {"origin"}),
    ("strategies", ["gaussian"], {"correlations", "generated"}),
    ("strategies", [load_sampler("pca-ellipse", fact=0.3)], {"correlations", "generated"}),
    ("trim", None, {"principal"}),
    ("tsne", 200, {"tsne"}),
    ("seed", 1, {"correlations", "origin", "cubes", "gaussianity", "generated", "filaments", "tsne"}),
]


@pytest.mark.parametrize(("option", "value", "stale"), CHANGES)
def test_an_option_redoes_only_the_sections_that_use_it(
    option: str, value: Any, stale: set[str], ran: list[str], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tsne": 150, "strategies": ["pca-ellipse"]}
    analyze(vectors(50, D), tmp_path / "report", **options)
    assert ran == section_keys()
    ran.clear()
    analysis = analyze(vectors(50, D), tmp_path / "report", **options | {option: value})
    assert set(ran) == stale
    assert set(analysis.reused) == set(section_keys()) - stale
    assert strict_json(tmp_path / "report" / "analysis.json")["sections"] == analysis.measured
    ran.clear()
    analyze(vectors(50, D), tmp_path / "report", **options | {option: value})
    assert ran == []


@pytest.mark.parametrize(("option", "value", "stale"), [row for row in CHANGES if row[0] != "tsne"])
def test_an_option_changes_nothing_of_the_sections_that_are_kept(
    option: str, value: Any, stale: set[str], full: Full
) -> None:
    changed = analyze(reference_named(NAME), **{"threshold": 0.3, option: value}).measured
    assert {key for key in BY_DEFAULT if changed[key] != full.analysis.measured[key]} <= stale


def test_a_real_change_of_threshold_redoes_the_correlations(full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    analysis = analyze(reference_named(NAME), out, threshold=0.9)
    assert set(BY_DEFAULT) - set(analysis.reused) == {"correlations"}
    before, after = (one.measured["correlations"]["strong_pairs"] for one in (full.analysis, analysis))
    assert len(after) < len(before)
    assert len(rows_of(out / "correlations" / "strong_pairs.csv")) == len(after)
    assert "Pairs with |r| above 0.9" in Page(out).text
    untouched = {name for name in listing(out) if "/" in name and not name.startswith("correlations")}
    assert {name: listing(out)[name] for name in untouched} == {name: listing(full.path)[name] for name in untouched}


@pytest.mark.usefixtures("ran")
def test_another_core_redoes_the_sections_that_use_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(vectors(50, D), tmp_path / "report")
    monkeypatch.setattr(_run, "plugin_names", lambda kind: [*plugin_names(kind), "my-core"])
    analysis = analyze(vectors(50, D), tmp_path / "report")
    assert set(BY_DEFAULT) - set(analysis.reused) == {"origin", "cubes", "generated"}
    assert list(analyze(vectors(50, D), tmp_path / "report").reused) == BY_DEFAULT


def one_number_changed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = rows.copy()
    rows[7, 1] = np.nextafter(rows[7, 1], np.float32(9))
    return rows


@pytest.mark.parametrize("part", ["train", "held-out", "split"])
def test_changed_latents_redo_every_section(part: str, ran: list[str], tmp_path: Path) -> None:
    rows = vectors(60, D)
    train, held_out = rows[:50], rows[50:]
    analyze(MemoryStore(train, held_out), tmp_path / "report")
    ran.clear()
    if part == "train":
        train = one_number_changed(train)
    elif part == "held-out":
        held_out = one_number_changed(held_out)
    else:
        train, held_out = rows[:49], rows[49:]
    analysis = analyze(MemoryStore(train, held_out), tmp_path / "report")
    assert ran == BY_DEFAULT
    assert list(analysis.reused) == []


def test_the_same_latents_from_elsewhere_are_the_same(ran: list[str], tmp_path: Path) -> None:
    rows = vectors(50, D)
    analyze(MemoryStore(rows, name="array"), tmp_path / "report")
    analysis = analyze(open_store(store_of(tmp_path / "z.h5", rows)), tmp_path / "report")
    assert list(analysis.reused) == BY_DEFAULT
    assert str(tmp_path / "z.h5") in Page(tmp_path / "report").text


def test_another_version_redoes_every_section(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(vectors(50, D), tmp_path / "report")
    ran.clear()
    monkeypatch.setattr(_run, "__version__", "99.0")
    analyze(vectors(50, D), tmp_path / "report")
    assert ran == BY_DEFAULT


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def not_a_record(path: Path) -> None:
    path.write_text("[]")


def of_another_run(path: Path) -> None:
    path.write_text(json.dumps(strict_json(path) | {"key": "0" * 32}))


def without_figures(path: Path) -> None:
    record = strict_json(path)
    del record["figures"]
    path.write_text(json.dumps(record))


def with_an_odd_figure(path: Path) -> None:
    path.write_text(json.dumps(strict_json(path) | {"figures": [None]}))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("radii.svg", Path.unlink),
        ("cubes.csv", Path.unlink),
        ("section.json", Path.unlink),
        ("section.json", cut),
        ("section.json", emptied),
        ("section.json", not_a_record),
        ("section.json", of_another_run),
        ("section.json", without_figures),
        ("section.json", with_an_odd_figure),
        ("radii.svg", emptied),
        ("radii.svg", cut),
        ("cubes.csv", emptied),
    ],
)
def test_a_damaged_section_is_done_again(file: str, damage: Callable[[Path], None], full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    damage(out / "cubes" / file)
    analysis = analyze(reference_named(NAME), out, sections=["cubes", "filaments"], threshold=0.3)
    assert list(analysis.reused) == ["filaments"]
    assert listing(out / "cubes") == listing(full.path / "cubes")


@pytest.mark.parametrize("file", ["index.html", "analysis.json", "verdicts.csv"])
def test_a_lost_page_is_written_again_from_the_kept_sections(file: str, full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    (out / file).unlink()
    analysis = analyze(reference_named(NAME), out, threshold=0.3)
    assert list(analysis.reused) == BY_DEFAULT
    assert listing(out) == listing(full.path)


def test_a_section_that_failed_is_tried_again(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _run.SECTIONS

    def fail(_: Context) -> Result:
        raise LsamplerError("no such luck")

    instead(monkeypatch, "cubes", fail)
    first = analyze(vectors(50, D), tmp_path / "report")
    assert first.problems == {"cubes": "no such luck"}
    assert list(first.measured) == [key for key in BY_DEFAULT if key != "cubes"]
    assert "no such luck" in Page(tmp_path / "report").text
    monkeypatch.setattr(_run, "SECTIONS", whole)
    ran.clear()
    second = analyze(vectors(50, D), tmp_path / "report")
    assert ran == ["cubes"]
    assert second.problems == {}
    assert list(second.measured) == BY_DEFAULT
    assert "no such luck" not in Page(tmp_path / "report").text


# Interruptions


def test_finished_sections_survive_an_interruption(full: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third section is interrupted; the next run goes on with it, and the report is as if nothing had been."""

    def stop(_: Context) -> Result:
        raise KeyboardInterrupt

    out, chosen = tmp_path / "report", ["origin", "cubes", "filaments"]
    with monkeypatch.context() as patch:
        instead(patch, "filaments", stop)
        with pytest.raises(KeyboardInterrupt):
            analyze(reference_named(NAME), out, sections=chosen)
    assert names(out) == {"index.html", "analysis.json", "verdicts.csv", "origin", "cubes"}
    assert list(strict_json(out / "analysis.json")["sections"]) == ["origin", "cubes"]
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    analysis = analyze(reference_named(NAME), out, sections=chosen)
    assert list(analysis.reused) == ["origin", "cubes"]
    assert analysis.measured == {key: full.analysis.measured[key] for key in chosen}
    for key in chosen:
        assert listing(out / key) == listing(full.path / key)


@pytest.mark.parametrize("existing", [False, True])
def test_a_section_s_folder_is_whole_or_as_it_was(
    existing: bool, full: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while its figure is written, half of it on disk."""
    out = tmp_path / "report"
    if existing:
        full.copy_to(out)
    before = listing(full.path) if existing else {MARK: b"analysis report\n"}

    def stop(_: Any, path: Path) -> None:
        path.write_text("<svg half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_report, "save_figure", stop)
    with pytest.raises(KeyboardInterrupt):
        analyze(reference_named(NAME), out, sections=["cubes"], seed=1)
    assert listing(out) == before


STOPPED = """
import dataclasses, signal, sys, time
from lsampler.reports.analysis import run as _run
from lsampler.cli import main

def stop(context):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
    time.sleep(60)

key = sys.argv.pop(1)
_run.SECTIONS = tuple(dataclasses.replace(s, run=stop) if s.key == key else s for s in _run.SECTIONS)
main()
"""


def test_ctrl_c_says_so_in_one_line_and_the_same_command_goes_on(
    tmp_path: Path, cli: Callable[..., Any], ran: list[str]
) -> None:
    """Stopped in a process of its own, where no section is replaced but the one that is interrupted."""
    store, out = store_of(tmp_path / "z.h5", vectors(50, D)), tmp_path / "report"
    arguments = ["analyze", str(store), "--out", str(out), "-s", "cubes", "-s", "filaments"]
    script = [sys.executable, "-c", STOPPED, "filaments", *arguments]
    stopped = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert (stopped.returncode, stopped.stderr) == (130, "lsampler: interrupted\n")
    assert names(out) == {"index.html", "analysis.json", "verdicts.csv", "cubes"}
    answer = cli(*arguments)
    assert answer.code == 0, answer.err
    assert ran == ["filaments"]
    assert "kept from an earlier run: cubes\n" in answer.out


def test_a_run_killed_while_it_writes_the_first_section_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves what is on disk at that moment: the unfinished folder of the section under a temporary name."""
    out, killed = tmp_path / "report", tmp_path / "killed"

    def stop(_: Any, path: Path) -> None:
        path.write_text("<svg half")
        shutil.copytree(out, killed)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_report, "save_figure", stop)
        with pytest.raises(KeyboardInterrupt):
            analyze(vectors(50, D), out, sections=["cubes"])
    assert [path.name for path in killed.rglob("*.svg")] == ["radii.svg"]
    analyze(vectors(50, D), killed, sections=["cubes"])
    assert names(killed) == {"index.html", "analysis.json", "verdicts.csv", "cubes"}
    assert "half" not in (killed / "cubes" / "radii.svg").read_text(encoding="utf-8")


# Progress


def test_every_section_has_a_bar_that_is_completed(full: Full) -> None:
    titles = [section.title for section in SECTIONS if section.key in BY_DEFAULT]
    assert full.bars.of_sections == [f"{k}/{len(titles)} {title}" for k, title in enumerate(titles, 1)]
    assert full.bars.complete
    assert all(bar.total > 0 for bar in full.bars.begun)


def test_bars_are_completed_where_a_section_fails_and_where_a_store_is_read(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Context) -> Result:
        raise LsamplerError("no such luck")

    instead(monkeypatch, "cubes", fail)
    bars = Bars()
    store = open_store(store_of(tmp_path / "z.h5", vectors(50, D)))
    analyze(store, tmp_path / "report", sections=["cubes", "origin"], progress=bars)
    assert bars.of_sections == ["1/2 Surroundings of the origin", "2/2 Naive cubes"]
    assert [(bar.what, bar.total) for bar in bars.begun][:2] == [("reading (train)", 50), ("reading (held-out)", 0)]
    assert bars.complete


# Latents of all sizes


@pytest.mark.parametrize(("rows", "dimension"), [(50, 8), (100, 2), (100, 1)])
def test_few_vectors_and_few_components_work(rows: int, dimension: int, tmp_path: Path) -> None:
    bars = Bars()
    analysis = analyze(vectors(rows, dimension), tmp_path / "report", strategies=["pca-ellipse"], progress=bars)
    planes = {"correlations", "origin", "generated", "filaments"} if dimension == 1 else set()
    assert set(analysis.problems) == planes
    assert list(analysis.measured) == [key for key in BY_DEFAULT if key not in planes]
    assert strict_json(tmp_path / "report" / "analysis.json") == analysis.as_dict()
    page = Page(tmp_path / "report")
    assert len(page.headings) == len(BY_DEFAULT)
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == dimension
    assert all("at least two components" in problem for problem in analysis.problems.values())
    assert all(problem in page.text for problem in analysis.problems.values())
    assert {v.status for v in analysis.verdicts} <= STATUSES
    assert bars.complete


# Bundles


@pytest.fixture
def tiny_bundle(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
    return build_bundle("tiny", tiny_model, tiny_store, [load_core(name) for name in plugin_names("core")], [])


NEEDS_LATENTS = "needs the latent vectors themselves; this reference holds statistics only"


def test_a_bundle_gives_what_its_statistics_allow(tiny_bundle: Bundle, tiny_store: LatentStore, tmp_path: Path) -> None:
    out = tmp_path / "report"
    analysis = analyze(tiny_bundle, out, strategies=["pca-ellipse"])
    assert analysis.problems == {"filaments": f"The section {NEEDS_LATENTS}; give a store."}
    assert list(analysis.measured) == [key for key in BY_DEFAULT if key != "filaments"]
    page = Page(out)
    assert f"Not measurable here: The section {NEEDS_LATENTS}" in page.text
    assert len(page.headings) == len(BY_DEFAULT)
    for key in analysis.measured:
        record = strict_json(out / key / "section.json")
        assert any(NEEDS_LATENTS in line for line in record["missing"]), key
        assert all(spaced(line) in page.text for line in record["missing"])
        assert record["figures"], key
    why = {verdict.key: verdict for verdict in analysis.verdicts}
    for key in ("filaments", "one-dimensional"):
        assert (why[key].status, why[key].why) == ("not measurable here", analysis.problems["filaments"])
    assert why["empty-slice"].why == "The section 'origin' has no such value for this reference."
    # What needs no vectors is the same as from the store itself.
    stored = analyze(tiny_store, sections=["components", "correlations", "principal"])
    for key in ("few-strong-pairs", "strongest-pair", "variance-80", "diagonal", "centred-components"):
        [same] = [verdict for verdict in stored.verdicts if verdict.key == key]
        assert why[key] == same
        assert same.status != "not measurable here"


def test_a_bundle_s_sections_are_kept_and_the_impossible_one_is_said_again(
    tiny_bundle: Bundle, ran: list[str], tmp_path: Path
) -> None:
    first = analyze(tiny_bundle, tmp_path / "report")
    before = listing(tmp_path / "report")
    second = analyze(tiny_bundle, tmp_path / "report")
    assert ran == [key for key in BY_DEFAULT if key != "filaments"]
    assert list(second.reused) == ran
    assert second.problems == first.problems == {"filaments": f"The section {NEEDS_LATENTS}; give a store."}
    assert listing(tmp_path / "report") == before


def test_a_trim_that_a_bundle_does_not_know_is_one_section_s_problem(tiny_bundle: Bundle) -> None:
    analysis = analyze(tiny_bundle, sections=["principal"], trim=1.5)
    assert "tiny has statistics for trim=1.7 or none, not 1.5" in analysis.problems["principal"]


def test_the_command_takes_a_bundle_by_its_name(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("analyze", "celeba96", "--out", tmp_path / "report", "-s", "components", "-s", "filaments")
    assert (answer.code, answer.err) == (0, "")
    assert f"section filaments: The section {NEEDS_LATENTS}; give a store." in answer.out
    assert "<h1>celeba96</h1>" in Page(tmp_path / "report").source
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == 256


def test_the_command_takes_a_bundle_s_file(
    tiny_bundle: Bundle, ran: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_bundle.save(tmp_path / "mine.safetensors")
    answer = cli("analyze", tmp_path / "mine.safetensors", "--out", tmp_path / "report")
    assert (answer.code, answer.err) == (0, "")
    assert ran == [key for key in BY_DEFAULT if key != "filaments"]


# t-SNE


def test_tsne_is_mapped_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(tsne, "ITERATIONS", (50, 50))
    bars = Bars()
    analysis = analyze(vectors(200, 3), tmp_path / "report", sections=["tsne"], tsne=150, progress=bars)
    assert analysis.problems == {}
    measured = analysis.measured["tsne"]
    assert measured["vectors"] == 150
    assert [row["space"] for row in measured["maps"]] == ["all components", "PC 0 to 1"]
    assert all(row[side] > 0 for row in measured["maps"] for side in ("clark_evans", "normal_clark_evans"))
    [verdict] = [verdict for verdict in analysis.verdicts if verdict.key == "tsne-voids"]
    assert verdict.status in {"holds", "differs"}
    assert len(rows_of(tmp_path / "report" / "tsne" / "maps.csv")) == 2
    assert (tmp_path / "report" / "tsne" / "maps.svg").is_file()
    assert bars.complete
    again = analyze(vectors(200, 3), tmp_path / "report", sections=["tsne"], tsne=150)
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
    analysis = analyze(vectors(200, 3), sections=["tsne"], tsne=wanted)
    assert message in analysis.problems["tsne"]


# The command


def test_the_command_prints_every_verdict_and_the_report_s_path(
    full: Full, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    store = tmp_path / '[red]<b>&".h5'
    reference = reference_named(NAME)
    with StoreWriter(store, D, {}) as writer:
        writer.append(reference.latents())
        writer.append(reference.held_out(), split="held-out")
    before, out = store.read_bytes(), full.copy_to(tmp_path / "report")
    answer = cli("analyze", store, "--out", out, "--threshold", 0.3)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for verdict in full.analysis.verdicts:
        [line] = [line for line in lines if line.strip().startswith(verdict.statement)]
        assert line.rstrip().endswith(verdict.status.removesuffix(" here"))
        assert verdict.theirs in line
        assert verdict.here in line
    assert f"kept from an earlier run: {', '.join(BY_DEFAULT)}" in lines
    assert lines[-1] == f"report: {out / 'index.html'}"
    assert store.read_bytes() == before
    page = Page(out)
    assert str(store) in page.text
    assert "<b>&" not in page.source


def test_the_command_s_options_are_those_of_the_library(
    ran: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The sections that stand in here measure the options that they were given."""
    store = store_of(tmp_path / "z.h5", vectors(50, D))
    options = (
        "--bin-width 0.5 --threshold 0.2 --pair 0,3 --pair 2,1 -p gaussian -p pca-ellipse --trim 0 --tsne 7 --seed 3"
    )
    answer = cli("analyze", store, "--out", tmp_path / "a", *options.split())
    assert (answer.code, answer.err) == (0, "")
    assert ran == section_keys()
    summary = strict_json(tmp_path / "a" / "analysis.json")
    seen = {name: value for values in summary["sections"].values() for name, value in values["options"].items()}
    assert seen == {
        "bin_width": 0.5,
        "threshold": 0.2,
        "pairs": [[0, 3], [2, 1]],
        "strategies": ["gaussian {}", "pca-ellipse {}"],
        "trim": None,
        "tsne": 7,
        "seed": 3,
    }
    expected = analyze(
        open_store(store),
        bin_width=0.5,
        threshold=0.2,
        pairs=[(0, 3), (2, 1)],
        strategies=["gaussian", "pca-ellipse"],
        trim=None,
        tsne=7,
        seed=3,
    )
    assert summary == expected.as_dict()


def test_the_command_s_defaults_are_those_of_the_library(
    ran: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "z.h5", vectors(50, D))
    assert cli("analyze", store, "--out", tmp_path / "a").code == 0
    assert ran == BY_DEFAULT
    assert strict_json(tmp_path / "a" / "analysis.json") == analyze(open_store(store)).as_dict()
    answer = cli("analyze", store, "--out", tmp_path / "b", "-s", "origin", "--section", "components")
    assert answer.code == 0
    assert list(strict_json(tmp_path / "b" / "analysis.json")["sections"]) == ["components", "origin"]


def test_help_names_every_section_and_shows_examples(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    answer = cli("analyze", "--help")
    assert answer.code == 0
    assert ", ".join(section_keys()) in spaced(answer.out)
    assert ", ".join(DEFAULT_STRATEGIES) in spaced(answer.out)
    assert "lsampler analyze" in answer.out.split("Examples", 1)[1]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Stores that cannot be analysed, one that can, and places where no report may go."""
    folder = tmp_path / "bad"
    folder.mkdir()
    store_of(folder / "good.h5", vectors(50, D))
    store_of(folder / "few.h5", broken("few"))
    store_of(folder / "constant.h5", broken("constant"))
    whole = (folder / "good.h5").read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "nan.h5").write_bytes(whole)
    with h5py.File(folder / "nan.h5", "r+") as handle:
        handle["latents"][3, 1] = np.nan
    with h5py.File(folder / "foreign.h5", "w") as handle:
        handle["latents"] = vectors(50, D)
    (folder / "empty.h5").touch()
    (folder / "file").write_bytes(b"precious")
    (folder / "photos").mkdir()
    (folder / "photos" / "wedding.jpg").write_bytes(b"precious")
    return folder


# Every row: what is wrong, the arguments, what the one line must say.
BAD_INPUT = [
    ("latents missing", "no.h5 --out r", "no.h5: no such latent store; check the path"),
    ("latents are a folder", "photos --out r", "is a folder, expected a latent store"),
    ("latents empty", "empty.h5 --out r", "empty.h5: is empty"),
    ("latents truncated", "cut.h5 --out r", "cut.h5: not a readable HDF5 file; it may be truncated"),
    ("latents foreign", "foreign.h5 --out r", "foreign.h5: an HDF5 file, but not a latent store"),
    ("latents with NaN", "nan.h5 --out r", "nan.h5: row 3 holds NaN or infinite values"),
    ("too few", "few.h5 --out r", "few.h5: 10 vectors are too few to analyse; give at least 20"),
    ("constant component", "constant.h5 --out r", "constant.h5: component 2 is constant"),
    ("bundle missing", "no.safetensors --out r", "no.safetensors: no such bundle; check the path"),
    ("no latents", "--out r", "Missing argument 'LATENTS'"),
    ("no folder", "good.h5", "Missing option '--out'"),
    ("folder is a file", "good.h5 --out file", "file: is a file; choose another name"),
    ("folder in a file", "good.h5 --out file/r", "does not exist; create it first"),
    ("folder with photos", "good.h5 --out photos", "photos: was not written by lsampler"),
    ("parent missing", "good.h5 --out no/r", "does not exist; create it first"),
    ("section", "good.h5 --out r -s cube", "no section 'cube'; did you mean 'cubes'?"),
    ("strategy", "good.h5 --out r -p gausian", "no sampler 'gausian'; did you mean 'gaussian'?"),
    ("threshold", "good.h5 --out r --threshold 2", "threshold=2.0: give a number between 0 and 1"),
    ("threshold no number", "good.h5 --out r --threshold high", "'--threshold': Input should be a valid number"),
    ("pair of one", "good.h5 --out r --pair 1", "--pair 1: write it as two components, such as 118,164"),
    ("pair of three", "good.h5 --out r --pair 1,2,3", "--pair 1,2,3: write it as two components"),
    ("pair negative", "good.h5 --out r --pair=-1,2", "--pair -1,2: write it as two components"),
    ("pair of the same", "good.h5 --out r --pair 1,1", "pair 1,1: give two different components from 0 to 3"),
    ("pair beyond D", "good.h5 --out r --pair 0,99", "pair 0,99: give two different components from 0 to 3"),
    ("bin width", "good.h5 --out r --bin-width 0", "bin_width=0.0: give a number above 0"),
    ("trim", "good.h5 --out r --trim -1", "trim=-1.0: give a number of half-widths above 0"),
    ("t-SNE", "good.h5 --out r --tsne 0", "tsne=0: give the number of vectors to map"),
    ("seed", "good.h5 --out r --seed -1", "'--seed': Input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("arguments", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT])
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: str, message: str, bad: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad)
    before = listing(bad)
    answer = cli("analyze", *arguments.split())
    lines = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("lsampler: ")
    assert message in lines[0]
    assert answer.out == ""
    assert listing(bad) == before  # nothing overwritten, nothing half-written
