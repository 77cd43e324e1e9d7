"""The checks of an evaluator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.samples import Kind, RealData, Samples
from lsampler.scoring.scores import Better, Score, Unit
from lsampler.scoring.subject import Subject
from lsampler.store.reference import Reference
from lsampler.testing import data
from lsampler.testing.checks import require, require_unchanged, works_or_refuses
from lsampler.testing.plugins import PluginChecks
from lsampler.testing.process_state import other_global_seeds

TRAIN, HELD_OUT, DIMENSION, DRAWN = 200, 120, 4, 64


class EvaluatorChecks(PluginChecks[Evaluator]):
    """An evaluator under test, and data that it scores."""

    base = Evaluator

    def score(self, real: RealData | None = None, samples: Samples | None = None) -> list[Score]:
        return self.prepared(real).score(samples or samples_of())

    def prepared(self, real: RealData | None = None) -> Evaluator:
        evaluator = self.fresh()
        evaluator.prepare(real or real_data())
        return evaluator

    @cached_property
    def usual(self) -> list[Score] | None:
        """The scores of ordinary samples; None if it refuses them, as one may that needs data of its own kind."""
        return works_or_refuses("ordinary data", self.score)

    def exercise(self, plugin: Evaluator) -> None:
        plugin.prepare(real_data())
        require_scores(plugin.score(samples_of()), DRAWN)

    def outcome(self, which: int) -> object:
        return self.score(other_real_data() if which else None)

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        real, samples = real_data(), samples_of()
        yield "prepare()", partial(self.prepared, real)
        evaluator = works_or_refuses("ordinary data", partial(self.prepared, real))
        if evaluator is not None:
            yield "score()", partial(evaluator.score, samples)

    def check_scores_complete(self) -> None:
        """Scores have unique metrics, finite low <= value <= high, shares within 0 .. 1, a valid n, and all texts."""
        if self.usual is not None:
            require_scores(self.usual, DRAWN)

    def check_same_scores(self) -> None:
        """The same data give the same scores, twice and in two instances, whatever was scored between."""
        if self.usual is None:
            return
        with other_global_seeds(1):
            evaluator = self.prepared()
            found = evaluator.score(samples_of())
            far = samples_of(data.correlated(DRAWN, DIMENSION, 5) * 4)
            works_or_refuses("other samples", partial(evaluator.score, far))
            again = evaluator.score(samples_of())
        advice = "take random numbers from a generator with a fixed seed"
        _require_same(self.usual, found, "in a second instance", advice)
        _require_same(found, again, "scored again", "keep nothing of earlier samples")

    def check_prepare_forgets(self) -> None:
        """Prepared again, with other real data, it gives the scores of a new instance."""
        if self.usual is None:
            return
        evaluator, second = self.prepared(), other_real_data()
        evaluator.score(samples_of())
        expected = works_or_refuses("other real data", partial(self.score, second))
        if expected is not None:
            evaluator.prepare(second)
            found = evaluator.score(samples_of())
            _require_same(expected, found, "prepared again", "set everything anew in prepare()")

    def check_inputs_untouched(self) -> None:
        """Samples, their images, and the real data with their statistics, which others score, too, are not changed."""
        real, samples = real_data(), samples_of()

        def arrays() -> dict[str, NDArray[Any]]:
            of_samples = {name: getattr(samples, name) for name in ("latents", "images", "encoded_again")}
            of_real = {name: getattr(real, name) for name in ("train", "other", "held_out")}
            named = {"samples": of_samples, "real": of_real}
            flat = {f"{owner}.{name}": array for owner, found in named.items() for name, array in found.items()}
            return flat | data.arrays_of(real.reference)

        require_unchanged(arrays, lambda: works_or_refuses("ordinary data", partial(self.score, real, samples)))

    def check_not_prepared(self) -> None:
        """score() before prepare() works, if nothing is needed, or is refused in one line."""
        works_or_refuses("score() before prepare()", lambda: self.fresh().score(samples_of()))

    def check_bundle(self) -> None:
        """With a bundle, which has statistics only, it scores, or refuses in one line."""
        reference = data.statistics_only(data.ordinary(TRAIN, DIMENSION, HELD_OUT))
        self._scores_or_refuses("a bundle", real_data(reference))

    def check_missing_parts(self) -> None:
        """Without decoder, density, or held-out vectors it scores, or refuses in one line."""
        self._scores_or_refuses("no decoder", real_data(decoder=False), samples_of(decoder=False))
        self._scores_or_refuses("samples without decoder", samples=samples_of(decoder=False))
        self._scores_or_refuses("samples without density", samples=samples_of(density=False))
        self._scores_or_refuses("nothing held out", real_data(data.ordinary(TRAIN, DIMENSION, 0)))

    def check_awkward_samples(self) -> None:
        """Few, equal, central or far samples get complete scores, or are refused in one line."""
        plain, reference = data.correlated(DRAWN, DIMENSION, seed=1), real_data().reference
        for what, latents in {
            "1 sample": plain[:1],
            "2 samples": plain[:2],
            "7 samples": plain[:7],
            "equal samples": np.repeat(plain[:1], 40, axis=0),
            "samples at the centre": np.repeat(reference.statistics().mean[np.newaxis], 40, axis=0).astype(np.float32),
            "train vectors as samples": reference.latents()[:40],
            "samples at 1,000,000": plain + np.float32(1e6),
        }.items():
            self._scores_or_refuses(what, samples=samples_of(latents))

    def check_awkward_real_data(self) -> None:
        """With few, flat, repeated, tiny or far real vectors scores are complete, or refused in one line."""
        for what, vectors in data.awkward_vectors().items():
            real = real_data(data.reference_of(vectors[::2], vectors[1::2]))
            samples = samples_of(data.correlated(DRAWN, vectors.shape[1], seed=5))
            self._scores_or_refuses(f"{what}, half of them held out,", real, samples)

    def check_rows_of_real_vectors(self) -> None:
        """Rows of held-out and train vectors are scored, or refused in one line; caveats() is a list of lines."""
        real = real_data()
        rows: dict[Kind, NDArray[np.float32]] = {"held-out": real.reference.held_out()[1::2], "train": real.other}
        for kind, vectors in rows.items():
            samples = samples_of(vectors, density=False, kind=kind)
            self._scores_or_refuses(f"the row of {kind} vectors", real, samples)
        evaluator = works_or_refuses("ordinary data", partial(self.prepared, real))
        caveats = evaluator.caveats() if evaluator else []
        lines = isinstance(caveats, list) and all(isinstance(line, str) and "\n" not in line for line in caveats)
        require(lines, f"caveats() gave {caveats!r:.100}; return a list of lines")

    def _scores_or_refuses(self, what: str, real: RealData | None = None, samples: Samples | None = None) -> None:
        samples = samples or samples_of()
        scores = works_or_refuses(what, partial(self.score, real, samples))
        if scores is not None and scores != []:  # what need not be scored need not be a problem either
            works_or_refuses(what, lambda: require_scores(scores, len(samples.latents)))


def real_data(reference: Reference | None = None, *, decoder: bool = True) -> RealData:
    """Real data, by default with a decoder and an encoder."""
    reference = reference or data.ordinary(TRAIN, DIMENSION, HELD_OUT)
    return RealData(Subject(reference, **data.linear_model(reference.dimension)) if decoder else reference)


def other_real_data() -> RealData:
    """Real data of the same D and of another width."""
    train, held_out = (3 * data.correlated(rows, DIMENSION, seed) for rows, seed in ((TRAIN, 2), (HELD_OUT, 7)))
    return real_data(data.reference_of(train, held_out))


def samples_of(
    latents: NDArray[np.float32] | None = None, *, decoder: bool = True, density: bool = True, kind: Kind = "drawn"
) -> Samples:
    """These vectors, or some of a normal; by default with a density, a decoder and an encoder."""
    rows = data.correlated(DRAWN, DIMENSION, seed=1) * np.float32(0.9) if latents is None else latents
    model = data.linear_model(rows.shape[1]) if decoder else {}
    return Samples("synthetic samples", rows, **model, kind=kind, log_prob=_log_normal if density else None)


def _log_normal(latents: NDArray[np.float32]) -> NDArray[np.float64]:
    density: NDArray[np.float64] = -0.5 * (np.square(latents.astype(np.float64)) + math.log(2 * math.pi)).sum(axis=1)
    return density


def require_scores(scores: Any, drawn: int) -> None:
    """Require a list of scores, each of them complete."""
    complete = isinstance(scores, list) and scores and all(isinstance(score, Score) for score in scores)
    advice = "return a list of Score, or raise LsamplerError with the reason"
    require(complete, f"score() gave {scores!r:.100}; {advice}")
    names = [score.metric for score in scores]
    require(len(set(names)) == len(names), f"a metric comes twice: {', '.join(sorted(names))}")
    for score in scores:
        _require_numbers(score, max(drawn, TRAIN, HELD_OUT))
        _require_texts(score)


def _require_numbers(score: Score, most: int) -> None:
    name, numbers = score.metric, (score.low, score.value, score.high)
    shown = f"{score.low!r} <= {score.value!r} <= {score.high!r}"
    floats = all(type(number) is float for number in numbers)
    require(floats, f"{name}: numbers {shown} are not all Python floats; write float(...)")
    require(score.is_finite(), f"{name}: {shown} is not finite; raise LsamplerError with the reason")
    require(score.low <= score.value <= score.high, f"{name}: {shown} does not hold; an interval contains its value")
    if score.unit == "share":
        require(score.low >= 0 and score.high <= 1, f"{name}: the share {shown} is outside 0 .. 1; clip its interval")
    whole = type(score.n) is int and 1 <= score.n <= most
    require(whole, f"{name}: n={score.n!r} is not a number of samples; give how many vectors it rests on, as int")


def _require_texts(score: Score) -> None:
    name = score.metric
    for field, choices in (("better", get_args(Better)), ("unit", get_args(Unit))):
        value = getattr(score, field)
        require(value in choices, f"{name}: {field}={value!r}; give one of {choices}")
    require(not any(map(str.isspace, name)) and name, f"metric {name!r} has blanks; it is a name for files and options")
    for field in ("group", "label", "about"):
        require(getattr(score, field).strip(), f"{name}: no {field}; the report shows it")
    text = json.dumps(asdict(score), allow_nan=False)
    require(Score(**json.loads(text)) == score, f"{name}: read back from JSON it differs; use plain values")


def _require_same(expected: list[Score], found: list[Score], when: str, advice: str) -> None:
    names = [one.metric for one, two in zip(expected, found, strict=False) if one != two]
    different = names[0] if names else f"the number of scores, {len(expected)} and {len(found)},"
    require(found == expected, f"{when}, {different} differs; {advice}")
