"""Bundles with labels: what they draw under conditions, that they hold no row of labels, and damage."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lsampler import LsamplerError, evaluate, load_bundle, load_sampler
from lsampler.bundles import Bundle, build_bundle
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_fitted
from lsampler.samplers import AggregatesUnderCondition
from lsampler.scoring import Samples, fit_probes, labelled_rows
from lsampler.store import LatentStore, MemoryStore


@pytest.fixture
def store(tiny_store: LatentStore) -> MemoryStore:
    """The tiny store with labels: vectors that are bright move by three along the first component."""
    train, held_out = tiny_store.latents(), tiny_store.held_out()
    rows, rng = np.concatenate([train, held_out]), np.random.default_rng(4)
    bright = rng.random(len(rows)) < 0.5
    kind = np.array(["plain", "striped"])[(rng.random(len(rows)) < np.where(bright, 0.8, 0.2)).astype(int)]
    rows[:, 0] += 3 * bright
    labels = {"bright": bright, "kind": kind, "size": np.round(rng.normal(10, 2, len(rows)), 2)}
    given = {"fingerprint": tiny_store.fingerprint, "name": "things", "labels": labels}
    return MemoryStore(rows[: len(train)], rows[len(train) :], **given)


@pytest.fixture
def path(tiny_model: ConvAutoencoder, store: MemoryStore, tmp_path: Path) -> Path:
    built = build_bundle("tiny", tiny_model, store, [], [])
    built.add(store, ["gaussian-mixture"], labels=True)
    built.save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_bundle_draws_under_conditions_as_the_store_does(path: Path, store: MemoryStore, tmp_path: Path) -> None:
    """The residual draws are those of the store, for a carried strategy and for one that needs statistics only."""
    loaded = Bundle.load(path)
    assert [label.name for label in loaded.labels] == ["bright", "kind", "size"]
    everything = {"bright": 1, "kind": "plain", "size": 11}
    for name, close in (("gaussian-mixture", 1e-5), ("multivariate-normal", 1e-4), ("elliptical", 1e-4)):
        of_bundle, of_store = (load_sampler(name).fit(each, labels=True) for each in (loaded, store))
        drawn = of_bundle.sample(2500, seed=3, where=everything)
        np.testing.assert_allclose(drawn, of_store.sample(2500, seed=3, where=everything), atol=close)
        one = load_sampler(name).fit(loaded, where="bright=1")
        assert "(no rows of labels are kept)" in one.note()
        one.save(tmp_path / f"{name}.safetensors")
        assert torch.equal(load_fitted(tmp_path / f"{name}.safetensors").sample(9, seed=1), one.sample(9, seed=1))
    points = store.held_out()
    assert np.isfinite(load_sampler("gaussian-mixture").fit(loaded, where="bright=1").log_prob(points)).all()


def test_labels_come_with_the_condition_also_without_rows(path: Path, store: MemoryStore) -> None:
    """Bright things are striped: with kind=striped, draws move along the first component, alone they do not."""
    loaded, first = Bundle.load(path), store.latents()[:, 0]
    striped = store.labels["kind"][: len(first)] == "striped"
    together = load_sampler("multivariate-normal").fit(loaded, where="kind=striped")
    assert float(together.sample(8000, seed=0)[:, 0].mean()) == pytest.approx(first[striped].mean(), abs=0.1)
    alone = load_sampler("multivariate-normal").fit(loaded, where="kind=striped", others="independent")
    assert float(alone.sample(8000, seed=0)[:, 0].mean()) == pytest.approx(first.mean(), abs=0.35)
    assert first[striped].mean() > first.mean() + 0.7


def test_a_bundle_finds_conditions_by_the_probes_of_its_store(path: Path, store: MemoryStore) -> None:
    """They are those of the store in single precision; their calibration is that of its held-out rows."""
    loaded, own = Bundle.load(path), fit_probes(store)
    assert list(loaded.probes) == list(own) == ["bright", "kind", "size"]
    held_out, codes = labelled_rows(store, "held-out")
    for place, (name, probe) in enumerate(loaded.probes.items()):
        np.testing.assert_allclose(probe.scores(held_out), own[name].scores(held_out), rtol=1e-4, atol=1e-4)
        known, true = probe.calibration, codes[:, place]
        assert known is not None
        assert known.auc == pytest.approx(own[name].auc(held_out, true), abs=0.0006)
        assert known.r2 == pytest.approx(own[name].r2(held_out, true), abs=0.0006)
        for value, shares in enumerate(known.read):
            rows = probe.read(held_out[true == value])
            assert shares == pytest.approx([(rows == other).mean() for other in range(2)], abs=0.006)
    assert loaded.probes["bright"].calibration.auc > 0.85
    under = AggregatesUnderCondition(loaded.reference, {"bright": 1})
    sampler = load_sampler("gaussian-mixture").fit(under)
    assert sampler.note().count("shifted to bright=1") == 1
    found = evaluate([Samples.drawn_by(sampler, 400, seed=0)], under, ["condition-probe"])
    share = own["bright"].read(sampler.sample(400, seed=0).numpy()).mean()
    assert found.rows[-1].by_metric["condition-found"].value == pytest.approx(share, abs=0.005)
    assert found.caveats[0].startswith("in held-out real vectors of tiny, bright is found on ")
    assert len(found.caveats) == 4  # also decoded and encoded again, other labels, and no row of real vectors
    numbers = evaluate(
        [Samples("any", held_out)], AggregatesUnderCondition(loaded.reference, "size>8"), ["condition-probe"]
    )
    assert re.search(
        r"the probe of size explains -?\d+ % of its variance on held-out vectors of tiny", numbers.caveats[0]
    )
    with pytest.raises(LsamplerError, match=r"needs real vectors; tiny with bright=1 holds statistics only"):
        evaluate([Samples("any", held_out)], under, ["core-membership"])


def test_a_rare_label_has_no_probe_in_a_bundle(tiny_model: ConvAutoencoder, store: MemoryStore, tmp_path: Path) -> None:
    """Its weights would follow single vectors; conditions on it are drawn, but not judged."""
    rows, train = store.read(), store.count("train")
    rare = np.arange(len(rows)) % 250 == 0
    assert 2 < rare[:train].sum() < 10
    given = {"fingerprint": store.fingerprint, "name": "things", "labels": {"rare": rare, "bright": rows[:, 0] > 0}}
    again = MemoryStore(rows[:train], rows[train:], **given)
    built = build_bundle("tiny", tiny_model, again, [], [])
    built.add(again, [], labels=True)
    built.save(tmp_path / "rare.safetensors")
    loaded = Bundle.load(tmp_path / "rare.safetensors")
    assert list(loaded.probes) == ["bright"]
    under = AggregatesUnderCondition(loaded.reference, {"rare": 1})
    with pytest.raises(
        LsamplerError, match=r"tiny carries no probe of 'rare'; give `store=...` of latents with labels"
    ):
        evaluate([Samples("any", rows[:5])], under, ["condition-probe"])


def test_a_bundle_holds_no_row_of_labels(path: Path, store: MemoryStore) -> None:
    with safe_open(path, framework="pt") as handle:
        arrays = {name: handle.get_tensor(name).numpy() for name in handle.keys()}  # noqa: SIM118
    known = store.labels["size"]
    for name, array in arrays.items():
        if array.size < len(known):
            continue
        found = np.isin(known.astype(np.float32), array.astype(np.float32).ravel()).mean()
        assert found < 0.5, name  # sizes have two digits: histograms and the like hold some by chance
    loaded = Bundle.load(path)
    assert load_sampler("gaussian-mixture").fit(loaded, labels=True).sample(3, seed=0).shape == (3, 6)


def test_more_strategies_keep_the_labels(path: Path, store: MemoryStore, tmp_path: Path) -> None:
    loaded = Bundle.load(path)
    loaded.add(store, ["gaussian-copula"])
    loaded.save(tmp_path / "more.safetensors")
    again = Bundle.load(tmp_path / "more.safetensors")
    assert len(again.labels) == 3
    load_sampler("gaussian-mixture").fit(again, where="bright=1")
    with pytest.raises(LsamplerError, match=r"gaussian-copula needs latent vectors.*or take `plugin=gaussian-mixture`"):
        load_sampler("gaussian-copula").fit(again, where="bright=1")
    with pytest.raises(LsamplerError, match=r"`by=subset`: tiny holds no vectors to choose from; use `by=shift`"):
        load_sampler("gaussian").fit(again, where="bright=1", by="subset")
    with pytest.raises(LsamplerError, match=r"such a value of 'size'; it goes from [\d.]+ to [\d.]+"):
        load_sampler("gaussian").fit(again, where="size>100")
    with pytest.raises(LsamplerError, match=r"`labels=...`: tiny carries the effects of all its labels; leave it out"):
        load_sampler("gaussian").fit(again, labels=["bright"])


def test_without_labels_there_is_no_condition(
    tiny_model: ConvAutoencoder, tiny_store: LatentStore, tmp_path: Path
) -> None:
    built = build_bundle("bare", tiny_model, tiny_store, [], [])
    with pytest.raises(LsamplerError, match=r"bare holds no labels; give `store=...` of latents with labels"):
        load_sampler("gaussian").fit(built, where="bright=1")
    with pytest.raises(LsamplerError, match=r"holds no labels"):
        built.add(tiny_store, [], labels=True)


def test_damaged_labels_are_refused(path: Path) -> None:
    with safe_open(path, framework="pt") as handle:
        metadata = json.loads(handle.metadata()["lsampler"])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    matrix = "labels/effects/matrix"
    damages = [
        (metadata, {k: v for k, v in tensors.items() if k != matrix}, "'matrix' of its labels is missing"),
        (metadata, tensors | {matrix: tensors[matrix][:-1].clone()}, "'matrix' of its labels is missing"),
        (metadata, {k: v for k, v in tensors.items() if k != "labels/latent/plain/mean"}, "'mean' is missing"),
    ]
    weights, spread = "labels/probes/weights", "labels/probes/spread"
    damages += [
        (metadata, {k: v for k, v in tensors.items() if k != weights}, "'weights' of its probes is missing"),
        (metadata, tensors | {weights: tensors[weights][:, :-1].clone()}, "'weights' of its probes is missing"),
        (metadata, tensors | {weights: torch.full_like(tensors[weights], torch.nan)}, "something but finite numbers"),
        (metadata, tensors | {spread: -tensors[spread]}, "'spread' of its probes is negative"),
    ]
    for change, message in (
        (lambda probes: probes[0].update(place=3), "its probes are of labels that are not there, or two of one label"),
        (lambda probes: probes[0].update(place=1), "its probes are of labels that are not there, or two of one label"),
        (lambda probes: probes[0]["read"][0].reverse() or probes[0]["read"][0].append(0.0), "of 'bright' does not fit"),
        (lambda probes: probes[0]["read"][0].__setitem__(0, 0.0), "its probe of 'bright' does not fit the label"),
        (lambda probes: probes[1].update(codes=[0.0, 2.0]), "its probe of 'kind' does not fit the label"),
        (lambda probes: probes[1].update(codes=[1.0, 0.0]), "its probe of 'kind' does not fit the label"),
        (lambda probes: probes[2].update(counts=[30]), "its probe of 'size' does not fit the label"),
    ):
        changed = json.loads(json.dumps(metadata))
        change(changed["labels"]["probes"])
        damages.append((changed, tensors, message))
    twice = json.loads(json.dumps(metadata))
    twice["labels"]["effects"]["labels"][2] = twice["labels"]["effects"]["labels"][0]
    damages.append((twice, tensors, "its labels contradict each other"))
    for known, arrays, message in damages:
        save_file(arrays, path, metadata={"lsampler": json.dumps(known)})
        with pytest.raises(LsamplerError, match=message) as refused:
            Bundle.load(path)
        assert re.match(rf"{re.escape(str(path))}: (damaged, |'{weights}' holds)", str(refused.value))
        assert "\n" not in str(refused.value)


def test_celeba96_carries_a_probe_of_each_attribute() -> None:
    """Calibrated on its 1,000 held-out vectors: with and without an attribute make up about all of them."""
    found = load_bundle("celeba96")
    assert list(found.probes) == [label.name for label in found.labels]
    for probe in found.probes.values():
        assert probe.calibration is not None
        assert probe.calibration.auc > 0.55
        assert abs(sum(probe.calibration.counts) - 1000) <= 10
    read = found.probes["Smiling"].calibration.read
    assert read[1][1] - read[0][1] > 0.6
