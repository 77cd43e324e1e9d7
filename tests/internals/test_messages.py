"""The library names Python arguments, the command line names its options."""

from __future__ import annotations

import pytest

from lsampler.cli.messages import in_options

OPTIONS = {"held_out", "force", "param", "store", "model", "model_param", "device"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("exists already; pass `force=True`", "exists already; pass --force"),
        ("lower `held_out=1000`", "lower --held-out 1000"),
        ("give the `store=...` of its latents", "give the --store of its latents"),
        ("give the `autoencoder=...` that encoded them", "give the --model that encoded them"),
        ("has rank 4; use `components=4`", "has rank 4; use --param components=4"),
        ("add `trusted=True`", "add --model-param trusted=True"),
        ("`no` argument at all", "`no` argument at all"),
    ],
)
def test_arguments_become_options(message: str, expected: str) -> None:
    assert in_options(message, OPTIONS) == expected


def test_an_argument_that_the_command_lacks_keeps_its_name() -> None:
    assert in_options("use `components=4`", {"out"}) == "use components=4"
