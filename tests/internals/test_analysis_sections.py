"""Which sections an analysis runs and what it writes of them, with sections that stand in for the real ones."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_support as support
import pytest
from analysis_support import EVERY_SECTION, NAME, Page, analyzed, reference_named, strict_json, vectors
from support import listing, store_of

from lsampler import LsamplerError, load_sampler, open_store
from lsampler.reports.analysis import report as _report
from lsampler.reports.analysis import run as _run
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.run import SECTIONS
from lsampler.reports.analysis.section import Result, Section, Table
from lsampler.store import MemoryStore

ALL = [section.key for section in SECTIONS]
PAGES = {"index.html", "analysis.json", "judgements.csv"}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every section is replaced by one that does nothing but leave its name here, under the same key and options."""
    done: list[str] = []

    def quick(section: Section) -> Section:
        def run(context: Context) -> Result:
            done.append(section.key)
            return Result({"measured": 1}, tables=[Table("options", "Options", {"name": section.uses})])

        return dataclasses.replace(section, run=run)

    monkeypatch.setattr(_run, "SECTIONS", tuple(quick(section) for section in SECTIONS))
    return done


def instead(monkeypatch: pytest.MonkeyPatch, key: str, run: Callable[[Context], Result]) -> None:
    """Let the section ``key`` do something else."""
    sections = [dataclasses.replace(s, run=run) if s.key == key else s for s in _run.SECTIONS]
    monkeypatch.setattr(_run, "SECTIONS", tuple(sections))


def failing(error: BaseException) -> Callable[[Context], Result]:
    def fail(_: Context) -> Result:
        raise error

    return fail


