"""What shell completion reads in the source of plugins is what their classes say."""

from __future__ import annotations

from typing import Any

import pytest

from lsampler import load_sampler
from lsampler.cli.completion import STRATEGY, described
from lsampler.plugins import plugin_names
from lsampler.plugins.registry import registry


@pytest.mark.parametrize("kind", ["sampler", "evaluator", "core", "autoencoder loader"])
def test_the_source_of_the_plugins_says_what_the_plugins_say(kind: Any) -> None:
    """Names, summaries and parameters that are read without importing a plugin equal those of its class."""
    found = described(kind.replace(" ", "_") + "s")
    classes = {name: one.plugin for name, one in registry().of_kind(kind).items() if one.origin == "lsampler"}
    assert {name: found[name].summary for name in classes} == {name: each.summary() for name, each in classes.items()}
    for name, plugin in classes.items():
        assert set(found[name].parameters) == set(plugin.model_fields)
        for each in plugin.parameters():
            settings, meaning = found[name].parameters[each.name]
            assert meaning in ("", each.meaning)
            assert each.default in [one.partition("=")[2] for one in settings] or settings == [f"{each.name}="]


def test_every_completed_setting_of_a_strategy_is_accepted() -> None:
    for name in plugin_names("sampler"):
        for settings, _ in described(STRATEGY)[name].parameters.values():
            for setting in settings:
                type(load_sampler(name)).from_strings(dict([setting.split("=", 1)]))
