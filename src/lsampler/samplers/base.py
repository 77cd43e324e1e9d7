"""The base of all strategies: fit, sample, save and load, done once for all of them."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PrivateAttr
from torch import Tensor

from lsampler.compute.seeded_blocks import Block, draw_blocks, resolve_device
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.files import existing_file, new_file
from lsampler.plugins.base import Plugin
from lsampler.progress import Progress, begin
from lsampler.safetensors_files import read_safetensors, write_safetensors
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

__all__ = ["LatentSampler", "State"]

Item = TypeVar("Item")
State: TypeAlias = dict[str, NDArray[Any]]
FORMAT = "lsampler-sampler"
FORMAT_VERSION = 1
DENSITY_ROWS = 1024


class LatentSampler(Plugin):
    """A strategy that draws latent vectors.

    A subclass declares its parameters as pydantic fields and writes two methods:
    :meth:`learn`, from a reference to named arrays, and :meth:`draw`, from those arrays and a
    block's random numbers to latent vectors; where it has a density, :meth:`log_density` as well.
    Blocks, seeds, threads, devices and saving are done here.

    What :meth:`learn` finds depends on the parameters and the reference alone: a strategy that
    needs random numbers for it has its seed as a parameter.

    Example:
        >>> import numpy as np
        >>> from lsampler import load_sampler
        >>> latents = np.random.default_rng(0).normal(size=(500, 8))
        >>> sampler = load_sampler("multivariate-normal").fit(latents)
        >>> tuple(sampler.sample(3, seed=1).shape)
        (3, 8)
    """

    needs_latents: ClassVar[bool] = False
    """True for a strategy that needs the latent vectors themselves, not only their statistics."""

    _state: State | None = PrivateAttr(default=None)
    _fingerprint: str | None = PrivateAttr(default=None)
    _dimension: int = PrivateAttr(default=0)
    _device: torch.device = PrivateAttr(default=torch.device("cpu"))
    _progress: Progress | None = PrivateAttr(default=None)

    @abstractmethod
    def learn(self, reference: Reference) -> State:
        """What has to be known of the reference in order to draw, as named arrays.

        Long work shows its advance by :meth:`begin` and may use :attr:`device`.
        """

    @abstractmethod
    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A block of latent vectors (block.rows, D) float32 on ``block.device``.

        Args:
            state: what :meth:`learn` returned, as tensors on the device, floats as float32.
            block: the rows to draw and the only source of random numbers.
        """

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The logarithm of the density at latent vectors (n, D) float64 -> (n,) float64, in nats.

        Args:
            state: what :meth:`learn` returned, as tensors on the CPU, floats as float64.
            latents: the vectors, in latent coordinates; -inf where nothing is drawn.

        Raises:
            LsamplerError: with these parameters there is no density.
        """
        raise LsamplerError(f"{self.name} has no density")

    @classmethod
    def has_density(cls) -> bool:
        """Whether the strategy has a density, at least with some parameters."""
        return cls.log_density is not LatentSampler.log_density

    def fit(
        self, reference: ReferenceLike, *, device: str | torch.device = "cpu", progress: Progress | None = None
    ) -> Self:
        """Learn from a store, a bundle, or an array of latent vectors (N, D); returns self.

        Args:
            reference: what to learn from.
            device: where strategies that train a network do so; the others stay on the CPU.
            progress: shows the advance of long work.

        Raises:
            LsamplerError: the reference lacks what the strategy needs, or an unknown device.
        """
        reference = as_reference(reference)
        self._device, self._progress = resolve_device(device), progress
        if self.needs_latents and not reference.has_latents:
            raise LsamplerError(
                f"{self.name} needs latent vectors, {reference.name} holds statistics only; give a --store"
            )
        with plugin_errors(f"{self.name}: fitting"):
            state = self.learn(reference)
        self._state = state
        self._fingerprint, self._dimension = reference.fingerprint, reference.dimension
        return self

    @property
    def device(self) -> torch.device:
        """Where :meth:`learn` may train a network."""
        return self._device

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """For :meth:`learn`: show a bar of ``total`` units, if anybody looks; returns the advance function."""
        return begin(self._progress, what, total)

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder whose latents the sampler was fitted to; None if unknown."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """The latent dimension D; 0 before :meth:`fit`."""
        return self._dimension

    def sample(
        self, n: int, *, seed: int = 0, device: str | torch.device = "cpu", threads: int | None = None
    ) -> Tensor:
        """Draw ``n`` latent vectors (n, D) float32.

        Args:
            n: how many, at least 1.
            seed: the same seed gives the same rows, whatever ``n`` and ``threads``; a larger
                ``n`` keeps the first ones.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``. Devices agree in distribution, not in digits.
            threads: blocks drawn at once on the CPU; by default one per core.

        Raises:
            LsamplerError: not fitted, ``n`` below 1, unknown device, NaN or wrong shape drawn.
        """
        return torch.cat(list(self.stream(n, seed=seed, device=device, threads=threads)))

    def stream(
        self,
        n: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        threads: int | None = None,
        start: int = 0,
    ) -> Iterator[Tensor]:
        """The rows of :meth:`sample` in blocks, in memory that does not grow with ``n``.

        ``start``, a multiple of 2048, leaves out the rows before: several processes may share the work.
        """
        return self._stream_as(lambda rows: rows, n, seed=seed, device=device, threads=threads, start=start)

    def _stream_as(
        self,
        after: Callable[[Tensor], Item],
        n: int,
        *,
        seed: int,
        device: str | torch.device,
        threads: int | None,
        start: int = 0,
    ) -> Iterator[Item]:
        """What ``after`` makes of each block of :meth:`stream`, in the thread that has drawn it."""
        if self._state is None:
            raise LsamplerError(f"{self.name}: not fitted; call fit(reference) first")
        if n < 1:
            raise LsamplerError(f"n={n}: draw at least one vector")
        target = resolve_device(device)
        state = {name: _to_tensor(array, target) for name, array in self._state.items()}

        def drawn(block: Block) -> Tensor:
            with plugin_errors(f"{self.name}: drawing"):
                return self._checked(self.draw(state, block), block)

        return draw_blocks(drawn, after, n, seed=seed, device=target, threads=threads, start=start)

    def _checked(self, rows: Tensor, block: Block) -> Tensor:
        expected = (block.rows, self._dimension)
        if tuple(rows.shape) != expected:
            raise LsamplerError(f"{self.name} drew shape {tuple(rows.shape)}, expected {expected}")
        rows = rows.to(block.device, torch.float32)
        # A finite sum has finite terms, and costs one pass without a temporary; large terms may overflow it.
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            raise LsamplerError(f"{self.name} drew NaN or infinite values; check its parameters")
        return rows

    def _digest(self) -> str:
        """A name for what is drawn: of parameters and fitted state, whatever file they came from."""
        found = hashlib.sha256(json.dumps([self.name, self.settings(), self._fingerprint]).encode())
        for key, value in sorted((self._state or {}).items()):
            array = np.array(value, order="C")
            found.update(f"{key} {array.dtype} {array.shape} ".encode() + array.tobytes())
        return found.hexdigest()

    def log_prob(self, latents: NDArray[Any] | Tensor) -> NDArray[np.float64]:
        """The logarithm of the fitted strategy's density at latent vectors (n, D) -> (n,), in nats.

        Computed in float64 on the CPU; -inf where nothing is drawn.

        Raises:
            LsamplerError: not fitted, vectors of another D, or there is no density.
        """
        if self._state is None:
            raise LsamplerError(f"{self.name}: not fitted; call fit(reference) first")
        rows = torch.as_tensor(latents)
        if rows.ndim != 2 or rows.shape[1] != self._dimension:
            raise LsamplerError(
                f"{self.name}: latents of shape {tuple(rows.shape)}, it was fitted with D = {self._dimension}"
            )
        state = {name: _to_tensor(array, torch.device("cpu"), torch.float64) for name, array in self._state.items()}
        with torch.no_grad(), plugin_errors(f"{self.name}: its density"):
            blocks = torch.split(rows.cpu(), DENSITY_ROWS) if len(rows) else ()
            found = [self.log_density(state, block.double()) for block in blocks]
        density: NDArray[np.float64] = torch.cat([torch.empty(0, dtype=torch.float64), *found]).numpy()
        if density.shape != (len(rows),) or np.isnan(density).any():
            raise LsamplerError(f"{self.name}: its density is NaN or of a wrong shape; check its parameters")
        return density

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write parameters and fitted state to one safetensors file."""
        if self._state is None:
            raise LsamplerError(f"{self.name}: not fitted, nothing to save")
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "parameters": self.settings(),
            "fingerprint": self._fingerprint,
            "dimension": self._dimension,
        }
        arrays = {key: torch.from_numpy(np.array(value, order="C")) for key, value in self._state.items()}
        with new_file(path, force=force) as beside:
            write_safetensors(beside, arrays, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a fitted sampler that :meth:`save` wrote: of this class, or of any plugin from ``LatentSampler``.

        Raises:
            LsamplerError: the file is missing, damaged, or holds another strategy.
        """
        path = existing_file(path, "saved sampler")
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != FORMAT:
            raise LsamplerError(f"{path}: does not hold a fitted sampler; make one with 'lsampler fit'")
        if metadata.get("version") != FORMAT_VERSION:
            raise LsamplerError(
                f"{path}: sampler format {metadata.get('version')}, this lsampler reads {FORMAT_VERSION}; fit it again"
            )
        kind = cls._of_name(str(metadata.get("name"))) if cls is LatentSampler else cls
        if metadata.get("name") != kind.name:
            raise LsamplerError(f"{path}: holds a fitted {metadata.get('name')}, not a {kind.name}")
        try:
            sampler = kind(**metadata["parameters"])
            sampler._fingerprint, sampler._dimension = metadata["fingerprint"], int(metadata["dimension"])
        except (LsamplerError, KeyError, TypeError, ValueError) as error:
            raise LsamplerError(f"{path}: does not fit the installed {kind.name} ({error}); fit it again") from error
        sampler._state = {key: tensor.numpy() for key, tensor in tensors.items()}
        return sampler

    @classmethod
    def _of_name(cls, name: str) -> type[Self]:
        from lsampler.plugins.registry import registry

        found: type[Self] = registry().get("sampler", name)
        return found


def _to_tensor(array: NDArray[Any], device: torch.device, floats: torch.dtype = torch.float32) -> Tensor:
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(device, floats if tensor.is_floating_point() else tensor.dtype)
