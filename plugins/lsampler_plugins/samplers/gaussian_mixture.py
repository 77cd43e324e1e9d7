"""gaussian-mixture: the density fitted after training of regularised autoencoders (Ghosh et al. 2020)."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import Block, LatentSampler, LsamplerError, Reference, State, Whitening, offers, one_thread

VECTORS_EACH, MOST = 100, 40


class GaussianMixture(LatentSampler):
    """A mixture of normals: z ~ sum_k pi_k N(mu_k, Sigma_k), fitted by expectation maximisation.

    What "From Variational to Deterministic Autoencoders" (Ghosh et al. 2020, arXiv 1903.12436)
    draws latent vectors from: ``components=10 covariance=full coordinates=raw`` are its settings.
    The fit is scikit-learn's. Whitened coordinates are the principal components divided by their
    standard deviations. There, normals with diagonal covariances share the correlations of all data
    and have few parameters, as many dimensions require.
    """

    name = "gaussian-mixture"
    needs_latents = True

    components: int | None = Field(
        default=None, ge=1, description="number of normals; none: one per 100 vectors, at most 40"
    )
    covariance: Literal["full", "diagonal"] = Field(default="diagonal", description="of each normal")
    coordinates: Literal["raw", "whitened"] = Field(
        default="whitened", description="latent coordinates, or principal components of variance 1, to fit in"
    )
    temperature: float = Field(default=1.0, gt=0, description="T multiplies all deviations from a normal's centre")
    restarts: int = Field(default=1, ge=1, description="fits from different starts; the best one is kept")
    iterations: int = Field(default=500, ge=1, description="of a fit, at most")
    tolerance: float = Field(default=1e-3, gt=0, description="a fit ends when an iteration gains fewer nats per vector")
    floor: float = Field(
        default=1e-6, ge=0, description="added to every variance, as a share of the data's mean variance"
    )
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
        pca = statistics.pca
        if self.coordinates == "whitened":
            whitening = statistics.whitening(pca.rank)
        else:  # in units of the mean spread, so that the unit of the latent space does not matter to the floor
            whitening = Whitening(pca.mean, math.sqrt(pca.variances.mean()) * np.eye(statistics.dimension))
        with one_thread():
            fitted = self._fit(whitening.forward(reference.latents()), components)
        return {"mean": whitening.mean, "axes": whitening.axes, **_parts(fitted, self.temperature)}

    def _fit(self, rows: NDArray[np.float64], components: int) -> Any:
        advance = self.begin("fits of the mixture", self.restarts)
        best: Any = None
        for restart in range(self.restarts):
            try:
                fitted = self._one_fit(rows, components, (self.seed + restart) % 2**32)
            except ValueError as error:  # a normal shrank to a point or a plane
                raise LsamplerError(
                    f"{self.name}: a covariance is singular; use fewer components, or a floor above {self.floor:g}"
                ) from error
            if best is None or fitted.lower_bound_ > best.lower_bound_:
                best = fitted
            advance(1)
        return best

    def _one_fit(self, rows: NDArray[np.float64], components: int, seed: int) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the parameter ``iterations`` limits a fit
            start = _start(rows, components, seed) if self.coordinates == "whitened" else {}
            return Mixture(
                components,
                covariance_type="diag" if self.covariance == "diagonal" else "full",
                max_iter=self.iterations,
                tol=self.tolerance,
                reg_covar=self.floor,
                random_state=seed,
                **start,
            ).fit(rows)

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
        """The density of sum_k pi_k N(mu_k, Sigma_k) over the volume of the coordinates."""
        q, dimension = state["axes"].shape
        if q < dimension:
            raise LsamplerError(f"{self.name} draws in {q} of {dimension} dimensions: there is no density")
        whitening = Whitening(state["mean"].numpy(), state["axes"].numpy())
        rows = torch.from_numpy(whitening.forward(latents.numpy()))
        parts = [_log_normal(rows - c, root) for c, root in zip(state["centres"], state["roots"], strict=True)]
        weighted = torch.stack(parts, dim=1) + torch.log(state["weights"])
        return torch.logsumexp(weighted, dim=1) - whitening.log_det


def _start(rows: NDArray[np.float64], components: int, seed: int) -> dict[str, Any]:
    """The centres of clusters of directions, for scikit-learn; nothing where there are fewer directions.

    scikit-learn starts from clusters of vectors. In whitened coordinates these are single outliers, and a
    normal that starts at one stays there, as a copy of a train vector.
    """
    from sklearn.cluster import KMeans

    directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    of = KMeans(components, n_init=1, random_state=seed).fit_predict(directions)
    if len(np.unique(of)) < components:  # in one dimension there are two
        return {}
    return {"means_init": [rows[of == k].mean(axis=0) for k in range(components)], "init_params": "random"}


def _parts(mixture: Any, temperature: float) -> State:
    """A root R of a covariance is upper triangular, Sigma = R^T R; of a diagonal one only the diagonal is kept."""
    if mixture.covariance_type == "diag":
        roots = np.sqrt(mixture.covariances_)
    else:
        roots = np.linalg.cholesky(mixture.covariances_).transpose(0, 2, 1)
    return {"weights": mixture.weights_, "centres": mixture.means_, "roots": temperature * roots}


def _log_normal(offsets: Tensor, root: Tensor) -> Tensor:
    """The log density of N(0, R^T R) at offsets (n, q) -> (n,)."""
    if root.ndim == 1:
        x, diagonal = offsets / root, root
    else:
        x, diagonal = torch.linalg.solve_triangular(root, offsets, upper=True, left=False), root.diagonal()
    return -0.5 * ((x * x).sum(dim=1) + len(diagonal) * math.log(2 * math.pi)) - torch.log(diagonal).sum()


lsampler_samplers = offers(GaussianMixture)
