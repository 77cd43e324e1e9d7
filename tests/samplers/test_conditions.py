"""Strategies under conditions: subset and shift, draws, densities, files, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import TRAIN, labelled_store
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import logsumexp
from sklearn.linear_model import Ridge

from lsampler import LsamplerError, evaluate, load_sampler
from lsampler.compute import Block
from lsampler.plugins import load_fitted, plugin_names
from lsampler.samplers import LatentSampler, UnderCondition, sample_store
from lsampler.scoring import Samples
from lsampler.store import MemoryStore

QUICK: dict[str, dict[str, Any]] = {
    "flow": {"max_epochs": 1, "hidden": 4, "layers": 1},
    "auto": {"candidates": "gaussian", "quick": True},
    "line-path": {},
    "refined": {"base": "multivariate-normal", "steps": 5, "networks": 1, "stages": 1},
}


@pytest.fixture(scope="module")
def people() -> MemoryStore:
    return labelled_store()


@pytest.fixture(scope="module")
def labelled(people: MemoryStore) -> LatentSampler:
    return load_sampler("multivariate-normal").fit(people, labels=True)


def men(people: MemoryStore) -> int:
    return int(people.labels["male"][:TRAIN].sum())


@pytest.mark.parametrize("name", plugin_names("sampler"))
def test_every_strategy_draws_under_a_condition(people: MemoryStore, name: str, tmp_path: Path) -> None:
    """Both ways; a longer draw begins with a shorter one; a file keeps all of it."""
    if name == "flow":
        pytest.importorskip("zuko")
    strategy = load_sampler(name, **QUICK.get(name, {}))
    if name not in ("auto", "kde"):  # which take seconds
        subset = strategy.model_copy().fit(people, where={"male": 1}, by="subset")
        assert f"Fitted to the {men(people)} of 1,200 train vectors with male=1 (subset)." in subset.note()
        alone = MemoryStore(people.latents()[people.labels["male"][:TRAIN] == 1])
        assert torch.equal(subset.sample(30, seed=4), strategy.model_copy().fit(alone).sample(30, seed=4))
    shift = strategy.fit(people, where=["male=1", "age>=40"], by="shift")
    assert "shifted to male=1 and age>=40 (shift)" in shift.note()
    long = shift.sample(2100, seed=4)
    assert torch.equal(long[:2049], shift.sample(2049, seed=4, threads=1))
    assert torch.equal(long[2048:], torch.cat(list(shift.stream(52, seed=4, start=2048))))
    shift.save(tmp_path / "fitted.safetensors")
    again = load_fitted(tmp_path / "fitted.safetensors")
    assert torch.equal(again.sample(2100, seed=4), long)
    assert again.note() == shift.note()
    other = {"where": {"shape": "oval"}, "others": "independent"}
    assert torch.equal(again.sample(40, seed=4, **other), shift.sample(40, seed=4, **other))
    assert not torch.equal(again.sample(40, seed=4, **other), long[:40])


def test_the_way_is_chosen_by_the_number_of_rows(people: MemoryStore) -> None:
    gaussian = load_sampler("gaussian")
    assert "(subset)" in gaussian.fit(people, where="glasses=1").note()  # more than 100 rows
    assert "(shift)" in gaussian.fit(people, where=["glasses=1", "male=0"]).note()  # fewer
    assert "(shift)" in gaussian.fit(people, where="glasses=1", others="independent").note()  # rows bring others along
    wide = MemoryStore(np.random.default_rng(0).normal(size=(400, 30)), labels={"a": np.arange(400) % 2})
    assert "(shift)" in gaussian.fit(wide, where="a=1").note()  # 200 rows of 30 components
    assert gaussian.fit(people).note() == ""


def test_draws_have_the_means_of_the_rows_that_fulfil_the_condition(people: MemoryStore) -> None:
    """Effects are exact in these data: 20,000 draws differ by less than .05, and all data by more than 1."""
    rows, known = people.latents(), people.labels
    for where in ({"male": 1}, {"glasses": 1}, {"shape": "oval"}):
        [(name, value)] = where.items()
        real = rows[(known[name] == value)[:TRAIN]].mean(axis=0)
        drawn = load_sampler("multivariate-normal").fit(people, where=where, by="shift").sample(20_000, seed=0)
        np.testing.assert_allclose(drawn.mean(dim=0).numpy(), real, atol=0.1)
        assert np.abs(rows.mean(axis=0) - real).max() > 1


def test_a_label_alone_is_as_visible_as_with_what_comes_along(people: MemoryStore) -> None:
    """A ridge regression reads it off equally well, and the other components, of male, age and shape, stay."""
    rows, glasses = people.latents(), people.labels["glasses"][:TRAIN]
    sampler = load_sampler("multivariate-normal").fit(people, where="glasses=1", by="shift")
    ridge = Ridge(alpha=np.trace(np.cov(rows.T)) / 4 * TRAIN).fit(rows, glasses)
    along, alone = (sampler.sample(20_000, seed=0, others=others).numpy() for others in ("observed", "independent"))
    assert ridge.predict(alone).mean() == pytest.approx(ridge.predict(along).mean(), abs=0.01)
    assert ridge.predict(alone).std() == pytest.approx(ridge.predict(along).std(), rel=0.05)
    np.testing.assert_allclose((alone - rows.mean(axis=0)).mean(axis=0)[[0, 2, 3]], 0, atol=0.2)
    assert (along - rows.mean(axis=0)).mean(axis=0)[0] > 1  # who wears glasses is a man more often


def test_residual_draws_stay_those_of_the_seed(people: MemoryStore, labelled: LatentSampler) -> None:
    """Other conditions move the same draws, and nothing else: with all labels wanted, by one vector."""
    everything = {"male": 1, "glasses": 0, "age": 40, "shape": "oval"}
    moved = labelled.sample(3000, seed=5, where=everything)
    other = labelled.sample(3000, seed=5, where=everything | {"glasses": 1})
    np.testing.assert_allclose((other - moved).std(dim=0), 0, atol=1e-5)
    state = {key: torch.from_numpy(np.array(value)).float() for key, value in labelled.state.items()}
    block = labelled.draw(state, Block(5, 0, torch.device("cpu")))
    np.testing.assert_allclose((moved[:2048] - block).std(dim=0), 0, atol=1e-5)


def test_densities_are_mixtures_over_rows_of_labels(people: MemoryStore) -> None:
    known = people.labels.rows(slice(TRAIN))
    few = MemoryStore(people.latents(), labels={"male": known["male"], "shape": known["shape"]})
    sampler = load_sampler("multivariate-normal").fit(few, labels=True)
    points = people.held_out()[:50]
    matrix = np.column_stack([known["male"], *(known["shape"] == level for level in ("oval", "round", "square"))])
    design = np.column_stack([np.ones(TRAIN), matrix])
    fitted, *_ = np.linalg.lstsq(design, few.latents().astype(np.float64), rcond=None)
    left = few.latents() - design @ fitted
    normal = load_sampler("multivariate-normal").fit(left)

    def expected(chosen: Any) -> Any:
        kinds, counts = np.unique(design[chosen], axis=0, return_counts=True)
        parts = [
            normal.log_prob(points - kind @ fitted) + np.log(n / counts.sum())
            for kind, n in zip(kinds, counts, strict=True)
        ]
        return logsumexp(parts, axis=0)

    np.testing.assert_allclose(sampler.log_prob(points, where="male=1"), expected(known["male"] == 1), atol=1e-3)
    np.testing.assert_allclose(sampler.score_samples(points), expected(slice(None)), atol=1e-3)
    fixed = load_sampler("multivariate-normal").fit(few, where={"male": 1, "shape": "oval"}, by="shift")
    one = expected((known["male"] == 1) & (known["shape"] == "oval"))
    np.testing.assert_allclose(fixed.log_prob(points), one, atol=1e-3)
    assert fixed.score(points) == pytest.approx(one.mean(), abs=1e-3)
    sampled = load_sampler("multivariate-normal").fit(people, labels=True)  # 512 of many rows, always the same
    first = sampled.log_prob(points, where="male=1")
    np.testing.assert_array_equal(first, sampled.log_prob(points, where="male=1"))
    assert np.isfinite(first).all()


def test_copies_keep_the_condition(people: MemoryStore, labelled: LatentSampler) -> None:
    for copy in (pickle.loads(pickle.dumps(labelled)), labelled.model_copy()):
        assert torch.equal(copy.sample(20, seed=1, where="male=1"), labelled.sample(20, seed=1, where="male=1"))
    plain = labelled.model_copy().fit(people)  # a new fit forgets it
    with pytest.raises(LsamplerError, match="was fitted without labels"):
        plain.sample(1, where="male=1")


def test_strategies_under_a_condition_are_judged_by_real_rows_that_fulfil_it(people: MemoryStore) -> None:
    under = UnderCondition(people, {"male": 1}, by="shift")
    assert (under.count("train"), under.count("held-out")) == (men(people), int(people.labels["male"][TRAIN:].sum()))
    assert set(under.labels["male"]) == {1.0}
    sampler = load_sampler("gaussian").fit(under)
    expected = load_sampler("gaussian").fit(people, where={"male": 1}, by="shift")
    assert torch.equal(sampler.sample(50, seed=1), expected.sample(50, seed=1))
    samples = [sampler.sample(300, seed=1), load_sampler("gaussian").fit(people, where="male=0").sample(300, seed=1)]
    named = [Samples(name, rows.numpy()) for name, rows in zip(("men", "women"), samples, strict=True)]
    result = evaluate(named, under, "two-sample-classifier")
    area = {row.name: row.by_metric["classifier-auc"].value for row in result.rows if row.by_metric}
    assert area["women"] > 0.9 > 0.65 > area["men"]


def test_samples_in_a_store_are_those_under_the_condition(people: MemoryStore, tmp_path: Path) -> None:
    sampler = load_sampler("gaussian").fit(people, where="male=1", by="shift")
    for name in ("samples.h5", "samples.shards"):
        stored = sample_store(sampler, 3000, tmp_path / name, seed=2)
        np.testing.assert_array_equal(stored.read(), sampler.sample(3000, seed=2).numpy())
        assert "shifted to male=1" in stored.attributes["condition"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"where": {"mael": 1}}, r"`where=...`: no label 'mael'; did you mean 'male'\?"),
    ({"where": {"male": 2}}, r"'male' is never '2'; it takes 0 and 1"),
    ({"where": {"shape": "ovel"}}, r"'shape' is never 'ovel'; it takes oval, round and square"),
    ({"where": {"age": ">=200"}}, r"no train row of people has such a value of 'age'; it goes from 16 to [\d.]+"),
    (
        {"where": {"age": ">=200"}, "labels": ["age"], "by": "shift"},
        r"no train row of people has such a value of 'age'",
    ),
    ({"where": {"age": "old"}}, r"'age' holds numbers, and 'old' is none; give a number, or a comparison"),
    ({"where": {}}, r"names no label; write it as Smiling=1"),
    ({"where": ["age>40", "age<30"]}, r"the conditions on 'age' exclude each other; leave one out"),
    ({"where": "male"}, r"`where=male`: is no condition"),
    ({"where": 7}, r"7 is no condition"),
    ({"where": {"shape": ">oval"}}, r"'shape' cannot be compared by >, its values are no numbers; use = or !="),
    (
        {"where": ["age>=63", "glasses=1", "shape=oval", "male=0"], "by": "subset"},
        r"no train row of people fulfil.*; use `by=shift`",
    ),
    ({"where": "male=1", "by": "rows"}, r"`by=rows` is unknown; known: shift, subset"),
    ({"where": "male=1", "others": "observd"}, r"`others=observd` is unknown; did you mean 'observed'\?"),
    ({"by": "shift"}, r"`by=shift`: belongs to a condition; give `where=...`"),
    (
        {"where": {"smiling": 1}, "by": "subset", "others": "independent"},
        r"`others=independent`: the rows of a subset bring their other labels along; use `by=shift`",
    ),
    ({"others": "independent"}, r"`others=independent`: belongs to a condition"),
    ({"labels": True, "by": "subset"}, r"`by=subset`: fits to the rows of one condition; leave out `labels=...`"),
    ({"labels": ["mael"]}, r"`labels=...`: no label 'mael'; did you mean 'male'\?"),
    ({"where": "male=1", "labels": ["age"]}, r"'male' is not among `labels=...`; add it there"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_bad_conditions_are_refused_in_one_line(people: MemoryStore, given: dict[str, Any], message: str) -> None:
    sampler = load_sampler("gaussian").fit(people)
    before = sampler.sample(5, seed=1)
    with pytest.raises(LsamplerError, match=message) as refused:
        sampler.fit(people, **given)
    assert "\n" not in str(refused.value)
    assert torch.equal(sampler.sample(5, seed=1), before)


def test_labels_are_missed_in_one_line(people: MemoryStore, labelled: LatentSampler) -> None:
    bare = MemoryStore(people.latents(), name="bare")
    for reference in (bare, people.latents()):
        with pytest.raises(LsamplerError, match=r"holds no labels; give a store with labels, or MemoryStore\(latents"):
            load_sampler("gaussian").fit(reference, where="male=1")
    with pytest.raises(LsamplerError, match=r"gaussian was fitted without labels; fit it with labels=True"):
        load_sampler("gaussian").fit(bare).sample(1, where="male=1")
    subset = load_sampler("gaussian").fit(people, where="male=1", by="subset")
    with pytest.raises(LsamplerError, match=r"fitted to the rows of one condition; fit it with labels=True"):
        subset.sample(1, where="male=0")
    with pytest.raises(LsamplerError, match=r"no label 'mael'"):
        labelled.sample(1, where={"mael": 1})
    with pytest.raises(LsamplerError, match=r"`others=some` is unknown"):
        labelled.sample(1, where={"male": 1}, others="some")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'wear'"):
        load_sampler("gaussian").fit(people, wear="male=1")  # type: ignore[call-arg]
    with pytest.raises(LsamplerError, match=r"no train row of people fulfils .*, so there is nothing to judge"):
        UnderCondition(people, ["age>=63", "glasses=1", "shape=oval", "male=0"])


def test_a_damaged_file_of_a_condition_is_refused(people: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "fitted.safetensors"
    load_sampler("gaussian").fit(people, where="male=1", by="shift").save(path)
    with safe_open(path, framework="pt") as handle:
        metadata, tensors = json.loads(handle.metadata()["lsampler"]), {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118

    def refused(message: str, known: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
        save_file(arrays, path, metadata={"lsampler": json.dumps(known)})
        with pytest.raises(LsamplerError, match=message) as error:
            load_fitted(path)
        assert str(error.value).startswith(f"{path}: damaged, ")

    condition = metadata["condition"]
    matrix, rows = "condition/matrix", "condition/rows"
    refused("'matrix' of its labels is missing", metadata, {k: v for k, v in tensors.items() if k != matrix})
    refused("its content does not match its digest", metadata, tensors | {matrix: tensors[matrix] * 2})
    refused("'rows' of its labels holds other values", metadata, tensors | {rows: tensors[rows] + 5})
    wanted = [{"place": 9, "codes": [1.0], "intervals": []}]
    refused("its condition names a label", metadata | {"condition": condition | {"wanted": wanted}}, tensors)
    refused("'condition.others'", metadata | {"condition": condition | {"others": "none"}}, tensors)
