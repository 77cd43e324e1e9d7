"""The interface of latent stores: vectors with their splits, ids and origin, in whatever form they are kept."""

from __future__ import annotations

import contextlib
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.compute.memory import require_memory
from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.progress import ProgressLike, progress_of, track
from lsampler.showing import About, counted, encoder, fold, frame, name_of, table
from lsampler.statistics.passes import Segment, segment_rows
from lsampler.store.labels import Label, Labels, wrong_codes
from lsampler.store.latent_shape import latent_shape_of
from lsampler.store.reference import Reference, Split

SPLITS: tuple[Split, ...] = ("train", "held-out")
CHUNK_ROWS, LABEL_ROWS, COUNTED_ROWS = 4096, 1 << 16, 1 << 20
CHUNK_BYTES = 1 << 25
"""Of latents that are read at a time: 4,096 rows of 2,048 components."""
SHARD, RUN = "shard", "run"
"""Attributes of a shard: its number, and the run that wrote it."""
# What a writer sets itself; everything else is provenance. Version 0.1 wrote the attribute session.
OWN_ATTRIBUTES = frozenset({"format", "format_version", "lsampler", "created", "session", SHARD, RUN})
Read: TypeAlias = Callable[[Literal["latents", "split", "ids", "labels"], int, int], Any]
"""Reads from one row up to another: latents (n, D) float32, indices in :data:`SPLITS` (n,) uint8, a list of ids, or the
codes of labels (n, L) float32."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Latent vectors (n, D) with an id each, or None, and the split of each, or None if all are ``train``.

    ``skipped`` names the items before the last of these that could not be used, with the reasons.
    """

    latents: NDArray[np.float32]
    ids: Sequence[str] | None = None
    splits: Sequence[Split] | None = None
    labels: Labels | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.latents)


