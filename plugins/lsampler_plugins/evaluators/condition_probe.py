"""condition-probe: whether samples have what was asked for, and how far the other labels moved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, Probe, RealData, Samples, Score, labelled_rows, probes_of, share_score
from lsampler.store import LatentStore
from lsampler_plugins.evaluators.condition_judge import Judge, judge_digests
from lsampler_plugins.evaluators.other_labels import OtherLabels

Rows = NDArray[Any]
GROUP = "the condition"
MANY_LEVELS = 100
FEW_TRAIN, FEW_HELD_OUT = 100, 20
FOUND = Metric(
    "condition-found",
    group=GROUP,
    label="found\nin vectors",
    better="real",
    about="Share of samples on which linear probes of the labels, fitted to all train vectors, read all that was asked "
    "for. Real vectors that have it are the mark: above it, samples are clearer cases than real ones. It does not see "
    "whether the decoder shows it.",
)
AGAIN = Metric(
    "condition-found-decoded",
    group=GROUP,
    label="found\nencoded again",
    better="real",
    about="The same share after samples were decoded and encoded again: what does not show in the items is lost. Real "
    "vectors that have it, decoded and encoded again, are the mark. It sees with the model's own encoder.",
)
JUDGED = Metric(
    "condition-found-judge",
    group=GROUP,
    label="found\nby the judge",
    better="real",
    about="Share of decoded samples on which probes of another encoder's latents, fitted to the real train items, read "
    "all that was asked for. Decoded real vectors that have it are the mark. It sees no more than a linear probe can.",
)


@dataclass(frozen=True)
class Finder:
    """Probes of the labels that a condition names.

    Attributes:
        condition: what is wanted.
        probes: of each of its labels, by name.
    """

    condition: Any
    probes: dict[str, Probe]

    @classmethod
    def of(cls, reference: Any, condition: Any) -> "Finder":
        """With the probes of a reference. Raises LsamplerError if it has none of a label."""
        return cls(condition, probes_of(reference, [one.label.name for one in condition.wanted]))

    def finds(self, latents: Rows) -> NDArray[np.bool_]:
        """On which of the vectors (n, D) all wanted values are read."""
        found = np.ones(len(latents), dtype=bool)
        for one in self.condition.wanted:
            found &= self.probes[one.label.name].finds(one, latents)
        return found

    def divided(self, store: LatentStore, most: int) -> tuple[Rows, Rows]:
        """Held-out vectors of a store that fulfil the condition, and that do not; at most so many, evenly spaced."""
        latents, codes = labelled_rows(store, "held-out")
        has, known = self.condition.fulfilled(codes), ~np.isnan(codes[:, self.condition.places]).any(axis=1)
        return _some(latents[has], most), _some(latents[known & ~has], most)


class ConditionProbe(Evaluator):
    """Share of samples on which probes find what was asked for, and how far the other labels moved.

    A probe is a linear model that reads a label off a vector (Alain and Bengio 2016, arXiv 1610.01644): logistic
    regression, or ridge regression of a number, fitted to all train vectors with labels, or carried by a bundle.

    - condition-found: the share of samples on which all wanted values are read;
    - condition-found-decoded: the same after samples were decoded and encoded again;
    - condition-found-judge: on decoded samples, read by another encoder's probes, which learned from the real items;
    - condition-entanglement: how far what is read of the other labels lies from what is read on real train vectors:
      those that fulfil the condition or, with others=independent, all. It is the mean over labels of differences of
      shares, and for a number of the mean in units of its spread; condition-moved-most is the largest, and moved/LABEL
      each label's own. The held-out row says what chance alone makes of them.

    Probes err, on real vectors as well: compare shares with the held-out row, and not with 1. Needs a condition.
    """

    name = "condition-probe"
    by_default = False
    needs_condition = True

    items: int = Field(default=500, ge=1, le=10_000, description="how many samples are decoded and encoded again")
    labels: int = Field(
        default=100, ge=0, le=2000, description="how many of the labels that were not asked for are read, at most"
    )
    judge: str | None = Field(
        default=None, description="another encoder of the same items, by its name or file, which judges decoded samples"
    )
    judge_store: str | None = Field(
        default=None,
        description="a store with the judge's latents of the same items, with labels; none: the items that the store "
        "knows are encoded",
    )

    _finder: Finder = PrivateAttr()
    _others: OtherLabels | None = PrivateAttr(default=None)
    _judge: Judge | None = PrivateAttr(default=None)
    _judging: Finder | None = PrivateAttr(default=None)
    _caveats: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        reference: Any = real.reference
        condition: Any = getattr(reference, "condition", None)
        if condition is None:
            raise LsamplerError("there is no condition, so nothing was asked for; give `where=...`")
        if self.judge_store and not self.judge:
            raise LsamplerError("`judge_store=...`: holds latents of a judge; give `judge=...` too")
        self._finder = Finder.of(reference.whole, condition)
        self._judge = Judge(self.judge, self.judge_store, real.subject, reference.whole) if self.judge else None
        self._judging, self._others = None, None
        if self._judge is not None:
            self._judging = Finder.of(self._judge.store, _same(reference, self._judge.store))
        if reference.has_latents:
            self._others = OtherLabels.of(reference, _names_of_others(reference, self.labels))
            self._caveats = list(self._real_shares(reference.whole))
        else:
            self._caveats = [*_carried(self._finder, reference.whole.name), NO_OTHERS.format(reference.whole.name)]

    def depends_on(self) -> Sequence[str]:
        return judge_digests(self.judge, self.judge_store)

    def caveats(self) -> list[str]:
        return self._caveats

    def score(self, samples: Samples) -> list[Score]:
        found = [_share(FOUND, self._finder, samples.latents)]
        if self._real.decode is not None:
            some = samples.head(self.items)
            found.append(_share(AGAIN, self._finder, some.encoded_again))
            if self._judge is not None and self._judging is not None:
                found.append(_share(JUDGED, self._judging, self._judge.latents_of(some.items)))
        return [*found, *(self._others.scores(samples.latents, self._real.seed) if self._others else [])]

    def _real_shares(self, whole: LatentStore) -> Iterator[str]:
        """What is found on held-out real vectors with and without the condition, in the ways that samples are read."""
        text = self._finder.condition.text
        parts = self._finder.divided(whole, len(whole))
        count, held_out = self._real.reference.statistics().count, len(parts[0])
        if count < FEW_TRAIN or held_out < FEW_HELD_OUT:
            few = f"{count:,} train and {held_out:,} held-out vectors have what was asked for"
            yield f"only {few}, so scores that compare with real vectors are uncertain"
        yield f"in held-out real vectors, {text} is found on {_shares(self._finder, parts)}"
        if self._real.decode is None or self._real.encode is None:
            yield "what is found after decoding and encoding again is not known without a decoder; give `model=...`"
            return
        items = [self._real.decode(_some(part, self.items)) if len(part) else None for part in parts]
        again = [np.empty((0, whole.dimension)) if each is None else self._real.encode(each) for each in items]
        yield f"decoded and encoded again, {text} is found on {_shares(self._finder, again)}"
        if self._judge is not None and self._judging is not None:
            seen = [np.empty((0, 1)) if each is None else self._judge.latents_of(each) for each in items]
            yield f"in decoded held-out real vectors, the judge finds {text} on {_shares(self._judging, seen)}"
            originals = self._judging.divided(self._judge.store, len(self._judge.store))
            yield f"in held-out real items, the judge finds {text} on {_shares(self._judging, originals)}"


NO_OTHERS = "how far the other labels moved is not known: {} holds no real vectors; give `store=...`"


def _some(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _share(metric: Metric, finder: Finder, latents: Rows) -> Score:
    return share_score(metric, int(finder.finds(latents).sum()), len(latents))


def _shares(finder: Finder, parts: Sequence[Rows]) -> str:
    """In words: the share found of vectors with the condition, and of those without it."""
    words = []
    for rows, which in zip(parts, ("with it", "without it"), strict=True):
        if len(rows):
            share = _share(FOUND, finder, rows)
            reach = f"{100 * share.low:.0f} to {100 * share.high:.0f}"
            words.append(f"{100 * share.value:.0f} % ({reach}) of {len(rows):,} {which}")
    return ", and on ".join(words) or "none, since there are none"


def _carried(finder: Finder, name: str) -> Iterator[str]:
    """What a bundle's probes find on held-out real vectors, one line per label."""
    for one in finder.condition.wanted:
        known = finder.probes[one.label.name].calibration
        if known is None:
            continue
        label, ways = one.label.name, [("", False), ("decoded and encoded again, ", True)]
        for words, again in ways:
            found = zip(known.finds(one, again=again), ("with it", "without it"), strict=True)
            shares = [f"{100 * each.share:.0f} % of about {each.rows:,} {which}" for each, which in found if each]
            if shares:
                yield f"in held-out real vectors of {name}, {words}{label} is found on {' and on '.join(shares)}"
        if known.r2 is not None:
            yield f"the probe of {label} explains {100 * known.r2:.0f} % of its variance on held-out vectors of {name}"


def _same(reference: Any, store: LatentStore) -> Any:
    """The condition on the labels of another store. Raises LsamplerError if that has not the same labels."""
    from lsampler.samplers import UnderCondition

    return UnderCondition(store, reference.conditions.where).condition


def _names_of_others(reference: Any, most: int) -> list[str]:
    asked = {one.label.name for one in reference.condition.wanted}
    columns = [label for label in reference.label_columns if len(label.levels) <= MANY_LEVELS]
    return [label.name for label in columns if label.name not in asked][:most]


lsampler_evaluators = offers(ConditionProbe)
