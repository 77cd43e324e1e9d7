"""Edits: items encoded, moved by what the wanted labels do to latent vectors, and decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import product
from lsampler.editing.paths import LatentPaths, Moved
from lsampler.editing.readings import Readings
from lsampler.editing.stops import stops_of
from lsampler.errors import LsamplerError, shortened
from lsampler.samplers.conditions.condition import Condition, Wanted, WhereLike
from lsampler.samplers.conditions.labelled import columns_of
from lsampler.scoring.subject import as_subject
from lsampler.store.labels import Label
from lsampler.store.reference import Reference

MOST_STEPS = 10_000
MOST_STRENGTH = 1000.0
SHOWN = 3
UNMET = 1e-3
"""Share of the wanted change by which a reading may miss it."""

Rows = NDArray[np.float64]


def edit(
    latents: Any,
    items: Any,
    to: WhereLike,
    *,
    strength: float | None = None,
    steps: int = 7,
    keep: Sequence[str] | None = None,
) -> LatentPaths:
    """Move items towards wanted labels, in equal steps from themselves.

    A label is read off a latent vector by a linear function that predicts it. Of all movements that change these
    readings as wanted, an edit is the one that changes the readings of the other labels, and the vector itself, least;
    several labels move together. The readings follow from averages and covariances, so a bundle can edit offline.
    Without ``strength`` each item moves

    - for a binary label, or a level of a categorical one, until its reading is one standard deviation beyond the mean
      of the items that have the value, a clear case; the readings of the other levels go along, and items that are a
      clear case already stay;
    - for a continuous label until its reading is the wanted value.

    Args:
        latents: a bundle or its name, a store of latents with labels, or a :class:`lsampler.scoring.Subject`, which
            joins a store and its autoencoder. Without an autoencoder items are given by ids or latent vectors.
        items: a photo, an id of the store, a file or a folder of items, or a list of these; a store; an array of items
            (n, *shape) or of latent vectors (n, D). A file that exists is taken before an id of that name.
        to: wanted values, one for each label, such as ``{"Smiling": 1, "Age": 60}``, or texts such as ``"digit=7"``.
        strength: how far all items move instead, in standard deviations of each label's reading over the data; for a
            categorical label of the reading of the wanted level. Towards the wanted value, or away from it if negative.
        steps: pictures of each item, from the first, the item as it is reconstructed, to the last at full strength.
        keep: the labels whose readings are to stay; None is all others.

    Raises:
        LsamplerError: no labels, an unknown one, a value that it never takes or more than one, labels that cannot be
            moved together, or items that cannot be read.
    """
    if not 2 <= steps <= MOST_STEPS:
        raise LsamplerError(f"`steps={steps}`: counts the item itself; give 2 or more, at most {MOST_STEPS:,}")
    if strength is not None and not abs(strength) <= MOST_STRENGTH:
        raise LsamplerError(
            f"`strength={strength}`: give a number of standard deviations from -1000 to 1000, such as 2"
        )
    subject = as_subject(latents)
    wanted = wanted_values(to, subject.reference)
    asked = [one.label.name for one in wanted]
    readings = Readings.of(subject.reference, None if keep is None else [*asked, *keep], asked)
    targets = [_Target.of(readings, one) for one in wanted]
    found = stops_of(subject, items)
    moves = _moves(readings, targets, found.latents, strength)
    shares = np.linspace(0.0, 1.0, steps)[:, np.newaxis]
    paths = (found.latents[:, np.newaxis] + shares * moves[:, np.newaxis]).astype(np.float32)
    moved = tuple(_moved(readings, targets, found.ids, found.latents, moves))
    notes = [*found.notes, *(_stayed(moved) if strength is None else ())]
    what = " and ".join(target.text for target in targets)
    return LatentPaths(paths, tuple(found.ids), what, subject, moved=moved, notes=tuple(notes))


def wanted_values(to: WhereLike, reference: Reference) -> Sequence[Wanted]:
    """The wanted value of each label that is named.

    Raises:
        LsamplerError: the reference has no labels, or a label is unknown, never takes the value, or has more than one.
    """
    try:
        found = Condition.of(to, columns_of(reference)).wanted
    except LsamplerError as error:
        raise LsamplerError(str(error).replace("`where=", "`to=")) from None
    for one in found:
        if one.value is None:
            such_as = "1" if one.label.kind == "binary" else one.label.shown(one.codes[0]) if one.codes else "60"
            raise LsamplerError(
                f"`to=...`: an edit needs one value of '{one.label.name}'; give it as {one.label.name}={such_as}"
            )
    return found


@dataclass(frozen=True)
class _Target:
    """One wanted value.

    Attributes:
        label: whose.
        value: its code, or the number.
        place: of the label among those that are read.
        own: the label's columns.
        main: the column that stands for the value.
    """

    label: Label
    value: float
    place: int
    own: NDArray[np.int64]
    main: int

    @classmethod
    def of(cls, readings: Readings, one: Wanted) -> _Target:
        place, value = readings.design.labels.index(one.label), float(one.value or 0.0)
        own = readings.design.columns_of([place])
        main = int(own[int(value) if one.label.levels else 0])
        if not readings.readable[main]:
            name = shortened(readings.columns_named()[main])
            raise LsamplerError(
                f"{readings.name}: '{name}' has no linear effect on the latent vectors, so nothing can be moved by it; "
                "name another label"
            )
        return cls(one.label, value, place, own, main)

    @property
    def text(self) -> str:
        """Such as ``Smiling=1``."""
        return f"{self.label.name}={self.label.shown(self.value)}"

    def changes(self, readings: Readings, before: Rows, strength: float | None) -> Rows:
        """How the readings (n, P) of items are to change in the label's own columns: (n, columns)."""
        now, spread = before[:, self.own], readings.spread[self.main]
        if self.label.kind == "continuous":
            change = self.value - now
            return change if strength is None else np.where(change < 0, -1.0, 1.0) * strength * spread
        main = self.main - self.own[0]
        typical = readings.typical(self.place, self.value)
        towards = (typical - readings.mean[self.own]) / abs(typical[main] - readings.mean[self.main])
        if strength is not None:
            return np.broadcast_to(towards * strength * spread, now.shape)
        change = typical + towards * readings.within(self.main) - now
        return np.where(change[:, [main]] * towards[main] > 0, change, 0.0)


