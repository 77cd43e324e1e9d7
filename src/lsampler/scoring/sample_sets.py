"""Sets of samples to be scored: in memory, in a store, of the real data, or yet to be drawn by a strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lsampler.errors import LsamplerError
from lsampler.models.decoding import decode_images, encode_pixels
from lsampler.models.protocols import Autoencoder
from lsampler.progress import Progress, track
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.scoring.rows import Origin
from lsampler.scoring.samples import Decode, Encode, Kind, RealData, Samples, check_samples, check_shape, rows_by_index
from lsampler.store.reference import Reference, as_reference
from lsampler.store.sharded import open_store

if TYPE_CHECKING:
    from lsampler.store.single_file import LatentStore

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
        cls, reference: Any, autoencoder: Autoencoder | None = None, reopen: Callable[[], Subject] | None = None
    ) -> Subject:
        """A reference, or anything that can be one, with a live autoencoder."""
        reference = as_reference(reference)
        if reopen is None and hasattr(reference, "path"):
            reopen = _Reopened(str(Path(reference.path).absolute()), autoencoder)
        if autoencoder is None:
            return cls(reference, fingerprint=reference.fingerprint or "", reopen=reopen)
        return cls(
            reference,
            lambda z: decode_images(autoencoder, z),
            lambda images: encode_pixels(autoencoder, images),
            autoencoder.fingerprint,
            reopen,
        )


def as_subject(latents: Any) -> Subject:
    """A subject as it is, that of an object with a ``subject``, or a reference without an autoencoder."""
    found = getattr(latents, "subject", latents)
    return found if isinstance(found, Subject) else Subject.of(latents)


@dataclass(frozen=True)
class _Reopened:
    """Opens a store again, in another process."""

    path: str
    autoencoder: Autoencoder | None

    def __call__(self) -> Subject:
        return Subject.of(open_store(self.path), self.autoencoder)


@dataclass(frozen=True)
class Setting:
    """What sets are drawn and read with.

    Attributes:
        subject: what they belong to.
        real: the real data of the subject.
        seed: of the draws.
        compares: whether an evaluator compares samples with train vectors.
        progress: where to show the progress.
    """

    subject: Subject
    real: RealData
    seed: int
    compares: Callable[[], bool]
    progress: Progress | None = None


class SampleSet(Protocol):
    """Samples that exist, or that can be had."""

    @property
    def name(self) -> str:
        """The row's name."""

    @property
    def kind(self) -> Kind:
        """Whether the rows are drawn or real."""

    @property
    def origin(self) -> Origin | None:
        """The strategy, of samples that are drawn."""

    @property
    def required(self) -> bool:
        """Whether an evaluation without this set is an error."""

    def check(self, subject: Subject) -> int:
        """How many samples. Raises LsamplerError if they cannot belong to the subject."""

    def samples(self, setting: Setting) -> Samples | None:
        """Draw or read them; None if there are none of this kind."""

    def key(self) -> str:
        """Names what is drawn or read; equal for equal samples of one subject and seed."""

    def caveats(self, subject: Subject) -> Sequence[str]:
        """What a reader of the scores has to know of the set."""

    def portable(self) -> SampleSet:
        """The same in another process and from any folder."""


@dataclass(frozen=True)
class _Set:
    """What sets have in common."""

    name: str
    kind: Kind = "drawn"
    origin: Origin | None = None
    required: bool = True

    def caveats(self, subject: Subject) -> Sequence[str]:
        """None, as a rule."""
        return ()

    def key(self) -> str:
        """The name, as a rule."""
        return self.name

    def portable(self) -> Any:
        """Itself, as a rule."""
        return self


@dataclass(frozen=True, kw_only=True)
class Given(_Set):
    """Samples in memory."""

    held: Samples

    @classmethod
    def of(cls, samples: Samples) -> Given:
        """These samples."""
        return cls(samples.name, samples.kind, held=samples)

    def check(self, subject: Subject) -> int:
        """How many. Raises LsamplerError unless they are finite vectors of this latent space."""
        check_samples(self.name, self.held.latents, subject.reference)
        return len(self.held.latents)

    def samples(self, setting: Setting) -> Samples:
        """The samples themselves."""
        return self.held


