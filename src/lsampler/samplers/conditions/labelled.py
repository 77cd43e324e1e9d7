"""A reference under labels: their effects, what remains of the vectors without them, and rows of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.samplers.conditions.condition import Condition
from lsampler.samplers.conditions.design import Design
from lsampler.samplers.conditions.effects import Effects, residuals
from lsampler.samplers.conditions.joint_moments import labelled_pass, places_of
from lsampler.samplers.conditions.residual_statistics import residual_statistics
from lsampler.store.latent_store import LatentStore
from lsampler.store.reference import Reference
from lsampler.store.views import StoreView

MOST_ROWS = 100_000
"""Of a fit: with more train rows, the rows of labels that are kept are evenly spaced ones."""


@dataclass(frozen=True)
class Labelled:
    """What conditional draws need of a reference.

    Attributes:
        effects: of its labels.
        residuals: the vectors without the effects of their labels, or their statistics.
        rows: (m, L) codes of labels of train rows, at most 100,000; None where there are aggregates only.
    """

    effects: Effects
    residuals: Reference
    rows: NDArray[np.float32] | None = None


def _labels(reference: Reference) -> tuple[Any, ...]:
    known = getattr(reference, "labelled", None)
    if isinstance(known, Labelled):
        return known.effects.design.labels
    return tuple(getattr(reference, "label_columns", ()))


def has_labels(reference: Reference) -> bool:
    """Whether a reference has labels, or carries the effects of some."""
    return bool(_labels(reference))


def columns_of(reference: Reference) -> tuple[Any, ...]:
    """The labels of a reference. Raises LsamplerError if it has none."""
    columns = _labels(reference)
    if not columns:
        if reference.has_latents:
            fix = "give a store with labels, or MemoryStore(latents, labels=...)"
        else:
            fix = "give `store=...` of latents with labels"
        raise LsamplerError(f"`where=...`: {reference.name} holds no labels; {fix}")
    return columns


def labelled(reference: Reference, names: Sequence[str] | None, asked: Sequence[str]) -> Labelled:
    """The effects of the labels of a reference, estimated in one pass, or those that a bundle carries.

    Args:
        reference: with labels.
        names: of the labels to use; None uses all but categorical ones of more than 100 levels.
        asked: names that have to be among them.

    Raises:
        LsamplerError: there are no labels, or the asked ones are not among the named.
    """
    columns = columns_of(reference)
    design = Design.of(columns, names, asked, reference.name)
    known = getattr(reference, "labelled", None)
    if isinstance(known, Labelled):
        if design.labels != known.effects.design.labels:
            raise LsamplerError(f"`labels=...`: {reference.name} carries the effects of all its labels; leave it out")
        return known
    assert isinstance(reference, LatentStore)  # noqa: S101 - nothing else has labels
    key = ("labelled", design)
    if key not in reference.kept:
        reference.kept[key] = _found(reference, design)
    found: Labelled = reference.kept[key]
    return found


def _found(store: LatentStore, design: Design) -> Labelled:
    passed, places = labelled_pass(store, design, MOST_ROWS), places_of(design, store)
    assert passed.moments is not None  # noqa: S101 - it raises where there are none
    effects = Effects.of(passed.moments, design, store.count("train") - passed.moments.count)
    name = f"{store.name} without the effects of labels"
    view = StoreView(store, passed.complete, name=name, change=partial(residuals, effects, places))
    statistics = residual_statistics(effects, passed.moments, view.segments(), name)
    if statistics is not None:
        view.know_statistics(statistics)
    return Labelled(effects, view, passed.rows)


def fulfilling(store: LatentStore, condition: Condition) -> tuple[NDArray[np.int64], int]:
    """The numbers of a store's rows that fulfil a condition, of both splits, and how many of them are train rows.

    Raises:
        LsamplerError: no train row has one of the wanted values.
    """
    rows, count, single = [], 0, np.zeros(len(condition.wanted), dtype=bool)
    for first, train, codes in store.label_parts():
        each = [one.fulfilled(codes[:, one.place]) for one in condition.wanted]
        single |= [bool((found & train).any()) for found in each]
        fulfilled = condition.fulfilled(codes)
        rows.append(first + np.flatnonzero(fulfilled))
        count += int((fulfilled & train).sum())
    for one, there in zip(condition.wanted, single, strict=True):
        if not there:
            raise LsamplerError(_never(one.label.name, store, one.place))
    return np.concatenate(rows), count


def _never(name: str, store: LatentStore, place: int) -> str:
    """Why a wanted value cannot be had: what the label takes among the train rows."""
    parts = [np.unique(codes[train, place]) for _, train, codes in store.label_parts()]
    values = np.unique(np.concatenate(parts))
    values = values[~np.isnan(values)]
    label = store.label_columns[place]
    if not len(values):
        takes = "it is missing in all of them"
    elif label.kind == "continuous":
        takes = f"it goes from {values[0]:g} to {values[-1]:g}"
    else:
        takes = f"it takes {', '.join(map(label.shown, values[:20]))}"
    return f"`where=...`: no train row of {store.name} has such a value of '{name}'; {takes}"
