"""kde: a normal around every data vector, with a bandwidth chosen by likelihood."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler

CHUNK_ROWS = 4096
NARROWEST = 0.01
GRID = 13
ROUNDS = 3


class Kde(WhitenedSampler):
    """A normal around every data vector, shrunk towards the mean so that the covariance is kept.

    z = mu + sqrt(1 - h^2) (x_i - mu) + h e, x_i any train vector, e ~ N(0, Sigma): a Gaussian kernel
    density (Silverman 1986) with smoothing by shrinkage (West 1993, J. R. Stat. Soc. B 55, 409). h
    runs from copies of the data (0) to the normal N(mu, Sigma) (1). By default it makes the train
    vectors most likely, each under the density of the others: the rules of thumb fail in many
    dimensions. Narrower kernels deceive classifiers by copying: read the score ``novelty`` beside them.
    """

    name = "kde"
    needs_latents: ClassVar[bool] = True

    bandwidth: float | None = Field(
        default=None, gt=0, le=1, description="h, the kernel's width in sigma of the data; none: by likelihood"
    )
    judges: int = Field(default=500, ge=1, le=10_000, description="how many random train vectors judge a bandwidth")
    seed: int = Field(default=0, ge=0, lt=2**63, description="chooses these vectors")

    def learn_white(self, white: WhitenedReference) -> State:
        vectors = white.vectors()
        return {"vectors": vectors, "h": np.array(self.bandwidth or self.most_likely(torch.from_numpy(vectors)))}

    def most_likely(self, vectors: Tensor) -> float:
        """The bandwidth with the largest leave-one-out likelihood, by finer and finer grids of log h."""
        judges = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(vectors))[: self.judges].copy())
        points = vectors[judges].double()
        advance = self.begin("bandwidth", ROUNDS)
        low, high = math.log(NARROWEST), 0.0
        for _ in range(ROUNDS):
            grid = np.linspace(low, high, GRID)
            likely = log_kernel_sums(points, vectors, np.exp(grid).tolist(), leave_out=judges).mean(dim=1)
            best = int(likely.argmax())
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
            advance(1)
        return float(np.exp(grid[best]))

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        vectors, h = state["vectors"], float(state["h"])
        noise = block.normal(q).mul_(h)
        return noise.add_(vectors[block.integers(len(vectors))], alpha=math.sqrt(1 - h * h))

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        return log_kernel_sums(white, state["vectors"], [float(state["h"])])[0] - math.log(len(state["vectors"]))


def log_kernel_sums(
    points: Tensor, vectors: Tensor, bandwidths: Sequence[float], leave_out: Tensor | None = None
) -> Tensor:
    """Log sum_i N(x; sqrt(1 - h^2) w_i, h^2) for every h, at points x (m, q) float64 -> (number of h, m).

    ``leave_out`` (m,) says which of the whitened vectors w (n, q) does not count for each point.
    """
    if leave_out is None:
        leave_out = torch.full((len(points),), -1)
    squares = points.square().sum(dim=1, keepdim=True)
    sums = torch.full((len(bandwidths), len(points)), -torch.inf, dtype=points.dtype)
    for start in range(0, len(vectors), CHUNK_ROWS):
        centres = vectors[start : start + CHUNK_ROWS].double()
        norms, products = centres.square().sum(dim=1), points @ centres.T
        own = (leave_out >= start) & (leave_out < start + len(centres))
        for k, h in enumerate(bandwidths):
            a = math.sqrt(1 - h * h)
            exponents = torch.add(squares + a * a * norms, products, alpha=-2 * a).mul_(-0.5 / (h * h))
            exponents[own, leave_out[own] - start] = -torch.inf
            log_volume = 0.5 * points.shape[1] * math.log(2 * math.pi * h * h)
            sums[k] = torch.logaddexp(sums[k], torch.logsumexp(exponents, dim=1) - log_volume)
    return sums


lsampler_samplers = offers(Kde)
