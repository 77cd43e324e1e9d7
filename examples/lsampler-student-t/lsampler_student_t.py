"""student-t: a normal whose size varies, for latent vectors with heavy tails."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import gammaincinv, gammaln
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler

FEWEST, MOST = 2.05, 1000.0  # degrees of freedom: below 2 there is no covariance, at 1000 it is a normal


class StudentT(WhitenedSampler):
    """The multivariate Student t with the data's mean and covariance: z = mu + A x sqrt(nu / c).

    x is standard normal, c chi-squared with nu degrees of freedom, A A^T = (nu - 2) / nu Sigma.
    The radii of latent vectors often vary more than a normal's (fewer degrees of freedom);
    nu is found by maximum likelihood from the Mahalanobis radii.
    Source: Kotz and Nadarajah, Multivariate t Distributions and Their Applications, 2004.
    """

    name = "student-t"

    freedom: float | None = Field(
        default=None, gt=2, le=MOST, description="degrees of freedom nu; none: those that fit the data best"
    )

    def learn_white(self, white: WhitenedReference) -> State:
        """The degrees of freedom."""
        freedom = self.freedom
        if freedom is None:
            squares = np.concatenate([np.square(chunk).sum(axis=1) for chunk in white.chunks()])
            freedom = most_likely_freedom(squares, white.components)
        return {"freedom": np.array(freedom)}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        """A normal direction, and its size by inversion of the chi-squared distribution."""
        freedom = float(state["freedom"])
        uniform = block.uniform(1).double().cpu().numpy()
        chi_squared = 2 * gammaincinv(freedom / 2, np.clip(uniform, 1e-12, None))
        size = torch.from_numpy(np.sqrt((freedom - 2) / chi_squared)).to(block.device, torch.float32)
        return size * block.normal(q)

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        """The density of the t of unit covariance."""
        freedom, q = float(state["freedom"]), white.shape[1]
        spread = (freedom - 2) / freedom
        squares = white.square().sum(dim=1).numpy() / spread
        return torch.from_numpy(log_t(squares, freedom, q) - q / 2 * math.log(spread))


def log_t(squares: NDArray[np.float64], freedom: float, dimension: int) -> NDArray[np.float64]:
    """The log density of a t of unit scale at squared distances from its centre (n,)."""
    half = (freedom + dimension) / 2
    constant = gammaln(half) - gammaln(freedom / 2) - dimension / 2 * math.log(freedom * math.pi)
    found: NDArray[np.float64] = constant - half * np.log1p(squares / freedom)
    return found


def most_likely_freedom(squares: NDArray[np.float64], dimension: int) -> float:
    """Degrees of freedom from squared Mahalanobis radii (n,), the covariance held at the data's."""
    if not np.isfinite(squares).all():
        raise LsamplerError("student-t: the latents hold NaN or infinite values; encode them again")

    def loss(log_freedom: float) -> float:
        freedom = math.exp(log_freedom)
        spread = (freedom - 2) / freedom
        return -float(log_t(squares / spread, freedom, dimension).mean()) + dimension / 2 * math.log(spread)

    found = minimize_scalar(loss, bounds=(math.log(FEWEST), math.log(MOST)), method="bounded")
    return math.exp(float(found.x))


lsampler_samplers = offers(StudentT)
