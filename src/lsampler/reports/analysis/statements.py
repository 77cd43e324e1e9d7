"""The statements of the posts, and whether each holds for the latents at hand.

The rules are thresholds on effect sizes, the same for every store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lsampler.reports.analysis.sections.correlations import POST_COUNTS, POST_PAIRS

# The Clark-Evans R of n random points scatters by 0.52 / sqrt(n): fewer points would look like filaments by chance.
ENOUGH_POINTS = 100
POST_WEAK = POST_COUNTS[0] / POST_PAIRS
FAR_OUTSIDE = 4.0
"""Sigma beyond which the origin is not at the border of the region, but outside."""
TO_BE_TURNED = 0.1
UPRIGHT = 0.05


Status = Literal["holds", "differs", "answered", "not applicable", "not measured"]
Quantity = Callable[["Measured"], Sequence[Any]]


@dataclass(frozen=True)
class Judgement:
    """Whether one statement of the posts holds.

    Attributes:
        key: stable name of the statement.
        post: where it is made.
        statement: what it says.
        theirs: the post's value.
        here: the value for these latents; empty if it was not measured, or if the statement has no object here.
        status: whether it holds; ``answered`` of a question; ``not applicable`` if the statement speaks of something
            that these latents lack.
        why: the rule in a sentence, or why nothing was measured or nothing can be judged.
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


class NotApplicableError(Exception):
    """A statement has no object here; the message says why."""


class Measured:
    """What the sections measured, by dotted names such as ``components.radius.peak`` or ``correlations.counts.4``."""

    def __init__(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self._sections = sections

    def __getitem__(self, name: str) -> Any:
        """The value. Raises NotMeasuredError if it is absent or None."""
        value: Any = self._sections
        for key in name.split("."):
            value = value[int(key)] if isinstance(value, list) else value.get(key)
            if value is None:
                raise NotMeasuredError(name)
        return value


@dataclass(frozen=True)
class Statement:
    """A row of the table below: a rule holds for the numbers of a quantity or not; ``here`` formats the numbers."""

    key: str
    post: str
    text: str
    theirs: str
    quantity: Quantity
    rule: Callable[..., bool]
    here: str
    why: str
    question: bool = False


def judge(sections: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str]) -> list[Judgement]:
    """Judge all statements; ``problems`` says why a section is absent."""
    measured = Measured(sections)
    judgements = []
    for s in STATEMENTS:
        status: Status
        try:
            numbers = s.quantity(measured)
            here, why = s.here.format(*numbers).replace("%", " %"), s.why
            status = "answered" if s.question else "holds" if s.rule(*numbers) else "differs"
        except NotApplicableError as error:
            here, status, why = "", "not applicable", str(error)
        except NotMeasuredError as error:
            section = str(error).split(".", 1)[0]
            here, status = "", "not measured"
            why = problems.get(section, f"The section '{section}' has no such value for this reference.")
        judgements.append(Judgement(s.key, s.post, s.text, s.theirs, here, status, why))
    return judgements


def of(*names: str) -> Quantity:
    """Measured numbers as they are."""
    return lambda m: [m[name] for name in names]


def at_the_border(m: Measured) -> Sequence[Any]:
    """The share of vectors beyond the origin, where it is near enough to the region to be at its border."""
    beyond, sigmas = m["origin.position.share_beyond"], m["origin.position.sigmas_along_centre"]
    if sigmas > FAR_OUTSIDE:
        raise NotApplicableError(
            f"The origin lies {sigmas:.1f} sigma from the centre: that is far outside of the region, and not at its "
            "border."
        )
    return [beyond]


def of_strong_pairs(m: Measured) -> Sequence[Any]:
    """The share of strong pairs with a dominant component, if there are strong pairs."""
    threshold = m["correlations.threshold"]
    if not m["correlations.strong_pairs"]:
        raise NotApplicableError(f"No pair of components correlates above {threshold:g}.")
    return [m["correlations.share_of_strong_pairs_with_a_dominant_component"]]


