"""uniform-cube: the naive approach of posts I, II and V, which misses the core."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import SINGLE_PRECISION, Block, LatentSampler, Reference, State, offers


class UniformCube(LatentSampler):
    """Uniform in one cube around the origin, whatever the data: z_j ~ U(-b, b).

    With b = 1.5 the length of the vectors fits that of the data, but not their direction: nearly all
    decode to noise (posts II, IV and V).
    """

    name = "uniform-cube"

    b: float = Field(default=1.5, gt=0, description="half the edge of the cube, in latent units")

    def learn(self, reference: Reference) -> State:
        """Only the latent dimension."""
        return {"origin": np.zeros(reference.dimension)}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.uniform(len(state["origin"]), low=-self.b, high=self.b)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """-D log(2 b) in the cube, up to the rounding of draws at its faces."""
        inside = (latents.abs() <= self.b * (1 + SINGLE_PRECISION)).all(dim=1)
        return torch.where(inside, -latents.shape[1] * math.log(2 * self.b), -torch.inf).double()


lsampler_samplers = offers(UniformCube)
