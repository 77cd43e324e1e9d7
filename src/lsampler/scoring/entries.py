"""What is compared: strategies with their parameters, alone or as the rows of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lsampler.plugins.base import listed
from lsampler.samplers.base import LatentSampler, SamplerLike, as_sampler


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
    def of(cls, strategy: SamplerLike) -> Entry:
        """A row named after the strategy and the parameters that are not at their default.

        Args:
            strategy: its name, its class, or with its parameters.
        """
        sampler = as_sampler(strategy, "strategy")
        return cls(sampler, _label(sampler))


def as_entries(given: Entry | SamplerLike | Iterable[Entry | SamplerLike]) -> list[Entry]:
    """Rows of a comparison: entries as they are, and strategies by name, by class or with their parameters."""
    return [each if isinstance(each, Entry) else Entry.of(each) for each in listed(given)]


def swept(strategy: SamplerLike, parameter: str, values: Iterable[float]) -> list[Entry]:
    """One row for each value of a parameter, such as ``swept("pca-ellipse", "fact", [0.6, 0.8])``.

    Args:
        strategy: its name, its class, or with its other parameters.
        parameter: the name of the parameter.
        values: of it, one for each row.

    Raises:
        LsamplerError: an unknown strategy or parameter, or a value that it does not allow.
    """
    sampler, entries = as_sampler(strategy, "strategy"), []
    settings = sampler.model_dump(exclude_defaults=True)
    for value in map(float, values):
        varied = type(sampler)(**(settings | {parameter: round(value, 10)}))
        entries.append(Entry(varied, _label(varied, **{parameter: value}), f"{sampler.name}: {parameter}", value))
    return entries


def _label(sampler: LatentSampler, **first: float) -> str:
    changed = first | {
        k: v for k, v in sampler.model_dump(mode="json", exclude_defaults=True).items() if k not in first
    }
    values = (
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}" for key, value in changed.items()
    )
    return ", ".join([sampler.name, *values])
