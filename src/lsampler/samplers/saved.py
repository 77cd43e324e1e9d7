"""A fitted strategy in one safetensors file: its parameters and its state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.files import existing_file, new_file
from lsampler.safetensors_files import read_metadata, read_safetensors, write_safetensors

__all__ = ["SavedSampler", "State", "saved_name"]

State: TypeAlias = dict[str, NDArray[Any]]
"""What a strategy has learned, as named arrays."""
FORMAT = "lsampler-sampler"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class SavedSampler:
    """What the file holds.

    Attributes:
        name: of the strategy.
        parameters: its settings.
        fingerprint: of the encoder whose latents it was fitted to; None if unknown.
        dimension: the latent dimension D.
        state: what the strategy has learned.
    """

    name: str
    parameters: dict[str, Any]
    fingerprint: str | None
    dimension: int
    state: State

    def write(self, path: str | os.PathLike[str], *, force: bool) -> None:
        """Write the file."""
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "parameters": self.parameters,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
        }
        arrays = {key: torch.from_numpy(np.array(value, order="C")) for key, value in self.state.items()}
        with new_file(path, force=force) as beside:
            write_safetensors(beside, arrays, metadata)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read the file. Raises LsamplerError if it is missing, damaged, or of another format or version."""
        name = saved_name(path)
        metadata, tensors = read_safetensors(Path(path))
        try:
            return cls(
                name,
                dict(metadata["parameters"]),
                metadata["fingerprint"],
                int(metadata["dimension"]),
                {key: tensor.numpy() for key, tensor in tensors.items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LsamplerError(f"{path}: damaged, or not written by lsampler; fit the strategy again") from error


def saved_name(path: str | os.PathLike[str]) -> str:
    """The name of the strategy in a file, without reading its arrays. Raises LsamplerError if it holds none."""
    path = existing_file(path, "saved sampler")
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise LsamplerError(f"{path}: does not hold a fitted sampler; make one with 'lsampler fit'")
    if metadata.get("version") != FORMAT_VERSION:
        raise LsamplerError(
            f"{path}: sampler format {metadata.get('version')}, this lsampler reads {FORMAT_VERSION}; fit it again"
        )
    return str(metadata.get("name"))
