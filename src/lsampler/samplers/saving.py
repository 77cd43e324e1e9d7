"""Fitted strategies in files of plain arrays and checked metadata."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from lsampler.errors import LsamplerError
from lsampler.files import existing_file, new_file
from lsampler.safetensors_files import Description, as_arrays, read_metadata, read_safetensors, write_safetensors
from lsampler.samplers.conditions.conditioned import Conditioned
from lsampler.samplers.conditions.kept import ConditionDescription, kept_arrays
from lsampler.samplers.fitted import State
from lsampler.store.carried_state import digest_of

FORMAT = "lsampler-sampler"
PLAIN, CONDITIONED = 2, 3
"""Versions of the format: a lsampler that does not know conditions must not draw from a file with one."""
MOST_DIMENSIONS = 2**24
CONDITION = "condition/"


class _Description(Description):
    """The metadata of a fitted strategy."""

    name: Annotated[str, Field(max_length=200)]
    parameters: dict[str, Any]
    fingerprint: str | None
    dimension: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)]
    digest: str | None = None
    feature_names: list[str] | None = None
    condition: ConditionDescription | None = None


@dataclass(frozen=True)
class Saved:
    """A fitted strategy in plain values.

    Attributes:
        name: of the strategy.
        parameters: all of them.
        fingerprint: of the encoder; None if unknown.
        dimension: D.
        feature_names: of the components; None if they have none.
        state: what it learned.
        conditioned: under which condition; None without one.
    """

    name: str
    parameters: dict[str, Any]
    fingerprint: str | None
    dimension: int
    feature_names: Sequence[str] | None
    state: State
    conditioned: Conditioned | None = None

    @property
    def digest(self) -> str:
        """A digest of parameters, fitted state and condition, the same whatever file they came from."""
        settings = [self.name, self.parameters, self.fingerprint]
        return digest_of([*settings, self._condition] if self.conditioned else settings, self._arrays)

    @property
    def _arrays(self) -> State:
        kept = kept_arrays(self.conditioned) if self.conditioned else {}
        return self.state | {f"{CONDITION}{key}": array for key, array in kept.items()}

    @property
    def _condition(self) -> dict[str, Any] | None:
        return ConditionDescription.of(self.conditioned).model_dump(mode="json") if self.conditioned else None

    def write(self, path: str | os.PathLike[str], *, force: bool) -> None:
        """Write one safetensors file."""
        metadata = {
            "format": FORMAT,
            "version": CONDITIONED if self.conditioned else PLAIN,
            "name": self.name,
            "parameters": self.parameters,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
            "digest": self.digest,
            "feature_names": self.feature_names and list(self.feature_names),
            **({"condition": self._condition} if self.conditioned else {}),
        }
        tensors = {key: torch.from_numpy(np.array(value, order="C")) for key, value in self._arrays.items()}
        with new_file(path, force=force) as beside:
            write_safetensors(beside, tensors, metadata)

    @classmethod
    def read(cls, path: Path) -> Saved:
        """Read what :meth:`write` wrote. Raises LsamplerError if the file is missing, foreign or damaged."""
        saved_name(path)
        metadata, tensors = read_safetensors(path)
        known, arrays = _Description.of(metadata, path), as_arrays(tensors, path)
        conditioned = None
        if known.condition is not None:
            own = {key.removeprefix(CONDITION): array for key, array in arrays.items() if key.startswith(CONDITION)}
            arrays = {key: array for key, array in arrays.items() if not key.startswith(CONDITION)}
            try:
                conditioned = known.condition.conditioned(own, known.dimension)
            except LsamplerError as error:
                raise LsamplerError(f"{path}: damaged, {error}; fit it again") from error
        plain = known.name, known.parameters, known.fingerprint, known.dimension, known.feature_names
        found = cls(*plain, arrays, conditioned)
        if known.digest not in (None, found.digest):
            raise LsamplerError(f"{path}: damaged, its content does not match its digest; fit it again")
        return found


def saved_name(path: str | os.PathLike[str]) -> str:
    """Return the name of the strategy that a file holds. Raises LsamplerError if it holds none."""
    path = existing_file(path, "saved sampler")
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise LsamplerError(f"{path}: does not hold a fitted sampler; make one with 'lsampler fit'")
    version = metadata.get("version")
    if version not in (PLAIN, CONDITIONED):
        raise LsamplerError(
            f"{path}: sampler format {version}, this lsampler reads {PLAIN} and {CONDITIONED}; fit it again"
        )
    return _Description.of(metadata, path).name
