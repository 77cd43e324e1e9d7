"""The five findings and what they suggest, the statements without an object, and the page in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from analysis_support import analyzed
from browser import probed
from numpy.typing import NDArray

from lsampler.reports import Analysis

NEEDED = ["components", "correlations", "origin", "gaussianity", "principal"]
Rows = NDArray[np.float32]


def normal(n: int = 2000, dimension: int = 6) -> Rows:
    return np.random.default_rng(7).normal(size=(n, dimension)).astype(np.float32)


def heavy() -> Rows:
    """Student t with five degrees of freedom, all components together."""
    rng = np.random.default_rng(8)
    return (normal() / np.sqrt(rng.gamma(2.5, size=(2000, 1)) / 2.5)).astype(np.float32)


def clustered() -> Rows:
    """Two in five vectors lie five sigma away, along no axis."""
    shifted = (np.random.default_rng(9).random((2000, 1)) < 0.4) * 5 / np.sqrt(6)
    return (normal() + shifted).astype(np.float32)


def correlated() -> Rows:
    rows = normal()
    rows[:, 0] = 0.8 * rows[:, 1] + 0.6 * rows[:, 0]
    return rows


def far() -> Rows:
    return normal() + np.float32(3)


def told(rows: Rows) -> tuple[set[str], str]:
    """What is telling, and the suggestions."""
    found = analyzed(rows, sections=NEEDED)
    assert [finding.key for finding in found.findings] == ["spread", "shape", "correlation", "tails", "clusters"]
    return {finding.key for finding in found.findings if finding.telling}, " ".join(found.suggestions)


@pytest.mark.parametrize(
    ("rows", "telling", "suggested"),
    [
        (normal, set(), "Try multivariate-normal: nothing here differs"),
        (heavy, {"tails"}, "Try elliptical"),
        (clustered, {"clusters", "correlation"}, "Try gaussian-mixture (covariance=full) and flow"),
        (correlated, {"correlation"}, "Do not use component-uniform or gaussian"),
        (far, {"spread"}, "Try multivariate-normal"),
    ],
)
def test_the_findings_tell_what_the_data_are(rows: object, telling: set[str], suggested: str) -> None:
    found, suggestions = told(rows())  # type: ignore[operator]
    assert found == telling
    assert suggested in suggestions


def test_a_constant_component_changes_no_finding() -> None:
    rows = normal()
    with_constant = np.column_stack([rows, np.full(len(rows), 3.0, np.float32)])
    assert told(with_constant) == told(rows)


def test_sections_that_were_not_run_leave_their_findings_out() -> None:
    found = analyzed(normal(), sections=["correlations"])
    assert [finding.key for finding in found.findings] == ["correlation"]
    assert found.as_dict()["findings"][0]["text"] == found.findings[0].text


def status(found: Analysis) -> dict[str, tuple[str, str]]:
    return {row.key: (row.status, row.why) for row in found.judgements}


def test_statements_without_an_object_do_not_apply() -> None:
    """Normal data far off: no border at the origin, nothing to turn, no strong pairs."""
    found = status(analyzed(far(), sections=NEEDED))
    for key, words in (
        ("border", "sigma from the centre: that is far outside of the region"),
        ("upright-ellipses", "nothing that a PCA could turn"),
        ("dominant-pairs", "No pair of components correlates above 0.5"),
    ):
        assert found[key][0] == "not applicable"
        assert words in found[key][1]
    near = status(analyzed(correlated() + np.float32(0.9), sections=NEEDED))
    assert near["border"][0] == "holds"
    assert near["dominant-pairs"][0] in ("holds", "differs")
    assert near["upright-ellipses"][0] in ("holds", "differs")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("page") / "report"
    analyzed(correlated(), out, sections=["components", "correlations", "gaussianity"])
    return out


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_screen(width: int, report: Path, tmp_path: Path) -> None:
    found = probed(report, tmp_path, width)
    assert found["errors"] == []
    assert found["overflow"] <= 0
    assert found["drawn"] > 3
    assert found["clipped"] == 0
