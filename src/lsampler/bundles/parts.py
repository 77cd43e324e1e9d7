"""The statistics in a bundle: how they are written and read, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.scoring.statistics_reference import TRIM, StatisticsReference
from lsampler.statistics.statistics import Statistics

Value = TypeVar("Value")
RADII = "radius_quantiles"
FORMS: dict[str, float | None] = {"plain": None, "trimmed": TRIM}


def statistics_arrays(known: StatisticsReference, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The statistics of a reference as named arrays."""
    found = {} if known.radii is None else {f"{prefix}{RADII}": known.radii}
    for coordinates, statistics in (("latent", known.statistics), ("principal", known.principal_statistics)):
        for form, trim in FORMS.items():
            for key, array in statistics(trim).as_arrays().items():
                found[f"{prefix}{coordinates}/{form}/{key}"] = array
    return found


def read_statistics(
    arrays: Mapping[str, NDArray[Any]], name: str, dimension: int, fingerprint: str
) -> StatisticsReference:
    """The inverse of :func:`statistics_arrays`. Raises LsamplerError if arrays are missing or contradict each other."""
    latent, principal = (
        {
            trim: replace(_statistics(arrays, f"{coordinates}/{form}/", dimension), name=name)
            for form, trim in FORMS.items()
        }
        for coordinates in ("latent", "principal")
    )
    radii = _checked_radii(arrays.get(RADII))
    return StatisticsReference(name, latent, principal, fingerprint=fingerprint, radii=radii)


def starting(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Those whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _statistics(arrays: Mapping[str, NDArray[Any]], prefix: str, dimension: int) -> Statistics:
    """Statistics under a prefix, checked; those in PCA coordinates may have a lower dimension."""
    found = Statistics.from_arrays(starting(arrays, prefix), name=prefix.rstrip("/"))
    if found.dimension > dimension or (found.dimension < dimension and prefix.startswith("latent")):
        raise LsamplerError(f"{found.name} is of D = {found.dimension}, the model has {dimension}")
    return found


def _checked_radii(radii: NDArray[Any] | None) -> NDArray[np.float64] | None:
    if radii is None:
        return None
    shaped = radii.ndim == 2 and len(radii) == 2 and radii.shape[1] > 1
    if not (shaped and (np.diff(radii) >= 0).all() and 0 < radii[0, 0] < radii[0, -1] < 1 and radii[1, 0] >= 0):
        raise LsamplerError(f"'{RADII}' holds no levels and ascending radii")
    return radii.astype(np.float64)
