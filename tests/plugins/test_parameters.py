"""The parameters of plugins, what a strategy must return, and the public names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field
from torch import Tensor

import lsampler
from lsampler import LsamplerError, load_sampler
from lsampler.compute import Block
from lsampler.plugins import load_fitted
from lsampler.samplers import LatentSampler, State
from lsampler.store import Reference


class Shifted(LatentSampler):
    """A strategy of another package."""

    name = "shifted"

    shift: float = Field(default=0.5, ge=-1, le=1, description="how far")
    steps: int = Field(default=3, gt=0, description="how many")
    output: str = Field(default="", description="the name of a layer")
    label: str | None = Field(default=None, description="the name of a label")
    level: Literal["1", "2"] = Field(default="1", description="which one")
    sizes: tuple[int, ...] = Field(default=(), description="of layers")
    quick: bool = Field(default=False, description="whether to hurry")

    def learn(self, reference: Reference) -> State:
        return {"mean": reference.statistics().mean + self.shift}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.normal(len(state["mean"])) + state["mean"]


def test_show_prints_type_default_range_and_meaning(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer = cli("plugins", "show", "pca-ellipse")
    assert answer.code == 0
    row = next(line for line in answer.out.splitlines() if line.strip().startswith("fact "))
    for part in ("a number", "0.7", "above 0", "half-axes in half-widths"):
        assert part in row


def test_parameters_describe_themselves() -> None:
    shift, steps, output, label, *_ = Shifted.parameters()
    assert (shift.type, shift.default, shift.range) == ("a number", "0.5", "at least -1 and at most 1")
    assert (steps.type, steps.range, steps.meaning) == ("a whole number", "above 0", "how many")
    assert (output.type, label.type) == ("text", "text or none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": "2"}, "shift=2 is not valid: give a number, at least -1 and at most 1"),
        ({"shift": "wide"}, "shift=wide is not valid: give a number"),
        ({"steps": "1.5"}, "steps=1.5 is not valid: give a whole number, above 0"),
        ({"steps": "none"}, "steps=none is not valid: give a whole number, above 0"),
        ({"stepz": "1"}, "no parameter 'stepz'; did you mean 'steps'?"),
        ({"shift": "nan"}, "shift=nan is not valid"),
        ({"steps": "9" * 5000}, "steps=9999"),
        ({"steps": "[" * 100_000}, "steps=[[[["),
        ({"steps": "x" * 100_000}, "is not valid: give a whole number, above 0"),
        ({"x" * 100_000: "1"}, "no parameter 'xxxx"),
    ],
)
def test_parameters_are_refused_in_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(LsamplerError) as refused:
        Shifted.from_strings(settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Regression: text that looks like a number, a list or nothing was refused.
        ({"output": "245"}, "245"),
        ({"output": "[1, 2]"}, "[1, 2]"),
        ({"output": "true"}, "true"),
        ({"output": "none"}, "none"),
        ({"label": "1e3"}, "1e3"),
        ({"label": "none"}, None),
        ({"level": "2"}, "2"),
        ({"shift": "1e-1"}, 0.1),
        ({"steps": "20"}, 20),
        ({"sizes": "[1, 2]"}, (1, 2)),
        ({"quick": "true"}, True),
    ],
)
def test_a_text_is_read_by_the_type_of_its_parameter(settings: dict[str, str], expected: object) -> None:
    ((name, _),) = settings.items()
    found = getattr(Shifted.from_strings(settings), name)
    assert found == expected
    assert type(found) is type(expected)


def test_every_public_name_is_there() -> None:
    for name in lsampler.__all__:
        assert getattr(lsampler, name) is not None
    assert set(dir(lsampler)) == set(lsampler.__all__)
    with pytest.raises(AttributeError, match=r"attribute .?nonsense"):
        lsampler.nonsense  # noqa: B018


def test_a_fitted_strategy_is_loaded_by_its_class_or_by_the_name_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fitted.safetensors"
    fitted = load_sampler("gaussian").fit(np.eye(5)[:, :2])
    fitted.save(path)
    for loaded in (load_fitted(path), type(fitted).load(path)):
        assert type(loaded) is type(fitted)
        np.testing.assert_array_equal(loaded.sample(3, seed=1), fitted.sample(3, seed=1))
    for other in (Shifted, LatentSampler):
        with pytest.raises(LsamplerError, match="holds a fitted gaussian; read it by"):
            other.load(path)
    Shifted().fit(np.eye(5)).save(path, force=True)
    with pytest.raises(LsamplerError, match="no sampler 'shifted'"):
        load_fitted(path)


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
def test_a_crash_of_a_strategy_is_reported_in_one_line(method: str) -> None:
    def crash(self: Any, *_: Any) -> Any:
        raise ValueError("went\nwrong")

    crashing = type("Crashing", (Shifted,), {"name": "crashing", method: crash})()

    def use() -> None:
        crashing.fit(np.eye(5)[:, :2]).sample(3)
        crashing.log_prob(np.zeros((3, 2)))

    with pytest.raises(LsamplerError, match=r"crashing: .* failed with ValueError: went; report it") as told:
        use()
    assert "\n" not in str(told.value)
    assert isinstance(told.value.__cause__, ValueError)


def test_a_strategy_that_needs_latents_says_so_of_a_bundle() -> None:
    class Needy(Shifted):
        name = "needy"
        needs_latents = True

    with pytest.raises(LsamplerError, match="needs latent vectors, celeba96 holds statistics only; give `store="):
        Needy().fit(lsampler.load_bundle())
