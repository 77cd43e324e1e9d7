"""Evaluators turn samples and real data into named scores."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, plugin_errors
from lsampler.plugins.base import Plugin
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.store.reference import Reference

__all__ = [
    "HELD_OUT_ROW",
    "OTHER_ROW",
    "Evaluation",
    "Evaluator",
    "RealData",
    "Row",
    "Samples",
    "Score",
    "bootstrap_score",
    "evaluate",
    "share_score",
]

CONFIDENCE = 0.95
NORMAL_QUANTILE = 1.959964  # of 1 - (1 - CONFIDENCE) / 2
RESAMPLES = 200
MOST_ROWS = 2000
Better = Literal["higher", "lower", "real"]
Unit = Literal["share", "number"]
Kind = Literal["drawn", "held-out", "train"]
HELD_OUT_ROW = "held-out real vectors"
OTHER_ROW = "other real vectors"


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
        unit: ``share`` of 1, shown in per cent, or ``number``.
        interval: how the interval was made; empty if there is none.
        about: a sentence on what it is and how to read it.
    """

    metric: str
    group: str
    label: str
    value: float
    low: float
    high: float
    n: int
    better: Better
    unit: Unit = "share"
    interval: str = "Wilson"
    about: str = ""

    @property
    def text(self) -> str:
        """The value as people read it."""
        return f"{100 * self.value:.1f} %" if self.unit == "share" else f"{self.value:.4g}"

    @property
    def range_text(self) -> str:
        """Its interval likewise."""
        if self.unit == "share":
            return f"{100 * self.low:.1f}-{100 * self.high:.1f}"
        return f"{self.low:.4g}-{self.high:.4g}"


def share_score(metric: str, hits: int, n: int, *, group: str, label: str, better: Better, about: str = "") -> Score:
    """A share with its 95 % Wilson interval (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Score(metric, group, label, hits / n, low, high, n, better, about=about)


def bootstrap_score(
    metric: str,
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    group: str,
    label: str,
    better: Better,
    unit: Unit = "number",
    about: str = "",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """A score with its 95 % bootstrap interval (Efron 1979).

    The interval is the value +- 1.96 standard deviations of the resampled values: their quantiles
    would carry over the bias that repeated rows give to distances.

    Args:
        metric: see :class:`Score`.
        statistic: from the indices of rows, repeated or not, to the score.
        n: how many rows there are.
        group: see :class:`Score`.
        label: see :class:`Score`.
        better: see :class:`Score`.
        unit: see :class:`Score`.
        about: see :class:`Score`.
        resamples: how often the rows are drawn with replacement.
        seed: of these draws.
    """
    value = statistic(np.arange(n))
    rng = np.random.default_rng([seed, _number_of(metric)])
    drawn = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    reach = NORMAL_QUANTILE * float(drawn.std(ddof=1))
    low, high = value - reach, value + reach
    if unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    interval = f"bootstrap, {resamples} resamples"
    return Score(metric, group, label, float(value), float(low), float(high), n, better, unit, interval, about)


class Samples:
    """Latent vectors to be scored, and what decoding makes of them, when first asked for.

    Args:
        name: the row's name.
        latents: (n, D) float32, finite.
        decode: latent vectors -> images (n, H, W, C) uint8; None if there is no decoder.
        encode: images (n, H, W, C) uint8 -> latent vectors (n, D); None if there is no encoder.
        kind: ``drawn``; ``held-out`` or ``train`` for rows of real data.
        log_prob: the density they were drawn from: vectors (n, D) -> (n,) in nats; None if there is none.
    """

    def __init__(
        self,
        name: str,
        latents: NDArray[np.float32],
        decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None,
        encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None,
        kind: Kind = "drawn",
        log_prob: Callable[[NDArray[np.float32]], NDArray[np.float64]] | None = None,
    ) -> None:
        self.name, self.latents, self.kind, self.log_prob = name, latents, kind, log_prob
        self._decode, self._encode = decode, encode
        self._heads: dict[int, Samples] = {}

    def head(self, n: int) -> Samples:
        """The first ``n``, or all if there are fewer; what is decoded for one caller, the next one finds."""
        if n >= len(self.latents):
            return self
        if n not in self._heads:
            self._heads[n] = Samples(self.name, self.latents[:n], self._decode, self._encode, self.kind, self.log_prob)
        return self._heads[n]

    @classmethod
    def drawn_by(
        cls,
        sampler: LatentSampler,
        n: int,
        *,
        seed: int = 0,
        name: str | None = None,
        decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None,
        encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None,
    ) -> Samples:
        """Vectors of a fitted strategy, with its density if it has one."""
        latents: NDArray[np.float32] = sampler.sample(n, seed=seed).numpy()
        log_prob = sampler.log_prob if sampler.has_density() else None
        return cls(name or sampler.name, latents, decode, encode, "drawn", log_prob)

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(n, H, W, C) uint8. Raises LsamplerError if there is no decoder."""
        if self._decode is None:
            raise LsamplerError("needs decoded images; give a --model")
        return self._decode(self.latents)

    @cached_property
    def encoded_again(self) -> NDArray[np.float32]:
        """(n, D): the samples decoded and encoded again. Raises LsamplerError without a model."""
        if self._encode is None:
            raise LsamplerError("needs an encoder; give a --model")
        return self._encode(self.images)


