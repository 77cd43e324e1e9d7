"""Which sections an analysis runs and what it writes of them, with sections that stand in for the real ones."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from analysis_support import (
    EVERY_SECTION,
    NAME,
    SMALL_D,
    Bars,
    Full,
    Page,
    analyzed,
    listing,
    names,
    reference_named,
    rows_of,
    store_of,
    strict_json,
    vectors,
)

from lsampler import LsamplerError, load_sampler, open_store, plugin_names
from lsampler.files import MARK
from lsampler.reports.analysis import report as _report
from lsampler.reports.analysis import run as _run
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.run import SECTIONS
from lsampler.reports.analysis.section import Result, Section, Table


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


def test_the_page_says_how_much_of_a_long_table_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[f"row {k}", k / 3] for k in range(45)]
    tables = [Table(name, f"Title of {name}", ["name", "k"], rows, shown) for name, shown in (("part", 8), ("file", 0))]
    instead(monkeypatch, "cubes", lambda _: Result({}, tables=[*tables, Table("all", "Title of all", ["name"], rows)]))
    analyzed(vectors(50, SMALL_D), tmp_path / "report", sections=["cubes"])
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


def test_a_problem_with_markup_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Context) -> Result:
        raise LsamplerError(f"{NAME} is wrong")

    instead(monkeypatch, "cubes", fail)
    analysis = analyzed(vectors(50, SMALL_D), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert f"Not measurable here: {NAME} is wrong" in page.text
    assert "<script" not in page.source
    assert strict_json(tmp_path / "report" / "analysis.json")["problems"] == {"cubes": f"{NAME} is wrong"}
    assert {v.why for v in analysis.judgements if v.key == "matching-b"} == {f"{NAME} is wrong"}


def test_cells_and_lines_with_markup_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("odd", NAME, [NAME], [[NAME]])
    instead(monkeypatch, "cubes", lambda _: Result({}, findings=[NAME], tables=[table], missing=[NAME]))
    analyzed(vectors(50, SMALL_D), tmp_path / "report", sections=["cubes"])
    page = Page(tmp_path / "report")
    assert "<script" not in page.source
    assert page.text.count(NAME) == 5
    assert rows_of(tmp_path / "report" / "cubes" / "odd.csv") == [{NAME: NAME}]


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
    analyzed(vectors(50, SMALL_D), tmp_path / "report", **options)
    assert ran == section_keys()
    ran.clear()
    analysis = analyzed(vectors(50, SMALL_D), tmp_path / "report", **options | {option: value})
    assert set(ran) == stale
    assert set(analysis.reused) == set(section_keys()) - stale
    assert strict_json(tmp_path / "report" / "analysis.json")["sections"] == analysis.measured
    ran.clear()
    analyzed(vectors(50, SMALL_D), tmp_path / "report", **options | {option: value})
    assert ran == []


@pytest.mark.usefixtures("ran")
def test_another_core_redoes_the_sections_that_use_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed(vectors(50, SMALL_D), tmp_path / "report")
    monkeypatch.setattr(_run, "plugin_names", lambda kind: [*plugin_names(kind), "my-core"])
    analysis = analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert set(EVERY_SECTION) - set(analysis.reused) == {"origin", "cubes", "generated"}
    assert list(analyzed(vectors(50, SMALL_D), tmp_path / "report").reused) == EVERY_SECTION


def test_another_version_redoes_every_section(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed(vectors(50, SMALL_D), tmp_path / "report")
    ran.clear()
    monkeypatch.setattr(_run, "__version__", "99.0")
    analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert ran == EVERY_SECTION


def test_a_section_that_failed_is_tried_again(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _run.SECTIONS

    def fail(_: Context) -> Result:
        raise LsamplerError("no such luck")

    instead(monkeypatch, "cubes", fail)
    first = analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert first.problems == {"cubes": "no such luck"}
    assert list(first.measured) == [key for key in EVERY_SECTION if key != "cubes"]
    assert "no such luck" in Page(tmp_path / "report").text
    monkeypatch.setattr(_run, "SECTIONS", whole)
    ran.clear()
    second = analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert ran == ["cubes"]
    assert second.problems == {}
    assert list(second.measured) == EVERY_SECTION
    assert "no such luck" not in Page(tmp_path / "report").text


def test_finished_sections_survive_an_interruption(full: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third section is interrupted; the next run goes on with it, and the report is as if nothing had been."""

    def stop(_: Context) -> Result:
        raise KeyboardInterrupt

    out, chosen = tmp_path / "report", ["origin", "cubes", "filaments"]
    with monkeypatch.context() as patch:
        instead(patch, "filaments", stop)
        with pytest.raises(KeyboardInterrupt):
            analyzed(reference_named(NAME), out, sections=chosen)
    assert names(out) == {"index.html", "analysis.json", "judgements.csv", "origin", "cubes"}
    assert list(strict_json(out / "analysis.json")["sections"]) == ["origin", "cubes"]
    assert [heading[0] for heading in Page(out).headings] == ["origin", "cubes"]
    analysis = analyzed(reference_named(NAME), out, sections=chosen)
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
        analyzed(reference_named(NAME), out, sections=["cubes"], seed=1)
    assert listing(out) == before


STOPPED = """
import dataclasses, signal, sys, time
from lsampler.reports.analysis import _run
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
    store, out = store_of(tmp_path / "z.h5", vectors(50, SMALL_D)), tmp_path / "report"
    arguments = ["analyze", str(store), "--out", str(out), "-s", "cubes", "-s", "filaments"]
    script = [sys.executable, "-c", STOPPED, "filaments", *arguments]
    stopped = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert (stopped.returncode, stopped.stderr) == (130, "lsampler: interrupted\n")
    assert names(out) == {"index.html", "analysis.json", "judgements.csv", "cubes"}
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
            analyzed(vectors(50, SMALL_D), out, sections=["cubes"])
    assert [path.name for path in killed.rglob("*.svg")] == ["radii.svg"]
    analyzed(vectors(50, SMALL_D), killed, sections=["cubes"])
    assert names(killed) == {"index.html", "analysis.json", "judgements.csv", "cubes"}
    assert "half" not in (killed / "cubes" / "radii.svg").read_text(encoding="utf-8")


def test_bars_are_completed_where_a_section_fails_and_where_a_store_is_read(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Context) -> Result:
        raise LsamplerError("no such luck")

    instead(monkeypatch, "cubes", fail)
    bars = Bars()
    store = open_store(store_of(tmp_path / "z.h5", vectors(50, SMALL_D)))
    analyzed(store, tmp_path / "report", sections=["cubes", "origin"], progress=bars)
    assert bars.of_sections == ["1/2 Surroundings of the origin", "2/2 Naive cubes"]
    assert [(bar.what, bar.total) for bar in bars.begun][:2] == [("reading (train)", 50), ("reading (held-out)", 0)]
    assert bars.complete


def test_the_command_s_defaults_are_those_of_the_library(
    ran: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "z.h5", vectors(50, SMALL_D))
    assert cli("analyze", store, "--out", tmp_path / "a").code == 0
    assert ran == EVERY_SECTION
    assert strict_json(tmp_path / "a" / "analysis.json") == analyzed(open_store(store)).as_dict()
    answer = cli("analyze", store, "--out", tmp_path / "b", "-s", "origin", "--section", "components")
    assert answer.code == 0
    assert list(strict_json(tmp_path / "b" / "analysis.json")["sections"]) == ["components", "origin"]
