"""Conditioned fits in files: named arrays, and a description that is checked before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lsampler.errors import LsamplerError
from lsampler.samplers.conditions.condition import Condition, Wanted
from lsampler.samplers.conditions.conditioned import Conditioned
from lsampler.samplers.conditions.design import MOST_COLUMNS, Design
from lsampler.samplers.conditions.effects import Effects
from lsampler.samplers.conditions.law import Others
from lsampler.store.labels import Label

ARRAYS = ("matrix", "mean", "covariance", "minimum", "maximum", "read_out")
"""Of effects; label rows are another array, ``rows``."""
Text = Annotated[str, Field(max_length=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Label(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=1000)]
    kind: Literal["binary", "categorical", "continuous"]
    levels: Annotated[list[Text], Field(max_length=MOST_COLUMNS)] = []


class _Wanted(_Strict):
    place: Annotated[int, Field(ge=0)]
    codes: list[float] = []
    intervals: list[tuple[float | None, float | None]] = []


class EffectsDescription(_Strict):
    """The labels of effects."""

    labels: Annotated[list[_Label], Field(min_length=1, max_length=MOST_COLUMNS)]
    count: Annotated[int, Field(ge=2)]
    left_out: Annotated[int, Field(ge=0)]

    @classmethod
    def of(cls, effects: Effects) -> EffectsDescription:
        """That of effects."""
        labels = [_Label(name=one.name, kind=one.kind, levels=list(one.levels)) for one in effects.design.labels]
        return cls(labels=labels, count=effects.count, left_out=effects.left_out)

    def effects(self, arrays: Mapping[str, NDArray[Any]], dimension: int) -> Effects:
        """The effects with these arrays. Raises LsamplerError if they do not belong together."""
        labels = tuple(Label(one.name, one.kind, tuple(one.levels)) for one in self.labels)
        design = Design(labels)
        if len({one.name for one in labels}) < len(labels) or any(
            (one.kind == "categorical") != bool(one.levels) or len(set(one.levels)) < len(one.levels) for one in labels
        ):
            raise LsamplerError("its labels contradict each other")
        p = design.width
        shapes = {"matrix": (p, dimension), "covariance": (p, p), "read_out": (p, p)}
        for key in ARRAYS:
            array = arrays.get(key)
            if array is None or array.shape != shapes.get(key, (p,)) or array.dtype.kind != "f":
                raise LsamplerError(f"'{key}' of its labels is missing or of another shape")
            if not np.isfinite(array).all():
                raise LsamplerError(f"'{key}' of its labels holds NaN or infinite values")
        return Effects(design, self.count, self.left_out, *(arrays[key].astype(np.float64) for key in ARRAYS))


class ConditionDescription(_Strict):
    """A conditioned fit, without its arrays."""

    text: Annotated[str, Field(max_length=100_000)]
    condition: Annotated[str, Field(max_length=100_000)] | None = None
    wanted: list[_Wanted] = []
    others: Others = "observed"
    effects: EffectsDescription | None = None

    @classmethod
    def of(cls, found: Conditioned) -> ConditionDescription:
        """That of a conditioned fit."""
        known = found.effects
        shown = found.condition if known else None  # of a subset its words are enough
        return cls(
            text=found.text,
            condition=shown.text if shown else None,
            wanted=[_described(one) for one in shown.wanted] if shown else [],
            others=found.others,
            effects=EffectsDescription.of(known) if known else None,
        )

    def conditioned(self, arrays: Mapping[str, NDArray[Any]], dimension: int) -> Conditioned:
        """The fit with these arrays. Raises LsamplerError if they do not belong together."""
        if self.effects is None:
            return Conditioned(self.text, others=self.others)
        effects = self.effects.effects(arrays, dimension)
        condition = None
        if self.condition is not None:
            condition = Condition(tuple(_wanted(one, effects.design.labels) for one in self.wanted), self.condition)
        rows = arrays.get("rows")
        if rows is not None and not _are_codes(rows, effects.design.labels):
            raise LsamplerError("'rows' of its labels holds other values than the labels have")
        return Conditioned(self.text, condition, self.others, effects, rows)


def effects_arrays(effects: Effects) -> dict[str, NDArray[np.float64]]:
    """The arrays of effects, by name."""
    return {key: getattr(effects, key) for key in ARRAYS}


def kept_arrays(found: Conditioned) -> dict[str, NDArray[Any]]:
    """The arrays of a conditioned fit, by name."""
    if found.effects is None:
        return {}
    rows = {} if found.rows is None else {"rows": found.rows}
    return {**effects_arrays(found.effects), **rows}


def _described(one: Wanted) -> _Wanted:
    ends = [tuple(end if math.isfinite(end) else None for end in pair) for pair in one.intervals]
    return _Wanted(place=one.place, codes=list(one.codes), intervals=[(low, high) for low, high in ends])


def _wanted(one: _Wanted, labels: tuple[Label, ...]) -> Wanted:
    if one.place >= len(labels):
        raise LsamplerError("its condition names a label that is not there")
    label = labels[one.place]
    values = len(label.levels) or 2
    whole = all(code in range(values) for code in one.codes)
    if not whole or (label.kind == "continuous") != bool(one.intervals) or bool(one.codes) == bool(one.intervals):
        raise LsamplerError("its condition does not fit its labels")
    intervals = [(-math.inf if a is None else a, math.inf if b is None else b) for a, b in one.intervals]
    return Wanted(label, one.place, tuple(one.codes), tuple(intervals))


def _are_codes(rows: NDArray[Any], labels: tuple[Label, ...]) -> bool:
    """Whether each row holds a code of every label."""
    if rows.ndim != 2 or rows.shape[1] != len(labels) or rows.dtype != np.float32 or not np.isfinite(rows).all():
        return False
    discrete = [(place, len(label.levels) or 2) for place, label in enumerate(labels) if label.kind != "continuous"]
    return all(bool(np.isin(rows[:, place], np.arange(values)).all()) for place, values in discrete)
