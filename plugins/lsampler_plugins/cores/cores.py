"""The cores: those of the posts, the ellipsoid, and balls around real vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lsampler import LsamplerError
from lsampler.compute import nearest_neighbours
from lsampler.plugins import offers
from lsampler.samplers import State
from lsampler.scoring import Core
from lsampler.statistics import HalfWidth
from lsampler.store import Reference

MOST_COMPONENTS = 4096
SAME = 1e-12
"""Where 1 - r^2 is below, two components are the same."""


class Interval(Core):
    """Every component within mu_j +- t w_j, w_j the half-width of 2.3548 sigma (posts II, VII, IX)."""

    name = "interval"

    t: float = Field(default=1.7, gt=0, description="nominal level in half-widths; post IX trims at 1.7")
    half_width: HalfWidth = Field(default="moments", description="how the half-widths are determined")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        return {"mean": statistics.mean, "width": statistics.half_widths(self.half_width)}

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        varying = state["width"] > 0
        levels: NDArray[np.float64] = (np.abs(latents - state["mean"])[:, varying] / state["width"][varying]).max(
            axis=1
        )
        return levels

    def nominal(self, state: State) -> float:
        return self.t


class PairEllipses(Core):
    """Inside the n-sigma confidence ellipse of every pair of components (post VIII).

    For standardised x, y of Pearson correlation r: (x^2 - 2 r x y + y^2) / (1 - r^2) <= n^2. Of components that are
    the same but for their unit and sign, the first one counts.
    """

    name = "pair-ellipses"

    sigma: float = Field(default=2.0, gt=0, description="nominal level n; post X sees the core's edge at 2 sigma")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        if statistics.varying > MOST_COMPONENTS:
            raise LsamplerError(
                f"{reference.name}: an ellipse for every two of {statistics.varying} components takes hours; use the "
                "core pca-ellipses"
            )
        correlation, kept = statistics.correlation, list[int]()
        for j in np.flatnonzero(statistics.std):
            if all(1 - np.square(correlation[j, kept]) >= SAME):
                kept.append(int(j))
        if len(kept) < 2:
            raise LsamplerError(f"{reference.name}: pair ellipses need at least two components that vary")
        correlation = correlation[np.ix_(kept, kept)]
        # Single precision is twice as fast, but cannot tell a correlation near 1 from 1.
        near = 1 - np.square(correlation[np.triu_indices(len(kept), 1)]).max() <= 1e-3
        known = {"mean": statistics.mean[kept], "std": statistics.std[kept], "components": np.array(kept)}
        return known | {"correlation": correlation.astype(np.float64 if near else np.float32)}

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest level over all pairs: its square is x^2 + max_y (y - r x)^2 / (1 - r^2)."""
        correlation = state["correlation"]
        x = ((latents[:, state["components"]] - state["mean"]) / state["std"]).astype(correlation.dtype)
        largest = np.zeros(len(x), dtype=correlation.dtype)
        for i in range(len(correlation) - 1):
            r = correlation[i, i + 1 :]
            rest = x[:, i + 1 :] - x[:, i, np.newaxis] * r
            rest /= np.sqrt(1 - r * r)
            np.abs(rest, out=rest)
            np.maximum(largest, np.square(x[:, i]) + np.square(rest.max(axis=1)), out=largest)
        return np.sqrt(largest.astype(np.float64))

    def nominal(self, state: State) -> float:
        return self.sigma


def _whitening(reference: Reference, q: int) -> State:
    """Centre and q leading principal axes, divided by their standard deviations."""
    whitening = reference.statistics().whitening(q)
    return {"mean": whitening.mean, "whiten": whitening.axes.T / whitening.variances}


