"""Reading of safetensors files with lsampler's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsampler._errors import LsamplerError

__all__ = ["read_safetensors", "write_safetensors"]


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ``lsampler`` metadata (empty if foreign) and all tensors of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = json.loads((handle.metadata() or {}).get("lsampler", "{}"))
            if not isinstance(metadata, dict):
                metadata = {}
            return metadata, {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise LsamplerError(f"{path}: not a readable safetensors file; it may be truncated") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Tensors and ``lsampler`` metadata to a file. Raises OSError if the disk refuses."""
    try:
        save_file(dict(tensors), path, metadata={"lsampler": json.dumps(metadata)})
    except SafetensorError as error:  # a full disk, among others
        raise OSError(str(error)) from error
