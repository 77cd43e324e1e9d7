"""Mixtures of factor analysers, and their fit by expectation maximisation.

Each component is x = mu + Lambda f + e with few factors f ~ N(0, 1) and independent noise e ~ N(0, Psi), or the same
divided by the root of a common chi-squared variable over its degrees of freedom, which makes it a Student t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler_plugins.samplers.mixtures import TINY, clusters

LEAST_FREEDOM, LARGEST_FREEDOM = 8.0, 1e4
FREEDOM_STEPS = 40
START_FREEDOM, START_LOADING, START_NOISE, FLOOR = 30.0, 0.1, 0.9, 1e-3


@dataclass(frozen=True)
class Analysers:
    """K factor analysers with L factors each in q dimensions, all float64.

    Attributes:
        weights: (K,) probabilities of the components.
        centres: (K, q) mu.
        loadings: (K, q, L) Lambda.
        noise: (K, q) variances Psi.
        freedom: (K,) degrees of freedom nu of a Student t; infinite ones stand for a normal.
    """

    weights: Tensor
    centres: Tensor
    loadings: Tensor
    noise: Tensor
    freedom: Tensor

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The arrays by name; without degrees of freedom if the components are normal."""
        arrays = {each.name: getattr(self, each.name).numpy() for each in fields(self)}
        return arrays if self.is_student else {name: array for name, array in arrays.items() if name != "freedom"}

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor]) -> Analysers:
        """The analysers of such arrays."""
        given = {each.name: arrays[each.name] for each in fields(cls) if each.name in arrays}
        return cls(**{"freedom": torch.full_like(arrays["weights"], math.inf)} | given)

    @property
    def is_student(self) -> bool:
        """Whether the components are Student t, and not normal."""
        return not bool(torch.isinf(self.freedom).all())

    def inner(self) -> tuple[Tensor, Tensor]:
        """M = 1 + Lambda^T Psi^-1 Lambda as its lower Cholesky factors (K, L, L), and Psi^-1 Lambda (K, q, L)."""
        scaled = self.loadings / self.noise[:, :, None]
        m = self.loadings.transpose(1, 2) @ scaled
        m = m + torch.eye(m.shape[1], dtype=m.dtype, device=m.device)
        return torch.linalg.cholesky(m), scaled

    def distances(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At rows x (n, q): squared Mahalanobis distances (n, K), C^-1 Lambda^T Psi^-1 (x - mu) (n, K, L), and C."""
        cholesky, scaled = self.inner()
        k, q, factors = self.loadings.shape
        precisions = 1 / self.noise
        squares = rows.square() @ precisions.T - 2 * (rows @ (self.centres * precisions).T)
        squares = squares + (self.centres.square() * precisions).sum(dim=1)
        turned = torch.linalg.solve_triangular(cholesky, scaled.transpose(1, 2), upper=False)  # (K, L, q)
        flat = turned.reshape(k * factors, q)
        along = (rows @ flat.T).reshape(len(rows), k, factors) - (turned @ self.centres[:, :, None])[:, :, 0]
        return (squares - along.square().sum(dim=2)).clamp(min=0), along, cholesky

    def log_joint(self, rows: Tensor) -> Tensor:
        """Log pi_k p(x | k) at rows x (n, q): (n, K)."""
        return self._log_joint(*self.distances(rows)[::2])

    def _log_joint(self, squares: Tensor, cholesky: Tensor) -> Tensor:
        q = self.noise.shape[1]
        half_det = 0.5 * self.noise.log().sum(dim=1) + cholesky.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return log_t(squares, self.freedom, q) - half_det + self.weights.log()


def log_t(squares: Tensor, freedom: Tensor, q: int) -> Tensor:
    """The log density of a Student t in q dimensions, scatter 1, at squared radii (n, K); a normal's if nu is inf."""
    normal = -0.5 * (squares + q * math.log(2 * math.pi))
    nu = freedom.clamp(max=1e12)
    constant = torch.lgamma((nu + q) / 2) - torch.lgamma(nu / 2) - 0.5 * q * torch.log(nu * math.pi)
    student = constant - 0.5 * (nu + q) * torch.log1p(squares / nu)
    return torch.where(torch.isinf(freedom), normal, student)


def improved(rows: Tensor, old: Analysers, floor: Tensor, prior: float) -> tuple[Analysers, float]:
    """One step of expectation maximisation: (better analysers, mean log-likelihood of the old ones in nats per row).

    Args:
        rows: (n, q).
        old: analysers.
        floor: (q,) least variances of the noise.
        prior: so many rows of noise with variance 1 are added to each component's.
    """
    squares, along, cholesky = old.distances(rows)
    joint = old._log_joint(squares, cholesky)
    each = joint.logsumexp(dim=1, keepdim=True)
    r = (joint - each).exp()
    q = rows.shape[1]
    nu = old.freedom
    u = torch.where(torch.isinf(nu), torch.ones_like(squares), (nu + q) / (nu.clamp(max=1e12) + squares))
    w = r * u
    k, _, factors = old.loadings.shape
    # Factors given a row: C^-T of what distances() gives.
    means = torch.linalg.solve_triangular(cholesky.transpose(1, 2), along.permute(1, 2, 0), upper=True)  # (K, L, n)
    weighted = means * w.T[:, None, :]
    inverse = torch.cholesky_inverse(cholesky)
    counts = r.sum(dim=0) + TINY
    s_ff = counts[:, None, None] * inverse + weighted @ means.transpose(1, 2)
    s_xf = (weighted.reshape(k * factors, -1) @ rows).reshape(k, factors, q)  # (K, L, q)
    s_f, s_x, s_1 = weighted.sum(dim=2), w.T @ rows, w.sum(dim=0) + TINY
    left = torch.cat([torch.cat([s_ff, s_f[:, :, None]], 2), torch.cat([s_f, s_1[:, None]], 1)[:, None, :]], 1)
    right = torch.cat([s_xf, s_x[:, None, :]], 1)
    left = left + TINY * torch.eye(factors + 1, dtype=left.dtype, device=left.device)
    solved = torch.linalg.solve(left, right)  # (K, L + 1, q)
    loadings, centres = solved[:, :factors].transpose(1, 2), solved[:, factors]
    noise = w.T @ rows.square() - (solved * right).sum(dim=1)
    noise = torch.maximum((noise + prior) / (counts[:, None] + prior), floor)
    freedom = _freedom(nu, r, u, counts, q) if old.is_student else nu
    return Analysers(counts / len(rows), centres, loadings, noise, freedom), float(each.mean())


def _freedom(nu: Tensor, r: Tensor, u: Tensor, counts: Tensor, q: int) -> Tensor:
    """Degrees of freedom that suit the weights u of the rows (Peel and McLachlan 2000, equation 32), by bisection."""
    known = 1 + (r * (u.log() - u)).sum(dim=0) / counts + torch.digamma((nu + q) / 2) - torch.log((nu + q) / 2)
    low, high = torch.full_like(nu, math.log(LEAST_FREEDOM)), torch.full_like(nu, math.log(LARGEST_FREEDOM))
    for _ in range(FREEDOM_STEPS):
        middle = (low + high) / 2
        half = middle.exp() / 2
        positive = half.log() - torch.digamma(half) + known > 0  # falls with nu
        low, high = torch.where(positive, middle, low), torch.where(positive, high, middle)
    return ((low + high) / 2).exp()


def started(rows: Tensor, components: int, factors: int, *, student: bool, seed: int) -> Analysers:
    """Wide analysers at the centres of clusters of directions of whitened rows (n, q).

    Clusters of the rows themselves are single outliers, and a component that starts at one stays there.
    """
    q = rows.shape[1]
    generator = torch.Generator().manual_seed(seed)
    shares = clusters(rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30), components, seed)
    centres = shares.T @ rows / shares.sum(dim=0).clamp(min=1)[:, None]

    def full(*shape: int, value: float) -> Tensor:
        return torch.full(shape, value, dtype=rows.dtype)

    loadings = START_LOADING * torch.randn(components, q, factors, generator=generator, dtype=rows.dtype)
    freedom = full(components, value=START_FREEDOM if student else math.inf)
    weights, noise = full(components, value=1 / components), full(components, q, value=START_NOISE)
    return Analysers(weights, centres, loadings, noise, freedom)


