"""Scores: one number with its interval, and how shares and resampled statistics become scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.showing import About, Shown, paragraph

CONFIDENCE = 0.95
NORMAL_QUANTILE = 1.959964  # of 1 - (1 - CONFIDENCE) / 2
RESAMPLES = 200
Better = Literal["higher", "lower", "real"]
Unit = Literal["share", "number"]
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "real": "best near real"}


@dataclass(frozen=True)
class Metric:
    """What a score measures, and how to read it.

    Attributes:
        metric: a stable name, such as ``interval/nominal``.
        group: the title of the table that scores of one group share.
        label: the head of the score's column.
        better: ``higher``, ``lower``, or ``real`` where the value of the real data is the best.
        unit: ``share`` of 1, shown in per cent, or ``number``.
        about: a sentence on what the score measures and how to read it.
        detail: whether it is one of many parts of another score, which reports show and the console does not.
    """

    metric: str
    _: KW_ONLY
    group: str
    label: str
    better: Better
    unit: Unit = "number"
    about: str = ""
    detail: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class Score(Shown, Metric):
    """The value of a metric with its 95 % interval.

    Attributes:
        value: the score.
        low: lower end of the interval.
        high: upper end.
        n: how many samples the score rests on.
        interval: how the interval was computed; empty if there is none.
        note: what this value is of, such as the name of the worst feature; empty if its metric says all.
    """

    value: float
    low: float
    high: float
    n: int
    interval: str = ""
    note: str = ""

    def _about(self) -> About:
        reach = f" ({self.range_text})" if self.interval else ""
        return About("Score", self.metric, [f"{self.text}{reach}", f"n = {self.n:,}", DIRECTIONS.get(self.better, "")])

    def _parts(self) -> Iterator[Markup]:
        if self.about:
            yield paragraph(self.about, "dim")

    def is_finite(self) -> bool:
        """Whether value and interval are numbers."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())

    @property
    def text(self) -> str:
        """The value as tables show it."""
        return f"{100 * self.value:.1f} %" if self.unit == "share" else f"{self.value:.4g}"

    @property
    def range_text(self) -> str:
        """The interval as tables show it."""
        if self.unit == "share":
            return f"{100 * self.low:.1f}-{100 * self.high:.1f}"
        return f"{self.low:.4g}-{self.high:.4g}"


def share_score(metric: Metric, hits: int, n: int) -> Score:
    """A share with its 95 % Wilson interval (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    known = vars(metric) | {"unit": "share", "interval": "Wilson"}
    return Score(**known, value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def normal_score(metric: Metric, value: float, error: float, n: int) -> Score:
    """A score with the 95 % interval of a normal, from its standard error; ``n`` is how many rows it rests on."""
    reach = NORMAL_QUANTILE * error
    known = vars(metric) | {"interval": "normal"}
    return Score(**known, value=value, low=value - reach, high=value + reach, n=n)


def bootstrap_score(
    metric: Metric,
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """A score with its 95 % bootstrap interval (Efron 1979).

    The interval is the value +- 1.96 standard deviations of the resampled values. Their quantiles would carry over
    the bias that repeated rows give to distances.

    Args:
        metric: what the score measures.
        statistic: from the indices of rows, repeated or not, to the score.
        n: how many rows there are.
        resamples: how often the rows are drawn with replacement.
        seed: of these draws.
    """
    value = statistic(np.arange(n))
    rng = np.random.default_rng([seed, seed_of(metric.metric)])
    drawn = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    reach = NORMAL_QUANTILE * float(drawn.std(ddof=1))
    low, high = value - reach, value + reach
    if metric.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    known = vars(metric) | {"interval": f"bootstrap, {resamples} resamples"}
    return Score(**known, value=float(value), low=float(low), high=float(high), n=n)


def seed_of(name: str) -> int:
    """A number that is always the same for a name, to seed its random choices with."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
