"""Options of an analysis, and the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import analysis_support as support
import numpy as np
import pytest
from analysis_support import EVERY_SECTION, SMALL_D, Full, Page, analyzed, rows_of, spaced, vectors
from support import store_of

from lsampler import LsamplerError, open_store
from lsampler.reports import AnalysisOptions
from lsampler.store import StoreWriter

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sections": ["cube"]}, "no section 'cube'; did you mean 'cubes'?; there are components"),
    ({"sections": []}, "`sections=[]`: no section is chosen; there are components"),
    ({"strategies": ["gausian"]}, "no sampler 'gausian'; did you mean 'gaussian'?"),
    ({"threshold": 2.0}, "`threshold=2.0`: give a number between 0 and 1"),
    ({"threshold": float("nan")}, "`threshold=nan`: give a number between 0 and 1"),
    ({"pairs": [(1, 1)]}, "`pair=1,1`: give two different components from 0 to 3"),
    ({"pairs": [(-1, 2)]}, "`pair=-1,2`: give two different components from 0 to 3"),
    ({"bin_width": 0.0}, "`bin_width=0.0`: give a number above 0"),
    ({"trim": -1.0}, "`trim=-1.0`: give a number of half-widths above 0"),
    ({"tsne": 0}, "`tsne=0`: give the number of vectors to map"),
    ({"seed": -1}, "`seed=-1`: give a number of at least 0"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_an_option_out_of_range_is_refused(options: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError) as error:
        analyzed(vectors(), tmp_path / "report", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_options_may_be_numpy_s_numbers(tmp_path: Path) -> None:
    options = {"pairs": np.array([[0, 2]]), "seed": np.int64(0), "bin_width": np.float32(0.25)}
    analysis = analyzed(vectors(), tmp_path / "report", sections=["components", "origin"], **options)
    assert analysis.measured["origin"]["pairs"] == [[0, 2]]
    assert analysis.measured["components"]["bin_width"] == 0.25


def test_the_command_takes_a_bundle_by_its_name(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("analyze", "celeba96", "--out", tmp_path / "report", "-s", "components", "-s", "filaments")
    assert (answer.code, answer.err) == (0, "")
    problem = "The section cannot be measured: celeba96 holds statistics only, no latent vectors. Give a store."
    assert f"section filaments: {problem}" in answer.out
    assert "<h1>The latent space of celeba96</h1>" in Page(tmp_path / "report").source
    assert len(rows_of(tmp_path / "report" / "components" / "components.csv")) == 256


def test_the_command_prints_every_judgement_and_the_report_s_path(
    full: Full, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    store = tmp_path / '[red]<b>&".h5'
    reference = support.reference_named()
    with StoreWriter(store, SMALL_D, {}) as writer:
        writer.append(reference.latents())
        writer.append(reference.held_out(), split="held-out")
    before, out = store.read_bytes(), full.copy_to(tmp_path / "report")
    answer = cli("analyze", store, "--out", out, "--threshold", 0.3)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for judgement in full.analysis.judgements:
        [line] = [line for line in lines if line.strip().startswith(judgement.statement)]
        assert line.rstrip().endswith(judgement.status)
        assert judgement.theirs in line
        assert judgement.here in line
    assert f"kept from an earlier run: {', '.join(EVERY_SECTION)}" in lines
    assert lines[-1] == f"report: {out / 'index.html'}"
    assert store.read_bytes() == before
    page = Page(out)
    assert str(store) in page.text
    assert "<b>&" not in page.source


def test_the_command_s_options_are_those_of_the_library(cli: Callable[..., Any], tmp_path: Path) -> None:
    store = store_of(tmp_path / "z.h5", vectors())
    arguments = "--section principal -s components -s generated -s origin -s correlations -s tsne --bin-width 0.5"
    arguments += " -p gaussian -p pca-ellipse --trim 0 --seed 3 --pair 0,3 --pair 2,1 --threshold 0.2 --tsne 7"
    answer = cli("analyze", store, "--out", tmp_path / "report", *arguments.split())
    assert (answer.code, answer.err) == (0, "")
    options: dict[str, Any] = {"bin_width": 0.5, "trim": None, "seed": 3, "threshold": 0.2, "tsne": 7}
    options |= {"strategies": ["gaussian", "pca-ellipse"], "pairs": [(0, 3), (2, 1)]}
    sections = ["principal", "components", "generated", "origin", "correlations", "tsne"]
    expected = analyzed(open_store(store), sections=sections, **options)
    assert support.strict_json(tmp_path / "report" / "analysis.json") == expected.as_dict()


def test_help_names_every_section_and_shows_examples(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    answer = cli("analyze", "--help")
    assert answer.code == 0
    before, after = EVERY_SECTION[:-1], EVERY_SECTION[-1]
    assert ", ".join([*before, "labels", after, "tsne"]) in spaced(answer.out)
    assert ", ".join(AnalysisOptions.strategies) in spaced(answer.out)
    assert "lsampler analyze" in answer.out.split("Examples", 1)[1]
