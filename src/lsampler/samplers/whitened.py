"""The base of strategies that live in whitened principal coordinates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler.compute.seeded_blocks import Block
from lsampler.errors import LsamplerError
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.density import DENSITY_ROWS
from lsampler.samplers.fitted import State
from lsampler.statistics.half_widths import HalfWidth
from lsampler.statistics.pca import Whitening
from lsampler.statistics.statistics import Statistics
from lsampler.store.reference import Reference


class WhitenedReference:
    """A reference in whitened principal coordinates: what :meth:`WhitenedSampler.learn_white` learns from.

    Attributes:
        name: of the reference, for messages.
        count: how many vectors it has, after trimming.
        components: q, the number of leading principal components.
        whitening: the map between latent and whitened vectors.
    """

    def __init__(self, reference: Reference, components: int, trim: float | None) -> None:
        self._reference, self._trim = reference, trim
        statistics = reference.statistics(trim)
        self.whitening = statistics.whitening(components)
        self.name, self.count, self.components = reference.name, statistics.count, components

    def chunks(self) -> Iterator[NDArray[np.float64]]:
        """The whitened train vectors as arrays (n, q)."""
        return map(self._reference.white_view(self.components, self._trim), self._reference.chunks())

    def vectors(self) -> NDArray[np.float32]:
        """All whitened train vectors (count, q)."""
        return np.concatenate([chunk.astype(np.float32) for chunk in self.chunks()])

    def half_widths(self, kind: HalfWidth) -> NDArray[np.float64]:
        """The half-widths (q,) along the principal axes, in units of sigma: 2.3548 where ``kind`` is ``moments``."""
        widths = self._reference.principal_half_widths(kind, self.components, trim=self._trim)
        return widths / np.sqrt(self.whitening.variances)

    def radius_quantiles(self) -> NDArray[np.float64]:
        """Levels, and the quantiles of the Mahalanobis radius at them: (2, 141), as ``Reference.radius_quantiles``."""
        return self._reference.radius_quantiles(self.components, trim=self._trim)


class WhitenedSampler(LatentSampler):
    """A strategy in whitened principal coordinates: z = mu + sum_k w_k sigma_k e_k, w drawn by the subclass.

    e_k are the principal axes of the data and sigma_k the standard deviations along them, so that the data have mean
    0, variance 1 and no correlation in w. A subclass writes :meth:`draw_white`, and where it needs them
    :meth:`learn_white` and :meth:`white_log_density`. This class does the rest: trimming, the number of components,
    the way there and back, and the volume that the density needs.
    """

    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none: all that vary"
    )
    trim: float | None = Field(
        default=None, gt=0, description="leave out vectors beyond this many half-widths first (post IX); none keeps all"
    )

    def default_components(self, statistics: Statistics) -> int:
        """How many components are kept where the parameter ``components`` is none."""
        return statistics.directions

    def learn_white(self, white: WhitenedReference) -> State:
        """Return what drawing needs to know beyond the whitening, as named arrays; nothing by default."""
        return {}

    @abstractmethod
    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        """Draw a block of whitened vectors (block.rows, q) float32 on ``block.device``."""

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        """Return the logarithm of the density at whitened vectors (n, q) float64 -> (n,), in nats."""
        raise LsamplerError(f"{self.name} has no density")

    @classmethod
    def has_density(cls) -> bool:
        """Whether the strategy has a density, at least with some parameters."""
        return cls.white_log_density is not WhitenedSampler.white_log_density

    def learn(self, reference: Reference) -> State:
        """The centre, the principal axes times their standard deviations, and what the strategy learns."""
        components = self.components or self.default_components(reference.statistics(self.trim))
        white = WhitenedReference(reference, components, self.trim)
        return {"mean": white.whitening.mean, "axes": white.whitening.axes, **self.learn_white(white)}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """Whitened vectors, back in latent coordinates."""
        axes = state["axes"]
        return torch.addmm(state["mean"], self.draw_white(state, block, len(axes)), axes)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The density in whitened coordinates over the volume of the whitening, if all components are kept."""
        whitening = _whitening(state)
        whitening.require_all(self.name)
        white = torch.from_numpy(whitening.forward(latents.numpy()))
        return self.white_log_density(state, white) - whitening.log_det

    def moved_log_density(self, state: Mapping[str, Tensor], latents: Tensor, moves: Tensor) -> Tensor:
        """The same; vectors and moves are whitened once."""
        whitening = _whitening(state)
        whitening.require_all(self.name)
        white = torch.from_numpy(whitening.forward(latents.numpy()))
        away = torch.from_numpy(whitening.forward(moves.numpy() + whitening.mean))
        some = max(1, DENSITY_ROWS // max(len(latents), 1))
        parts = [(white - few[:, np.newaxis]).flatten(0, 1) for few in torch.split(away, some)]
        found = torch.cat([self.white_log_density(state, part) for part in parts]) - whitening.log_det
        return found.reshape(len(moves), len(latents))

    def rounding(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        """How far each whitened coordinate (n, q) may move when draws are rounded to single precision.

        A density with a bound treats vectors up to this far beyond it as inside, since they may have been drawn.
        """
        return torch.from_numpy(_whitening(state).rounding(white.numpy()))


def _whitening(state: Mapping[str, Tensor]) -> Whitening:
    return Whitening(state["mean"].numpy(), state["axes"].numpy())
