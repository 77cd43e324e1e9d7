"""Statistics of latent vectors: everything that most strategies need."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name
from lsampler.showing import About, Shown, frame, name_of, paragraph, table
from lsampler.statistics.half_widths import FWHM_PER_SIGMA, GaussianFit, HalfWidth, width_at_half_maximum
from lsampler.statistics.histograms import Histograms
from lsampler.statistics.passes import Segment, View, gather_histograms, gather_moments
from lsampler.statistics.pca import Pca, Whitening, spread

HALF_WIDTH_BINS_PER_SIGMA = 2
SHOWN_COMPONENTS = 8
MOMENTS = ("mean", "covariance", "minimum", "maximum")


@dataclass(frozen=True, repr=False)
class Statistics(Shown):
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
    counted: Histograms | Callable[[Histograms], Histograms]

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
            raise LsamplerError(f"{name}: {count} latent vectors, statistics need at least 2 (n_samples={count})")
        covariance = (moments.scatter + moments.scatter.T) / (2 * (moments.count - 1))
        known = name, moments.count, moments.mean, covariance, moments.minimum, moments.maximum
        return cls(*known, lambda empty: gather_histograms(segments, view, empty))

    def to_frame(self) -> Any:
        """The components as a ``pandas.DataFrame``, a line each.

        The columns are ``component``, ``mean``, ``std``, ``half_width`` (2.3548 sigma), ``minimum`` and ``maximum``.

        Raises:
            LsamplerError: pandas is not installed.
        """
        spreads = {"std": self.std, "half_width": FWHM_PER_SIGMA * self.std}
        extremes = {"minimum": self.minimum, "maximum": self.maximum}
        return frame({"component": np.arange(self.dimension), "mean": self.mean} | spreads | extremes, "Statistics")

    def _about(self) -> About:
        constant = self.dimension - self.varying
        fixed = f"{constant} of them constant" if constant else ""
        return About(
            "Statistics", f"of {name_of(self.name)}", [f"{self.count:,} vectors", f"D = {self.dimension}", fixed]
        )

    def _parts(self) -> Iterator[Markup]:
        heads = ["component", "mean", "std", "half-width", "minimum", "maximum"]
        columns = (self.mean, self.std, FWHM_PER_SIGMA * self.std, self.minimum, self.maximum)
        few = range(min(SHOWN_COMPONENTS, self.dimension))
        yield table(heads, [(j, *(f"{column[j]:.4g}" for column in columns)) for j in few])
        if self.dimension > SHOWN_COMPONENTS:
            yield paragraph(f"The first {SHOWN_COMPONENTS} of {self.dimension} components; to_frame() has all.", "dim")

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
        """(D,) standard deviations, sigma_j; exactly 0 where a component is constant."""
        return spread(self.mean, self.covariance)

    @property
    def varying(self) -> int:
        """How many components are not constant."""
        return int(np.count_nonzero(self.std))

    @cached_property
    def correlation(self) -> NDArray[np.float64]:
        """(D, D) Pearson correlations, 0 with a constant component. Raises LsamplerError if all vectors are equal."""
        self.require_spread()
        scale = np.where(self.std > 0, self.std, np.inf)
        matrix = self.covariance / np.outer(scale, scale)
        np.fill_diagonal(matrix, 1.0)
        clipped: NDArray[np.float64] = np.clip(matrix, -1.0, 1.0)
        return clipped

    @cached_property
    def pca(self) -> Pca:
        """Principal axes and variances of the covariance."""
        return Pca.of(self.mean, self.covariance)

    def whitening(self, components: int | None = None) -> Whitening:
        """The map to the leading principal coordinates divided by their standard deviations.

        Constant components keep their value on the way back. None keeps all :attr:`directions`.

        Raises:
            LsamplerError: the vectors vary in fewer directions.
        """
        count = components or self.directions
        self.require_rank(count)
        return Whitening(self.mean, np.sqrt(self.pca.variances[:count, np.newaxis]) * self.pca.axes[:count])

    @property
    def directions(self) -> int:
        """How many principal components are kept by default, at least 1: all along which the vectors vary.

        With too few vectors to know, as many as there are components that vary, which :meth:`require_rank` refuses.
        """
        return max(self.pca.rank if self.count > self.varying else self.varying, 1)

    @property
    def judged(self) -> int:
        """How many leading principal components scores rely on: all along which the vectors vary.

        Of more than 2,048 components, at most one for every ten vectors.
        """
        return self.pca.rank

    def spread_along(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k,) standard deviations of the projections of the vectors on directions (k, D)."""
        variances = np.einsum("kd,de,ke->k", directions, self.covariance, directions, optimize=True)
        spread_: NDArray[np.float64] = np.sqrt(variances)
        return spread_

    def half_widths(self, kind: HalfWidth = "moments", *, bin_width: float | None = None) -> NDArray[np.float64]:
        """(D,) full widths at half maximum, w_j: what the posts call half-width or FHWM; 0 of a constant component.

        Args:
            kind: ``moments``, 2.3548 sigma; ``histogram``, read off the histogram at half its
                maximum (the posts' way); ``gaussian-fit``, 2.3548 times the sigma of a Gaussian
                fitted to the histogram by ``scipy.optimize.curve_fit``.
            bin_width: for the last two, in latent units; by default a quarter to half of sigma.

        Raises:
            LsamplerError: all vectors are equal, a Gaussian cannot be fitted, or ``bin_width`` is not above 0.
        """
        if kind not in get_args(HalfWidth):
            raise LsamplerError(f"half-width '{kind}' is unknown{nearest_name(kind, get_args(HalfWidth))}")
        if bin_width is not None and not 0 < bin_width < np.inf:
            raise LsamplerError(f"bin_width={bin_width}: give a number above 0")
        self.require_spread()
        if kind == "moments":
            return FWHM_PER_SIGMA * self.std

        def width(j: int) -> float:
            if kind == "gaussian-fit":
                return FWHM_PER_SIGMA * self.gaussian_fit(j, bin_width=bin_width).sigma
            return width_at_half_maximum(*self.histogram(j, bin_width=bin_width)[1:])

        return np.array([width(j) if self.std[j] else 0.0 for j in range(self.dimension)])

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
        """Raise if all vectors are equal: then there is nothing to learn."""
        if not self.varying:
            raise LsamplerError(f"{self.name}: all {self.count} vectors are equal; check the encoder, or encode others")

    def require_rank(self, components: int) -> None:
        """Raise unless the vectors vary in ``components`` directions, by more than float32 rounds them."""
        if components > self.dimension:
            raise LsamplerError(
                f"`components={components}` is more than the latent dimension of {self.name}; "
                f"give at most {self.dimension}"
            )
        rank = self.pca.rank
        if components > rank:
            self.require_spread()
            more = "encode more items or " if self.count <= self.varying else ""
            raise LsamplerError(
                f"{self.name}: the covariance of {self.count} vectors has rank {rank}, "
                f"{components} components are wanted; {more}use `components={rank}`"
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
        """The inverse of :meth:`as_arrays`. Raises LsamplerError if arrays are missing, or describe no vectors."""
        problem = _problem(arrays)
        if problem:
            raise LsamplerError(f"{name}: {problem}")
        moments = {key: arrays[key] for key in MOMENTS}
        return cls(name=name, count=int(arrays["count"][0]), counted=Histograms.from_arrays(arrays), **moments)


def _problem(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Why arrays are not those of :meth:`Statistics.as_arrays`; None if they are."""
    d = arrays["mean"].size if "mean" in arrays else 0
    bins = arrays["histogram_counts"].shape[-1] if arrays.get("histogram_counts", np.empty(0)).ndim == 2 else 0
    reals = {"mean": (d,), "covariance": (d, d), "minimum": (d,), "maximum": (d,), "histogram_width": (d,)}
    shapes = reals | {"count": (1,), "histogram_first": (d,), "histogram_counts": (d, bins)}
    for key, shape in shapes.items():
        if key not in arrays:
            return f"'{key}' is missing"
        found, kind = arrays[key], "f" if key in reals else "i"
        if found.shape != shape or not found.size or found.dtype.kind != kind:
            return f"'{key}' is of shape {found.shape} and {found.dtype}"
        if not np.isfinite(found).all():
            return f"'{key}' holds NaN or infinite values"
    return _contradiction(arrays)


@np.errstate(all="ignore")
def _contradiction(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    mean, covariance, low, high = (arrays[key] for key in MOMENTS)
    variances, count = np.diagonal(covariance), int(arrays["count"][0])
    slack = 1e-6 * (np.abs(low) + np.abs(high)) + 1e-30
    holds = {
        "its count is below 2": count >= 2,
        "a variance is negative": (variances >= 0).all(),
        "its covariance is none": np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-9 * variances.max())
        and (np.square(covariance) <= np.outer(variances, variances) * (1 + 1e-6)).all(),
        "its mean is outside its extremes": ((low - slack <= mean) & (mean <= high + slack)).all(),
        "its histograms count other vectors": (arrays["histogram_counts"] >= 0).all()
        and (arrays["histogram_counts"].sum(axis=1) == count).all(),
        "its histograms have no width": (arrays["histogram_width"] > 0).all()
        and (np.abs(arrays["histogram_first"].astype(np.float64)) < 2.0**53).all(),
    }
    return next((problem for problem, sound in holds.items() if not sound), None)


def trimmed(statistics: Statistics, factor: float | None) -> View:
    """Only vectors whose components are all within mu_j +- ``factor`` w_j (post IX); all of them with None."""
    if factor is None:
        return View()
    reach = np.where(statistics.std > 0, factor * statistics.half_widths(), np.inf)
    return View(statistics.mean - reach, statistics.mean + reach)
