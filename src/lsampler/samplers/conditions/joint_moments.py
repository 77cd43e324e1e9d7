"""Joint moments of latent vectors and their labels, in one pass over a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.memory import require_memory
from lsampler.compute.one_thread import product, single_precision_is_full
from lsampler.errors import LsamplerError, shortened
from lsampler.samplers.conditions.design import Design
from lsampler.statistics.moments import SAMPLED_ROWS, gram
from lsampler.statistics.passes import DOUBLE_ROWS, Segment, over_segments
from lsampler.statistics.wide import WIDE
from lsampler.store.latent_store import SPLITS, LatentStore


@dataclass(frozen=True)
class JointMoments:
    """Joint moments of latent vectors and labels, in double precision.

    Attributes:
        count: of the rows without a missing label.
        mean: (D,) of the latent vectors.
        label_mean: (P,) of the columns of labels.
        scatter: (P, P) sums of products of deviations of labels.
        cross: (P, D) sums of products of deviations of labels and of latent vectors.
        own: (D, D) sums of products of deviations of latent vectors; of more than 2,048 components (D,) of squares.
        minimum: (P,) smallest values of the columns.
        maximum: (P,) largest ones.
    """

    count: int
    mean: NDArray[np.float64]
    label_mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    cross: NDArray[np.float64]
    own: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: NDArray[np.float32], labels: NDArray[np.float64], room: NDArray[Any] | None = None
    ) -> JointMoments:
        """Those of latent vectors (n, D) and the columns of their labels (n, P).

        Products are about a point near the mean, and added up in double precision.

        Args:
            rows: the vectors.
            labels: the columns.
            room: (at least n, D) of the type of numbers to multiply, which is overwritten; None multiplies float64.
                Where squares of single precision overflow, all are of double precision.
        """
        if room is None:
            room = np.empty(rows.shape)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported by the caller
            found = cls._of(rows, labels, room[: len(rows)])
            return found if np.isfinite(found.own).all() else cls._of(rows, labels, np.empty(rows.shape))

    @classmethod
    def _of(cls, rows: NDArray[np.float32], labels: NDArray[np.float64], deviations: NDArray[Any]) -> JointMoments:
        near = rows[::SAMPLED_ROWS].mean(axis=0).astype(np.float32)
        np.subtract(rows, near, out=deviations, dtype=deviations.dtype)
        label_mean = labels.mean(axis=0)
        about = np.ones((len(rows), labels.shape[1] + 1), deviations.dtype)
        np.subtract(labels, label_mean, out=about[:, 1:], casting="same_kind")
        sums, *cross = product(about.T, deviations).astype(np.float64)
        scatter = product(about[:, 1:].T, about[:, 1:]).astype(np.float64)
        own = _squares(deviations) - _square(sums) / len(rows)
        known = label_mean, scatter, np.array(cross), own, labels.min(axis=0), labels.max(axis=0)
        return cls(len(rows), near + sums / len(rows), *known)

    def __add__(self, other: JointMoments) -> JointMoments:
        """Those of the rows of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        weight = self.count * other.count / count
        shift, label_shift = other.mean - self.mean, other.label_mean - self.label_mean
        return JointMoments(
            count,
            self.mean + shift * (other.count / count),
            self.label_mean + label_shift * (other.count / count),
            self.scatter + other.scatter + np.outer(label_shift, label_shift) * weight,
            self.cross + other.cross + np.outer(label_shift, shift) * weight,
            self.own + other.own + _square(shift) * weight,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )


