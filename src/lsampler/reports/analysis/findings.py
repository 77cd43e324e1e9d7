"""What an analysis found, in five plain sentences, and which strategies that suggests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsampler.reports.analysis.section import percent
from lsampler.reports.analysis.statements import Measured, NotMeasuredError

FAR_SIGMAS = 3.0
CORRELATED = 0.2
"""Above this the strongest correlation is one that a strategy must not ignore."""
WIDER = 1.2
"""Radii are called heavy-tailed if their 5 to 95 % range is so many times as wide as a normal's."""


@dataclass(frozen=True)
class Finding:
    """One of the five findings.

    Attributes:
        key: ``spread``, ``shape``, ``correlation``, ``tails`` or ``clusters``.
        text: what was measured, in a sentence.
        meaning: what that means for sampling, in a sentence.
        telling: whether it is what a plain multivariate normal would not show.
    """

    key: str
    text: str
    meaning: str
    telling: bool = False


def find(sections: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """The findings, of the five, that the measured sections allow."""
    measured, found = Measured(sections), []
    for write in (_spread, _shape, _correlation, _tails, _clusters):
        try:
            found.append(write(measured))
        except NotMeasuredError:
            continue
    return found


def suggest(findings: Sequence[Finding]) -> list[str]:
    """Which strategies the findings suggest, and why, in at most three sentences."""
    telling = {finding.key: finding.telling for finding in findings}
    lines = []
    if telling.get("clusters"):
        lines.append("Try gaussian-mixture (covariance=full) and flow, which can follow separate clusters.")
    elif telling.get("tails"):
        lines.append(
            "Try elliptical, which draws the radius from the data, and gaussian-mixture, whose components may be "
            "narrow and wide; a multivariate normal has too few vectors near the centre and far out."
        )
    elif telling.get("shape"):
        lines.append("Try gaussian-copula, which keeps the distribution of every component, and gaussian-mixture.")
    elif "tails" in telling and "shape" in telling:
        lines.append("Try multivariate-normal: nothing here differs from a normal.")
    if telling.get("correlation"):
        lines.append("Do not use component-uniform or gaussian, which ignore correlations.")
    if lines:
        lines.append("The command lsampler compare scores them on these vectors, and lsampler choose picks one.")
    return lines


def _spread(m: Measured) -> Finding:
    sigmas, needed = m["origin.position.sigmas_along_centre"], m["principal.components_for"]["0.80"]
    dimension = m["components.dimension"]
    away = sigmas > FAR_SIGMAS
    return Finding(
        "spread",
        f"The vectors lie around a centre that is {sigmas:.1f} sigma from the origin, and {needed} of {dimension} "
        "principal components carry 80 % of their variance.",
        "Random vectors around the origin miss them; a strategy must learn where they are."
        if away
        else "The origin lies among them, and they spread more in some directions than in others."
        if needed < 0.7 * dimension
        else "The origin lies among them, and they spread about equally in all directions.",
        away,
    )


def _shape(m: Measured) -> Finding:
    median, largest, share = m["gaussianity.median_ks"], m["gaussianity.largest_ks"], m["gaussianity.share_near_normal"]
    return Finding(
        "shape",
        f"{percent(share)} of the components look normal one by one: their cumulative distributions differ from "
        f"normals by {median:.3f} (median) and by at most {largest:.3f}.",
        "Single components give no reason to look beyond normals."
        if share >= 0.9
        else "Intervals and normals of single components are crude; their own distributions should be kept.",
        share < 0.9,
    )


def _correlation(m: Measured) -> Finding:
    strongest, share = abs(m["correlations.largest"]), m["correlations.shares.0"]
    linked = strongest >= CORRELATED
    return Finding(
        "correlation",
        f"The strongest correlation of two components is {strongest:.2f} in size, and {percent(share, 1)} of all pairs "
        "correlate above 0.1.",
        "Components must not be drawn independently." if linked else "Components are hardly correlated.",
        linked,
    )


def _tails(m: Measured) -> Finding:
    radii = m["gaussianity.mahalanobis"]
    own, normal = radii["q95"] - radii["q05"], radii["normal_q95"] - radii["normal_q05"]
    wider = own > WIDER * normal
    return Finding(
        "tails",
        f"Distances from the centre, all components together, run from {radii['q05']:.1f} to {radii['q95']:.1f} sigma "
        f"(5 to 95 %), where those of a normal run from {radii['normal_q05']:.1f} to {radii['normal_q95']:.1f}.",
        "The whole is no normal: many vectors are nearer to the centre, and many farther out, than a normal would "
        "have them."
        if wider
        else "As a whole the vectors are as far from their centre as those of a normal.",
        wider,
    )


def _clusters(m: Measured) -> Finding:
    groups, separation = m["gaussianity.clusters.groups"], m["gaussianity.clusters"]["separation"]
    peaks = min(m["components.share_single_peaked"], m["principal.share_single_peaked"])
    found = groups > 1
    text = f"{percent(peaks)} of the components and principal components have a single peak, "
    if found:
        text += (
            f"and a mixture of {groups} normals describes the vectors better than one: the two nearest of them lie "
            f"{separation:.1f} sigma apart."
        )
        meaning = "There are clusters, and a single normal fills the gaps between them."
    else:
        text += "and no mixture of normals that lie two sigma apart describes the vectors better than one."
        meaning = "There is one coherent region, without clusters."
    return Finding("clusters", text, meaning, found)
