"""A latent store in memory: an array of vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import as_numbers, column_names, not_finite, require_table
from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment
from lsampler.store.labels import Labels
from lsampler.store.latent_shape import shape_attribute
from lsampler.store.latent_store import Read, SingleStore
from lsampler.store.reference import Split


class MemoryStore(SingleStore):
    """Latent vectors in memory, the held-out ones after the train ones.

    Args:
        latents: (N, D) finite numbers.
        held_out: (M, D) vectors of the held-out split, if any.
        name: what messages call it.
        fingerprint: of the encoder, if known.
        ids: one per vector, N + M of them, if they have any.
        latent_shape: of a latent, such as (C, h, w), if it is known.
        labels: properties of the items, arrays (N + M,) by name; see :class:`Labels`.
    """

    def __init__(
        self,
        latents: Any,
        held_out: Any = None,
        *,
        name: str = "latents",
        fingerprint: str | None = None,
        ids: Sequence[str] | None = None,
        latent_shape: Sequence[int] | None = None,
        labels: Any = None,
    ) -> None:
        super().__init__()
        self.feature_names = column_names(latents)
        self.name, self.fingerprint, self.has_ids = name, fingerprint, ids is not None
        self.attributes = {} if fingerprint is None else {"encoder": fingerprint}
        self.attributes |= shape_attribute(latent_shape)
        rows = _as_float32(latents, name)
        require_table(rows, name)
        train, self.dimension = len(rows), int(rows.shape[1])
        if held_out is not None:
            rows = np.concatenate([rows, self._checked_held_out(held_out)])
        self._length = len(rows)
        if ids is not None and len(ids) != len(rows):
            raise LsamplerError(f"{name}: {len(ids)} ids for {len(rows)} latent vectors")
        split = (np.arange(len(rows)) >= train).astype(np.uint8)
        self._columns: dict[str, Any] = {"latents": rows, "split": split, "ids": list(ids or ())}
        if labels is not None:
            found = Labels.of(labels, len(rows))
            self.label_columns, self._columns["labels"] = found.columns, found.codes

    def _checked_held_out(self, held_out: Any) -> NDArray[np.float32]:
        rows = _as_float32(held_out, f"{self.name}, held out")
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise LsamplerError(f"{self.name}: held-out vectors of shape {rows.shape}, D is {self.dimension}")
        # Statistics refuse such train vectors by themselves; nothing else checks the held-out ones.
        if len(bad := not_finite(rows)):
            raise LsamplerError(f"{self.name}: held-out vector {bad[0]} holds NaN or infinite values; encode it again")
        return rows

    def segments(self, split: Split | None = "train", *, labels: bool = False) -> Sequence[Segment]:
        """All vectors as one segment; another process cannot read them."""
        count = len(self) if split is None else self.count(split)
        return [Segment(partial(self.chunks, split, labels=labels), 0, count, portable=False)]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        yield lambda name, start, stop: self._columns[name][start:stop]


def _as_float32(latents: Any, name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return as_numbers(latents, name).astype(np.float32, copy=False)
