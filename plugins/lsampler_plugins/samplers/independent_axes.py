"""Rotations to independent components, in which the tails of each coordinate show."""

import torch
from torch import Tensor

ICA_ITERATIONS, ICA_TOLERANCE = 60, 1e-3


def independent(rows: Tensor, seed: int) -> Tensor:
    """The rotation (q, q) to independent components (FastICA, Hyvarinen 1999), the least normal one first."""
    generator = torch.Generator().manual_seed(seed)
    turn = _rotation(torch.randn(2 * rows.shape[1:], generator=generator, dtype=rows.dtype))
    for _ in range(ICA_ITERATIONS):  # any rotation is valid, a better one helps
        bent = torch.tanh(rows @ turn.T)
        slopes = (1 - bent.square()).mean(dim=0)
        before, turn = turn, _rotation(bent.T @ rows / len(rows) - slopes[:, None] * turn)
        if ((turn * before).sum(dim=1).abs() - 1).abs().max() < ICA_TOLERANCE:
            break
    turned = rows @ turn.T
    kurtosis = turned.pow(4).mean(dim=0) / turned.square().mean(dim=0).square() - 3
    return turn[kurtosis.abs().argsort(descending=True)]


def _rotation(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a matrix."""
    left, _, right = torch.linalg.svd(matrix)
    nearest: Tensor = left @ right
    return nearest
