"""pca-ellipse: inside the ellipses of all pairs of principal components (post X), the posts' successful strategy."""

import functools
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
from lsampler.statistics import HalfWidth, Statistics

DEFAULT_COMPONENTS = 100


class PcaEllipse(WhitenedSampler):
    """Inside the ellipse of every pair of leading principal components (post X).

    In PCA coordinates v_1 .. v_q, with half-axes a_k = fact * w_k, the vector satisfies

        (v_i / a_i)^2 + (v_j / a_j)^2 <= 1   for every pair i != j,

    and is then transformed back. w_k is the half-width of component k: the full width at half
    maximum, 2.3548 sigma for a Gaussian; so ``fact`` = 0.7 puts the half-axes at 1.65 sigma.
    """

    name = "pca-ellipse"
    aggregates_only: ClassVar[bool] = True

    fact: float = Field(
        default=0.7, gt=0, description="half-axes in half-widths (2.3548 sigma); the post takes 0.6 to 0.8"
    )
    components: int | None = Field(
        default=None, ge=1, description="q, leading principal components (post: 50 to 120); none: 100, or all if fewer"
    )
    method: Literal["exact", "iteration"] = Field(
        default="exact", description="exact: uniform on the region; iteration: the post's, component by component"
    )
    half_width: HalfWidth = Field(default="moments", description="how the half-widths are determined")
    trim: float | None = Field(
        default=1.7, gt=0, description="leave out vectors beyond this many half-widths first (post IX); none keeps all"
    )

    def default_components(self, statistics: Statistics) -> int:
        return min(DEFAULT_COMPONENTS, statistics.directions)

    def learn_white(self, white: WhitenedReference) -> State:
        """The half-axes a_k in units of sigma."""
        return {"half_axes": self.fact * white.half_widths(self.half_width)}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        u = exact(block, q) if self.method == "exact" else iteration(block, q)
        return u.mul_(state["half_axes"])

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        if self.method != "exact":
            raise LsamplerError(f"{self.name} has a density with `method=exact` only, not with {self.method}")
        half_axes = state["half_axes"]
        u = (white.abs() - self.rounding(state, white)).clamp_(min=0) / half_axes
        q = u.shape[1]
        log_volume = 0.5 * q * math.log(2) - math.log(cube_share(q)) + half_axes.log().sum()
        two_largest = u.square().topk(min(2, q), dim=1).values.sum(dim=1)
        return torch.where(two_largest <= 1, -log_volume, -torch.inf)


@functools.cache
def cube_share(q: int) -> float:
    """The share of the region's volume in which every |u_k| is below 1/sqrt(2).

    Only the two largest |u| matter: u(1)^2 + u(2)^2 <= 1. Either all are below 1/sqrt(2), a cube
    of volume sqrt(2)^q; or exactly one, at +-cos(theta), is above it and the q - 1 others lie
    within +-sin(theta), theta in [0, pi/4], of volume

        q 2^q int_0^(pi/4) sin(theta)^q dtheta = sqrt(2)^q q / (sqrt(2) (q+1)) F(a, 1/2; a+1; 1/2),  a = (q+1)/2,

    with the hypergeometric function F(a, 1/2; a+1; 1/2) = sum_n a/(a+n) (1/2)_n/n! 2^-n.
    """
    n = np.arange(1, 60)  # The next term is below 2^-60.
    terms = np.cumprod((n - 0.5) / (2 * n)) * (q + 1) / (q + 1 + 2 * n)
    return float(1 / (1 + q / (np.sqrt(2) * (q + 1)) * (1 + terms.sum())))


def exact(block: Block, q: int) -> Tensor:
    """Draw uniformly from the region u_i^2 + u_j^2 <= 1 for all pairs: (rows, q), in closed form."""
    u = block.uniform(q, low=-1.0, high=1.0)
    in_cube = block.uniform() < cube_share(q)
    sine = sine_of_theta(block, q)
    u.mul_(torch.where(in_cube, math.sqrt(0.5), sine)[:, None])
    # Outside the cube one component, any of the q, is the large one: +-cos(theta).
    cosine = torch.sqrt(1 - sine * sine) * torch.where(block.uniform() < 0.5, -1.0, 1.0)
    large = block.integers(q)[:, None]
    return u.scatter_(1, large, torch.where(in_cube[:, None], u.gather(1, large), cosine[:, None]))


def sine_of_theta(block: Block, q: int) -> Tensor:
    """Draw sin(theta), theta in [0, pi/4] with density proportional to sin(theta)^q: (rows,).

    s = sin(theta)^2 has density proportional to s^(a-1) (1-s)^(-1/2) on [0, 1/2], a = (q+1)/2.
    The first factor is drawn by inversion, s = U^(1/a) / 2; the second, at most sqrt(2), by
    rejection, which redraws fewer than 3 in 10 and hardly any for large q.
    """
    s = torch.zeros(block.rows, device=block.device)
    redraw = torch.ones_like(s, dtype=torch.bool)
    while bool(redraw.any()):
        fresh = block.uniform().pow_(2 / (q + 1)).mul_(0.5)
        s = torch.where(redraw, fresh, s)
        redraw &= block.uniform() > torch.sqrt(0.5 / (1 - s))
    return s.sqrt_()


def iteration(block: Block, q: int) -> Tensor:
    """Post X's iteration: (rows, q). One pass satisfies every pair.

    A component may range over +-sqrt(1 - m^2), m the largest |u| drawn before it. In units of the
    half-axes all components are alike, so the sequence is drawn first and then assigned to the
    components in random order.
    """
    sequence = block.uniform(q, low=-1.0, high=1.0).T.contiguous()
    largest_squared = torch.zeros(block.rows, device=block.device)
    for step in sequence:
        step.mul_(torch.sqrt(1 - largest_squared))
        largest_squared = torch.maximum(largest_squared, step * step)
    order = block.uniform(q).argsort(dim=1)
    return sequence.T.gather(1, order)


lsampler_samplers = offers(PcaEllipse)
