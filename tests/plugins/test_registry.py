"""How plugins are found, named, described, and kept from harming each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import Field
from torch import Tensor

import lsampler
from lsampler import (
    API_VERSION,
    Block,
    LatentSampler,
    LsamplerError,
    Reference,
    State,
    hookimpl,
    load_sampler,
    plugin_names,
)
from lsampler.plugins import registry as registry_module
from lsampler.plugins.registry import Registry, registry


class Shifted(LatentSampler):
    """A strategy of somebody else."""

    name = "shifted"

    shift: float = Field(default=0.5, ge=-1, le=1, description="how far")
    steps: int = Field(default=3, gt=0, description="how many")

    def learn(self, reference: Reference) -> State:
        return {"mean": reference.statistics().mean + self.shift}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.normal(len(state["mean"])) + state["mean"]


EVALUATORS = [
    "fidelity-diversity",
    "latent-distances",
    "two-sample-classifier",
    "novelty",
    "cycle-consistency",
    "sharpness",
    "image-distance",
]


def plugin_module(*samplers: Any) -> Any:
    @hookimpl
    def lsampler_samplers() -> Sequence[type[LatentSampler]]:
        return samplers

    return SimpleNamespace(lsampler_samplers=lsampler_samplers, LSAMPLER_API=API_VERSION)


def test_the_six_strategies_of_the_posts_are_found() -> None:
    posts = {"uniform-cube", "component-uniform", "line-path", "gaussian", "multivariate-normal", "pca-ellipse"}
    assert posts <= set(plugin_names("sampler"))
    assert {"interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"} <= set(plugin_names("core"))
    assert {"core-membership", "faces", *EVALUATORS} <= set(plugin_names("evaluator"))
    assert registry().broken == []


def test_a_foreign_plugin_is_found_and_used() -> None:
    known = Registry()
    known.register(plugin_module(Shifted), "shifted", "foreign")
    sampler = known.get("sampler", "shifted")(shift=1).fit(np.zeros((5, 2)) + np.arange(5)[:, None])
    assert sampler.sample(4).shape == (4, 2)
    assert known.found[0].origin == "foreign"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SimpleNamespace(LSAMPLER_API=API_VERSION), "offers nothing"),
        (SimpleNamespace(), "add LSAMPLER_API = 2"),
        (SimpleNamespace(LSAMPLER_API=API_VERSION + 1), "written for plugin API 3, this lsampler has 2"),
        (plugin_module(int), "not a subclass of lsampler.LatentSampler"),
        (plugin_module(type("Odd", (Shifted,), {"name": "Not Kebab"})), "lower case with hyphens"),
        (plugin_module(type("Taken", (Shifted,), {"name": "gaussian"})), "taken by first"),
        (plugin_module(None), "not a subclass"),
    ],
)
def test_a_plugin_that_breaks_the_rules_is_named_with_its_reason(module: Any, reason: str) -> None:
    known = Registry()
    known.register(plugin_module(type("First", (Shifted,), {"name": "gaussian"})), "first", "first")
    known.register(module, "odd", "foreign")
    assert [(b.name, b.origin) for b in known.broken] == [("odd", "foreign")]
    assert reason in known.broken[0].reason
    assert [found.name for found in known.found] == ["gaussian"]  # nothing else is harmed


def test_a_hook_that_raises_breaks_only_its_plugin() -> None:
    @hookimpl
    def lsampler_samplers() -> Sequence[type[LatentSampler]]:
        raise RuntimeError("no luck today")

    known = Registry()
    known.register(SimpleNamespace(lsampler_samplers=lsampler_samplers, LSAMPLER_API=API_VERSION), "unlucky", "foreign")
    known.register(plugin_module(Shifted), "shifted", "foreign")
    assert "no luck today" in known.broken[0].reason
    assert [found.name for found in known.found] == ["shifted"]


@pytest.fixture
def with_broken_plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An entry point of a module that does not exist, beside all real ones."""
    real = registry_module.entry_points(group="lsampler")
    broken = EntryPoint("foreign-flow", "no_such_module_anywhere", "lsampler")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [broken, *real])
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the entry points that are loaded from here on."""
    names: list[str] = []
    load = Registry._load  # points may be of another class: importlib_metadata, where installed, puts its own in

    def noted(known: Registry, point: EntryPoint) -> None:
        names.append(point.name)
        load(known, point)

    monkeypatch.setattr(Registry, "_load", noted)
    return names


def test_a_plugin_of_ours_is_found_alone_and_is_the_one_that_is_listed(loaded: list[str]) -> None:
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


def test_the_name_of_an_entry_point_promises_nothing(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is called as another plugin's name, a foreign one as a name of ours: what the classes say counts."""
    ours = {point.name: point for point in registry_module.entry_points(group="lsampler")}
    odd = EntryPoint("gaussian", ours["uniform-cube"].value, "lsampler")
    vars(odd).update(dist=ours["gaussian"].dist)
    foreign = EntryPoint("pca-ellipse", ours["kde"].value, "lsampler")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [foreign, odd, ours["pca-ellipse"]])
    assert Registry.from_entry_points().get("sampler", "pca-ellipse").name == "pca-ellipse"
    assert loaded == ["pca-ellipse"]
    assert Registry.from_entry_points().get("sampler", "uniform-cube").name == "uniform-cube"
    assert Registry.from_entry_points().get("sampler", "kde").name == "kde"
    with pytest.raises(LsamplerError, match="no sampler 'gaussian'"):
        Registry.from_entry_points().get("sampler", "gaussian")


