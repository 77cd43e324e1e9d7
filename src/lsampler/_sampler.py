"""The base of all strategies: fit, sample, save and load, done once for all of them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PrivateAttr
from torch import Tensor

from lsampler._errors import LsamplerError
from lsampler._files import existing_file, new_file
from lsampler._plugin import Plugin
from lsampler._random import Block, draw_blocks, resolve_device
from lsampler._reference import Reference, ReferenceLike, as_reference
from lsampler._safetensors import read_safetensors, write_safetensors

__all__ = ["LatentSampler", "State"]

State: TypeAlias = dict[str, NDArray[Any]]
FORMAT = "lsampler-sampler"


class LatentSampler(Plugin):
    """A strategy that draws latent vectors.

    A subclass declares its parameters as pydantic fields and writes two methods:
    :meth:`learn`, from a reference to named arrays, and :meth:`draw`, from those arrays and a
    block's random numbers to latent vectors. Blocks, seeds, threads, devices and saving are
    done here.

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

    @abstractmethod
    def learn(self, reference: Reference) -> State:
        """What has to be known of the reference in order to draw, as named arrays."""

    @abstractmethod
    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A block of latent vectors (block.rows, D) float32 on ``block.device``.

        Args:
            state: what :meth:`learn` returned, as tensors on the device, floats as float32.
            block: the rows to draw and the only source of random numbers.
        """

    def fit(self, reference: ReferenceLike) -> Self:
        """Learn from a store, a bundle, or an array of latent vectors (N, D); returns self.

        Raises:
            LsamplerError: the reference lacks what the strategy needs.
        """
        reference = as_reference(reference)
        if self.needs_latents and not reference.has_latents:
            raise LsamplerError(
                f"{self.name} needs latent vectors, {reference.name} holds statistics only; give a --store"
            )
        self._state = self.learn(reference)
        self._fingerprint, self._dimension = reference.fingerprint, reference.dimension
        return self

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
        self, n: int, *, seed: int = 0, device: str | torch.device = "cpu", threads: int | None = None
    ) -> Iterator[Tensor]:
        """The rows of :meth:`sample` in blocks, in memory that does not grow with ``n``."""
        if self._state is None:
            raise LsamplerError(f"{self.name}: not fitted; call fit(reference) first")
        if n < 1:
            raise LsamplerError(f"n={n}: draw at least one vector")
        target = resolve_device(device)
        state = {name: _to_tensor(array, target) for name, array in self._state.items()}

        def drawn(block: Block) -> Tensor:
            return self._checked(self.draw(state, block), block)

        return draw_blocks(drawn, n, seed=seed, device=target, threads=threads)

    def _checked(self, rows: Tensor, block: Block) -> Tensor:
        expected = (block.rows, self._dimension)
        if tuple(rows.shape) != expected:
            raise LsamplerError(f"{self.name} drew shape {tuple(rows.shape)}, expected {expected}")
        rows = rows.to(block.device, torch.float32)
        # A finite sum has finite terms, and costs one pass without a temporary; large terms may overflow it.
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            raise LsamplerError(f"{self.name} drew NaN or infinite values; check its parameters")
        return rows

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write parameters and fitted state to one safetensors file."""
        if self._state is None:
            raise LsamplerError(f"{self.name}: not fitted, nothing to save")
        metadata = {
            "format": FORMAT,
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
        """Read a fitted sampler of this class that :meth:`save` wrote."""
        path = existing_file(path, "saved sampler")
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != FORMAT or metadata.get("name") != cls.name:
            raise LsamplerError(f"{path}: does not hold a fitted {cls.name}")
        sampler = cls(**metadata["parameters"])
        sampler._state = {key: tensor.numpy() for key, tensor in tensors.items()}
        sampler._fingerprint, sampler._dimension = metadata["fingerprint"], metadata["dimension"]
        return sampler


def _to_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else tensor.dtype)
