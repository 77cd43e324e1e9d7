"""What a curve of scores must look like, with the paper's tolerances.

A curve is the positions ``x`` (n,), ascending, and the scores ``y`` (n,) there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Verdict = Literal["T", "F", "L", "H"]
At: TypeAlias = float | Literal["first", "last"]
Kind = Literal["fidelity", "diversity"]

CLOSE = 0.05
"""A score this far from a value counts as this value."""
CHANGE = 0.2
"""A score that changes as it should changes by at least so much from one end to the other."""
OVERSHOOT = 0.1
"""How far a score may be, at the end where it should be highest or lowest, from its highest or lowest."""
DROP = 0.1
"""How much diversity must have fallen before all modes are dropped."""
ROUNDING = 1e-9


class Criterion(Protocol):
    """Judges a curve."""

    def judge(self, x: Curve, y: Curve) -> Verdict:
        """T or F; L or H where low and high scores are both right for diversity, each in its own sense."""


def position(x: Curve, at: At) -> int:
    """The index of the first, the last, or the nearest position."""
    if isinstance(at, str):
        return 0 if at == "first" else len(x) - 1
    return int(np.abs(x - at).argmin())


def _verdict(*conditions: bool | np.bool_) -> Verdict:
    return "T" if all(conditions) else "F"


@dataclass(frozen=True)
class Near:
    """The score has this value at one position."""

    value: float
    at: At

    def judge(self, x: Curve, y: Curve) -> Verdict:
        return _verdict(abs(y[position(x, self.at)] - self.value) <= CLOSE + ROUNDING)


@dataclass(frozen=True)
class ZeroOrOne:
    """The score is 0 (L) or 1 (H) at one position."""

    at: At

    def judge(self, x: Curve, y: Curve) -> Verdict:
        if Near(1, self.at).judge(x, y) == "T":
            return "H"
        return "L" if Near(0, self.at).judge(x, y) == "T" else "F"


@dataclass(frozen=True)
class Falling:
    """The score is highest at the first position and lowest at the last.

    If ``by`` is given, it has fallen in part at this share of the positions already.
    """

    by: float | None = None

    def judge(self, x: Curve, y: Curve) -> Verdict:
        between = 0 if self.by is None else round(self.by * (len(y) - 1))
        return _verdict(
            y[0] - y[-1] >= CHANGE - ROUNDING,
            y.max() - y[0] <= OVERSHOOT + ROUNDING,
            y[-1] - y.min() <= OVERSHOOT + ROUNDING,
            self.by is None or y[0] - y[between] >= DROP - ROUNDING,
        )


@dataclass(frozen=True)
class Rising:
    """The score is lowest at the first position and highest at the last."""

    def judge(self, x: Curve, y: Curve) -> Verdict:
        return Falling().judge(x, -y)


@dataclass(frozen=True)
class Bell:
    """The score is highest in the middle, and at one of the ends at least it is lowest."""

    middle: float

    def judge(self, x: Curve, y: Curve) -> Verdict:
        top = y[position(x, self.middle)]
        return _verdict(
            top - max(y[0], y[-1]) >= CHANGE - ROUNDING,
            y.max() - top <= OVERSHOOT + ROUNDING,
            min(y[0], y[-1]) - y.min() <= OVERSHOOT + ROUNDING,
        )


@dataclass(frozen=True)
class Flat:
    """The score does not depend on the position; with ``from_middle``, from the median position on."""

    from_middle: bool = False

    def judge(self, x: Curve, y: Curve) -> Verdict:
        seen = y[x >= np.median(x)] if self.from_middle else y
        return _verdict(seen.max() - seen.min() <= CLOSE + ROUNDING)


@dataclass(frozen=True)
class Either:
    """Two shapes are right: one for a diversity that falls when samples spread too far (L), one that does not (H)."""

    low: Criterion
    high: Criterion

    def judge(self, x: Curve, y: Curve) -> Verdict:
        if self.low.judge(x, y) == "T":
            return "L"
        return "H" if self.high.judge(x, y) == "T" else "F"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict from several: all must pass, and not some as low scores and some as high ones."""
    found = set(verdicts)
    if "F" in found or {"L", "H"} <= found:
        return "F"
    return "L" if "L" in found else "H" if "H" in found else "T"
