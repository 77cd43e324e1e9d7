"""elliptical: the normal's directions with the data's own distribution of the radius."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block, one_thread, require_memory
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler
from lsampler_plugins.samplers.mixtures import clusters, fit_mixture, most_likely
from lsampler_plugins.samplers.normal_scores import increasing, normal_scores, scores_of, values_at

LARGEST_SCORE = 3.5
NODES = 121
FLOOR = 1e-3


class Elliptical(WhitenedSampler):
    """An elliptical distribution: directions of a normal, radii of the data.

    z = mu + R sum_k sqrt(lambda_k) s_k e_k, s uniform on the unit sphere (Fang, Kotz and Ng 1990,
    Symmetric Multivariate and Related Distributions). In many dimensions all vectors of a normal have
    nearly the same radius, sqrt(D), but those of data do not. R = exp(h(x)), x ~ N(0, 1): h joins the
    quantiles of the data's log Mahalanobis radius by straight lines and goes on straight beyond the
    outermost, so the tails are log-normal and the density is positive everywhere but at the centre.

    With ``direction=mixture``, s is the direction of a vector from a Gaussian mixture with diagonal
    covariances, fitted to the directions of the data in whitened coordinates.
    """

    name = "elliptical"
    aggregates_only: ClassVar[bool] = True

    direction: Literal["normal", "mixture"] = Field(
        default="normal", description="of a normal, the same for all; or of a Gaussian mixture, which needs latents"
    )
    mixture_components: int = Field(default=20, ge=1, le=1000, description="number of normals in the mixture")
    temperature: float = Field(default=1.0, gt=0, description="multiplies the radius")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the mixture's first guess")

    def learn_white(self, white: WhitenedReference) -> State:
        """The table of the log radius, and the mixture if there is one."""
        from scipy.special import ndtri

        levels, radii = white.radius_quantiles()
        scores = normal_scores(white.count, LARGEST_SCORE)
        log_radii = np.interp(scores, ndtri(levels), np.log(np.maximum(radii, 1e-6 * radii[len(radii) // 2])))
        knots = increasing(log_radii[:, np.newaxis], scores) + math.log(self.temperature)
        state = {"scores": scores, "knots": knots}
        return state if self.direction == "normal" else {**state, **self.mixture(white)}

    def mixture(self, white: WhitenedReference) -> State:
        """Weights (K,), means (K, q) and standard deviations (K, q) of the mixture of directions."""
        if white.count < self.mixture_components:
            raise LsamplerError(
                f"{white.name}: {white.count} vectors are too few for `mixture_components={self.mixture_components}`"
            )
        require_memory(
            32.0 * white.count * self.mixture_components,
            f"{self.name}: `mixture_components={self.mixture_components}`",
            "use fewer",
            data=8 * white.count * white.components,
        )
        with one_thread():
            rows = torch.from_numpy(np.concatenate(list(white.chunks())))
            rows *= math.sqrt(white.components) / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)
            shares = clusters(rows, self.mixture_components, self.seed)
            found, _ = fit_mixture(rows, most_likely(rows, shares, FLOOR, diagonal=True), floor=FLOOR)
        return {"weights": found.weights.numpy(), "means": found.centres.numpy(), "deviations": found.roots.numpy()}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        radius = values_at(block.normal(1), state["scores"], state["knots"]).exp_()
        direction = block.normal(q)
        if self.direction == "mixture":
            k = block.categories(state["weights"])
            direction.mul_(state["deviations"][k]).add_(state["means"][k])
        return direction.mul_(radius / direction.norm(dim=1, keepdim=True))

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        q, radius = white.shape[1], white.norm(dim=1, keepdim=True)
        x, slope = scores_of(radius.log(), state["scores"], state["knots"])
        log_radial = -0.5 * (x * x + math.log(2 * math.pi)) - slope.log() - q * radius.log()
        if self.direction == "normal":
            log_direction = math.lgamma(q / 2) - math.log(2) - 0.5 * q * math.log(math.pi) + torch.zeros(len(white))
        else:
            log_direction = log_mixture_of_directions(white / radius, state)
        return torch.where(radius[:, 0] > 0, log_radial[:, 0] + log_direction, -torch.inf)


def log_mixture_of_directions(u: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """The log density on the unit sphere, at u (n, q), of y / |y| for y from the mixture: (n,).

    For one component it is the projected normal distribution: the integral over t of
    t^(q-1) N(t u; m, diag(s^2)).
    """
    means, precisions = state["means"], state["deviations"] ** -2
    q = u.shape[1]
    a = u.square() @ precisions.T
    b = u @ (means * precisions).T
    c = (means.square() * precisions).sum(dim=1) - precisions.log().sum(dim=1) + q * math.log(2 * math.pi)
    each = log_radial_integral(b / a.sqrt(), q) - 0.5 * (q * a.log() + c)
    weights = state["weights"]
    return torch.logsumexp(each + torch.log(weights / weights.sum()), dim=1)


def log_radial_integral(beta: Tensor, q: int) -> Tensor:
    """Log of the integral over t > 0 of t^(q-1) exp(-t^2/2 + beta t), to about 12 digits, for any beta.

    The trapezoidal rule in x, with log t = log(mode) + width sinh(x), converges exponentially.
    """
    root = torch.sqrt(beta * beta + 4 * q)
    mode = torch.where(beta > 0, (beta + root) / 2, 2 * q / (root - beta))
    width = (mode * root).rsqrt()
    x = torch.linspace(-6, 6, NODES, dtype=beta.dtype)
    log_t = mode.log()[..., None] + width[..., None] * x.sinh()
    t = log_t.exp()
    terms = q * log_t - 0.5 * t * t + beta[..., None] * t + x.cosh().log()
    return torch.logsumexp(terms, dim=-1) + torch.log(width * (x[1] - x[0]))


lsampler_samplers = offers(Elliptical)
