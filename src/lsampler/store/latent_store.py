"""The interface of latent stores: vectors with their splits, ids and origin, in whatever form they are kept."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.progress import Progress, track
from lsampler.statistics.passes import Segment
from lsampler.store.reference import Reference, Split

__all__ = ["CHUNK_ROWS", "SPLITS", "LatentStore", "Read", "Rows"]

SPLITS: tuple[Split, ...] = ("train", "held-out")
CHUNK_ROWS = 4096
Read: TypeAlias = Callable[[Literal["latents", "split", "ids"], int, int], Any]
"""Reads from one row up to another: latents (n, D) float32, indices in :data:`SPLITS` (n,) uint8, or a list of ids."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Latent vectors (n, D) with an id each, or None, and the split of each, or None if all are ``train``."""

    latents: NDArray[np.float32]
    ids: Sequence[str] | None = None
    splits: Sequence[Split] | None = None

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self.latents)


class LatentStore(Reference):
    """Latent vectors in their order, each with a split and perhaps an id; :func:`lsampler.open_store` opens one.

    Methods that take ``start`` and ``stop`` read the rows from ``start`` up to, not including, ``stop`` of all splits;
    without them they read the whole store.

    Attributes:
        attributes: the origin: encoder fingerprint, source, preprocessing, versions, time.
        has_ids: whether the vectors have ids.
    """

    has_latents = True
    attributes: dict[str, Any]
    has_ids: bool

    @abstractmethod
    def __len__(self) -> int:
        """The number of latent vectors."""

    @abstractmethod
    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""

    @abstractmethod
    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in segments that tasks can read at the same time."""

    @abstractmethod
    def _reader(self) -> AbstractContextManager[Read]:
        """Opens the store and reads rows that exist."""

    def chunks(
        self, split: Split | None = "train", chunk_rows: int = CHUNK_ROWS, *, start: int = 0, stop: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The latent vectors of a split, or all with None, in order, as arrays (n, D) float32 of a few rows each."""
        with self._reader() as read:
            for first, last in self._steps(start, stop, chunk_rows):
                if split is None:
                    yield read("latents", first, last)
                    continue
                chosen = read("split", first, last) == SPLITS.index(split)
                if chosen.any():
                    rows = read("latents", first, last)
                    yield rows if chosen.all() else rows[chosen]

    def rows(self, start: int = 0, stop: int | None = None, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
        """These rows with their ids, if there are any, and splits, a few at a time."""
        with self._reader() as read:
            for first, last in self._steps(start, stop, chunk_rows):
                ids = read("ids", first, last) if self.has_ids else None
                yield Rows(read("latents", first, last), ids, self._named(read("split", first, last)))

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """The latent vectors (n, D) float32 of these rows."""
        with self._reader() as read:
            rows: NDArray[np.float32] = read("latents", *self._bounds(start, stop))
        return rows

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """The ids of these rows; empty strings if the store has none."""
        first, last = self._bounds(start, stop)
        if not self.has_ids:
            return [""] * (last - first)
        with self._reader() as read:
            ids: list[str] = read("ids", first, last)
        return ids

    def splits(self, start: int = 0, stop: int | None = None) -> list[Split]:
        """The split of each of these rows."""
        with self._reader() as read:
            return self._named(read("split", *self._bounds(start, stop)))

    def _named(self, codes: NDArray[np.uint8]) -> list[Split]:
        if len(codes) and codes.max() >= len(SPLITS):
            raise LsamplerError(f"{self.name}: damaged, a split is unknown; run 'lsampler store verify' for its rows")
        return [SPLITS[code] for code in codes]

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Read everything and name what is wrong, by rows; an empty list if nothing is."""
        checked = track(self._verified(), progress, "verifying", len(self), lambda chunk: chunk[0])
        return [problem for _, problems in checked for problem in problems]

    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        """For each chunk, how many rows were read and what is wrong with them."""
        for first, last in self._steps(0, None, CHUNK_ROWS):
            rows, problems = f"rows {first}..{last - 1}", []
            try:
                latents, _ = self.read(first, last), self.ids(first, last)
                with self._reader() as read:
                    codes = read("split", first, last)
            except LsamplerError:
                yield last - first, [f"{rows}: damaged, a checksum does not match"]
                continue
            bad = np.flatnonzero(~np.isfinite(latents).all(axis=1))
            if len(bad):
                problems.append(f"{rows}: {len(bad)} hold NaN or infinite values, first {first + bad[0]}")
            if codes.max() >= len(SPLITS):
                problems.append(f"{rows}: unknown split")
            yield last - first, problems

    def _steps(self, start: int, stop: int | None, step: int) -> Iterator[tuple[int, int]]:
        first, last = self._bounds(start, stop)
        return ((row, min(row + step, last)) for row in range(first, last, step))

    def _bounds(self, start: int, stop: int | None) -> tuple[int, int]:
        """``start`` and ``stop`` as numbers of rows that exist.

        Raises:
            LsamplerError: one is negative or not a whole number, or ``start`` is beyond ``stop`` or the last row.
        """
        try:
            first = operator.index(start)
            last = len(self) if stop is None else operator.index(stop)
        except TypeError:
            first, last = -1, -1
        if not 0 <= first <= min(last, len(self)):
            raise LsamplerError(
                f"{self.name}: there are no rows from `start={start}` to `stop={stop}`, the store has {len(self)}; "
                "give whole numbers from 0"
            )
        return first, min(last, len(self))
