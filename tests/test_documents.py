"""The examples and links of the documents work, and the code keeps what they say of safety."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import lsampler

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_readme_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = blocks_of(ROOT / "README.md")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert "pca-ellipses/calibrated" in capsys.readouterr().out
    with Image.open("faces.png") as grid:
        assert grid.size == (786, 786)


def test_the_notebook_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From live modules to two reports, with a tenth of the training, one score and one section."""
    _, training, rest = blocks_of(ROOT / "README.md")
    assert len(rest.strip().splitlines()) < 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lsampler, "compare", functools.partial(lsampler.compare, evaluators="latent-distances"))
    monkeypatch.setattr(lsampler, "analyze", functools.partial(lsampler.analyze, sections=["components"]))
    exec(compile(training.replace("range(1000)", "range(100)") + rest, "README.md", "exec"), {})
    for page in ("comparison", "report"):
        assert (tmp_path / page / "index.html").stat().st_size > 10_000
    with Image.open("new.png") as grid:
        assert min(grid.size) > 300


def test_the_one_file_strategy_runs(tmp_path: Path) -> None:
    example = ROOT / "examples" / "one_file_strategy.py"
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "shell {'interval/nominal'" in done.stdout
    assert (tmp_path / "shell.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    for link in links:
        assert (page.parent / link).exists(), link


def test_no_module_unpickles_or_evaluates() -> None:
    """No pickle, no eval; torch.load only reads weights."""
    calls = r"\bimport pickle|\bpickle\.|allow_pickle=True|(?<!\.)\beval\(|(?<!\.)\bexec\("
    forbidden = rf"{calls}|torch\.load\((?!.*weights_only=True)"
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        assert not re.search(forbidden, path.read_text()), path


def test_the_pages_of_figures_are_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """``make bench`` writes them from its JSON."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import document, scaling

    performance, found = (json.loads(place.read_text()) for place in (document.KEPT, scaling.KEPT))
    assert document.PAGE.read_text() == document.document(performance)
    assert scaling.PAGE.read_text() == scaling.document(found, performance)
    assert max(line["rows"] for line in found["measured"]) >= 5_000_000