def _moves(readings: Readings, targets: Sequence[_Target], latents: NDArray[Any], strength: float | None) -> Rows:
    """What is added to latent vectors (n, D) at full strength.

    Raises:
        LsamplerError: the readings do not change as wanted, because those of two labels are the same.
    """
    before = readings.read(latents)
    changes = np.concatenate([target.changes(readings, before, strength) for target in targets], axis=1)
    columns = np.concatenate([target.own for target in targets])
    moves = product(changes, readings.movements(columns, [target.place for target in targets]))
    missed = readings.spreads((readings.read(latents + moves) - before)[:, columns] - changes, columns)
    if len(targets) > 1 and (np.abs(missed) > UNMET * (1 + np.abs(readings.spreads(changes, columns)))).any():
        names = " and ".join(target.label.name for target in targets)
        raise LsamplerError(f"`to=...`: {names} have the same reading, so they cannot be moved apart; leave one out")
    return moves


def _moved(
    readings: Readings, targets: Sequence[_Target], ids: Sequence[str], latents: NDArray[Any], moves: Rows
) -> Iterator[Moved]:
    """How far each label of each item is moved."""
    names, before, after = readings.columns_named(), readings.read(latents), readings.read(latents + moves)
    spreads = readings.spreads(after - before, np.arange(len(names)))
    distances = np.linalg.norm(readings.whitening.forward(readings.whitening.mean + moves), axis=1)
    for row, name in enumerate(ids):
        for column in (target.main for target in targets):
            numbers = before[row, column], after[row, column], spreads[row, column], distances[row]
            yield Moved(name, names[column], *map(float, numbers))


def _stayed(moved: Sequence[Moved]) -> Iterator[str]:
    """Which items are as wanted already."""
    for label in dict.fromkeys(one.label for one in moved):
        there = [one.id for one in moved if one.label == label and one.spreads == 0]
        if there:
            called = ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")
            yield f"{called}: a clear case of the wanted '{label}' already, so not moved by it; `strength=2` moves it"
