"""The base of all strategies: fitting, drawing, densities, saving and loading."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, Unpack

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from lsampler.compute.dense import dense_tensor
from lsampler.compute.memory import physical_memory, require_memory
from lsampler.compute.seeded_blocks import Block, draw_blocks, resolve_device
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.plugins.base import as_plugin, as_plugins
from lsampler.progress import ProgressLike, begin, shows_progress
from lsampler.samplers.carrying import carried_state
from lsampler.samplers.conditions.condition import WhereLike
from lsampler.samplers.conditions.conditioned import require_labels, shifted, under
from lsampler.samplers.conditions.law import Others
from lsampler.samplers.conditions.options import ConditionOptions
from lsampler.samplers.density import CPU, Scoring, as_tensors
from lsampler.samplers.fitted import State, checked_state
from lsampler.samplers.saving import Saved
from lsampler.showing import encoder, name_of
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

Kind = TypeVar("Kind", bound="LatentSampler")
Device: TypeAlias = str | torch.device
Seed: TypeAlias = int | np.random.Generator
SamplerLike: TypeAlias = "str | type[LatentSampler] | LatentSampler"
"""A strategy by its name, its class, or with its parameters."""


class LatentSampler(Scoring):
    """A strategy that draws latent vectors.

    A subclass declares its parameters as pydantic fields and writes two methods: :meth:`learn` makes named arrays
    from a reference, and :meth:`draw` makes latent vectors from those arrays and a block's random numbers. A strategy
    with a density also writes :meth:`log_density`. This class does the rest: blocks, seeds, threads, devices, saving.

    A strategy is a density estimator of scikit-learn: ``clone``, ``Pipeline`` and ``GridSearchCV`` take it.

    The result of :meth:`learn` depends on the parameters and the reference alone: a strategy that needs random
    numbers for it has a seed among its parameters.

    Example:
        >>> import numpy as np
        >>> from lsampler import load_sampler
        >>> latents = np.random.default_rng(0).normal(size=(500, 8))
        >>> sampler = load_sampler("multivariate-normal").fit(latents)
        >>> tuple(sampler.sample(3, seed=1).shape)
        (3, 8)
        >>> round(sampler.score(latents))
        -11
    """

    needs_latents: ClassVar[bool] = False
    """True for a strategy that needs the latent vectors themselves, not only their statistics."""

    aggregates_only: ClassVar[bool] = False
    """True for a strategy whose fitted state holds no single latent vectors, so that a bundle may carry it."""

    _fingerprint: str | None = PrivateAttr(default=None)
    _fitted_to: str = PrivateAttr(default="")
    _device: torch.device = PrivateAttr(default=CPU)
    _progress: ProgressLike = PrivateAttr(default=None)
    _seed: int | None = PrivateAttr(default=None)

    @abstractmethod
    def learn(self, reference: Reference) -> State:
        """Return all that drawing needs to know of the reference, as named arrays.

        Long work reports its progress through :meth:`begin` and may use :attr:`device`.
        """

    @abstractmethod
    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """Draw a block of latent vectors (block.rows, D) float32 on ``block.device``.

        Args:
            state: what :meth:`learn` returned, as tensors on the device, floats as float32.
            block: the rows to draw and the only source of random numbers.
        """

    def note(self) -> str:
        """What readers of scores should know of the fit, such as its condition; empty if there is nothing to say.

        A strategy that has something to say of itself adds it to what this method returns.
        """
        return self._conditioned.text if self._conditioned else ""

    @shows_progress
    def fit(
        self,
        X: ReferenceLike,
        y: object = None,
        *,
        device: Device = "cpu",
        progress: ProgressLike = None,
        **conditions: Unpack[ConditionOptions],
    ) -> Self:
        """Learn from latent vectors, perhaps under a condition on their labels; returns self.

        The state that a bundle carries for these parameters is taken as it is. :meth:`note` says what was done
        for a condition.

        Args:
            X: what to learn from: an array, tensor, table or list of lists (N, D); a store, a bundle, the path of
                one, or a bundle's name. An array is rounded to single precision.
            y: ignored; scikit-learn passes it.
            device: where strategies that train a network do so; the others stay on the CPU.
            progress: shows the progress of long work; by default bars in a notebook and on a terminal, False for none.
            **conditions: ``where``, ``by``, ``others`` and ``labels``, as of
                :class:`lsampler.samplers.ConditionOptions`.

        Raises:
            LsamplerError: ``X`` is no such thing or lacks what the strategy needs, the device is unknown, or the labels
                do not allow the condition.
        """
        reference, kept = under(as_reference(X, "X"), conditions)
        self._device, self._progress = resolve_device(device), progress
        carried = carried_state(self, reference, needs_latents=self.needs_latents)
        try:
            if carried is not None:
                state, file = dict(carried.state), carried.file
            else:
                with plugin_errors(f"{self.name}: fitting"):
                    state, file = checked_state(self.learn(reference)), None
        finally:
            self._progress = None
        self._learned_from(reference, state)
        self._fitted_to = reference.name
        self._fingerprint, self._file, self._conditioned = reference.fingerprint, file, kept
        return self

    def _condition(self) -> Sequence[str]:
        if self._state is None:
            return ["not fitted"]
        origin = f"fitted to {name_of(self._fitted_to)}" if self._fitted_to else f"read from {name_of(self._file)}"
        return [origin, *super()._condition(), encoder(self._fingerprint)]

    @property
    def device(self) -> torch.device:
        """Where :meth:`learn` may train a network."""
        return self._device

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """Start a progress bar of ``total`` units in :meth:`learn`; returns the function that advances it."""
        return begin(self._progress, what, total)

    @property
    def fingerprint(self) -> str | None:
        """Identifies the encoder of the latents that the sampler was fitted to; None if unknown."""
        return self._fingerprint

    @property
    def seed_(self) -> int | None:
        """The seed of the latest :meth:`sample` or :meth:`stream`, which draws the same rows again."""
        return self._seed

    def sample(
        self,
        n: int = 1,
        *,
        seed: Seed | None = None,
        device: Device = "cpu",
        threads: int | None = None,
        where: WhereLike | None = None,
        others: Others | None = None,
    ) -> Tensor:
        """Draw ``n`` latent vectors (n, D) float32.

        Args:
            n: how many, at least 1.
            seed: the same seed gives the same rows, whatever ``n`` and ``threads``; a larger ``n`` keeps the first
                ones. A generator provides a new seed at every call. None draws fresh rows. :attr:`seed_` is the
                seed that was used.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``. Devices agree in distribution, not in digits.
            threads: how many blocks to draw at once on the CPU; by default one per core.
            where: wanted values of labels, for a strategy that was fitted with labels; None draws under the condition
                of the fit, if it had one.
            others: how labels come that ``where`` does not name; by default as the fit was told.

        Raises:
            LsamplerError: not fitted, ``n`` below 1 or too large for memory, an unknown device, NaN or a wrong shape
                was drawn, or a condition that the fit does not allow.
        """
        needed, advice = 8.0 * n * self._dimension, "draw fewer, or into a store by lsampler.samplers.sample_store"
        require_memory(needed, f"{self.name}: `n={n}`", advice, data=physical_memory() // 8)
        rows = self.stream(n, seed=seed, device=device, threads=threads, where=where, others=others)
        return torch.cat(list(rows))

    def stream(
        self,
        n: int,
        *,
        seed: Seed | None = None,
        device: Device = "cpu",
        threads: int | None = None,
        start: int = 0,
        where: WhereLike | None = None,
        others: Others | None = None,
    ) -> Iterator[Tensor]:
        """Draw the rows of :meth:`sample` block by block, in memory that does not grow with ``n``.

        ``start``, a multiple of 2048, leaves out the rows before it, so that several processes can share the work.
        """
        target = resolve_device(device)
        state, law = as_tensors(self.state, target), self._law(where, others)
        if n < 1:
            raise LsamplerError(f"n={n}: draw at least one vector")
        self._seed = _resolved(seed)
        move = shifted(law) if law else None

        def drawn(block: Block) -> Tensor:
            with self._errors("drawing"):
                rows = self._checked(self.draw(state, block), block)
                return move(rows, block) if move else rows

        return draw_blocks(drawn, n, seed=self._seed, device=target, threads=threads, start=start)

    def _checked(self, rows: Tensor, block: Block) -> Tensor:
        expected = (block.rows, self._dimension)
        rows = dense_tensor(rows)
        if tuple(rows.shape) != expected:
            where = f"{self._file}: " if self._file else ""
            raise LsamplerError(f"{where}{self.name} drew shape {tuple(rows.shape)}, expected {expected}")
        rows = rows.to(block.device, torch.float32)
        # A finite sum has finite terms, and costs one pass without a temporary; large terms may overflow it.
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            where = f"{self._file}: " if self._file else ""
            raise LsamplerError(f"{where}{self.name} drew NaN or infinite values; check its parameters")
        return rows

    def _saved(self) -> Saved:
        """Parameters and fitted state as plain values."""
        known = self._fingerprint, self._dimension, self._feature_names
        return Saved(self.name, self.settings(), *known, self.state, self._conditioned)

    def _digest(self) -> str:
        """A digest of parameters and fitted state, the same whatever file they came from."""
        return self._saved().digest

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False), input_tags=InputTags())

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write parameters and fitted state to one safetensors file.

        Of a strategy that was fitted with labels it holds their effects and, unless a bundle gave only aggregates, the
        rows of labels that draws come from.
        """
        self._saved().write(path, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a fitted sampler of this class, as saved; ``lsampler.plugins.load_fitted`` reads one of any class.

        Raises:
            LsamplerError: the file is missing, damaged, or holds another strategy.
        """
        known = Saved.read(Path(path))
        if known.name != getattr(cls, "name", None):
            raise LsamplerError(f"{path}: holds a fitted {known.name}; read it by lsampler.plugins.load_fitted")
        try:
            sampler = cls(**known.parameters)
        except (LsamplerError, TypeError) as error:
            raise LsamplerError(f"{path}: does not fit the installed {known.name} ({error}); fit it again") from error
        sampler._fingerprint, sampler._dimension = known.fingerprint, known.dimension
        sampler._state, sampler._file, sampler._feature_names = known.state, Path(path), known.feature_names
        sampler._conditioned = known.conditioned
        return sampler


def under_condition(sampler: Kind, where: WhereLike | None, others: Others | None) -> Kind:
    """A copy of a strategy that was fitted with labels, which draws under this condition if none is named.

    Raises:
        LsamplerError: it was fitted without labels, or they do not allow the condition.
    """
    copy = sampler.model_copy()
    copy._conditioned = require_labels(sampler._conditioned, sampler.name).under(where, others, sampler.name)
    return copy


def as_sampler(given: SamplerLike, argument: str = "sampler") -> LatentSampler:
    """A strategy that is given by its name, its class or as it is. Raises LsamplerError if it is none."""
    found: LatentSampler = as_plugin(LatentSampler, given, argument)
    return found


def as_samplers(given: SamplerLike | Iterable[SamplerLike], argument: str) -> list[LatentSampler]:
    """Strategies that are given by name, by class or as they are; a single one will do."""
    return as_plugins(LatentSampler, given, argument)


def _resolved(seed: Seed | None) -> int:
    if seed is None or isinstance(seed, np.random.Generator):
        return int(np.random.default_rng(seed).integers(2**63))
    if not isinstance(seed, (int, np.integer)):
        raise LsamplerError(f"seed={seed!r}: give a whole number from 0, a numpy.random.Generator, or None")
    return int(seed)
