"""What samples are scored against: a reference, and the autoencoder whose latent vectors it describes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.models.decoding import decode_images, encode_pixels
from lsampler.models.protocols import Autoencoder
from lsampler.store.file_store import FileStore
from lsampler.store.opening import as_reference, open_store, opened
from lsampler.store.reference import Reference
from lsampler.store.sharded_store import ShardedStore

Latents: TypeAlias = NDArray[np.float32]
Decode: TypeAlias = Callable[[Latents], NDArray[np.uint8]]
Encode: TypeAlias = Callable[[NDArray[np.uint8]], Latents]


@dataclass(frozen=True)
class Subject:
    """What samples belong to: a reference, and the autoencoder whose latent vectors it describes.

    Attributes:
        reference: the real data.
        decode: latent vectors -> images; None if there is no decoder.
        encode: images -> latent vectors; None if there is no encoder.
        fingerprint: of the autoencoder or the reference; empty if unknown.
        reopen: makes the same subject in another process; None if that is impossible.
        autoencoder: a live one; None if there is none.
    """

    reference: Reference
    decode: Decode | None = None
    encode: Encode | None = None
    fingerprint: str = ""
    reopen: Callable[[], Subject] | None = None
    autoencoder: Autoencoder | None = None

    @classmethod
    def of(
        cls, latents: Any, autoencoder: Autoencoder | None = None, reopen: Callable[[], Subject] | None = None
    ) -> Subject:
        """A reference, or anything that can be one, with a live autoencoder.

        Args:
            latents: a store, a bundle, the path or name of one, or an array (N, D).
            autoencoder: whose latents they are; None if there is none.
            reopen: makes the same subject in another process.

        Raises:
            LsamplerError: ``latents`` is no such thing.
        """
        reference = as_reference(latents)
        if reopen is None and isinstance(reference, FileStore | ShardedStore):
            reopen = partial(_reopened, str(reference.path.absolute()), autoencoder)
        if autoencoder is None:
            return cls(reference, fingerprint=reference.fingerprint or "", reopen=reopen)
        decode, encode = partial(decode_images, autoencoder), partial(encode_pixels, autoencoder)
        return cls(reference, decode, encode, autoencoder.fingerprint, reopen, autoencoder)

    def decoder(self) -> Autoencoder:
        """The autoencoder. Raises LsamplerError if there is none."""
        if self.autoencoder is None:
            raise LsamplerError(
                f"{self.reference.name}: no decoder for these latents; give `model=...`, the one that encoded them"
            )
        return self.autoencoder


def as_subject(latents: Any, argument: str = "latents") -> Subject:
    """A subject as it is, that of an object with a ``subject``, or a reference without an autoencoder.

    Args:
        latents: a subject, or whatever :func:`as_reference` takes; a bundle brings its autoencoder along.
        argument: what messages call an array.
    """
    found = opened(latents)
    held = getattr(found, "subject", found)
    return held if isinstance(held, Subject) else Subject.of(as_reference(found, argument))


def _reopened(path: str, autoencoder: Autoencoder | None) -> Subject:
    return Subject.of(open_store(path), autoencoder)
