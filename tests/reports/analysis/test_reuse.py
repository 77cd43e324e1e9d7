"""What a report keeps of an earlier run, and what it never replaces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_support as support
import numpy as np
import pytest
from analysis_support import EVERY_SECTION, Full, analyzed, reference_named, strict_json, vectors
from numpy.typing import NDArray
from support import listing

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import load_core
from lsampler.store import MemoryStore

QUICK = {"sections": ["cubes", "filaments"]}
OF_GAUSSIAN: dict[str, Any] = {"threshold": 0.3, "strategies": ["gaussian"]}


def test_files_of_the_user_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "report"
    out.mkdir()  # an empty folder may be filled
    analyzed(vectors(), out, **QUICK)
    own = {".git/config", ".notes/a.txt", "more/section.json", "notes.txt"}
    for name in own:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"precious")
    analyzed(vectors(seed=1), out, **QUICK)
    assert {name: data for name, data in listing(out).items() if name in own} == dict.fromkeys(own, b"precious")
    inside = out / "cubes" / "notes.txt"
    inside.write_bytes(b"precious")
    with pytest.raises(LsamplerError, match=r"notes\.txt: was not written by lsampler; move it out of the report"):
        analyzed(vectors(), out, **QUICK)
    assert inside.is_file()


def test_a_second_run_keeps_every_section_and_every_byte(full: Full, tmp_path: Path) -> None:
    out, bars = full.copy_to(tmp_path / "report"), support.Bars()
    again = analyzed(reference_named(), out, threshold=0.3, progress=bars)
    assert list(again.reused) == EVERY_SECTION
    assert (again.measured, again.judgements) == (full.analysis.measured, full.analysis.judgements)
    assert listing(out) == listing(full.path)
    assert bars.of_sections == []


def one_number_changed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = rows.copy()
    rows[7, 1] = np.nextafter(rows[7, 1], np.float32(9))
    return rows


@pytest.mark.parametrize("part", ["train", "held-out", "split"])
def test_changed_latents_redo_every_section(part: str, tmp_path: Path) -> None:
    rows = vectors(60)
    train, held_out = rows[:50], rows[50:]
    analyzed(MemoryStore(train, held_out), tmp_path / "report", **QUICK)
    if part == "split":
        train, held_out = rows[:49], rows[49:]
    else:
        train = one_number_changed(train) if part == "train" else train
        held_out = one_number_changed(held_out) if part == "held-out" else held_out
    assert analyzed(MemoryStore(train, held_out), tmp_path / "report", **QUICK).reused == []


@pytest.fixture(scope="module")
def of_gaussian(full: Full, tmp_path_factory: pytest.TempPathFactory) -> Full:
    """The same report with what the gaussian alone draws."""
    out = full.copy_to(tmp_path_factory.mktemp("gaussian") / "report")
    return full._replace(path=out, analysis=analyzed(reference_named(), out, **OF_GAUSSIAN))


@pytest.mark.parametrize(
    ("plugin", "stale"),
    [
        (load_sampler("uniform-cube"), {"origin", "cubes"}),
        (load_sampler("multivariate-normal"), {"origin", "filaments"}),
        (load_sampler("gaussian"), {"correlations", "generated"}),
        (load_core("interval"), {"origin", "cubes", "generated"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_changed_code_of_a_plugin_redoes_the_sections_that_use_it(
    plugin: Any, stale: set[str], of_gaussian: Full, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = of_gaussian.copy_to(tmp_path / "report")
    monkeypatch.setattr(type(plugin), "digest", lambda self: f"{self.key()}, other code")
    assert set(EVERY_SECTION) - set(analyzed(reference_named(), out, **OF_GAUSSIAN).reused) == stale


def edited(**changes: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(strict_json(path) | changes))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("radii.svg", Path.unlink),
        ("section.json", Path.unlink),
        ("cubes.csv", lambda path: path.write_bytes(b"")),
        ("section.json", lambda path: path.write_bytes(path.read_bytes()[:200])),
        ("section.json", lambda path: path.write_text("[]")),
        ("section.json", edited(key="0" * 32)),
        ("section.json", edited(figures=[None])),
    ],
)
def test_a_damaged_section_is_done_again(
    file: str, damage: Callable[[Path], object], full: Full, tmp_path: Path
) -> None:
    out = full.copy_to(tmp_path / "report")
    damage(out / "cubes" / file)
    analysis = analyzed(reference_named(), out, sections=["cubes", "filaments"], threshold=0.3)
    assert list(analysis.reused) == ["filaments"]
    assert listing(out / "cubes") == listing(full.path / "cubes")


@pytest.mark.parametrize("file", ["index.html", "analysis.json", "judgements.csv"])
def test_a_lost_page_is_written_again_from_the_kept_sections(file: str, full: Full, tmp_path: Path) -> None:
    out = full.copy_to(tmp_path / "report")
    (out / file).unlink()
    assert list(analyzed(reference_named(), out, threshold=0.3).reused) == EVERY_SECTION
    assert listing(out) == listing(full.path)
