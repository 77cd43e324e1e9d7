"""What is promised of a sampling strategy, each promise a function that asks for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsampler.compute.seeded_blocks import BLOCK_ROWS, Block
from lsampler.errors import LsamplerError
from lsampler.safetensors_files import read_safetensors
from lsampler.samplers.base import LatentSampler, _to_tensor
from lsampler.statistics.summary import Statistics
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference
from lsampler.testing._ask import leaves_global_state, other_global_seeds, refusal, require, works_or_refuses
from lsampler.testing._check import told
from lsampler.testing._data import WatchedReference, awkward_references, correlated, ordinary, other, statistics_only
from lsampler.testing._density import cell_shares
from lsampler.testing._devices import OneDevice, WatchedBlock, accelerators, own_generators
from lsampler.testing._plugins import PLUGIN_CHECKS, PluginSubject, variants

__all__ = ["SAMPLER_CHECKS", "SamplerSubject"]

MANY = 5000  # three blocks, the last one not full
KEEP_IN_STATE = "return all that draw needs from learn(), as named arrays"
FROM_BLOCK = "take random numbers from block only"
CPU = torch.device("cpu")
# Of shares among 20,000 draws the standard deviation is at most 0.0035: 0.02 is more than five of them, and leaves
# room for the error of the integral at the edge of a region.
DENSITY_ROWS, DENSITY_TOLERANCE = 20_000, 0.02


class SamplerSubject(PluginSubject[LatentSampler]):
    """A strategy under test, and what it is fitted to."""

    def __init__(self, plugin: type[LatentSampler] | LatentSampler, reference: ReferenceLike | None = None) -> None:
        super().__init__(plugin)
        given = None if reference is None else as_reference(reference)
        require(
            given is None or given.has_latents, "reference: holds statistics only; give latent vectors, or leave it out"
        )
        self._given_reference = given

    def reference(self) -> WatchedReference:
        """What it is fitted to: the same vectors each time, of which nothing was asked yet."""
        if self._given_reference is None:
            return ordinary()
        return WatchedReference(self._given_reference.latents().copy(), self._given_reference.held_out().copy())

    def fit(self, reference: ReferenceLike, **changes: Any) -> LatentSampler:
        """A new instance, fitted."""
        return self.fresh(**changes).fit(reference)

    @cached_property
    def fitted(self) -> LatentSampler:
        """An instance that is fitted once for all checks; none may change it."""
        reference = self.reference()
        try:
            return self.fit(reference)
        except Exception as error:
            size = f"{reference.statistics().count} vectors of D = {reference.dimension}"
            raise AssertionError(
                f"cannot be fitted to {size}: {told(error)}; mend it, or give a reference it can be fitted to"
            ) from error

    def exercise(self, plugin: LatentSampler) -> None:
        """Fit to few vectors, and draw."""
        require_rows(plugin.fit(correlated(80, 3, seed=3)).sample(3, seed=1), (3, 3))


def require_rows(rows: Tensor, shape: tuple[int, int]) -> None:
    """Rows are of a shape, float32, finite, on the CPU, and need no gradient."""
    require(tuple(rows.shape) == shape, f"sample() gave shape {tuple(rows.shape)}, expected {shape}; see draw()")
    require(rows.dtype == torch.float32, f"sample() gave {rows.dtype}, expected float32; leave sample() alone")
    require(rows.device.type == "cpu", f"sample() gave rows on {rows.device}, expected cpu; leave sample() alone")
    require(bool(torch.isfinite(rows).all()), "sample() gave NaN or infinite values; see draw()")
    require(not rows.requires_grad, "rows carry a gradient; draw under torch.no_grad()")


def fits_and_draws(subject: SamplerSubject) -> None:
    """It can be fitted, fit returns self, and sample(n) is (n, D) float32, finite, without gradient, for n = 1, too."""
    sampler, reference = subject.fresh(), subject.reference()
    require(subject.fitted is not None and sampler.fit(reference) is sampler, "fit() does not return self; return it")
    require(sampler.dimension == reference.dimension, "dimension is not that of the reference; leave fit() alone")
    require(sampler.fingerprint == reference.fingerprint, "fingerprint is not the reference's; leave fit() alone")
    for n in (1, 10, BLOCK_ROWS):
        require_rows(sampler.sample(n, seed=5), (n, reference.dimension))


def learns_arrays(subject: SamplerSubject) -> None:
    """learn() returns named NumPy arrays of numbers: only these can be saved."""
    found: Any = subject.fresh().learn(subject.reference())
    require(isinstance(found, dict), f"learn() returned {type(found).__name__}; return a dict of NumPy arrays")
    for name, array in found.items():
        kind = f"{type(array).__name__} of {getattr(array, 'dtype', 'no dtype')}"
        good = isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
        require(good, f"learn() returned {name!r} as {kind}; return NumPy arrays of numbers under texts as names")


def draws_whole_blocks(subject: SamplerSubject) -> None:
    """draw() gives (block.rows, D) float32, and leaves its state as it was: other blocks are drawn from it."""
    state = _state(subject.fitted, CPU)
    before = {name: tensor.clone() for name, tensor in state.items()}
    with torch.no_grad():
        rows = subject.fitted.draw(state, Block(0, 1, CPU))
    require(
        isinstance(rows, Tensor) and rows.dtype == torch.float32,
        f"draw() gave {getattr(rows, 'dtype', type(rows).__name__)}, expected float32; avoid float64 tensors in it",
    )
    require(rows.shape == (BLOCK_ROWS, subject.fitted.dimension), f"draw() gave shape {tuple(rows.shape)}")
    changed = [name for name, tensor in state.items() if not _same(tensor, before[name])]
    require(not changed, f"draw() changes state[{', '.join(map(repr, changed))}]; avoid in-place operations on it")


def same_seed(subject: SamplerSubject) -> None:
    """One seed, one result: two fits to the same reference draw the same rows, whatever was drawn in between."""
    with other_global_seeds(1):
        first = subject.fit(subject.reference())
        one = first.sample(50, seed=7)
    with other_global_seeds(2):
        first.sample(20, seed=8)
        again, two = first.sample(50, seed=7), subject.fit(subject.reference()).sample(50, seed=7)
    require(_same(one, again), f"sample(50, seed=7) twice gave other rows; {FROM_BLOCK}")
    require(
        _same(one, two),
        "two fits to the same vectors draw other rows; make random choices in learn() with a seed that is a parameter",
    )


def other_seed(subject: SamplerSubject) -> None:
    """Another seed and another block give other rows; only a strategy without random numbers repeats itself."""
    block = WatchedBlock(0, 1)
    with own_generators() as made, torch.no_grad():
        subject.fitted.draw(_state(subject.fitted, CPU), block)
    require(block.used or not made, f"draw() makes a {''.join(made[:1])} of its own: the seed is lost; {FROM_BLOCK}")
    if not block.used:
        return
    rows = subject.fitted.sample(2 * BLOCK_ROWS, seed=0)
    require(not _same(rows[:50], subject.fitted.sample(50, seed=1)), f"seeds 0 and 1 draw the same rows; {FROM_BLOCK}")
    require(
        not _same(rows[:50], rows[BLOCK_ROWS:][:50]),
        f"row {BLOCK_ROWS} begins to repeat row 0; {FROM_BLOCK}, and keep nothing of an earlier block",
    )


def first_rows_stay(subject: SamplerSubject) -> None:
    """Asking for more rows keeps the first ones, across the borders of blocks; stream() yields the same."""
    many = subject.fitted.sample(MANY, seed=3)
    for n in (1, 10, BLOCK_ROWS, BLOCK_ROWS + 1):
        require(_same(subject.fitted.sample(n, seed=3), many[:n]), f"sample({n}) is not the head of sample({MANY})")
    streamed = torch.cat(list(subject.fitted.stream(MANY, seed=3)))
    require(_same(streamed, many), "stream() and sample() differ; leave them to LatentSampler")


def threads_agree(subject: SamplerSubject) -> None:
    """The rows do not depend on how many blocks are drawn at once."""
    one, three = (subject.fitted.sample(MANY, seed=3, threads=threads) for threads in (1, 3))
    require(_same(one, three), "threads=1 and threads=3 draw other rows; keep nothing on self in draw()")


def refit_forgets(subject: SamplerSubject) -> None:
    """Fitting again, to other vectors or another D, forgets the first; fitting twice to the same changes nothing."""
    reference = subject.reference()
    twice = subject.fit(reference).fit(reference)
    require(_same(twice.sample(20), subject.fitted.sample(20)), f"a second fit changes the rows; {KEEP_IN_STATE}")
    for second in (other(reference), ordinary(300, 3, 0)):
        expected = works_or_refuses("other vectors", partial(subject.fit, second))
        if expected is None:
            continue
        rows = subject.fit(reference).fit(second).sample(20)
        require(_same(rows, expected.sample(20)), f"something of the first reference stays; {KEEP_IN_STATE}")


def fit_leaves_reference(subject: SamplerSubject) -> None:
    """fit() changes neither the vectors nor the statistics of the reference: others are fitted to it, too."""
    reference, untouched = subject.reference(), subject.reference()
    for one in (reference, untouched):  # statistics are kept, so a change of them stays
        _arrays(one)
    subject.fit(reference)
    for (name, array), expected in zip(_arrays(reference).items(), _arrays(untouched).values(), strict=True):
        require(
            np.array_equal(array, expected),
            f"fit() changes {name} of the reference; copy before in-place operations such as *= and sort()",
        )


def save_and_load(subject: SamplerSubject) -> None:
    """Saved and loaded it has the same parameters, dimension and fingerprint, and draws the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.safetensors"
        subject.fitted.save(path)
        metadata, _ = read_safetensors(path)
        require(metadata.get("name") == subject.kind.name, "save() writes another format; leave it to LatentSampler")
        loaded = subject.kind.load(path)
        refusal("saving over a file", lambda: subject.fitted.save(path))
    require(loaded.settings() == subject.fitted.settings(), "loaded parameters differ; use plain types")
    for name in ("dimension", "fingerprint"):
        require(getattr(loaded, name) == getattr(subject.fitted, name), f"loaded {name} differs; leave load() alone")
    try:
        rows = loaded.sample(MANY, seed=2)
    except Exception as error:
        raise AssertionError(f"loaded it does not draw: {told(error)}; {KEEP_IN_STATE}") from error
    require(_same(rows, subject.fitted.sample(MANY, seed=2)), f"loaded it draws other rows; {KEEP_IN_STATE}")