class RealData:
    """What samples are judged against: a reference, its real vectors, and its autoencoder.

    Args:
        reference: a store, or a bundle, which has no vectors.
        decode: see :class:`Samples`.
        encode: see :class:`Samples`.
        seed: of the random choice of vectors.
        rows: how many train vectors samples are compared with where all would be too many.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None = None,
        encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None,
        seed: int = 0,
        rows: int = MOST_ROWS,
    ) -> None:
        self.reference, self.decode, self.encode, self.seed, self.rows = reference, decode, encode, seed, rows

    @cached_property
    def held_out(self) -> NDArray[np.float32]:
        """(m, D) vectors that nothing was fitted to. Raises LsamplerError if there are none."""
        self._require_latents()
        rows = self.reference.held_out()
        if not len(rows):
            raise LsamplerError(f"{self.reference.name} holds no held-out vectors; encode with --held-out")
        return rows

    def held_out_for(self, samples: Samples) -> NDArray[np.float32]:
        """The held-out vectors that ``samples`` may be compared with: for the held-out row the other half."""
        return calibration_split(self.held_out)[0] if samples.kind == "held-out" else self.held_out

    @cached_property
    def train(self) -> NDArray[np.float32]:
        """(k, D) train vectors at random, at most ``rows`` and half of all: samples are compared with them."""
        return self._halves[0]

    @cached_property
    def other(self) -> NDArray[np.float32]:
        """As many other train vectors: the best that any sampler can reach against :attr:`train`."""
        return self._halves[1]

    @cached_property
    def _halves(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self._require_latents()
        count = self.reference.statistics().count
        rows = min(self.rows, count // 2)
        chosen = np.random.default_rng([self.seed, _number_of("halves")]).choice(count, 2 * rows, replace=False)
        taken = rows_by_index(self.reference.chunks(), self.reference.dimension, chosen)
        return taken[:rows], taken[rows:]

    def rows_of(self, samples: Samples) -> NDArray[np.float32]:
        """The samples, no more than :attr:`train` has rows, so that all sets are of one size."""
        return samples.latents[: len(self.train)]

    def _require_latents(self) -> None:
        if not self.reference.has_latents:
            raise LsamplerError(
                f"needs real vectors; {self.reference.name} holds statistics only, give the --store of its latents"
            )


class Evaluator(Plugin):
    """Scores samples; a subclass writes :meth:`score` and, if it must, :meth:`prepare`."""

    by_default: ClassVar[bool] = True
    """Whether ``lsampler evaluate`` runs it when none is named."""
    compares_with_train: ClassVar[bool] = False
    """Whether samples are compared with train vectors: then other train vectors are a row, too, the
    best that any sampler can reach."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A private attribute without a value is one that prepare() is to set.
            try:
                return super().__getattr__(name)
            except AttributeError as error:
                if name not in type(self).__private_attributes__:
                    raise
                raise LsamplerError("not prepared; call prepare(real) before score(samples)") from error

    def prepare(self, real: RealData) -> None:
        """Learn what is needed of the real data, once for all samples."""

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
    encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score every set of samples by every evaluator, beside the held-out real vectors.

    Half of the held-out vectors calibrate the cores, the other half is the real data's row. A
    bundle, which holds no vectors, brings that row's scores along.

    Raises:
        LsamplerError: samples are empty, hold NaN or have another D; or every evaluator fails to prepare.
    """
    for row in samples:
        check_samples(row, reference)
    rows = compared_rows([len(row.latents) for row in samples])
    real = RealData(reference, decode=decode, encode=encode, seed=seed, rows=rows)
    ready, problems = prepare(evaluators, real)
    scored = [score_row(row, ready) for row in samples]
    caveats = [*problems, *(caveat for evaluator in ready for caveat in evaluator.caveats())]
    return table(reference.name, real_rows(real, ready), scored, caveats)


def compared_rows(sizes: Sequence[int]) -> int:
    """How many train vectors sets of samples of these sizes are compared with."""
    return min(MOST_ROWS, max(sizes, default=MOST_ROWS))


def table(reference: str, real: Sequence[Row], scored: Sequence[Row], caveats: Sequence[str]) -> Evaluation:
    """The rows of real vectors first; a caveat if there are none."""
    lacking = f"no row of real vectors: {reference} holds none for these scores; give a --store that does"
    return Evaluation(reference, [*real, *scored], [*caveats, *([] if real else [lacking])])


def check_samples(samples: Samples, reference: Reference) -> None:
    """Raise LsamplerError unless samples are vectors (n, D) of finite numbers."""
    latents = samples.latents
    check_shape(samples.name, latents.shape, reference)
    if not np.isfinite(latents).all():
        raise LsamplerError(f"{samples.name}: holds NaN or infinite latents; draw them again")


def check_shape(name: str, shape: tuple[int, ...], reference: Reference) -> None:
    """Raise LsamplerError unless this is the shape of latent vectors of the reference, (n, D)."""
    if len(shape) != 2 or shape[1] != reference.dimension:
        raise LsamplerError(f"{name}: latents of shape {shape}, D of {reference.name} is {reference.dimension}")
    if not shape[0]:
        raise LsamplerError(f"{name}: holds no latents; draw at least one")


def prepare(evaluators: Sequence[Evaluator], real: RealData) -> tuple[list[Evaluator], list[str]]:
    """The evaluators that could be prepared, and why the others could not.

    Raises:
        LsamplerError: none could.
    """
    ready, problems = [], []
    for evaluator in evaluators:
        try:
            with plugin_errors("preparing"):
                evaluator.prepare(real)
        except LsamplerError as error:
            problems.append(f"no scores of {evaluator.name}: {error}")
        else:
            ready.append(evaluator)
    if problems and not ready:
        raise LsamplerError(problems[0])
    return ready, problems


def real_rows(real: RealData, evaluators: Sequence[Evaluator]) -> list[Row]:
    """The rows of real vectors, held out and others; none where they are unknown."""
    reference = real.reference
    if reference.has_latents:
        rows = []
        _, judging = calibration_split(reference.held_out())
        if len(judging):
            rows.append(score_row(Samples(HELD_OUT_ROW, judging, real.decode, real.encode, "held-out"), evaluators))
        if any(evaluator.compares_with_train for evaluator in evaluators):
            rows.append(score_row(Samples(OTHER_ROW, real.other, real.decode, real.encode, "train"), evaluators))
        return rows
    keys = {evaluator.key() for evaluator in evaluators}
    scores = [Score(**score) for key, score in reference.held_out_scores if key in keys]
    return [Row(HELD_OUT_ROW, max(score.n for score in scores), scores, [])] if scores else []


def score_row(samples: Samples, evaluators: Sequence[Evaluator]) -> Row:
    """All scores of one set of samples; an evaluator that fails leaves its reason."""
    scores: list[Score] = []
    problems: list[str] = []
    for evaluator in evaluators:
        try:
            with plugin_errors("scoring"):
                scores += evaluator.score(samples)
        except LsamplerError as error:
            problems.append(f"{evaluator.name}: {error}")
    return Row(samples.name, len(samples.latents), scores, problems)


def rows_by_index(
    blocks: Iterable[NDArray[np.float32]], dimension: int, indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Vectors by their numbers, in that order, from one pass over all."""
    result = np.empty((len(indices), dimension), dtype=np.float32)
    order = np.argsort(indices)
    ascending = indices[order]
    start = 0
    for block in blocks:
        first, last = np.searchsorted(ascending, [start, start + len(block)])
        result[order[first:last]] = block[ascending[first:last] - start]
        start += len(block)
    return result


def _number_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