def uprightness(m: Measured) -> Sequence[Any]:
    """The correlations inside the cores of leading pairs, if components correlate before the PCA."""
    inner = [m["principal.median_inner_correlation"], m["principal.largest_inner_correlation"]]
    strongest = abs(m["correlations.largest"])
    if strongest < TO_BE_TURNED:
        raise NotApplicableError(
            f"No two components correlate by more than {strongest:.2f}, so there was nothing that a PCA could turn."
        )
    return inner


def turned_by_trimming(m: Measured) -> Sequence[Any]:
    """The inner correlation of a pair at the loosest and the tightest trim, if it is tilted at one of them."""
    loose, tight = m["principal.inner_at_loosest"], m["principal.inner_at_tightest"]
    if max(loose, tight) < UPRIGHT:
        raise NotApplicableError(
            f"The inner core is upright at every trim, with |r| of at most {max(loose, tight):.2f}: nothing was left "
            "to be turned."
        )
    return [loose, tight]


def normality(m: Measured) -> Sequence[Any]:
    """Whether the latents are called normal, the largest KS distance of a component, and the radii."""
    radii, largest = m["gaussianity.mahalanobis"], ("gaussianity.largest_ks", "gaussianity.largest_ks_principal")
    names = ("ks", "q05", "q95", "normal_q05", "normal_q95")
    return [m["gaussianity.normal"], max(m[name] for name in largest), *(radii[name] for name in names)]


def closest_window(m: Measured) -> Sequence[Any]:
    """Of the finest windows the lowest distance over a normal sample's, and whether all normal samples have more."""
    planes = m["filaments.planes"]
    finest = min(row["half_side_sigma"] for row in planes)
    rows = [
        row for row in planes if row["half_side_sigma"] == finest and row["rank"] and row["points"] >= ENOUGH_POINTS
    ]
    if not rows:
        raise NotMeasuredError("filaments.planes")
    lowest = min(rows, key=lambda row: row["clark_evans"] / row["normal_clark_evans"])
    return [lowest["clark_evans"] / lowest["normal_clark_evans"], lowest["rank"] * (1 + lowest["normal_samples"]) < 1.5]


