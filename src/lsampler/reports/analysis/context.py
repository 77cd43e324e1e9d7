"""What the sections of one analysis share: the reference, the options, samples of the latents, fitted cores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plugins.by_name import load_core, load_sampler, plugin_names
from lsampler.progress import ProgressLike
from lsampler.reports.analysis.options import AnalysisOptions
from lsampler.reports.analysis.passes import ALL, RADIUS_BIN, Radii, lengths
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.conditions.labelled import has_labels
from lsampler.scoring.core import Core
from lsampler.scoring.samples import rows_by_index
from lsampler.scoring.subject import Subject
from lsampler.statistics.passes import Segment, View
from lsampler.statistics.pca import Pca
from lsampler.statistics.statistics import Statistics
from lsampler.store.reference import Reference

SAMPLE_ROWS = 10_000
SAMPLE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FittedCore:
    """A fitted core, and its level that holds 95 % of held-out data, if there are held-out vectors."""

    name: str
    core: Core
    calibrated: float | None

    @property
    def level(self) -> float:
        """The calibrated level, or the nominal one."""
        return self.core.nominal_level if self.calibrated is None else self.calibrated

    def inside(self, latents: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the latent vectors (n, D) are inside."""
        return self.core.levels(latents) <= self.level


class Context:
    """One analysis: its reference, its options (checked), and what several sections need of them.

    ``whole`` is the reference with its constant components, where they were left out, and with its labels.
    """

    def __init__(
        self,
        reference: Reference,
        options: AnalysisOptions,
        progress: ProgressLike = None,
        subject: Subject | None = None,
    ) -> None:
        self.reference, self.options, self.progress = reference, options, progress
        self.whole = subject.reference if subject else reference
        self.autoencoder = subject.autoencoder if subject else reference.autoencoder
        self.dimension, self.has_latents = reference.dimension, reference.has_latents

    @property
    def has_labels(self) -> bool:
        """Whether the vectors, or the aggregates of a bundle, come with labels."""
        return has_labels(self.whole)

    @property
    def segments(self) -> Sequence[Segment]:
        """Of the train vectors, for a pass over them."""
        return self.reference.segments()

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
        """The power of two nearest to the median sigma, in which the posts' widths (bins of 0.25, say) are given."""
        return float(2.0 ** np.round(np.log2(np.median(self.statistics.std))))

    @cached_property
    def bin_width(self) -> float:
        """Of the number densities, in latent units."""
        return self.options.bin_width or 0.25 * self.unit

    @cached_property
    def radii(self) -> Radii:
        """Lengths |z| of all vectors."""
        return lengths(self.segments, RADIUS_BIN * self.unit)

    @cached_property
    def cores(self) -> list[FittedCore]:
        """Every installed core that can be fitted to the reference."""
        cores = []
        for name in plugin_names("core"):
            try:
                core = load_core(name).fit(self.reference)
            except LsamplerError:
                continue
            cores.append(FittedCore(name, core, core.calibrated_level(self.reference)))
        return cores

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
        chosen = np.arange(self.count)
        if self.count > most:
            chosen = np.sort(self.rng("rows").choice(self.count, most, replace=False))
        dimension = self.dimension if view.axes is None else len(view.axes)
        return rows_by_index(map(view, self.reference.chunks()), dimension, chosen)

    def normal(self) -> LatentSampler:
        """The normal of the data's mean and covariance, of lower rank where there are few vectors."""
        rank = self.pca.rank
        normal = load_sampler("multivariate-normal", components=None if rank == self.dimension else rank)
        return normal.fit(self.reference)

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose; the same for the same seed, whatever else is drawn."""
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        return np.random.default_rng([self.options.seed, int.from_bytes(digest, "little")])
