"""Which shifts ``strong-classifier`` sees, by the number of train vectors it learns from."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, Samples
from lsampler.store import MemoryStore

DIMENSION, CORRELATION = 32, 0.5
HELD_OUT, REPEATS = 1000, 2
SIZES = (1000, 3000, 9000)
MOST = 100_000
"""Vectors of each kind that the best possible area is computed from."""
DIGITS = 4
METRIC = "strong-auc"

Rows: TypeAlias = NDArray[np.float64]
Found: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class Distribution:
    """A normal of 32 dimensions, or a Student's t of the same variance, whose first two components are correlated.

    Attributes:
        mean: of the last component; all others have mean 0.
        scale: standard deviation of every component.
        nu: degrees of freedom of Student's t; none: the normal.
        correlation: of the first two components.
    """

    mean: float = 0.0
    scale: float = 1.0
    nu: float | None = None
    correlation: float = CORRELATION

    def draw(self, rng: np.random.Generator, n: int) -> Rows:
        """Vectors (n, 32)."""
        rows: Rows = rng.normal(size=(n, DIMENSION))
        rows[:, 1] = self.correlation * rows[:, 0] + np.sqrt(1 - self.correlation**2) * rows[:, 1]
        if self.nu:
            rows *= np.sqrt((self.nu - 2) / rng.chisquare(self.nu, size=(n, 1)))
        rows *= self.scale
        rows[:, -1] += self.mean
        return rows

    def log_density(self, rows: Rows) -> Rows:
        """The logarithm of the density (n,) at rows (n, 32)."""
        covariance = np.eye(DIMENSION)
        covariance[0, 1] = covariance[1, 0] = self.correlation
        covariance *= self.scale**2
        mean = np.append(np.zeros(DIMENSION - 1), self.mean)
        if self.nu:
            found: Rows = stats.multivariate_t(mean, covariance * (self.nu - 2) / self.nu, df=self.nu).logpdf(rows)
        else:
            found = stats.multivariate_normal(mean, covariance).logpdf(rows)
        return found


REAL = Distribution()
SHIFTS = {
    "nothing: new draws": REAL,
    "mean of one component, 0.1 sigma": Distribution(mean=0.1),
    "mean of one component, 0.25 sigma": Distribution(mean=0.25),
    "mean of one component, 0.5 sigma": Distribution(mean=0.5),
    "spread, 5 % wider": Distribution(scale=1.05),
    "spread, 10 % wider": Distribution(scale=1.1),
    "spread, 20 % wider": Distribution(scale=1.2),
    "radii of Student's t, nu = 30": Distribution(nu=30),
    "radii of Student's t, nu = 10": Distribution(nu=10),
    "radii of Student's t, nu = 5": Distribution(nu=5),
    "one correlation of 0.5, dropped": Distribution(correlation=0.0),
}
COPIES = {"copies of train vectors, noise 0.01 sigma": 0.01, "copies of train vectors, noise 0.1 sigma": 0.1}
NAMES = (*SHIFTS, *COPIES)


def key_of(name: str, size: int, repeat: int) -> str:
    """The name of one cell."""
    return f"{name}/{size}/{repeat}"


def best_area(name: str) -> float:
    """The area of the ratio of the true densities, which no classifier surpasses but by chance."""
    rng, shift = np.random.default_rng(zlib.crc32(name.encode())), SHIFTS[name]
    rows = np.concatenate([REAL.draw(rng, MOST), shift.draw(rng, MOST)])
    ratios = shift.log_density(rows) - REAL.log_density(rows)
    return round(float(roc_auc_score(np.repeat([0, 1], MOST), ratios)), DIGITS)


def area(name: str, size: int, repeat: int) -> dict[str, float]:
    """The strong AUC of one shift with its interval, from so many train vectors and 1,000 held-out ones."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), size + repeat])
    rows = REAL.draw(rng, size + HELD_OUT)
    train = rows[:size]

    def draw(n: int) -> NDArray[np.float32]:
        if name in COPIES:
            copied = train[rng.integers(size, size=n)]
            return (copied + COPIES[name] * rng.normal(size=copied.shape)).astype(np.float32)
        return SHIFTS[name].draw(rng, n).astype(np.float32)

    evaluator = load_evaluator("strong-classifier", curve=False, check_split=False)
    evaluator.prepare(RealData(MemoryStore(train, rows[size:])))
    scores = evaluator.score(Samples("drawn", draw(HELD_OUT), more=draw))
    (found,) = (score for score in scores if score.metric == METRIC)
    return {end: round(getattr(found, end), DIGITS) for end in ("value", "low", "high")}


def lines(power: Mapping[str, Found], best: Mapping[str, float]) -> Iterator[str]:
    """The table; an area is in bold where the interval of every repeat lies above 0.5."""
    yield f"| samples differ by | best possible | {' | '.join(f'{size:,} train vectors' for size in SIZES)} |"
    yield "|---" * (2 + len(SIZES)) + "|"
    for name in NAMES:
        shown = [f"{best[name]:.3f}" if name in best else ""]
        for size in SIZES:
            found = [power[key_of(name, size, repeat)] for repeat in range(REPEATS)]
            seen = sum(one["low"] > 0.5 for one in found)
            value = np.mean([one["value"] for one in found])
            reach = np.mean([(one["high"] - one["low"]) / 2 for one in found])
            mark = "**" if seen == REPEATS else ""
            shown.append(f"{mark}{value:.3f}{mark} ± {reach:.3f}, {seen} of {REPEATS}")
        yield f"| {name} | {' | '.join(shown)} |"
    yield ""
