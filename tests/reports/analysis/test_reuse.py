"""What a report keeps of an earlier run, and what it never replaces."""

from __future__ import annotations

import importlib.util
import json
import sys
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

from lsampler import LsamplerError, MemoryStore, load_core, load_sampler, open_store
from lsampler.files import MARK

QUICK = {"sections": ["components", "correlations"], "strategies": ["gaussian"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"report": b"precious"}, "report: is a file; choose another name"),
        ({"report/wedding.jpg": b"precious"}, "report: was not written by lsampler"),
        ({"report/analysis.json": b'{"title": "of another program"}'}, "report: was not written by lsampler"),
        ({"report/analysis.json": b"\xff\xfe\x00"}, "report: was not written by lsampler"),
        ({"report/analysis.json": b'["lsampler"]'}, "report: was not written by lsampler"),
        ({"report/cubes/section.json": b"{}"}, "choose an empty or a new folder"),
        (
            {f"report/{MARK}": b"comparison report\n", "report/index.html": b"the work of hours"},
            "report: holds a comparison report, not an analysis report; choose an empty or a new folder",
        ),
        (
            {f"report/{MARK}": b"images\n", "report/0.png": b"the work of hours"},
            "report: holds decoded images, not an analysis report; choose an empty or a new folder",
        ),
    ],
)
def test_what_is_no_analysis_report_is_refused_and_left_as_it_is(
    content: Mapping[str, bytes], message: str, tmp_path: Path
) -> None:
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(data)
    before = listing(tmp_path)
    with pytest.raises(LsamplerError, match=message):
        analyzed(vectors(50, SMALL_D), tmp_path / "report")
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing/report", "missing does not exist; create it first"), ("x" * 300, "File name too long")],
)
def test_a_place_for_no_folder_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match=message):
        analyzed(vectors(50, SMALL_D), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_user_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "report"
    out.mkdir()  # an empty folder may be filled
    analyzed(vectors(50, SMALL_D), out, **QUICK)
    own = {".git/config", ".notes/a.txt", "more/section.json", "notes.txt"}
    for name in own:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"precious")
    analyzed(vectors(50, SMALL_D, seed=1), out, **QUICK)
    assert {name: data for name, data in listing(out).items() if name in own} == dict.fromkeys(own, b"precious")
    inside = out / "correlations" / "notes.txt"
    inside.write_bytes(b"precious")
    with pytest.raises(LsamplerError, match=r"notes\.txt: was not written by lsampler; move it out of the report"):
        analyzed(vectors(50, SMALL_D), out, threshold=0.7, **QUICK)
    assert inside.is_file()


def test_a_second_run_keeps_every_section_and_every_byte(full: Full, tmp_path: Path) -> None:
    out, bars = full.copy_to(tmp_path / "report"), Bars()
    again = analyzed(reference_named(NAME), out, threshold=0.3, progress=bars)
    assert list(again.reused) == EVERY_SECTION
    assert (again.measured, again.judgements) == (full.analysis.measured, full.analysis.judgements)
    assert listing(out) == listing(full.path)
    assert all(bar.what.startswith("reading") for bar in bars.begun)


def test_a_report_elsewhere_has_the_same_bytes(full: Full, tmp_path: Path) -> None:
    """Nothing depends on the time, the folder, or the sections done before."""
    analyzed(reference_named(NAME), tmp_path / "report", sections=["cubes", "filaments"], threshold=0.3)
    for key in ("cubes", "filaments"):
        assert listing(tmp_path / "report" / key) == listing(full.path / key)


def test_a_change_of_threshold_redoes_the_correlations_alone(full: Full, tmp_path: Path) -> None:
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
def test_changed_latents_redo_every_section(part: str, tmp_path: Path) -> None:
    rows = vectors(60, SMALL_D)
    train, held_out = rows[:50], rows[50:]
    analyzed(MemoryStore(train, held_out), tmp_path / "report", **QUICK)
    if part == "split":
        train, held_out = rows[:49], rows[49:]
    else:
        train = one_number_changed(train) if part == "train" else train
        held_out = one_number_changed(held_out) if part == "held-out" else held_out
    assert analyzed(MemoryStore(train, held_out), tmp_path / "report", **QUICK).reused == []


