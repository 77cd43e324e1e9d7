"""Evaluators turn samples and a reference into named scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lsampler._core import calibration_split
from lsampler._errors import LsamplerError
from lsampler._plugin import Plugin
from lsampler._reference import Reference

__all__ = ["Evaluation", "Evaluator", "Samples", "Score", "evaluate", "share_score"]

CONFIDENCE = 0.95
Better = Literal["higher", "lower", "real"]
HELD_OUT_ROW = "held-out real vectors"


@dataclass(frozen=True)
class Score:
    """One number with its interval.

    Attributes:
        metric: stable name, such as ``interval/nominal``.
        group: scores of one group stand in one table, under this title.
        label: the head of their column.
        value: the score.
        low: lower end of the 95 % interval.
        high: upper end.
        n: how many samples it rests on.
        better: ``higher``, ``lower``, or ``real`` where the real data's value is the best.
    """

    metric: str
    group: str
    label: str
    value: float
    low: float
    high: float
    n: int
    better: Better


def share_score(metric: str, hits: int, n: int, *, group: str, label: str, better: Better) -> Score:
    """A share with its 95 % Wilson interval (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Score(metric, group, label, hits / n, float(interval.low), float(interval.high), n, better)


class Samples:
    """Latent vectors to be scored, and their decoded images, made when first asked for.

    Args:
        name: the row's name.
        latents: (n, D) float32, finite.
        decode: latent vectors -> images (n, H, W, C) uint8; None if there is no decoder.
    """

    def __init__(
        self,
        name: str,
        latents: NDArray[np.float32],
        decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.name, self.latents, self._decode = name, latents, decode

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(n, H, W, C) uint8. Raises LsamplerError if there is no decoder."""
        if self._decode is None:
            raise LsamplerError("needs decoded images; give a --model")
        return self._decode(self.latents)


class Evaluator(Plugin):
    """Scores samples; a subclass writes :meth:`score` and, if it must, :meth:`prepare`."""

    by_default: ClassVar[bool] = True
    """Whether ``lsampler evaluate`` runs it when none is named."""

    def prepare(self, reference: Reference) -> None:
        """Learn what is needed of the reference, once for all samples."""

    def caveats(self) -> list[str]:
        """What could not be prepared and is missing from all scores, a line each."""
        return []

    @abstractmethod
    def score(self, samples: Samples) -> list[Score]:
        """The scores of one set of samples. Raises LsamplerError, with the reason, if it has none."""


@dataclass(frozen=True)
class Row:
    """The scores of one set of samples, and for what could not be scored the reason."""

    name: str
    n: int
    scores: list[Score]
    problems: list[str]


@dataclass(frozen=True)
class Evaluation:
    """A table of scores: a row for every set of samples, the real data's first."""

    reference: str
    rows: list[Row]
    caveats: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluate(
    samples: Sequence[Samples],
    reference: Reference,
    evaluators: Sequence[Evaluator],
    *,
    decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None,
) -> Evaluation:
    """Score every set of samples by every evaluator, beside the held-out real vectors.

    Half of the held-out vectors calibrate the cores, the other half is the real data's row. A
    bundle, which holds no vectors, brings that row's scores along.

    Raises:
        LsamplerError: an evaluator cannot be prepared, or samples are empty, hold NaN or have another D.
    """
    for row in samples:
        if row.latents.ndim != 2 or row.latents.shape[1] != reference.dimension:
            raise LsamplerError(
                f"{row.name}: latents of shape {row.latents.shape}, D of {reference.name} is {reference.dimension}"
            )
        if not len(row.latents):
            raise LsamplerError(f"{row.name}: holds no latents; draw at least one")
        if not np.isfinite(row.latents).all():
            raise LsamplerError(f"{row.name}: holds NaN or infinite latents; draw them again")
    for evaluator in evaluators:
        evaluator.prepare(reference)
    rows = [_score(row, evaluators) for row in samples]
    caveats = [caveat for evaluator in evaluators for caveat in evaluator.caveats()]
    real = _real_rows(reference, evaluators, decode)
    if not real:
        caveats.append(
            f"no row of real vectors: {reference.name} holds none for these scores; give a --store that does"
        )
    return Evaluation(reference.name, [*real, *rows], caveats)


def _real_rows(
    reference: Reference,
    evaluators: Sequence[Evaluator],
    decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None,
) -> list[Row]:
    if reference.has_latents:
        _, judging = calibration_split(reference.held_out())
        if not len(judging):
            return []
        return [_score(Samples(HELD_OUT_ROW, judging, decode), evaluators)]
    keys = {evaluator.key() for evaluator in evaluators}
    scores = [Score(**score) for key, score in reference.held_out_scores if key in keys]
    return [Row(HELD_OUT_ROW, max(score.n for score in scores), scores, [])] if scores else []


def _score(samples: Samples, evaluators: Sequence[Evaluator]) -> Row:
    scores: list[Score] = []
    problems: list[str] = []
    for evaluator in evaluators:
        try:
            scores += evaluator.score(samples)
        except LsamplerError as error:
            problems.append(f"{evaluator.name}: {error}")
    return Row(samples.name, len(samples.latents), scores, problems)