def global_state_untouched(subject: SamplerSubject) -> None:
    """fit(), sample() and log_prob() leave global random states, thread counts and default types alone."""
    sampler, reference = subject.fresh(), subject.reference()
    with leaves_global_state("fit()"):
        sampler.fit(reference)
    with leaves_global_state("sample()"):
        rows = sampler.sample(100, threads=1)
    if sampler.has_density():
        with leaves_global_state("log_prob()"):
            works_or_refuses("log_prob", lambda: sampler.log_prob(rows))


def one_device(subject: SamplerSubject) -> None:
    """draw() mixes no tensors of two devices: all it makes itself has device=block.device. Found without a GPU."""
    state = {name: tensor.clone() for name, tensor in _state(subject.fitted, CPU).items()}
    mode = OneDevice(state)
    with torch.no_grad(), mode:
        subject.fitted.draw(state, WatchedBlock(0, 0, mode))
    require(not mode.problems, f"draw() would fail on a GPU: {mode.problems[0] if mode.problems else ''}")


def accelerators_agree(subject: SamplerSubject) -> None:
    """Where there is a GPU, it draws the same distribution as the CPU, and the same rows twice."""
    for device in accelerators():
        rows = subject.fitted.sample(MANY, seed=3, device=device)
        require(rows.device.type == torch.device(device).type, f"sample(device='{device}') gave rows on {rows.device}")
        require(_same(rows, subject.fitted.sample(MANY, seed=3, device=device)), f"on {device} a seed has two results")
        on_cpu, elsewhere = subject.fitted.sample(MANY, seed=3).double(), rows.cpu().double()
        require_rows(rows.cpu(), (MANY, subject.fitted.dimension))
        # The share below the median, ties halved, has a standard deviation of 0.01: this is 5 of them.
        median, slack = on_cpu.median(dim=0).values, 1e-4 * (on_cpu.abs().amax(dim=0) + 1e-30)
        shares = [
            ((z < median - slack).double() + (z <= median + slack).double()).mean(dim=0) / 2
            for z in (on_cpu, elsewhere)
        ]
        worst = float((shares[0] - shares[1]).abs().max())
        require(worst < 0.05, f"on {device} a component's median is off by {worst:.0%} of the rows; see draw()")


