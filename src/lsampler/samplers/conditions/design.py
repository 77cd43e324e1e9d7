"""Labels as numbers: a column for each binary or continuous label, and one for each level of a categorical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.store.labels import Label

MOST_LEVELS = 100
"""A categorical label with more levels is left out unless it is named."""
MOST_COLUMNS = 2000


@dataclass(frozen=True)
class Design:
    """The columns that stand for labels.

    Attributes:
        labels: which ones, in order.
    """

    labels: tuple[Label, ...]

    @classmethod
    def of(cls, columns: Sequence[Label], names: Sequence[str] | None, asked: Sequence[str], where: str) -> Design:
        """The labels that a fit uses: those that are named, or all but categorical ones of many levels.

        Args:
            columns: the labels that there are.
            names: of those to use; None uses all.
            asked: names that have to be among them.
            where: they come from, for messages.

        Raises:
            LsamplerError: an asked label is not named, or there are too many levels.
        """
        for name in names or ():
            if name not in {label.name for label in columns}:
                known = nearest_name(name, [label.name for label in columns])
                raise LsamplerError(f"`labels=...`: no label '{shortened(name)}'{known}")
        few = [label.name for label in columns if len(label.levels) <= MOST_LEVELS]
        chosen = list(dict.fromkeys(names)) if names is not None else [*few, *asked]
        for name in asked:
            if name not in chosen:
                raise LsamplerError(f"`where=...`: '{shortened(name)}' is not among `labels=...`; add it there")
        found = cls(tuple(label for label in columns if label.name in chosen))
        if found.width > MOST_COLUMNS:
            widest = max(found.labels, key=lambda label: len(label.levels)).name
            what = f"{where}: its labels have {found.width:,} levels, at most {MOST_COLUMNS:,} can be used"
            raise LsamplerError(f"{what}; give `labels=...` without '{shortened(widest)}'")
        return found

    @property
    def width(self) -> int:
        """P, the number of columns."""
        return sum(len(label.levels) or 1 for label in self.labels)

    @cached_property
    def slices(self) -> list[slice]:
        """The columns of each label."""
        ends = np.cumsum([len(label.levels) or 1 for label in self.labels]).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def columns_of(self, places: Sequence[int]) -> NDArray[np.int64]:
        """The numbers of the columns of some labels."""
        parts = [np.arange(self.slices[place].start, self.slices[place].stop) for place in places]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def matrix(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Codes (n, L) as columns (n, P); no label is missing."""
        if not any(label.levels for label in self.labels):
            return codes.astype(np.float64)
        found = np.zeros((len(codes), self.width))
        rows = np.arange(len(codes))
        for place, (label, own) in enumerate(zip(self.labels, self.slices, strict=True)):
            if label.levels:
                found[rows, own.start + codes[:, place].astype(np.int64)] = 1.0
            else:
                found[:, own.start] = codes[:, place]
        return found
