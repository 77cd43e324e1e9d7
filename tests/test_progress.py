"""Calls show their progress in notebooks and on terminals, and nowhere else."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import untrained
from shown import HOSTILE, samples, store, vectors

from lsampler import analyze, choose, compare, evaluate, load_sampler
from lsampler.data import open_images
from lsampler.models import encode_to_store
from lsampler.plugins import load_evaluator
from lsampler.samplers import sample_store
from lsampler.scoring import Evaluator, Samples, Score

Terminal = Callable[[], StringIO]


class Shell:
    """A notebook: it keeps what is displayed, and how often that was updated."""

    kernel = object()

    def __init__(self) -> None:
        self.seen: list[str] = []

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.update(bundle)
        return SimpleNamespace(update=self.update)

    def update(self, bundle: dict[str, str], *, raw: bool = True) -> None:
        self.seen.append(bundle["text/html"])


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython, display.display = lambda: shell, shell.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shell


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], StringIO]:
    """Makes standard error a terminal from then on: pytest sets its own when a test begins."""

    def begin() -> StringIO:
        stream = StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return begin


def call(kind: str, out: Path, digits: Path, **options: Any) -> None:
    """One of the long calls, on small data."""
    judges = [load_evaluator("latent-distances")]
    normal = load_sampler("gaussian")
    calls: dict[str, Any] = {
        "evaluate": lambda: evaluate([normal_samples()], store(), judges, **options),
        "compare": lambda: compare(store(), [normal], evaluators=judges, n=50, **options),
        "analyze": lambda: analyze(store(), sections=["cubes"], **options),
        "choose": lambda: choose(store(), quick=True, candidates=[normal], **options),
        "sample_store": lambda: sample_store(normal.fit(store()), 3000, out / "drawn.h5", **options),
        "encode_to_store": lambda: encode_to_store(untrained(), open_images(digits), out / "encoded.h5", **options),
        "fit": lambda: load_sampler("kde").fit(vectors()[:150], **options),
    }
    calls[kind]()


def normal_samples() -> Samples:
    return Samples.drawn_by(load_sampler("gaussian").fit(store()), 50)


KINDS = {
    "evaluate": "scoring",
    "compare": "scoring",
    "analyze": "1/1 ",
    "choose": "scoring",
    "sample_store": "drawing",
    "encode_to_store": "encoding",
    "fit": "bandwidth",
}


@pytest.mark.parametrize("kind", KINDS)
def test_long_calls_show_bars_in_a_notebook(kind: str, notebook: Shell, tmp_path: Path, digits_npy: Path) -> None:
    call(kind, tmp_path, digits_npy)
    assert any(KINDS[kind] in html and "<progress" in html for html in notebook.seen)
    assert notebook.seen[-1] == ""  # they are removed in the end
    before = len(notebook.seen)
    (tmp_path / "silent").mkdir()
    call(kind, tmp_path / "silent", digits_npy, progress=False)
    assert len(notebook.seen) == before


@pytest.mark.parametrize("off", ["0", "off", "False", "no"])
def test_an_environment_variable_turns_bars_off(
    off: str, notebook: Shell, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSAMPLER_PROGRESS", off)
    shown = terminal()
    for options in ({}, {"progress": None}, {"progress": True}):
        load_sampler("kde").fit(vectors()[:150], **options)  # type: ignore[arg-type]
    assert notebook.seen == []
    assert shown.getvalue() == ""


def test_long_calls_show_bars_on_a_terminal(terminal: Terminal) -> None:
    shown = terminal()
    load_sampler("kde").fit(vectors()[:150], progress=False)
    assert shown.getvalue() == ""
    load_sampler("kde").fit(vectors()[:150])
    assert "bandwidth" in shown.getvalue()


def test_calls_are_silent_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    load_sampler("kde").fit(vectors()[:150])
    load_sampler("kde").fit(vectors()[:150], progress=True)  # it takes less than a minute
    assert capfd.readouterr() == ("", "")


def test_bars_of_threads_are_not_shown(notebook: Shell, terminal: Terminal) -> None:
    """Several at once would write over each other, as would those of a cluster's workers."""
    shown = terminal()
    thread = threading.Thread(target=lambda: load_sampler("kde").fit(vectors()[:150]))
    thread.start()
    thread.join()
    assert notebook.seen == []
    assert shown.getvalue() == ""


def test_an_object_that_is_passed_shows_the_progress(notebook: Shell) -> None:
    seen: list[tuple[str, int]] = []

    class Bars:
        def begin(self, what: str, total: int, done: int = 0) -> Any:
            seen.append((what, total))
            return lambda amount: seen.append((what, -amount))

    load_sampler("kde").fit(vectors()[:150], progress=Bars())
    assert seen[0][0] == "bandwidth"
    assert sum(count for _, count in seen) == 0
    assert notebook.seen == []


def test_a_name_in_a_bar_is_escaped(notebook: Shell) -> None:
    evaluate([samples()], store(), [load_evaluator("latent-distances")])
    assert any("alert(1)" in html for html in notebook.seen)
    assert not any("<script" in html for html in notebook.seen)
    assert HOSTILE not in "".join(notebook.seen)


def test_a_fitted_strategy_keeps_no_bars(terminal: Terminal) -> None:
    terminal()
    fitted = load_sampler("kde").fit(vectors()[:150])
    assert copy.deepcopy(fitted).sample(2, seed=1).tolist() == fitted.sample(2, seed=1).tolist()


def test_bars_are_removed_when_a_call_is_stopped(notebook: Shell) -> None:
    class Stopped(Evaluator):
        name = "stopped"

        def score(self, samples: Samples) -> list[Score]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate([normal_samples()], store(), [Stopped()])
    assert "<progress" in notebook.seen[-2]
    assert notebook.seen[-1] == ""