def awkward_data(subject: SamplerSubject) -> None:
    """Few, flat, repeated, far or tiny vectors: finite rows and densities without NaN, or a refusal in one line."""
    for what, latents in awkward_references().items():

        def use(latents: np.ndarray[Any, Any] = latents) -> None:
            sampler = subject.fit(latents.copy())
            rows = sampler.sample(5, seed=1)
            require_rows(rows, (5, latents.shape[1]))
            if sampler.has_density():
                works_or_refuses("log_prob", lambda: sampler.log_prob(rows))

        works_or_refuses(what, use)


def bad_input(subject: SamplerSubject) -> None:
    """No vectors, negative seeds, unknown devices, and NaN or infinite vectors are refused in one line."""
    for n in (0, -3):
        refusal(f"sample({n})", partial(subject.fitted.sample, n))
    refusal("seed=-1", lambda: subject.fitted.sample(1, seed=-1))
    refusal("device='abacus'", lambda: subject.fitted.sample(1, device="abacus"))
    refusal("one vector instead of a table of them", lambda: subject.fit(np.zeros(5)))
    for value in (np.nan, np.inf):
        latents = subject.reference().latents()
        latents[7, 1 % latents.shape[1]] = value
        reference = WatchedReference(latents)
        sampler = works_or_refuses(f"a vector with {value}", partial(subject.fit, reference))
        require(
            sampler is None or not reference.asked,
            f"a vector with {value} is accepted; read vectors by reference.latents() or statistics(), which refuse it",
        )


