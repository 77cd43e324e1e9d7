"""Strategies, evaluators and cores are given by name, by class, or with their parameters, wherever Python takes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from lsampler import LsamplerError, analyze, choose, compare, evaluate, load_bundle, load_sampler
from lsampler.bundles import build_bundle
from lsampler.plugins import load_evaluator
from lsampler.reports import AnalysisOptions, swept
from lsampler.samplers import sample_store
from lsampler.scoring import Samples
from lsampler.store import MemoryStore
from lsampler.testing import check_sampler

GAUSSIAN: Any = type(load_sampler("gaussian"))
DISTANCES: Any = type(load_evaluator("latent-distances"))


@pytest.fixture
def store() -> MemoryStore:
    rows = np.random.default_rng(5).normal(size=(400, 4)).astype(np.float32)
    return MemoryStore(rows[:300], rows[300:])


@pytest.fixture
def drawn() -> list[Samples]:
    return [Samples("mine", np.random.default_rng(6).normal(size=(50, 4)).astype(np.float32))]


class Required(GAUSSIAN):  # type: ignore[misc]
    """A parameter without a default."""

    name = "required"
    depth: int = Field(description="of something")


def test_rows_of_a_comparison(store: MemoryStore) -> None:
    given = [
        "gaussian",
        GAUSSIAN(temperature=0.8),
        load_sampler("uniform-cube"),
        *swept(GAUSSIAN, "temperature", [0.5]),
    ]
    found = compare(store, given, evaluators=[DISTANCES], n=50)
    assert [row.name for row in found.rows if row.kind == "drawn"] == [
        "gaussian",
        "gaussian, temperature = 0.8",
        "uniform-cube",
        "gaussian, temperature = 0.5",
    ]
    for one in ("gaussian", GAUSSIAN, GAUSSIAN(), swept("gaussian", "temperature", [1.0])):
        for scores in ("latent-distances", DISTANCES, DISTANCES(), ["latent-distances"]):
            alone = compare(store, one, evaluators=scores, n=50)
            assert alone.rows[-1].by_metric == found.rows[-4].by_metric


def test_evaluators(store: MemoryStore, drawn: list[Samples]) -> None:
    tables = [
        evaluate(drawn, store, given).as_dict()
        for given in ("latent-distances", DISTANCES, DISTANCES(), ["latent-distances"], (DISTANCES,))
    ]
    assert tables[0]["rows"][-1]["scores"]
    assert all(table == tables[0] for table in tables)


def test_strategies_of_an_analysis_and_of_a_choice(store: MemoryStore) -> None:
    for given in ("gaussian", GAUSSIAN, [GAUSSIAN()]):
        options = AnalysisOptions(strategies=given)
        found = analyze(store, sections=["generated"], options=options)
        assert not found.problems
        assert "gaussian" in str(found.measured["generated"])
        assert choose(store, candidates=given, quick=True).sampler.name == "gaussian"


def test_what_a_bundle_carries() -> None:
    bundle = load_bundle("digits")
    rows = np.random.default_rng(3).normal(size=(300, 10)).astype(np.float32)
    store = MemoryStore(rows[:200], rows[200:], fingerprint=bundle.fingerprint)
    made = build_bundle("mine", bundle.autoencoder, store, "interval", "core-membership", ["gaussian"])
    made.add(store, type(load_sampler("elliptical")))
    assert [each.name for each in made.strategies] == ["gaussian", "elliptical"]
    assert made.reference.calibrations


def test_a_store_of_samples_needs_a_fitted_strategy(store: MemoryStore, tmp_path: Path) -> None:
    for given in ("gaussian", GAUSSIAN):
        with pytest.raises(LsamplerError, match="gaussian: not fitted"):
            sample_store(given, 10, tmp_path / "a.h5")
    assert len(sample_store(GAUSSIAN().fit(store), 10, tmp_path / "a.h5")) == 10


def test_the_kit_takes_a_name() -> None:
    check_sampler("uniform-cube")


Use = Callable[[NDArray[Any], Any], object]
USES: list[tuple[str, Use]] = [
    ("strategy", lambda rows, given: compare(rows, given)),
    ("strategy", lambda rows, given: swept(given, "temperature", [1.0])),
    ("strategies", lambda rows, given: analyze(rows, options=AnalysisOptions(strategies=given))),
    ("candidates", lambda rows, given: choose(rows, candidates=given)),
    ("sampler", lambda rows, given: sample_store(given, 3, "never.h5")),
    ("evaluators", lambda rows, given: evaluate([], rows, given)),
    ("evaluators", lambda rows, given: compare(rows, "gaussian", evaluators=given)),
]


@pytest.mark.parametrize(("argument", "use"), USES)
def test_anything_else_is_refused(argument: str, use: Use, store: MemoryStore) -> None:
    rows, kind = store.latents(), "evaluator" if argument == "evaluators" else "sampler"
    with pytest.raises(LsamplerError, match=f"^no {kind} 'gausian'"):
        use(rows, "gausian")
    for given in (5, None if argument == "strategy" else 5.0, dict, load_sampler, object()):
        with pytest.raises(LsamplerError, match=rf"^{argument}: .* is no (LatentSampler|Evaluator); give a name"):
            use(rows, given)
    wrong = DISTANCES if kind == "sampler" else GAUSSIAN
    for given in (wrong, wrong()):
        with pytest.raises(LsamplerError, match=rf"^{argument}: .* is no (LatentSampler|Evaluator); give a name"):
            use(rows, given)


def test_a_class_that_needs_parameters_is_refused_in_one_line(store: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match=r"^required: depth=.* is not valid: give a whole number|depth"):
        compare(store, Required)
