"""Small data that are the same every time, for plugins to be fitted to and scored with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.statistics.summary import Statistics
from lsampler.store.latent_store import Read
from lsampler.store.memory_store import MemoryStore
from lsampler.store.reference import Reference

__all__ = [
    "LinearImages",
    "WatchedReference",
    "awkward_references",
    "correlated",
    "ordinary",
    "other",
    "statistics_only",
]

FINGERPRINT = "compliance"


class WatchedReference(MemoryStore):
    """Remembers what was asked of it: ``latents`` themselves, ``statistics``, or neither."""

    def __init__(self, latents: NDArray[np.float32], held_out: NDArray[np.float32] | None = None) -> None:
        super().__init__(latents, held_out, name="synthetic latents", fingerprint=FINGERPRINT)
        self.asked: set[str] = set()
        self._summing = 0

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        if not self._summing:
            self.asked.add("latents")
        with super()._reader() as read:
            yield read

    def statistics(self, trim: float | None = None) -> Statistics:
        """See :meth:`Reference.statistics`."""
        with self._sums():
            return super().statistics(trim)

    def principal_statistics(self, trim: float | None = None) -> Statistics:
        """See :meth:`Reference.principal_statistics`."""
        with self._sums():
            return super().principal_statistics(trim)

    def radius_quantiles(self, components: int | None = None) -> NDArray[np.float64]:
        """See :meth:`Reference.radius_quantiles`."""
        with self._sums():
            return super().radius_quantiles(components)

    @contextlib.contextmanager
    def _sums(self) -> Iterator[None]:
        """Vectors read in the body are read for statistics, which a bundle has, too."""
        self.asked.add("statistics")
        self._summing += 1
        try:
            yield
        finally:
            self._summing -= 1


def statistics_only(source: Reference) -> StatisticsReference:
    """A reference like that of a bundle: the statistics of another, and none of its vectors."""
    return StatisticsReference.of(source, name="a bundle")


def correlated(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Vectors (rows, dimension) of a correlated normal with its centre off the origin."""
    rng = np.random.default_rng([seed, dimension])
    mixing = rng.normal(size=(dimension, dimension)) * np.linspace(1.5, 0.5, dimension)
    centre = rng.normal(size=dimension)
    return (rng.normal(size=(rows, dimension)) @ mixing + centre).astype(np.float32)


def ordinary(rows: int = 600, dimension: int = 6, held_out: int = 200) -> WatchedReference:
    """What any plugin can work with; every call makes a new one of the same vectors."""
    vectors = correlated(rows + held_out, dimension, seed=1)
    return WatchedReference(vectors[:rows], vectors[rows:])


def other(reference: Reference) -> WatchedReference:
    """Other vectors of the same D, and of another shape."""
    return WatchedReference(correlated(300, reference.dimension, seed=2) * 3 - 5)


@functools.cache
def awkward_references() -> dict[str, NDArray[np.float32]]:
    """Vectors that are few, flat, far away, tiny or huge."""
    plain = correlated(60, 4, seed=3)
    constant, repeated = plain.copy(), np.repeat(plain[:6], 10, axis=0)
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
        "every vector ten times": repeated,
        "a centre at 10,000": plain + np.float32(1e4),
        "values around 0.001": plain * np.float32(1e-3),
        "values around 1,000": plain * np.float32(1e3),
        "components of very unequal width": plain * np.array([1e-3, 1, 30, 1e3], dtype=np.float32),
    }


class LinearImages:
    """An encoder and decoder without training: images are a fixed linear map of the latents, squeezed into 0 .. 255."""

    edge = 12

    def __init__(self, dimension: int) -> None:
        rng = np.random.default_rng([4, dimension])
        self._map = rng.normal(size=(dimension, self.edge * self.edge * 3)) / np.sqrt(4 * dimension)
        self._back = np.linalg.pinv(self._map)

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latent vectors (n, D) -> images (n, 12, 12, 3) uint8."""
        light = 1 / (1 + np.exp(-np.clip(latents @ self._map, -30, 30)))
        images: NDArray[np.uint8] = np.rint(255 * light).astype(np.uint8).reshape(-1, self.edge, self.edge, 3)
        return images

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images (n, 12, 12, 3) uint8 -> latent vectors (n, D)."""
        light = np.clip(images.reshape(len(images), -1) / 255, 1e-3, 1 - 1e-3)
        latents: NDArray[np.float32] = (np.log(light / (1 - light)) @ self._back).astype(np.float32)
        return latents
