"""Labels in a bundle: their effects, what these leave of the vectors (statistics, fitted strategies), and probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lsampler.bundles.parts import read_statistics, starting, statistics_arrays
from lsampler.bundles.probes import PREFIX as PROBES
from lsampler.bundles.probes import ProbeDescription, probes_read, probes_written
from lsampler.bundles.strategies import StrategyDescription, fitted_state, read, written
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.conditions.effects import read_out_of
from lsampler.samplers.conditions.kept import EffectsDescription, effects_arrays
from lsampler.samplers.conditions.labelled import Labelled, labelled
from lsampler.scoring.probes import Probe
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.store.latent_store import LatentStore

PREFIX, EFFECTS = "labels/", "labels/effects/"


class LabelsDescription(BaseModel):
    """The metadata of labels in a bundle."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    effects: EffectsDescription
    strategies: list[StrategyDescription] = []
    probes: list[ProbeDescription] = []
    """Of none in a bundle of an earlier version."""


def labels_of(store: LatentStore, strategies: Sequence[LatentSampler], known: StatisticsReference) -> Labelled:
    """What a bundle holds of the labels of a store: averages and covariances, no row of labels and no vector.

    Args:
        store: latent vectors with labels.
        strategies: to fit to what the effects of the labels leave of the vectors.
        known: the statistics of the bundle.

    Raises:
        LsamplerError: the store has no labels, or the fitted state of a strategy holds a single vector.
    """
    found = labelled(store, None, ())
    view = found.residuals
    assert isinstance(view, LatentStore)  # noqa: S101 - of a store with labels
    remains = StatisticsReference.of(view, name=known.name)
    fresh = [strategy.model_copy().fit(view, device=strategy.device) for strategy in strategies]
    remains.strategies, remains.recommended = [fitted_state(each, view) for each in fresh], known.recommended
    return Labelled(found.effects, remains)


def labels_written(found: Labelled, probes: Mapping[str, Probe]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The metadata and the arrays of labels. Covariances of what remains are rounded to single precision."""
    remains = found.residuals
    assert isinstance(remains, StatisticsReference)  # noqa: S101 - as labels_of and labels_read make it
    strategies, arrays = written(remains.strategies, f"{PREFIX}strategies/")
    known = effects_arrays(found.effects)
    known.pop("read_out")  # follows from the rest
    arrays |= {f"{EFFECTS}{key}": array for key, array in known.items()}
    for key, array in statistics_arrays(remains, PREFIX).items():
        arrays[key] = array.astype(np.float32) if key.endswith("/covariance") else array
    described: dict[str, Any] = {"effects": EffectsDescription.of(found.effects).model_dump(), "strategies": strategies}
    described["probes"], of_probes = probes_written(probes, found.effects.design.labels)
    return described, arrays | of_probes


def labels_read(
    described: LabelsDescription, arrays: Mapping[str, NDArray[Any]], known: StatisticsReference, path: Path
) -> tuple[Labelled, dict[str, Probe]]:
    """The inverse of :func:`labels_written`. Raises LsamplerError if something is missing, or contradicts the rest."""
    remains = read_statistics(starting(arrays, PREFIX), known.name, known.dimension, known.fingerprint or "")
    remains.strategies = list(read(described.strategies, arrays, path, f"{PREFIX}strategies/"))
    remains.recommended = known.recommended
    found = starting(arrays, EFFECTS)
    found["read_out"] = _read_out(found, remains)
    effects = described.effects.effects(found, known.dimension)
    probes = probes_read(described.probes, starting(arrays, PROBES), effects.design.labels, known.dimension)
    return Labelled(effects, remains), probes


def _read_out(effects: Mapping[str, NDArray[Any]], remains: StatisticsReference) -> NDArray[np.float64]:
    """What a bundle need not hold: it follows from the effects, and the covariances of labels and of what remains."""
    try:
        matrix, covariance = (effects[key].astype(np.float64) for key in ("matrix", "covariance"))
        own = remains.statistics().covariance + matrix.T @ covariance @ matrix
        return read_out_of(matrix, covariance, own)
    except (KeyError, ValueError, RuntimeError):  # said by what reads them next
        return np.empty(0)
