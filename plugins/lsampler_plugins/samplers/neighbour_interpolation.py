"""neighbour-interpolation: between a data vector and one of its nearest neighbours (SMOTE)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block, nearest_neighbours, require_memory
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.store import Reference


class NeighbourInterpolation(LatentSampler):
    """On the straight line from a data vector to one of its nearest neighbours.

    z = x + t (y - x): x any train vector, y any of its k nearest neighbours, t ~ U(0, 1), as in
    SMOTE (Chawla et al. 2002, arXiv 1106.1813). Samples stay close to the data, whatever their shape,
    but a sample is never new in more than one direction: read the score ``novelty`` beside it.
    Where neighbours are far apart, as in many dimensions, samples lie nearer to the centre.

    Neighbours are found exactly, in a time that grows with the square of the vectors' number. There is no density.
    """

    name = "neighbour-interpolation"
    needs_latents: ClassVar[bool] = True

    k: int = Field(default=5, ge=1, le=100_000, description="the neighbour is any of the k nearest")
    space: Literal["raw", "whitened"] = Field(
        default="raw",
        description="the coordinates in which neighbours are near: latent vectors, or whitened principal components",
    )
    most: int = Field(
        default=50_000, ge=2, le=10_000_000, description="of a larger store only this many random vectors are used"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="chooses these vectors")

    def learn(self, reference: Reference) -> State:
        rows = reference.latents()
        if len(rows) > self.most:
            chosen = np.random.default_rng(self.seed).choice(len(rows), self.most, replace=False)
            rows = rows[np.sort(chosen)]
        if len(rows) <= self.k:
            raise LsamplerError(
                f"{reference.name}: {len(rows)} vectors, each needs `k={self.k}` neighbours (n_samples={len(rows)}); "
                f"encode more items{f' or use `k={len(rows) - 1}`' if len(rows) > 1 else ''}"
            )
        require_memory(16.0 * len(rows) * self.k, f"{self.name}: `k={self.k}`", "use fewer", data=rows.nbytes)
        searched = rows
        if self.space == "whitened":
            statistics = reference.statistics()
            searched = statistics.whitening(statistics.judged).forward(rows).astype(np.float32)
        found = nearest_neighbours(searched, searched, self.k, exclude_self=True)
        return {"rows": rows, "neighbours": found.indices}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        rows, neighbours = state["rows"], state["neighbours"]
        first = block.integers(len(rows))
        second = neighbours[first, block.integers(self.k)]
        return torch.lerp(rows[first], rows[second], block.uniform()[:, None])


lsampler_samplers = offers(NeighbourInterpolation)
