"""Reading of safetensors files with lsampler's metadata, which is checked before it is used."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsampler.errors import LsamplerError, shortened


class Description(BaseModel):
    """The metadata of a kind of file: a subclass declares its entries, which must be there and of their types."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], path: Path) -> Self:
        """Check the metadata of a file. Raises LsamplerError, which names the entry that is wrong."""
        try:
            return cls.model_validate_json(json.dumps(metadata))
        except ValidationError as error:
            first = error.errors()[0]
            entry = ".".join(map(str, first["loc"]))
            raise LsamplerError(
                f"{path}: damaged, '{entry:.80}' of its metadata: {first['msg']}; get it again"
            ) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """The ``lsampler`` metadata alone (empty if foreign), without reading the tensors."""
    with _opened(path) as handle:
        return _metadata(handle, path)


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ``lsampler`` metadata (empty if foreign) and all tensors of a safetensors file."""
    with _opened(path) as handle:
        return _metadata(handle, path), {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


def as_arrays(tensors: Mapping[str, Tensor], path: Path) -> dict[str, NDArray[Any]]:
    """Tensors of a file as arrays. Raises LsamplerError if one holds anything but finite numbers."""
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = tensor.numpy()
        except TypeError as error:
            raise LsamplerError(f"{path}: damaged, '{name:.80}' is of {tensor.dtype}; get it again") from error
        if arrays[name].dtype.kind not in "biuf" or not np.isfinite(arrays[name]).all():
            raise LsamplerError(f"{path}: damaged, '{name:.80}' holds something but finite numbers; get it again")
    return arrays


def _metadata(handle: Any, path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((handle.metadata() or {}).get("lsampler", "{}"))
    except (ValueError, RecursionError) as error:
        raise LsamplerError(f"{path}: damaged, its metadata cannot be read; get it again") from error
    return metadata if isinstance(metadata, dict) else {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        reason = shortened(str(error).removeprefix("Error while deserializing header: "))
        fix = "check which file this is, or get it again"
        raise LsamplerError(f"{path}: not a readable safetensors file ({reason}); {fix}") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Tensors and ``lsampler`` metadata to a file. Raises OSError if the disk refuses."""
    try:
        save_file(dict(tensors), path, metadata={"lsampler": json.dumps(metadata)})
    except SafetensorError as error:  # a full disk, among others
        raise OSError(str(error)) from error
