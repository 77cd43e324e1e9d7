"""What is promised of an evaluator, each promise a function that asks for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.samples import Kind, RealData, Samples
from lsampler.scoring.scores import Better, Score, Unit
from lsampler.statistics.summary import Statistics
from lsampler.store.reference import Reference
from lsampler.testing._ask import leaves_global_state, other_global_seeds, require, works_or_refuses
from lsampler.testing._data import LinearImages, WatchedReference, correlated, ordinary, statistics_only
from lsampler.testing._plugins import PLUGIN_CHECKS, PluginSubject

__all__ = ["EVALUATOR_CHECKS", "EvaluatorSubject"]

TRAIN, HELD_OUT, DIMENSION, DRAWN = 200, 120, 4, 64
Images = LinearImages | None


class EvaluatorSubject(PluginSubject[Evaluator]):
    """An evaluator under test, and what it scores."""

    def __init__(self, plugin: type[Evaluator] | Evaluator) -> None:
        super().__init__(plugin)
        self._images = LinearImages(DIMENSION)

    def real(self, reference: Reference | None = None, images: Images = None, *, decoder: bool = True) -> RealData:
        """Real data with a decoder and an encoder."""
        images = (images or self._images) if decoder else None
        return RealData(
            reference or ordinary(TRAIN, DIMENSION, HELD_OUT),
            decode=images.decode if images else None,
            encode=images.encode if images else None,
        )

    def samples(
        self,
        latents: NDArray[np.float32] | None = None,
        images: Images = None,
        *,
        decoder: bool = True,
        density: bool = True,
        kind: Kind = "drawn",
    ) -> Samples:
        """Vectors drawn from a normal, with their density, and a decoder and an encoder."""
        rows = correlated(DRAWN, DIMENSION, seed=1) * np.float32(0.9) if latents is None else latents
        images = (images or self._images) if decoder else None
        return Samples(
            "synthetic samples",
            rows,
            decode=images.decode if images else None,
            encode=images.encode if images else None,
            kind=kind,
            log_prob=_log_normal if density else None,
        )

    def prepared(self, real: RealData | None = None) -> Evaluator:
        """A new instance, prepared."""
        evaluator = self.fresh()
        evaluator.prepare(real or self.real())
        return evaluator

    @cached_property
    def usual(self) -> list[Score] | None:
        """What it says of ordinary samples; None if it refuses, as one may that needs data of its own kind."""
        return works_or_refuses("ordinary data", lambda: self.prepared().score(self.samples()))

    def exercise(self, plugin: Evaluator) -> None:
        """Prepare, and score."""
        plugin.prepare(self.real())
        require_scores(plugin.score(self.samples()), DRAWN)


def _log_normal(latents: NDArray[np.float32]) -> NDArray[np.float64]:
    density: NDArray[np.float64] = -0.5 * (np.square(latents.astype(np.float64)) + math.log(2 * math.pi)).sum(axis=1)
    return density


def require_scores(scores: Any, drawn: int) -> None:
    """A list of scores, each of them complete."""
    require(
        isinstance(scores, list) and scores and all(isinstance(score, Score) for score in scores),
        f"score() gave {scores!r:.100}; return a list of Score, or raise LsamplerError with the reason",
    )
    names = [score.metric for score in scores]
    require(len(set(names)) == len(names), f"a metric comes twice: {', '.join(sorted(names))}")
    for score in scores:
        _require_numbers(score, max(drawn, TRAIN, HELD_OUT))
        _require_texts(score)


def _require_numbers(score: Score, most: int) -> None:
    name, numbers = score.metric, (score.low, score.value, score.high)
    shown = f"{score.low!r} <= {score.value!r} <= {score.high!r}"
    require(
        all(isinstance(number, float) and type(number) is float for number in numbers),
        f"{name}: numbers {shown} are not all Python floats; write float(...)",
    )
    require(all(map(math.isfinite, numbers)), f"{name}: {shown} is not finite; raise LsamplerError with the reason")
    require(score.low <= score.value <= score.high, f"{name}: {shown} does not hold; an interval contains its value")
    if score.unit == "share":
        require(score.low >= 0 and score.high <= 1, f"{name}: the share {shown} is outside 0 .. 1; clip its interval")
    whole = type(score.n) is int and 1 <= score.n <= most
    require(whole, f"{name}: n={score.n!r} is not a number of samples; give how many vectors it rests on, as int")


def _require_texts(score: Score) -> None:
    name = score.metric
    require(score.better in get_args(Better), f"{name}: better={score.better!r}; give one of {get_args(Better)}")
    require(score.unit in get_args(Unit), f"{name}: unit={score.unit!r}; give one of {get_args(Unit)}")
    require(not any(map(str.isspace, name)) and name, f"metric {name!r} has blanks; it is a name for files and options")
    for field in ("group", "label", "about"):
        require(getattr(score, field).strip(), f"{name}: no {field}; the report shows it")
    text = json.dumps(asdict(score), allow_nan=False)
    require(Score(**json.loads(text)) == score, f"{name}: read back from JSON it differs; use plain values")


def scores_complete(subject: EvaluatorSubject) -> None:
    """Scores have metrics of their own, low <= value <= high, all finite, shares within 0 .. 1, n, and all texts."""
    if subject.usual is not None:
        require_scores(subject.usual, DRAWN)


def same_scores(subject: EvaluatorSubject) -> None:
    """The same data have the same scores, twice and in two instances, whatever was scored in between."""
    expected = subject.usual
    if expected is None:
        return
    with other_global_seeds(1):
        evaluator = subject.prepared()
        found = evaluator.score(subject.samples())
        works_or_refuses("other samples", lambda: evaluator.score(subject.samples(correlated(DRAWN, DIMENSION, 5) * 4)))
        again = evaluator.score(subject.samples())
    require(
        found == expected,
        f"in a second instance {_difference(expected, found)}; take random numbers from a generator with a fixed seed",
    )
    require(again == found, f"scored again, {_difference(found, again)}; keep nothing of earlier samples")


def prepare_forgets(subject: EvaluatorSubject) -> None:
    """Prepared again, with other real data, it gives the scores of a new instance."""
    if subject.usual is None:
        return
    second = subject.real(WatchedReference(correlated(TRAIN, DIMENSION, 2) * 3, correlated(HELD_OUT, DIMENSION, 7) * 3))
    evaluator = subject.prepared()
    evaluator.score(subject.samples())
    expected = works_or_refuses("other real data", lambda: subject.prepared(second).score(subject.samples()))
    if expected is not None:
        evaluator.prepare(second)
        found = evaluator.score(subject.samples())
        require(found == expected, f"prepared again, {_difference(expected, found)}; set all anew in prepare()")


def inputs_untouched(subject: EvaluatorSubject) -> None:
    """Neither samples and their images nor the real data and their statistics are changed: others score them, too."""
    real, samples = subject.real(), subject.samples()
    before = {name: array.copy() for name, array in _arrays(real, samples).items()}
    works_or_refuses("ordinary data", lambda: subject.prepared(real).score(samples))
    for name, array in _arrays(real, samples).items():
        require(
            np.array_equal(array, before[name]),
            f"{name} are changed; copy before in-place operations such as -= and sort()",
        )


def global_state_untouched(subject: EvaluatorSubject) -> None:
    """prepare() and score() leave global random states, thread counts and default types alone."""
    real, samples = subject.real(), subject.samples()
    with leaves_global_state("prepare()"):
        evaluator = works_or_refuses("ordinary data", lambda: subject.prepared(real))
    if evaluator is not None:
        with leaves_global_state("score()"):
            works_or_refuses("ordinary data", lambda: evaluator.score(samples))


def not_prepared(subject: EvaluatorSubject) -> None:
    """score() before prepare() works, if nothing is needed, or is refused in one line."""
    works_or_refuses("score() before prepare()", lambda: subject.fresh().score(subject.samples()))


def bundle(subject: EvaluatorSubject) -> None:
    """With a bundle, which has statistics only, it scores, or refuses in one line."""
    reference = statistics_only(ordinary(TRAIN, DIMENSION, HELD_OUT))
    _scores_or_refuses(subject, "a bundle", subject.real(reference), subject.samples())


def missing_parts(subject: EvaluatorSubject) -> None:
    """Without decoder, density, or held-out vectors it scores, or refuses in one line."""
    _scores_or_refuses(subject, "no decoder", subject.real(decoder=False), subject.samples(decoder=False))
    _scores_or_refuses(subject, "samples without decoder", subject.real(), subject.samples(decoder=False))
    _scores_or_refuses(subject, "samples without density", subject.real(), subject.samples(density=False))
    nothing_held_out = subject.real(ordinary(TRAIN, DIMENSION, 0))
    _scores_or_refuses(subject, "nothing held out", nothing_held_out, subject.samples())


def awkward_samples(subject: EvaluatorSubject) -> None:
    """One sample, two, equal ones, ones at the centre and far away: complete scores, or a refusal in one line."""
    plain, real = correlated(DRAWN, DIMENSION, seed=1), subject.real()
    centre = np.repeat(real.reference.statistics().mean[np.newaxis].astype(np.float32), 40, axis=0)
    evaluator = works_or_refuses("ordinary data", lambda: subject.prepared(real))
    for what, latents in {
        "1 sample": plain[:1],
        "2 samples": plain[:2],
        "7 samples": plain[:7],
        "equal samples": np.repeat(plain[:1], 40, axis=0),
        "samples at the centre": centre,
        "train vectors as samples": real.reference.latents()[:40],
        "samples at 1,000,000": plain + np.float32(1e6),
    }.items():
        samples = subject.samples(latents)
        if evaluator is not None:
            works_or_refuses(what, partial(_scored, evaluator, samples))


def awkward_real_data(subject: EvaluatorSubject) -> None:
    """Two real vectors, five, equal ones, D = 1, vectors far away: complete scores, or a refusal in one line."""
    plain = correlated(60, DIMENSION, seed=1)
    narrow, line = correlated(120, 1, seed=1), LinearImages(1)
    for what, train, held_out in (
        ("2 real vectors", plain[:2], plain[2:4]),
        ("5 real vectors", plain[:5], plain[5:8]),
        ("equal real vectors", np.ones_like(plain), np.ones_like(plain)),
        ("real vectors at 10,000", plain[:40] + np.float32(1e4), plain[40:] + np.float32(1e4)),
    ):
        _scores_or_refuses(subject, what, subject.real(WatchedReference(train, held_out)), subject.samples())
    real = subject.real(WatchedReference(narrow[:60], narrow[60:]), line)
    _scores_or_refuses(subject, "D = 1", real, subject.samples(correlated(60, 1, seed=5), line))


def rows_of_real_vectors(subject: EvaluatorSubject) -> None:
    """Rows of real vectors, of kind held-out and train, are scored, or refused in one line; caveats are lines."""
    real = subject.real()
    held_out, train = real.reference.held_out()[1::2], real.other
    _scores_or_refuses(subject, "the held-out row", real, subject.samples(held_out, density=False, kind="held-out"))
    _scores_or_refuses(subject, "the row of train vectors", real, subject.samples(train, density=False, kind="train"))
    evaluator = works_or_refuses("ordinary data", lambda: subject.prepared(real))
    caveats = evaluator.caveats() if evaluator else []
    lines = isinstance(caveats, list) and all(isinstance(line, str) and "\n" not in line for line in caveats)
    require(lines, f"caveats() gave {caveats!r:.100}; return a list of lines")


EVALUATOR_CHECKS: tuple[Callable[[Any], None], ...] = (
    *PLUGIN_CHECKS,
    scores_complete,
    same_scores,
    prepare_forgets,
    inputs_untouched,
    global_state_untouched,
    not_prepared,
    bundle,
    missing_parts,
    awkward_samples,
    awkward_real_data,
    rows_of_real_vectors,
)


def _scores_or_refuses(subject: EvaluatorSubject, what: str, real: RealData, samples: Samples) -> None:
    works_or_refuses(what, lambda: _scored(subject.prepared(real), samples))


def _scored(evaluator: Evaluator, samples: Samples) -> None:
    scores = evaluator.score(samples)
    if scores != []:  # what need not be scored need not be a problem either
        require_scores(scores, len(samples.latents))


def _difference(first: list[Score], second: list[Score]) -> str:
    for one, two in zip(first, second, strict=False):
        for field, value in asdict(one).items():
            if value != getattr(two, field):
                return f"{one.metric} has {field} {getattr(two, field)!r} instead of {value!r}"
    return f"there are {len(second)} scores instead of {len(first)}"


def _arrays(real: RealData, samples: Samples) -> dict[str, NDArray[Any]]:
    statistics: Statistics = real.reference.statistics()
    found: dict[str, NDArray[Any]] = {
        "samples.latents": samples.latents,
        "samples.images": samples.images,
        "samples.encoded_again": samples.encoded_again,
        "real.train": real.train,
        "real.other": real.other,
        "real.held_out": real.held_out,
        "the reference's vectors": real.reference.latents(),
        "the reference's held-out vectors": real.reference.held_out(),
    }
    names = ("mean", "covariance", "minimum", "maximum")
    found |= {f"statistics().{name}": np.asarray(getattr(statistics, name)) for name in names}
    return found | {f"statistics().pca.{name}": getattr(statistics.pca, name) for name in ("axes", "variances")}
