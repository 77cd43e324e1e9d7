"""truncated-normal: the normal, or the uniform distribution, within an ellipsoid around the data."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, offers

REACH = 6.0
KNOTS = 4097
# Drawn vectors are rounded to single precision; this keeps them from leaving the ellipsoid by it.
INSIDE = 1 - 1e-6
LEAST_SHARE = 1e-280


class TruncatedNormal(LatentSampler):
    """The normal N(mu, Sigma) within the ellipsoid of a Mahalanobis radius, exactly.

    z = mu + R sum_k sqrt(lambda_k) s_k e_k, with s uniform on the unit sphere and, for q kept
    components, R^2 ~ chi^2_q given R <= r; for ``uniform``, R = r U^(1/q), which is the uniform
    distribution in the ellipsoid. Nothing is rejected, however small the share.

    In many dimensions nearly all of the normal is at a radius of sqrt(q) +- 0.7 (16 for q = 256),
    so a share of 0.95 takes little away, and the uniform distribution lies close to the surface.
    """

    name = "truncated-normal"

    share: float = Field(default=0.95, gt=0, lt=1, description="of the normal that lies inside the ellipsoid")
    radius: float | None = Field(
        default=None, gt=0, description="of the ellipsoid in sigma (Mahalanobis), instead of the share; none: by share"
    )
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="within the ellipsoid")
    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none keeps all D"
    )

    def learn(self, reference: Reference) -> State:
        """The centre, the scaled axes, and log R at equally spaced normal scores of its level."""
        q = self.components or reference.dimension
        statistics = reference.statistics()
        statistics.require_rank(q)
        largest, inside = self.ellipsoid(q)
        pca = statistics.pca
        return {
            "mean": pca.mean,
            "axes": np.sqrt(pca.variances[:q, np.newaxis]) * pca.axes[:q],
            "log_radii": self.log_radii(q, largest, inside),
            "largest": np.array(largest),
            "inside": np.array(inside),
        }

    def ellipsoid(self, q: int) -> tuple[float, float]:
        """Its Mahalanobis radius and the share of the normal inside, P(chi^2_q <= r^2)."""
        from scipy.special import gammainc, gammaincinv

        if self.radius is None:
            return math.sqrt(2 * gammaincinv(q / 2, self.share)), self.share
        inside = float(gammainc(q / 2, self.radius**2 / 2))
        if inside < LEAST_SHARE and self.distribution == "normal":
            raise LsamplerError(
                f"{self.name}: radius={self.radius:g} holds too little of a normal in {q} dimensions, whose radius is "
                f"near {math.sqrt(q):.1f}; give a larger one, or distribution=uniform"
            )
        return self.radius, inside

    def log_radii(self, q: int, largest: float, inside: float) -> NDArray[np.float64]:
        """(KNOTS,) log R at levels Phi(x), x = -REACH .. REACH; smooth in x, so that straight lines join them well."""
        from scipy.special import gammaincinv, ndtr

        levels = ndtr(np.linspace(-REACH, REACH, KNOTS))
        if self.distribution == "uniform":
            log_radii = math.log(largest) + np.log(levels) / q
        else:
            log_radii = 0.5 * np.log(2 * gammaincinv(q / 2, levels * inside))
        return np.asarray(log_radii + math.log(INSIDE), dtype=np.float64)

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A direction, and a radius by interpolation in its table at a standard normal."""
        axes, log_radii = state["axes"], state["log_radii"]
        at = (block.normal().clamp_(-REACH, REACH) + REACH) * ((KNOTS - 1) / (2 * REACH))
        below = at.long().clamp_(max=KNOTS - 2)
        radius = torch.lerp(log_radii[below], log_radii[below + 1], at - below).exp_()
        direction = block.normal(len(axes))
        return torch.addmm(state["mean"], direction.mul_((radius / direction.norm(dim=1))[:, None]), axes)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The normal's density over the share inside, or one over the volume, if all components are kept."""
        axes, largest = state["axes"], state["largest"]
        q, dimension = axes.shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        variances = (axes * axes).sum(dim=1)  # the axes are orthogonal
        squared = (((latents - state["mean"]) @ axes.T / variances) ** 2).sum(dim=1)
        log_det = 0.5 * torch.log(variances).sum()
        if self.distribution == "uniform":
            log_ball = 0.5 * q * math.log(math.pi) - math.lgamma(q / 2 + 1) + q * torch.log(largest)
            density = -(log_ball + log_det).expand_as(squared)
        else:
            density = -0.5 * (squared + q * math.log(2 * math.pi)) - log_det - torch.log(state["inside"])
        return torch.where(squared <= largest**2, density, -torch.inf)


lsampler_samplers = offers(TruncatedNormal)