# A table. Of each statement: key, post, what it says, the post's value; quantity; rule; here; the rule in words.
# fmt: off
STATEMENTS: Sequence[Statement] = (
    Statement("centred-components", "filaments; III", "Most components peak close to zero.", "most of 256",
        of("components.share_centred_near_zero"), lambda share: share >= 0.75, "{:.0%} of the components near zero",
        "Holds if three quarters of the components have |mean| below a quarter of the median half-width."),
    Statement("few-dominant", "III", "A few components dominate: they lie far from zero or are wide.", "20 of 256",
        lambda m: [len(m["components.dominant"]), m["components.dimension"]], lambda count, d: 1 <= count <= d / 5,
        "{} of {}",
        "Holds if at least one component and at most a fifth of them stand out by three robust standard deviations."),
    Statement("one-region", "VI, VIII", "The vectors fill one coherent region.", "one region",
        lambda m: [min(m["components.share_single_peaked"], m["principal.share_single_peaked"])],
        lambda share: share == 1.0, "{:.0%} of all densities have one peak",
        "Holds if every density of components and principal components has one peak; a cluster of a fifth adds one."),
    Statement("off-centre", "III", "The centre of the region lies off the origin.", "off the origin",
        of("origin.position.sigmas_along_centre"), lambda sigmas: sigmas > 1, "{:.1f} sigma",
        "Holds if the centre is more than one sigma from the origin, measured along the line that joins them."),
    Statement("radius-from-moments", "filaments",
        "The radius density peaks where the components' means and widths put it.", "peak 16.5",
        of("components.radius.peak", "components.radius.expected"),
        lambda peak, expected: abs(peak / expected - 1) <= 0.1, "peak {:.2f}, expected {:.2f}",
        "Holds if the peak is within 10 % of sqrt(sum(mu^2 + sigma^2))."),
    Statement("radius-sqrt-d", "filaments", "That peak is near sqrt(D).", "16.5, where sqrt(D) is 16",
        of("components.radius.peak", "components.radius.sqrt_dimension"),
        lambda peak, root: abs(peak / root - 1) <= 0.1, "peak {:.2f}, sqrt(D) = {:.2f}",
        "Holds if the peak is within 10 % of sqrt(D), which needs components of sigma 1 around zero."),
    Statement("radius-shell", "filaments",
        "Neither the surroundings of the origin nor radii above twice the peak hold vectors.",
        "none above 32, peak 16.5",
        lambda m: [m["components.radius.minimum"] / m["components.radius.peak"],
                   m["components.radius.share_above_twice_peak"]],
        lambda low, above: low > 1 / 3 and above < 0.01, "shortest {:.2f} of the peak, {:.2%} above twice the peak",
        "Holds if no vector is shorter than a third of the peak and fewer than 1 % are twice as long."),
    Statement("few-strong-pairs", "III", "Only few pairs correlate above 0.5.", "16 of 32,640 (0.05 %)",
        of("correlations.counts.4", "correlations.pairs", "correlations.shares.4"),
        lambda count, pairs, share: 0 < share <= 0.005, "{:,} of {:,} pairs ({:.2%})",
        "Holds if at least one pair and at most 0.5 % of all pairs have |r| above 0.5."),
    Statement("weak-pairs", "III", "Some pairs correlate above 0.1.", "1,456 of 32,640 (4.5 %)",
        of("correlations.shares.0"), lambda share: POST_WEAK / 3 <= share <= POST_WEAK * 3, "{:.1%} of all pairs",
        "Holds if the share of pairs with |r| above 0.1 is within a factor of 3 of the post's."),
    Statement("strongest-pair", "III", "The strongest correlations are strong.", "|r| = 0.85",
        lambda m: [abs(m["correlations.largest"])], lambda largest: largest >= 0.5, "|r| = {:.2f}",
        "Holds if the strongest correlation is at least 0.5 in size."),
    Statement("dominant-pairs", "III", "The strong pairs are mostly those of dominant components.",
        "all of 16 pairs contain one", of_strong_pairs,
        lambda share: share >= 0.5, "{:.0%} of the strong pairs",
        "Holds if half of the pairs above the threshold contain a dominant component."),
    Statement("empty-slice", "IV", "Flat slices around the origin are nearly empty.", "56 of 80,000 (0.07 %)",
        lambda m: [max(row[0] for row in m["origin.counts"]), m["origin.vectors"], m["origin.half_sides"][0]],
        lambda most, n, b: most < 0.01 * n, "at most {} of {:,} (b = {:g})",
        "Holds if the fullest of the slices holds less than 1 % of the vectors."),
    Statement("border", "III, IV", "The origin lies at the border of the region.", "at the border",
        at_the_border, lambda beyond: beyond < 0.05, "{:.2%} of the vectors lie beyond it",
        "Holds if fewer than 5 % of the vectors lie beyond the origin, seen from the centre, which is at most 4 sigma "
        "away."),
    Statement("matching-b", "V", "A cube of b = 1.5 times the root mean square of a component has the right radius.",
        "1.5, at a radius of 16.5: 1.45 times",
        lambda m: [m["cubes.matching_b.measured"], m["cubes.matching_b.measured"] / m["cubes.rms_component"]],
        lambda b, relative: 1.3 <= relative <= 1.9, "b = {:.2f}, {:.2f} times that",
        "Holds if the measured b is 1.3 to 1.9 times the root mean square of a component; the exact one is sqrt(3)."),
    Statement("thin-shell", "V", "Uniform vectors fill only a thin shell.", "thin",
        lambda m: [m["cubes.cubes"][-1]["std_radius"] / m["cubes.cubes"][-1]["mean_radius"],
                   m["components.radius.std"] / m["components.radius.mean"]],
        lambda spread, data: spread < 0.1 and spread < data / 2, "{:.1%} of the mean (data: {:.1%})",
        "Holds if the radii of a cube spread by less than 10 % of their mean, and by less than half of the data's. The "
        "first is true of any cube in 25 dimensions or more."),
    Statement("cubes-miss", "V", "Uniform cubes miss the region even at the best b.", "hardly a face",
        of("cubes.matching_b.strictest_share"), lambda share: share < 0.05, "at most {:.1%} inside the strictest core",
        "Holds if some core contains fewer than 5 % of the vectors of the cube that matches."),
    Statement("intervals-miss", "VII", "Component-wise intervals ignore correlations, and vectors leave the region.",
        "disturbed faces", of("generated.strictest.component-uniform"), lambda inside: inside < 0.5,
        "{:.1%} inside the strictest core",
        "Holds if some core leaves out half of the vectors of component-uniform."),
    Statement("gaussian-components", "VIII", "Gaussians fit the density of every component.", "all, roughly",
        of("gaussianity.share_near_normal"), lambda share: share >= 0.9, "{:.0%} of the components",
        "Holds if the KS distance from a normal is at most 0.05 (plus chance) for nine in ten components."),
    Statement("two-sigma", "VIII", "The 2-sigma ellipse of a pair holds 70 to 90 %.", "70 to 90 %",
        of("gaussianity.ellipses.mean.1", "gaussianity.ellipses.lowest.1", "gaussianity.ellipses.highest.1"),
        lambda mean, low, high: 0.7 <= mean <= 0.9, "{:.1%} ({:.1%} to {:.1%})",
        "Holds if the mean over all pairs is between 70 and 90 %; a normal has 86.5 % whatever the eccentricity."),
    Statement("three-sigma", "VIII", "The 3-sigma ellipse of a pair holds 97 % or more.", "97 % or more",
        of("gaussianity.ellipses.mean.2"), lambda mean: mean >= 0.97, "{:.1%}",
        "Holds if the mean over all pairs is at least 97 %; a normal has 98.9 %."),
    Statement("elliptic-contours", "VIII", "Contours of pairs are ellipses.", "to first order",
        lambda m: [min(pair["ellipticity"][0] for pair in m["gaussianity.pairs"])], lambda worst: worst >= 0.8,
        "overlap at least {:.0%}",
        "Holds if the densest 39 % overlap the ellipse by 80 % or more in each of the pairs shown."),
    Statement("joint-ellipses", "VIII, X", "The 2-sigma ellipses of all pairs together bound the core of the data.",
        "not counted", of("gaussianity.ellipses.joint.1"), lambda joint: joint >= 0.7, "{:.1%} inside all of them",
        "Holds if 70 % of the vectors are inside the 2-sigma ellipses of all pairs at once."),
    Statement("multivariate-normal", "VIII, IX", "The whole is a multivariate normal.", "roughly", normality,
        lambda normal, *numbers: bool(normal),
        "largest KS of a component {1:.3f}, of the radius {2:.3f}; radius {3:.1f} to {4:.1f} (normal: {5:.1f} to "
        "{6:.1f})",
        "Holds if no component, no principal component and not the Mahalanobis radius differ from a normal by a "
        "KS distance above 0.05 (plus chance). A wider radius means heavy tails that all components share."),
    Statement("variance-80", "IX", "Nearly half of the components explain 80 %.", "120 of 256 (47 %)",
        lambda m: [m["principal.components_for"]["0.80"], m["components.dimension"],
                   m["principal.components_for"]["0.80"] / m["components.dimension"]],
        lambda count, d, share: 0.3 <= share <= 0.6, "{} of {} ({:.0%})",
        "Holds if 80 % of the variance needs 30 to 60 % of the components."),
    Statement("first-15", "IX", "The first 15 components matter but do not dominate.", "significant",
        of("principal.share_of_first_15"), lambda share: 0.1 <= share <= 0.5, "{:.0%} of the variance",
        "Holds if the first 15 components explain between 10 and 50 %."),
    Statement("dominant-axis", "filaments", "One principal component dominates.", "one",
        of("principal.first_to_second"), lambda ratio: ratio >= 1.5, "{:.2f} times the second",
        "Holds if the first principal component has at least 1.5 times the variance of the second."),
    Statement("diagonal", "IX", "The PCA diagonalises the correlation matrix.", "below 2e-7",
        of("principal.largest_off_diagonal"), lambda largest: largest < 2e-7, "{:.0e}",
        "Holds if the largest off-diagonal correlation is below 2e-7. It is true of any data, up to rounding."),
    Statement("gaussian-principal", "IX", "Principal components are Gaussian too.", "all, roughly",
        of("principal.share_near_normal"), lambda share: share >= 0.9, "{:.0%} of the components",
        "Holds if the KS distance from a normal is at most 0.05 (plus chance) for nine in ten components."),
    Statement("centred-principal", "IX", "Their Gaussians are centred at zero.", "very close",
        of("principal.largest_fit_centre"), lambda offset: offset <= 0.25, "at most {:.2f} sigma off",
        "Holds if every fitted Gaussian is centred within 0.25 sigma of zero."),
    Statement("upright-ellipses", "IX", "Contours of leading pairs lie along the principal axes.",
        "most; not (2, 3), (2, 7), (3, 7)",
        uprightness, lambda median, worst: median < 0.1, "inner |r| {:.2f} (median), {:.2f} (worst)",
        "Holds if the correlation inside the inner core is below 0.1 for half of the leading pairs."),
    Statement("trimming-survivors", "IX", "Trimming at 1.35 / 1.45 / 1.55 / 1.7 / 1.8 half-widths keeps these shares.",
        "72 / 81 / 88 / 94 / 96 %", lambda m: [100 * share for share in m["principal.shares_left"]],
        lambda *percents: all(abs(p - q) <= 5 for p, q in zip(percents, (72, 81, 88, 94, 96), strict=True)),
        "{:.0f} / {:.0f} / {:.0f} / {:.0f} / {:.0f}%",
        "Holds if every share is within 5 points of the post's."),
    Statement("trimming-aligns", "IX", "Trimming outliers turns the inner core of pair (2, 3) upright.",
        "aligned for t of 1.35 to 1.55", turned_by_trimming, lambda loose, tight: tight < loose,
        "inner |r| {:.2f} at 1.8, {:.2f} at 1.35",
        "Holds if the inner correlation of pair (2, 3) is smaller at t = 1.35 than at 1.8."),
    Statement("ellipse-planes", "X", "Vectors of pca-ellipse lie inside the confidence ellipses of the planes.",
        "all of 20, at 2.2 sigma", lambda m: [min(m["generated.planes.pca-ellipse"])], lambda share: share >= 0.99,
        "{:.1%} in the worst plane",
        "Holds if 99 % of the vectors of pca-ellipse are inside the 2.2-sigma ellipse of each of the planes shown."),
    Statement("ellipse-inside", "X", "They lie inside the region of the data.", "all",
        of("generated.strictest.pca-ellipse"), lambda inside: inside >= 0.9, "{:.1%} inside the strictest core",
        "Holds if at least 90 % of the vectors of pca-ellipse are inside every core."),
    Statement("property-clusters", "X", "Do properties such as hair colour, sex or smiling form clusters?",
        "an open question",
        of("labels.tally.clusters", "labels.tally.judged", "labels.tally.directions", "labels.tally.strong_directions"),
        lambda *_: True, "{} of {} labels form a cluster; {} are directions, {} of them strong ones",
        "A cluster has two humps along the probe of a label, and neighbours more than halfway from chance to purity. "
        "A direction is one along which a linear probe reads the label off new vectors, strong from an AUC of 0.9.",
        question=True),
    Statement("filaments", "filaments (withdrawn)", "Zoomed in, the vectors lie on lines around voids.",
        "lines and voids", closest_window, lambda ratio, closest: ratio < 0.8 and closest,
        "{:.0%} of a normal sample's distance",
        "Holds if in a smallest window neighbours are closer than in all normal samples, and by at least a fifth: "
        "random points show lines too."),
    Statement("one-dimensional", "filaments (withdrawn)", "The filaments are one-dimensional, like strings.",
        "one-dimensional",
        of("filaments.neighbours.data.two_nn_dimension", "filaments.neighbours.normal.two_nn_dimension"),
        lambda data, normal: data < 2 and data < normal / 2, "intrinsic dimension {:.1f} (normal sample: {:.1f})",
        "Holds if the intrinsic dimension is below 2 and below half of a normal sample's."),
    Statement("tsne-voids", "filaments (withdrawn)", "t-SNE shows voids and strings.", "voids at all scales",
        lambda m: [min(row["clark_evans"] / row["normal_clark_evans"] for row in m["tsne.maps"])],
        lambda ratio: ratio < 0.8, "{:.0%} of the normal sample's distance",
        "Holds if points of some map are closer together than 80 % of those of the normal sample's map."),
)
# fmt: on
