"""Plugins that end the process, or give something else than they must, are named in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from lsampler import LsamplerError, evaluate, load_autoencoder
from lsampler.models import Autoencoder, AutoencoderLoader, decode_images
from lsampler.samplers import LatentSampler
from lsampler.scoring import Core, Evaluator, Row, Samples, Score
from lsampler.store import MemoryStore

ENDS = [SystemExit(0), SystemExit("bye"), GeneratorExit(), BaseException("odd"), StopIteration(), RuntimeError()]
ROWS = np.random.default_rng(0).normal(size=(60, 2))


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def giving(value: Any) -> Callable[..., Any]:
    return lambda *_: value


SOUND: dict[type, dict[str, Callable[..., Any]]] = {
    LatentSampler: {"learn": giving({"a": np.zeros(2)}), "draw": giving(torch.zeros(2048, 2))},
    Core: {"learn": giving({}), "level": lambda self, state, rows: np.zeros(len(rows)), "nominal": giving(1.0)},
    Evaluator: {"score": giving([])},
}


def made(base: type, method: str, does: Callable[..., Any]) -> Any:
    """A plugin that is sound but for one method."""
    return type("Misbehaving", (base,), {"name": "misbehaving", **SOUND[base], method: does})()


def use_sampler(method: str, does: Callable[..., Any]) -> None:
    made(LatentSampler, method, does).fit(ROWS).sample(3)


def use_core(method: str, does: Callable[..., Any]) -> None:
    core = made(Core, method, does).fit(ROWS)
    core.levels(ROWS)
    float(core.nominal_level)


def judged(method: str, does: Callable[..., Any]) -> Row:
    samples, real = [Samples("mine", ROWS.astype(np.float32))], MemoryStore(ROWS[:40], ROWS[40:])
    return evaluate(samples, real, [made(Evaluator, method, does)]).rows[-1]


def use_evaluator(method: str, does: Callable[..., Any]) -> None:
    raise LsamplerError("; ".join(judged(method, does).problems))


def use_decoder(method: str, does: Callable[..., Any]) -> None:
    decode_images(type("Decoder", (), {method: does})(), ROWS.astype(np.float32))


USES: list[tuple[Callable[..., None], str]] = [
    (use_sampler, "learn"),
    (use_sampler, "draw"),
    (use_sampler, "model_post_init"),
    (use_core, "learn"),
    (use_core, "level"),
    (use_core, "nominal"),
    (use_evaluator, "prepare"),
    (use_evaluator, "score"),
    (use_evaluator, "caveats"),
    (use_evaluator, "depends_on"),
    (use_decoder, "decode"),
]


@pytest.mark.parametrize(("use", "method"), USES)
@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_nothing_that_a_plugin_raises_ends_the_process(
    use: Callable[..., None], method: str, error: BaseException
) -> None:
    with pytest.raises(LsamplerError, match=f"failed with .*{type(error).__name__}.*; report it") as told:
        use(method, raising(error))
    assert "\n" not in str(told.value)


def score(**fields: Any) -> Score:
    known: dict[str, Any] = {
        "group": "g",
        "label": "l",
        "better": "real",
        "value": 1.0,
        "low": 1.0,
        "high": 1.0,
        "n": 1,
    }
    return Score("m", **known | fields)


BLOCK = torch.zeros(2048, 2)
VALUES: Sequence[tuple[Callable[..., None], str, Any]] = [
    (use_sampler, "learn", None),
    (use_sampler, "learn", [1, 2]),
    (use_sampler, "learn", {"a": np.array([object()])}),
    (use_sampler, "learn", {"a": "text"}),
    (use_sampler, "learn", {"a": np.ones(2) * 1j}),
    (use_sampler, "learn", {1: np.ones(2)}),
    (use_sampler, "draw", None),
    (use_sampler, "draw", np.zeros((2048, 2))),
    (use_sampler, "draw", BLOCK.to_sparse()),
    (use_sampler, "draw", BLOCK * 1j),
    (use_sampler, "draw", BLOCK.to("meta")),
    (use_sampler, "draw", BLOCK * torch.nan),
    (use_sampler, "draw", BLOCK[:3]),
    (use_core, "learn", None),
    (use_core, "level", None),
    (use_core, "level", np.zeros(3)),
    (use_core, "level", np.full(60, np.nan)),
    (use_core, "level", np.array(["a"] * 60)),
    (use_core, "nominal", "wide"),
    (use_evaluator, "score", None),
    (use_evaluator, "score", [1.0]),
    (use_evaluator, "score", [score(value="high")]),
    (use_evaluator, "score", [score(n="many")]),
    (use_evaluator, "score", [score(value=torch.ones(2))]),
    (use_evaluator, "caveats", [1]),
    (use_decoder, "decode", None),
    (use_decoder, "decode", torch.zeros(60, 3).to_sparse()),
    (use_decoder, "decode", torch.zeros(60, 3)),
]


@pytest.mark.parametrize(("use", "method", "value"), VALUES)
def test_nothing_but_what_a_plugin_must_give_is_taken(use: Callable[..., None], method: str, value: Any) -> None:
    with pytest.raises(LsamplerError) as told:
        use(method, giving(value))
    assert str(told.value)
    assert "\n" not in str(told.value)


def test_a_gradient_is_dropped_and_numpy_s_numbers_are_numbers() -> None:
    assert not made(LatentSampler, "draw", giving(BLOCK.clone().requires_grad_())).fit(ROWS).sample(3).requires_grad
    (found,) = judged("score", giving([score(value=np.float64(2), n=np.int64(3))])).scores
    assert (found.value, found.n) == (2.0, 3)


@pytest.mark.parametrize("loaded", [None, "model", object()])
def test_a_loader_must_give_an_autoencoder(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader(AutoencoderLoader):
        """Opens anything."""

        name = "misbehaving"

        @classmethod
        def accepts(cls, spec: str) -> bool:
            return True

        def load(self, spec: str) -> Autoencoder:
            return loaded  # type: ignore[no-any-return]

    monkeypatch.setattr("lsampler.plugins.by_name.find_loader", lambda spec: Loader)
    with pytest.raises(
        LsamplerError, match=r"x\.zz: loading by misbehaving failed with TypeError: gave a \w+, expected"
    ):
        load_autoencoder("x.zz")
