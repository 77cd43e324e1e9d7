"""A warning where held-out vectors differ from train vectors: in sorted data that were not split at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from lsampler import choose, compare, evaluate, load_sampler
from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, Samples
from lsampler.store import HeldOut, MemoryStore

QUICK: dict[str, dict[str, Any]] = {
    "two-sample-classifier": {"learner": "logistic"},
    "strong-classifier": {"epochs": 1, "trees": 5, "curve": False},
}
DIFFER = "the held-out vectors differ from the train vectors (AUC 0."


@pytest.fixture(scope="module")
def by_class() -> NDArray[np.float32]:
    """Digits in their 20 principal components, sorted by class."""
    digits = load_digits()
    rows = digits.data[np.argsort(digits.target, kind="stable")]
    centred = rows - rows.mean(axis=0)
    return (centred @ np.linalg.svd(centred, full_matrices=False)[2][:20].T).astype(np.float32)


def split(rows: NDArray[np.float32], held_out: HeldOut) -> MemoryStore:
    chosen = held_out.divide(len(rows), "digits").held_out
    return MemoryStore(rows[~chosen], rows[chosen], name="digits")


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(("how", "warned"), [("last", True), ("random", False)])
def test_data_sorted_by_class_are_warned_of_unless_they_are_split_at_random(
    name: str, how: str, warned: bool, by_class: NDArray[np.float32]
) -> None:
    reference = split(by_class, HeldOut(597, how))
    samples = [Samples("some", by_class[::9])]
    found = evaluate(samples, reference, [load_evaluator(name, **QUICK[name])]).caveats
    assert [line.startswith(DIFFER) for line in found] == [True] * warned
    assert all("split at random: 'lsampler encode --held-out N'" in line for line in found)
    assert not evaluate(samples, reference, [load_evaluator(name, check_split=False, **QUICK[name])]).caveats


def test_the_interval_is_that_of_other_vectors_than_the_trees_have_learned_from() -> None:
    """So few of many random splits are warned of: 2.5 % are expected, and more than 3 of 20 in 0.1 %."""
    rows, warned = np.random.default_rng(1).normal(size=(900, 5)).astype(np.float32), 0
    for seed in range(20):
        evaluator = load_evaluator("two-sample-classifier")
        evaluator.prepare(RealData(split(rows, HeldOut(300, seed=seed)), seed=seed))
        warned += len(evaluator.caveats())
    assert warned <= 3


def test_a_comparison_warns_once_and_its_report_says_so(by_class: NDArray[np.float32], tmp_path: Path) -> None:
    evaluators = [load_evaluator("two-sample-classifier", learner="logistic"), load_evaluator("novelty")]
    for how, lines in (("last", 1), ("random", 0)):
        reference, out = split(by_class, HeldOut(597, how)), tmp_path / how
        found = compare(reference, [load_sampler("gaussian")], out, evaluators=evaluators, n=300)
        assert [line.startswith(DIFFER) for line in found.caveats] == [True] * lines
        assert ("the held-out vectors differ from the train vectors" in (out / "index.html").read_text()) == bool(lines)


def test_the_command_warns(by_class: NDArray[np.float32], tmp_path: Path, ok: Callable[..., Any]) -> None:
    np.save(tmp_path / "z.npy", by_class)
    for how, count in (("last", 1), ("random", 0)):
        store = tmp_path / f"{how}.h5"
        ok("store", "import", tmp_path / "z.npy", "--held-out", 597, "--held-out-by", how, "--out", store)
        said = ok(
            "evaluate", "-p", "gaussian", "-e", "two-sample-classifier",
            "--param", "two-sample-classifier:learner=logistic", "--store", store,
        ).out  # fmt: skip
        assert said.count("the held-out vectors differ") == count


def test_choosing_splits_at_random_and_does_not_warn(by_class: NDArray[np.float32]) -> None:
    reference = split(by_class, HeldOut(597, "last"))
    candidates = [load_sampler("gaussian"), load_sampler("multivariate-normal")]
    found = choose(reference, candidates=candidates, quick=True).evaluation
    assert not found.caveats
    assert found.rows[1].by_metric["classifier-auc"].value < 0.6
