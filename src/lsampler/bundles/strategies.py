"""The fitted strategies in a bundle: which may be there, and how they are written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lsampler.errors import LsamplerError
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.fitted import State
from lsampler.statistics.pca import Whitening
from lsampler.store.carried_state import CarriedState, digest_of
from lsampler.store.latent_store import SPLITS, LatentStore
from lsampler.store.reference import Reference

PREFIX = "strategies/"
SAME_DIRECTION = 1 - 1e-6
"""An array's row is taken for a latent vector if the cosine of their angle is larger."""
FEWEST_COMPONENTS = 6
"""In fewer dimensions an aggregate has the direction of some vector by chance."""


class StrategyDescription(BaseModel):
    """The metadata of a fitted strategy in a bundle."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    parameters: dict[str, Any]
    changed: dict[str, Any]
    digest: str
    arrays: dict[str, str]
    """The tensor of each array: arrays that several strategies share are stored once."""


def fitted_state(strategy: LatentSampler, store: LatentStore) -> CarriedState:
    """Fit a strategy to a store, unless it is fitted already, and return what a bundle may carry of it.

    Raises:
        LsamplerError: its state may hold single latent vectors, or does; or it was fitted to another encoder's latents.
    """
    require_aggregates(strategy)
    fitted = strategy if strategy.dimension else strategy.model_copy().fit(store)
    if (fitted.fingerprint, fitted.dimension) != (store.fingerprint, store.dimension):
        raise LsamplerError(f"{strategy.name}: was fitted to another encoder's latents, not {store.name}; fit it again")
    state = {key: _single_precision(array) for key, array in fitted.state.items()}
    for key, array in state.items():
        if not np.isfinite(array).all():
            raise LsamplerError(f"{strategy.name}: its array '{key}' is not finite in single precision; leave it out")
    if held := vector_in(state, store):
        raise LsamplerError(f"{strategy.name}: {held} of {store.name}, and a bundle no single one; leave it out")
    changed = strategy.model_dump(mode="json", exclude_defaults=True)
    return CarriedState(strategy.name, strategy.settings(), changed, state)


def require_aggregates(strategy: LatentSampler) -> None:
    """Raise LsamplerError if the fitted state of a strategy may hold single latent vectors."""
    if not strategy.aggregates_only:
        raise LsamplerError(
            f"{strategy.name}: its fitted state may hold single latent vectors, which no bundle does; leave it out, "
            "or write it to a file of its own with 'lsampler fit'"
        )


def written(carried: Sequence[CarriedState], prefix: str = PREFIX) -> tuple[list[dict[str, Any]], State]:
    """The metadata of fitted strategies, and their arrays by the names of tensors, which begin with ``prefix``."""
    described: list[dict[str, Any]] = []
    tensors: State = {}
    names: dict[str, str] = {}
    for number, each in enumerate(carried):
        arrays = {}
        for key, array in each.state.items():
            arrays[key] = names.setdefault(digest_of([], {"": array}), f"{prefix}{number}/{key}")
            tensors[arrays[key]] = array
        entry = StrategyDescription(
            name=each.name,
            parameters=dict(each.parameters),
            changed=dict(each.changed),
            digest=each.digest,
            arrays=arrays,
        )
        described.append(entry.model_dump())
    return described, tensors


def read(
    described: Sequence[StrategyDescription], tensors: Mapping[str, NDArray[Any]], path: Path, prefix: str = PREFIX
) -> Iterator[CarriedState]:
    """The fitted strategies of a bundle. Raises LsamplerError if an array is missing or was changed."""
    for each in described:
        for name in each.arrays.values():
            if not name.startswith(prefix) or name not in tensors:
                raise LsamplerError(f"'{name:.80}' of its strategy {each.name:.80} is missing")
        state = {key: tensors[name] for key, name in each.arrays.items()}
        carried = CarriedState(each.name, each.parameters, each.changed, state, path)
        if each.digest != carried.digest:
            raise LsamplerError(f"its strategy {each.name:.80} does not match its digest")
        yield carried


def _single_precision(array: NDArray[Any]) -> NDArray[Any]:
    """The precision that strategies draw in."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype, order="C")


def vector_in(state: State, reference: Reference) -> str:
    """Which of the latent vectors an array of a fitted state holds, such as "its 'rows' holds train vector 3".

    A vector may be there in latent coordinates, the same around the centre, whitened ones, or those of the state's own
    ``mean`` and ``axes``, and with another length. The result is empty if none is found, and below six dimensions.
    """
    statistics = reference.statistics()
    if statistics.pca.rank < FEWEST_COMPONENTS:
        return ""
    maps: list[Callable[[NDArray[Any]], NDArray[Any]]] = [_as_they_are, lambda latents: latents - statistics.mean]
    maps.append(statistics.whitening(statistics.pca.rank).forward)
    if {"mean", "axes"} <= set(state):
        maps.append(Whitening(state["mean"].astype(np.float64), state["axes"].astype(np.float64)).forward)
    rows = {key: _directions(array) for key, array in state.items() if array.ndim and array.size}
    for split in SPLITS:
        start = 0
        for chunk in reference.chunks(split):
            for vectors in (_directions(each(chunk)) for each in maps):
                for key, array in rows.items():
                    if vectors.shape[1] == array.shape[1] >= FEWEST_COMPONENTS:
                        nearest = (array @ vectors.T).max(axis=0)
                        if nearest.max() > SAME_DIRECTION:
                            return f"its '{key}' holds {split} vector {start + int(nearest.argmax())}"
            start += len(chunk)
    return ""


def _as_they_are(latents: NDArray[Any]) -> NDArray[Any]:
    return latents


def _directions(array: NDArray[Any]) -> NDArray[np.float64]:
    """The last axis of an array as rows of length 1."""
    rows = array.reshape(-1, array.shape[-1]).astype(np.float64)
    unit: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    return unit
