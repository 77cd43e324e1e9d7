"""Section 8: labels in the latent space, as directions and as clusters; the question with which post X ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened
from lsampler.progress import begin
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.entangled import Entangled, cosines, neighbouring_order
from lsampler.reports.analysis.label_figures import draw_cosines, draw_directions, draw_humps, draw_images, draw_signals
from lsampler.reports.analysis.label_measures import (
    CLUSTERED,
    STRONG_AUC,
    along,
    direction,
    neighbour_places,
    probe_of,
    purity,
    verdict_of,
)
from lsampler.reports.analysis.label_rows import Judged, Target, judged_rows, targets_of
from lsampler.reports.analysis.section import Result, Section, percent
from lsampler.samplers.conditions.design import MOST_LEVELS
from lsampler.samplers.conditions.labelled import columns_of, labelled
from lsampler.scoring.subject import ItemDecoder
from lsampler.statistics.pca import Whitening
from lsampler.store.latent_store import LatentStore

MOST_SHOWN = 60
"""Labels of a figure."""
MOST_COSINES = 200
"""Columns of labels between which angles are listed."""
HUMPS_SHOWN = MEANS_SHOWN = 8
MOSTLY = 0.5
NAMED = 3
Found = dict[str, Any]
Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
HEADS = {
    "label": "name",
    "verdict": "verdict",
    "share": "share",
    "AUC": "auc",
    "R2": "r2",
    "95 % low": "low",
    "95 % high": "high",
    "sigma along probe": "sigma_along_probe",
    "sigma, best axis": "sigma_within",
    "sigma, whitened": "sigma_whitened",
    "two humps": "two",
    "dip p": "dip_p",
    "BIC gain": "bic_gain",
    "gain of neighbours": "latent",
    "gain, whitened": "whitened",
}
NEIGHBOUR_HEADS = ("purity", "low", "high", "by_chance", "base_rate", "gain")


@Section(
    title="Labels",
    post="post X's question",
    uses=("seed",),
    uses_labels=True,
    absent="It needs labels; 'lsampler store label' adds them to a store of latent vectors.",
)
def labels(context: Context) -> Result:
    """Answer whether properties of the items, such as smiling, are directions in the latent space, or clusters.

    A linear probe finds a direction if it reads the label off vectors that it was not fitted to: the area under the ROC
    curve (AUC) is 0.5 by chance and 1 if it is always right. A cluster shows two humps along that direction,
    and its vectors have their own kind for neighbours; one without the other is none. Effects are averages, not causes.
    """
    reference = context.whole
    whitening = reference.statistics().whitening(max(reference.statistics().pca.rank, 1))
    targets, left_out = targets_of(columns_of(reference))
    found: list[Found] = [{"name": target.name, "kind": target.label.kind} for target in targets]
    result = Result({"labels": found})
    if left_out:
        result.missing.append(f"Left out, as they have more than 100 levels: {_listed(left_out)}.")
    rows = judged_rows(context, reference) if isinstance(reference, LatentStore) else None
    if rows is not None:
        add_directions(result, context, rows, targets, whitening)
    else:
        result.missing.append(context.missing("Whether labels can be read off, and whether they form clusters,"))
    for one in found:
        one["verdict"] = verdict_of(one)
    together = entangled(result, context, rows, whitening)
    if together is not None:
        add_distances(found, together)
    add_tables(result)
    if together is not None:
        add_explained(result, together)
        add_angles(result, together)
        add_means(result, context, together)
    add_tally(result)
    return result


def entangled(result: Result, context: Context, rows: Judged | None, whitening: Whitening) -> Entangled | None:
    """The effects of all labels in whitened coordinates; None, with the reason noted, if there are none.

    They are estimated from rows without a missing label, so that one which is mostly missing would spoil all others.
    """
    names: list[str] | None = None
    if rows is not None:
        missing = np.isnan(rows.codes).mean(axis=0) > MOSTLY
        mostly: list[str] = []
        names = []
        for label, absent in zip(columns_of(context.whole), missing.tolist(), strict=True):
            if len(label.levels) <= MOST_LEVELS:
                (mostly if absent else names).append(label.name)
        if mostly:
            result.missing.append(f"Without effects, as they are missing in most rows: {_listed(mostly)}.")
    if names == []:
        return None
    try:
        return Entangled(labelled(context.whole, names, ()).effects, whitening)
    except LsamplerError as error:
        result.missing.append(f"The effects of labels could not be estimated: {error}")
        return None


def add_directions(
    result: Result, context: Context, rows: Judged, targets: Sequence[Target], whitening: Whitening
) -> None:
    """Probes, humps and neighbours of all labels; the figures of the two questions."""
    found, seed = result.measured["labels"], context.options.seed
    result.measured |= {"fitted_to": len(rows.latents), "judged_by": len(rows.judging), "rows": rows.said}
    result.findings.append(rows.said)
    result.missing += rows.notes
    places = neighbour_places(rows, whitening)
    problems, scores = [], dict[str, Scores]()
    probes: dict[int, Any] = {}
    advance = begin(context.progress, "probes of labels", len(targets))
    for target, one in zip(targets, found, strict=True):
        values = target.values(rows.codes)
        if target.two_valued and not np.isnan(values).all():
            one["share"] = float(np.nanmean(values))
        if target.place not in probes:
            probes[target.place] = probe_of(target, rows)
        probe = probes[target.place]
        measured = {} if isinstance(probe, str) else direction(target, probe, rows, seed)
        if not measured:
            problems.append(probe if isinstance(probe, str) else f"{target.name}: too few judging vectors have it")
        elif target.two_valued:
            scores[target.name] = along(target, probe, rows)
        one |= measured
        if target.label.kind != "continuous":
            near = {space: purity(target, rows, nearest) for space, nearest in places.items()}
            one["neighbours"] = {space: each for space, each in near.items() if each}
        advance(1)
    if problems:
        result.missing.append(f"No direction could be judged for {len(problems)} of them: {_listed(problems)}.")
    shown = best_first(found)[:MOST_SHOWN]
    if shown:
        result.figure(
            "directions",
            "Left: how well a linear probe reads each label off vectors that it was not fitted to, with 95 % intervals "
            "(of a continuous label R^2 instead of the AUC); beyond the dashed line a direction is strong. Right: how "
            "far the neighbours of a vector with the label have it, too, 0 as by chance, 1 all of them; beyond the "
            f"dashed line they are a cluster if there are two humps.{_of_all(shown, found)}",
            lambda: draw_directions(shown, STRONG_AUC, CLUSTERED),
        )
    humped = [one for one in shown if "humps" in one][:HUMPS_SHOWN]
    if humped:
        result.figure(
            "humps",
            "Scores of the judging vectors along the probes of the labels that are read best, in sigmas of all scores: "
            "with the label (orange), without it (blue), and all together (line). Two humps are two peaks of the line.",
            lambda: draw_humps(humped, scores),
        )


def best_first(found: Sequence[Found]) -> list[Found]:
    """Labels with an AUC, or an R^2, the largest first."""
    measured = [one for one in found if "auc" in one or "r2" in one]
    return sorted(measured, key=lambda one: -one.get("auc", 0.5 + one.get("r2", 0.0) / 2))


def add_distances(found: list[Found], together: Entangled) -> None:
    """The distances of the means of both groups, of the two-valued targets."""
    names = [name for name, _ in columns(together)]
    for one in found:
        if one["name"] in names and one["kind"] != "continuous":
            column = names.index(one["name"])
            one.setdefault("share", float(together.effects.mean[column]))
            one |= together.distances(column) or {}


def columns(together: Entangled) -> list[tuple[str, int]]:
    """The names of the columns of labels, each with the number of its label."""
    named: list[tuple[str, int]] = []
    for place, label in enumerate(together.effects.design.labels):
        levels = range(len(label.levels)) if label.levels else [None]
        named += [(Target(label, place, level).name, place) for level in levels]
    return named


def add_explained(result: Result, together: Entangled) -> None:
    """The variance that all labels explain together."""
    explained, effects = together.explained(), together.effects
    result.measured["explained"] = explained
    result.measured["complete_rows"], result.measured["left_out"] = effects.count, effects.left_out
    result.findings.append(
        f"All {len(effects.design.labels)} labels together explain {percent(explained['share'], 1)} of the whitened "
        f"variance; as many random columns would explain {percent(explained['by_chance'], 1)}. Of the variance before "
        f"whitening, where wide axes count more, they explain {percent(explained['of_latent_variance'], 1)}."
    )
    if effects.left_out:
        result.missing.append(
            f"Effects and distances of means are of the {effects.count:,} train vectors without a missing label; "
            f"{effects.left_out:,} miss one."
        )


def add_angles(result: Result, together: Entangled) -> None:
    """Cosines between the directions of labels: plain mean differences beside partial effects."""
    variances = np.diagonal(together.effects.covariance)
    strength = np.square(together.plain).sum(axis=1) * variances
    kept = np.sort(np.argsort(-strength, kind="stable")[:MOST_COSINES])
    kept = kept[strength[kept] > 0]
    if len(kept) < 2:
        return
    named = columns(together)
    names, labels_of = [named[k][0] for k in kept], np.array([named[k][1] for k in kept])
    plain, partial = cosines(together.plain[kept]), cosines(together.partial[kept])
    scale = np.sqrt(variances[kept])
    correlation = together.effects.covariance[np.ix_(kept, kept)] / np.outer(scale, scale)
    first, second = np.nonzero(np.triu(labels_of[:, np.newaxis] != labels_of, 1))
    order = np.argsort(-np.abs(plain[first, second]), kind="stable")
    first, second = first[order], second[order]
    pairs: dict[str, Any] = {
        "label": [names[i] for i in first],
        "other label": [names[j] for j in second],
        "mean differences": plain[first, second],
        "partial effects": partial[first, second],
        "correlation of the labels": correlation[first, second],
    }
    result.measured["cosines"] = {"names": names, "plain": plain, "partial": partial}
    if len(first):
        result.table("cosines", "Cosines between directions of labels, in whitened coordinates", pairs, shown=12)
        result.findings.append(_most_entangled(result, pairs))
    wide = np.sort(np.argsort(-strength[kept], kind="stable")[:MOST_SHOWN])
    shown = wide[neighbouring_order(plain[np.ix_(wide, wide)])]
    result.figure(
        "cosines",
        "Cosines between the directions of labels in whitened coordinates, where no direction is wider than another: "
        "differences of class means on the left, partial effects, at equal values of all other labels, on the right, "
        f"both in one order. Of two random directions |cosine| is below {2 / np.sqrt(together.rank):.2f} in 95 % of "
        f"cases.{_of_all(list(shown), named)}",
        lambda: draw_cosines([names[k] for k in shown], plain[np.ix_(shown, shown)], partial[np.ix_(shown, shown)]),
    )


def _most_entangled(result: Result, pairs: Mapping[str, Sequence[Any]]) -> str:
    """The finding on angles, whose numbers are kept."""
    median = {head: float(np.median(np.abs(pairs[head]))) for head in ("mean differences", "partial effects")}
    most = [
        dict(zip(pairs, values, strict=True)) for values in zip(*(part[:NAMED] for part in pairs.values()), strict=True)
    ]
    result.measured |= {"median_cosines": median, "most_entangled": most}
    told = "; ".join(
        f"{row['label']} and {row['other label']}, {row['mean differences']:.2f} ({row['partial effects']:.2f})"
        for row in most
    )
    return (
        f"Most entangled, by the cosine between mean differences, and in brackets between partial effects: {told}. "
        f"The median of |cosine| over all pairs is {median['mean differences']:.2f} between mean differences and "
        f"{median['partial effects']:.2f} between partial effects."
    )


def add_means(result: Result, context: Context, together: Entangled) -> None:
    """What the decoder makes of the means of both classes, of the labels that are read best."""
    if context.autoencoder is None:
        result.missing.append(
            "Class means cannot be shown: there is no decoder; give --model, the one that encoded them."
        )
        return
    decode, by_name = ItemDecoder(context.autoencoder), {one["name"]: one for one in result.measured["labels"]}
    two_valued = {name: k for k, (name, _) in enumerate(columns(together)) if "sigma_within" in by_name.get(name, {})}
    best = sorted(two_valued, key=lambda name: -_clarity(by_name[name]))[:MEANS_SHOWN]
    if not best:
        return
    chosen = [two_valued[name] for name in best]
    share, difference = together.effects.mean[chosen, np.newaxis], together.plain_latent[chosen]
    mean = together.whitening.mean
    pair = np.concatenate([mean + (1 - share) * difference, mean - share * difference]).astype(np.float32)
    items = decode(pair)
    with_it, without = np.split(items, 2)
    kind = decode.item.kind
    caption = (
        "The decoded mean of the vectors with each label, and of those without it. A mean shows what its class shares."
    )
    if kind == "image":
        result.figure("class-means", caption, lambda: draw_images(best, with_it, without))
    elif kind == "signal":
        result.figure("class-means", caption, lambda: draw_signals(best, with_it, without, decode.item))
    elif kind == "table":
        cells: dict[str, Any] = {"feature": decode.item.names or list(range(items.shape[1]))}
        for name, one, other in zip(best, with_it, without, strict=True):
            cells |= {name: one, f"not {name}": other}
        result.table("class_means", "The decoded mean of the vectors with each label, and of those without it", cells)


def _clarity(one: Found) -> float:
    """By which labels are chosen: the AUC, or without one the distance of the means."""
    return float(one["auc"] if "auc" in one else one["sigma_within"])


def add_tables(result: Result) -> None:
    """A row per label with what was measured of it, and another with its neighbours."""
    found = result.measured["labels"]
    ordered = best_first(found)
    ordered += [one for one in found if one not in ordered]
    rows = [_row(one) for one in ordered]
    measured = {head: name for head, name in HEADS.items() if any(row.get(name) is not None for row in rows)}
    cells = {head: [row.get(name) for row in rows] for head, name in measured.items()}
    result.table("labels", "What was measured of each label", cells, MOST_SHOWN)
    near = [one for one in ordered if one.get("neighbours")]
    if near:
        of_neighbours: dict[str, list[Any]] = {"label": [one["name"] for one in near]}
        for space, called in (("latent", ""), ("whitened", ", whitened")):
            each = [one["neighbours"].get(space, {}) for one in near]
            of_neighbours |= {f"{h.replace('_', ' ')}{called}": [row.get(h) for row in each] for h in NEIGHBOUR_HEADS}
        title = "How often the ten nearest train vectors of a judging vector with the label have it, too"
        result.table("neighbours", title, of_neighbours, shown=10)


def _row(one: Found) -> Found:
    """The numbers of a label without levels."""
    humps, near = one.get("humps", {}), one.get("neighbours", {})
    gains = {space: found["gain"] for space, found in near.items()}
    interval = {end: one.get(f"auc_{end}", one.get(f"r2_{end}")) for end in ("low", "high")}
    said = {"two": "yes" if humps["two"] else "no"} if humps else {}
    return one | interval | gains | {name: humps.get(name) for name in ("dip_p", "bic_gain")} | said


def add_tally(result: Result) -> None:
    """How many labels are what, in numbers and in words; these answer the question of the post."""
    found = result.measured["labels"]
    count = Counter(one["verdict"] for one in found if one["verdict"])
    judged, strong, clusters = sum(count.values()), count["strong direction"], count["cluster"]
    result.measured["tally"] = {
        "labels": len(found),
        "judged": judged or None,
        "clusters": clusters,
        "strong_directions": strong,
        "directions": strong + count["direction"] + clusters,
        "two_humps": sum(bool(one.get("humps", {}).get("two")) for one in found),
    }
    if not judged:
        return
    tally, best = result.measured["tally"], best_first(found)[:NAMED]
    named = ", ".join(f"{one['name']} ({_score(one)})" for one in best)
    humped = [one["name"] for one in found if one.get("humps", {}).get("two")]
    own = [one["name"] for one in found if one["verdict"] == "cluster"]
    result.findings.insert(
        0,
        f"Directions: {tally['directions']} of {judged} have one, {strong} of these are strong; read best are {named}. "
        f"Clusters: {f'{clusters} ({_listed(own)})' if own else 'none'}. Two humps along the probe: "
        f"{_listed(humped) if humped else 'none'}.",
    )
    apart = [abs(one["sigma_along_probe"]) for one in found if "sigma_along_probe" in one]
    if apart:
        result.findings.insert(
            1,
            f"Vectors with a label and those without it lie {np.median(apart):.1f} sigma apart along its probe (the "
            f"median; at most {max(apart):.1f}). Two normals of equal spread have a single peak up to 2 sigma.",
        )


def _score(one: Found) -> str:
    return f"AUC {one['auc']:.2f}" if "auc" in one else f"R2 {one['r2']:.2f}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    between = "; " if any(":" in name for name in names) else ", "
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(shortened(name, 120) for name in names[:most]) + rest


def _of_all(shown: Sequence[Any], every: Sequence[Any]) -> str:
    return "" if len(shown) == len(every) else f" {len(shown)} of {len(every)} are shown; the tables have more."
