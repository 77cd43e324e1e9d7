"""The cores: those of the posts, the ellipsoid, and balls around real vectors."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lsampler import Core, HalfWidth, LsamplerError, Reference, State, nearest_neighbours, offers


class Interval(Core):
    """Every component within mu_j +- t w_j, w_j the half-width of 2.3548 sigma (posts II, VII, IX)."""

    name = "interval"

    t: float = Field(default=1.7, gt=0, description="nominal level in half-widths; post IX trims at 1.7")
    half_width: HalfWidth = Field(default="moments", description="how the half-widths are determined")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        return {"mean": statistics.mean, "width": statistics.half_widths(self.half_width)}

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        levels: NDArray[np.float64] = (np.abs(latents - state["mean"]) / state["width"]).max(axis=1)
        return levels

    def nominal(self, state: State) -> float:
        return self.t


class PairEllipses(Core):
    """Inside the n-sigma confidence ellipse of every pair of components (post VIII).

    For standardised x, y of Pearson correlation r: (x^2 - 2 r x y + y^2) / (1 - r^2) <= n^2.
    """

    name = "pair-ellipses"

    sigma: float = Field(default=2.0, gt=0, description="nominal level n; post X sees the core's edge at 2 sigma")

    def learn(self, reference: Reference) -> State:
        statistics = reference.statistics()
        correlation = statistics.correlation
        pairs = 1 - np.square(correlation[np.triu_indices(len(correlation), 1)])
        if len(pairs) == 0:
            raise LsamplerError(f"{reference.name}: pair ellipses need at least two components")
        if pairs.min() < 1e-12:
            raise LsamplerError(f"{reference.name}: two components are perfectly correlated; remove one of them")
        # Single precision is twice as fast, but cannot tell a correlation near 1 from 1.
        precision = np.float32 if pairs.min() > 1e-3 else np.float64
        return {"mean": statistics.mean, "std": statistics.std, "correlation": correlation.astype(precision)}

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest level over all pairs: its square is x^2 + max_y (y - r x)^2 / (1 - r^2)."""
        correlation = state["correlation"]
        x = ((latents - state["mean"]) / state["std"]).astype(correlation.dtype)
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
    statistics = reference.statistics()
    statistics.require_rank(q)
    pca = statistics.pca
    return {"mean": pca.mean, "whiten": (pca.axes[:q] / np.sqrt(pca.variances[:q, np.newaxis])).T}


class PcaEllipses(Core):
    """Inside the n-sigma circle of every pair of the first q principal components (posts IX and X).

    Since these do not correlate, only the two largest |v_k| / sigma_k matter.
    """

    name = "pca-ellipses"

    sigma: float = Field(default=2.2, gt=0, description="nominal level n; post X draws its ellipses at 2.2 sigma")
    components: int | None = Field(
        default=None, ge=2, description="q, leading principal components; none: 120, or D if smaller"
    )

    def learn(self, reference: Reference) -> State:
        q = self.components or min(120, reference.dimension)
        if q < 2:
            raise LsamplerError(f"{reference.name}: pair ellipses need at least two components")
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
        if statistics.pca.rank < reference.dimension:
            raise LsamplerError(
                f"{reference.name}: the covariance of {statistics.count} vectors has rank {statistics.pca.rank}, the "
                f"ellipsoid needs all {reference.dimension} components; encode more images, or remove constant ones"
            )
        return _whitening(reference, reference.dimension)

    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        levels: NDArray[np.float64] = np.linalg.norm((latents - state["mean"]) @ state["whiten"], axis=1)
        return levels

    def nominal(self, state: State) -> float:
        """The square root of the chi-squared quantile with D degrees of freedom."""
        from scipy.stats import chi2

        return float(np.sqrt(chi2.ppf(self.share, len(state["mean"]))))


class Knn(Core):
    """Inside the ball of a real vector that reaches to its k-th neighbour, times a level (no post).

    The estimate of the manifold in "improved precision" (Kynkaanniemi et al. 2019, arXiv
    1904.06991), with nested regions: level(z) = min_i |z - x_i| / r_i over at most ``rows`` random train vectors
    x_i, with r_i the distance of x_i to its k-th neighbour among them. Unlike the other cores it
    has holes where there are no data. Range 0 and above; a train vector itself may be at 0.
    """

    name = "knn"

    k: int = Field(default=5, ge=1, description="the neighbour whose distance is the radius of a ball")
    rows: int = Field(default=5000, ge=2, description="at most so many random train vectors have a ball")

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
