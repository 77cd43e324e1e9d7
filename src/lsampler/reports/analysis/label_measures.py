"""What is measured of one label: a direction, two humps along it, neighbours."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.neighbours import nearest_neighbours
from lsampler.compute.one_thread import one_thread
from lsampler.errors import LsamplerError
from lsampler.reports.analysis.humps import humps
from lsampler.reports.analysis.label_rows import Judged, Target
from lsampler.scoring.probes import Probe
from lsampler.statistics.pca import Whitening

Values = NDArray[np.float64]
NEIGHBOURS = 10
STRONG_AUC, STRONG_R2 = 0.9, 0.5
CLUSTERED = 0.5
"""Of the way from what chance gives to all neighbours: with more, neighbours are clearly of the same kind."""
Z = 1.959964
"""Standard errors of a 95 % interval."""
TINY = 1e-9
FEWEST_OF_EACH, FEWEST_FOR_HUMPS, FEWEST_QUERIES = 2, 50, 5
RESAMPLES = 500


def auc_interval(area: float, with_it: int, without: int) -> tuple[float, float]:
    """The 95 % interval of an area under the ROC curve from counts of both kinds of rows.

    All areas whose distance from the measured one is at most 1.96 of their own standard errors, after Hanley and
    McNeil (1982) with equal counts: method 5 of Newcombe (2006). It has a width also where the area is 1.
    """
    from scipy.optimize import brentq

    half = (with_it + without) / 2 - 1

    def beyond(true: float) -> float:
        variance = true * (1 - true) * (1 + half * (1 - true) / (2 - true) + half * true / (1 + true))
        return float((area - true) ** 2 - Z**2 * variance / (with_it * without))

    low = brentq(beyond, 0.0, min(area, 1 - TINY)) if area > 0 else 0.0
    high = brentq(beyond, max(area, TINY), 1.0) if area < 1 else 1.0
    return float(low), float(high)


def probe_of(target: Target, rows: Judged) -> Probe | str:
    """The probe of a label, fitted to train rows; why there is none, as text."""
    try:
        with one_thread():
            return Probe.fit(target.label, rows.latents, rows.codes[:, target.place])
    except LsamplerError as error:
        return str(error)


def along(target: Target, probe: Probe, rows: Judged) -> tuple[Values, Values]:
    """Scores (m,) of judging vectors along the probe of a two-valued target, and their values; those that are known."""
    values = target.values(rows.judging_codes)
    known = ~np.isnan(values)
    scores = probe.standardised(rows.judging[known])
    column = 0 if target.level is None else int(np.flatnonzero(probe.codes == target.level)[0])
    return scores[:, column], values[known]


def direction(target: Target, probe: Probe, rows: Judged, seed: int) -> dict[str, Any]:
    """How well the probe reads a target off judging vectors, and the humps along it; empty if they do not allow it."""
    if target.two_valued:
        if target.level is not None and target.level not in probe.codes:
            return {}
        return _two_valued(*along(target, probe, rows), seed)
    codes = rows.judging_codes[:, target.place]
    if target.label.kind == "categorical":
        return _levels(probe, rows.judging, codes)
    known = ~np.isnan(codes)
    return _continuous(probe, rows.judging[known], codes[known].astype(np.float64), seed)


def _two_valued(scores: Values, values: Values, seed: int) -> dict[str, Any]:
    """AUC with its interval, the distance of the means in pooled standard deviations, and the humps."""
    from sklearn.metrics import roc_auc_score

    with_it, without = scores[values == 1], scores[values == 0]
    if min(len(with_it), len(without)) < FEWEST_OF_EACH:
        return {}
    area = float(roc_auc_score(values, scores))
    low, high = auc_interval(area, len(with_it), len(without))
    means = float(with_it.mean()), float(without.mean())
    pooled = np.sqrt((np.sum((with_it - means[0]) ** 2) + np.sum((without - means[1]) ** 2)) / (len(scores) - 2))
    found = {"auc": area, "auc_low": low, "auc_high": high, "sigma_along_probe": (means[0] - means[1]) / pooled}
    if len(scores) >= FEWEST_FOR_HUMPS and len(np.unique(scores)) > FEWEST_OF_EACH:
        share = len(with_it) / len(scores)
        rarer_last = (means[1], means[0]) if share <= 0.5 else means
        found |= {"humps": asdict(humps(scores, min(share, 1 - share), rarer_last, seed))}
    return found


def _levels(probe: Probe, latents: NDArray[Any], codes: NDArray[Any]) -> dict[str, Any]:
    """The mean AUC of the levels of a categorical label, and the mean of their intervals, weighted by their shares."""
    area = probe.auc(latents, codes)
    if area is None:
        return {}
    counts = np.array([np.sum(codes == code) for code in probe.codes])
    known = int(np.sum(~np.isnan(codes)))
    limits = [auc_interval(area, count, known - count) for count in counts.tolist() if 0 < count < known]
    weights = counts[(counts > 0) & (counts < known)]
    low, high = np.average(limits, axis=0, weights=weights).tolist()
    return {"auc": area, "auc_low": low, "auc_high": high}


def _continuous(probe: Probe, latents: NDArray[Any], values: Values, seed: int) -> dict[str, Any]:
    """R^2 with the 2.5 and 97.5 % quantiles of resampled rows."""
    if len(values) < FEWEST_QUERIES or not values.std():
        return {}
    wrong = values - probe.scores(latents)[:, 0]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    spread = values[drawn].var(axis=1)
    again = 1 - np.mean(wrong[drawn] ** 2, axis=1)[spread > 0] / spread[spread > 0]
    low, high = np.quantile(again, [0.025, 0.975]).tolist()
    return {"r2": float(1 - np.mean(wrong**2) / values.var()), "r2_low": low, "r2_high": high}


def neighbour_places(rows: Judged, whitening: Whitening) -> dict[str, NDArray[np.int64]]:
    """(m, 10) the nearest train rows of judging rows, by Euclidean distance of latent vectors and of whitened ones."""
    k = min(NEIGHBOURS, len(rows.latents))
    pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "latent": (rows.judging, rows.latents),
        "whitened": (whitening.forward(rows.judging), whitening.forward(rows.latents)),
    }
    return {name: nearest_neighbours(queries, points, k).indices for name, (queries, points) in pairs.items()}


def purity(target: Target, rows: Judged, places: NDArray[np.int64]) -> dict[str, Any]:
    """How often neighbours share what a judging row has, of a two-valued or categorical target.

    ``purity`` is the mean share of the neighbours that have the target, over the rows that have it (of a categorical
    label: that have the row's level, over all rows); ``base_rate`` its share among the train rows. ``by_chance`` is the
    purity to expect if the judging rows' values are permuted: it differs from the base rate where some vectors
    are neighbours of many others. ``gain`` is (purity - by_chance) / (1 - by_chance).
    """
    values, own = target.values(rows.codes), target.values(rows.judging_codes)
    near = values[places]
    answered = ~np.isnan(own) & ~np.isnan(near).all(axis=1)
    if not answered.any():
        return {}
    near, own, known = near[answered], own[answered], values[~np.isnan(values)]
    if target.two_valued:
        shares = np.nanmean(near, axis=1)
        mine, chance, base = shares[own == 1], float(shares.mean()), float(known.mean())
    else:
        wanted, there = np.unique(own, return_counts=True)
        mine = np.nanmean(np.where(np.isnan(near), np.nan, near == own[:, np.newaxis]), axis=1)
        weights = there / len(own)
        means = [np.nanmean(np.where(np.isnan(near), np.nan, near == level)) for level in wanted]
        chance, base = float(weights @ means), float(weights @ [np.mean(known == level) for level in wanted])
    if len(mine) < FEWEST_QUERIES or chance >= 1:
        return {}
    mean, error = float(mine.mean()), float(mine.std(ddof=1) / np.sqrt(len(mine)))
    return {
        "purity": mean,
        "low": max(0.0, mean - Z * error),
        "high": min(1.0, mean + Z * error),
        "base_rate": base,
        "by_chance": chance,
        "gain": (mean - chance) / (1 - chance),
    }


def verdict_of(found: dict[str, Any]) -> str | None:
    """``cluster``, ``strong direction``, ``direction`` or ``no direction``; None if nothing could be judged.

    A cluster has two humps along its probe, and neighbours that are more than half of the way from chance to all, in
    the latent or in the whitened space.
    """
    gains = [found["neighbours"][space]["gain"] for space in found.get("neighbours", {})]
    if found.get("humps", {}).get("two") and max(gains, default=0.0) >= CLUSTERED:
        return "cluster"
    for name, level, strong in (("auc", 0.5, STRONG_AUC), ("r2", 0.0, STRONG_R2)):
        if name in found:
            if found[f"{name}_low"] <= level:
                return "no direction"
            return "strong direction" if found[name] >= strong else "direction"
    return None