def unfitted(subject: SamplerSubject) -> None:
    """Before fit() sampling, densities and saving are refused in one line that names the strategy."""
    sampler, name = subject.fresh(), subject.kind.name
    with tempfile.TemporaryDirectory() as folder:
        refusal("sample() before fit()", lambda: sampler.sample(1), naming=name)
        refusal("log_prob() before fit()", lambda: sampler.log_prob(np.zeros((1, 2))), naming=name)
        refusal("save() before fit()", lambda: sampler.save(Path(folder) / "x.safetensors"), naming=name)


def needs_latents_is_true(subject: SamplerSubject) -> None:
    """needs_latents says what learn() reads: with False a bundle, which has statistics only, is enough."""
    reference = subject.reference()
    subject.fit(reference)
    bundle = statistics_only(subject.reference())
    if subject.kind.needs_latents:
        require("latents" in reference.asked, "needs_latents is True, but only statistics are read; leave it out")
        refusal("a bundle", lambda: subject.fit(bundle), naming=subject.kind.name)
        return
    changes: list[dict[str, Any]] = [{}, *({name: value} for name, value in variants(subject.kind, subject.given))]
    for change in changes:  # some strategies need vectors with some parameters only
        sampler = works_or_refuses(f"a bundle with {change or subject.label}", partial(subject.fit, bundle, **change))
        if sampler is not None:
            require_rows(sampler.sample(5), (5, bundle.dimension))
            return
    raise AssertionError("a bundle is refused with all parameters, and needs_latents is False; set it to True")


