"""Some rows of a store as a store of their own, read from it when they are needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.statistics.passes import Segment
from lsampler.store.latent_store import CHUNK_ROWS, LatentStore, Read, SingleStore
from lsampler.store.reference import Split

Change: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Latent vectors (n, D) and the codes of their labels (n, L) -> other vectors (n, D)."""


class StoreView(SingleStore):
    """Rows of another store, perhaps changed on the way: nothing is copied, and memory does not grow with them.

    Args:
        source: the store.
        rows: the numbers of the rows, ascending.
        name: what messages call the view.
        change: makes other vectors of the rows' own; None leaves them as they are.
    """

    def __init__(
        self, source: LatentStore, rows: NDArray[np.int64], *, name: str, change: Change | None = None
    ) -> None:
        super().__init__()
        self.name, self._source, self._rows, self._change = name, source, rows, change
        self.dimension, self.fingerprint = source.dimension, source.fingerprint
        self.feature_names, self.autoencoder = source.feature_names, source.autoencoder
        self.attributes, self.has_ids, self.label_columns = source.attributes, source.has_ids, source.label_columns
        self._length = len(rows)

    def segments(self, split: Split | None = "train", *, labels: bool = False) -> Sequence[Segment]:
        """The vectors in segments; other processes can read them if they can read the source's."""
        portable = all(segment.portable for segment in self._source.segments())
        return [replace(segment, portable=portable) for segment in super().segments(split, labels=labels)]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        def read(name: Any, start: int, stop: int) -> Any:
            found = self._gathered(name, start, stop)
            if name == "latents" and self._change:
                found = self._change(found, self._gathered("labels", start, stop))
            return found

        yield read

    def _gathered(self, name: Any, start: int, stop: int) -> Any:
        """What the source holds in these of the view's rows, of which there is at least one."""
        rows = self._rows[start:stop]
        parts: list[Any] = []
        for read, first, last in self._source._steps(int(rows[0]), int(rows[-1]) + 1, CHUNK_ROWS):
            inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
            if len(inside):
                there = read(name, first, last)
                parts.append([there[row] for row in inside] if name == "ids" else there[inside])
        if name == "ids":
            return [text for part in parts for text in part]
        return np.concatenate(parts)
