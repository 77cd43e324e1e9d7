"""A latent store in memory: an array of vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment
from lsampler.store.latent_store import Read, SingleStore, StoreSegment
from lsampler.store.reference import Split


class MemoryStore(SingleStore):
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
        train = _as_float32(latents, name)
        if train.ndim != 2 or train.shape[1] == 0:
            raise LsamplerError(f"{name}: shape {train.shape}, expected (number of vectors, D)")
        self.dimension = int(train.shape[1])
        both = train if held_out is None else np.concatenate([train, self._checked_held_out(held_out)])
        self._columns: dict[str, Any] = {
            "latents": both,
            "split": (np.arange(len(both)) >= len(train)).astype(np.uint8),
        }
        self._length, self.has_ids = len(both), ids is not None
        if ids is not None:
            self._columns["ids"] = list(ids)
            if len(ids) != len(self):
                raise LsamplerError(f"{name}: {len(ids)} ids for {len(self)} latent vectors")

    def _checked_held_out(self, held_out: Any) -> NDArray[np.float32]:
        rows = _as_float32(held_out, f"{self.name}, held out")
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise LsamplerError(f"{self.name}: held-out vectors of shape {rows.shape}, D is {self.dimension}")
        # Statistics refuse such train vectors by themselves; nothing else checks the held-out ones.
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise LsamplerError(f"{self.name}: held-out vector {bad[0]} holds NaN or infinite values; encode it again")
        return rows

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """All vectors as one segment; another process cannot read them."""
        first = 0 if split == "train" else self.count("train")
        return [StoreSegment(self, 0, self.count(split), split, first, portable=False)]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        yield lambda name, start, stop: self._columns[name][start:stop]


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
