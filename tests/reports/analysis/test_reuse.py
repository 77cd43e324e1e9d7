"""What a report keeps of an earlier run, and what it never replaces."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
    reference_named,
    rows_of,
    store_of,
    strict_json,
    vectors,
)
from numpy.typing import NDArray

from lsampler import LsamplerError, MemoryStore, open_store
from lsampler.files import mark_folder


def test_a_file_is_not_replaced_by_a_report(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"precious")
    with pytest.raises(LsamplerError, match="report: is a file; choose another name"):
        analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert listing(tmp_path) == {"report": b"precious"}
    assert ran == []


def test_a_missing_parent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="missing does not exist; create it first"):
        analyzed(vectors(50, SMALL_D), tmp_path / "missing" / "report")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_disk_does_not_allow_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="File name too long"):
        analyzed(vectors(50, SMALL_D), tmp_path / ("x" * 300))


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
        analyzed(vectors(50, SMALL_D), tmp_path)
    assert listing(tmp_path) == before
    with pytest.raises(LsamplerError, match=r"was not written by lsampler.*; choose an empty or a new folder"):
        analyzed(vectors(50, SMALL_D), tmp_path)
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
        analyzed(vectors(50, SMALL_D), out)
    assert listing(out) == before
    assert ran == []


def test_files_of_the_user_inside_a_section_s_folder_are_not_lost(ran: list[str], tmp_path: Path) -> None:
    analyzed(vectors(50, SMALL_D), tmp_path / "report", sections=["correlations"])
    notes = tmp_path / "report" / "correlations" / "notes.txt"
    notes.write_bytes(b"precious")
    with contextlib.suppress(LsamplerError):  # refused or kept, as may be
        analyzed(vectors(50, SMALL_D), tmp_path / "report", sections=["correlations"], threshold=0.7)
    assert notes.is_file()


def test_files_and_folders_of_the_user_beside_the_sections_are_kept(ran: list[str], tmp_path: Path) -> None:
    out = tmp_path / "report"
    analyzed(vectors(50, SMALL_D), out)
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
        analyzed(vectors(50, SMALL_D, seed=1), out)
    assert {name: data for name, data in listing(out).items() if name in own} == own


def test_a_second_run_keeps_every_section_and_every_byte(full: Full, tmp_path: Path) -> None:
    out, bars = full.copy_to(tmp_path / "report"), Bars()
    again = analyzed(reference_named(NAME), out, threshold=0.3, progress=bars)
    assert list(again.reused) == EVERY_SECTION
    assert again.measured == full.analysis.measured
    assert again.judgements == full.analysis.judgements
    assert listing(out) == listing(full.path)
    assert bars.of_sections == []


def test_a_report_elsewhere_has_the_same_bytes(full: Full, tmp_path: Path) -> None:
    """Nothing depends on the time, the folder, or the sections done before."""
    analyzed(reference_named(NAME), tmp_path / "report", sections=["cubes", "filaments"], threshold=0.3)
    for key in ("cubes", "filaments"):
        assert listing(tmp_path / "report" / key) == listing(full.path / key)


def test_a_real_change_of_threshold_redoes_the_correlations(full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    analysis = analyzed(reference_named(NAME), out, threshold=0.9)
    assert set(EVERY_SECTION) - set(analysis.reused) == {"correlations"}
    before, after = (one.measured["correlations"]["strong_pairs"] for one in (full.analysis, analysis))
    assert len(after) < len(before)
    assert len(rows_of(out / "correlations" / "strong_pairs.csv")) == len(after)
    assert "Pairs with |r| above 0.9" in Page(out).text
    untouched = {name for name in listing(out) if "/" in name and not name.startswith("correlations")}
    assert {name: listing(out)[name] for name in untouched} == {name: listing(full.path)[name] for name in untouched}


def one_number_changed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = rows.copy()
    rows[7, 1] = np.nextafter(rows[7, 1], np.float32(9))
    return rows


@pytest.mark.parametrize("part", ["train", "held-out", "split"])
def test_changed_latents_redo_every_section(part: str, ran: list[str], tmp_path: Path) -> None:
    rows = vectors(60, SMALL_D)
    train, held_out = rows[:50], rows[50:]
    analyzed(MemoryStore(train, held_out), tmp_path / "report")
    ran.clear()
    if part == "train":
        train = one_number_changed(train)
    elif part == "held-out":
        held_out = one_number_changed(held_out)
    else:
        train, held_out = rows[:49], rows[49:]
    analysis = analyzed(MemoryStore(train, held_out), tmp_path / "report")
    assert ran == EVERY_SECTION
    assert list(analysis.reused) == []


def test_the_same_latents_from_elsewhere_are_the_same(ran: list[str], tmp_path: Path) -> None:
    rows = vectors(50, SMALL_D)
    analyzed(MemoryStore(rows, name="array"), tmp_path / "report")
    analysis = analyzed(open_store(store_of(tmp_path / "z.h5", rows)), tmp_path / "report")
    assert list(analysis.reused) == EVERY_SECTION
    assert str(tmp_path / "z.h5") in Page(tmp_path / "report").text


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
    analysis = analyzed(reference_named(NAME), out, sections=["cubes", "filaments"], threshold=0.3)
    assert list(analysis.reused) == ["filaments"]
    assert listing(out / "cubes") == listing(full.path / "cubes")


@pytest.mark.parametrize("file", ["index.html", "analysis.json", "judgements.csv"])
def test_a_lost_page_is_written_again_from_the_kept_sections(file: str, full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    (out / file).unlink()
    analysis = analyzed(reference_named(NAME), out, threshold=0.3)
    assert list(analysis.reused) == EVERY_SECTION
    assert listing(out) == listing(full.path)
