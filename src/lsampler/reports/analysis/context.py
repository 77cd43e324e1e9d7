"""What the sections of one analysis share: the reference, the options, passes over the latents, samples of them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsampler.plugins.loading import load_sampler
from lsampler.progress import Progress
from lsampler.reports.analysis.options import AnalysisOptions
from lsampler.reports.analysis.passes import RADIUS_BIN, Gathered, Radii, Sample, gather
from lsampler.samplers.base import LatentSampler
from lsampler.statistics.passes import View
from lsampler.statistics.pca import Pca
from lsampler.statistics.statistics import Statistics
from lsampler.store.reference import Reference

Found = TypeVar("Found", bound=Gathered)
ALL = View()
SAMPLE_ROWS = 10_000
SAMPLE_BYTES = 256 * 2**20


class Context:
    """One analysis: its reference, its options (checked), and what several sections need of them."""

    def __init__(self, reference: Reference, options: AnalysisOptions, progress: Progress | None = None) -> None:
        self.reference, self.options, self.progress = reference, options, progress
        self.dimension = reference.dimension

    @property
    def has_latents(self) -> bool:
        """Whether the vectors themselves are at hand."""
        return self.reference.has_latents

    def missing(self, what: str) -> str:
        """Why ``what`` cannot be measured without latent vectors."""
        return f"{what} cannot be measured: {self.reference.name} holds statistics only, no latent vectors."

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

        The posts' widths in latent units (bins of 0.25, say) are multiplied by it, since the unit of a latent space is
        arbitrary.
        """
        return float(2.0 ** np.round(np.log2(np.median(self.statistics.std))))

    @cached_property
    def bin_width(self) -> float:
        """Of the number densities, in latent units."""
        return self.options.bin_width or 0.25 * self.unit

    @cached_property
    def radii(self) -> Radii:
        """Lengths |z| of all vectors."""
        return self.gather(Radii(RADIUS_BIN * self.unit))

    @cached_property
    def sample(self) -> NDArray[np.float32]:
        """Up to 10,000 train vectors drawn at random without replacement, in their order."""
        return self.random_rows(min(SAMPLE_ROWS, max(1000, SAMPLE_BYTES // (4 * self.dimension))))

    def some(self, most: int) -> NDArray[np.float32]:
        """Up to ``most`` rows of the sample, drawn from all of it: a store may be in any order."""
        if len(self.sample) <= most:
            return self.sample
        return self.sample[np.sort(self.rng("some").choice(len(self.sample), most, replace=False))]

    def random_rows(self, most: int, view: View = ALL) -> NDArray[Any]:
        """Up to ``most`` train vectors drawn at random without replacement, in their order, as ``view`` sees them."""
        return self.gather(Sample(most, self.count, self._seed("rows")), view).rows

    def normal(self) -> LatentSampler:
        """The normal of the data's mean and covariance, of lower rank where there are few vectors."""
        rank = self.pca.rank
        return load_sampler("multivariate-normal", components=None if rank == self.dimension else rank).fit(
            self.reference
        )

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose; the same for the same seed, whatever else is drawn."""
        return np.random.default_rng(self._seed(purpose))

    def _seed(self, purpose: str) -> list[int]:
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        return [self.options.seed, int.from_bytes(digest, "little")]

    def gather(self, empty: Found, view: View = ALL) -> Found:
        """One pass over all train vectors."""
        return gather(self.reference.segments(), empty, view)