def test_nobody_takes_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = next(p for p in registry_module.entry_points(group="lsampler") if p.name == "pca-ellipse")
    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: [EntryPoint("aaa", ours.value, "lsampler"), ours]
    )
    known = Registry.from_entry_points()
    assert [(found.name, found.origin) for found in known.found] == [("pca-ellipse", "lsampler")]
    assert [(broken.name, broken.reason) for broken in known.broken] == [
        ("aaa", "the sampler name 'pca-ellipse' is taken by lsampler; choose another")
    ]


def test_an_interrupted_look_loses_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    load, known = Registry._load, Registry.from_entry_points()

    def interrupted(found: Registry, point: EntryPoint) -> None:
        if point.name == "novelty":
            raise KeyboardInterrupt
        load(found, point)

    monkeypatch.setattr(Registry, "_load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        known.of_kind("sampler")
    monkeypatch.setattr(Registry, "_load", load)
    assert list(known.of_kind("sampler")) == plugin_names("sampler")
    assert "novelty" in known.of_kind("evaluator")


@pytest.mark.usefixtures("with_broken_plugin")
def test_a_plugin_that_cannot_be_imported_is_listed_and_harms_nothing(cli: Callable[..., Any]) -> None:
    answer = cli("plugins")
    assert answer.code == 0
    assert "broken: 'foreign-flow'" in answer.out
    assert "No module named 'no_such_module_anywhere'" in answer.out
    assert "pca-ellipse" in answer.out
    shown = cli("plugins", "show", "foreign-flow")
    assert shown.code == 2
    assert "is broken" in shown.err
    sampled = cli("sample", "--plugin", "foreign-flow")
    assert sampled.code == 2
    assert "no_such_module_anywhere" in sampled.err


def test_show_prints_type_default_range_and_meaning(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer = cli("plugins", "show", "pca-ellipse")
    assert answer.code == 0
    row = next(line for line in answer.out.splitlines() if line.strip().startswith("fact "))
    for part in ("a number", "0.7", "above 0", "half-axes in half-widths"):
        assert part in row


def test_parameters_describe_themselves() -> None:
    shift, steps = Shifted.parameters()
    assert (shift.type, shift.default, shift.range) == ("a number", "0.5", "at least -1 and at most 1")
    assert (steps.type, steps.range, steps.meaning) == ("a whole number", "above 0", "how many")


@pytest.mark.parametrize("name", plugin_names("sampler"))
def test_every_parameter_of_every_strategy_has_a_meaning(name: str) -> None:
    assert all(parameter.meaning for parameter in registry().get("sampler", name).parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": "2"}, "shift=2 is not valid: give a number, at least -1 and at most 1"),
        ({"shift": "wide"}, "shift=wide is not valid: give a number"),
        ({"steps": "1.5"}, "steps=1.5 is not valid: give a whole number, above 0"),
        ({"stepz": "1"}, "no parameter 'stepz'; did you mean 'steps'?"),
        ({"shift": "nan"}, "shift=nan is not valid"),
    ],
)
def test_parameters_are_refused_in_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(LsamplerError) as refused:
        Shifted.from_strings(settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_none_and_numbers_are_read_from_strings() -> None:
    sampler = (
        registry().get("sampler", "pca-ellipse").from_strings({"trim": "none", "components": "20", "fact": "1e-1"})
    )
    assert (sampler.trim, sampler.components, sampler.fact) == (None, 20, 0.1)


def test_parameters_cannot_be_changed_afterwards() -> None:
    sampler = load_sampler("gaussian")
    with pytest.raises(Exception, match="frozen"):
        sampler.temperature = 2.0  # type: ignore[attr-defined]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(LsamplerError, match="did you mean 'pca-ellipse'"):
        load_sampler("pca-elipse")


def test_every_public_name_is_there() -> None:
    for name in lsampler.__all__:
        assert getattr(lsampler, name) is not None
    assert set(dir(lsampler)) == set(lsampler.__all__)
    with pytest.raises(AttributeError, match=r"attribute .?nonsense"):
        lsampler.nonsense  # noqa: B018


def test_a_strategy_that_draws_nonsense_is_refused() -> None:
    class Bad(Shifted):
        name = "bad"

        def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
            return block.normal(2) * float("nan") if self.shift > 0 else block.normal(3)

    with pytest.raises(LsamplerError, match="NaN or infinite"):
        Bad(shift=1).fit(np.eye(5)[:, :2]).sample(3)
    with pytest.raises(LsamplerError, match=r"drew shape \(2048, 3\), expected \(2048, 2\)"):
        Bad(shift=-1).fit(np.eye(5)[:, :2]).sample(3)


@pytest.mark.parametrize("method", ["learn", "draw", "log_density"])
def test_a_strategy_that_crashes_half_way_is_told_in_one_line(method: str) -> None:
    def crash(self: Any, *_: Any) -> Any:
        raise ValueError("went\nwrong")

    crashing = type("Crashing", (Shifted,), {"name": "crashing", method: crash})()

    def use() -> None:
        crashing.fit(np.eye(5)[:, :2]).sample(3)
        crashing.log_prob(np.zeros((3, 2)))

    with pytest.raises(LsamplerError, match=r"crashing: .* failed with ValueError: went; report") as told:
        use()
    assert "\n" not in str(told.value)
    assert isinstance(told.value.__cause__, ValueError)


def test_a_strategy_that_needs_latents_says_so_of_a_bundle() -> None:
    class Needy(Shifted):
        name = "needy"
        needs_latents = True

    with pytest.raises(LsamplerError, match="needs latent vectors, celeba96 holds statistics only; give a --store"):
        Needy().fit(lsampler.load_bundle())
