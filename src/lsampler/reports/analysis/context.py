"""What all sections share: the reference, the options, passes over the latents, a sample of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.plugins.loading import load_sampler
from lsampler.progress import Progress, begin
from lsampler.samplers.base import LatentSampler
from lsampler.statistics.pca import Pca
from lsampler.statistics.statistics import Statistics
from lsampler.store.reference import Reference

__all__ = ["STATISTICS_ONLY", "Context", "Options"]

STATISTICS_ONLY = "needs the latent vectors themselves; this reference holds statistics only"
SAMPLE_ROWS = 10_000
SAMPLE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Options:
    """How to analyse. Attributes as the arguments of :func:`analyze`."""

    bin_width: float | None
    threshold: float
    pairs: tuple[tuple[int, int], ...]
    strategies: tuple[LatentSampler, ...]
    trim: float | None
    seed: int
    tsne: int | None

    def plain(self, name: str) -> Any:
        """One option as a value for JSON."""
        value = getattr(self, name)
        if name == "strategies":
            return [strategy.key() for strategy in value]
        return [list(pair) for pair in value] if name == "pairs" else value


class Context:
    """One analysis: its reference and options, and what several sections need of them."""

    def __init__(self, reference: Reference, options: Options) -> None:
        self.reference, self.options = reference, options
        self.dimension = reference.dimension
        self._advance: Callable[[int], None] | None = None

    @property
    def has_latents(self) -> bool:
        """Whether the vectors themselves are at hand."""
        return self.reference.has_latents

    @cached_property
    def statistics(self) -> Statistics:
        """Of all train vectors. Raises LsamplerError where there are too few or NaN."""
        return self.reference.statistics()

    @property
    def count(self) -> int:
        """How many latent vectors the statistics rest on."""
        return self.statistics.count

    @property
    def pca(self) -> Pca:
        """Principal axes of all train vectors."""
        return self.statistics.pca

    @cached_property
    def unit(self) -> float:
        """The power of two nearest to the median sigma: 1 for a latent space of unit spread.

        The posts' widths in latent units (bins of 0.25, say) are multiplied by it, since the unit
        of a latent space is arbitrary.
        """
        return float(2.0 ** np.round(np.log2(np.median(self.statistics.std))))

    @cached_property
    def bin_width(self) -> float:
        """Of the number densities, in latent units."""
        return self.options.bin_width or 0.25 * self.unit

    @cached_property
    def sample(self) -> NDArray[np.float32]:
        """Up to 10,000 train vectors drawn at random without replacement, in their order."""
        limit = min(SAMPLE_ROWS, max(1000, SAMPLE_BYTES // (4 * self.dimension)))
        return self.random_rows(limit)

    def some(self, most: int) -> NDArray[np.float32]:
        """Up to ``most`` rows of the sample, drawn from all of it: a store may be in any order."""
        if len(self.sample) <= most:
            return self.sample
        return self.sample[np.sort(self.rng("some").choice(len(self.sample), most, replace=False))]

    def random_rows(self, most: int) -> NDArray[np.float32]:
        """Up to ``most`` train vectors drawn at random without replacement, in their order."""
        if self.count <= most:
            return np.concatenate(list(self.reference.chunks()))
        wanted = np.sort(self.rng("rows").choice(self.count, most, replace=False))
        taken, start = [], 0
        for block in self.reference.chunks():
            here = wanted[(wanted >= start) & (wanted < start + len(block))] - start
            taken.append(block[here])
            start += len(block)
        return np.concatenate(taken)

    def normal(self) -> LatentSampler:
        """The normal of the data's mean and covariance, of lower rank where there are few vectors."""
        rank = self.pca.rank
        return load_sampler("multivariate-normal", components=None if rank == self.dimension else rank).fit(
            self.reference
        )

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose; the same for the same seed, whatever else is drawn."""
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        return np.random.default_rng([self.options.seed, int.from_bytes(digest, "little")])

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """A pass over all train vectors, shown by the progress bar."""
        for block in self.reference.chunks():
            yield block
            self.advance(len(block))

    def advance(self, rows: int) -> None:
        """Tell the progress bar that ``rows`` were worked on."""
        if self._advance:
            self._advance(rows)

    def follow(self, progress: Progress | None, what: str, rows: int) -> Callable[[], None]:
        """Show what is done from now on as a bar of ``rows``; returns what completes it."""
        done = 0
        bar = begin(progress, what, rows)

        def advance(amount: int) -> None:
            nonlocal done
            amount = min(amount, rows - done)
            done += amount
            bar(amount)

        self._advance = advance
        return lambda: advance(rows - done)