def test_the_same_latents_from_elsewhere_are_the_same(tmp_path: Path) -> None:
    rows = vectors(50, SMALL_D)
    analyzed(MemoryStore(rows, name="array"), tmp_path / "report", **QUICK)
    analysis = analyzed(open_store(store_of(tmp_path / "z.h5", rows)), tmp_path / "report", **QUICK)
    assert list(analysis.reused) == QUICK["sections"]
    assert str(tmp_path / "z.h5") in Page(tmp_path / "report").text


STRATEGY = """
from typing import ClassVar

import torch

from lsampler import LatentSampler


class Shifted(LatentSampler):
    \"\"\"Vectors around a fixed point.\"\"\"

    name: ClassVar[str] = "shifted"

    def learn(self, reference):
        return {"mean": reference.statistics().mean}

    def draw(self, state, block):
        return block.normal(len(state["mean"])) + SHIFT
"""


def strategy_of(path: Path, shift: int) -> Any:
    """The strategy of a user's file, which was edited and is imported again."""
    path.write_text(STRATEGY.replace("SHIFT", str(shift)))
    spec = importlib.util.spec_from_file_location("shifted_strategy", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["shifted_strategy"] = module
    spec.loader.exec_module(module)
    return module.Shifted()


def test_changed_code_of_a_strategy_redoes_the_sections_that_draw_from_it(tmp_path: Path) -> None:
    sections = ["components", "correlations", "generated"]
    chosen = {"out": tmp_path / "report", "sections": sections}
    try:
        near = analyzed(vectors(60, SMALL_D), strategies=[strategy_of(tmp_path / "mine.py", 0)], **chosen)
        far = analyzed(vectors(60, SMALL_D), strategies=[strategy_of(tmp_path / "mine.py", 100)], **chosen)
        again = analyzed(vectors(60, SMALL_D), strategies=[strategy_of(tmp_path / "mine.py", 100)], **chosen)
    finally:
        sys.modules.pop("shifted_strategy", None)
    assert far.reused == ["components"]
    assert max(near.measured["generated"]["planes"]["shifted"]) > 0.1
    assert max(far.measured["generated"]["planes"]["shifted"]) == 0
    assert again.reused == sections


@pytest.mark.parametrize(
    ("plugin", "stale"),
    [
        (load_sampler("uniform-cube"), {"origin", "cubes"}),
        (load_sampler("multivariate-normal"), {"origin", "filaments"}),
        (load_core("interval"), {"origin", "cubes", "generated"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_changed_code_of_an_installed_plugin_redoes_the_sections_that_use_it(
    plugin: Any, stale: set[str], full: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, chosen = full.copy_to(tmp_path / "report"), {"threshold": 0.3, "strategies": ["gaussian"]}
    analyzed(reference_named(NAME), out, sections=["correlations", "generated"], **chosen)
    monkeypatch.setattr(type(plugin), "digest", lambda self: f"{self.key()}, other code")
    assert set(EVERY_SECTION) - set(analyzed(reference_named(NAME), out, **chosen).reused) == stale


def edited(**changes: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(strict_json(path) | changes))


def without(name: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({k: v for k, v in strict_json(path).items() if k != name}))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *((file, Path.unlink) for file in ("radii.svg", "cubes.csv", "section.json")),
        *((file, lambda path: path.write_bytes(b"")) for file in ("radii.svg", "cubes.csv", "section.json")),
        *((file, lambda path: path.write_bytes(path.read_bytes()[:200])) for file in ("radii.svg", "section.json")),
        ("section.json", lambda path: path.write_text("[]")),
        ("section.json", edited(key="0" * 32)),
        ("section.json", edited(figures=[None])),
        ("section.json", without("figures")),
    ],
)
def test_a_damaged_section_is_done_again(
    file: str, damage: Callable[[Path], object], full: Full, tmp_path: Path
) -> None:
    out = full.copy_to(tmp_path / "report")
    damage(out / "cubes" / file)
    analysis = analyzed(reference_named(NAME), out, sections=["cubes", "filaments"], threshold=0.3)
    assert list(analysis.reused) == ["filaments"]
    assert listing(out / "cubes") == listing(full.path / "cubes")


@pytest.mark.parametrize("file", ["index.html", "analysis.json", "judgements.csv"])
def test_a_lost_page_is_written_again_from_the_kept_sections(file: str, full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    (out / file).unlink()
    assert list(analyzed(reference_named(NAME), out, threshold=0.3).reused) == EVERY_SECTION
    assert listing(out) == listing(full.path)
