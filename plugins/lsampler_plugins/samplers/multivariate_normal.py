"""multivariate-normal: the posts' model of the core, drawn directly (posts VIII and IX)."""

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import WhitenedSampler


class MultivariateNormal(WhitenedSampler):
    """One normal with all linear correlations: z ~ N(mu, Sigma).

    It is drawn along the principal axes: z = mu + T sum_k sqrt(lambda_k) x_k e_k with x_k ~ N(0, 1). With all
    components, an affine map of the latent space maps the distribution with it.
    """

    name = "multivariate-normal"
    aggregates_only: ClassVar[bool] = True

    temperature: float = Field(default=1.0, gt=0, description="T multiplies all deviations from the centre")

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        return block.normal(q).mul_(self.temperature)

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        x = white / self.temperature
        return -0.5 * (x * x).sum(dim=1) - white.shape[1] * math.log(math.sqrt(2 * math.pi) * self.temperature)


lsampler_samplers = offers(MultivariateNormal)
