"""The checks of a sampling strategy."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsampler.bundles.strategies import vector_in
from lsampler.compute.seeded_blocks import BLOCK_ROWS, Block
from lsampler.samplers.base import LatentSampler, SamplerLike
from lsampler.samplers.density import as_tensors
from lsampler.store.memory_store import MemoryStore
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.testing import data
from lsampler.testing.checks import (
    CPU,
    described,
    refuses,
    require,
    require_tensor,
    require_unchanged,
    works_or_refuses,
)
from lsampler.testing.conditions import require_conditions, with_a_label
from lsampler.testing.densities import require_same_distribution
from lsampler.testing.devices import OneDevice, WatchedBlock, accelerators
from lsampler.testing.plugins import PluginChecks
from lsampler.testing.process_state import calls_of, other_global_seeds

MANY = 5000  # three blocks, the last one not full
KEEP_IN_STATE = "return all that draw needs from learn(), as named arrays"
FROM_BLOCK = "take random numbers from block only"
GENERATORS = ((np.random, "default_rng"), (np.random, "RandomState"), (torch, "Generator"))


class SamplerChecks(PluginChecks[LatentSampler]):
    """A strategy under test, and what it is fitted to."""

    base = LatentSampler

    def __init__(self, plugin: SamplerLike, reference: ReferenceLike | None = None) -> None:
        super().__init__(plugin)
        self._given = None if reference is None else as_reference(reference)
        usable = self._given is None or self._given.has_latents
        require(usable, "`reference` holds statistics only; give latent vectors, or leave it out")

    def reference(self) -> MemoryStore:
        """A new reference with the same vectors each time."""
        if self._given is None:
            return data.ordinary()
        return data.reference_of(self._given.latents().copy(), self._given.held_out().copy())

    def fit(self, reference: ReferenceLike, **changes: Any) -> LatentSampler:
        return self.fresh(**changes).fit(reference)

    @cached_property
    def fitted(self) -> LatentSampler:
        """An instance that is fitted once for all checks; none may change it."""
        reference = self.reference()
        try:
            return self.fit(reference)
        except Exception as error:
            size = f"{reference.statistics().count} vectors of D = {reference.dimension}"
            advice = "fix that, or pass a `reference` it can be fitted to"
            raise AssertionError(f"cannot be fitted to {size}: {described(error)}; {advice}") from error

    def state(self) -> dict[str, Tensor]:
        """What learn() returns, as the tensors that draw() is given; a new copy each time."""
        return as_tensors(self.fitted.state, CPU)

    def exercise(self, plugin: LatentSampler) -> None:
        drawn_rows(plugin.fit(data.correlated(80, 3, seed=3)), 3)

    def outcome(self, which: int) -> object:
        reference = self.reference()
        return self.fit(data.other(reference) if which else reference).sample(MANY, seed=3, threads=1).numpy().tobytes()

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "fit()", lambda: self.fit(self.reference())
        yield "sample()", partial(self.fitted.sample, 100, seed=1, threads=1)
        if self.fitted.has_density():
            yield "log_prob()", partial(self.fitted.log_prob, self.fitted.sample(100, seed=1))

    def _drawn(self, state: dict[str, Tensor], block: Block, mode: OneDevice | None = None) -> Any:
        sampler = self.fitted  # fitting needs gradients
        with torch.no_grad(), mode or contextlib.nullcontext():
            return sampler.draw(state, block)

    def check_fits_and_draws(self) -> None:
        """fit() returns self, and sample(n) is (n, D) float32, finite, without gradient, also for n = 1."""
        sampler, reference = self.fresh(), self.reference()
        require(self.fitted is not None and sampler.fit(reference) is sampler, "fit() does not return self; return it")
        for name in ("dimension", "fingerprint"):
            same = getattr(sampler, name) == getattr(reference, name)
            require(same, f"{name} is not that of the reference; do not override fit()")
        for n in (1, 10, BLOCK_ROWS):
            drawn_rows(sampler, n)

    def check_learns_arrays(self) -> None:
        """learn() returns named NumPy arrays of numbers: only these can be saved."""
        found: Any = self.fresh().learn(self.reference())
        require(isinstance(found, dict), f"learn() returned {type(found).__name__}; return a dict of NumPy arrays")
        for name, array in found.items():
            kind = f"{type(array).__name__} of {getattr(array, 'dtype', 'no dtype')}"
            good = isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
            require(good, f"learn() returned {name!r} as {kind}; return NumPy arrays of numbers under texts as names")

    def check_draws_whole_blocks(self) -> None:
        """draw() gives (block.rows, D) float32, and does not change its state, from which other blocks are drawn."""
        state = self.state()
        require_tensor("draw()", self._drawn(state, Block(0, 1, CPU)), (BLOCK_ROWS, self.fitted.dimension))
        changed = [name for name, tensor in self.state().items() if not torch.equal(tensor, state[name])]
        require(not changed, f"draw() changes state[{', '.join(map(repr, changed))}]; avoid in-place operations on it")

    def check_estimator(self) -> None:
        """As scikit-learn's estimators: fit(X, y) ignores y, score() is the mean of log_prob(), set_params() unfits."""
        rows = self.reference().latents()
        expected = self.fit(rows).sample(20, seed=1)
        sampler = self.fresh().fit(rows, np.arange(len(rows)))
        same = torch.equal(sampler.sample(20, seed=1), expected)
        require(same, "fit(X, y) draws other rows than fit(X); do not use y")
        require(sampler.n_features_in_ == rows.shape[1], "n_features_in_ is not D; do not override fit()")
        found = works_or_refuses("log_prob()", partial(sampler.log_prob, rows[:50]))
        if found is None:
            refuses("score() without a density", lambda: sampler.score(rows[:50]))
        else:
            same = np.array_equal(sampler.score_samples(rows[:50]), found)
            require(same, "score_samples() is not log_prob(); do not override them")
            same = np.isclose(sampler.score(rows[:50]), found.mean()) or not np.isfinite(found).all()
            require(same, "score() is not the mean of log_prob(); do not override it")
        for change in self.variants():
            changed = works_or_refuses(f"{change}", partial(sampler.set_params, **change))
            if changed is not None:
                refuses(f"sample() after set_params(**{change})", partial(changed.sample, 1), naming=self.kind.name)
                return

    def check_same_seed(self) -> None:
        """One seed gives one result: two fits to the same reference draw the same rows, whatever was drawn between."""
        with other_global_seeds(1):
            first = self.fit(self.reference())
            one = first.sample(50, seed=7)
        with other_global_seeds(2):
            first.sample(20, seed=8)
            again, two = first.sample(50, seed=7), self.fit(self.reference()).sample(50, seed=7)
        require(torch.equal(one, again), f"sample(50, seed=7) twice gave other rows; {FROM_BLOCK}")
        advice = "make random choices in learn() with a seed that is a parameter"
        require(torch.equal(one, two), f"two fits to the same vectors draw other rows; {advice}")

    def check_other_seed(self) -> None:
        """Another seed and another block give other rows, unless the strategy uses no random numbers at all."""
        if not self._is_random():
            return
        rows = self.fitted.sample(2 * BLOCK_ROWS, seed=0)
        other_rows = self.fitted.sample(50, seed=1)
        require(not torch.equal(rows[:50], other_rows), f"seeds 0 and 1 draw the same rows; {FROM_BLOCK}")
        advice = f"{FROM_BLOCK}, and keep nothing of an earlier block"
        repeats = torch.equal(rows[:50], rows[BLOCK_ROWS:][:50])
        require(not repeats, f"row {BLOCK_ROWS} begins to repeat row 0; {advice}")

    def _is_random(self) -> bool:
        block = WatchedBlock(0, 1)
        with calls_of(GENERATORS) as made:
            self._drawn(self.state(), block)
        own = f"draw() makes a {''.join(made[:1])} of its own: the seed is lost"
        require(block.used or not made, f"{own}; {FROM_BLOCK}")
        return block.used

    def check_seed_is_optional(self) -> None:
        """Without a seed every call draws fresh rows; a numpy.random.Generator serves as a seed as well."""
        generators: list[Any] = [np.random.default_rng(seed) for seed in (5, 5, 6)]
        given = [self.fitted.sample(50, seed=generator) for generator in generators]
        require(torch.equal(given[0], given[1]), f"two generators in the same state draw other rows; {FROM_BLOCK}")
        if self._is_random():
            fresh = []
            for _ in range(2):
                with other_global_seeds(1):
                    fresh.append(self.fitted.sample(50))
            require(not torch.equal(*fresh), "sample(50) twice gave the same rows; do not override sample()")
            require(not torch.equal(given[0], given[2]), "two generators draw the same rows; do not override sample()")

    def check_first_rows_stay(self) -> None:
        """A larger n keeps the first rows, across the borders of blocks; stream() yields the same rows."""
        many = self.fitted.sample(MANY, seed=3)
        for n in (1, 10, BLOCK_ROWS, BLOCK_ROWS + 1):
            same = torch.equal(self.fitted.sample(n, seed=3), many[:n])
            require(same, f"sample({n}) is not the head of sample({MANY})")
        streamed = torch.cat(list(self.fitted.stream(MANY, seed=3)))
        require(torch.equal(streamed, many), "stream() and sample() differ; do not override them")

    def check_threads_agree(self) -> None:
        """The rows do not depend on how many blocks are drawn at once."""
        one, three = (self.fitted.sample(MANY, seed=3, threads=threads) for threads in (1, 3))
        require(torch.equal(one, three), "threads=1 and threads=3 draw other rows; keep nothing on self in draw()")

    def check_refit_forgets(self) -> None:
        """Another fit, also with another D, forgets the first one; a second fit to the same vectors changes nothing."""
        reference = self.reference()
        twice = self.fit(reference).fit(reference).sample(20, seed=1)
        require(torch.equal(twice, self.fitted.sample(20, seed=1)), f"a second fit changes the rows; {KEEP_IN_STATE}")
        for second in (data.other(reference), data.ordinary(300, 3, 0)):
            expected = works_or_refuses("other vectors", partial(self.fit, second))
            if expected is not None:
                rows = self.fit(reference).fit(second).sample(20, seed=1)
                same = torch.equal(rows, expected.sample(20, seed=1))
                require(same, f"something of the first reference stays; {KEEP_IN_STATE}")

    def check_fit_leaves_reference(self) -> None:
        """fit() changes neither the vectors nor the statistics of the reference, which is used for other fits, too."""
        reference = self.reference()
        # The statistics are cached, so a change of them stays.
        require_unchanged(partial(data.arrays_of, reference), partial(self.fit, reference))

    def check_save_and_load(self) -> None:
        """Saved and loaded, it has the same parameters, dimension and fingerprint, and draws the same rows."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fitted.safetensors"
            self.fitted.save(path)
            loaded = self.kind.load(path)
            refuses("saving over a file", lambda: self.fitted.save(path))
        require(loaded.settings() == self.fitted.settings(), "loaded parameters differ; use plain types")
        found, expected = ((one.dimension, one.fingerprint) for one in (loaded, self.fitted))
        different = f"loaded dimension and fingerprint are {found}, not {expected}"
        require(found == expected, f"{different}; do not override load()")
        try:
            rows = loaded.sample(MANY, seed=2)
        except Exception as error:
            raise AssertionError(f"loaded it does not draw: {described(error)}; {KEEP_IN_STATE}") from error
        require(torch.equal(rows, self.fitted.sample(MANY, seed=2)), f"loaded it draws other rows; {KEEP_IN_STATE}")

    def check_conditions(self) -> None:
        """Fitted with labels, it draws under a condition what the labels' effects say, with a density to match."""
        reference, effect = with_a_label(self.reference())
        sampler = works_or_refuses("a fit with labels", partial(self.fresh().fit, reference, labels=True))
        if sampler is not None:
            require_conditions(sampler, effect)

    def check_one_device(self) -> None:
        """draw() makes its own tensors with device=block.device, as a GPU requires; checked without one."""
        state = self.state()
        mode = OneDevice(state)
        self._drawn(state, WatchedBlock(0, 0, mode), mode)
        require(not mode.problems, f"draw() would fail on a GPU: {''.join(mode.problems[:1])}")

    def check_accelerators_agree(self) -> None:
        """On a GPU, if there is one, it draws the same distribution as on the CPU, and the same rows twice."""
        for device in accelerators():
            rows, again = (self.fitted.sample(MANY, seed=3, device=device) for _ in range(2))
            there = rows.device.type == torch.device(device).type
            require(there, f"sample(device='{device}') gave rows on {rows.device}; do not override sample()")
            require(torch.equal(rows, again), f"on {device} a seed has two results; {FROM_BLOCK}")
            require_tensor("sample()", rows.cpu(), (MANY, self.fitted.dimension))
            off = _median_difference(self.fitted.sample(MANY, seed=3).double(), rows.cpu().double())
            require(off < 0.05, f"on {device} a component's median is off by {off:.0%} of the rows; see draw()")

    def check_awkward_data(self) -> None:
        """With few, flat, tiny or far vectors it draws finite rows of finite density, or refuses in one line."""
        for what, latents in data.awkward_vectors().items():
            # Rounding to float32 moves a few of many far rows to a bound or beyond it.
            works_or_refuses(what, partial(self._use, latents, rows=1000 if data.FAR in what else 5))

    def _use(self, latents: np.ndarray[Any, Any], rows: int) -> None:
        sampler = self.fit(latents.copy())
        drawn = drawn_rows(sampler, rows)
        found = works_or_refuses("log_prob()", partial(sampler.log_prob, drawn)) if sampler.has_density() else None
        if found is not None:
            require_finite_density(found)

    def check_bad_input(self) -> None:
        """No vectors, negative seeds, unknown devices, and NaN or infinite vectors are refused in one line."""
        for n in (0, -3):
            refuses(f"sample({n})", partial(self.fitted.sample, n))
        refuses("seed=-1", partial(self.fitted.sample, 1, seed=-1))
        refuses("device='abacus'", partial(self.fitted.sample, 1, device="abacus"))
        refuses("one vector instead of a table of them", partial(self.fit, np.zeros(5)))
        for value in (np.nan, np.inf):
            latents = self.reference().latents()
            latents[7, 1 % latents.shape[1]] = value
            sampler = works_or_refuses(f"a vector with {value}", partial(self.fit, data.reference_of(latents)))
            # A strategy that reads nothing of a reference draws the same rows as ever.
            same = sampler is None or torch.equal(sampler.sample(9, seed=1), self.fitted.sample(9, seed=1))
            advice = "read vectors by reference.latents() or statistics(), which refuse it"
            require(same, f"a vector with {value} is accepted; {advice}")

    def check_unfitted(self) -> None:
        """Before fit(), sample(), log_prob() and save() are refused in one line that names the strategy."""
        sampler, name = self.fresh(), self.kind.name
        with tempfile.TemporaryDirectory() as folder:
            refuses("sample() before fit()", partial(sampler.sample, 1), naming=name)
            refuses("log_prob() before fit()", partial(sampler.log_prob, np.zeros((1, 2))), naming=name)
            refuses("save() before fit()", partial(sampler.save, Path(folder) / "x.safetensors"), naming=name)

    def check_needs_latents_is_true(self) -> None:
        """needs_latents says whether learn() reads vectors; if it is False a bundle, which has none, is enough."""
        bundle = data.statistics_only(self.reference())
        if self.kind.needs_latents:
            refuses("a bundle", lambda: self.fit(bundle), naming=self.kind.name)
            pretending = data.statistics_only(self.reference(), has_latents=True)
            fitted = works_or_refuses("statistics without vectors", lambda: self.fit(pretending))
            require(fitted is None, "needs_latents is True, but only statistics are read; leave it out")
            return
        for change in ({}, *self.variants()):  # some strategies need vectors with some parameters only
            sampler = works_or_refuses(f"a bundle with {change or self.label}", partial(self.fit, bundle, **change))
            if sampler is not None:
                drawn_rows(sampler, 5)
                return
        raise AssertionError("a bundle is refused with all parameters, and needs_latents is False; set it to True")

    def check_aggregates_only_is_true(self) -> None:
        """If aggregates_only is True, which lets a bundle carry it, the fitted state holds no single latent vector."""
        held = vector_in(self.fitted.state, self.reference()) if self.kind.aggregates_only else ""
        require(not held, f"{held}, and aggregates_only is True; leave it out")

    def check_density(self) -> None:
        """log_prob() is (n,) float64, finite at drawn vectors, low far away, and the same for any batch; or refused."""
        sampler = self.fitted
        rows = sampler.sample(1500, seed=4)
        if not sampler.has_density():
            refuses("log_prob() of a strategy without log_density()", lambda: sampler.log_prob(rows))
            return
        found = works_or_refuses("log_prob()", lambda: sampler.log_prob(rows))
        if found is None:
            return
        require(found.shape == (1500,) and found.dtype == np.float64, f"log_prob() gave {found.shape} {found.dtype}")
        require_finite_density(found)
        far = sampler.log_prob(np.full((2, sampler.dimension), 1e6))
        require((far < found.min()).all(), f"log_prob() at 1,000,000 is {far[0]:.4g}; expected very little, or -inf")
        apart = np.concatenate([sampler.log_prob(batch) for batch in (rows[:1], rows[1:700], rows[700:].numpy())])
        same = np.allclose(apart, found, rtol=1e-9, atol=1e-9)
        require(same, "log_prob() depends on the batch; treat rows one by one")
        require(sampler.log_prob(rows[:0]).shape == (0,), "log_prob() of no vectors is not empty; see log_density()")
        refuses("log_prob() of vectors of another D", lambda: sampler.log_prob(np.zeros((2, sampler.dimension + 1))))

    def check_density_is_of_the_draws(self) -> None:
        """In one and two dimensions the integral of the density over a cell is the share of rows drawn there."""
        for dimension in (1, 2) if self.kind.has_density() else ():
            latents = data.correlated(400, dimension, seed=6)
            sampler = works_or_refuses(f"D = {dimension}", partial(self.fit, latents))
            if sampler and works_or_refuses("log_prob()", partial(sampler.log_prob, latents[:1])) is not None:
                require_same_distribution(sampler)


