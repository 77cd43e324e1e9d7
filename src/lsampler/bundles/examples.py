"""The examples that ``lsampler example`` writes: data, and their latents under a bundled model."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.bundles.bundle import load_bundle
from lsampler.bundles.heartbeats import beat_kinds, heartbeats
from lsampler.data.image_sources import open_images
from lsampler.data.item_rows import open_items
from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import new_directory
from lsampler.models.encode_ranges import EncodeOptions
from lsampler.models.encoding import encode_to_store
from lsampler.progress import ProgressLike, shows_progress
from lsampler.store.held_out import LAST, HeldOut
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import open_store

LATENTS, LABELS = "latents.h5", "labels.csv"
# The digits are ordered by writer: without a shuffle others would be held out than were trained on.
ORDER_SEED = 0


@dataclass(frozen=True)
class Example:
    """Data that come with lsampler or with what it depends on.

    Attributes:
        bundle: the name of the bundled model that was trained on them.
        file: what they are written to.
        plural: what messages call them.
        write: writes them to a file.
        held_out: what the training of the model held out.
        labels: what is known of each item, by name.
    """

    bundle: str
    file: str
    plural: str
    write: Callable[[Path], None]
    held_out: HeldOut
    labels: Callable[[], dict[str, NDArray[Any]]]


def digit_images() -> NDArray[np.float32]:
    """1797 handwritten digits (N, 8, 8) float32 in [0, 1], shuffled; they come with scikit-learn.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0).
    """
    from sklearn.datasets import load_digits

    images: NDArray[np.float32] = (load_digits().images / 16).astype(np.float32)
    return images[np.random.default_rng(ORDER_SEED).permutation(len(images))]


def _digit_labels() -> dict[str, NDArray[Any]]:
    from sklearn.datasets import load_digits

    digits = load_digits().target
    return {"digit": digits[np.random.default_rng(ORDER_SEED).permutation(len(digits))]}


def _diagnoses() -> dict[str, NDArray[Any]]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return {"diagnosis": data.target_names[data.target].astype(object)}


def _write_digits(path: Path) -> None:
    np.save(path, digit_images())


def _write_measurements(path: Path) -> None:
    """569 cell samples of 30 measurements each, with ids; they come with scikit-learn.

    Source: Wolberg, Mangasarian, Street and Street, Breast Cancer Wisconsin (Diagnostic), UCI 1995 (CC BY 4.0).
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", *data.feature_names])
        writer.writerows([f"s{k:03d}", *(f"{value:.6g}" for value in row)] for k, row in enumerate(data.data))


def _write_heartbeats(path: Path) -> None:
    np.save(path, heartbeats())


EXAMPLES = {
    "digits": Example("digits", "images.npy", "digits", _write_digits, HeldOut(597, LAST), _digit_labels),
    "table": Example(
        "cancer", "samples.csv", "samples of 30 measurements", _write_measurements, HeldOut(169), _diagnoses
    ),
    "signal": Example(
        "heartbeats",
        "beats.npy",
        "heartbeats of two leads",
        _write_heartbeats,
        HeldOut(500),
        lambda: {"beat": beat_kinds()},
    ),
}


def example_of(what: str) -> Example:
    """The example of a name. Raises LsamplerError if there is none."""
    if what not in EXAMPLES:
        raise LsamplerError(f"`what={what}`: there is no such example{nearest_name(what, EXAMPLES)}")
    return EXAMPLES[what]


@shows_progress
def write_example(
    folder: str | os.PathLike[str], what: str = "digits", *, progress: ProgressLike = None
) -> LatentStore:
    """Write the data of an example, ``labels.csv``, and ``latents.h5``, their latents under its model with the labels.

    Args:
        folder: to write.
        what: ``digits``, ``table`` or ``signal``.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: the folder exists, or there is no such example.
    """
    example = example_of(what)
    model = load_bundle(example.bundle).autoencoder
    with new_directory(folder) as beside:
        path = beside / example.file
        example.write(path)
        source = open_images(path) if model.item.is_image else open_items(path, model.item)
        labels = example.labels()
        _write_labels(beside / LABELS, source.ids, labels)
        options = EncodeOptions(labels=labels)
        encode_to_store(model, source, beside / LATENTS, held_out=example.held_out, options=options, progress=progress)
    return open_store(Path(folder) / LATENTS)


def _write_labels(path: Path, ids: Sequence[str], labels: Mapping[str, NDArray[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", *labels])
        writer.writerows(zip(ids, *labels.values(), strict=True))
