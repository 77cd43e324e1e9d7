"""A latent store in memory: an array of vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment
from lsampler.store.latent_store import CHUNK_ROWS, LatentStore, Read
from lsampler.store.reference import Split

__all__ = ["MemoryStore"]


class MemoryStore(LatentStore):
    """Latent vectors in memory, the held-out ones after the train ones.

    Args:
        latents: (N, D) finite numbers.
        held_out: (M, D) vectors of the held-out split, if any.
        name: what messages call it.
        fingerprint: of the encoder, if known.
        ids: one per vector, N + M of them, if they have any.
    """

    def __init__(
        self,
        latents: Any,
        held_out: Any = None,
        *,
        name: str = "latents",
        fingerprint: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.attributes = {} if fingerprint is None else {"encoder": fingerprint}
        self._latents = _as_float32(latents, name)
        if self._latents.ndim != 2 or self._latents.shape[1] == 0:
            raise LsamplerError(f"{name}: shape {self._latents.shape}, expected (number of vectors, D)")
        self._train: int = len(self._latents)
        self.dimension = self._latents.shape[1]
        if held_out is not None:
            self._add_held_out(_as_float32(held_out, f"{name}, held out"))
        if ids is not None and len(ids) != len(self):
            raise LsamplerError(f"{name}: {len(ids)} ids for {len(self)} latent vectors")
        self._ids, self.has_ids = list(ids or ()), ids is not None

    def _add_held_out(self, held_out: NDArray[np.float32]) -> None:
        if held_out.ndim != 2 or held_out.shape[1] != self.dimension:
            raise LsamplerError(f"{self.name}: held-out vectors of shape {held_out.shape}, D is {self.dimension}")
        # Statistics refuse such train vectors by themselves; nothing else checks the held-out ones.
        bad = np.flatnonzero(~np.isfinite(held_out).all(axis=1))
        if len(bad):
            raise LsamplerError(f"{self.name}: held-out vector {bad[0]} holds NaN or infinite values; encode it again")
        self._latents = np.concatenate([self._latents, held_out])

    def __len__(self) -> int:
        """The number of latent vectors."""
        return len(self._latents)

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        return self._train if split == "train" else len(self._latents) - self._train

    def chunks(
        self, split: Split | None = "train", chunk_rows: int = CHUNK_ROWS, *, start: int = 0, stop: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The latent vectors of a split, or all with None, in order, as views (n, D) of a few rows each."""
        first, last = self._bounds(start, stop)
        low, high = {"train": (0, self._train), "held-out": (self._train, len(self))}.get(str(split), (first, last))
        return super().chunks(None, chunk_rows, start=min(max(first, low), high), stop=max(min(last, high), low))

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """All vectors as one segment; another process cannot read them."""
        return [_Whole(self, split, self.count(split))]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        splits = (np.arange(len(self)) >= self._train).astype(np.uint8)
        columns: dict[str, Any] = {"latents": self._latents, "ids": self._ids, "split": splits}
        yield lambda name, start, stop: columns[name][start:stop]


@dataclass(frozen=True)
class _Whole:
    """All vectors of a split, in this process."""

    store: MemoryStore
    split: Split
    rows: int
    start: int = 0
    portable: bool = False

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        return self.store.chunks(self.split)


def _as_float32(latents: Any, name: str) -> NDArray[np.float32]:
    problem = f"{name}: not an array of numbers (number of vectors, D)"
    try:
        array = np.asarray(latents)
        if array.dtype.kind not in "fiubO":  # NumPy would read texts as numbers and drop imaginary parts
            raise LsamplerError(f"{problem}, but of type {array.dtype}")
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
            return array.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise LsamplerError(problem) from error
