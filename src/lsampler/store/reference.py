"""A reference: what a strategy is fitted to. It always has statistics, and latents where it holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.half_widths import FWHM_PER_SIGMA, HalfWidth
from lsampler.statistics.passes import Segment, View, gather_radius_quantiles
from lsampler.statistics.statistics import Statistics, trimmed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MemoryStore", "Reference", "ReferenceLike", "Split", "as_reference"]

Split = Literal["train", "held-out"]
ReferenceLike: TypeAlias = Union["Reference", NDArray[Any], "Tensor", Any]
BLOCK_ROWS = 4096
# Equally spaced, so that both tails are as finely known as the middle.
RADIUS_NORMAL_SCORES = np.linspace(-3.5, 3.5, 141)


class Reference(ABC):
    """Latent vectors known by their statistics, and themselves where they are at hand.

    Statistics speak of the ``train`` split; ``held-out`` vectors calibrate and judge.
    """

    name: str
    dimension: int
    fingerprint: str | None = None
    """Identifies the encoder that made the latents; None if unknown."""
    has_latents: bool = True

    def __init__(self) -> None:
        self._statistics: dict[float | None, Statistics] = {}
        self._principal: dict[float | None, Statistics] = {}
        self._radii: dict[int, NDArray[np.float64]] = {}

    @abstractmethod
    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """Latent vectors of a split as arrays (n, D) float32.

        Raises:
            LsamplerError: the reference holds statistics only.
        """

    def statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the train split.

        Args:
            trim: leave out vectors with any component outside mu_j +- trim * w_j (post IX),
                w_j the half-width; None keeps all.
        """
        if trim not in self._statistics:
            name = self.name if trim is None else f"{self.name}, trimmed at {trim} half-widths"
            self._statistics[trim] = Statistics.from_segments(self.segments(), self._view(trim), name=name)
        return self._statistics[trim]

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in parts that may be read at once."""
        return [_Whole(self, split)]

    def _view(self, trim: float | None) -> View:
        return View() if trim is None else trimmed(self.statistics(), trim)

    def principal_statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the (trimmed) train split in its own PCA coordinates; a further pass.

        Only the components up to the rank of the covariance are there.
        """
        if trim not in self._principal:
            statistics, view = self.statistics(trim), self._view(trim)
            pca = statistics.pca
            along = View(view.low, view.high, pca.mean, pca.axes[: pca.rank])
            name = f"{statistics.name}, after PCA"
            self._principal[trim] = Statistics.from_segments(self.segments(), along, name=name)
        return self._principal[trim]

    def principal_half_widths(
        self, kind: HalfWidth, components: int, *, trim: float | None = None
    ) -> NDArray[np.float64]:
        """(components,) half-widths w_k along the leading principal axes.

        From ``moments`` they are 2.3548 times the roots of the PCA's variances; the other kinds
        need a further pass, which a bundle has behind it.
        """
        if kind == "moments":
            return FWHM_PER_SIGMA * np.sqrt(self.statistics(trim).pca.variances[:components])
        return self.principal_statistics(trim).half_widths(kind)[:components]

    def radius_quantiles(self, components: int | None = None) -> NDArray[np.float64]:
        """(2, 141): levels, and the quantiles of the train vectors' Mahalanobis radius; a further pass.

        The radius is the distance from the centre in units of sigma along the principal axes. The
        levels are 1/4300 to 1 - 1/4300, at equal distances of their normal scores; the i-th
        smallest of n radii stands for the level (i - 1/2)/n, the outermost for all beyond. They
        are exact for up to 2^20 vectors; for more, the relative error is at most 6.2e-5, in constant memory.

        Args:
            components: the leading principal components that count; None counts all D.

        Raises:
            LsamplerError: the covariance has a lower rank, or a bundle lacks these quantiles.
        """
        from scipy.special import ndtr

        count = components or self.dimension
        if count not in self._radii:
            statistics = self.statistics()
            statistics.require_rank(count)
            pca = statistics.pca
            white = View(centre=pca.mean, axes=pca.axes[:count] / np.sqrt(pca.variances[:count, np.newaxis]))
            levels = ndtr(RADIUS_NORMAL_SCORES)
            self._radii[count] = np.stack(
                [levels, gather_radius_quantiles(self.segments(), white, statistics.count, levels)]
            )
        return self._radii[count]

    def held_out(self) -> NDArray[np.float32]:
        """All held-out vectors (n, D)."""
        return self._all("held-out")

    def latents(self) -> NDArray[np.float32]:
        """All train vectors (n, D), for strategies that need them at once."""
        return self._all("train")

    def _all(self, split: Split) -> NDArray[np.float32]:
        rows = np.concatenate([np.empty((0, self.dimension), dtype=np.float32), *self.chunks(split)])
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise LsamplerError(f"{self.name}: {split} row {bad} holds NaN or infinite values; encode it again")
        return rows


class MemoryStore(Reference):
    """Latent vectors in memory.

    Args:
        latents: (N, D) finite numbers.
        held_out: (M, D) vectors kept apart, if any.
        name: what to call them in messages.
        fingerprint: of the encoder, if known.
    """

    def __init__(
        self,
        latents: NDArray[Any],
        held_out: NDArray[Any] | None = None,
        *,
        name: str = "latents",
        fingerprint: str | None = None,
    ) -> None:
        super().__init__()
        latents = _as_float32(latents, name)
        if latents.ndim != 2 or latents.shape[1] == 0:
            raise LsamplerError(f"{name}: shape {latents.shape}, expected (number of vectors, D)")
        if held_out is None:
            held_out = np.empty((0, latents.shape[1]), dtype=np.float32)
        held_out = _as_float32(held_out, f"{name}, held out")
        if held_out.ndim != 2 or held_out.shape[1] != latents.shape[1]:
            raise LsamplerError(f"{name}: held-out vectors of shape {held_out.shape}, D is {latents.shape[1]}")
        # Statistics find such train vectors by themselves; nothing else looks at the held-out ones.
        bad = np.flatnonzero(~np.isfinite(held_out).all(axis=1))
        if len(bad):
            raise LsamplerError(f"{name}: held-out vector {bad[0]} holds NaN or infinite values; encode it again")
        self.name, self.dimension, self.fingerprint = name, latents.shape[1], fingerprint
        self._parts = {"train": latents, "held-out": held_out}

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """See :meth:`Reference.chunks`."""
        rows = self._parts[split]
        for start in range(0, len(rows), BLOCK_ROWS):
            yield rows[start : start + BLOCK_ROWS]

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """See :meth:`Reference.segments`."""
        return [_Whole(self, split, len(self._parts[split]))]


def as_reference(latents: ReferenceLike) -> Reference:
    """A reference as it is; an array or tensor (N, D) as one."""
    latents = getattr(latents, "reference", latents)
    if isinstance(latents, Reference):
        return latents
    if not isinstance(latents, np.ndarray):
        latents = latents.detach().cpu().float().numpy()
    return MemoryStore(latents)


@dataclass(frozen=True)
class _Whole:
    """All vectors of a reference that cannot be read in parts."""

    reference: Reference
    split: Split
    rows: int = 0
    start: int = 0
    portable: bool = False

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        return self.reference.chunks(self.split)


def _as_float32(latents: NDArray[Any], name: str) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
            return np.asarray(latents, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise LsamplerError(f"{name}: not an array of numbers (number of vectors, D)") from error
