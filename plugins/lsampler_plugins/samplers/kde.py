"""kde: a normal around every data vector, with a bandwidth chosen by likelihood."""

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, offers

BLOCK_ROWS = 4096
NARROWEST = 0.01
GRID = 13
ROUNDS = 3


class Kde(LatentSampler):
    """A normal around every data vector, shrunk towards the mean so that the covariance is kept.

    z = mu + sqrt(1 - h^2) (x_i - mu) + h e, x_i any train vector, e ~ N(0, Sigma): a Gaussian kernel
    density (Silverman 1986) with smoothing by shrinkage (West 1993, J. R. Stat. Soc. B 55, 409). h
    runs from copies of the data (0) to the normal N(mu, Sigma) (1).

    The rules of thumb for h fail in many dimensions; so by default h is what makes the train
    vectors most likely, each under the density of the others. Narrower kernels deceive classifiers
    by copying: read the score ``novelty`` beside them.

    It holds all train vectors.
    """

    name = "kde"
    needs_latents: ClassVar[bool] = True

    bandwidth: float | None = Field(
        default=None, gt=0, le=1, description="h, the kernel's width in sigma of the data; none: by likelihood"
    )
    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none keeps all D"
    )
    judges: int = Field(default=500, ge=1, description="how many random train vectors judge a bandwidth")
    seed: int = Field(default=0, ge=0, description="chooses these vectors")

    def learn(self, reference: Reference) -> State:
        """The whitened vectors, the axes that undo it, and the bandwidth."""
        q = self.components or reference.dimension
        statistics = reference.statistics()
        statistics.require_rank(q)
        pca = statistics.pca
        scale = np.sqrt(pca.variances[:q])
        with threadpool_limits(1, user_api="blas"):  # more threads round differently
            white = np.concatenate([(pca.transform(rows, q) / scale).astype(np.float32) for rows in reference.chunks()])
        h = self.bandwidth or self.most_likely(torch.from_numpy(white))
        return {"mean": pca.mean, "axes": scale[:, np.newaxis] * pca.axes[:q], "white": white, "h": np.array(h)}

    def most_likely(self, white: Tensor) -> float:
        """The bandwidth with the largest leave-one-out likelihood, by finer and finer grids of log h."""
        judges = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(white))[: self.judges].copy())
        points = white[judges].double()
        advance = self.begin("bandwidth", ROUNDS)
        low, high = math.log(NARROWEST), 0.0
        for _ in range(ROUNDS):
            grid = np.linspace(low, high, GRID)
            likely = log_kernel_sums(points, white, np.exp(grid), leave_out=judges).mean(dim=1)
            best = int(likely.argmax())
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
            advance(1)
        return float(np.exp(grid[best]))

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A data vector, shrunk, and noise."""
        white, h = state["white"], float(state["h"])
        noise = block.normal(white.shape[1]).mul_(h)
        kept = white[block.integers(len(white))].mul_(math.sqrt(1 - h * h))
        return torch.addmm(state["mean"], kept.add_(noise), state["axes"])

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The mean of all kernels, if all components are kept."""
        axes, white = state["axes"], state["white"]
        q, dimension = axes.shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        variances = (axes * axes).sum(dim=1)  # the axes are orthogonal
        points = (latents - state["mean"]) @ axes.T / variances
        density = log_kernel_sums(points, white, [float(state["h"])])[0]
        return density - math.log(len(white)) - 0.5 * variances.log().sum()


def log_kernel_sums(
    points: Tensor, white: Tensor, bandwidths: Iterable[float], leave_out: Tensor | None = None
) -> Tensor:
    """Log sum_i N(x; sqrt(1 - h^2) w_i, h^2) for every h, at points x (m, q) float64 -> (number of h, m).

    Block by block of the whitened vectors w (n, q); ``leave_out`` (m,) is which w does not count for
    each point.
    """
    if leave_out is None:
        leave_out = torch.full((len(points),), -1)
    squares = (points * points).sum(dim=1, keepdim=True)
    blocks = []
    for start in range(0, len(white), BLOCK_ROWS):
        centres = white[start : start + BLOCK_ROWS].double()
        norms, products = (centres * centres).sum(dim=1), points @ centres.T
        own = (leave_out >= start) & (leave_out < start + len(centres))
        sums = []
        for h in bandwidths:
            a = math.sqrt(1 - h * h)
            exponents = torch.add(squares + a * a * norms, products, alpha=-2 * a).mul_(-0.5 / (h * h))
            exponents[own, leave_out[own] - start] = -torch.inf
            sums.append(torch.logsumexp(exponents, dim=1) - 0.5 * points.shape[1] * math.log(2 * math.pi * h * h))
        blocks.append(torch.stack(sums))
    return torch.logsumexp(torch.stack(blocks), dim=0)


lsampler_samplers = offers(Kde)
