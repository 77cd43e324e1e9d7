"""The Frechet distance between two distributions known by their first two moments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.one_thread import one_thread
from lsampler.errors import LsamplerError


def frechet_distance(
    mean1: NDArray[Any], covariance1: NDArray[Any], mean2: NDArray[Any], covariance2: NDArray[Any]
) -> float:
    """The squared Frechet distance of two normals (Dowson and Landau 1982; Heusel et al. 2017), in double precision.

    |mean1 - mean2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the last trace as the sum of the square
    roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which are real and not negative. In squared
    units of the vectors; 0 for equal moments. Moments of few vectors are noisy, and noise adds to
    the distance: compare sets of one size.

    Args:
        mean1: (D,) of the first distribution.
        covariance1: (D, D) S1, symmetric; it may be singular.
        mean2: (D,) of the second.
        covariance2: (D, D) S2.

    Raises:
        LsamplerError: shapes that do not fit, or values that are not finite.
    """
    means = [np.asarray(mean, dtype=np.float64) for mean in (mean1, mean2)]
    covariances = [np.asarray(covariance, dtype=np.float64) for covariance in (covariance1, covariance2)]
    d = means[0].size
    shapes = [array.shape for array in (*means, *covariances)]
    if shapes != [(d,), (d,), (d, d), (d, d)]:
        raise LsamplerError(f"moments of shapes {shapes}; give means (D,) and covariances (D, D)")
    if not all(np.isfinite(array).all() for array in (*means, *covariances)):
        raise LsamplerError("moments that are NaN or infinite have no Frechet distance")
    with one_thread():
        product = _product_eigenvalues(*covariances)
    trace = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(np.maximum(product, 0.0)).sum()
    shift = means[0] - means[1]
    return max(float(shift @ shift + trace), 0.0)


def moments_of(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (D,) and the covariance (D, D) of vectors (n, D) float64, for :func:`frechet_distance`."""
    import torch

    return rows.mean(axis=0), np.atleast_2d(torch.cov(torch.from_numpy(rows.T)).numpy())


def _product_eigenvalues(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) eigenvalues of first^(1/2) second first^(1/2)."""
    import torch

    variances, axes = torch.linalg.eigh(torch.from_numpy(first))
    root = (axes * variances.clamp(min=0.0).sqrt()) @ axes.T
    found: NDArray[np.float64] = torch.linalg.eigvalsh(root @ torch.from_numpy(second) @ root).numpy()
    return found
