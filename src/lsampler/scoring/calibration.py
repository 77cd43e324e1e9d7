"""How well a probe reads its label on held-out real rows, as shares and rounded counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.samplers.conditions.condition import Wanted
from lsampler.store.labels import Label

FEWEST_ROWS = 10
"""A share of fewer rows is not kept, since it would say something about single ones; counts are rounded to tens, and
shares to hundredths."""
Shares: TypeAlias = "tuple[float, ...] | None"


@dataclass(frozen=True)
class Found:
    """On which share of real rows a probe finds what is wanted, and of about how many rows."""

    share: float
    rows: int


@dataclass(frozen=True)
class Calibration:
    """What a probe reads on held-out real rows; nothing of it belongs to a single row.

    Attributes:
        auc: as :meth:`Probe.auc`; None of a continuous label.
        r2: as :meth:`Probe.r2`; None of any other label.
        counts: (k,) how many rows have each value of the label, to the nearest ten; empty of a continuous label.
        read: (k, k) for each value, on which share of the rows that have it each value is read; None for a value of
            fewer than ten rows.
        again: the same of rows that were decoded and encoded again; empty if that was not measured.
    """

    auc: float | None
    r2: float | None
    counts: tuple[int, ...] = ()
    read: tuple[Shares, ...] = ()
    again: tuple[Shares, ...] = ()

    @classmethod
    def of(
        cls,
        label: Label,
        codes: NDArray[Any],
        read: NDArray[Any],
        again: NDArray[Any] | None = None,
        *,
        auc: float | None = None,
        r2: float | None = None,
    ) -> Calibration:
        """That of a probe of a label.

        Args:
            label: which one.
            codes: (n,) what rows have; NaN where the label is missing.
            read: (n,) what the probe reads on them.
            again: (n,) what it reads after the rows were decoded and encoded again.
            auc: of the probe on these rows.
            r2: of the probe on these rows.
        """
        auc, r2 = (None if value is None else round(value, 3) for value in (auc, r2))
        if label.kind == "continuous":
            return cls(auc, r2)
        values = np.arange(len(label.levels) or 2)
        counts = tuple(int(10 * round((codes == value).sum() / 10)) for value in values)
        return cls(
            auc, r2, counts, _shares(codes, read, values), () if again is None else _shares(codes, again, values)
        )

    def finds(self, wanted: Wanted, *, again: bool = False) -> tuple[Found | None, Found | None]:
        """On which share of rows with one of the wanted values one of them is read, and of rows without it.

        ``again`` takes rows that were decoded and encoded again. None where there are too few rows, or where the label
        is continuous.
        """
        shares, inside = self.again if again else self.read, {int(code) for code in wanted.codes}
        every = range(len(shares))
        within, without = [one for one in every if one in inside], [one for one in every if one not in inside]
        return self._found(shares, within, inside), self._found(shares, without, inside)

    def _found(self, shares: Sequence[Shares], values: Sequence[int], inside: set[int]) -> Found | None:
        known = [(self.counts[value], sum(row[code] for code in inside)) for value in values if (row := shares[value])]
        rows = sum(count for count, _ in known)
        return Found(sum(count * share for count, share in known) / rows, rows) if rows else None


def _shares(codes: NDArray[Any], read: NDArray[Any], values: NDArray[np.int64]) -> tuple[Shares, ...]:
    """For each value, the shares (k,) of what is read on rows that have it; None for fewer than ten rows."""
    found: list[Shares] = []
    for value in values:
        own = read[codes == value]
        few = len(own) < FEWEST_ROWS
        found.append(None if few else tuple(round(float((own == other).mean()), 2) for other in values))
    return tuple(found)