def test_the_page_says_how_much_of_a_long_table_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"name": [f"row {k}" for k in range(45)], "k": [k / 3 for k in range(45)]}
    tables = [
        Table(name, f"Title of {name}", columns, shown) for name, shown in (("part", 8), ("file", 0), ("all", 30))
    ]
    instead(monkeypatch, "cubes", lambda _: Result({}, tables=tables))
    analyzed(vectors(), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert "The first 8 of 45 rows. part.csv" in page.text
    assert "Title of file: file.csv" in page.text
    assert "The first 30 of 45 rows. all.csv" in page.text
    assert page.source.count("row 7<") == 2
    assert page.source.count("row 8<") == page.source.count("row 29<") == 1
    assert "row 30<" not in page.source
    for table in tables:
        found = support.rows_of(tmp_path / "report" / "cubes" / f"{table.name}.csv")
        assert [(row["name"], float(row["k"])) for row in found] == table.rows


def test_markup_in_problems_cells_and_lines_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("odd", NAME, {NAME: [NAME]})
    instead(monkeypatch, "origin", lambda _: Result({}, findings=[NAME], tables=[table], missing=[NAME]))
    instead(monkeypatch, "cubes", failing(LsamplerError(f"{NAME} is wrong")))
    analysis = analyzed(vectors(), tmp_path / "report", sections=["cubes", "origin"])
    page = Page(tmp_path / "report")
    assert "<script" not in page.source
    assert f"Not measured here: {NAME} is wrong" in page.text
    assert strict_json(tmp_path / "report" / "analysis.json")["problems"] == {"cubes": f"{NAME} is wrong"}
    blamed = [judgement for judgement in analysis.judgements if judgement.why == f"{NAME} is wrong"]
    assert {judgement.key for judgement in blamed} == {"matching-b", "thin-shell", "cubes-miss"}
    assert page.text.count(NAME) == 5 + 1 + len(blamed)
    assert support.rows_of(tmp_path / "report" / "origin" / "odd.csv") == [{NAME: NAME}]


@pytest.mark.parametrize(
    ("option", "value", "stale"),
    [
        ("bin_width", 0.3, {"components", "correlations", "gaussianity"}),
        ("threshold", 0.7, {"correlations"}),
        ("pairs", [(1, 3)], {"origin"}),
        ("strategies", ["gaussian"], {"correlations", "generated"}),
        ("strategies", [load_sampler("pca-ellipse", fact=0.3)], {"correlations", "generated"}),
        ("trim", None, {"principal"}),
        ("tsne", 200, {"tsne"}),
        ("seed", 1, {"correlations", "origin", "cubes", "gaussianity", "generated", "labels", "filaments", "tsne"}),
    ],
)
def test_an_option_redoes_only_the_sections_that_use_it(
    option: str, value: Any, stale: set[str], ran: list[str], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tsne": 150, "strategies": ["pca-ellipse"]}
    rows = vectors()
    labelled = MemoryStore(rows, labels={"high": rows[:, 0] > 0})  # without labels a section is left out
    analyzed(labelled, tmp_path / "report", **options)
    assert ran == ALL
    ran.clear()
    options[option] = value
    analysis = analyzed(labelled, tmp_path / "report", **options)
    assert set(ran) == stale
    assert set(analysis.reused) == set(ALL) - stale
    assert strict_json(tmp_path / "report" / "analysis.json")["sections"] == analysis.measured
    assert list(analyzed(labelled, tmp_path / "report", **options).reused) == ALL


def test_by_default_all_sections_but_tsne_run(ran: list[str], cli: Callable[..., Any], tmp_path: Path) -> None:
    store = store_of(tmp_path / "z.h5", vectors())
    assert cli("analyze", store, "--out", tmp_path / "a").code == 0
    assert ran == EVERY_SECTION
    assert strict_json(tmp_path / "a" / "analysis.json") == analyzed(open_store(store)).as_dict()


def test_other_code_redoes_every_section(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed(vectors(), tmp_path / "report")
    monkeypatch.setattr(_run, "library_digest", lambda: "of other code")
    assert analyzed(vectors(), tmp_path / "report").reused == []


def test_a_section_that_failed_is_tried_again(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = support.Bars()
    with monkeypatch.context() as patch:
        instead(patch, "cubes", failing(LsamplerError("no such luck")))
        first = analyzed(vectors(), tmp_path / "report", progress=bars)
    assert first.problems == {"cubes": "no such luck"}
    assert list(first.measured) == [key for key in EVERY_SECTION if key != "cubes"]
    assert "no such luck" in Page(tmp_path / "report").text
    assert bars.complete
    ran.clear()
    second = analyzed(vectors(), tmp_path / "report")
    assert ran == ["cubes"]
    assert second.problems == {}
    assert list(second.measured) == EVERY_SECTION
    assert "no such luck" not in Page(tmp_path / "report").text


def test_finished_sections_survive_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third section is interrupted; the next run resumes with it, and the report is that of an undisturbed run."""
    out, chosen = tmp_path / "report", ["origin", "cubes", "filaments"]
    with monkeypatch.context() as patch:
        instead(patch, "filaments", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            analyzed(reference_named(), out, sections=chosen)
    assert support.names(out) == {*PAGES, "origin", "cubes"}
    assert list(strict_json(out / "analysis.json")["sections"]) == ["origin", "cubes"]
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    resumed = analyzed(reference_named(), out, sections=chosen)
    assert list(resumed.reused) == ["origin", "cubes"]
    undisturbed = analyzed(reference_named(), tmp_path / "other", sections=chosen)
    assert resumed.measured == undisturbed.measured
    assert listing(out) == listing(tmp_path / "other")


@pytest.mark.parametrize("existing", [False, True])
def test_a_section_s_folder_is_whole_or_as_it_was(
    existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted, and killed, while its figure is written, half of it on disk."""
    out, killed = tmp_path / "report", tmp_path / "killed"
    if existing:
        analyzed(vectors(), out, sections=["cubes"])
    before = listing(out) if existing else {}

    def stop(_: Any, path: Path) -> None:
        path.write_text("<svg half")
        shutil.copytree(out, killed)  # what a kill leaves at this moment
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_report, "save_figure", stop)
        with pytest.raises(KeyboardInterrupt):
            analyzed(vectors(), out, sections=["cubes"], seed=1)
    assert listing(out) == before
    assert "<svg half" in [path.read_text() for path in killed.rglob("*.svg")]
    analyzed(vectors(), killed, sections=["cubes"], seed=1)
    assert support.names(killed) == {*PAGES, "cubes"}
    assert "half" not in (killed / "cubes" / "radii.svg").read_text(encoding="utf-8")
