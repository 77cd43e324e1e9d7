"""truncated-normal: the normal, or the uniform distribution, within an ellipsoid around the data."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler
from lsampler_plugins.samplers.normal_scores import values_at

SCORES = np.linspace(-6.0, 6.0, 4097)
LEAST_SHARE = 1e-280
INSIDE = math.log(1 - 1e-6)  # single precision may round the largest radii up by less than that


class TruncatedNormal(WhitenedSampler):
    """The normal N(mu, Sigma) within the ellipsoid of a Mahalanobis radius, exactly.

    z = mu + R sum_k sqrt(lambda_k) s_k e_k, with s uniform on the unit sphere and, for q kept
    components, R^2 ~ chi^2_q given R <= r; for ``uniform``, R = r U^(1/q), which is the uniform
    distribution in the ellipsoid. Nothing is rejected, however small the share.

    In many dimensions nearly all of the normal is at a radius of sqrt(q) +- 0.7, so a share of 0.95
    takes little away, and the uniform distribution lies close to the surface.
    """

    name = "truncated-normal"
    aggregates_only: ClassVar[bool] = True

    share: float = Field(default=0.95, gt=0, lt=1, description="of the normal that lies inside the ellipsoid")
    radius: float | None = Field(
        default=None, gt=0, description="of the ellipsoid in sigma (Mahalanobis), instead of the share; none: by share"
    )
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="within the ellipsoid")

    def learn_white(self, white: WhitenedReference) -> State:
        """The ellipsoid's radius r, the share of the normal inside, and a table of log R at normal scores.

        The table is so smooth that straight lines between its entries are exact to single precision.
        """
        from scipy.special import gammainc, gammaincinv, ndtr

        q = white.components
        inside = self.share if self.radius is None else float(gammainc(q / 2, self.radius**2 / 2))
        if inside < LEAST_SHARE and self.distribution == "normal":
            raise LsamplerError(
                f"{self.name}: `radius={self.radius:g}` holds too little of a normal in {q} dimensions, whose radius "
                f"is near {math.sqrt(q):.1f}; use a larger one, or `distribution=uniform`"
            )
        largest = self.radius or math.sqrt(2 * gammaincinv(q / 2, inside))
        if self.distribution == "uniform":
            log_radii = math.log(largest) + np.log(ndtr(SCORES)) / q
        else:
            log_radii = 0.5 * np.log(2 * gammaincinv(q / 2, ndtr(SCORES) * inside))
        knots = log_radii[:, np.newaxis] + INSIDE
        return {"scores": SCORES, "knots": knots, "largest": np.array(largest), "inside": np.array(inside)}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        x = block.normal(1).clamp_(SCORES[0], SCORES[-1])
        radius = values_at(x, state["scores"], state["knots"]).exp_()
        direction = block.normal(q)
        return direction.mul_(radius / direction.norm(dim=1, keepdim=True))

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        q, largest, squared = white.shape[1], state["largest"], white.square().sum(dim=1)
        if self.distribution == "uniform":
            log_ball = 0.5 * q * math.log(math.pi) - math.lgamma(q / 2 + 1) + q * largest.log()
            density = -log_ball.expand_as(squared)
        else:
            density = -0.5 * (squared + q * math.log(2 * math.pi)) - state["inside"].log()
        return torch.where(squared.sqrt() <= largest + self.rounding(state, white).norm(dim=1), density, -torch.inf)


lsampler_samplers = offers(TruncatedNormal)
