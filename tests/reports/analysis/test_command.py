"""Options of an analysis, and the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from analysis_support import (
    EVERY_SECTION,
    NAME,
    SMALL_D,
    Full,
    Page,
    analyzed,
    listing,
    reference_named,
    rows_of,
    spaced,
    store_of,
    strict_json,
    vectors,
)
from numpy.typing import NDArray

from lsampler import LsamplerError, StoreWriter, open_store
from lsampler.reports.analysis.options import DEFAULT_STRATEGIES

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
        analyzed(vectors(50, SMALL_D), tmp_path / "report", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"pairs": np.array([[0, 2]])}, {"seed": np.int64(0)}, {"bin_width": np.float32(0.25)}], ids=list
)
def test_options_may_be_numpy_s_numbers(options: Mapping[str, Any], ran: list[str], tmp_path: Path) -> None:
    analyzed(vectors(50, SMALL_D), tmp_path / "report", **options)
    assert ran == EVERY_SECTION


def broken(what: str) -> NDArray[np.float32]:
    rows = vectors(10 if what == "few" else 50, SMALL_D)
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
        analyzed(broken(what), tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_bundle_by_its_name(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("analyze", "celeba96", "--out", tmp_path / "report", "-s", "components", "-s", "filaments")
    assert (answer.code, answer.err) == (0, "")
    assert f"section filaments: The section {NEEDS_LATENTS}; give a store." in answer.out
    assert "<h1>celeba96</h1>" in Page(tmp_path / "report").source
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == 256


def test_the_command_prints_every_verdict_and_the_report_s_path(
    full: Full, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    store = tmp_path / '[red]<b>&".h5'
    reference = reference_named(NAME)
    with StoreWriter(store, SMALL_D, {}) as writer:
        writer.append(reference.latents())
        writer.append(reference.held_out(), split="held-out")
    before, out = store.read_bytes(), full.copy_to(tmp_path / "report")
    answer = cli("analyze", store, "--out", out, "--threshold", 0.3)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for judgement in full.analysis.judgements:
        [line] = [line for line in lines if line.strip().startswith(judgement.statement)]
        assert line.rstrip().endswith(judgement.status.removesuffix(" here"))
        assert judgement.theirs in line
        assert judgement.here in line
    assert f"kept from an earlier run: {', '.join(EVERY_SECTION)}" in lines
    assert lines[-1] == f"report: {out / 'index.html'}"
    assert store.read_bytes() == before
    page = Page(out)
    assert str(store) in page.text
    assert "<b>&" not in page.source


def test_the_command_s_options_are_those_of_the_library(
    ran: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The sections that stand in here measure the options that they were given."""
    store = store_of(tmp_path / "z.h5", vectors(50, SMALL_D))
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
    expected = analyzed(
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
    store_of(folder / "good.h5", vectors(50, SMALL_D))
    store_of(folder / "few.h5", broken("few"))
    store_of(folder / "constant.h5", broken("constant"))
    whole = (folder / "good.h5").read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "nan.h5").write_bytes(whole)
    with h5py.File(folder / "nan.h5", "r+") as handle:
        handle["latents"][3, 1] = np.nan
    with h5py.File(folder / "foreign.h5", "w") as handle:
        handle["latents"] = vectors(50, SMALL_D)
    (folder / "empty.h5").touch()
    (folder / "file").write_bytes(b"precious")
    (folder / "photos").mkdir()
    (folder / "photos" / "wedding.jpg").write_bytes(b"precious")
    return folder


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
