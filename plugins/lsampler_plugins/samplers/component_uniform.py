"""component-uniform: an interval for every component (post VII)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import SINGLE_PRECISION, HalfWidth
from lsampler.store import Reference


class ComponentUniform(LatentSampler):
    """Uniform in an interval per component: z_j ~ U(mu_j - f w_j, mu_j + f w_j).

    w_j is the half-width of component j: the full width at half maximum, 2.3548 sigma for a
    Gaussian. So ``fact`` multiplies 2.3548 sigma, to both sides of the centre. Correlations are
    ignored; post VII tries factors from 0.4 to 1.0.
    """

    name = "component-uniform"
    aggregates_only: ClassVar[bool] = True

    fact: float = Field(default=0.5, gt=0, description="f, in half-widths to either side of the centre")
    half_width: HalfWidth = Field(default="moments", description="how the half-widths are determined")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        reach = self.fact * statistics.half_widths(self.half_width)
        return {"low": statistics.mean - reach, "high": statistics.mean + reach}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        return block.uniform(len(state["low"]), low=state["low"], high=state["high"])

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """-sum_j log(high_j - low_j) in the box, up to the rounding of draws at its faces."""
        varying = state["high"] > state["low"]
        low, high = state["low"][varying], state["high"][varying]
        rounding = SINGLE_PRECISION * torch.maximum(low.abs(), high.abs())
        latents = latents[:, varying]
        inside = ((latents >= low - rounding) & (latents <= high + rounding)).all(dim=1)
        return torch.where(inside, -torch.log(high - low).sum(), -torch.inf)


lsampler_samplers = offers(ComponentUniform)
