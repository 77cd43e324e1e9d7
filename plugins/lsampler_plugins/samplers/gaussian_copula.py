"""gaussian-copula: every principal component with its own distribution, joined by a normal's dependence."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, Statistics, offers

BEYOND = 4
LEAST_SLOPE = 1e-3
JITTER = 1e-6
BLOCK_ROWS = 4096


class GaussianCopula(LatentSampler):
    """Each principal component with its own distribution, joined by a Gaussian copula.

    y ~ N(0, P), v_k = h_k(y_k), z = mu + sum_k v_k e_k: e_k the principal axes, h_k increasing, so
    that tails, skew and several peaks of a component come out, which a normal misses; P is the
    correlation of the components' normal scores (Sklar 1959; Nelsen 2006, An Introduction to
    Copulas). h_k joins quantiles of the data by straight lines and goes on straight beyond the
    outermost, so the tails are normal. What the components have in common beyond correlation,
    such as one radius for all, it does not see.

    It reads all train vectors at once.
    """

    name = "gaussian-copula"
    needs_latents: ClassVar[bool] = True

    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none keeps all D"
    )

    def learn(self, reference: Reference) -> State:
        """The centre, the scaled axes, the tables of h_k, and the Cholesky factor of P."""
        q = self.components or reference.dimension
        statistics = reference.statistics()
        statistics.require_rank(q)
        pca = statistics.pca
        axes = np.sqrt(pca.variances[:q, np.newaxis]) * pca.axes[:q]
        with threadpool_limits(1, user_api="blas"):  # more threads round differently
            v = whitened(reference, q)
            scores = normal_scores(len(v))
            knots = quantiles(v, scores)
            correlation = Statistics.from_chunks(scored(v, scores, knots)).correlation
            cholesky = np.linalg.cholesky((1 - JITTER) * correlation + JITTER * np.eye(q))
        return {"mean": pca.mean, "axes": axes, "scores": scores, "knots": knots, "cholesky": cholesky}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """Correlated normals, each through its component's h_k."""
        knots, scores, cholesky = state["knots"], state["scores"], state["cholesky"]
        at = (block.normal(len(cholesky)) @ cholesky.T - scores[0]) / (scores[1] - scores[0])
        below = at.floor().clamp_(0, len(knots) - 2).long()
        v = torch.lerp(knots.gather(0, below), knots.gather(0, below + 1), at - below)
        return torch.addmm(state["mean"], v, state["axes"])

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The normal's density at the scores, over the slopes of h_k, if all components are kept."""
        axes, cholesky = state["axes"], state["cholesky"]
        q, dimension = axes.shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        variances = (axes * axes).sum(dim=1)  # the axes are orthogonal
        v = (latents - state["mean"]) @ axes.T / variances
        y, slopes = inverse(v, state["scores"], state["knots"])
        x: Tensor = torch.linalg.solve_triangular(cholesky, y.T, upper=False).T
        normal = -0.5 * (x * x).sum(dim=1) - torch.log(cholesky.diagonal()).sum() - 0.5 * q * math.log(2 * math.pi)
        return normal - torch.log(slopes).sum(dim=1) - 0.5 * torch.log(variances).sum()


def whitened(reference: Reference, q: int) -> NDArray[np.float32]:
    """(n, q) coordinates along the leading principal axes, in units of sigma."""
    pca = reference.statistics().pca
    scale = np.sqrt(pca.variances[:q])
    return np.concatenate([(pca.transform(rows, q) / scale).astype(np.float32) for rows in reference.chunks()])


def normal_scores(count: int) -> NDArray[np.float64]:
    """(L,) where the tables have their knots: more for more vectors, the outermost with a few vectors beyond."""
    from scipy.special import ndtri

    reach = -ndtri(min(0.25, BEYOND / count))
    return np.linspace(-reach, reach, 2 * max(1, round(count ** (1 / 3))) + 1)


def quantiles(v: NDArray[Any], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L, q) quantiles of every component, made strictly increasing where values are repeated."""
    from scipy.special import ndtr

    found = np.quantile(v, ndtr(scores), axis=0, method="hazen").astype(np.float64)
    floor = LEAST_SLOPE * scores[:, np.newaxis]
    knots: NDArray[np.float64] = np.maximum.accumulate(found - floor, axis=0) + floor
    return knots


def inverse(v: Tensor, scores: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """The normal scores y of values v, and the slopes dv/dy there: (n, q) each."""
    below = torch.searchsorted(knots.T.contiguous(), v.T.contiguous()).T.sub(1).clamp(0, len(knots) - 2)
    low = knots.gather(0, below)
    step = scores[1] - scores[0]
    slopes = (knots.gather(0, below + 1) - low) / step
    return scores[below] + (v - low) / slopes, slopes


def scored(v: NDArray[Any], scores: NDArray[np.float64], knots: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Normal scores of the train vectors, block by block; no outlier counts for more than the largest rank does."""
    from scipy.special import ndtri

    largest = -ndtri(0.5 / len(v))
    tables = torch.from_numpy(scores), torch.from_numpy(knots)
    for start in range(0, len(v), BLOCK_ROWS):
        y, _ = inverse(torch.from_numpy(v[start : start + BLOCK_ROWS]).double(), *tables)
        yield y.clamp(-largest, largest).numpy()


lsampler_samplers = offers(GaussianCopula)
