"""Mixtures of normals, fitted by expectation maximisation, and the clusters that such a fit starts from.

scikit-learn's fits depend on how many threads NumPy's BLAS has, and its clusters change that number for the whole
process. Within ``lsampler.compute.one_thread()``, these are the same to the last digit for any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MOST_STEPS = 300
TINY = 1e-15


@dataclass(frozen=True)
class Mixture:
    """sum_k pi_k N(mu_k, Sigma_k) in q dimensions, all float64.

    Attributes:
        weights: (K,) pi_k.
        centres: (K, q) mu_k.
        roots: (K, q) standard deviations, or (K, q, q) upper triangular R with Sigma = R^T R.
    """

    weights: Tensor
    centres: Tensor
    roots: Tensor

    @cached_property
    def diagonal(self) -> bool:
        """Whether the covariances are diagonal."""
        return self.roots.ndim == 2

    def moved_log_density(self, rows: Tensor, moves: Tensor) -> Tensor:
        """The log density at rows (n, q) less each of the moves (m, q): (m, n)."""
        if not self.diagonal:
            return torch.stack([self.log_joint(rows - move).logsumexp(dim=1) for move in moves])
        return self._moved_log_joint(rows, moves).logsumexp(dim=2)

    def _moved_log_joint(self, rows: Tensor, moves: Tensor) -> Tensor:
        """Of diagonal covariances, (m, n, K): (x - t - mu)^2 is multiplied out, so that products of matrices remain."""
        precisions = self.roots**-2
        scaled = (moves[:, None] + self.centres) * precisions  # (m, K, q)
        squares = torch.matmul(rows, scaled.transpose(1, 2)).mul_(-2).add_(rows.square() @ precisions.T)
        squares += (scaled.square() / precisions).sum(dim=2)[:, None]
        constant = 0.5 * rows.shape[1] * math.log(2 * math.pi) + self.roots.log().sum(dim=1) - self.weights.log()
        return squares.mul_(-0.5).sub_(constant)

    def log_joint(self, rows: Tensor) -> Tensor:
        """Log pi_k N(x; mu_k, Sigma_k) at rows x (n, q): (n, K)."""
        if self.diagonal:
            return self._moved_log_joint(rows, torch.zeros_like(rows[:1]))[0]
        parts = zip(self.centres, self.roots, strict=True)
        each = torch.stack([log_normal(rows - centre, root) for centre, root in parts], dim=1)
        return each + self.weights.log()


def log_normal(offsets: Tensor, root: Tensor) -> Tensor:
    """The log density of N(0, Sigma) at offsets (n, q) -> (n,); ``root`` is one of :attr:`Mixture.roots`."""
    if root.ndim == 1:
        x, diagonal = offsets / root, root
    else:
        x, diagonal = torch.linalg.solve_triangular(root, offsets, upper=True, left=False), root.diagonal()
    return -0.5 * ((x * x).sum(dim=1) + len(diagonal) * math.log(2 * math.pi)) - diagonal.log().sum()


def most_likely(rows: Tensor, shares: Tensor, floor: float | Tensor, *, diagonal: bool) -> Mixture:
    """The mixture whose normals have ``shares`` (n, K) of the rows (n, q).

    ``floor``, one number or (q,), is added to the variances.

    Raises:
        ValueError: a covariance is singular.
    """
    counts = shares.sum(dim=0) + TINY
    centres = shares.T @ rows / counts[:, None]
    if diagonal:
        variances = shares.T @ rows.square() / counts[:, None] - centres.square() + floor
        if not (variances > 0).all():
            raise ValueError("a variance is 0")
        return Mixture(counts / len(rows), centres, variances.sqrt())
    roots = []
    for share, count, centre in zip(shares.T, counts, centres, strict=True):
        offsets = rows - centre
        covariance = (share[:, None] * offsets).T @ offsets / count
        lower, failed = torch.linalg.cholesky_ex(covariance + floor * torch.eye(rows.shape[1], dtype=rows.dtype))
        if failed or not lower.isfinite().all():
            raise ValueError("a covariance is singular")
        roots.append(lower.T)
    return Mixture(counts / len(rows), centres, torch.stack(roots))


def fit_mixture(
    rows: Tensor, start: Mixture, *, floor: float | Tensor, iterations: int = 100, tolerance: float = 1e-3
) -> tuple[Mixture, float]:
    """Improve a mixture by expectation maximisation: (mixture, mean log-likelihood in nats per row).

    It ends after ``iterations``, or when one gains less than ``tolerance`` nats per row.
    """
    mixture, likelihood = start, -math.inf
    for _ in range(iterations):
        joint = mixture.log_joint(rows)
        each = joint.logsumexp(dim=1, keepdim=True)
        mixture = most_likely(rows, (joint - each).exp(), floor, diagonal=start.diagonal)
        before, likelihood = likelihood, float(each.mean())
        if abs(likelihood - before) < tolerance:
            break
    return mixture, likelihood


def clusters(rows: Tensor, count: int, seed: int) -> Tensor:
    """Shares (n, K) of rows in ``count`` clusters, each 0 or 1, by Lloyd's algorithm; a cluster may be empty.

    The first centres are chosen by greedy k-means++ (Arthur and Vassilvitskii 2007).
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = rows.square().sum(dim=1, keepdim=True)

    def distances(centres: Tensor) -> Tensor:
        return (lengths - 2 * (rows @ centres.T) + centres.square().sum(dim=1)).clamp(min=0)

    centres = rows[torch.randint(len(rows), (1,), generator=generator)]
    nearest = distances(centres)
    for _ in range(count - 1):
        tried = torch.multinomial(nearest[:, 0] + TINY, 2 + int(math.log(count)), True, generator=generator)
        closer = torch.minimum(nearest, distances(rows[tried]))
        best = closer.sum(dim=0).argmin()
        centres, nearest = torch.cat([centres, rows[tried[best]][None]]), closer[:, best, None]
    shares = torch.empty(0)
    for _ in range(MOST_STEPS):
        before, shares = shares, torch.nn.functional.one_hot(distances(centres).argmin(dim=1), count).to(rows.dtype)
        if torch.equal(before, shares):
            break
        sizes = shares.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, shares.T @ rows / sizes, centres)
    return shares
