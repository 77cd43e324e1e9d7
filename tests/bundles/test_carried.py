"""Fitted strategies in bundles: they draw what the strategy fitted to the store draws, and hold no single vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lsampler import LsamplerError, load_bundle, load_sampler
from lsampler.bundles import Bundle, build_bundle, bundled
from lsampler.compute import Block
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_fitted, recommended_sampler
from lsampler.samplers import LatentSampler, State
from lsampler.store import LatentStore, MemoryStore, Reference

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]
STRATEGIES: list[tuple[str, dict[str, Any]]] = [
    ("gaussian-mixture", {}),
    ("gaussian-mixture", {"components": 3, "covariance": "full", "coordinates": "raw"}),
    ("gaussian-copula", {}),
    ("elliptical", {"direction": "mixture", "mixture_components": 4}),
    ("multivariate-normal", {"temperature": 0.8}),
    ("flow", {"max_epochs": 1, "hidden": 8}),
]


@pytest.fixture
def built(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Bundle:
    strategies = [load_sampler(name, **parameters) for name, parameters in STRATEGIES]
    return build_bundle("tiny", tiny_model, tiny_store, [], [], strategies)


@pytest.fixture
def path(built: Bundle, tmp_path: Path) -> Path:
    built.save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


class Keeper(LatentSampler):
    """Draws the first train vectors."""

    name = "keeper"
    aggregates_only: ClassVar[bool] = True
    needs_latents: ClassVar[bool] = True
    factor: float = 1.0

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        return {"rows": self.factor * (reference.latents()[:5] - statistics.mean), "mean": statistics.mean}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return state["rows"][block.integers(5)] + state["mean"]


@pytest.mark.parametrize(("name", "parameters"), STRATEGIES)
def test_what_a_bundle_carries_draws_the_same_rows_as_what_was_fitted_to_the_store(
    path: Path, tiny_store: LatentStore, name: str, parameters: dict[str, Any]
) -> None:
    loaded = Bundle.load(path)
    of_store = load_sampler(name, **parameters).fit(tiny_store)
    of_bundle = load_sampler(name, **parameters).fit(loaded)
    assert of_bundle.fingerprint == tiny_store.fingerprint
    for seed in (0, 1):
        assert torch.equal(of_store.sample(3000, seed=seed), of_bundle.sample(3000, seed=seed))
    held_out = tiny_store.held_out()
    np.testing.assert_allclose(of_bundle.log_prob(held_out), of_store.log_prob(held_out), atol=0.02)
    assert all(array.dtype != np.float64 for array in of_bundle.state.values())


def test_a_fitted_strategy_is_found_by_its_name(path: Path, tiny_store: LatentStore, tmp_path: Path) -> None:
    loaded = Bundle.load(path)
    assert [each.name for each in loaded.strategies] == [name for name, _ in STRATEGIES]
    assert loaded.strategies[1].label == "gaussian-mixture components=3 covariance=full coordinates=raw"
    for (name, parameters), carried in zip(STRATEGIES, loaded.strategies, strict=True):
        assert carried.parameters == load_sampler(name, **parameters).settings()
        assert carried.nbytes == sum(array.nbytes for array in carried.state.values()) > 0
    fitted = loaded.fitted("elliptical")
    assert fitted.settings()["mixture_components"] == 4
    fitted.save(tmp_path / "elliptical.safetensors")
    again = load_fitted(tmp_path / "elliptical.safetensors")
    assert torch.equal(fitted.sample(10, seed=3), again.sample(10, seed=3))
    with pytest.raises(LsamplerError, match="tiny carries no fitted 'kde'; it carries gaussian-mixture, gaussian-cop"):
        loaded.fitted("kde")
    with pytest.raises(LsamplerError, match="tiny carries no fitted 'kde'; it carries no fitted strategy"):
        Bundle(loaded.autoencoder, load_bundle("digits").reference.of(MemoryStore(np.eye(9)), name="tiny")).fitted(
            "kde"
        )


def test_arrays_that_strategies_share_are_stored_once(path: Path) -> None:
    with safe_open(path, "pt") as handle:
        keys = [key for key in handle.keys() if key.startswith("strategies/")]  # noqa: SIM118
        described = json.loads(handle.metadata()["lsampler"])["strategies"]
    names = {name: entry["arrays"]["axes"] for entry, (name, _) in zip(described, STRATEGIES, strict=True)}
    assert names["gaussian-copula"] == names["flow"] == "strategies/0/axes"
    assert sorted(keys) == sorted({name for entry in described for name in entry["arrays"].values()})


def test_other_parameters_than_those_carried_need_the_store(path: Path, tiny_store: LatentStore) -> None:
    loaded, other = Bundle.load(path), load_sampler("gaussian-mixture", components=7)
    with pytest.raises(LsamplerError) as raised:
        other.fit(loaded)
    assert str(raised.value) == (
        "gaussian-mixture: tiny carries it with `components=none`; give that, or `store=...` for other parameters"
    )
    assert other.fit(tiny_store).sample(3).shape == (3, 6)
    # What statistics suffice for is fitted to these, whatever is carried.
    assert load_sampler("multivariate-normal", temperature=0.5).fit(loaded).sample(3).shape == (3, 6)


@pytest.mark.parametrize("name", ["kde", "neighbour-interpolation", "auto", "line-path"])
def test_a_strategy_whose_state_holds_vectors_is_refused(built: Bundle, tiny_store: LatentStore, name: str) -> None:
    message = f"{name}: its fitted state may hold single latent vectors, which no bundle does; leave it out"
    with pytest.raises(LsamplerError, match=message) as raised:
        built.add(tiny_store, [load_sampler(name)])
    assert "\n" not in str(raised.value)
    assert not built.reference.carried(name)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_a_vector_in_the_state_is_found_whatever_the_strategy_says(
    built: Bundle, tiny_store: LatentStore, factor: float
) -> None:
    with pytest.raises(LsamplerError, match=r"keeper: its 'rows' holds train vector [0-4] of .*tiny.h5"):
        built.add(tiny_store, [Keeper(factor=factor)])


def test_a_mixture_of_one_normal_for_each_vector_is_refused(built: Bundle, tiny_store: LatentStore) -> None:
    mixture = load_sampler("gaussian-mixture", components=1000, floor=1e-9, iterations=3)
    with pytest.raises(LsamplerError, match="gaussian-mixture: its 'centres' holds train vector"):
        built.add(tiny_store, [mixture])


def test_a_strategy_is_added_or_replaced(built: Bundle, tiny_store: LatentStore, correlated: np.ndarray) -> None:
    before = [each.label for each in built.strategies]
    fitted = load_sampler("gaussian-copula").fit(tiny_store)
    built.add(tiny_store, [fitted, load_sampler("gaussian-copula", components=3)], recommended="gaussian-copula")
    assert [each.label for each in built.strategies] == [*before, "gaussian-copula components=3"]
    assert built.recommended == "gaussian-copula"
    built.add(tiny_store, [load_sampler("gaussian")])
    assert built.recommended == "gaussian-copula"
    with pytest.raises(LsamplerError, match=r"gaussian: was fitted to another encoder's latents, not .*tiny\.h5"):
        built.add(tiny_store, [load_sampler("gaussian").fit(correlated)])
    with pytest.raises(LsamplerError, match="its latents come from another encoder than the model's"):
        built.add(MemoryStore(correlated), [])
    with pytest.raises(LsamplerError, match="`recommended=kde` needs latent vectors, and tiny does not carry it"):
        built.add(tiny_store, [], recommended="kde")


def test_the_recommended_strategy_is_the_recorded_one_or_the_best_for_what_there_is(
    built: Bundle, tiny_model: ConvAutoencoder, tiny_store: LatentStore, correlated: np.ndarray
) -> None:
    mixture = load_sampler("gaussian-mixture", components=2)
    bundle = build_bundle("two", tiny_model, tiny_store, [], [], [mixture])
    sampler, why = recommended_sampler(bundle)
    assert (sampler.key(), why) == (mixture.key(), "which two carries and recommends")
    assert sampler.fit(bundle).sample(3).shape == (3, 6)
    with pytest.raises(LsamplerError, match=r"give `store=\.\.\.`, or take `plugin=gaussian-mixture` `components=2`$"):
        load_sampler("kde").fit(bundle)
    plain = build_bundle("plain", tiny_model, tiny_store, [], [])
    for latents, expected in (
        (plain, "elliptical"),
        (correlated, "gaussian-mixture"),
        (tiny_store, "gaussian-mixture"),
    ):
        sampler, why = recommended_sampler(latents)
        assert (sampler.name, sampler.fit(latents).sample(2).shape[0]) == (expected, 2)
        assert why.startswith("recommended where there are")


def test_format_version_1_is_read(path: Path, rewritten: Callable[[Path, Change], Path]) -> None:
    def older(metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for key in ("strategies", "recommended", "licence"):
            metadata.pop(key)
        for key in [key for key in tensors if key.startswith("strategies/")]:
            tensors.pop(key)
        metadata["version"] = 1

    loaded = Bundle.load(rewritten(path, older))
    assert (loaded.strategies, loaded.recommended, loaded.licence) == ((), "elliptical", None)
    assert loaded.fingerprint == Bundle.load(path).fingerprint
    with pytest.raises(LsamplerError, match="bundle format 3, this lsampler reads 1 and 2; install the lsampler that"):
        Bundle.load(rewritten(path, lambda metadata, _: metadata.update(version=3)))


def of_first(**values: Any) -> Change:
    return lambda metadata, _: metadata["strategies"][0].update(values)


def nudged(_: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors["strategies/0/centres"][0, 0] += 1


def not_finite(_: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors["strategies/0/centres"][0, 0] = np.nan


def elsewhere(metadata: dict[str, Any], _: Any) -> None:
    metadata["strategies"][0]["arrays"]["mean"] = "latent/plain/mean"


def without_roots(_: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors.pop("strategies/0/roots")


def reshaped(_: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors["strategies/0/centres"] = tensors["strategies/0/centres"].T.contiguous()


BROKEN: list[tuple[str, Change, str]] = [
    ("another centre", nudged, "its strategy gaussian-mixture does not match its digest"),
    ("another shape", reshaped, "its strategy gaussian-mixture does not match its digest"),
    ("other parameters", of_first(parameters={"components": 9}), "does not match its digest"),
    ("another name", of_first(name="kde"), "its strategy kde does not match its digest"),
    ("a name that is a list", of_first(name=["kde"]), "'strategies.0.name' of its metadata"),
    ("no arrays", of_first(arrays={}), "does not match its digest"),
    ("an array elsewhere", elsewhere, "'latent/plain/mean' of its strategy gaussian-mixture is missing"),
    ("an array less", without_roots, "'strategies/0/roots' of its"),
    ("NaN", not_finite, "'strategies/0/centres' holds something but finite numbers"),
    ("strategies that are a text", lambda m, _: m.update(strategies="x"), "'strategies' of its metadata"),
    ("a recommendation that is a number", lambda m, _: m.update(recommended=3), "'recommended' of its metadata"),
    ("a licence that is a list", lambda m, _: m.update(licence=[]), "'licence' of its metadata"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_changed_strategy_is_one_line(
    path: Path, rewritten: Callable[[Path, Change], Path], change: Change, message: str
) -> None:
    with pytest.raises(LsamplerError, match=f"changed.safetensors: damaged, .*{message}") as raised:
        Bundle.load(rewritten(path, change))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_state_that_does_not_fit_the_installed_strategy_names_the_file(
    path: Path, rewritten: Callable[[Path, Change], Path]
) -> None:
    """As one of an earlier version of a strategy might be; its digest is right."""

    def without_centres(metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        entry = metadata["strategies"][0]
        entry["arrays"].pop("centres")
        settings = [entry["name"], entry["parameters"], entry["changed"]]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for key, name in sorted(entry["arrays"].items()):
            array = tensors[name].numpy()
            digest.update(f"{key} {array.dtype} {array.shape} ".encode() + array.tobytes())
        entry["digest"] = digest.hexdigest()

    loaded = Bundle.load(rewritten(path, without_centres))
    with pytest.raises(LsamplerError, match=r"changed\.safetensors: does not fit the installed gaussian-mixture"):
        loaded.fitted("gaussian-mixture").sample(3)


@pytest.mark.parametrize("name", bundled())
def test_the_bundled_models_carry_strategies_and_say_under_which_licence(name: str) -> None:
    bundle = load_bundle(name)
    more = {"celeba96-sharp": [], "cancer": ["gaussian-copula"], "heartbeats": ["gaussian-copula"]}
    expected = ["gaussian-mixture", *more.get(name, ["gaussian-copula", "flow"])]
    assert [each.label for each in bundle.strategies] == expected
    assert bundle.recommended == "gaussian-mixture"
    assert "LICENSE-weights.txt" in (bundle.licence or "")
    for each in bundle.strategies:
        drawn = load_sampler(each.name).fit(bundle).sample(4000, seed=2).numpy()
        statistics = bundle.reference.statistics()
        assert np.abs((drawn.mean(axis=0) - statistics.mean) / statistics.std).max() < 0.35
        np.testing.assert_allclose(np.square(drawn.std(axis=0)).sum(), np.trace(statistics.covariance), rtol=0.15)
