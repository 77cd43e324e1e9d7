"""flow: its density, draws and training, on bent and heavy-tailed data."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from distributions import BENT, moons, require_density_of_draws
from numpy.typing import NDArray
from scipy import stats

from lsampler import LsamplerError, load_bundle, load_sampler
from lsampler.samplers import LatentSampler
from lsampler.store import MemoryStore

Rows = NDArray[Any]


# Where the number matters, a test sets it.
pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def two_moons() -> MemoryStore:
    return MemoryStore(moons(2000, 11), moons(600, 12), name="moons")


@pytest.fixture(scope="module")
def heavy() -> Rows:
    """Student's t with 4 degrees of freedom in five dimensions, stretched and turned."""
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(1500, 5)) / np.sqrt(rng.chisquare(4, (1500, 1)) / 4)
    return rows @ rng.normal(size=(5, 5)) + 3


def test_flow_beats_the_normal_on_bent_data(two_moons: MemoryStore) -> None:
    rows = two_moons.held_out()
    bent, normal = (load_sampler(n, **p).fit(two_moons) for n, p in (("flow", BENT), ("multivariate-normal", {})))
    assert (bent.log_prob(rows) - normal.log_prob(rows)).mean() > 0.4


@pytest.mark.parametrize("axes", ["independent", "principal"])
@pytest.mark.parametrize("kind", ["masked-autoregressive", "neural-spline"])
def test_in_five_dimensions_the_density_is_that_of_the_draws(heavy: Rows, axes: str, kind: str) -> None:
    sampler = load_sampler("flow", axes=axes, kind=kind, max_epochs=4, hidden=32).fit(heavy)
    require_density_of_draws(sampler, heavy.mean(axis=0), 0.2)


def test_a_fit_does_not_depend_on_the_number_of_threads_and_leaves_it(heavy: Rows) -> None:
    fitted = []
    for count, seed in [(1, 5), (2, 5), (2, 6)]:
        torch.set_num_threads(count)
        fitted.append(load_sampler("flow", seed=seed, max_epochs=2).fit(heavy).sample(3000, seed=1))
        assert torch.get_num_threads() == count
    torch.set_num_threads(1)
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])


class Bars:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.total, self.steps = 0, list[int]()

    def begin(self, what: str, total: int, done: int = 0) -> Any:
        self.total = total
        return self.steps.append


def test_training_keeps_the_best_epoch_and_stops(two_moons: MemoryStore) -> None:
    """A network without dropout on 100 vectors: it learns what they have in common, then each by heart."""
    rows, new = two_moons.latents()[:100], two_moons.held_out()
    eager = {**BENT, "dropout": 0, "learning_rate": 0.01}

    def fitted(**changes: Any) -> tuple[LatentSampler, Bars]:
        bars = Bars()
        return load_sampler("flow", **eager | changes).fit(rows, progress=bars), bars

    # Ten more epochs, none of them better, leave the weights as they are.
    (long, bars), (longer, _) = (fitted(patience=60, max_epochs=epochs) for epochs in (20, 30))
    assert sum(bars.steps) == bars.total == 20
    for key, value in long.state.items():
        np.testing.assert_array_equal(longer.state[key], value)
    patient, bars = fitted(patience=8, max_epochs=60)
    assert len(bars.steps) < 60
    assert sum(bars.steps) == bars.total == 60
    assert patient.log_prob(new).mean() > fitted(max_epochs=1)[0].log_prob(new).mean()


@pytest.mark.parametrize("kind", ["masked-autoregressive", "neural-spline"])
@pytest.mark.parametrize("shape", [(20, 1), (20, 2), (10, 3)])
def test_a_fit_to_few_vectors_is_sane(shape: tuple[int, int], kind: str) -> None:
    sampler = load_sampler("flow", kind=kind).fit(np.random.default_rng(22).normal(size=shape))
    new = np.random.default_rng(23).normal(size=(500, shape[1]))
    truth = stats.norm.logpdf(new).sum(axis=1).mean()
    assert sampler.log_prob(new).mean() > truth - 2 * shape[1]
    assert np.abs(sampler.sample(500, seed=0).numpy()).max() < 30


def test_flow_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, heavy: Rows) -> None:
    with pytest.raises(LsamplerError, match="flow: 9 vectors of latents, it needs 10"):
        load_sampler("flow").fit(heavy[:9])
    with pytest.raises(LsamplerError, match="training diverged in epoch 1; use a smaller `learning_rate"):
        load_sampler("flow", learning_rate=1e30).fit(heavy)
    flat = load_sampler("flow", max_epochs=1).fit(np.repeat(heavy[:, :2], 2, axis=1))
    assert flat.sample(5).shape == (5, 4)
    with pytest.raises(LsamplerError, match="flow draws in 2 of 4 dimensions: there is no density"):
        flat.log_prob(np.zeros((1, 4)))
    with pytest.raises(LsamplerError, match="flow: celeba96 carries it with `max_epochs=60`; give that, or `store="):
        load_sampler("flow", max_epochs=3).fit(load_bundle("celeba96"))
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(LsamplerError, match=r"flow needs zuko; install it with: pip install 'lsampler\[flow\]'"):
        load_sampler("flow").fit(heavy)
