"""gaussian-copula: every principal component with its own distribution, joined by a normal's dependence."""

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.compute import Block, one_thread
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler
from lsampler.statistics import Statistics
from lsampler_plugins.samplers.normal_scores import increasing, normal_scores, scores_of, values_at

JITTER = 1e-6
CHUNK_ROWS = 4096


class GaussianCopula(WhitenedSampler):
    """Each principal component with its own distribution, joined by a Gaussian copula.

    x ~ N(0, P), v_k = h_k(x_k), z = mu + sum_k v_k e_k: e_k are the principal axes and h_k is increasing, so
    that a component may have tails, skew and several peaks, which a normal misses; P is the
    correlation of the components' normal scores (Sklar 1959; Nelsen 2006, An Introduction to
    Copulas). h_k joins quantiles of the data by straight lines and goes on straight beyond the
    outermost, so the tails are normal. What the components have in common beyond correlation,
    such as one radius for all, is lost.

    It reads all train vectors at once.
    """

    name = "gaussian-copula"
    needs_latents: ClassVar[bool] = True
    aggregates_only: ClassVar[bool] = True

    def learn_white(self, white: WhitenedReference) -> State:
        from scipy.special import ndtr

        vectors, scores = white.vectors(), normal_scores(white.count)
        quantiles = np.quantile(vectors, ndtr(scores), axis=0, method="hazen")
        knots = increasing(quantiles.astype(np.float64), scores)
        with one_thread():
            correlation = Statistics.from_chunks(scored(vectors, scores, knots)).correlation
            regular = (1 - JITTER) * correlation + JITTER * np.eye(white.components)
            cholesky = torch.linalg.cholesky(torch.from_numpy(regular)).numpy()
        return {"scores": scores, "knots": knots, "cholesky": cholesky}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        return values_at(block.normal(q) @ state["cholesky"].T, state["scores"], state["knots"])

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        cholesky = state["cholesky"]
        x, slopes = scores_of(white, state["scores"], state["knots"])
        e: Tensor = torch.linalg.solve_triangular(cholesky, x.T, upper=False).T
        log_volume = cholesky.diagonal().log().sum() + 0.5 * len(cholesky) * math.log(2 * math.pi)
        return -0.5 * (e * e).sum(dim=1) - log_volume - slopes.log().sum(dim=1)


def scored(
    vectors: NDArray[np.float32], scores: NDArray[np.float64], knots: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Normal scores of the train vectors, chunk by chunk, none larger than that of the largest rank."""
    from scipy.special import ndtri

    largest = -ndtri(0.5 / len(vectors))
    for start in range(0, len(vectors), CHUNK_ROWS):
        chunk = torch.from_numpy(vectors[start : start + CHUNK_ROWS]).double()
        x, _ = scores_of(chunk, torch.from_numpy(scores), torch.from_numpy(knots))
        yield x.clamp(-largest, largest).numpy()


lsampler_samplers = offers(GaussianCopula)
