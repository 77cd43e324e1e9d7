"""Sets of samples to be scored: in memory, in a store, of the real data, or yet to be drawn by a strategy."""

from __future__ import annotations

import importlib
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lsampler.compute.memory import require_memory
from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin
from lsampler.progress import ProgressLike, track
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.scoring.entries import Entry
from lsampler.scoring.samples import Kind, RealData, Samples, check_samples, check_shape, rows_by_index
from lsampler.scoring.scores import seed_of
from lsampler.scoring.subject import Subject
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import open_store
from lsampler.store.reference import Reference

HELD_OUT_ROW = "held-out real vectors"
OTHER_ROW = "other real vectors"
MOST_BYTES = 1 << 28
"""Of the samples of one store: 262,144 at D = 256, enough for shares to two thousandths."""


@dataclass(frozen=True)
class PluginName:
    """A plugin in plain values, from which another process makes it again."""

    module: str
    qualname: str
    settings: str

    @classmethod
    def of(cls, plugin: Plugin) -> PluginName:
        """The name of a live plugin."""
        return cls(type(plugin).__module__, type(plugin).__qualname__, plugin.settings_json())

    def plugin(self) -> Any:
        """The plugin. Raises ImportError or AttributeError if it is not installed."""
        kind = operator.attrgetter(self.qualname)(importlib.import_module(self.module))
        return kind(**json.loads(self.settings))


@dataclass(frozen=True, kw_only=True)
class SampleSet(ABC):
    """Samples that exist, or that can be had: the name and kind of their row, and the strategy that draws them.

    An evaluation without a set that is ``required`` is an error.
    """

    name: str
    kind: Kind = "drawn"
    entry: Entry | None = None
    required: bool = True

    @abstractmethod
    def samples(self, real: RealData, progress: ProgressLike) -> Samples:
        """Draw or read them; there may be none."""

    def check(self, subject: Subject) -> int:
        """How many samples. Raises LsamplerError if they cannot belong to the subject."""
        return 0

    def key(self) -> str:
        """What is drawn or read: equal for equal samples of one subject and seed."""
        return self.name

    def caveats(self, subject: Subject) -> Sequence[str]:
        """What a reader of the scores has to know."""
        return ()

    def portable(self) -> Self:
        """The same in another process and from any folder."""
        return self


@dataclass(frozen=True, kw_only=True)
class Given(SampleSet):
    """Samples in memory."""

    held: Samples

    @classmethod
    def of(cls, held: Samples) -> Given:
        """The samples under their own name."""
        return cls(name=held.name, held=held)

    def key(self) -> str:
        return self.held.digest()

    def samples(self, real: RealData, progress: ProgressLike) -> Samples:
        return self.held.decoded_by(real.decode, real.encode)

    def check(self, subject: Subject) -> int:
        check_samples(self.held, subject.reference)
        return len(self.held.latents)


def drawing_seed(sampler: LatentSampler, seed: int) -> int:
    """The seed that a strategy draws from in a comparison.

    Strategies that draw from one seed turn the same random numbers into similar items, which then look alike though
    the strategies differ. The values of a sweep share a seed, so that they differ by the parameter alone.
    """
    return seed_of(f"{sampler.name} {seed}")


@dataclass(frozen=True, kw_only=True)
class Drawn(SampleSet):
    """Samples that a strategy is to draw, fitted to the real data.

    Attributes:
        sampler: the strategy.
        n: how many.
        own_seed: draw from a seed of the strategy's own, see :func:`drawing_seed`, and not from that of the real data.
    """

    sampler: LatentSampler | PluginName
    n: int
    own_seed: bool = False

    @classmethod
    def of(cls, entry: Entry, n: int, *, required: bool = True, own_seed: bool = False) -> Drawn:
        """``n`` samples of a strategy, which need not be fitted."""
        return cls(name=entry.label, entry=entry, required=required, sampler=entry.sampler, n=n, own_seed=own_seed)

    def samples(self, real: RealData, progress: ProgressLike) -> Samples:
        fitted = self._live().model_copy().fit(real.reference, progress=progress)
        seed = drawing_seed(fitted, real.seed) if self.own_seed else real.seed
        return Samples.drawn_by(fitted, self.n, seed=seed, name=self.name, decode=real.decode, encode=real.encode)

    def check(self, subject: Subject) -> int:
        self._live()
        require_memory(8.0 * self.n * subject.reference.dimension, f"`n={self.n}`", "score fewer samples")
        return self.n

    def key(self) -> str:
        return f"{self._live().digest()} {self.n} {self.own_seed}"

    def portable(self) -> Self:
        return replace(self, entry=None, sampler=PluginName.of(self._live()))

    def _live(self) -> LatentSampler:
        found: LatentSampler = self.sampler.plugin() if isinstance(self.sampler, PluginName) else self.sampler
        return found


@dataclass(frozen=True, kw_only=True)
class Stored(SampleSet):
    """Samples in a store: all of them or, of very many, every k-th."""

    path: str

    @classmethod
    def of(cls, path: str | Path) -> Stored:
        """The samples of a store."""
        return cls(name=Path(path).name, path=str(path))

    def samples(self, real: RealData, progress: ProgressLike) -> Samples:
        stored = self._opened(real.reference)
        few = _few(stored)
        # A store may hold the samples of several runs one after the other.
        evenly = np.arange(few) * len(stored) // few
        chunks = track(stored.chunks(None), progress, "reading", len(stored), len)
        return real.samples(self.name, rows_by_index(chunks, stored.dimension, evenly))

    def check(self, subject: Subject) -> int:
        stored = self._opened(subject.reference)
        check_shape(self.name, (len(stored), stored.dimension), subject.reference)
        return _few(stored)

    def caveats(self, subject: Subject) -> Sequence[str]:
        stored = self._opened(subject.reference)
        few, total = _few(stored), len(stored)
        return [f"{self.path}: {few:,} of {total:,} vectors are scored, evenly spaced"] if few < total else []

    def portable(self) -> Self:
        return replace(self, path=str(Path(self.path).absolute()))

    def _opened(self, reference: Reference) -> LatentStore:
        stored = open_store(self.path)
        if stored.fingerprint and reference.fingerprint and stored.fingerprint != reference.fingerprint:
            raise LsamplerError(f"{self.path}: its vectors belong to another encoder than {reference.name}")
        return stored


def _few(stored: LatentStore) -> int:
    return min(len(stored), max(1, MOST_BYTES // (4 * stored.dimension)))


@dataclass(frozen=True, kw_only=True)
class Real(SampleSet):
    """Vectors of the real data: the judging half of those held out, or train vectors that nothing is compared with."""

    def samples(self, real: RealData, progress: ProgressLike) -> Samples:
        """Read them; of a single other train vector none."""
        if self.kind == "held-out":
            return real.samples(self.name, calibration_split(real.reference.held_out())[1], self.kind)
        return real.samples(self.name, real.other if len(real.other) > 1 else real.other[:0], self.kind)


def real_sets(subject: Subject, *, other: bool) -> list[SampleSet]:
    """The held-out and, if wanted, the other real vectors of a subject; none if it holds no vectors."""
    if not subject.reference.has_latents:
        return []
    held_out = Real(name=HELD_OUT_ROW, kind="held-out")
    return [held_out, Real(name=OTHER_ROW, kind="train")] if other else [held_out]
