"""The options of an analysis."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lsampler.errors import LsamplerError
from lsampler.samplers.base import LatentSampler, SamplerLike, as_samplers

DEFAULT_STRATEGIES = ("uniform-cube", "component-uniform", "gaussian", "multivariate-normal", "pca-ellipse")


@dataclass(frozen=True)
class AnalysisOptions:
    """How latents are analysed.

    Attributes:
        bin_width: of the number densities, in latent units; by default 0.25 for latents of unit spread, in proportion
            (by a power of two) for others.
        threshold: pairs with |r| above it are listed, 0 to 1.
        pairs: planes around the origin; by default the strongest pairs and the components farthest from zero.
        strategies: whose vectors are shown: names, classes or instances, or a single one.
        trim: before the PCA, vectors beyond this many half-widths are left out; None keeps all.
        tsne: how many vectors to map by t-SNE (extra ``tsne``; takes minutes).
        seed: of everything that is drawn.
    """

    bin_width: float | None = None
    threshold: float = 0.5
    pairs: Sequence[Sequence[int]] = ()
    strategies: SamplerLike | Sequence[SamplerLike] = DEFAULT_STRATEGIES
    trim: float | None = 1.7
    tsne: int | None = None
    seed: int = 0

    def checked(self, dimension: int) -> AnalysisOptions:
        """The same options as plain numbers, with the strategies loaded.

        Raises:
            LsamplerError: an unknown strategy, or an option out of range for ``dimension`` components.
        """
        for name, low, high, meaning in (
            ("bin_width", 0.0, math.inf, "a number above 0"),
            ("threshold", 0.0, 1.0, "a number between 0 and 1"),
            ("trim", 0.0, math.inf, "a number of half-widths above 0"),
            ("tsne", 0, math.inf, "the number of vectors to map"),
            ("seed", -1, math.inf, "a number of at least 0"),
        ):
            value = getattr(self, name)
            if value is not None and not low < value < high:
                raise LsamplerError(f"`{name}={value}`: give {meaning}")
        for pair in self.pairs:
            if len(pair) != 2 or len(set(pair)) != 2 or not all(0 <= j < dimension for j in pair):
                raise LsamplerError(
                    f"`pair={','.join(map(str, pair))}`: give two different components from 0 to {dimension - 1}"
                )
        return dataclasses.replace(
            self,
            bin_width=None if self.bin_width is None else float(self.bin_width),
            threshold=float(self.threshold),
            pairs=tuple((int(i), int(j)) for i, j in self.pairs),
            strategies=tuple(as_samplers(self.strategies, "strategies")),
            trim=None if self.trim is None else float(self.trim),
            tsne=None if self.tsne is None else int(self.tsne),
            seed=int(self.seed),
        )

    @property
    def samplers(self) -> list[LatentSampler]:
        """The strategies of checked options."""
        return as_samplers(self.strategies, "strategies")

    def plain(self, name: str) -> Any:
        """One of the checked options as a value for JSON; of the strategies the digests of parameters and code."""
        return [strategy.digest() for strategy in self.samplers] if name == "strategies" else getattr(self, name)
