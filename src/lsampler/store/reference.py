"""What a strategy is fitted to: a name, a dimension, and the statistics of latent vectors."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.errors import LsamplerError
from lsampler.showing import About, Shown, encoder, name_of
from lsampler.statistics.channels import ChannelStatistics, gather_channels
from lsampler.statistics.half_widths import FWHM_PER_SIGMA, HalfWidth
from lsampler.statistics.passes import Segment, View, gather_radius_quantiles
from lsampler.statistics.statistics import Statistics, trimmed
from lsampler.statistics.wide import statistics_of
from lsampler.store.carried_state import CarriedState, Recommendation

Split = Literal["train", "held-out"]
# Equally spaced, so that both tails are as finely known as the middle.
RADIUS_NORMAL_SCORES = np.linspace(-3.5, 3.5, 141)


class Reference(Shown, ABC):
    """Latent vectors that are known by their statistics; a :class:`LatentStore` also holds the vectors themselves.

    Statistics describe the ``train`` split; ``held-out`` vectors calibrate and judge.

    Attributes:
        name: what messages call it.
        dimension: D.
        fingerprint: identifies the encoder that made the latents; None if unknown.
        has_latents: whether the vectors can be read.
        feature_names: of the components; None if they have none.
        autoencoder: whose latent vectors they are, where it is at hand: samples are then decoded without being told by
            what. None elsewhere.
        items: the items that the vectors were encoded from, where they are at hand: scores of items compare with them.
        kept: what took a pass and is kept for the next use, such as the effects of labels.
    """

    name: str
    dimension: int
    fingerprint: str | None = None
    has_latents: bool = False
    feature_names: Sequence[str] | None = None
    autoencoder: Any = None
    items: Any = None

    def __init__(self) -> None:
        self._statistics: dict[float | None, Statistics] = {}
        self._principal: dict[float | None, Statistics] = {}
        self._radii: dict[tuple[int, float | None], NDArray[np.float64]] = {}
        self.kept: dict[Any, Any] = {}

    def _about(self) -> About:
        return About(type(self).__name__, name_of(self.name), [f"D = {self.dimension}", encoder(self.fingerprint)])

    @property
    def latent_shape(self) -> tuple[int, ...] | None:
        """The shape of a latent, such as (C, h, w), laid out row by row as a vector; None if it is not known."""
        return None

    def channel_statistics(self) -> ChannelStatistics:
        """Mean and standard deviation of each channel of the train vectors; this takes a pass.

        Raises:
            LsamplerError: the shape of a latent is not known, there are no vectors, or they hold NaN.
        """
        shape = self.latent_shape
        if shape is None:
            raise LsamplerError(
                f"{self.name}: the shape of a latent is not recorded; encode again, or import (N, C, h, w)"
            )
        return gather_channels(self.segments(), shape, self.name)

    def statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the train split.

        Args:
            trim: leave out vectors with any component outside mu_j +- trim * w_j (post IX),
                w_j the half-width; None keeps all.
        """
        if trim not in self._statistics:
            name = self.name if trim is None else f"{self.name}, trimmed at {trim} half-widths"
            self._statistics[trim] = statistics_of(self.segments(), self._view(trim), self.dimension, name=name)
        return self._statistics[trim]

    def know_statistics(self, known: Statistics) -> None:
        """Take statistics of the train split that another pass has found."""
        self._statistics[None] = known

    def _view(self, trim: float | None) -> View:
        return View() if trim is None else trimmed(self.statistics(), trim)

    def white_view(self, components: int | None, trim: float | None) -> View:
        """The (trimmed) vectors in leading principal coordinates divided by their standard deviations."""
        whitening = self.statistics(trim).whitening(components)
        return replace(
            self._view(trim), centre=whitening.mean, axes=whitening.axes / whitening.variances[:, np.newaxis]
        )

    def principal_statistics(self, trim: float | None = None) -> Statistics:
        """Statistics of the (trimmed) train split in its own PCA coordinates; this takes a further pass.

        Only the components up to the rank of the covariance are included.
        """
        if trim not in self._principal:
            statistics, view = self.statistics(trim), self._view(trim)
            pca = statistics.pca
            along = View(view.low, view.high, pca.mean, pca.axes[: pca.rank])
            name = f"{statistics.name}, after PCA"
            self._principal[trim] = statistics_of(self.segments(), along, pca.rank, name=name)
        return self._principal[trim]

    def principal_half_widths(
        self, kind: HalfWidth, components: int, *, trim: float | None = None
    ) -> NDArray[np.float64]:
        """(components,) half-widths w_k along the leading principal axes.

        From ``moments`` they are 2.3548 times the square roots of the PCA's variances; the other kinds
        need a further pass, whose result a bundle has stored.
        """
        if kind == "moments":
            return FWHM_PER_SIGMA * np.sqrt(self.statistics(trim).pca.variances[:components])
        return self.principal_statistics(trim).half_widths(kind)[:components]

    def radius_quantiles(self, components: int | None = None, *, trim: float | None = None) -> NDArray[np.float64]:
        """(2, 141): levels, and the quantiles of the train vectors' Mahalanobis radius; this takes a further pass.

        The radius is the distance from the centre in units of sigma along the principal axes. The
        levels are 1/4300 to 1 - 1/4300, at equal distances of their normal scores; the i-th
        smallest of n radii stands for the level (i - 1/2)/n, the outermost for all beyond. They
        are exact for up to 2^20 vectors; for more, the relative error is at most 6.2e-5, in constant memory.

        Args:
            components: the number of leading principal components that count; None counts all that vary.
            trim: as for :meth:`statistics`.

        Raises:
            LsamplerError: the covariance has a lower rank, or a bundle lacks these quantiles.
        """
        from scipy.special import ndtr

        key = components or self.statistics(trim).directions, trim
        if key not in self._radii:
            levels, view = ndtr(RADIUS_NORMAL_SCORES), self.white_view(components, trim)
            quantiles = gather_radius_quantiles(self.segments(), view, self.statistics(trim).count, levels)
            self._radii[key] = np.stack([levels, quantiles])
        return self._radii[key]

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """The vectors of a split as arrays (n, D) float32.

        Raises:
            LsamplerError: the reference holds statistics only.
        """
        raise LsamplerError(f"needs real vectors; {self.name} holds statistics only, give `store=...` of its latents")

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in segments that tasks can read at the same time."""
        return [Segment(partial(self.chunks, split), portable=False)]

    def carried(self, name: str) -> Sequence[CarriedState]:
        """The fitted states of a strategy that come with the reference; only a bundle has any."""
        return ()

    def recommendation(self) -> Recommendation:
        """The strategy to draw with if none is named: of those that learn from vectors, the least told from real ones.

        Source: the comparison in docs/choosing-a-strategy.md.
        """
        return Recommendation("gaussian-mixture", "recommended where there are latent vectors")

    def latents(self) -> NDArray[np.float32]:
        """All train vectors (n, D), for strategies that need them at once."""
        return self._all("train")

    def held_out(self) -> NDArray[np.float32]:
        """All held-out vectors (n, D)."""
        return self._all("held-out")

    def _all(self, split: Split) -> NDArray[np.float32]:
        rows = np.concatenate([np.empty((0, self.dimension), dtype=np.float32), *self.chunks(split)])
        if len(bad := not_finite(rows)):
            raise LsamplerError(f"{self.name}: {split} row {bad[0]} holds NaN or infinite values; encode it again")
        return rows
