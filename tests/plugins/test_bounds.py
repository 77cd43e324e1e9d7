"""Parameters that would take for ever, or more memory than there is: one line, before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsampler import LsamplerError, compare, load_sampler
from lsampler.compute import require_memory
from lsampler.plugins import load_core, load_evaluator, plugin_names
from lsampler.samplers import sample_store

LOADERS = {"sampler": load_sampler, "evaluator": load_evaluator, "core": load_core}
UNBOUNDED = {"components", "i", "j", "axis", "first", "second"}
"""Judged by the data: by D, or by the number of vectors."""


@pytest.mark.parametrize("kind", LOADERS)
def test_every_whole_number_has_an_upper_bound(kind: Any) -> None:
    for name in plugin_names(kind):
        for parameter in type(LOADERS[kind](name)).parameters():
            if "whole number" in parameter.type and parameter.name not in UNBOUNDED:
                with pytest.raises(LsamplerError, match=rf"{name}: {parameter.name}=1{'0' * 26} is not valid"):
                    LOADERS[kind](name, **{parameter.name: 10**26})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("flow", {"hidden": 65_536, "layers": 100, "kind": "neural-spline"}, "`hidden=65536` needs about"),
        ("gaussian-mixture", {"components": 1000, "covariance": "full"}, "`components=1000` needs about .*diagonal"),
        ("neighbour-interpolation", {"k": 1000}, "`k=1000` needs about"),
        ("elliptical", {"direction": "mixture", "mixture_components": 1000}, "`mixture_components=1000` needs about"),
        ("pca-ellipse", {"components": 10**26}, "more than the latent dimension"),
        ("line-path", {"path": "principal", "axis": 10**26}, "vary along"),
        ("line-path", {"path": "between", "second": 10**26}, "must be below"),
    ],
)
def test_memory_that_a_parameter_demands_is_judged_before_it_is_allocated(
    name: str, parameters: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsampler.compute.memory.BUDGET", 10_000_000)
    rows = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
    with pytest.raises(LsamplerError, match=message):
        load_sampler(name, **parameters).fit(rows)


def test_more_rows_than_memory_or_disk_hold_are_refused(tmp_path: Path) -> None:
    sampler = load_sampler("gaussian").fit(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(LsamplerError, match=r"gaussian: `n=10000000000000` needs about 240,000\.0 GB of memory"):
        sampler.sample(10**13)
    for name in ("many.h5", "many.shards"):
        with pytest.raises(LsamplerError, match=r"`n=1000000000000000000000`: needs .* GB of disk"):
            sample_store(sampler, 10**21, tmp_path / name)
    with pytest.raises(LsamplerError, match=r"`n=10000000000000` needs about 240,000\.0 GB of memory; score fewer"):
        compare(np.random.default_rng(0).normal(size=(50, 3)), [sampler], tmp_path / "report", n=10**13)
    assert list(tmp_path.iterdir()) == []
    assert sampler.sample(3, threads=10**26).shape == (3, 3)  # no more threads than there are blocks
    require_memory(2**30, "one", "two")
    require_memory(2**40, "one", "two", data=2**39)
