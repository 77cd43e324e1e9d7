"""multivariate-normal: the posts' model of the core, drawn directly (posts VIII and IX)."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, offers


class MultivariateNormal(LatentSampler):
    """One normal with all linear correlations: z ~ N(mu, Sigma).

    Drawn along the principal axes: z = mu + T sum_k sqrt(lambda_k) x_k e_k with x_k ~ N(0, 1).
    Equivariant under affine maps of the latent space when all components are kept.
    """

    name = "multivariate-normal"

    components: int | None = Field(
        default=None, ge=1, description="number of leading principal components to keep; none keeps all D"
    )
    temperature: float = Field(default=1.0, gt=0, description="T multiplies all deviations from the centre")
    trim: float | None = Field(
        default=None, gt=0, description="leave out vectors beyond this many half-widths first (post IX); none keeps all"
    )

    def learn(self, reference: Reference) -> State:
        """The centre, and the principal axes scaled by their standard deviations."""
        statistics = reference.statistics(self.trim)
        count = self.components or reference.dimension
        statistics.require_rank(count)
        pca = statistics.pca
        scale = self.temperature * np.sqrt(pca.variances[:count, np.newaxis])
        return {"mean": pca.mean, "axes": scale * pca.axes[:count]}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """One matrix product of standard normals with the scaled axes."""
        axes = state["axes"]
        return torch.addmm(state["mean"], block.normal(len(axes)), axes)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The normal density, if all components are kept."""
        axes = state["axes"]
        q, dimension = axes.shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        squares = (axes * axes).sum(dim=1)  # the variances: the axes are orthogonal
        x = (latents - state["mean"]) @ axes.T / squares
        return -0.5 * ((x * x).sum(dim=1) + torch.log(2 * math.pi * squares).sum())


lsampler_samplers = offers(MultivariateNormal)
