"""Reading of safetensors files with lsampler's metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsampler.errors import LsamplerError


def read_metadata(path: Path) -> dict[str, Any]:
    """The ``lsampler`` metadata alone (empty if foreign), without reading the tensors."""
    with _opened(path) as handle:
        return _metadata(handle)


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ``lsampler`` metadata (empty if foreign) and all tensors of a safetensors file."""
    with _opened(path) as handle:
        return _metadata(handle), {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


def _metadata(handle: Any) -> dict[str, Any]:
    metadata = json.loads((handle.metadata() or {}).get("lsampler", "{}"))
    return metadata if isinstance(metadata, dict) else {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as handle:
            yield handle
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise LsamplerError(f"{path}: not a readable safetensors file; it may be truncated") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Tensors and ``lsampler`` metadata to a file. Raises OSError if the disk refuses."""
    try:
        save_file(dict(tensors), path, metadata={"lsampler": json.dumps(metadata)})
    except SafetensorError as error:  # a full disk, among others
        raise OSError(str(error)) from error
