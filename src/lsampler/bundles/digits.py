"""The example of handwritten digits: ten separate clusters, which one normal describes badly."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsampler.bundles.bundle import load_bundle
from lsampler.data.image_sources import open_images
from lsampler.files import new_directory
from lsampler.models.encoding import encode_to_store
from lsampler.progress import ProgressLike, shows_progress
from lsampler.store.held_out import LAST, HeldOut
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import open_store

BUNDLE = "digits"
HELD_OUT = HeldOut(597, LAST)
# The data set is ordered by writer: without a shuffle others would be held out than were trained on.
ORDER_SEED = 0


def digit_images() -> NDArray[np.float32]:
    """1797 handwritten digits (N, 8, 8) float32 in [0, 1], shuffled; they come with scikit-learn.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0).
    """
    from sklearn.datasets import load_digits

    images: NDArray[np.float32] = (load_digits().images / 16).astype(np.float32)
    return images[np.random.default_rng(ORDER_SEED).permutation(len(images))]


@shows_progress
def write_digits(folder: str | os.PathLike[str], *, progress: ProgressLike = None) -> LatentStore:
    """Write the example: ``images.npy``, and ``latents.h5`` of the bundled model ``digits``, 597 held out.

    Raises:
        LsamplerError: the folder exists.
    """
    model = load_bundle(BUNDLE).autoencoder
    with new_directory(folder) as beside:
        np.save(beside / "images.npy", digit_images())
        source = open_images(beside / "images.npy")
        encode_to_store(model, source, beside / "latents.h5", held_out=HELD_OUT, progress=progress)
    return open_store(Path(folder) / "latents.h5")
