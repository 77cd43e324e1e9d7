"""Comparisons: the verdict that cannot be gamed, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compared import HELD_OUT, OTHER, Broken, Counting, Mean
from support import listing

from lsampler import LsamplerError, analyze, compare, load_bundle, load_sampler
from lsampler.compute import Block
from lsampler.plugins import load_evaluator
from lsampler.reports import Comparison, Entry, swept
from lsampler.samplers import LatentSampler, State
from lsampler.scoring import Row
from lsampler.store import MemoryStore, Reference


class Copies(LatentSampler):
    """Train vectors, over and over."""

    name = "copies"
    needs_latents = True

    def learn(self, reference: Reference) -> State:
        return {"rows": reference.latents()}

    def draw(self, state: Mapping[str, torch.Tensor], block: Block) -> torch.Tensor:
        return state["rows"][block.integers(len(state["rows"]))]


SCORES = ("core-membership", "fidelity-diversity", "latent-distances", "two-sample-classifier", "novelty")


@pytest.fixture(scope="module")
def full(real: MemoryStore) -> Comparison:
    """The strategies that the verdict must tell apart, by every score of latent vectors."""
    entries: list[Entry | LatentSampler] = [
        *(load_sampler(name) for name in ("uniform-cube", "gaussian", "pca-ellipse")),
        *swept(load_sampler("multivariate-normal"), "temperature", [1.0, 0.8, 0.6]),
        *swept(load_sampler("pca-ellipse"), "fact", [0.6, 0.9, 1.2]),
        Mean(),
        Copies(),
        Broken(),
    ]
    settings: dict[str, Any] = {"two-sample-classifier": {"folds": 2}}  # five take most of the time of all
    evaluators = [load_evaluator(name, **settings.get(name, {})) for name in SCORES]
    return compare(real, entries, evaluators=evaluators, n=800)


def by_name(comparison: Comparison) -> dict[str, Row]:
    return {row.name: row for row in comparison.rows}


# What the scores say


def test_shrunken_samples_are_named_and_none_is_best_for_fidelity_alone(full: Comparison) -> None:
    roles = full.verdict.roles
    shrunk = {"multivariate-normal, temperature = 0.6", "pca-ellipse, fact = 0.6"}
    assert {roles[name] for name in shrunk} == {"trades diversity for fidelity"}
    assert roles["mean"] == "leaves out most of the data"
    closest = [name for name, role in roles.items() if role == "closest to real data"]
    assert "multivariate-normal, temperature = 1" in closest
    assert not {*shrunk, "mean"} & set(closest)
    text = " ".join(full.verdict.sentences)
    assert "no strategy is best for fidelity alone" in text
    assert "“mean”" in text
    scores = by_name(full)["mean"].by_metric
    assert scores["ellipsoid/calibrated"].value == 1.0
    assert scores["precision"].value > 0.95
    assert scores["recall"].value < 0.02
    assert scores["coverage"].value < 0.3


def test_copies_and_misses_are_exposed_and_a_failure_has_its_reason(full: Comparison) -> None:
    found, roles = by_name(full), full.verdict.roles
    assert roles["copies"] == "copies training vectors"
    assert found["copies"].by_metric["near-copies"].value == 1.0
    assert roles["uniform-cube"] == "misses the data"
    [problem] = found["broken"].problems
    assert "RuntimeError: no such luck" in problem
    assert "second line" not in problem
    assert roles["broken"] == "failed"
    assert not found["broken"].scores


def test_other_real_vectors_are_the_yardstick(full: Comparison) -> None:
    """Two random halves of 800 real vectors: precision and recall are those of the true normal."""
    found = by_name(full)
    other, normal = found[OTHER].by_metric, found["multivariate-normal, temperature = 1"].by_metric
    for metric in ("precision", "recall", "coverage"):
        assert other[metric].value == pytest.approx(normal[metric].value, abs=0.06)


@pytest.mark.parametrize(("how", "words"), [("nan", "NaN or infinite"), ("shape", "drew shape")])
def test_wrong_samples_are_a_row_with_its_reason(how: str, words: str, real: MemoryStore) -> None:
    comparison = compare(real, [Broken(how=how), load_sampler("gaussian")], evaluators=[Counting()], n=50)
    broken, gaussian = comparison.rows[-2:]
    assert words in broken.problems[0]
    assert "norm" in gaussian.by_metric


def test_a_bundle_gives_the_scores_that_statistics_allow() -> None:
    evaluators = [load_evaluator(name) for name in ("core-membership", "latent-distances", "novelty")]
    comparison = compare(load_bundle(), [load_sampler("gaussian")], evaluators=evaluators, n=50)
    assert [row.name for row in comparison.rows] == [HELD_OUT, "gaussian"]
    assert {"interval/calibrated", "frechet"} <= set(comparison.rows[-1].by_metric)
    assert any("novelty" in line and "real vectors" in line for line in comparison.caveats)


def test_a_sweep_has_a_row_for_each_value() -> None:
    entries = swept(load_sampler("pca-ellipse", components=5), "fact", np.linspace(0.4, 1.2, 5))
    assert [entry.sampler.fact for entry in entries] == [0.4, 0.6, 0.8, 1.0, 1.2]  # type: ignore[attr-defined]
    assert {entry.curve for entry in entries} == {"pca-ellipse: fact"}
    assert all(entry.sampler.components == 5 for entry in entries)  # type: ignore[attr-defined]
    with pytest.raises(LsamplerError, match=r"no parameter 'facts'.*fact"):
        swept(load_sampler("pca-ellipse"), "facts", [1.0])
    with pytest.raises(LsamplerError, match="fact"):
        swept(load_sampler("pca-ellipse"), "fact", [-1.0, 1.0])


def test_a_folder_with_an_analysis_is_refused_and_left_as_it_is(real: MemoryStore, tmp_path: Path) -> None:
    out = tmp_path / "report"
    analyze(real, out, sections=["correlations"])
    before = listing(out)
    with pytest.raises(
        LsamplerError, match="report: holds an analysis report, not a comparison report; choose an empty"
    ):
        compare(real, [load_sampler("gaussian")], out, evaluators=[Counting()])
    assert listing(out) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0: give a number of at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"entries": []}, "nothing to compare"),
        ({"out": "taken"}, "taken: was not written by lsampler"),
    ],
)
def test_bad_options_leave_nothing(options: dict[str, Any], message: str, real: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "wedding.jpg").write_bytes(b"precious")
    out, entries = tmp_path / options.pop("out", "report"), options.pop("entries", [load_sampler("gaussian")])
    with pytest.raises(LsamplerError, match=message):
        compare(real, entries, out, evaluators=[Counting()], **options)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "wedding.jpg"]
