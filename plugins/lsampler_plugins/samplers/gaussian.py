"""gaussian: independent normals (posts V and VIII)."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import FWHM_PER_SIGMA, HalfWidth
from lsampler.store import Reference


class Gaussian(LatentSampler):
    """An independent normal for every component: z_j ~ N(mu_j, sigma_j^2).

    Post V proposes it, and post VIII shows that each component is close to Gaussian. It ignores the
    correlations between them.
    """

    name = "gaussian"
    aggregates_only: ClassVar[bool] = True

    temperature: float = Field(default=1.0, gt=0, description="multiplies sigma; below 1 draws closer to the centre")
    half_width: HalfWidth = Field(
        default="moments", description="how sigma is determined: from the half-width, w_j / 2.3548"
    )

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        sigma = statistics.half_widths(self.half_width) / FWHM_PER_SIGMA
        return {"mean": statistics.mean, "sigma": self.temperature * sigma}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.normal(len(state["mean"])).mul_(state["sigma"]).add_(state["mean"])

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        varying = state["sigma"] > 0
        sigma = state["sigma"][varying]
        x = (latents - state["mean"])[:, varying] / sigma
        return -(0.5 * x * x + torch.log(sigma) + 0.5 * math.log(2 * math.pi)).sum(dim=1)


lsampler_samplers = offers(Gaussian)
