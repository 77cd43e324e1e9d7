"""Statistics of latent vectors: everything that most strategies need."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name
from lsampler.statistics.half_widths import FWHM_PER_SIGMA, GaussianFit, HalfWidth, width_at_half_maximum
from lsampler.statistics.histograms import Histograms
from lsampler.statistics.passes import Segment, View, gather_histograms, gather_moments
from lsampler.statistics.pca import Pca, Whitening

HALF_WIDTH_BINS_PER_SIGMA = 2
CONSTANT = 1e-7
MOMENTS = ("mean", "covariance", "minimum", "maximum")


@dataclass(frozen=True)
class Statistics:
    """Count, moments, extremes and, on demand, histograms of a set of latent vectors.

    Attributes:
        name: where the vectors came from, for messages.
        count: number of vectors.
        mean: (D,) float64.
        covariance: (D, D) float64, normalised by count - 1.
        minimum: (D,) smallest values.
        maximum: (D,) largest values.
        counted: histograms, or the function that counts them when they are first needed.
    """

    name: str
    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    counted: Histograms | Callable[[Histograms], Histograms] = field(repr=False)

    @classmethod
    def from_chunks(cls, chunks: Iterable[NDArray[Any]], *, name: str = "latent vectors") -> Statistics:
        """One pass over chunks (n, D), in memory that does not grow with the number of rows.

        Moments of the chunks are combined pairwise in float64 (Chan, Golub and LeVeque 1983). Histograms need a second
        pass when they are first used: give a list, or anything else that can be iterated over again.

        Args:
            chunks: arrays (n, D) of finite numbers.
            name: what to call the vectors in messages.

        Raises:
            LsamplerError: fewer than two vectors, NaN or infinite values, or chunks of unequal D.
        """
        passes = itertools.count()

        def read() -> Iterator[NDArray[Any]]:
            if next(passes) and iter(chunks) is chunks:
                raise LsamplerError(f"{name}: histograms need a second pass; give `chunks=...` as a list")
            return iter(chunks)

        return cls.from_segments([Segment(read, portable=False)], View(), name=name)

    @classmethod
    def from_segments(cls, segments: Sequence[Segment], view: View, *, name: str) -> Statistics:
        """One pass over segments, which several threads or workers share.

        Histograms are counted in a second pass when they are first used: most strategies need none.

        Raises:
            LsamplerError: fewer than two vectors, NaN or infinite values, segments of unequal D.
        """
        moments = gather_moments(segments, view, name)
        if moments is None or moments.count < 2:
            count = moments.count if moments else 0
            raise LsamplerError(f"{name}: {count} latent vectors, statistics need at least 2")
        covariance = (moments.scatter + moments.scatter.T) / (2 * (moments.count - 1))
        return cls(
            name,
            moments.count,
            moments.mean,
            covariance,
            moments.minimum,
            moments.maximum,
            lambda empty: gather_histograms(segments, view, empty),
        )

    @cached_property
    def histograms(self) -> Histograms:
        """Histograms of all components."""
        if isinstance(self.counted, Histograms):
            return self.counted
        return self.counted(Histograms.covering(self.std, self.minimum, self.maximum))

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        return len(self.mean)

    @cached_property
    def std(self) -> NDArray[np.float64]:
        """(D,) standard deviations, sigma_j."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))

    @cached_property
    def correlation(self) -> NDArray[np.float64]:
        """(D, D) Pearson correlations. Raises LsamplerError if a component is constant."""
        self.require_spread()
        matrix = self.covariance / np.outer(self.std, self.std)
        np.fill_diagonal(matrix, 1.0)
        return np.clip(matrix, -1.0, 1.0)

    @cached_property
    def pca(self) -> Pca:
        """Principal axes and variances of the covariance."""
        return Pca.of(self.mean, self.covariance)

    def whitening(self, components: int | None = None) -> Whitening:
        """The map to the leading principal coordinates divided by their standard deviations; None keeps all D.

        Raises:
            LsamplerError: the covariance has fewer directions of positive variance.
        """
        count = components or self.dimension
        self.require_rank(count)
        return Whitening(self.mean, np.sqrt(self.pca.variances[:count, np.newaxis]) * self.pca.axes[:count])

    def half_widths(self, kind: HalfWidth = "moments", *, bin_width: float | None = None) -> NDArray[np.float64]:
        """(D,) full widths at half maximum, w_j: what the posts call half-width or FHWM.

        Args:
            kind: ``moments``, 2.3548 sigma; ``histogram``, read off the histogram at half its
                maximum (the posts' way); ``gaussian-fit``, 2.3548 times the sigma of a Gaussian
                fitted to the histogram by ``scipy.optimize.curve_fit``.
            bin_width: for the last two, in latent units; by default a quarter to half of sigma.

        Raises:
            LsamplerError: a component is constant, a Gaussian cannot be fitted, or ``bin_width``
                is not above 0.
        """
        if kind not in get_args(HalfWidth):
            raise LsamplerError(f"half-width '{kind}' is unknown{nearest_name(kind, get_args(HalfWidth))}")
        if bin_width is not None and not 0 < bin_width < np.inf:
            raise LsamplerError(f"bin_width={bin_width}: give a number above 0")
        self.require_spread()
        if kind == "moments":
            return FWHM_PER_SIGMA * self.std
        components = range(self.dimension)
        if kind == "gaussian-fit":
            return np.array([FWHM_PER_SIGMA * self.gaussian_fit(j, bin_width=bin_width).sigma for j in components])
        return np.array([width_at_half_maximum(*self.histogram(j, bin_width=bin_width)[1:]) for j in components])

    def histogram(
        self, component: int, *, bin_width: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """The number density of one component: (centres of the bins, counts, actual bin width).

        Args:
            component: its index j.
            bin_width: wanted, in latent units; by default a quarter to half of sigma_j. The actual
                one is the nearest multiple of the width that the values were counted with.
        """
        wanted = bin_width or 2.0 ** np.floor(np.log2(self.std[component] / HALF_WIDTH_BINS_PER_SIGMA))
        edges, counts, actual = self.histograms.merged(component, wanted)
        return edges + actual / 2, counts, actual

    def gaussian_fit(self, component: int, *, bin_width: float | None = None) -> GaussianFit:
        """A Gaussian fitted to a component's histogram by ``scipy.optimize.curve_fit`` (post VIII).

        Raises:
            LsamplerError: none fits.
        """
        from scipy.optimize import OptimizeWarning, curve_fit

        def gaussian(x: NDArray[np.float64], height: float, mu: float, sigma: float) -> NDArray[np.float64]:
            return height * np.exp(-0.5 * ((x - mu) / sigma) ** 2)

        centres, counts, _ = self.histogram(component, bin_width=bin_width)
        mean, std = float(self.mean[component]), float(self.std[component])
        x = (centres - mean) / std
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", OptimizeWarning)
                fitted, _ = curve_fit(gaussian, x, counts, p0=(float(counts.max()), 0.0, 1.0))
        except (RuntimeError, TypeError, ValueError, OptimizeWarning) as error:
            what = f"{self.name}: component {component}"
            raise LsamplerError(f"{what}: no Gaussian fits its histogram; use `half_width=moments`") from error
        height, mu, sigma = map(float, fitted)
        residual = float(np.sqrt(np.mean(np.square(counts - gaussian(x, height, mu, sigma)))) / counts.max())
        return GaussianFit(height, mean + std * mu, std * abs(sigma), residual)

    def require_spread(self) -> None:
        """Raise if a component is constant: most strategies and cores divide by its sigma."""
        scale = np.maximum(np.abs(self.mean), 1e-30)
        constant = np.flatnonzero(self.std <= CONSTANT * scale)
        if len(constant):
            others = f" (and {len(constant) - 1} more)" if len(constant) > 1 else ""
            raise LsamplerError(
                f"{self.name}: component {constant[0]} is constant{others}; "
                "remove it, or use a strategy on principal components"
            )

    def require_rank(self, components: int) -> None:
        """Raise unless the covariance has ``components`` directions of positive variance."""
        if components > self.dimension:
            raise LsamplerError(
                f"`components={components}` is more than the latent dimension of {self.name}; "
                f"give at most {self.dimension}"
            )
        if components > self.pca.rank:
            smaller = f" or use `components={self.pca.rank}`" if self.pca.rank else " that differ"
            raise LsamplerError(
                f"{self.name}: the covariance of {self.count} vectors has rank {self.pca.rank}, "
                f"{components} components are wanted; encode more images{smaller}"
            )

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as named arrays, for a file."""
        return {
            "count": np.array([self.count], dtype=np.int64),
            **{key: getattr(self, key) for key in MOMENTS},
            **self.histograms.as_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, name: str) -> Statistics:
        """The inverse of :meth:`as_arrays`."""
        moments = {key: arrays[key] for key in MOMENTS}
        return cls(name=name, count=int(arrays["count"][0]), counted=Histograms.from_arrays(arrays), **moments)


def trimmed(statistics: Statistics, factor: float | None) -> View:
    """Only vectors whose components are all within mu_j +- ``factor`` w_j (post IX); all of them with None."""
    if factor is None:
        return View()
    reach = factor * statistics.half_widths()
    return View(statistics.mean - reach, statistics.mean + reach)