def density(subject: SamplerSubject) -> None:
    """log_prob() is (n,) float64, finite at drawn vectors, never NaN or +inf, the same for any batch; or refused."""
    sampler = subject.fitted
    rows = sampler.sample(1500, seed=4)
    if not sampler.has_density():
        refusal("log_prob() of a strategy without log_density()", lambda: sampler.log_prob(rows))
        return
    found = works_or_refuses("log_prob()", lambda: sampler.log_prob(rows))
    if found is None:
        return
    require(found.shape == (1500,) and found.dtype == np.float64, f"log_prob() gave {found.shape} {found.dtype}")
    missing = int(np.sum(~np.isfinite(found)))
    require(not missing, f"{missing} of 1,500 drawn vectors have no finite log-density; see log_density()")
    far = sampler.log_prob(np.full((2, sampler.dimension), 1e6))
    require((far < found.min()).all(), f"log_prob() at 1,000,000 is {far[0]:.4g}; expected next to nothing, or -inf")
    apart = np.concatenate([sampler.log_prob(part) for part in (rows[:1], rows[1:700], rows[700:].numpy())])
    require(np.allclose(apart, found, rtol=1e-9, atol=1e-9), "log_prob() depends on the batch; treat rows one by one")
    require(sampler.log_prob(rows[:0]).shape == (0,), "log_prob() of no vectors is not empty; see log_density()")
    refusal("log_prob() of vectors of another D", lambda: sampler.log_prob(np.zeros((2, sampler.dimension + 1))))


def density_is_of_the_draws(subject: SamplerSubject) -> None:
    """In one and two dimensions the density, integrated over cells, is the share of the rows drawn there."""
    if not subject.kind.has_density():
        return
    for dimension in (1, 2):
        latents = correlated(400, dimension, seed=6)
        sampler = works_or_refuses(f"D = {dimension}", partial(subject.fit, latents))
        if sampler is None or works_or_refuses("log_prob()", partial(sampler.log_prob, latents[:1])) is None:
            continue
        drawn, integral = cell_shares(sampler, sampler.sample(DENSITY_ROWS, seed=9).double().numpy())
        total = float(integral.sum() / drawn.sum())
        require(
            abs(total - 1) < DENSITY_TOLERANCE,
            f"for D = {dimension} the density integrates to {total:.3f} instead of 1; see log_density()",
        )
        worst = float(np.abs(drawn - integral).max())
        require(
            worst < DENSITY_TOLERANCE,
            f"for D = {dimension} a cell gets {worst:.1%} more or less of the rows than its density says; "
            "draw() and log_density() do not belong together",
        )


SAMPLER_CHECKS: tuple[Callable[[Any], None], ...] = (
    *PLUGIN_CHECKS,
    fits_and_draws,
    learns_arrays,
    draws_whole_blocks,
    same_seed,
    other_seed,
    first_rows_stay,
    threads_agree,
    refit_forgets,
    fit_leaves_reference,
    save_and_load,
    global_state_untouched,
    one_device,
    accelerators_agree,
    awkward_data,
    bad_input,
    unfitted,
    needs_latents_is_true,
    density,
    density_is_of_the_draws,
)


def _state(sampler: LatentSampler, device: torch.device) -> dict[str, Tensor]:
    return {name: _to_tensor(array, device) for name, array in (sampler._state or {}).items()}


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.equal(first, second))


def _arrays(reference: Reference) -> dict[str, np.ndarray[Any, Any]]:
    """All that a strategy may be tempted to write into."""
    found = {"the vectors": reference.latents(), "the held-out vectors": reference.held_out()}
    for trim in (None, 1.7):
        for kind, statistics in _summaries(reference, trim):
            what = f"{kind} (trim={trim})"
            for name in ("mean", "covariance", "minimum", "maximum", "std"):
                found[f"{name} in {what}"] = np.asarray(getattr(statistics, name))
            found |= {f"pca.{name} in {what}": getattr(statistics.pca, name) for name in ("mean", "axes", "variances")}
    return found


def _summaries(reference: Reference, trim: float | None) -> Iterator[tuple[str, Statistics]]:
    try:
        yield "statistics", reference.statistics(trim)
        yield "principal_statistics", reference.principal_statistics(trim)
    except LsamplerError:  # of so few vectors trimming leaves too few
        return
