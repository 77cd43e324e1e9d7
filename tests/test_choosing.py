"""The choice of a strategy: the right one for known data, its reasons, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import Answer, store_of

from lsampler import LsamplerError, choose, load_bundle, load_sampler
from lsampler.plugins import load_fitted
from lsampler.samplers import LatentSampler
from lsampler.store import MemoryStore
from lsampler.testing import checks_of

D = 5
NAMES = ("multivariate-normal", "elliptical", "neighbour-interpolation")


def normal(rows: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, 1])
    return (rng.normal(size=(rows, D)) * np.arange(1, D + 1) + 3).astype(np.float32)


def heavy(rows: int) -> NDArray[np.float32]:
    radius = np.exp(0.6 * np.random.default_rng(4).normal(size=(rows, 1)))
    return ((normal(rows) - 3) * radius + 3).astype(np.float32)


def candidates(*names: str) -> list[LatentSampler]:
    return [load_sampler(name) for name in names]


def test_of_a_normal_it_chooses_the_normal_though_others_are_as_good() -> None:
    found = choose(normal(1500), candidates=candidates(*NAMES), quick=True)
    assert found.label == "multivariate-normal"
    assert found.sampler.state["mean"] == pytest.approx(normal(1500).mean(axis=0), rel=1e-4)  # of all train vectors
    assert "is told from real vectors with an AUC of 0." in found.why


def test_of_heavy_radii_it_chooses_the_strategy_that_has_them() -> None:
    """The difference of the areas, 0.75 and 0.5 by 300 vectors of each kind, is ten standard deviations."""
    found = choose(MemoryStore(heavy(1500), heavy(10)), candidates=candidates(*NAMES), quick=True)
    assert found.label == "elliptical"
    assert "the next" in found.why


def test_copies_are_never_chosen() -> None:
    with pytest.raises(LsamplerError, match="all candidates copy train vectors"):
        choose(normal(1500), candidates=[load_sampler("kde", bandwidth=0.01)], quick=True)


@pytest.mark.parametrize(("wish", "label"), [("clean", "elliptical, temperature = 0.6"), ("varied", "elliptical")])
def test_a_wish_decides_between_fidelity_and_diversity(wish: Any, label: str) -> None:
    given = [
        load_sampler("uniform-cube", b=30),
        load_sampler("elliptical"),
        load_sampler("elliptical", temperature=0.6),
    ]
    latents = heavy(1500)
    if wish == "clean":
        given = [given[0], given[2]]
    found = choose(latents, wish=wish, candidates=given, quick=True)
    assert found.label == label
    assert f"as {wish} as real vectors" in found.why


def test_auto_draws_what_the_chosen_strategy_draws(tmp_path: Path) -> None:
    latents = heavy(1500)
    auto = load_sampler("auto", candidates="multivariate-normal, elliptical", quick=True).fit(latents)
    expected = load_sampler("elliptical").fit(latents)
    np.testing.assert_array_equal(auto.sample(3000, seed=2).numpy(), expected.sample(3000, seed=2).numpy())
    np.testing.assert_allclose(auto.log_prob(latents[:50]), expected.log_prob(latents[:50]))
    assert auto.chosen == load_sampler("elliptical")
    assert auto.why.startswith("elliptical is told")
    auto.save(tmp_path / "auto.safetensors")
    again = load_fitted(tmp_path / "auto.safetensors")
    np.testing.assert_array_equal(again.sample(10, seed=1).numpy(), expected.sample(10, seed=1).numpy())


CHECKS = {
    "draws-whole-blocks",
    "first-rows-stay",
    "save-and-load",
    "learns-arrays",
    "one-device",
    "unfitted",
    "density",
}
AUTO = load_sampler("auto", candidates="multivariate-normal, elliptical", quick=True)


@pytest.mark.parametrize(
    "check", [check for check in checks_of(AUTO) if check.name in CHECKS], ids=lambda one: one.name
)
def test_auto_complies_where_that_takes_no_further_fits(check: Callable[[], None]) -> None:
    check()


def test_what_cannot_be_chosen_from_is_one_line() -> None:
    with pytest.raises(LsamplerError, match="`wish=balanced2` is unknown; did you mean 'balanced'"):
        choose(normal(500), wish="balanced2")  # type: ignore[arg-type]
    with pytest.raises(LsamplerError, match="100 train vectors; a choice needs 250 or more"):
        choose(normal(100))
    with pytest.raises(LsamplerError, match="holds statistics only"):
        choose(load_bundle("digits"))
    with pytest.raises(LsamplerError, match="`candidates` is empty"):
        choose(normal(500), candidates=[])
    with pytest.raises(LsamplerError, match="give at most 5"):
        choose(normal(500), candidates=[load_sampler("pca-ellipse", components=40)], quick=True)
    with pytest.raises(LsamplerError, match="names auto itself"):
        load_sampler("auto", candidates="auto").fit(normal(500))


def test_the_command_prints_the_reason_and_writes_the_fitted_strategy(
    cli: Callable[..., Answer], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "z.h5", heavy(1500))
    out, scores = tmp_path / "chosen.safetensors", tmp_path / "scores.json"
    answer = cli("choose", "--store", store, "-p", NAMES[0], "-p", NAMES[1], "--quick", "--out", out, "--json", scores)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1].startswith("Elliptical is told from real vectors with an AUC of 0.")
    assert load_fitted(out).name == "elliptical"
    assert json.loads(scores.read_text())["chosen"] == "elliptical"
    answer = cli("choose", "--store", store, "--out", out)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
