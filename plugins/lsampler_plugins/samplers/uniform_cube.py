"""uniform-cube: the naive approach of posts I, II and V, which misses the core."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import SINGLE_PRECISION
from lsampler.store import Reference


class UniformCube(LatentSampler):
    """Uniform in one cube around the origin, whatever the data: z_j ~ U(-b, b).

    With b = 1.5 the length of the vectors fits that of the data, but not their direction: nearly all
    decode to noise (posts II, IV and V). Constant components keep their value.
    """

    name = "uniform-cube"
    aggregates_only: ClassVar[bool] = True

    b: float = Field(default=1.5, gt=0, description="half the edge of the cube, in latent units")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        varying = statistics.std > 0
        return {"middle": np.where(varying, 0.0, statistics.mean), "reach": np.where(varying, self.b, 0.0)}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        middle, reach = state["middle"], state["reach"]
        return block.uniform(len(middle), low=middle - reach, high=middle + reach)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """-log(2 b) for each component that varies in the cube, up to the rounding of draws at its faces."""
        varying = state["reach"] > 0
        inside = (latents[:, varying].abs() <= self.b * (1 + SINGLE_PRECISION)).all(dim=1)
        return torch.where(inside, -int(varying.sum()) * math.log(2 * self.b), -torch.inf).double()


lsampler_samplers = offers(UniformCube)
