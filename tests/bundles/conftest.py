"""What the tests of bundles share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[[Path, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]], Path]:
    """A file with other metadata and tensors."""

    def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
        with safe_open(path, "pt") as handle:
            metadata = json.loads(handle.metadata()["lsampler"])
        tensors = load_file(path)
        text = change(metadata, tensors) or json.dumps(metadata)
        save_file(
            tensors,
            tmp_path / "changed.safetensors",
            {"lsampler": str(text)},
        )
        return tmp_path / "changed.safetensors"

    return rewrite