def fit_analysers(rows: Tensor, start: Analysers, *, prior: float, iterations: int, tolerance: float) -> Analysers:
    """Improve analysers until an iteration gains less than ``tolerance`` nats per row."""
    found, likelihood = start, -math.inf
    floor = FLOOR * rows.var(dim=0)
    for _ in range(iterations):
        before = likelihood
        found, likelihood = improved(rows, found, floor, prior)
        if abs(likelihood - before) < tolerance:
            break
    return found


def drawn(analysers: Analysers, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (n, q) of the components ``chosen`` (n,)."""
    k, q, factors = analysers.loadings.shape
    device, kind = analysers.centres.device, analysers.centres.dtype
    rows = torch.randn(len(chosen), q, generator=generator, device=device, dtype=kind)
    f = torch.randn(len(chosen), factors, generator=generator, device=device, dtype=kind)
    rows *= analysers.noise.sqrt()[chosen]
    for place in range(k):
        own = (chosen == place).nonzero()[:, 0]
        rows[own] += f[own] @ analysers.loadings[place].T
    if analysers.is_student:
        half = analysers.freedom[chosen] / 2
        rows *= (half / torch._standard_gamma(half, generator=generator).clamp(min=1e-12)).sqrt()[:, None]
    return rows + analysers.centres[chosen]
