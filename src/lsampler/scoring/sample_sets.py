"""Sets of samples to be scored: in memory, in a store, of the real data, or yet to be drawn by a strategy."""

from __future__ import annotations

import importlib
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from lsampler.errors import LsamplerError
from lsampler.models.decoding import decode_images, encode_pixels
from lsampler.models.protocols import Autoencoder
from lsampler.plugins.base import Plugin
from lsampler.progress import Progress, track
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.scoring.entries import Entry
from lsampler.scoring.samples import Decode, Encode, Kind, RealData, Samples, check_samples, check_shape, rows_by_index
from lsampler.store.file_store import FileStore
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import as_reference, open_store
from lsampler.store.reference import Reference
from lsampler.store.sharded_store import ShardedStore

__all__ = ["HELD_OUT_ROW", "OTHER_ROW", "Drawn", "Given", "Real", "SampleSet", "Stored", "Subject", "as_subject"]

HELD_OUT_ROW = "held-out real vectors"
OTHER_ROW = "other real vectors"
MOST_BYTES = 1 << 28
"""Of the samples of one store: 262,144 at D = 256, enough for shares to two thousandths."""


@dataclass(frozen=True)
class Subject:
    """What samples belong to: a reference, and the autoencoder whose latent vectors it describes.

    Attributes:
        reference: the real data.
        decode: latent vectors -> images; None if there is no decoder.
        encode: images -> latent vectors; None if there is no encoder.
        fingerprint: of the autoencoder or the reference; empty if unknown.
        reopen: makes the same subject in another process; None if that is impossible.
    """

    reference: Reference
    decode: Decode | None = None
    encode: Encode | None = None
    fingerprint: str = ""
    reopen: Callable[[], Subject] | None = None

    @classmethod
    def of(
        cls, latents: Any, autoencoder: Autoencoder | None = None, reopen: Callable[[], Subject] | None = None
    ) -> Subject:
        """A reference, or anything that can be one, with a live autoencoder."""
        reference = as_reference(latents)
        if reopen is None and isinstance(reference, FileStore | ShardedStore):
            reopen = partial(_reopened, str(reference.path.absolute()), autoencoder)
        if autoencoder is None:
            return cls(reference, fingerprint=reference.fingerprint or "", reopen=reopen)
        decode, encode = partial(decode_images, autoencoder), partial(encode_pixels, autoencoder)
        return cls(reference, decode, encode, autoencoder.fingerprint, reopen)


def as_subject(latents: Any) -> Subject:
    """A subject as it is, that of an object with a ``subject``, or a reference without an autoencoder."""
    found = getattr(latents, "subject", latents)
    return found if isinstance(found, Subject) else Subject.of(latents)


def _reopened(path: str, autoencoder: Autoencoder | None) -> Subject:
    return Subject.of(open_store(path), autoencoder)


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
    """Samples that exist, or that can be had.

    Attributes:
        name: the name of their row.
        kind: whether they are drawn or real.
        entry: the strategy that draws them, if one does.
        required: whether an evaluation without them is an error.
    """

    name: str
    kind: Kind = "drawn"
    entry: Entry | None = None
    required: bool = True

    @abstractmethod
    def samples(self, real: RealData, progress: Progress | None) -> Samples:
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

    def samples(self, real: RealData, progress: Progress | None) -> Samples:
        """The samples themselves."""
        return self.held

    def check(self, subject: Subject) -> int:
        """How many. Raises LsamplerError unless they are finite vectors of this latent space."""
        check_samples(self.held, subject.reference)
        return len(self.held.latents)


@dataclass(frozen=True, kw_only=True)
class Drawn(SampleSet):
    """Samples that a strategy is to draw, fitted to the real data."""

    sampler: LatentSampler | PluginName
    n: int

    @classmethod
    def of(cls, entry: Entry | LatentSampler, n: int, *, required: bool = True) -> Drawn:
        """``n`` samples of a strategy, which need not be fitted."""
        if isinstance(entry, Entry):
            return cls(name=entry.label, entry=entry, required=required, sampler=entry.sampler, n=n)
        return cls(name=entry.name, required=required, sampler=entry, n=n)

    def samples(self, real: RealData, progress: Progress | None) -> Samples:
        """Fit and draw."""
        fitted = self._live().model_copy().fit(real.reference, progress=progress)
        return Samples.drawn_by(fitted, self.n, seed=real.seed, name=self.name, decode=real.decode, encode=real.encode)

    def check(self, subject: Subject) -> int:
        """How many are drawn. Raises ImportError or AttributeError if the strategy is not installed."""
        self._live()
        return self.n

    def key(self) -> str:
        """The strategy, its parameters and its code."""
        return f"{self._live().digest()} {self.n}"

    def portable(self) -> Self:
        """With the name of the strategy."""
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

    def samples(self, real: RealData, progress: Progress | None) -> Samples:
        """Read them."""
        stored = self._opened(real.reference)
        few = _few(stored)
        # A store may hold the samples of several runs one after the other.
        evenly = np.arange(few) * len(stored) // few
        chunks = track(stored.chunks(None), progress, "reading", len(stored), len)
        return real.samples(self.name, rows_by_index(chunks, stored.dimension, evenly))

    def check(self, subject: Subject) -> int:
        """How many are scored. Raises LsamplerError unless they can be vectors of this latent space."""
        stored = self._opened(subject.reference)
        check_shape(self.name, (len(stored), stored.dimension), subject.reference)
        return _few(stored)

    def caveats(self, subject: Subject) -> Sequence[str]:
        """Whether not all are scored."""
        stored = self._opened(subject.reference)
        few, total = _few(stored), len(stored)
        return [f"{self.path}: {few:,} of {total:,} vectors are scored, evenly spaced"] if few < total else []

    def portable(self) -> Self:
        """With a path that is right in any folder."""
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
    """Vectors of the real data: held out, or train vectors other than those that samples are compared with."""

    always: bool = True
    """False leaves them out where no evaluator compares samples with train vectors."""

    @classmethod
    def both(cls, subject: Subject, *, always: bool) -> list[Real]:
        """The held-out and the other real vectors of a subject; none if it holds no vectors."""
        if not subject.reference.has_latents:
            return []
        return [cls(name=HELD_OUT_ROW, kind="held-out"), cls(name=OTHER_ROW, kind="train", always=always)]

    def samples(self, real: RealData, progress: Progress | None) -> Samples:
        """The judging half of the held-out vectors, or at least two other train vectors."""
        if self.kind == "held-out":
            return real.samples(self.name, calibration_split(real.reference.held_out())[1], self.kind)
        return real.samples(self.name, real.other if len(real.other) > 1 else real.other[:0], self.kind)