@dataclass(frozen=True, kw_only=True)
class Drawn(_Set):
    """Samples that a strategy is to draw."""

    sampler: LatentSampler
    n: int

    @classmethod
    def of(
        cls, sampler: LatentSampler, n: int, *, name: str = "", origin: Origin | None = None, required: bool = True
    ) -> Drawn:
        """``n`` samples of a strategy that need not be fitted."""
        origin = origin or Origin(sampler.name, sampler.settings())
        return cls(name or sampler.name, "drawn", origin, required, sampler=sampler, n=n)

    def check(self, subject: Subject) -> int:
        """How many are drawn."""
        return self.n

    def samples(self, setting: Setting) -> Samples:
        """Fit and draw."""
        subject = setting.subject
        fitted = self.sampler.model_copy().fit(subject.reference, progress=setting.progress)
        return Samples.drawn_by(
            fitted, self.n, seed=setting.seed, name=self.name, decode=subject.decode, encode=subject.encode
        )

    def key(self) -> str:
        """The strategy, its parameters and its code."""
        return f"{self.sampler.digest()} {self.n}"

    def portable(self) -> Drawn:
        """With a strategy that is known by its class and parameters alone."""
        new = type(self.sampler)(**self.sampler.settings())
        return Drawn(self.name, self.kind, self.origin, self.required, sampler=new, n=self.n)


@dataclass(frozen=True, kw_only=True)
class Stored(_Set):
    """Samples in a store: all of them or, of very many, every k-th."""

    path: str

    @classmethod
    def of(cls, path: str | Path) -> Stored:
        """The samples of a store."""
        return cls(Path(path).name, path=str(path))

    def check(self, subject: Subject) -> int:
        """How many are scored. Raises LsamplerError unless they can be vectors of this latent space."""
        stored = self._opened(subject)
        check_shape(self.name, (len(stored), stored.dimension), subject.reference)
        return _few(stored)

    def samples(self, setting: Setting) -> Samples:
        """Read them."""
        stored, subject = self._opened(setting.subject), setting.subject
        few = _few(stored)
        # A store may hold the samples of several runs one after the other.
        evenly = np.arange(few) * len(stored) // few
        chunks = track(stored.chunks(None), setting.progress, "reading", len(stored), len)
        latents = rows_by_index(chunks, stored.dimension, evenly)
        return Samples(self.name, latents, decode=subject.decode, encode=subject.encode)

    def caveats(self, subject: Subject) -> Sequence[str]:
        """Says so if not all are scored."""
        stored = self._opened(subject)
        few, total = _few(stored), len(stored)
        return [f"{self.path}: {few:,} of {total:,} vectors are scored, evenly spaced"] if few < total else []

    def portable(self) -> Stored:
        """With a path that is right in any folder."""
        return Stored(self.name, path=str(Path(self.path).absolute()))

    def _opened(self, subject: Subject) -> LatentStore:
        stored, expected = open_store(self.path), subject.reference.fingerprint
        if stored.fingerprint and expected and stored.fingerprint != expected:
            raise LsamplerError(f"{self.path}: its vectors belong to another encoder than {subject.reference.name}")
        return stored


def _few(stored: LatentStore) -> int:
    return min(len(stored), max(1, MOST_BYTES // (4 * stored.dimension)))


@dataclass(frozen=True, kw_only=True)
class Real(_Set):
    """Vectors of the real data: held out, or train vectors other than those that samples are compared with.

    The train vectors are left out where no evaluator compares with them, unless ``always``.
    """

    always: bool = False

    @classmethod
    def both(cls, subject: Subject, *, always: bool = False) -> list[Real]:
        """The held-out and the other real vectors of a subject; none if it holds no vectors."""
        if not subject.reference.has_latents:
            return []
        return [cls(HELD_OUT_ROW, "held-out"), cls(OTHER_ROW, "train", always=always)]

    def check(self, subject: Subject) -> int:
        """Real vectors do not count: they are at most as many as samples are compared with."""
        return 0

    def samples(self, setting: Setting) -> Samples | None:
        """The judging half of the held-out vectors, or other train vectors."""
        subject, real = setting.subject, setting.real
        if self.kind == "held-out":
            _, rows = calibration_split(subject.reference.held_out())
        elif self.always or setting.compares():
            rows = real.other
        else:
            return None
        if len(rows) < (1 if self.kind == "held-out" else 2):
            return None
        return Samples(self.name, rows, decode=subject.decode, encode=subject.encode, kind=self.kind)
