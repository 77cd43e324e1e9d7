"""The public names of this package, and where each is defined."""

from .half_widths import FWHM_PER_SIGMA, HalfWidth
from .pca import SINGLE_PRECISION, Pca, Whitening
from .statistics import Statistics

__all__ = [
    "FWHM_PER_SIGMA",
    "HalfWidth",
    "Pca",
    "SINGLE_PRECISION",
    "Statistics",
    "Whitening",
]
