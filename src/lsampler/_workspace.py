"""Which model and which reference belong to a command: ``--model`` and ``--store`` made one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler._api import load_autoencoder
from lsampler._bundle import DEFAULT_BUNDLE, Bundle, bundled, is_bundle, load_bundle
from lsampler._decoding import decode_images, encode_pixels
from lsampler._errors import LsamplerError
from lsampler._interfaces import Autoencoder
from lsampler._reference import Reference
from lsampler._store import LatentStore

__all__ = ["Workspace", "open_any_model", "open_model", "open_workspace"]


@dataclass(frozen=True)
class Workspace:
    """A reference to fit to, and the autoencoder whose latents it describes, if there is one."""

    reference: Reference
    autoencoder: Autoencoder | None

    def decoder(self) -> Autoencoder:
        """The autoencoder. Raises LsamplerError if there is none."""
        if self.autoencoder is None:
            raise LsamplerError(
                f"{self.reference.name}: no decoder for these latents; give the --model that encoded them"
            )
        return self.autoencoder

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latent vectors (n, D) -> images (n, H, W, C) uint8."""
        return decode_images(self.decoder(), latents)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decoded images (n, H, W, C) uint8 -> latent vectors (n, D)."""
        return encode_pixels(self.decoder(), images)


def open_workspace(model: str | None, store: str | os.PathLike[str] | None) -> Workspace:
    """The bundle ``celeba96`` if neither is given; otherwise what is given, if it belongs together.

    Raises:
        LsamplerError: a model without statistics and no store, or fingerprints that differ.
    """
    if store is None:
        bundle = _as_bundle(model or DEFAULT_BUNDLE)
        if bundle is None:
            load_autoencoder(model or DEFAULT_BUNDLE)  # a model that cannot be opened is the first thing to say
            raise LsamplerError(f"{model}: an autoencoder without statistics; add the --store of its latents")
        return Workspace(bundle, bundle.autoencoder)
    latents = LatentStore(store)
    autoencoder = open_model(model, latents.fingerprint)
    return Workspace(latents, autoencoder)


def open_model(model: str | None, fingerprint: str | None) -> Autoencoder | None:
    """The autoencoder of ``model``, or the bundled one if its fingerprint is wanted; else None.

    Raises:
        LsamplerError: the model's fingerprint is not the one of the latents.
    """
    autoencoder = open_any_model(model)
    if model is None:
        return autoencoder if autoencoder.fingerprint == fingerprint else None
    if fingerprint is not None and autoencoder.fingerprint != fingerprint:
        raise LsamplerError(
            f"{model}: this decoder does not belong to these latents "
            f"(fingerprint {autoencoder.fingerprint[:8]}, the latents' encoder has {fingerprint[:8]}); "
            "give the model that encoded them"
        )
    return autoencoder


def open_any_model(model: str | None) -> Autoencoder:
    """The autoencoder of a specification; of the bundle ``celeba96`` if there is none."""
    bundle = _as_bundle(model or DEFAULT_BUNDLE)
    return bundle.autoencoder if bundle else load_autoencoder(model or DEFAULT_BUNDLE)


def _as_bundle(model: str) -> Bundle | None:
    if model in bundled():
        return load_bundle(model)
    if model.endswith(".safetensors") and is_bundle(model):
        return Bundle.load(model)
    if "." not in model and "/" not in model:
        return load_bundle(model)  # says that there is no such bundle
    return None