class PcaEllipses(Core):
    """Inside the n-sigma circle of every pair of the first q principal components (posts IX and X).

    Since these do not correlate, only the two largest |v_k| / sigma_k matter.
    """

    name = "pca-ellipses"

    sigma: float = Field(default=2.2, gt=0, description="nominal level n; post X draws its ellipses at 2.2 sigma")
    components: int | None = Field(
        default=None, ge=2, description="q, leading principal components; none: 120, or all if fewer"
    )

    def learn(self, reference: Reference) -> State:
        reference.statistics().require_spread()
        q = self.components or min(120, reference.statistics().directions)
        if q < 2:
            raise LsamplerError(f"{reference.name}: pair ellipses need at least two components that vary")
        return _whitening(reference, q)

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """sqrt(u(1)^2 + u(2)^2), the two largest of |v_k| / sigma_k."""
        squares = np.square((latents - state["mean"]) @ state["whiten"])
        two_largest = np.partition(squares, -2, axis=1)[:, -2:]
        levels: NDArray[np.float64] = np.sqrt(two_largest.sum(axis=1))
        return levels

    def nominal(self, state: State) -> float:
        return self.sigma


class Ellipsoid(Core):
    """Mahalanobis distance from the centre within a level (post VIII: multivariate normal)."""

    name = "ellipsoid"

    share: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="nominal level: the distance that holds this share of a normal (chi-squared)",
    )

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        statistics.require_spread()
        if statistics.pca.rank < statistics.directions:
            raise LsamplerError(
                f"{reference.name}: the covariance of {statistics.count} vectors has rank {statistics.pca.rank}, the "
                f"ellipsoid needs all {statistics.directions} components that vary; encode more items"
            )
        return _whitening(reference, statistics.directions)

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        levels: NDArray[np.float64] = np.linalg.norm((latents - state["mean"]) @ state["whiten"], axis=1)
        return levels

    def nominal(self, state: State) -> float:
        """The square root of the chi-squared quantile with one degree of freedom for each direction that varies."""
        from scipy.stats import chi2

        return float(np.sqrt(chi2.ppf(self.share, state["whiten"].shape[1])))


class Knn(Core):
    """Inside the ball of a real vector that reaches to its k-th neighbour, times a level (no post).

    The estimate of the manifold in "improved precision" (Kynkaanniemi et al. 2019, arXiv
    1904.06991), with nested regions: level(z) = min_i |z - x_i| / r_i over at most ``rows`` random train vectors
    x_i, with r_i the distance of x_i to its k-th neighbour among them. Unlike the other cores it
    has holes where there are no data. Range 0 and above; a train vector itself may be at 0.
    """

    name = "knn"

    k: int = Field(default=5, ge=1, le=1000, description="the neighbour whose distance is the radius of a ball")
    rows: int = Field(default=5000, ge=2, le=50_000, description="at most so many random train vectors have a ball")

    def learn(self, reference: Reference) -> State:
        points = reference.latents()
        if len(points) <= self.k:
            raise LsamplerError(f"{reference.name}: {len(points)} vectors; k={self.k} needs {self.k + 1} or more")
        chosen = np.random.default_rng(0).permutation(len(points))[: self.rows]
        points = points[np.sort(chosen)].astype(np.float64)
        if len(points) <= self.k:
            raise LsamplerError(f"rows={self.rows} is too small for k={self.k}")
        radii = nearest_neighbours(points, points, self.k, exclude_self=True).distances[:, -1]
        if not radii.any():
            raise LsamplerError(f"{reference.name}: all vectors are equal; there is no ball around any")
        # Repeated vectors have no ball of their own, yet the smallest one keeps the level of a copy at 0.
        return {"points": points, "radii": np.maximum(radii, radii[radii > 0].min())}

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """min_i |z - x_i| / r_i."""
        centre = state["points"].mean(axis=0)
        z, x = latents - centre, state["points"] - centre
        squares = np.square(z).sum(axis=1)[:, np.newaxis] + np.square(x).sum(axis=1) - 2 * z @ x.T
        levels: NDArray[np.float64] = (np.sqrt(np.maximum(squares, 0.0)) / state["radii"]).min(axis=1)
        return levels

    def nominal(self, state: State) -> float:
        return 1.0


lsampler_cores = offers(Interval, PairEllipses, PcaEllipses, Ellipsoid, Knn)
