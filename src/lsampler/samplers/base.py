"""The base of all strategies: fitting, drawing, densities, saving and loading."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, PrivateAttr
from torch import Tensor

from lsampler.compute.dense import dense_tensor
from lsampler.compute.memory import physical_memory, require_memory
from lsampler.compute.seeded_blocks import Block, draw_blocks, resolve_device
from lsampler.errors import LsamplerError, PluginCrash, plugin_errors
from lsampler.files import existing_file, new_file
from lsampler.plugins.base import as_plugin, as_plugins
from lsampler.progress import ProgressLike, begin, shows_progress
from lsampler.safetensors_files import Description, as_arrays, read_metadata, read_safetensors, write_safetensors
from lsampler.samplers.carrying import carried_state
from lsampler.samplers.fitted import Fitted, OfDensity, State, checked_state, of_density
from lsampler.showing import encoder, name_of
from lsampler.store.carried_state import digest_of
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

Device: TypeAlias = str | torch.device
Seed: TypeAlias = int | np.random.Generator
SamplerLike: TypeAlias = "str | type[LatentSampler] | LatentSampler"
"""A strategy by its name, its class, or with its parameters."""
FORMAT = "lsampler-sampler"
FORMAT_VERSION = 2
DENSITY_ROWS = 1024
MOST_DIMENSIONS = 2**24
CPU = torch.device("cpu")


class _Description(Description):
    """The metadata of a fitted strategy."""

    name: Annotated[str, Field(max_length=200)]
    parameters: dict[str, Any]
    fingerprint: str | None
    dimension: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)]
    digest: str | None = None
    feature_names: list[str] | None = None


class LatentSampler(Fitted):
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

    model_config = ConfigDict(ignored_types=(OfDensity,))

    needs_latents: ClassVar[bool] = False
    """True for a strategy that needs the latent vectors themselves, not only their statistics."""

    aggregates_only: ClassVar[bool] = False
    """True for a strategy whose fitted state holds no single latent vectors, so that a bundle may carry it."""

    _fingerprint: str | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)
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

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """Return the logarithm of the density at latent vectors (n, D) float64 -> (n,) float64, in nats.

        Args:
            state: what :meth:`learn` returned, as tensors on the CPU, floats as float64.
            latents: the vectors, in latent coordinates. The result is -inf where nothing is drawn, but not at
                vectors that were drawn inside a bound and rounded to float32.

        Raises:
            LsamplerError: with these parameters there is no density.
        """
        raise LsamplerError(f"{self.name} has no density")

    @classmethod
    def has_density(cls) -> bool:
        """Whether the strategy has a density, at least with some parameters."""
        return cls.log_density is not LatentSampler.log_density

    def note(self) -> str:
        """What readers of scores should know of the fit, in one sentence; empty if there is nothing to say."""
        return ""

    @shows_progress
    def fit(self, X: ReferenceLike, y: object = None, *, device: Device = "cpu", progress: ProgressLike = None) -> Self:
        """Learn from latent vectors; returns self.

        The state that a bundle carries for these parameters is taken as it is.

        Args:
            X: what to learn from: an array, tensor, table or list of lists (N, D); a store, a bundle, the path of
                one, or a bundle's name. An array is rounded to single precision.
            y: ignored; scikit-learn passes it.
            device: where strategies that train a network do so; the others stay on the CPU.
            progress: shows the progress of long work; by default bars in a notebook and on a terminal, False for none.

        Raises:
            LsamplerError: ``X`` is no such thing or lacks what the strategy needs, or the device is unknown.
        """
        reference = as_reference(X, "X")
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
        self._fingerprint, self._file = reference.fingerprint, file
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
        self, n: int = 1, *, seed: Seed | None = None, device: Device = "cpu", threads: int | None = None
    ) -> Tensor:
        """Draw ``n`` latent vectors (n, D) float32.

        Args:
            n: how many, at least 1.
            seed: the same seed gives the same rows, whatever ``n`` and ``threads``; a larger ``n`` keeps the first
                ones. A generator provides a new seed at every call. None draws fresh rows. :attr:`seed_` is the
                seed that was used.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``. Devices agree in distribution, not in digits.
            threads: how many blocks to draw at once on the CPU; by default one per core.

        Raises:
            LsamplerError: not fitted, ``n`` below 1 or too large for memory, an unknown device, or NaN or a wrong shape
                was drawn.
        """
        needed, advice = 8.0 * n * self._dimension, "draw fewer, or into a store by lsampler.samplers.sample_store"
        require_memory(needed, f"{self.name}: `n={n}`", advice, data=physical_memory() // 8)
        return torch.cat(list(self.stream(n, seed=seed, device=device, threads=threads)))

    def stream(
        self, n: int, *, seed: Seed | None = None, device: Device = "cpu", threads: int | None = None, start: int = 0
    ) -> Iterator[Tensor]:
        """Draw the rows of :meth:`sample` block by block, in memory that does not grow with ``n``.

        ``start``, a multiple of 2048, leaves out the rows before it, so that several processes can share the work.
        """
        target = resolve_device(device)
        state = as_tensors(self.state, target)
        if n < 1:
            raise LsamplerError(f"n={n}: draw at least one vector")
        self._seed = _resolved(seed)

        def drawn(block: Block) -> Tensor:
            with self._errors("drawing"):
                return self._checked(self.draw(state, block), block)

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

    def _digest(self) -> str:
        """A digest of parameters and fitted state, the same whatever file they came from."""
        return digest_of([self.name, self.settings(), self._fingerprint], self.state)

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """What goes wrong with a state of the plugin's own is its fault; with one from a file, that of the file."""
        try:
            with plugin_errors(f"{self.name}: {doing}"):
                yield
        except PluginCrash as error:
            if self._file is None:
                raise
            reason = f"{type(error.__cause__).__name__}: {error.__cause__}"
            raise LsamplerError(
                f"{self._file}: does not fit the installed {self.name} ({reason:.200}); fit it again"
            ) from error

    @of_density
    def score_samples(self, X: ArrayLike | Tensor) -> NDArray[np.float64]:
        """Return the logarithm of the fitted strategy's density at latent vectors (n, D) -> (n,), in nats.

        It is computed in float64 on the CPU, and -inf where nothing is drawn. :meth:`log_prob` is the same.

        Args:
            X: an array, tensor, table or list of lists (n, D).

        Raises:
            LsamplerError: not fitted, vectors of another D or not finite, or there is no density.
        """
        return self._log_densities(X, "X")

    @of_density
    def score(self, X: ArrayLike | Tensor, y: object = None) -> float:
        """Return the mean of :meth:`score_samples`: the larger, the more likely the vectors; higher is better.

        Args:
            X: an array, tensor, table or list of lists (n, D).
            y: ignored; scikit-learn passes it.

        Raises:
            LsamplerError: as :meth:`score_samples`, or there are no vectors.
        """
        densities = self._log_densities(X, "X")
        if not len(densities):
            raise LsamplerError(f"{self.name}: X holds no vectors to score; give at least one")
        return float(densities.mean())

    def log_prob(self, latents: ArrayLike | Tensor) -> NDArray[np.float64]:
        """Return the logarithm of the density at latent vectors (n, D) -> (n,), as :meth:`score_samples` does.

        Raises:
            LsamplerError: not fitted, vectors of another D or not finite, or there is no density.
        """
        return self._log_densities(latents, "latents")

    def _log_densities(self, values: Any, argument: str) -> NDArray[np.float64]:
        state = as_tensors(self.state, CPU, torch.float64)
        rows = self._vectors(values, argument)
        found = [np.empty(0)]
        with torch.no_grad(), self._errors("its density"):
            for start in range(0, len(rows), DENSITY_ROWS):
                part = torch.from_numpy(np.array(rows[start : start + DENSITY_ROWS], dtype=np.float64, order="C"))
                found.append(dense_tensor(self.log_density(state, part)).double().numpy())
        density = np.concatenate(found)
        if density.shape != (len(rows),) or np.isnan(density).any():
            raise LsamplerError(f"{self.name}: its density is NaN or of a wrong shape; check its parameters")
        return density

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False), input_tags=InputTags())

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write parameters and fitted state to one safetensors file."""
        arrays = {key: torch.from_numpy(np.array(value, order="C")) for key, value in self.state.items()}
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "parameters": self.settings(),
            "fingerprint": self._fingerprint,
            "dimension": self._dimension,
            "digest": self._digest(),
            "feature_names": self._feature_names and list(self._feature_names),
        }
        with new_file(path, force=force) as beside:
            write_safetensors(beside, arrays, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a fitted sampler of this class, as saved; ``lsampler.plugins.load_fitted`` reads one of any class.

        Raises:
            LsamplerError: the file is missing, damaged, or holds another strategy.
        """
        name = saved_name(path)
        if name != getattr(cls, "name", None):
            raise LsamplerError(f"{path}: holds a fitted {name}; read it by lsampler.plugins.load_fitted")
        metadata, tensors = read_safetensors(Path(path))
        known, state = _Description.of(metadata, Path(path)), as_arrays(tensors, Path(path))
        if known.digest not in (None, digest_of([name, known.parameters, known.fingerprint], state)):
            raise LsamplerError(f"{path}: damaged, its content does not match its digest; fit it again")
        try:
            sampler = cls(**known.parameters)
        except (LsamplerError, TypeError) as error:
            raise LsamplerError(f"{path}: does not fit the installed {name} ({error}); fit it again") from error
        sampler._fingerprint, sampler._dimension = known.fingerprint, known.dimension
        sampler._state, sampler._file, sampler._feature_names = state, Path(path), known.feature_names
        return sampler


