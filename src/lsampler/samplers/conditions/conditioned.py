"""What a conditioned fit keeps beside the strategy's own state, and how draws and densities use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.compute.seeded_blocks import Block
from lsampler.errors import LsamplerError
from lsampler.samplers.conditions.condition import Condition, WhereLike
from lsampler.samplers.conditions.effects import Effects
from lsampler.samplers.conditions.labelled import Labelled, columns_of, fulfilling, labelled
from lsampler.samplers.conditions.law import FEWEST_ROWS, LabelLaw, Others
from lsampler.samplers.conditions.options import By, ConditionOptions, Conditions
from lsampler.store.latent_store import LatentStore
from lsampler.store.reference import Reference
from lsampler.store.views import StoreView

FEWEST_OF_SUBSET, ROWS_PER_COMPONENT = 100, 10
FIT_WITH_LABELS = "fit it with labels=True, or by 'lsampler fit --labels'"
PAIRS_AT_ONCE = 1 << 16
"""Of a vector and a row of labels, whose density is found in one call."""
LABELS_STREAM = 1
"""Which of a block's further generators draws labels; the strategy's own random numbers stay those of the seed."""


@dataclass(frozen=True)
class Conditioned:
    """Under which condition a strategy was fitted.

    Attributes:
        text: what was done, in one sentence.
        condition: of the fit; None draws labels as in all data.
        others: how the labels that are not asked for come.
        effects: of the labels; None of a strategy that was fitted to the rows of its condition.
        rows: (m, L) codes of labels of train rows; None where there are aggregates only.
    """

    text: str
    condition: Condition | None = None
    others: Others = "observed"
    effects: Effects | None = None
    rows: NDArray[np.float32] | None = None

    def law(self, where: WhereLike | None, others: Others | None, name: str) -> LabelLaw | None:
        """How labels are drawn under a condition, by default that of the fit; None if no labels are drawn.

        Raises:
            LsamplerError: another condition for a strategy that was fitted to the rows of one, or one that the labels
                do not allow.
        """
        if self.effects is None:
            if where is not None or others is not None:
                raise LsamplerError(f"`where=...`: {name} was fitted to the rows of one condition; {FIT_WITH_LABELS}")
            return None
        condition = self.condition
        if where is not None:
            condition = Condition.of(where, self.effects.design.labels)
            require_possible(condition, self.effects)
        chosen = Conditions(where, None, others, labels=True).others if others else self.others
        return LabelLaw(self.effects, self.rows, condition, chosen)

    def under(self, where: WhereLike | None, others: Others | None, name: str) -> Conditioned:
        """The same with another condition for draws that name none."""
        law = self.law(where, others, name)
        if law is None:
            return self
        return replace(self, condition=law.condition, others=law.others, text=_shifted(law.effects, law))


def shifted(law: LabelLaw) -> Callable[[Tensor, Block], Tensor]:
    """The function that moves a block of residual draws (rows, D) to labels drawn for it."""

    def move(rows: Tensor, block: Block) -> Tensor:
        columns = law.columns(block.another(LABELS_STREAM), block.rows)
        shift = law.effects.moved(columns).astype(np.float32)
        return rows + torch.from_numpy(shift).to(rows.device)

    return move


def mixed(law: LabelLaw, density: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The density of shifted draws: that of the residuals, averaged over the rows of labels.

    ``density`` gives the logarithm of the residuals' (k, n) at vectors (n, D) less each of the moves (k, D).
    """
    columns, weights = law.atoms()
    moves, logs = np.unique(law.effects.moved(columns), axis=0, return_inverse=True)
    chances = np.log(np.bincount(logs.reshape(-1), weights))

    def log_density(latents: Tensor) -> Tensor:
        found = torch.full((len(latents),), -torch.inf, dtype=torch.float64)
        some = max(1, PAIRS_AT_ONCE // max(len(latents), 1))
        for first in range(0, len(moves), some):
            few, weights = (torch.from_numpy(part[first : first + some]) for part in (moves, chances))
            each = density(latents, few) + weights[:, np.newaxis]
            found = torch.logaddexp(found, torch.logsumexp(each, dim=0))
        return found

    return log_density


def conditioned(reference: Reference, conditions: Conditions) -> tuple[Reference, Conditioned]:
    """What a strategy learns from under conditions, and what has to be kept beside its state.

    Raises:
        LsamplerError: no labels, a condition that they do not allow, or too few rows for a subset.
    """
    if conditions.where is None:
        found = labelled(reference, conditions.names, ())
        return found.residuals, _of(found, None, conditions)
    condition = Condition.of(conditions.where, columns_of(reference))
    if isinstance(reference, LatentStore):
        view, count = _subset(reference, condition)
        chooses = conditions.by is None and not conditions.labels and conditions.others == "observed"
        if conditions.by == "subset" or (chooses and _is_enough(count, view.dimension)):
            if count < 2:
                few = "only one" if count else "no"
                raise LsamplerError(
                    f"`by=subset`: {few} train row of {reference.name} fulfils {condition.text}; use `by=shift`"
                )
            total = reference.count("train")
            done = f"Fitted to the {count:,} of {total:,} train vectors with {condition.text} (subset)."
            return view, Conditioned(done, condition)
    elif conditions.by == "subset":
        raise LsamplerError(f"`by=subset`: {reference.name} holds no vectors to choose from; use `by=shift`")
    asked = [one.label.name for one in condition.wanted]
    found = labelled(reference, conditions.names, asked)
    condition = Condition.of(conditions.where, found.effects.design.labels)
    require_possible(condition, found.effects)
    return found.residuals, _of(found, condition, conditions)


def require_possible(condition: Condition, effects: Effects) -> None:
    """Raise LsamplerError where a label takes none of its wanted values."""
    for one in condition.wanted:
        own = effects.design.slices[one.place]
        low, high = effects.minimum[own], effects.maximum[own]
        if one.label.kind == "continuous":
            possible = any(a <= high[0] and b >= low[0] for a, b in one.intervals)
            takes = f"it goes from {low[0]:g} to {high[0]:g}"
        else:
            ends = [low[0] == 0, high[0] == 1] if one.label.kind == "binary" else high > 0
            there = [float(code) for code in np.flatnonzero(ends)]
            possible = bool(set(one.codes) & set(there))
            takes = f"it takes {', '.join(map(one.label.shown, there[:20]))}"
        if not possible:
            raise LsamplerError(f"`where=...`: no train row has such a value of '{one.label.name}'; {takes}")


def _subset(store: LatentStore, condition: Condition) -> tuple[StoreView, int]:
    """The rows that fulfil a condition, and how many of them are train rows."""
    key = ("subset", condition)
    if key not in store.kept:
        rows, count = fulfilling(store, condition)
        store.kept[key] = StoreView(store, rows, name=f"{store.name} with {condition.text}"), count
    found: tuple[StoreView, int] = store.kept[key]
    return found


def _is_enough(count: int, dimension: int) -> bool:
    """Whether a subset is large enough to fit to: at least 100 rows, and ten for each component of the vectors."""
    return count >= max(FEWEST_OF_SUBSET, ROWS_PER_COMPONENT * dimension)


def _of(found: Labelled, condition: Condition | None, conditions: Conditions) -> Conditioned:
    law = LabelLaw(found.effects, found.rows, condition, conditions.others)
    return Conditioned(_shifted(found.effects, law), condition, conditions.others, found.effects, found.rows)


def _shifted(effects: Effects, law: LabelLaw) -> str:
    """What was done, in words."""
    labels = "1 label" if len(effects.design.labels) == 1 else f"{len(effects.design.labels)} labels"
    left_out = f" ({effects.left_out:,} with a missing label are left out)" if effects.left_out else ""
    text = f"Fitted to what the effects of {labels} leave of {effects.count:,} train vectors{left_out}"
    if law.condition is None:
        return f"{text}; labels come as in all data (shift)."
    text += f", and shifted to {law.condition.text} (shift)"
    rows, total = law.rows, effects.count
    if rows is not None:
        count = int(law.condition.fulfilled(rows).sum())
        kept = f"{count:,} of {len(rows):,}" + (" evenly spaced" if len(rows) < total else "")
        text += f", which {kept} rows of labels fulfil"
    if law.others == "independent":
        return f"{text}; the other labels come as in all data."
    if law.matching is None:
        why = f"fewer than {FEWEST_ROWS} rows" if rows is not None else "no rows of labels are kept"
        return f"{text}; the other labels come from the labels' conditional normal ({why})."
    return f"{text}; the other labels come as they do with it."


class UnderCondition(StoreView):
    """The rows of a store that fulfil a condition; a strategy that is fitted to it is fitted to the store under it.

    So strategies under a condition are judged against the real rows that have it.

    Attributes:
        whole: the store.
        condition: what is wanted.
        items: those of its rows that the vectors were encoded from, where the store knows them.

    Args:
        whole: the store.
        where: wanted values of labels.
        by: how strategies are fitted under the condition, ``subset`` or ``shift``; None chooses.
        others: how labels come that ``where`` does not name, of a shift.

    Raises:
        LsamplerError: the store has no labels, they do not allow the condition, or fewer than two train rows fulfil it.
    """

    def __init__(
        self, whole: LatentStore, where: WhereLike, *, by: By | None = None, others: Others = "observed"
    ) -> None:
        conditions = Conditions(where, by, others)
        condition = Condition.of(where, columns_of(whole))
        rows, count = fulfilling(whole, condition)
        if count < 2:
            few = "only one" if count else "no"
            raise LsamplerError(
                f"`where=...`: {few} train row of {whole.name} fulfils {condition.text}, so there is nothing to judge "
                "samples by; wish for less"
            )
        super().__init__(whole, rows, name=f"{whole.name} with {condition.text}")
        self.whole, self.conditions, self.condition = whole, conditions, condition
        if whole.items is not None:  # of a store in memory, whose held-out rows come after the others
            train, held_out = rows[:count], rows[count:] - whole.count("train")
            known = whole.items
            self.items = replace(known, train=known.train[train], held_out=known.held_out[held_out])


class AggregatesUnderCondition(Reference):
    """What a bundle knows, under a condition: strategies that are fitted to it draw by the shift.

    No vector is in it, nor the statistics of those that fulfil the condition. So scores that compare with real vectors
    have nothing to judge by; a probe that the bundle carries says whether samples have what was asked for.

    Attributes:
        whole: what the bundle knows.
        conditions: how strategies are fitted.
        condition: what is wanted.

    Args:
        whole: a bundle's reference, with the effects of labels.
        where: wanted values of labels.
        by: ``shift`` or None, as nothing else is possible.
        others: how labels come that ``where`` does not name.

    Raises:
        LsamplerError: there are no effects of labels, or they do not allow the condition.
    """

    def __init__(
        self, whole: Reference, where: WhereLike, *, by: By | None = None, others: Others = "observed"
    ) -> None:
        super().__init__()
        self.conditions = Conditions(where, by, others)
        self.condition = Condition.of(where, columns_of(whole))
        self.whole, self.name = whole, f"{whole.name} with {self.condition.text}"
        self.dimension, self.fingerprint, self.autoencoder = whole.dimension, whole.fingerprint, whole.autoencoder


def under(reference: Reference, given: ConditionOptions) -> tuple[Reference, Conditioned | None]:
    """What to learn from with these arguments of a fit, and what to keep of the condition; None without one."""
    if unknown := set(given) - set(ConditionOptions.__annotations__):
        raise TypeError(f"fit() got an unexpected keyword argument '{min(unknown)}'")
    conditions, whole = Conditions(**given), reference
    if isinstance(reference, UnderCondition | AggregatesUnderCondition) and not conditions:
        whole, conditions = reference.whole, reference.conditions
    return conditioned(whole, conditions) if conditions else (reference, None)


def require_labels(found: Conditioned | None, name: str) -> Conditioned:
    """The labels that a strategy was fitted with. Raises LsamplerError if there are none."""
    if found is None:
        raise LsamplerError(f"`where=...`: {name} was fitted without labels; {FIT_WITH_LABELS}")
    return found