class LatentStore(Reference):
    """Latent vectors in their order, each with a split and perhaps an id; :func:`lsampler.open_store` opens one.

    Methods that take ``start`` and ``stop`` read the rows from ``start`` up to, not including, ``stop`` of all splits;
    without them they read the whole store.

    Attributes:
        attributes: the origin: encoder fingerprint, source, preprocessing, versions, time.
        has_ids: whether the vectors have ids.
        label_columns: what each label is; empty where the vectors have none.
    """

    has_latents = True
    attributes: dict[str, Any]
    has_ids: bool
    label_columns: tuple[Label, ...] = ()
    _length: int

    def _about(self) -> About:
        known = [f"D = {self.dimension}", "with ids" if self.has_ids else "", encoder(self.fingerprint)]
        return About(
            type(self).__name__, name_of(self.name), [self._sizes(), str(self.attributes.get("kind", "")), *known]
        )

    def _sizes(self) -> str:
        """How many vectors there are; those of a split only where it is quick to count them."""
        if len(self) <= COUNTED_ROWS or "_split_counts" in self.__dict__:
            with contextlib.suppress(LsamplerError):  # of a file that is gone or damaged by now
                train, held_out = self.count("train"), self.count("held-out")
                return f"{train:,} train and {held_out:,} held-out vectors" if held_out else counted(train, "vector")
        return counted(len(self), "vector")

    def _parts(self) -> Iterator[Markup]:
        if self.attributes:
            yield fold(
                "Attributes", table(["attribute", "value"], [(key, shortened(v)) for key, v in self.attributes.items()])
            )

    def to_frame(self, split: Split | None = None) -> Any:
        """The rows as a ``pandas.DataFrame``: ``id`` if there are any, ``split``, labels, and a column per component.

        The columns of the components are ``z0``, ``z1``, and so on, float32.

        Args:
            split: ``train`` or ``held-out``; None takes all rows.

        Raises:
            LsamplerError: pandas is not installed, an unknown split, NaN or infinite values, or too little memory.
        """
        if split is not None and split not in SPLITS:
            raise LsamplerError(f"`split={split}` is unknown{nearest_name(str(split), SPLITS)}")
        require_memory(8.0 * len(self) * self.dimension, f"{self.name}: to_frame()", "read it in parts by `rows`")
        splits = np.array(self.splits(), dtype=object)
        chosen = np.ones(len(self), dtype=bool) if split is None else splits == split
        latents = self.read()[chosen]
        columns: dict[str, Any] = {"id": np.array(self.ids(), dtype=object)[chosen]} if self.has_ids else {}
        columns["split"] = splits[chosen]
        columns |= {name: values[chosen] for name, values in self.labels.items() if name not in columns}
        return frame(columns | {f"z{j}": latents[:, j] for j in range(self.dimension)}, type(self).__name__)

    @property
    def latent_shape(self) -> tuple[int, ...] | None:
        """The shape of a latent, as the attribute ``latent_shape`` records it; None if there is none."""
        return latent_shape_of(self.attributes, self.dimension, self.name)

    def provenance(self) -> dict[str, Any]:
        """The attributes that a copy keeps."""
        return {key: value for key, value in self.attributes.items() if key not in OWN_ATTRIBUTES}

    def __len__(self) -> int:
        return self._length

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        return int(self._split_counts[SPLITS.index(split)])

    # Not read when opening: a store whose splits are damaged must still open for verify().
    @cached_property
    def _split_counts(self) -> NDArray[np.int64]:
        counts = np.zeros(256, np.int64)
        for read, first, last in self._steps(0, None, COUNTED_ROWS):
            counts += np.bincount(read("split", first, last), minlength=len(counts))
        return counts

    @abstractmethod
    def _files(self) -> Iterable[tuple[SingleStore, int]]:
        """The files or arrays that hold the rows, each with the number of its first row."""

    @abstractmethod
    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        """For each chunk, how many rows were read and what is wrong with them."""

    def segments(self, split: Split | None = "train", *, labels: bool = False) -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in segments that tasks can read at the same time."""
        step = segment_rows(len(self))
        return [
            Segment(partial(file.chunks, split, start=first, stop=first + rows, labels=labels), offset + first, rows)
            for file, offset in self._files()
            for first in range(0, len(file), step)
            for rows in [min(step, len(file) - first)]
        ]

    def chunks(
        self,
        split: Split | None = "train",
        chunk_rows: int | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        labels: bool = False,
    ) -> Iterator[NDArray[np.float32]]:
        """The latent vectors of a split, or all with None, in order, as arrays (n, D) float32 of a few rows each.

        ``chunk_rows`` is how many are read at a time; by default 4,096, or fewer of many components. With ``labels``
        the codes of the L labels are further columns, (n, D + L), and of all splits the number of the split is one
        more, (n, D + L + 1).
        """
        chunk_rows = chunk_rows or min(CHUNK_ROWS, max(1, CHUNK_BYTES // (4 * self.dimension)))
        for read, first, last in self._steps(start, stop, chunk_rows):
            chosen = None if split is None else read("split", first, last) == SPLITS.index(split)
            if chosen is None or chosen.any():
                rows = read("latents", first, last)
                if labels:
                    codes = [] if split else [read("split", first, last)[:, np.newaxis].astype(np.float32)]
                    rows = np.concatenate([rows, read("labels", first, last), *codes], axis=1)
                yield rows if chosen is None or chosen.all() else rows[chosen]

    def rows(self, start: int = 0, stop: int | None = None, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
        """These rows with their ids, if there are any, and splits, a few at a time."""
        at, _ = self._bounds(start, stop)
        for read, first, last in self._steps(start, stop, chunk_rows):
            ids = read("ids", first, last) if self.has_ids else None
            labels = Labels(self.label_columns, read("labels", first, last)) if self.label_columns else None
            latents = self._finite(read("latents", first, last), at)
            yield Rows(latents, ids, self._named(read("split", first, last)), labels)
            at += last - first

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """The latent vectors (n, D) float32 of these rows."""
        found = [read("latents", first, last) for read, first, last in self._steps(start, stop)]
        rows = found[0] if len(found) == 1 else np.concatenate([np.empty((0, self.dimension), np.float32), *found])
        return self._finite(rows, start)

    def _finite(self, rows: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        if len(bad := not_finite(rows)):
            raise LsamplerError(f"{self.name}: row {start + bad[0]} holds NaN or infinite values; encode it again")
        return rows

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """The ids of these rows; empty strings if the store has none."""
        steps = self._steps(start, stop)
        return [text for read, a, b in steps for text in (read("ids", a, b) if self.has_ids else [""] * (b - a))]

    @property
    def labels(self) -> Labels:
        """The labels of all rows, in their order; a mapping that is empty where there are none."""
        return self.labels_of()

    def labels_of(self, start: int = 0, stop: int | None = None) -> Labels:
        """The labels of these rows."""
        begin, end = self._bounds(start, stop)
        steps = self._steps(begin, end) if self.label_columns else ()
        parts = [read("labels", first, last) for read, first, last in steps]
        width = len(self.label_columns)
        return Labels(self.label_columns, np.concatenate(parts) if parts else np.empty((end - begin, width)))

    def label_parts(self) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.float32]]]:
        """For parts of the rows: the number of the first, which are train rows (n,), and the codes of labels (n, L)."""
        at = 0
        for read, first, last in self._steps(0, None, LABEL_ROWS):
            yield at, read("split", first, last) == SPLITS.index("train"), read("labels", first, last)
            at += last - first

    def splits(self, start: int = 0, stop: int | None = None) -> list[Split]:
        """The split of each of these rows."""
        return [split for read, a, b in self._steps(start, stop) for split in self._named(read("split", a, b))]

    def _named(self, codes: NDArray[np.uint8]) -> list[Split]:
        if len(codes) and codes.max() >= len(SPLITS):
            raise LsamplerError(f"{self.name}: damaged, a split is unknown; run 'lsampler store verify' for its rows")
        named: list[Split] = np.array(SPLITS, dtype=object)[codes].tolist()
        return named

    def verify(self, progress: ProgressLike = None) -> list[str]:
        """Read everything and name what is wrong, by rows; an empty list if nothing is."""
        with progress_of(progress) as bars:
            checked = track(self._verified(), bars, "verifying", len(self), lambda chunk: chunk[0])
            return [problem for _, problems in checked for problem in problems]

    def _steps(self, start: int, stop: int | None, step: int | None = None) -> Iterator[tuple[Read, int, int]]:
        """Opens the files with the rows ``start`` to ``stop``, and divides the rows of each into steps."""
        begin, end = self._bounds(start, stop)
        for file, offset in self._files():
            first, last = max(begin - offset, 0), min(end - offset, len(file))
            if first < last:
                with file._reader() as read:
                    for row in range(first, last, step or last):
                        yield read, row, min(row + (step or last), last)

    def _bounds(self, start: int, stop: int | None) -> tuple[int, int]:
        """``start`` and ``stop`` as numbers of rows that exist, in this order."""
        try:
            first = operator.index(start)
            last = len(self) if stop is None else operator.index(stop)
        except TypeError:
            first, last = -1, -1
        if not 0 <= first <= min(last, len(self)):
            there = f"the store has {len(self)}; give whole numbers from 0"
            raise LsamplerError(f"{self.name}: there are no rows from `start={start}` to `stop={stop}`, {there}")
        return first, min(last, len(self))


class SingleStore(LatentStore):
    """A store that is one file or one array."""

    @abstractmethod
    def _reader(self) -> AbstractContextManager[Read]:
        """Opens the store; what it gives reads rows that exist."""

    def _files(self) -> Iterable[tuple[SingleStore, int]]:
        return [(self, 0)]

    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        for first in range(0, len(self), CHUNK_ROWS):
            last = min(first + CHUNK_ROWS, len(self))
            rows, problems = f"rows {first}..{last - 1}", []
            try:
                with self._reader() as read:
                    latents, codes = read("latents", first, last), read("split", first, last)
                    codes_of_labels = read("labels", first, last) if self.label_columns else None
                    if self.has_ids:
                        read("ids", first, last)
            except LsamplerError:
                yield last - first, [f"{rows}: damaged, a checksum does not match"]
                continue
            if len(bad := not_finite(latents)):
                problems.append(f"{rows}: {len(bad)} hold NaN or infinite values, first {first + bad[0]}")
            if codes.max() >= len(SPLITS):
                problems.append(f"{rows}: unknown split")
            wrong = [] if codes_of_labels is None else wrong_codes(self.label_columns, codes_of_labels)
            problems += [f"{rows}: label '{shortened(name)}' has a value that it cannot have" for name in wrong]
            yield last - first, problems
