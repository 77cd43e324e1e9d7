"""Probes: linear models that read labels off latent vectors, to see whether samples have what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.samplers.conditions.condition import Wanted
from lsampler.scoring.calibration import Calibration
from lsampler.store.labels import Label
from lsampler.store.latent_store import LatentStore
from lsampler.store.reference import Reference, Split

MOST_ROWS = 50_000
"""Of a fit: with more train rows, evenly spaced ones are used."""
PENALTY = 0.1
"""Inverse strength C of the L2 penalty on the weights of standardised components."""
FEWEST_OF_A_VALUE = 2
NEWTON_COLUMNS = 1000
"""With up to so many weights, a step by the whole Hessian is cheaper than many by the gradient."""


@dataclass(frozen=True)
class Probe:
    """A linear model of one label: logistic regression, or ridge regression of a continuous label.

    Attributes:
        label: which one.
        weights: (D, k) in units of the latent vectors; k is 1, or the number of levels that train rows have.
        intercepts: (k,).
        codes: (k,) the levels of a categorical label that the columns stand for; empty for other labels.
        centre: (k,) mean score of train rows.
        spread: (k,) standard deviation of the scores of train rows.
        calibration: what it reads on held-out rows, where that was kept; see :meth:`calibrated`.
    """

    label: Label
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    codes: NDArray[np.float64]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    calibration: Calibration | None = None

    @classmethod
    def fit(cls, label: Label, latents: NDArray[Any], codes: NDArray[Any]) -> Probe:
        """Fit to latent vectors (n, D) and the codes (n,) of the label; rows where it is missing are left out.

        Raises:
            LsamplerError: the label has one value only, or fewer than two rows of each.
        """
        known = ~np.isnan(codes)
        rows, values = latents[known].astype(np.float64), codes[known]
        found, counts = np.unique(values, return_counts=True)
        called = f"label '{shortened(label.name)}'"
        if len(found) < 2:
            raise LsamplerError(f"{called}: has one value only in {len(rows):,} rows, so nothing can be read off them")
        if label.kind != "continuous" and counts.min() < FEWEST_OF_A_VALUE:
            kept = np.isin(values, found[counts >= FEWEST_OF_A_VALUE])
            if len(np.unique(values[kept])) < 2:
                raise LsamplerError(f"{called}: fewer than two rows have the rarer value; label more rows")
            rows, values = rows[kept], values[kept]
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        unit = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        weights, intercepts, levels = _regression(label, (rows - mean) * unit, values)
        weights *= unit[:, np.newaxis]
        intercepts = intercepts - mean @ weights
        scores = rows @ weights + intercepts
        return cls(label, weights, intercepts, levels, scores.mean(axis=0), scores.std(axis=0))

    def scores(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """What the linear model gives for latent vectors (n, D): log odds (n, k), or the value (n, 1) itself."""
        found: NDArray[np.float64] = latents.astype(np.float64) @ self.weights + self.intercepts
        return found

    def standardised(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n, k) in units of their own spread over train rows, about their mean."""
        unit = np.divide(1.0, self.spread, out=np.zeros_like(self.spread), where=self.spread > 0)
        return (self.scores(latents) - self.centre) * unit

    def read(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """The codes (n,) of the label that vectors (n, D) most likely have."""
        scores = self.scores(latents)
        if self.label.kind == "categorical":
            likeliest: NDArray[np.float64] = self.codes[scores.argmax(axis=1)]
            return likeliest
        return (scores[:, 0] > 0).astype(np.float64) if self.label.kind == "binary" else scores[:, 0]

    def finds(self, wanted: Wanted, latents: NDArray[Any]) -> NDArray[np.bool_]:
        """On which of the vectors (n, D) it finds one of the wanted values."""
        return wanted.fulfilled(self.read(latents))

    def auc(self, latents: NDArray[Any], codes: NDArray[Any]) -> float | None:
        """The area under the ROC curve on vectors (n, D) whose codes (n,) are known.

        Of a categorical label the mean over its levels, weighted by their shares, each against all others. None of a
        continuous label, and where only one value occurs.
        """
        from sklearn.metrics import roc_auc_score

        known = ~np.isnan(codes)
        values, scores = codes[known], self.scores(latents[known])
        if self.label.kind == "continuous" or len(np.unique(values)) < 2:
            return None
        if self.label.kind == "binary":
            return float(roc_auc_score(values, scores[:, 0]))
        shares, areas = [], []
        for place, code in enumerate(self.codes):
            own = values == code
            if 0 < own.sum() < len(own):
                shares.append(own.mean())
                areas.append(roc_auc_score(own, scores[:, place]))
        return float(np.average(areas, weights=shares)) if areas else None

    def r2(self, latents: NDArray[Any], codes: NDArray[Any]) -> float | None:
        """The explained share of the variance of a continuous label; None of another label, or a constant one."""
        known = ~np.isnan(codes)
        values = codes[known].astype(np.float64)
        if self.label.kind != "continuous" or len(values) < 2 or not values.std():
            return None
        wrong = values - self.scores(latents[known])[:, 0]
        return float(1 - (wrong**2).mean() / values.var())

    def calibrated(self, latents: NDArray[Any], codes: NDArray[Any], again: NDArray[Any] | None = None) -> Probe:
        """The same with its calibration on held-out vectors (n, D) whose codes (n,) are known.

        ``again`` holds the vectors (n, D) after they were decoded and encoded again.
        """
        found = Calibration.of(
            self.label,
            codes,
            self.read(latents),
            None if again is None else self.read(again),
            auc=self.auc(latents, codes),
            r2=self.r2(latents, codes),
        )
        return replace(self, calibration=found)


def _regression(
    label: Label, rows: NDArray[np.float64], values: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weights (D, k), intercepts (k,) and the levels (k,) that columns stand for, of standardised rows (n, D)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if label.kind == "continuous":
        centre, spread = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        ridge = Ridge(alpha=1 / PENALTY).fit(rows, (values - centre) / spread)
        return spread * ridge.coef_.reshape(-1, 1), np.array([centre]), np.empty(0)
    columns = rows.shape[1] * (1 if label.kind == "binary" else len(np.unique(values)))
    solver = "newton-cholesky" if columns <= NEWTON_COLUMNS else "lbfgs"
    model = LogisticRegression(C=PENALTY, solver=solver, max_iter=1000).fit(rows, values)
    weights, intercepts, classes = model.coef_.T, model.intercept_, model.classes_.astype(np.float64)
    if label.kind == "binary":
        return weights, intercepts, np.empty(0)
    if len(classes) == 2:  # one column of log odds for two levels
        return np.hstack([-weights, weights]) / 2, np.concatenate([-intercepts, intercepts]) / 2, classes
    return weights, intercepts, classes


def labelled_rows(store: LatentStore, split: Split, most: int = MOST_ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Latent vectors (n, D) of a split and the codes (n, L) of their labels; at most so many, evenly spaced."""
    every, seen, kept = max(1, -(-store.count(split) // most)), 0, []
    for chunk in store.chunks(split, labels=True):
        kept.append(chunk[-seen % every :: every].copy())
        seen += len(chunk)
    rows = np.concatenate([np.empty((0, store.dimension + len(store.label_columns)), np.float32), *kept])
    return rows[:, : store.dimension], rows[:, store.dimension :]


def fit_probes(store: LatentStore, names: Sequence[str] | None = None) -> dict[str, Probe]:
    """A probe for each label of a store, by name, fitted to at most 50,000 train rows.

    Args:
        store: latent vectors with labels.
        names: of the labels; None takes all, and leaves out those that train rows do not allow.

    Raises:
        LsamplerError: a named label does not exist, or has no probe.
    """
    return _fitted(store, names, strict=names is not None)


def probes_of(reference: Reference, names: Sequence[str], *, strict: bool = True) -> dict[str, Probe]:
    """The probes of these labels: those that a bundle carries, or that are fitted to a store and kept with it.

    Args:
        reference: a store with labels, or what a bundle knows.
        names: of the labels.
        strict: whether a label without a probe is an error; otherwise it is left out.

    Raises:
        LsamplerError: a label does not exist, has no probe, or the bundle carries none of it.
    """
    if isinstance(reference, LatentStore):
        found: dict[str, Probe] = reference.kept.setdefault("probes", {})
        if new := [name for name in names if name not in found]:
            found |= _fitted(reference, new, strict=strict)
    else:
        found = getattr(reference, "probes", {})
        for name in names if strict else ():
            if name not in found:
                raise LsamplerError(
                    f"{reference.name} carries no probe of '{shortened(name)}'; give `store=...` of latents with "
                    "labels, or add probes to the bundle with 'lsampler bundle --add --labels'"
                )
    return {name: found[name] for name in names if name in found}


def _fitted(store: LatentStore, names: Sequence[str] | None, *, strict: bool) -> dict[str, Probe]:
    """Probes of the named labels, or of all, that the train rows allow."""
    latents, codes = labelled_rows(store, "train")
    known = [label.name for label in store.label_columns]
    found = {}
    for name in known if names is None else names:
        place = known.index(name) if name in known else -1
        if place < 0:
            raise LsamplerError(f"{store.name}: no label '{shortened(name)}'{nearest_name(name, known)}")
        try:
            found[name] = Probe.fit(store.label_columns[place], latents, codes[:, place])
        except LsamplerError:
            if strict:
                raise
    return found
