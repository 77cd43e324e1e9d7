"""What plugins and models must give: plain tensors of real numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def dense_tensor(found: Any) -> Tensor:
    """A tensor of real numbers without a gradient. Raises TypeError where it is sparse, complex or something else."""
    if not isinstance(found, Tensor):
        raise TypeError(f"gave a {type(found).__name__}, expected a tensor")
    if found.layout != torch.strided or found.is_nested or found.is_quantized or found.is_meta or found.is_complex():
        raise TypeError(f"gave a tensor of layout {found.layout} and type {found.dtype}, expected dense real numbers")
    return found.detach()