def as_sampler(given: SamplerLike, argument: str = "sampler") -> LatentSampler:
    """A strategy that is given by its name, its class or as it is. Raises LsamplerError if it is none."""
    found: LatentSampler = as_plugin(LatentSampler, given, argument)
    return found


def as_samplers(given: SamplerLike | Iterable[SamplerLike], argument: str) -> list[LatentSampler]:
    """Strategies that are given by name, by class or as they are; a single one will do."""
    return as_plugins(LatentSampler, given, argument)


def saved_name(path: str | os.PathLike[str]) -> str:
    """Return the name of the strategy that a file holds. Raises LsamplerError if it holds none."""
    path = existing_file(path, "saved sampler")
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise LsamplerError(f"{path}: does not hold a fitted sampler; make one with 'lsampler fit'")
    if metadata.get("version") != FORMAT_VERSION:
        raise LsamplerError(
            f"{path}: sampler format {metadata.get('version')}, this lsampler reads {FORMAT_VERSION}; fit it again"
        )
    return _Description.of(metadata, path).name


def _resolved(seed: Seed | None) -> int:
    if seed is None or isinstance(seed, np.random.Generator):
        return int(np.random.default_rng(seed).integers(2**63))
    if not isinstance(seed, (int, np.integer)):
        raise LsamplerError(f"seed={seed!r}: give a whole number from 0, a numpy.random.Generator, or None")
    return int(seed)


def as_tensors(state: State, device: torch.device, floats: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A strategy's state as tensors on a device, copies, the real numbers of type ``floats``."""
    tensors = {key: torch.from_numpy(np.array(value, order="C")) for key, value in state.items()}
    return {key: value.to(device, floats if value.is_floating_point() else None) for key, value in tensors.items()}