def _squares(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Sums over rows (n, D) of their products (D, D), or of their squares (D,) where there are many components."""
    found = gram(rows) if rows.shape[1] <= WIDE else np.square(rows).sum(axis=0)
    return found.astype(np.float64)


def _square(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of a single row (D,)."""
    return np.outer(row, row) if len(row) <= WIDE else np.square(row)


@dataclass(frozen=True)
class LabelledPass:
    """What one pass over the latent vectors of a store and their labels finds.

    Attributes:
        moments: of the train vectors without a missing label; None if there are none.
        complete: (m,) numbers of the rows of both splits without a missing label.
        rows: (k, L) codes of train rows without a missing label, evenly spaced.
    """

    moments: JointMoments | None
    complete: NDArray[np.int64]
    rows: NDArray[np.float32]


def labelled_pass(store: LatentStore, design: Design, most: int) -> LabelledPass:
    """One pass over a store, whose memory does not grow with the rows but for 8 bytes of their numbers.

    Args:
        store: with labels.
        design: those to use.
        most: how many rows of codes to keep.

    Raises:
        LsamplerError: fewer than two train rows have all labels, or NaN or infinite vectors.
    """
    d = store.dimension
    needed = 64.0 * design.width * (d + design.width) + (64.0 * d * d if d <= WIDE else 0)
    require_memory(needed, f"{store.name}: the effects of {design.width} labels", "give fewer in `labels=...`")
    places, train = places_of(design, store), store.count("train")
    kind = np.float32 if train > DOUBLE_ROWS and single_precision_is_full() else np.float64
    find = partial(_segment, _Columns(design, places, d, store.name, kind, -(-train // most) or 1))
    parts = list(over_segments(find, store.segments(None, labels=True), "labels"))
    moments = _total(part.moments for part in parts)
    if moments is None or moments.count < 2:
        raise LsamplerError(f"{store.name}: {_without(store, places)}; name others in `labels=...`")
    complete, rows = (np.concatenate([getattr(part, key) for part in parts]) for key in ("complete", "rows"))
    return LabelledPass(moments, complete, rows[:most])


def places_of(design: Design, store: LatentStore) -> list[int]:
    """Where the labels of a design are among those of a store."""
    names = [label.name for label in store.label_columns]
    return [names.index(label.name) for label in design.labels]


def only(codes: NDArray[np.float32], places: Sequence[int]) -> NDArray[np.float32]:
    """The codes (n, labels) of some labels, which are in the order of all; of all of them without a copy."""
    return codes if len(places) == codes.shape[1] else codes[:, places]


@dataclass(frozen=True)
class _Columns:
    """How to read chunks (n, D + all labels + 1) of a store."""

    design: Design
    places: Sequence[int]
    dimension: int
    name: str
    kind: type[Any]
    every: int


def _segment(columns: _Columns, segment: Segment) -> LabelledPass:
    found: JointMoments | None = None
    at, seen, room = segment.start, 0, np.empty((0, columns.dimension), columns.kind)
    complete, kept = [np.empty(0, np.int64)], [np.empty((0, len(columns.places)), np.float32)]
    for chunk in segment.chunks():
        codes = only(chunk[:, columns.dimension : -1], columns.places)
        known = ~np.isnan(codes).any(axis=1)
        complete.append(at + np.flatnonzero(known))
        known &= chunk[:, -1] == SPLITS.index("train")
        chosen = slice(None) if known.all() else known
        codes = codes[chosen]
        if len(room) < len(codes):  # once: fresh memory takes as long to get as to fill
            room = np.empty((len(chunk), columns.dimension), columns.kind)
        found = _total([found, _chunk(columns, chunk[chosen, : columns.dimension], codes, room)])
        kept.append(codes[-seen % columns.every :: columns.every].copy())
        at, seen = at + len(chunk), seen + len(codes)
    return LabelledPass(found, np.concatenate(complete), np.concatenate(kept))


def _chunk(
    columns: _Columns, rows: NDArray[np.float32], codes: NDArray[np.float32], room: NDArray[Any]
) -> JointMoments | None:
    """The moments of rows of a chunk; None if there are none."""
    if not len(rows):
        return None
    found = JointMoments.of(rows, columns.design.matrix(codes), room)
    if not np.isfinite(found.mean).all():
        raise LsamplerError(f"{columns.name}: holds NaN or infinite values; encode it again")
    return found


def _total(parts: Iterable[JointMoments | None]) -> JointMoments | None:
    found: JointMoments | None = None
    for part in parts:
        if part is not None:
            found = part if found is None else found + part
    return found


def _without(store: LatentStore, places: Sequence[int]) -> str:
    """Why too few rows have all labels: the one that is missing most often."""
    missing = np.zeros(len(places), np.int64)
    for chunk in store.chunks("train", labels=True):
        missing += np.isnan(only(chunk[:, store.dimension :], places)).sum(axis=0)
    worst = store.label_columns[places[int(missing.argmax())]].name
    return f"fewer than two train rows have all labels, {missing.max():,} miss '{shortened(worst)}'"
