"""Small data, the same every time, that plugins are fitted to and scored with."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.store.memory_store import MemoryStore
from lsampler.store.reference import Reference


def reference_of(vectors: NDArray[np.float32], held_out: NDArray[np.float32] | None = None) -> MemoryStore:
    """A reference with these vectors."""
    return MemoryStore(vectors, held_out, name="synthetic latents", fingerprint="compliance")


FAR = "standard deviations"


def statistics_only(source: Reference, *, has_latents: bool = False) -> StatisticsReference:
    """The statistics of another reference without its vectors, as in a bundle; ``has_latents`` may be a lie."""
    reference = StatisticsReference.of(source, name="a bundle")
    reference.has_latents = has_latents
    return reference


def correlated(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Vectors (rows, dimension) of a correlated normal with its centre off the origin."""
    rng = np.random.default_rng([seed, dimension])
    mixing = rng.normal(size=(dimension, dimension)) * np.linspace(1.5, 0.5, dimension)
    centre = rng.normal(size=dimension)
    return (rng.normal(size=(rows, dimension)) @ mixing + centre).astype(np.float32)


def ordinary(rows: int = 600, dimension: int = 6, held_out: int = 200) -> MemoryStore:
    """A reference that any plugin can work with; every call makes a new one with the same vectors."""
    vectors = correlated(rows + held_out, dimension, seed=1)
    return reference_of(vectors[:rows], vectors[rows:])


def other(reference: Reference) -> MemoryStore:
    """A reference with the same D and other vectors."""
    return reference_of(correlated(300, reference.dimension, seed=2) * 3 - 5)


@functools.cache
def awkward_vectors() -> dict[str, NDArray[np.float32]]:
    """Vectors that are few, flat, tiny, huge or far away."""
    plain = correlated(60, 4, seed=3)
    constant = plain.copy()
    constant[:, 2] = 1.5
    return {
        "D = 1": correlated(60, 1, seed=3),
        "D = 2": correlated(60, 2, seed=3),
        "1 vector": plain[:1],
        "2 vectors": plain[:2],
        "3 vectors": plain[:3],
        "fewer vectors than D": correlated(7, 12, seed=3),
        "a constant component": constant,
        "equal vectors": np.ones((20, 4), dtype=np.float32),
        "every vector ten times": np.repeat(plain[:6], 10, axis=0),
        "values around 0.001": plain * np.float32(1e-3),
        "values around 1,000": plain * np.float32(1e3),
        "components of very unequal width": plain * np.array([1e-3, 1, 30, 1e3], dtype=np.float32),
        # So far from the origin float32 keeps only a few digits of the spread.
        **{f"a centre at {far:,} {FAR}": plain / plain.std(axis=0) + np.float32(far) for far in (10_000, 1_000_000)},
    }


def arrays_of(reference: Reference) -> dict[str, NDArray[Any]]:
    """Everything in a reference that a plugin could overwrite: vectors, and statistics with and without trimming."""
    found: dict[str, NDArray[Any]] = {"the vectors": reference.latents(), "the held-out vectors": reference.held_out()}
    for trim, kind in itertools.product((None, 1.7), ("statistics", "principal_statistics")):
        with contextlib.suppress(LsamplerError):  # trimming may leave too few vectors
            statistics = getattr(reference, kind)(trim)
            arrays = statistics.as_arrays() | {"std": statistics.std}
            arrays |= {f"pca.{name}": getattr(statistics.pca, name) for name in ("mean", "axes", "variances")}
            found |= {f"{name} in {kind} (trim={trim})": array for name, array in arrays.items()}
    return found


@functools.cache
def linear_model(dimension: int) -> dict[str, Any]:
    """An encoder and a decoder without training: images (12, 12, 3) are a fixed linear map of the latents."""
    to_pixels = np.random.default_rng([4, dimension]).normal(size=(dimension, 432)) / np.sqrt(4 * dimension)
    back = np.linalg.pinv(to_pixels)

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        light = 1 / (1 + np.exp(-np.clip(latents @ to_pixels, -30, 30)))
        images: NDArray[np.uint8] = np.rint(255 * light).astype(np.uint8).reshape(-1, 12, 12, 3)
        return images

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        light = np.clip(images.reshape(len(images), -1) / 255, 1e-3, 1 - 1e-3)
        latents: NDArray[np.float32] = (np.log(light / (1 - light)) @ back).astype(np.float32)
        return latents

    return {"decode": decode, "encode": encode}
