"""gaussian-mixture: the density fitted after training of regularised autoencoders (Ghosh et al. 2020)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block, one_thread, require_memory
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import Whitening
from lsampler.store import Reference
from lsampler_plugins.samplers.mixtures import Mixture, clusters, fit_mixture, most_likely

VECTORS_EACH, MOST = 100, 40


class GaussianMixture(LatentSampler):
    """A mixture of normals: z ~ sum_k pi_k N(mu_k, Sigma_k), fitted by expectation maximisation.

    What "From Variational to Deterministic Autoencoders" (Ghosh et al. 2020, arXiv 1903.12436)
    draws latent vectors from: ``components=10 covariance=full coordinates=raw`` are its settings.
    In whitened coordinates, normals with diagonal covariances share the correlations of all data and
    have few parameters, as many dimensions require.
    """

    name = "gaussian-mixture"
    needs_latents = True
    aggregates_only: ClassVar[bool] = True

    components: int | None = Field(
        default=None, ge=1, le=1000, description="number of normals; none: one per 100 vectors, at most 40"
    )
    covariance: Literal["full", "diagonal"] = Field(default="diagonal", description="of each normal")
    coordinates: Literal["raw", "whitened"] = Field(
        default="whitened", description="latent coordinates, or principal components of variance 1, to fit in"
    )
    temperature: float = Field(default=1.0, gt=0, description="T multiplies all deviations from a normal's centre")
    restarts: int = Field(default=1, ge=1, le=1000, description="fits from different starts; the best one is kept")
    iterations: int = Field(default=500, ge=1, le=100_000, description="of a fit, at most")
    tolerance: float = Field(default=1e-3, gt=0, description="a fit ends when an iteration gains fewer nats per vector")
    floor: float = Field(default=1e-6, ge=0, description="added to every variance, as a share of the data's own")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the starts")

    def learn(self, reference: Reference) -> State:
        """Weights, centres and roots of covariances, and the axes of whitened coordinates."""
        statistics = reference.statistics()
        components = self.components or min(max(statistics.count // VECTORS_EACH, 1), MOST)
        if statistics.count < components:
            raise LsamplerError(
                f"{self.name}: `components={components}` for {statistics.count} vectors of {reference.name}; "
                "use `components=none`"
            )
        statistics.require_spread()
        if self.coordinates == "whitened":
            whitening = statistics.whitening(statistics.pca.rank)
        else:  # in units of the mean spread
            varying = statistics.std > 0
            unit = math.sqrt(np.square(statistics.std[varying]).mean())
            whitening = Whitening(statistics.mean, unit * np.eye(statistics.dimension)[varying])
        q = len(whitening.axes)
        root = q if self.covariance == "full" else 1
        require_memory(
            8.0 * components * (4 * statistics.count + 3 * q * root),
            f"{self.name}: `components={components}`",
            f"use fewer{', or `covariance=diagonal`' if root > 1 else ''}",
            data=8 * statistics.count * q,
        )
        with one_thread():
            fitted = self._fit(torch.from_numpy(whitening.forward(reference.latents())), components)
        return {
            "mean": whitening.mean,
            "axes": whitening.axes,
            "weights": fitted.weights.numpy(),
            "centres": fitted.centres.numpy(),
            "roots": self.temperature * fitted.roots.numpy(),
        }

    def _fit(self, rows: Tensor, components: int) -> Mixture:
        """The most likely mixture of all restarts."""
        advance = self.begin("fits of the mixture", self.restarts)
        floor = self.floor * rows.var(dim=0)  # of each component, so that no unit matters
        fit = partial(fit_mixture, floor=floor, iterations=self.iterations, tolerance=self.tolerance)
        found = []
        for restart in range(self.restarts):
            try:
                start = self._start(rows, components, floor, (self.seed + restart) % 2**32)
                found.append(fit(rows, start))
            except LsamplerError:
                raise
            except ValueError as error:  # a normal shrank to a point or a plane
                raise LsamplerError(
                    f"{self.name}: a covariance is singular; use fewer components, or a floor above {self.floor:g}"
                ) from error
            advance(1)
        return max(found, key=lambda mixture_and_likelihood: mixture_and_likelihood[1])[0]

    def _start(self, rows: Tensor, components: int, floor: Tensor, seed: int) -> Mixture:
        """Clusters of vectors; in whitened coordinates wide normals at the centres of clusters of directions.

        In whitened coordinates, clusters of vectors are single outliers, and a normal that starts at one stays there,
        as a copy of a train vector.
        """
        diagonal = self.covariance == "diagonal"
        if self.coordinates == "whitened":
            shares = clusters(rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30), components, seed)
            if shares.any(dim=0).all():  # in one dimension there are two directions
                centres = most_likely(rows, shares, 1.0, diagonal=True).centres
                wide = most_likely(rows, torch.full_like(shares, 1 / components), floor, diagonal=diagonal)
                return Mixture(wide.weights, centres, wide.roots)
        return most_likely(rows, clusters(rows, components, seed), floor, diagonal=diagonal)

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """Choose a component for every row by its weight, then draw from that component's normal."""
        centres, roots = state["centres"], state["roots"]
        chosen = block.categories(state["weights"])
        x = block.normal(centres.shape[1])
        if roots.ndim == 2:
            rows = torch.addcmul(centres[chosen], roots[chosen], x)
        else:
            rows = centres[chosen]
            for k, root in enumerate(roots):
                mine = (chosen == k).nonzero()[:, 0]
                rows[mine] += x[mine] @ root
        return torch.addmm(state["mean"], rows, state["axes"])

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        return self.moved_log_density(state, latents, torch.zeros(1, latents.shape[1], dtype=torch.float64))[0]

    def moved_log_density(self, state: Mapping[str, Tensor], latents: Tensor, moves: Tensor) -> Tensor:
        """The same; a moved mixture is one with other centres."""
        whitening = Whitening(state["mean"].numpy(), state["axes"].numpy())
        whitening.require_all(self.name)
        rows = torch.from_numpy(whitening.forward(latents.numpy()))
        away = torch.from_numpy(whitening.forward(moves.numpy() + whitening.mean))
        mixture = Mixture(state["weights"], state["centres"], state["roots"])
        return mixture.moved_log_density(rows, away) - whitening.log_det


lsampler_samplers = offers(GaussianMixture)
