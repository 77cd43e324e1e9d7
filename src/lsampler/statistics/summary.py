"""Statistics of latent vectors in one streaming pass: all that most strategies need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.engine import one_blas_thread
from lsampler.errors import LsamplerError, nearest_name
from lsampler.statistics.histograms import Histograms
from lsampler.statistics.moments import Moments, moments_of
from lsampler.statistics.passes import Segment, View, gather_histograms, gather_moments
from lsampler.statistics.whitening import Whitening

__all__ = ["FWHM_PER_SIGMA", "GaussianFit", "HalfWidth", "Pca", "Statistics", "trimmed", "trimmed_chunks"]

FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
HalfWidth = Literal["moments", "histogram", "gaussian-fit"]
HALF_WIDTH_BINS_PER_SIGMA = 2
RANK_TOLERANCE = 1e-9
NAMES_IN_FILES = {
    "width": "histogram_width",
    "first": "histogram_first",
    "counts": "histogram_counts",
    "minimum": "minimum",
    "maximum": "maximum",
}
ROUNDING = 1e-14


@dataclass(frozen=True)
class Pca:
    """Principal axes of a covariance.

    Attributes:
        mean: (D,) the centre.
        axes: (D, D), row k is the k-th principal axis, of unit length; its sign is fixed so
            that the entry of largest size is positive.
        variances: (D,) along the axes, descending.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]

    def transform(self, latents: NDArray[Any], components: int | None = None) -> NDArray[np.float64]:
        """(n, D) -> coordinates (n, components) along the leading principal axes."""
        return (latents - self.mean) @ self.axes[:components].T

    def inverse(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """Coordinates (n, q) along the first q axes -> latent vectors (n, D)."""
        return coordinates @ self.axes[: coordinates.shape[1]] + self.mean

    @property
    def rank(self) -> int:
        """How many variances are above rounding error."""
        rounding = np.square(ROUNDING * np.abs(self.mean).max())
        return int(np.sum(self.variances > max(rounding, RANK_TOLERANCE * self.variances[0])))


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian fitted to a histogram.

    Attributes:
        height: at its centre, in counts a bin.
        centre: in latent units.
        sigma: in latent units.
        residual: root mean square of counts minus fit over the occupied range, as a share of the largest count.
    """

    height: float
    centre: float
    sigma: float
    residual: float


@dataclass(frozen=True)
class Statistics:
    """Count, moments, and on demand extremes and histograms, of a set of latent vectors.

    Attributes:
        name: where the vectors came from, for messages.
        count: number of vectors.
        mean: (D,) float64.
        covariance: (D, D) float64, normalised by count - 1.
        counted: histograms and extremes, or what finds them when they are first asked for.
    """

    name: str
    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    counted: Histograms | Callable[[], Histograms] = field(repr=False)

    @classmethod
    def from_chunks(
        cls, blocks: Iterable[NDArray[Any]], *, name: str = "latent vectors", bin_width: float | None = None
    ) -> Statistics:
        """One pass over blocks (n, D), in memory that does not grow with the number of rows.

        Moments of the blocks are combined pairwise in float64 (Chan, Golub and LeVeque 1983).

        Args:
            blocks: arrays (n, D) of finite numbers.
            name: what to call the vectors in messages.
            bin_width: of the histograms, in latent units; by default suited to each component.

        Raises:
            LsamplerError: fewer than two vectors, NaN or infinite values, blocks of unequal D, or
                ``bin_width`` is not above 0.
        """
        _require_positive(bin_width)
        histograms: Histograms | None = None

        def counted() -> Iterator[NDArray[np.float64]]:
            nonlocal histograms
            for block in blocks:
                rows = np.asarray(block, dtype=np.float64)
                yield rows  # taken only if it is sound
                if len(rows):
                    histograms = histograms or Histograms.empty(rows, bin_width)
                    histograms.add(rows)

        with one_blas_thread():
            moments = moments_of(counted(), name)
        return cls._of(moments, name, lambda: histograms or Histograms.empty(np.zeros((1, 1))))

    @classmethod
    def from_segments(cls, segments: Sequence[Segment], view: View, *, name: str) -> Statistics:
        """One pass over segments, which several threads or workers share.

        Histograms and extremes are found in a second pass when they are first asked for: most
        strategies need none, and suitable bins are known by then.

        Raises:
            LsamplerError: fewer than two vectors, NaN or infinite values, segments of unequal D.
        """

        def counted() -> Histograms:
            return gather_histograms(segments, view, Histograms.around(found.mean, found.std))

        found = cls._of(gather_moments(segments, view, name), name, counted)
        return found

    @classmethod
    def _of(cls, moments: Moments | None, name: str, counted: Callable[[], Histograms]) -> Statistics:
        if moments is None or moments.count < 2:
            count = moments.count if moments else 0
            raise LsamplerError(f"{name}: {count} latent vectors, statistics need at least 2")
        covariance = moments.scatter / (moments.count - 1)
        return cls(name, moments.count, moments.mean, covariance, counted)

    @cached_property
    def histograms(self) -> Histograms:
        """One per component."""
        return self.counted() if callable(self.counted) else self.counted

    @property
    def minimum(self) -> NDArray[np.float64]:
        """(D,) smallest values."""
        return self.histograms.minimum

    @property
    def maximum(self) -> NDArray[np.float64]:
        """(D,) largest values."""
        return self.histograms.maximum

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
        with one_blas_thread():
            variances, vectors = np.linalg.eigh(self.covariance)
        axes = vectors.T[::-1]
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        return Pca(self.mean, np.ascontiguousarray(axes * signs[:, np.newaxis]), np.maximum(variances[::-1], 0.0))

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
        _require_positive(bin_width)
        self.require_spread()
        if kind == "moments":
            return FWHM_PER_SIGMA * self.std
        if kind == "gaussian-fit":
            return np.array(
                [FWHM_PER_SIGMA * self.gaussian_fit(j, bin_width=bin_width).sigma for j in range(self.dimension)]
            )
        widths = np.empty(self.dimension)
        for j in range(self.dimension):
            _, counts, actual = self.histogram(j, bin_width=bin_width)
            widths[j] = _width_at_half_maximum(counts, actual)
        return widths

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
        centres, counts, _ = self.histogram(component, bin_width=bin_width)
        mean, std = self.mean[component], self.std[component]
        what = f"{self.name}: component {component}"
        height, mu, sigma = _fitted_gaussian((centres - mean) / std, counts, what)
        model = height * np.exp(-0.5 * (((centres - mean) / std - mu) / sigma) ** 2)
        residual = float(np.sqrt(np.mean(np.square(counts - model))) / counts.max())
        return GaussianFit(height, float(mean + std * mu), float(std * abs(sigma)), residual)

    def require_spread(self) -> None:
        """Raise if a component is constant: most strategies and cores divide by its sigma."""
        scale = np.maximum(np.abs(self.mean), 1e-30)
        constant = np.flatnonzero(self.std <= 1e-7 * scale)
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
                f"components={components} is more than the latent dimension {self.dimension} of {self.name}"
            )
        if components > self.pca.rank:
            smaller = f" or use --param components={self.pca.rank}" if self.pca.rank else ", not all alike"
            raise LsamplerError(
                f"{self.name}: the covariance of {self.count} vectors has rank {self.pca.rank}, "
                f"{components} components are wanted; encode more images{smaller}"
            )

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays, for a file."""
        return {
            "count": np.array([self.count], dtype=np.int64),
            "mean": self.mean,
            "covariance": self.covariance,
            **{NAMES_IN_FILES[key]: array for key, array in self.histograms.as_arrays().items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, name: str) -> Statistics:
        """The inverse of :meth:`as_arrays`."""
        return cls(
            name=name,
            count=int(arrays["count"][0]),
            mean=arrays["mean"],
            covariance=arrays["covariance"],
            counted=Histograms.from_arrays({key: arrays[name] for key, name in NAMES_IN_FILES.items()}),
        )


def trimmed(statistics: Statistics, factor: float | None) -> View:
    """Only vectors whose components are all within mu_j +- ``factor`` w_j (post IX); all of them with None."""
    if factor is None:
        return View()
    reach = factor * statistics.half_widths()
    return View(statistics.mean - reach, statistics.mean + reach)


def trimmed_chunks(blocks: Iterable[NDArray[Any]], statistics: Statistics, factor: float) -> Iterator[NDArray[Any]]:
    """The rows of blocks that :func:`trimmed` lets through."""
    return map(trimmed(statistics, factor), blocks)


def _require_positive(bin_width: float | None) -> None:
    if bin_width is not None and not 0 < bin_width < np.inf:
        raise LsamplerError(f"bin_width={bin_width}: give a number above 0")


def _width_at_half_maximum(counts: NDArray[np.int64], bin_width: float) -> float:
    """The length over which the histogram, joined by straight lines, exceeds half its maximum.

    For one peak this is the distance between its two crossings. Unlike these it does not shrink
    when noise dips below the half near the peak.
    """
    padded = np.concatenate([[0], counts, [0]]).astype(np.float64)
    above = padded - padded.max() / 2
    left, right = above[:-1], above[1:]
    low, high = np.minimum(left, right), np.maximum(left, right)
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(low >= 0, 1.0, np.clip(high / rise, 0.0, 1.0))
    return float(share.sum() * bin_width)


def _fitted_gaussian(x: NDArray[np.float64], counts: NDArray[np.int64], what: str) -> tuple[float, float, float]:
    """Height, centre and sigma of the Gaussian fitted to counts over standardised values, from N(0, 1)."""
    from scipy.optimize import OptimizeWarning, curve_fit

    def gaussian(x: NDArray[np.float64], height: float, mu: float, sigma: float) -> NDArray[np.float64]:
        return height * np.exp(-0.5 * ((x - mu) / sigma) ** 2)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            fitted, _ = curve_fit(gaussian, x, counts, p0=(float(counts.max()), 0.0, 1.0))
    except (RuntimeError, TypeError, ValueError, OptimizeWarning) as error:
        raise LsamplerError(f"{what}: no Gaussian fits its histogram; use half_width=moments") from error
    return float(fitted[0]), float(fitted[1]), float(fitted[2])
