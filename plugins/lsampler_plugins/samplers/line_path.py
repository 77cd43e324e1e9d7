"""line-path: points on a straight line through the latent space (post VI)."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import HalfWidth
from lsampler.store import Reference


class LinePath(LatentSampler):
    """Points on a straight line: from the origin to the centre, or through the centre.

    ``origin-to-centre`` walks from the origin of the latent space to the centre mu;
    ``plane`` crosses the centre in the plane of components i and j, at an angle in units of
    their half-widths, from -reach to +reach; ``principal`` crosses it along a principal axis;
    ``between`` leads from one latent vector of the store to another.
    """

    name = "line-path"

    path: Literal["origin-to-centre", "plane", "principal", "between"] = Field(
        default="plane", description="which line"
    )
    i: int | None = Field(default=None, ge=0, description="plane: first component; none takes the widest")
    j: int | None = Field(default=None, ge=0, description="plane: second component; none takes the next widest")
    angle: float = Field(default=45.0, description="plane: degrees from component i towards j")
    axis: int = Field(default=0, ge=0, description="principal: which axis, 0 has the largest variance")
    first: int = Field(default=0, ge=0, description="between: row of the vector at the start, in the train split")
    second: int = Field(default=1, ge=0, description="between: row of the vector at the end")
    reach: float = Field(
        default=0.8, gt=0, description="plane, principal: how far to either side of the centre, in half-widths"
    )
    points: int = Field(
        default=8,
        ge=2,
        le=1_000_000,
        description="even: number of points on the line; row r of the result is point r mod points",
    )
    spacing: Literal["even", "random"] = Field(
        default="even", description="even: points in order along the line; random: uniform on it"
    )
    half_width: HalfWidth = Field(default="moments", description="how the half-widths are determined")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        centre, step = statistics.mean, np.zeros(reference.dimension)
        match self.path:
            case "between":
                start, end = self._two_vectors(reference)
                return {"start": start, "end": end}
            case "origin-to-centre":
                return {"start": step, "end": centre}
            case "principal":
                if self.axis >= statistics.pca.rank:
                    raise LsamplerError(
                        f"`axis={self.axis}`: axes are counted from 0, and the vectors of {reference.name} vary along "
                        f"{statistics.pca.rank}; give one below that"
                    )
                width = reference.principal_half_widths(self.half_width, self.axis + 1)[self.axis]
                step = self.reach * width * statistics.pca.axes[self.axis]
            case "plane":
                widths = statistics.half_widths(self.half_width)
                i, j = self._plane(widths)
                step[i] = self.reach * widths[i] * math.cos(math.radians(self.angle))
                step[j] = self.reach * widths[j] * math.sin(math.radians(self.angle))
        return {"start": centre - step, "end": centre + step}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        if self.spacing == "random":
            t = block.uniform()
        else:
            rows = torch.arange(block.start, block.start + block.rows, device=block.device)
            t = (rows % self.points).float() / (self.points - 1)
        return torch.lerp(state["start"], state["end"], t[:, None])

    def _plane(self, widths: NDArray[np.float64]) -> tuple[int, int]:
        widest = [int(k) for k in np.argsort(-widths) if k not in (self.i, self.j)]
        i = widest.pop(0) if self.i is None and widest else self.i
        j = widest.pop(0) if self.j is None and widest else self.j
        if i is None or j is None or i == j or max(i, j) >= len(widths):
            given = f"`i={self.i}`, `j={self.j}`"
            known = f"D = {len(widths)} (n_features={len(widths)})"
            raise LsamplerError(f"{self.name}: {given}: a plane needs two different components below {known}")
        return i, j

    def _two_vectors(self, reference: Reference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = reference.latents().astype(np.float64)
        if max(self.first, self.second) >= len(rows):
            raise LsamplerError(
                f"{self.name}: first and second must be below {len(rows)}, the rows of {reference.name}"
            )
        return rows[self.first], rows[self.second]


lsampler_samplers = offers(LinePath)
