"""The posts' statements, and whether each holds for the latents at hand.

A statement is a claim with the post's own number, a function that judges it from what the sections
measured, and the rule in words. The rules are thresholds on effect sizes, the same for any store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lsampler.reports.analysis.correlations import POST_COUNTS, POST_PAIRS
from lsampler.reports.analysis.gaussianity import EFFECT
from lsampler.reports.analysis.section import percent

__all__ = ["STATEMENTS", "Measured", "Statement", "Verdict", "judge"]

# Of n points Clark-Evans R scatters by 0.52 / sqrt(n): fewer would be called filaments by chance.
ENOUGH = 100
Status = Literal["holds", "differs", "not measurable here"]
POST_TRIMMING = {"1.35": 0.72, "1.45": 0.81, "1.55": 0.88, "1.7": 0.94, "1.8": 0.96}


@dataclass(frozen=True)
class Verdict:
    """One row of the table.

    Attributes:
        key: stable name of the statement.
        post: where it is made.
        statement: what it says.
        theirs: the post's value.
        here: this reference's value; empty if it was not measured.
        status: whether it holds.
        why: a sentence.
    """

    key: str
    post: str
    statement: str
    theirs: str
    here: str
    status: Status
    why: str


class NotMeasuredError(Exception):
    """A value that no section could measure."""


class Measured:
    """What the sections measured, by dotted names."""

    def __init__(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self._sections = sections

    def __getitem__(self, name: str) -> Any:
        """Such as ``components.radius.peak``. Raises NotMeasuredError where it is absent or None."""
        value: Any = self._sections
        for part in name.split("."):
            if not isinstance(value, Mapping) or value.get(part) is None:
                raise NotMeasuredError(name)
            value = value[part]
        return value


Judgement = tuple[str, bool, str]


@dataclass(frozen=True)
class Statement:
    """A statement of the posts: see :class:`Verdict`; ``judge`` gives value, truth, and why."""

    key: str
    post: str
    statement: str
    theirs: str
    judge: Callable[[Measured], Judgement]


def judge(sections: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str]) -> list[Verdict]:
    """Judge all statements; ``problems`` says why a section is absent."""
    measured = Measured(sections)
    verdicts = []
    for s in STATEMENTS:
        status: Status
        try:
            here, true, why = s.judge(measured)
            status = "holds" if true else "differs"
        except NotMeasuredError as error:
            section = str(error).split(".", 1)[0]
            here, status = "", "not measurable here"
            why = problems.get(section, f"The section '{section}' has no such value for this reference.")
        verdicts.append(Verdict(s.key, s.post, s.statement, s.theirs, here, status, why))
    return verdicts


def _centred(m: Measured) -> Judgement:
    share = m["components.share_centred_near_zero"]
    why = "Holds if three quarters of the components have |mean| below a quarter of the median half-width."
    return f"{percent(share)} of the components near zero", share >= 0.75, why


def _dominant(m: Measured) -> Judgement:
    count, dimension = len(m["components.dominant"]), m["components.dimension"]
    why = "Holds if between one component and a fifth of them stand out by three robust standard deviations."
    return f"{count} of {dimension}", 1 <= count <= dimension / 5, why


def _one_region(m: Measured) -> Judgement:
    share = min(m["components.share_single_peaked"], m["principal.share_single_peaked"])
    why = "Holds if every density of components and principal components has one peak; a cluster of a fifth gives two."
    return f"{percent(share)} of all densities have one peak", share == 1.0, why


def _off_centre(m: Measured) -> Judgement:
    sigmas = m["origin.position.sigmas_along_centre"]
    why = "Holds if the centre is more than one sigma from the origin, measured along the line that joins them."
    return f"{sigmas:.1f} sigma", sigmas > 1, why


def _radius_peak(m: Measured) -> Judgement:
    peak, expected = m["components.radius.peak"], m["components.radius.expected"]
    why = "Holds if the peak is within 10 % of sqrt(sum(mu^2 + sigma^2))."
    return f"peak {peak:.2f}, expected {expected:.2f}", abs(peak / expected - 1) <= 0.1, why


def _radius_root(m: Measured) -> Judgement:
    peak, root = m["components.radius.peak"], m["components.radius.sqrt_dimension"]
    why = "Holds if the peak is within 10 % of sqrt(D): that needs components of sigma 1 around zero."
    return f"peak {peak:.2f}, sqrt(D) = {root:.2f}", abs(peak / root - 1) <= 0.1, why


def _shell(m: Measured) -> Judgement:
    low, peak = m["components.radius.minimum"], m["components.radius.peak"]
    above = m["components.radius.share_above_twice_peak"]
    why = "Holds if no vector is shorter than a third of the peak and fewer than 1 % are twice as long."
    here = f"shortest {low / peak:.2f} of the peak, {percent(above, 2)} above twice the peak"
    return here, low > peak / 3 and above < 0.01, why


def _few_strong(m: Measured) -> Judgement:
    share = m["correlations.shares"][4]
    why = "Holds if at most 0.5 % of all pairs have |r| above 0.5, yet some have."
    return (
        f"{m['correlations.counts'][4]:,} of {m['correlations.pairs']:,} pairs ({percent(share, 2)})",
        0 < share <= 0.005,
        why,
    )


def _many_weak(m: Measured) -> Judgement:
    share, theirs = m["correlations.shares"][0], POST_COUNTS[0] / POST_PAIRS
    why = "Holds if the share of pairs with |r| above 0.1 is within a factor of 3 of the post's."
    return f"{percent(share, 1)} of all pairs", theirs / 3 <= share <= theirs * 3, why


def _strongest(m: Measured) -> Judgement:
    largest = abs(m["correlations.largest"])
    why = "Holds if the strongest correlation is at least 0.5 in size."
    return f"|r| = {largest:.2f}", largest >= 0.5, why


def _dominant_correlate(m: Measured) -> Judgement:
    share = m["correlations.share_of_strong_pairs_with_a_dominant_component"]
    why = "Holds if half of the pairs above the threshold contain a dominant component."
    return f"{percent(share)} of the strong pairs", share >= 0.5, why


def _slice(m: Measured) -> Judgement:
    most, n = max(row[0] for row in m["origin.counts"]), m["origin.vectors"]
    half_side = m["origin.half_sides"][0]
    why = "Holds if the fullest of the slices holds less than 1 % of the vectors."
    return f"at most {most} of {n:,} (b = {half_side:g})", most < 0.01 * n, why


def _border(m: Measured) -> Judgement:
    beyond = m["origin.position.share_beyond"]
    why = "Holds if fewer than 5 % of the vectors lie beyond the origin, seen from the centre."
    return f"{percent(beyond, 2)} of the vectors lie beyond it", beyond < 0.05, why


def _matching_b(m: Measured) -> Judgement:
    relative = m["cubes.matching_b.measured"] / m["cubes.rms_component"]
    why = "Holds if the measured b is 1.3 to 1.9 times the root mean square of a component; mathematics says sqrt(3)."
    return f"b = {m['cubes.matching_b.measured']:.2f}, {relative:.2f} times that", 1.3 <= relative <= 1.9, why


def _thin_shell(m: Measured) -> Judgement:
    cube = m["cubes.cubes"][-1]
    spread, data = cube["std_radius"] / cube["mean_radius"], m["components.radius.std"] / m["components.radius.mean"]
    why = "Holds if the radii of a cube spread by less than 10 % of their mean, and by less than half of the data's."
    return f"{percent(spread, 1)} of the mean (data: {percent(data, 1)})", spread < 0.1 and spread < data / 2, why


def _cube_misses(m: Measured) -> Judgement:
    inside = min(m["cubes.cubes"][-1]["inside"].values(), default=None)
    if inside is None:
        raise NotMeasuredError("cubes.inside")
    why = "Holds if fewer than 5 % of the vectors of the cube that matches are inside every core."
    return f"at most {percent(inside, 1)} inside the strictest core", inside < 0.05, why


def _intervals_miss(m: Measured) -> Judgement:
    shares = m["generated.inside.component-uniform"]
    inside = min(value["share"] for value in shares.values())
    why = "Holds if some core leaves out half of the vectors of component-uniform."
    return f"{percent(inside, 1)} inside the strictest core", inside < 0.5, why


def _gaussian_components(m: Measured) -> Judgement:
    ks = m["gaussianity.ks"]
    limit = EFFECT + 2 * m["gaussianity.lilliefors_critical"]
    share = sum(value <= limit for value in ks) / len(ks)
    why = "Holds if the KS distance from a normal is at most 0.05 (and chance) for nine in ten components."
    return f"{percent(share)} of the components", share >= 0.9, why


def _pair_two(m: Measured) -> Judgement:
    mean = m["gaussianity.ellipses.mean"][1]
    why = "Holds if the mean over all pairs is between 70 and 90 %; a normal has 86.5 % whatever the eccentricity."
    low, high = m["gaussianity.ellipses.lowest"][1], m["gaussianity.ellipses.highest"][1]
    return f"{percent(mean, 1)} ({percent(low, 1)} to {percent(high, 1)})", 0.7 <= mean <= 0.9, why


def _pair_three(m: Measured) -> Judgement:
    mean = m["gaussianity.ellipses.mean"][2]
    why = "Holds if the mean over all pairs is at least 97 %; a normal has 98.9 %."
    return f"{percent(mean, 1)}", mean >= 0.97, why


def _elliptic(m: Measured) -> Judgement:
    worst = min(pair["ellipticity"][0] for pair in m["gaussianity.pairs"])
    why = "Holds if the densest 39 % overlap the ellipse by 80 % or more, in each of the pairs shown."
    return f"overlap at least {percent(worst)}", worst >= 0.8, why


def _joint(m: Measured) -> Judgement:
    joint = m["gaussianity.ellipses.joint"][1]
    why = "Holds if 70 % of the vectors are inside the 2-sigma ellipses of all pairs at once."
    return f"{percent(joint, 1)} inside all of them", joint >= 0.7, why


def _normal(m: Measured) -> Judgement:
    normal = m["gaussianity.normal"]
    radii = m["gaussianity.mahalanobis"]
    largest = max(m["gaussianity.largest_ks"], m["gaussianity.largest_ks_principal"])
    why = (
        "Holds if no component, principal component, or the Mahalanobis radius differs from a normal by a KS distance "
        "above 0.05 (and chance). A wider radius means heavy tails that all components share."
    )
    here = (
        f"largest KS of a component {largest:.3f}, of the radius {radii['ks']:.3f}; radius "
        f"{radii['q05']:.1f} to {radii['q95']:.1f} (normal: {radii['normal_q05']:.1f} to {radii['normal_q95']:.1f})"
    )
    return here, bool(normal), why


def _eighty(m: Measured) -> Judgement:
    count, dimension = m["principal.components_for"]["0.80"], m["components.dimension"]
    why = "Holds if 80 % of the variance needs 30 to 60 % of the components."
    return f"{count} of {dimension} ({percent(count / dimension)})", 0.3 <= count / dimension <= 0.6, why


def _first_fifteen(m: Measured) -> Judgement:
    share = m["principal.share_of_first_15"]
    why = "Holds if the first 15 components explain between 10 and 50 %."
    return f"{percent(share)} of the variance", 0.1 <= share <= 0.5, why


def _one_dominant_axis(m: Measured) -> Judgement:
    ratios = m["principal.explained_variance_ratio"]
    if len(ratios) < 2 or ratios[1] == 0:
        raise NotMeasuredError("principal.explained_variance_ratio")
    ratio = ratios[0] / ratios[1]
    why = "Holds if the first principal component has at least 1.5 times the variance of the second."
    return f"{ratio:.2f} times the second", ratio >= 1.5, why


def _diagonal(m: Measured) -> Judgement:
    largest = m["principal.largest_off_diagonal"]
    why = "Holds if the largest off-diagonal correlation is below 2e-7."
    return f"{largest:.0e}", largest < 2e-7, why


def _principal_gaussian(m: Measured) -> Judgement:
    ks = m["principal.ks"]
    share = sum(value <= EFFECT + 2 * m["gaussianity.lilliefors_critical"] for value in ks) / len(ks)
    why = "Holds if the KS distance from a normal is at most 0.05 (and chance) for nine in ten components."
    return f"{percent(share)} of the components", share >= 0.9, why


def _principal_centred(m: Measured) -> Judgement:
    offset = m["principal.largest_fit_centre"]
    why = "Holds if every fitted Gaussian is centred within 0.25 sigma of zero."
    return f"at most {offset:.2f} sigma off", offset <= 0.25, why


def _upright(m: Measured) -> Judgement:
    correlation = m["principal.median_inner_correlation"]
    worst = m["principal.largest_inner_correlation"]
    why = "Holds if the inner core's own correlation is below 0.1 for half of the leading pairs."
    return f"inner |r| {correlation:.2f} (median), {worst:.2f} (worst)", correlation < 0.1, why


def _survivors(m: Measured) -> Judgement:
    rows = m["principal.trimming"]
    found = {f"{row['trim']:g}": row["share"] for row in rows}
    if set(found) != set(POST_TRIMMING):
        raise NotMeasuredError("principal.trimming")
    far = max(abs(found[t] - share) for t, share in POST_TRIMMING.items())
    why = "Holds if every share is within 5 points of the post's."
    return " / ".join(f"{100 * found[t]:.0f}" for t in POST_TRIMMING) + " %", far <= 0.05, why


def _trimming_aligns(m: Measured) -> Judgement:
    rows = {f"{row['trim']:g}": row["pairs"][0] for row in m["principal.trimming"]}
    if "1.35" not in rows or "1.8" not in rows:
        raise NotMeasuredError("principal.trimming")
    tight, loose = abs(rows["1.35"]["inner_correlation"]), abs(rows["1.8"]["inner_correlation"])
    why = "Holds if the inner correlation of pair (2, 3) is smaller at t = 1.35 than at 1.8, or below 0.05 at both."
    return f"inner |r| {loose:.2f} at 1.8, {tight:.2f} at 1.35", tight < loose or max(tight, loose) < 0.05, why


def _ellipse_vectors(m: Measured) -> Judgement:
    shares = m["generated.planes.pca-ellipse"]
    why = "Holds if 99 % of the vectors of pca-ellipse are inside the 2.2-sigma ellipse of each of the planes shown."
    return f"{percent(min(shares), 1)} in the worst plane", min(shares) >= 0.99, why


def _ellipse_inside(m: Measured) -> Judgement:
    shares = m["generated.inside.pca-ellipse"]
    inside = min(value["share"] for value in shares.values())
    why = "Holds if at least 90 % of the vectors of pca-ellipse are inside every core."
    return f"{percent(inside, 1)} inside the strictest core", inside >= 0.9, why


def _filaments(m: Measured) -> Judgement:
    finest = min(row["half_side_sigma"] for row in m["filaments.planes"])
    rows = [
        row
        for row in m["filaments.planes"]
        if row["half_side_sigma"] == finest and row["rank"] and row["points"] >= ENOUGH
    ]
    if not rows:
        raise NotMeasuredError("filaments.planes")
    lowest = min(rows, key=lambda row: row["clark_evans"] / row["normal_clark_evans"])
    ratio = lowest["clark_evans"] / lowest["normal_clark_evans"]
    closest_of_all = lowest["rank"] * (1 + lowest["normal_samples"]) < 1.5
    why = "Holds if in a smallest window neighbours are closer than in all normal samples, by a fifth: chance shows "
    return f"{percent(ratio)} of a normal sample's distance", ratio < 0.8 and closest_of_all, why + "lines too."


def _one_dimensional(m: Measured) -> Judgement:
    data = m["filaments.neighbours.data.two_nn_dimension"]
    normal = m["filaments.neighbours.normal.two_nn_dimension"]
    why = "Holds if the intrinsic dimension is below 2 and below half of a normal sample's."
    return f"intrinsic dimension {data:.1f} (normal sample: {normal:.1f})", data < 2 and data < normal / 2, why


def _tsne(m: Measured) -> Judgement:
    ratio = min(row["clark_evans"] / row["normal_clark_evans"] for row in m["tsne.maps"])
    why = "Holds if points of some map are closer together than 80 % of those of the normal sample's map."
    return f"{percent(ratio)} of the normal sample's distance", ratio < 0.8, why


STATEMENTS: Sequence[Statement] = (
    Statement("centred-components", "filaments; III", "Most components peak close to zero.", "most of 256", _centred),
    Statement("few-dominant", "III", "A few components dominate, far from zero or wide.", "20 of 256", _dominant),
    Statement("one-region", "VI, VIII", "The vectors fill one coherent region.", "one region", _one_region),
    Statement("off-centre", "III", "The centre of the region lies off the origin.", "off the origin", _off_centre),
    Statement(
        "radius-from-moments",
        "filaments",
        "The radius density peaks where the components' means and widths put it.",
        "peak 16.5",
        _radius_peak,
    ),
    Statement("radius-sqrt-d", "filaments", "That is near sqrt(D).", "16.5 beside 16", _radius_root),
    Statement(
        "radius-shell",
        "filaments",
        "Neither the origin's surroundings nor radii above twice the peak hold vectors.",
        "none above 32, peak 16.5",
        _shell,
    ),
    Statement("few-strong-pairs", "III", "Only few pairs correlate above 0.5.", "16 of 32,640 (0.05 %)", _few_strong),
    Statement("weak-pairs", "III", "Some correlate above 0.1.", "1,456 of 32,640 (4.5 %)", _many_weak),
    Statement("strongest-pair", "III", "The strongest correlations are strong.", "|r| = 0.85", _strongest),
    Statement(
        "dominant-pairs",
        "III",
        "The strong pairs are mostly those of dominant components.",
        "all of 16 pairs contain one",
        _dominant_correlate,
    ),
    Statement("empty-slice", "IV", "Flat slices around the origin are nearly empty.", "56 of 80,000 (0.07 %)", _slice),
    Statement("border", "III, IV", "The origin lies at the border of the region.", "at the border", _border),
    Statement(
        "matching-b",
        "V",
        "A cube of b = 1.5 times the root mean square of a component has the right radius.",
        "1.5, at a radius of 16.5: 1.45 times",
        _matching_b,
    ),
    Statement("thin-shell", "V", "Uniform vectors fill only a thin shell.", "thin", _thin_shell),
    Statement("cubes-miss", "V", "Uniform cubes miss the region even at the best b.", "hardly a face", _cube_misses),
    Statement(
        "intervals-miss",
        "VII",
        "Component-wise intervals ignore correlations, and vectors leave the region.",
        "disturbed faces",
        _intervals_miss,
    ),
    Statement(
        "gaussian-components",
        "VIII",
        "Gaussians fit the density of every component.",
        "all, roughly",
        _gaussian_components,
    ),
    Statement("two-sigma", "VIII", "A pair's 2-sigma ellipse holds 70 to 90 %.", "70 to 90 %", _pair_two),
    Statement("three-sigma", "VIII", "A pair's 3-sigma ellipse holds 97 % or more.", "97 % or more", _pair_three),
    Statement("elliptic-contours", "VIII", "Contours of pairs are ellipses.", "to first order", _elliptic),
    Statement(
        "joint-ellipses",
        "VIII, X",
        "The 2-sigma ellipses of all pairs together bound the core of the data.",
        "not counted",
        _joint,
    ),
    Statement("multivariate-normal", "VIII, IX", "The whole is a multivariate normal.", "roughly", _normal),
    Statement("variance-80", "IX", "Nearly half of the components explain 80 %.", "120 of 256 (47 %)", _eighty),
    Statement("first-15", "IX", "The first 15 components matter but do not dominate.", "significant", _first_fifteen),
    Statement("dominant-axis", "filaments", "One principal component dominates.", "one", _one_dominant_axis),
    Statement("diagonal", "IX", "The PCA diagonalises the correlation matrix.", "below 2e-7", _diagonal),
    Statement(
        "gaussian-principal",
        "IX",
        "Principal components are Gaussian too.",
        "all, roughly",
        _principal_gaussian,
    ),
    Statement("centred-principal", "IX", "Their Gaussians are centred at zero.", "very close", _principal_centred),
    Statement(
        "upright-ellipses",
        "IX",
        "Contours of leading pairs lie along the principal axes.",
        "most; not (2, 3), (2, 7), (3, 7)",
        _upright,
    ),
    Statement(
        "trimming-survivors",
        "IX",
        "Trimming at 1.35 / 1.45 / 1.55 / 1.7 / 1.8 half-widths keeps",
        "72 / 81 / 88 / 94 / 96 %",
        _survivors,
    ),
    Statement(
        "trimming-aligns",
        "IX",
        "Trimming outliers turns the inner core of pair (2, 3) upright.",
        "aligned for t of 1.35 to 1.55",
        _trimming_aligns,
    ),
    Statement(
        "ellipse-planes",
        "X",
        "Vectors of pca-ellipse lie inside the confidence ellipses of the planes.",
        "all of 20, at 2.2 sigma",
        _ellipse_vectors,
    ),
    Statement("ellipse-inside", "X", "They lie inside the region of the data.", "all", _ellipse_inside),
    Statement(
        "filaments",
        "filaments (withdrawn)",
        "Zoomed in, the vectors lie on lines around voids.",
        "lines and voids",
        _filaments,
    ),
    Statement(
        "one-dimensional",
        "filaments (withdrawn)",
        "The filaments are one-dimensional, like strings.",
        "one-dimensional",
        _one_dimensional,
    ),
    Statement("tsne-voids", "filaments (withdrawn)", "t-SNE shows voids and strings.", "voids at all scales", _tsne),
)
