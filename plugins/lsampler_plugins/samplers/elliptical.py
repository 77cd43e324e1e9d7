"""elliptical: the normal's directions with the data's own distribution of the radius."""

import math
import warnings
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, offers

BEYOND = 4
LARGEST_SCORE = 3.5
LEAST_SLOPE = 1e-3
NODES = 121


class Elliptical(LatentSampler):
    """An elliptical distribution: directions of a normal, radii of the data.

    z = mu + R sum_k sqrt(lambda_k) s_k e_k, s uniform on the unit sphere (Fang, Kotz and Ng 1990,
    Symmetric Multivariate and Related Distributions). In many dimensions a normal has one radius
    for all, sqrt(D), and data have not. R = exp(h(x)), x ~ N(0, 1): h joins the quantiles of the data's
    log Mahalanobis radius by straight lines and goes on straight beyond the outermost, so the tails
    are log-normal and the density is positive everywhere but at the centre.

    With ``direction=mixture``, s is the direction of a vector from a Gaussian mixture with
    diagonal covariances, fitted to the directions of the data along the principal axes; it needs
    the latent vectors. Otherwise statistics alone suffice.
    """

    name = "elliptical"

    direction: Literal["normal", "mixture"] = Field(
        default="normal", description="of a normal, the same for all; or of a Gaussian mixture, which needs latents"
    )
    mixture_components: int = Field(default=20, ge=1, description="of the Gaussian mixture")
    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none keeps all D"
    )
    temperature: float = Field(default=1.0, gt=0, description="multiplies the radius")
    seed: int = Field(default=0, ge=0, description="of the mixture's first guess")

    def learn(self, reference: Reference) -> State:
        """The centre, the scaled axes, the table of the radius, and the mixture if there is one."""
        q = self.components or reference.dimension
        statistics = reference.statistics()
        statistics.require_rank(q)
        pca = statistics.pca
        scores, log_radii = radius_table(reference.radius_quantiles(self.components), statistics.count)
        state = {
            "mean": pca.mean,
            "axes": np.sqrt(pca.variances[:q, np.newaxis]) * pca.axes[:q],
            "scores": scores,
            "log_radii": log_radii + math.log(self.temperature),
        }
        return state if self.direction == "normal" else {**state, **self.mixture(reference, q)}

    def mixture(self, reference: Reference, q: int) -> State:
        """Weights (K,), means (K, q) and standard deviations (K, q) of the mixture."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        pca = reference.statistics().pca
        with threadpool_limits(1), warnings.catch_warnings():  # more threads round differently
            warnings.simplefilter("ignore", ConvergenceWarning)  # any mixture has the density that it draws from
            white = pca.transform(reference.latents(), q) / np.sqrt(pca.variances[:q])
            if len(white) < self.mixture_components:
                raise LsamplerError(
                    f"{reference.name}: {len(white)} vectors, too few for mixture_components={self.mixture_components}"
                )
            white *= math.sqrt(q) / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-30)
            found = GaussianMixture(
                self.mixture_components, covariance_type="diag", reg_covar=1e-3, random_state=self.seed
            ).fit(white)
        return {"weights": found.weights_, "means": found.means_, "deviations": np.sqrt(found.covariances_)}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A direction, and a radius by interpolation in its table at a standard normal."""
        axes, scores, log_radii = state["axes"], state["scores"], state["log_radii"]
        at = (block.normal() - scores[0]) / (scores[1] - scores[0])
        below = at.floor().clamp_(0, len(scores) - 2).long()
        radius = torch.lerp(log_radii[below], log_radii[below + 1], at - below).exp_()
        direction = block.normal(len(axes))
        if self.direction == "mixture":
            k = block.categories(state["weights"])
            direction.mul_(state["deviations"][k]).add_(state["means"][k])
        return torch.addmm(state["mean"], direction.mul_((radius / direction.norm(dim=1))[:, None]), axes)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """p(radius) p(direction) / (radius^(D-1) prod_k sqrt(lambda_k)), if all components are kept."""
        axes, scores, log_radii = state["axes"], state["scores"], state["log_radii"]
        q, dimension = axes.shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        variances = (axes * axes).sum(dim=1)  # the axes are orthogonal
        white = (latents - state["mean"]) @ axes.T / variances
        radius = white.norm(dim=1)
        log_r = radius.log()
        below = (torch.searchsorted(log_radii, log_r) - 1).clamp_(0, len(scores) - 2)
        slope = (log_radii[below + 1] - log_radii[below]) / (scores[1] - scores[0])
        x = scores[below] + (log_r - log_radii[below]) / slope
        log_normal = -0.5 * (x * x + math.log(2 * math.pi)) - slope.log() - q * log_r  # of r, over r^(q - 1)
        if self.direction == "normal":
            log_direction = math.lgamma(q / 2) - math.log(2) - 0.5 * q * math.log(math.pi) + torch.zeros_like(radius)
        else:
            log_direction = log_mixture_of_directions(white / radius[:, None], state)
        density = log_normal + log_direction - 0.5 * variances.log().sum()
        return torch.where(radius > 0, density, -torch.inf)


def radius_table(quantiles: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normal scores, equally spaced, and log R at each: more of them for more vectors, a few vectors beyond the last.

    Where radii are repeated, R still varies by a thousandth, so that there is a density.
    """
    from scipy.special import ndtri

    levels, radii = quantiles
    reach = min(-ndtri(min(0.25, BEYOND / count)), LARGEST_SCORE)
    scores = np.linspace(-reach, reach, 2 * max(1, round(count ** (1 / 3))) + 1)
    log_radii = np.interp(scores, ndtri(levels), np.log(np.maximum(radii, 1e-6 * radii[len(radii) // 2])))
    floor = LEAST_SLOPE * scores
    return scores, np.maximum.accumulate(log_radii - floor) + floor


def log_mixture_of_directions(u: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """The log density on the unit sphere, at u (n, q), of y / |y| for y from the mixture: (n,).

    For one component the integral over t of t^(q-1) N(t u; m, diag(s^2)), the projected normal
    distribution.
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
