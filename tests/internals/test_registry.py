"""The registry: how plugins are found, and kept from affecting each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.plugins import hookimpl, offers, plugin_names
from lsampler.plugins import registry as registry_module
from lsampler.plugins.registry import Registry, registry
from lsampler.samplers import LatentSampler, State
from lsampler.store import Reference


class Shifted(LatentSampler):
    """A strategy of another package."""

    name = "shifted"

    def learn(self, reference: Reference) -> State:
        return {"mean": reference.statistics().mean}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.normal(len(state["mean"])) + state["mean"]


def named(name: Any) -> Any:
    return type("Named", (Shifted,), {"name": name})


def offering(*classes: Any, **options: Any) -> Any:
    return SimpleNamespace(lsampler_samplers=offers(*classes, **options))


def hooked(hook: Callable[[], Any], api: object = 2) -> Any:
    return SimpleNamespace(lsampler_samplers=hookimpl(hook), LSAMPLER_API=api)


def raising(error: type[BaseException]) -> Callable[[], Any]:
    def hook() -> Any:
        raise error("no luck today")

    return hook


def test_everything_of_lsampler_is_found() -> None:
    posts = {"uniform-cube", "component-uniform", "line-path", "gaussian", "multivariate-normal", "pca-ellipse"}
    assert posts <= set(plugin_names("sampler"))
    assert {"interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"} <= set(plugin_names("core"))
    assert {"core-membership", "faces", "fidelity-diversity", "novelty", "sharpness"} <= set(plugin_names("evaluator"))
    assert registry().broken == []


@pytest.mark.parametrize("module", [offering(Shifted), hooked(lambda: [Shifted])], ids=["offers", "hookimpl"])
def test_a_foreign_plugin_is_found_and_used(module: Any) -> None:
    known = Registry()
    known.register(module, "shifted", "foreign")
    sampler = known.get("sampler", "shifted")().fit(np.arange(10.0).reshape(5, 2))
    assert sampler.sample(4).shape == (4, 2)
    assert known.found[0].origin == "foreign"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SimpleNamespace(LSAMPLER_API=2), "offers nothing"),
        (offering(), "offers nothing"),
        (hooked(lambda: [Shifted], api=None), "add LSAMPLER_API = 2"),
        (hooked(lambda: [Shifted], api=1), "written for plugin API 1, this lsampler has 2"),
        (offering(Shifted, api=3), "written for plugin API 3, this lsampler has 2"),
        (SimpleNamespace(lsampler_dreams=offers(Shifted)), "unknown hook 'lsampler_dreams'"),
        (offering(int), "not a subclass of lsampler.samplers.LatentSampler"),
        (offering(named("fine"), None), "not a subclass"),
        (offering(named("Not Kebab")), "lower case with hyphens"),
        (offering(named("first")), "taken by first"),
        (offering(named("twice"), named("twice")), "taken by foreign"),
        (hooked(raising(SystemExit)), "SystemExit: no luck today"),
        (hooked(raising(BaseException)), "BaseException: no luck today"),
        (hooked(raising(GeneratorExit)), "GeneratorExit: no luck today"),
        (hooked(lambda: 3), "TypeError"),
    ],
)
def test_a_plugin_that_breaks_the_rules_is_listed_with_its_reason(module: Any, reason: str) -> None:
    known = Registry()
    known.register(offering(named("first")), "first", "first")
    known.register(module, "odd", "foreign")
    known.register(offering(Shifted), "shifted", "foreign")
    ((name, origin, told),) = [(broken.name, broken.origin, broken.reason) for broken in known.broken]
    assert (name, origin) == ("odd", "foreign")
    assert reason in told
    assert "\n" not in told
    assert [found.name for found in known.found] == ["first", "shifted"]  # the others are not affected


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the entry points that are loaded from here on."""
    names: list[str] = []
    load = Registry._load  # points may be of another class: importlib_metadata, where installed, adds its own

    def noted(known: Registry, point: EntryPoint, origin: str) -> None:
        names.append(point.name)
        load(known, point, origin)

    monkeypatch.setattr(Registry, "_load", noted)
    return names


def test_a_plugin_of_lsampler_is_loaded_alone_and_is_the_one_that_is_listed(loaded: list[str]) -> None:
    alone, all_of_them = Registry.from_entry_points(), Registry.from_entry_points()
    listed = [(found.kind, found.name) for found in all_of_them.found]
    ours = {p.name for p in registry_module.entry_points(group="lsampler") if p.dist and p.dist.name == "lsampler"}
    assert {"pca-ellipse", "flow", "novelty"} <= ours
    for found in all_of_them.found:
        loaded.clear()
        known = Registry.from_entry_points()
        assert known.get(found.kind, found.name) is found.plugin
        assert loaded == [found.name] or found.name not in ours
        assert alone.get(found.kind, found.name) is found.plugin  # in any order, and after others
    assert [(found.kind, found.name) for found in alone.found] == listed


def test_the_name_in_the_class_counts_and_not_that_of_the_entry_point(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {point.name: point for point in registry_module.entry_points(group="lsampler")}
    odd = EntryPoint("gaussian", ours["uniform-cube"].value, "lsampler")
    vars(odd).update(dist=ours["gaussian"].dist)
    foreign = EntryPoint("pca-ellipse", ours["kde"].value, "lsampler")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [foreign, odd, ours["pca-ellipse"]])
    assert Registry.from_entry_points().get("sampler", "pca-ellipse").name == "pca-ellipse"
    assert loaded == ["pca-ellipse"]
    for name in ("uniform-cube", "kde"):
        assert Registry.from_entry_points().get("sampler", name).name == name
    with pytest.raises(LsamplerError, match="no sampler 'gaussian'"):
        Registry.from_entry_points().get("sampler", "gaussian")


def test_no_other_package_takes_a_name_of_lsampler(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = next(p for p in registry_module.entry_points(group="lsampler") if p.name == "pca-ellipse")
    points = [EntryPoint("aaa", ours.value, "lsampler"), ours]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: points)
    known = Registry.from_entry_points()
    assert [(found.name, found.origin) for found in known.found] == [("pca-ellipse", "lsampler")]
    assert [(broken.name, broken.reason) for broken in known.broken] == [
        ("aaa", "the sampler name 'pca-ellipse' is taken by lsampler; choose another")
    ]


def test_an_interrupted_search_loses_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    load, known = Registry._load, Registry.from_entry_points()

    def interrupted(found: Registry, point: EntryPoint, origin: str) -> None:
        if point.name == "novelty":
            raise KeyboardInterrupt
        load(found, point, origin)

    monkeypatch.setattr(Registry, "_load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        known.of_kind("sampler")
    monkeypatch.setattr(Registry, "_load", load)
    assert list(known.of_kind("sampler")) == plugin_names("sampler")
    assert "novelty" in known.of_kind("evaluator")


def test_a_plugin_that_never_ends_its_import_is_named_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "SECONDS", 0.1)
    ended = threading.Event()
    known = Registry([("foreign", SimpleNamespace(name="slow", load=ended.wait))])  # type: ignore[list-item]
    assert [str(broken) for broken in known.broken] == [
        "plugin 'slow' from foreign is broken: did not end its import or its hook within 0.1 seconds; uninstall it"
    ]
    ended.set()