def drawn_rows(sampler: LatentSampler, n: int) -> Tensor:
    """The rows that a fitted strategy draws: required to be (n, D) float32, finite, on the CPU, without gradient."""
    rows = sampler.sample(n, seed=1)
    require_tensor("sample()", rows, (n, sampler.dimension))
    require(not rows.requires_grad, "rows carry a gradient; draw under torch.no_grad()")
    return rows


def require_finite_density(found: np.ndarray[Any, Any]) -> None:
    """Require that the log-density of every drawn vector is finite."""
    missing = int(np.sum(~np.isfinite(found)))
    advice = "see log_density(), and keep rows inside their bounds after rounding to float32"
    require(not missing, f"{missing:,} of {len(found):,} drawn vectors have no finite log-density; {advice}")


def _median_difference(on_cpu: Tensor, elsewhere: Tensor) -> float:
    """The largest difference of the shares below the CPU's median; for 5,000 rows one standard deviation is 0.01."""
    median, slack = on_cpu.median(dim=0).values, 1e-4 * (on_cpu.abs().amax(dim=0) + 1e-30)
    below = [(z < median - slack).double() + (z <= median + slack).double() for z in (on_cpu, elsewhere)]
    return float((below[0].mean(dim=0) - below[1].mean(dim=0)).abs().max() / 2)
