"""What samples are scored against: a reference, and the autoencoder whose latent vectors it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.items import Item
from lsampler.errors import LsamplerError
from lsampler.models.decoding import decode_images, decode_rows, encode_pixels, encode_rows
from lsampler.models.protocols import Autoencoder, item_of
from lsampler.showing import About, Shown, encoder, name_of, paragraph
from lsampler.store.file_store import FileStore
from lsampler.store.opening import as_reference, open_store, opened
from lsampler.store.reference import Reference
from lsampler.store.sharded_store import ShardedStore

Latents: TypeAlias = NDArray[np.float32]
Decode: TypeAlias = Callable[[Latents], NDArray[Any]]
"""Latent vectors (n, D) -> images (n, H, W, C) uint8, or other items (n, *shape) float32."""
Encode: TypeAlias = Callable[[NDArray[Any]], Latents]
"""The way back."""


@dataclass(frozen=True)
class ItemDecoder:
    """Decodes latent vectors by a live autoencoder, and knows what the items are."""

    autoencoder: Autoencoder

    @property
    def item(self) -> Item:
        """What one item is."""
        return item_of(self.autoencoder)

    def __call__(self, latents: Latents) -> NDArray[Any]:
        """Latent vectors (n, D) to items: images (n, H, W, C) uint8, others (n, *shape) float32."""
        decode = decode_images if self.item.is_image else decode_rows
        return decode(self.autoencoder, latents)

    def back(self, items: NDArray[Any]) -> Latents:
        """Items, as they are decoded, to latent vectors (n, D)."""
        return encode_pixels(self.autoencoder, items) if self.item.is_image else encode_rows(self.autoencoder, items)


@dataclass(frozen=True, repr=False)
class Subject(Shown):
    """What samples belong to: a reference, and the autoencoder whose latent vectors it describes.

    Attributes:
        reference: the real data.
        decode: latent vectors (n, D) -> images (n, H, W, C) uint8, or other items (n, *shape) float32; None if there is
            no decoder.
        encode: the way back; None if there is no encoder.
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

    def _about(self) -> About:
        decoder = "with a decoder" if self.decode else "no decoder"
        facts = [f"D = {self.reference.dimension}", decoder, encoder(self.fingerprint)]
        return About("Subject", name_of(self.reference.name), facts)

    def _parts(self) -> Iterator[Markup]:
        yield from (paragraph(repr(part), "dim") for part in (self.reference, self.autoencoder) if part is not None)

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
        autoencoder = autoencoder or reference.autoencoder
        if reopen is None and isinstance(reference, FileStore | ShardedStore):
            reopen = partial(_reopened, str(reference.path.absolute()), autoencoder)
        if autoencoder is None:
            return cls(reference, fingerprint=reference.fingerprint or "", reopen=reopen)
        decode = ItemDecoder(autoencoder)
        return cls(reference, decode, decode.back, autoencoder.fingerprint, reopen, autoencoder)

    @property
    def item(self) -> Item | None:
        """What the items of the autoencoder are; None without one."""
        return None if self.autoencoder is None else item_of(self.autoencoder)

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
