"""How a fit or a draw is conditioned, as users say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from lsampler.errors import LsamplerError, nearest_name
from lsampler.samplers.conditions.condition import WhereLike
from lsampler.samplers.conditions.law import Others

By = Literal["subset", "shift"]
LabelNames: TypeAlias = "bool | str | Sequence[str] | None"


class ConditionOptions(TypedDict, total=False):
    """The arguments of a fit that concern labels.

    Attributes:
        where: wanted values of labels, ``{"Smiling": 1, "Age": ">=40", "digit": [3, 8]}``; or texts such as
            ``"Age>=40"``, a single one or several that all have to hold.
        by: ``subset`` fits to the rows that fulfil the condition; ``shift`` to what remains of all vectors without the
            effects of labels. None chooses: the subset if it has at least 100 rows and ten for each component,
            otherwise the shift.
        others: of a shift: labels that are not asked for come as they do with the condition (``observed``), or as in
            all data (``independent``).
        labels: True or names: learn the effects of all or of these labels, so that ``sample(n, where=...)`` works.
    """

    where: WhereLike | None
    by: By | None
    others: Others
    labels: LabelNames


@dataclass(frozen=True)
class Conditions:
    """Conditions of a fit, checked; see :class:`ConditionOptions`.

    Raises:
        LsamplerError: an unknown way, or a way without a condition.
    """

    where: WhereLike | None = None
    by: By | None = None
    others: Others = "observed"
    labels: LabelNames = None

    def __post_init__(self) -> None:
        for name, value, allowed in (("by", self.by, get_args(By)), ("others", self.others, get_args(Others))):
            if value not in allowed and not (name == "by" and value is None):
                raise LsamplerError(f"`{name}={value}` is unknown{nearest_name(str(value), allowed)}")
        if self.by == "subset" and self.labels:
            raise LsamplerError("`by=subset`: fits to the rows of one condition; leave out `labels=...`")
        if self.by == "subset" and self.others == "independent":
            raise LsamplerError(
                "`others=independent`: the rows of a subset bring their other labels along; use `by=shift`"
            )
        if self.where is None and (self.by or self.others != "observed") and not self.labels:
            given = f"by={self.by}" if self.by else f"others={self.others}"
            raise LsamplerError(f"`{given}`: belongs to a condition; give `where=...`")

    def __bool__(self) -> bool:
        """Whether there is any condition."""
        return self.where is not None or bool(self.labels)

    @property
    def options(self) -> ConditionOptions:
        """The same as arguments of a fit."""
        return {"where": self.where, "by": self.by, "others": self.others, "labels": self.labels}

    @property
    def names(self) -> list[str] | None:
        """The labels to use; None for all."""
        if self.labels is None or isinstance(self.labels, bool):
            return None
        return [self.labels] if isinstance(self.labels, str) else list(self.labels)
