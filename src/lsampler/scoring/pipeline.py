"""The one way from sets of samples to rows of scores: draw or read, check, ask each evaluator, keep.

On a cluster a set is a task: a worker opens the subject again, draws, and scores what it has drawn. Tasks hold names
and plain values only.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from lsampler.compute.engine import current_engine
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.progress import ProgressLike, begin, track
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.plot_data import picture_of, plot_data
from lsampler.scoring.row_cache import Outcome, Record, Row, RowCache
from lsampler.scoring.sample_sets import PluginName, SampleSet
from lsampler.scoring.samples import RealData, Samples, check_samples
from lsampler.scoring.scores import Score
from lsampler.scoring.subject import Subject


@dataclass(frozen=True)
class Missing:
    """What a row lacks: scores of evaluators, whose indices are given by their digests, and plots or a picture."""

    evaluators: Mapping[str, int]
    illustrations: bool

    def __bool__(self) -> bool:
        return bool(self.evaluators) or self.illustrations


LINES, SCORE = TypeAdapter(list[str]), TypeAdapter(Score)


def _checked(score: Any) -> Score:
    """A score whose fields have their types, as plain values. Raises TypeError or ValueError where it has not."""
    if not isinstance(score, Score):
        raise TypeError(f"gave a {type(score).__name__}, expected a list of lsampler.scoring.Score")
    return SCORE.validate_python(asdict(score))


class Bench:
    """Evaluators, which are prepared when they are first needed, and the real data that they learn from."""

    def __init__(self, real: RealData, evaluators: Sequence[Evaluator], progress: ProgressLike = None) -> None:
        self.real, self.evaluators, self.progress = real, list(evaluators), progress
        self._unprepared: dict[int, str | None] = {}

    def unprepared(self, index: int) -> str | None:
        """Why an evaluator could not learn from the real data; None if it could."""
        if index not in self._unprepared:
            evaluator = self.evaluators[index]
            try:
                with plugin_errors("preparing"):
                    evaluator.prepare(self.real)
                self._unprepared[index] = None
            except LsamplerError as error:
                self._unprepared[index] = f"no scores of {evaluator.name}: {_reason(error)}"
        return self._unprepared[index]

    def missing(self, record: Record, digests: Sequence[str], *, illustrated: bool) -> Missing:
        """What a record lacks. Whatever failed is tried again."""
        stale = {}
        for index, digest in enumerate(digests):
            known = record.outcomes.get(digest)
            if not known or known.problem or (known.unprepared and known.unprepared != self.unprepared(index)):
                stale[digest] = index
        pictured = record.picture is not None or self.real.decode is None
        return Missing(stale, illustrated and not (record.plots and pictured))

    def score(self, each: SampleSet, missing: Missing, found: Record) -> None:
        """Draw or read a set, and add to the record what is missing, or the reasons.

        Raises:
            LsamplerError: none of the evaluators can learn from the real data.
        """
        started = time.monotonic()
        asked = missing.evaluators.values()
        if self.evaluators and len(asked) == len(self.evaluators) and all(map(self.unprepared, asked)):
            raise LsamplerError(str(self.unprepared(0)))
        try:
            with plugin_errors("drawing"):
                samples = each.samples(self.real, self.progress)
            if each.kind != "drawn" and not len(samples.latents):
                return
            check_samples(samples, self.real.reference)
        except LsamplerError as error:
            found.problems.append(_reason(error))
            return
        found.n, found.note = len(samples.latents), samples.note
        advance = begin(self.progress, f"  {samples.name}", len(missing.evaluators) + 1)
        for digest, index in missing.evaluators.items():
            found.outcomes[digest] = self._outcome(index, samples)
            advance(1)
        if missing.illustrations:
            self._illustrate(samples, found)
        advance(1)
        found.seconds = time.monotonic() - started

    def _outcome(self, index: int, samples: Samples) -> Outcome:
        evaluator, reason = self.evaluators[index], self.unprepared(index)
        if reason:
            return Outcome(unprepared=reason)
        caveats: list[str] = []
        try:
            with plugin_errors("scoring"):
                caveats = LINES.validate_python(evaluator.caveats(), strict=True)
                scores = [_checked(score) for score in evaluator.score(samples)]
        except LsamplerError as error:
            return Outcome(problem=f"{evaluator.name}: {_reason(error)}", caveats=caveats)
        wrong = ", ".join(score.metric for score in scores if not score.is_finite())
        problem = f"{evaluator.name}: NaN or infinite values of {wrong}" if wrong else None
        return Outcome([score for score in scores if score.is_finite()], problem, caveats)

    def _illustrate(self, samples: Samples, found: Record) -> None:
        neighbours = None
        try:
            found.plots, neighbours = plot_data(self.real, samples)
        except Exception as error:
            found.problems.append(f"no plots: {_reason(error)}")
        try:
            found.picture = picture_of(self.real, samples, neighbours)
        except Exception as error:
            found.problems.append(f"no pictures: {_reason(error)}")


def score_rows(
    bench: Bench, sets: Sequence[SampleSet], cache: RowCache, *, illustrated: bool = False
) -> Iterator[Row | None]:
    """Score sets of samples by every evaluator, on the current engine; the rows are the same whatever the engine.

    Rows that are ``illustrated`` have what plots need and, if there is a decoder, a picture.

    Yields:
        A row for each set, in order, or None for one that is empty. Whatever fails is a problem of its row.
    """
    digests = [evaluator.digest() for evaluator in bench.evaluators]
    real = bench.real
    keys = [cache.key(real.subject.fingerprint, each.kind, each.key(), real.rows, real.seed) for each in sets]
    records = [cache.read(key) for key in keys]
    jobs = [bench.missing(record, digests, illustrated=illustrated) for record in records]
    answers = _ask_workers(bench, [(each, job) for each, job in zip(sets, jobs, strict=True) if job])
    every = zip(sets, keys, records, jobs, strict=True)
    for each, key, record, job in track(every, bench.progress, "scoring", len(sets), lambda _: 1):
        found = Record()
        try:
            if job and answers is not None:
                found = next(answers)
            elif job:
                bench.score(each, job, found)
        finally:  # what was finished before an interruption is kept
            if record.add(found) and any(outcome.scores for outcome in record.outcomes.values()):
                cache.keep(key, record)
        row = _row(each, record, digests)
        yield row if row.n or row.problems else None


def _row(each: SampleSet, record: Record, digests: Sequence[str]) -> Row:
    outcomes = [record.outcomes[digest] for digest in digests if digest in record.outcomes]
    unprepared = [outcome.unprepared for outcome in outcomes if outcome.unprepared]
    return Row(
        each.name,
        record.n,
        [score for outcome in outcomes for score in outcome.scores],
        [*(outcome.problem for outcome in outcomes if outcome.problem), *record.problems],
        each.kind,
        each.entry,
        [*unprepared, *(line for outcome in outcomes for line in outcome.caveats)],
        record.plots,
        record.picture,
        record.seconds,
        record.note,
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, LsamplerError) else f"{type(error).__name__}: {lines[0]}"


@dataclass(frozen=True)
class _Run:
    """What all tasks of a run have in common. Compared by identity: files may have changed before the next run."""

    token: str
    reopen: Callable[[], Subject] = field(compare=False)
    reference: str = field(compare=False)
    evaluators: tuple[PluginName, ...] = field(compare=False)
    seed: int = field(compare=False)
    rows: int = field(compare=False)


def _ask_workers(bench: Bench, jobs: Sequence[tuple[SampleSet, Missing]]) -> Iterator[Record] | None:
    """What workers find, in order; None if sets are scored in this process."""
    engine, real, reopen = current_engine(), bench.real, bench.real.subject.reopen
    if not engine.remote or reopen is None:
        return None
    evaluators = tuple(map(PluginName.of, bench.evaluators))
    run = _Run(uuid.uuid4().hex, reopen, real.reference.name, evaluators, real.seed, real.rows)
    tasks = [(each.portable(), job) for each, job in jobs]
    return iter(engine.map(functools.partial(_score_on_worker, run), tasks))


# Plugins are promised that they run alone, and a worker may have several threads.
_alone = threading.Lock()


def _score_on_worker(run: _Run, task: tuple[SampleSet, Missing]) -> Record:
    each, missing = task
    with _alone:
        with _as_here():
            bench = _bench_on_worker(run)
            each.check(bench.real.subject)
        found = Record()
        bench.score(each, missing, found)
        return found


@functools.lru_cache(maxsize=1)
def _bench_on_worker(run: _Run) -> Bench:
    subject = run.reopen()
    subject.reference.name = run.reference  # messages do not depend on the process that writes them
    return Bench(RealData(subject, seed=run.seed, rows=run.rows), [name.plugin() for name in run.evaluators])


@contextlib.contextmanager
def _as_here() -> Iterator[None]:
    """What the caller has found, a worker must find as well."""
    try:
        yield
    except (LsamplerError, ImportError, AttributeError) as error:
        raise LsamplerError(f"a worker lacks what is here, a file or a plugin: {error}") from error
