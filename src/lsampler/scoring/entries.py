"""What is compared: strategies with their parameters, alone or as the rows of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lsampler.samplers.base import LatentSampler

__all__ = ["Entry", "swept"]


@dataclass(frozen=True)
class Entry:
    """A strategy with its parameters: one row of a comparison.

    Attributes:
        sampler: the strategy, not fitted.
        label: the row's name.
        curve: of a sweep: the strategy and the parameter that is varied; rows of one curve are joined.
        value: of a sweep: the parameter's value in this row.
    """

    sampler: LatentSampler
    label: str
    curve: str | None = None
    value: float | None = None

    @classmethod
    def of(cls, sampler: LatentSampler) -> Entry:
        """A row named after the strategy and the parameters that are not at their default."""
        return cls(sampler, _label(sampler))


def swept(sampler: LatentSampler, parameter: str, values: Iterable[float]) -> list[Entry]:
    """One row for each value of a parameter, such as ``swept(load_sampler("pca-ellipse"), "fact", [0.6, 0.8])``."""
    settings = sampler.model_dump(exclude_defaults=True)
    if parameter not in type(sampler).model_fields:
        type(sampler)(**{parameter: None})  # raises: it names the parameters that are nearest
    entries = []
    for value in values:
        whole = isinstance(getattr(sampler, parameter), int) or float(value).is_integer()
        varied = type(sampler)(**(settings | {parameter: _number(value, whole)}))
        label = _label(varied, **{parameter: float(value)})
        entries.append(Entry(varied, label, f"{sampler.name}: {parameter}", float(value)))
    return entries


def _label(sampler: LatentSampler, **first: float) -> str:
    changed = first | {
        k: v for k, v in sampler.model_dump(mode="json", exclude_defaults=True).items() if k not in first
    }
    values = (
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}" for key, value in changed.items()
    )
    return ", ".join([sampler.name, *values])


def _number(value: float, whole: bool) -> float | int:
    return int(value) if whole and float(value).is_integer() else round(float(value), 10)
