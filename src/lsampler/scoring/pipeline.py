"""The one way from sets of samples to rows of scores: draw or read, check, ask each evaluator, keep.

On a cluster a set is a task: a worker opens the subject again, draws, and scores what it has drawn. Tasks hold names
and plain values only.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsampler.compute.engine import current_engine
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.progress import Progress, begin, track
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.plot_data import IMAGES, picture_of, plot_data
from lsampler.scoring.rows import Outcome, Record, Row, RowCache
from lsampler.scoring.sample_sets import PluginName, Real, SampleSet, Subject
from lsampler.scoring.samples import RealData, Samples, check_samples

__all__ = ["Bench", "score_rows"]


@dataclass(frozen=True)
class _Missing:
    """What a row lacks.

    Attributes:
        evaluators: the indices of the evaluators to be asked, by their digests.
        plots: whether the plots' numbers are missing.
        picture: whether the picture is missing.
    """

    evaluators: Mapping[str, int]
    plots: bool
    picture: bool

    def __bool__(self) -> bool:
        return bool(self.evaluators) or self.plots or self.picture


class Bench:
    """Evaluators and the real data that they learn from.

    Args:
        subject: what samples belong to.
        evaluators: which scores; prepared when first needed.
        seed: of the draws and of what is compared with them.
        rows: how many train vectors samples are compared with.
        progress: where to show the progress.
    """

    def __init__(
        self,
        subject: Subject,
        evaluators: Sequence[Evaluator],
        *,
        seed: int,
        rows: int,
        progress: Progress | None = None,
    ) -> None:
        self.subject, self.evaluators, self.progress = subject, list(evaluators), progress
        self.real = RealData(subject.reference, decode=subject.decode, encode=subject.encode, seed=seed, rows=rows)
        self._unprepared: dict[int, str | None] = {}

    @property
    def is_remote(self) -> bool:
        """Whether sets are scored by other processes."""
        return current_engine().remote and self.subject.reopen is not None

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

    def require_prepared(self) -> None:
        """Raise LsamplerError, with the first reason, if no evaluator could learn from the real data."""
        reasons = [self.unprepared(index) for index in range(len(self.evaluators))]
        if reasons and reasons[0] and all(reasons):
            raise LsamplerError(reasons[0])

    def score(self, each: SampleSet, missing: _Missing, found: Record) -> None:
        """Draw or read a set, and add to the record what is missing, or the reasons."""
        started = time.monotonic()
        if isinstance(each, Real) and not (each.always or self._compares()):
            return
        try:
            with plugin_errors("drawing"):
                samples = each.samples(self.real, self.progress)
            if each.kind != "drawn" and not len(samples.latents):
                return
            check_samples(samples, self.subject.reference)
        except LsamplerError as error:
            found.problems.append(_reason(error))
            return
        found.n = len(samples.latents)
        advance = begin(self.progress, f"  {samples.name}", len(missing.evaluators) + 1)
        for digest, index in missing.evaluators.items():
            found.outcomes[digest] = self._outcome(index, samples)
            advance(1)
        self._illustrate(samples, missing, found)
        advance(1)
        found.seconds = time.monotonic() - started

    def _compares(self) -> bool:
        every = enumerate(self.evaluators)
        return any(evaluator.compares_with_train and not self.unprepared(index) for index, evaluator in every)

    def _outcome(self, index: int, samples: Samples) -> Outcome:
        evaluator, reason = self.evaluators[index], self.unprepared(index)
        if reason:
            return Outcome([], caveats=[reason], prepared=False)
        caveats: list[str] = []
        try:
            with plugin_errors("scoring"):
                caveats = list(evaluator.caveats())
                scores = evaluator.score(samples)
        except LsamplerError as error:
            return Outcome([], f"{evaluator.name}: {_reason(error)}", caveats)
        wrong = ", ".join(score.metric for score in scores if not score.is_finite())
        problem = f"{evaluator.name}: NaN or infinite values of {wrong}" if wrong else None
        return Outcome([score for score in scores if score.is_finite()], problem, caveats)

    def _illustrate(self, samples: Samples, missing: _Missing, found: Record) -> None:
        if missing.plots:
            try:
                found.plots = plot_data(self.real, samples)
            except Exception as error:
                found.problems.append(f"no plots: {_reason(error)}")
        if missing.picture and self.subject.decode:
            try:
                found.picture = picture_of(self.subject.decode(samples.latents[:IMAGES]))
            except Exception as error:
                found.problems.append(f"no pictures: {_reason(error)}")


def score_rows(bench: Bench, sets: Sequence[SampleSet], cache: RowCache | None = None) -> Iterator[Row | None]:
    """Score sets of samples by every evaluator, on the current engine; the rows are the same whatever the engine.

    Args:
        bench: evaluators and real data.
        sets: of samples.
        cache: of rows that an earlier run finished. With one, rows have what plots need and, if it has a folder and
            there is a decoder, a picture.

    Yields:
        A row for each set, in order, or None for one that is empty. Whatever fails is a problem of its row.
    """
    digests = [evaluator.digest() for evaluator in bench.evaluators]
    keys = [_key(bench, each, cache) if cache else "" for each in sets]
    records = [cache.read(key) if cache else Record() for key in keys]
    jobs = [_missing(bench, record, digests, cache) for record in records]
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
            if record.add(found) and cache:
                cache.keep(key, record)
        row = _row(each, record, digests)
        yield row if row.n or row.problems else None


def _key(bench: Bench, each: SampleSet, cache: RowCache) -> str:
    return cache.key(bench.subject.fingerprint, each.kind, each.key(), bench.real.rows, bench.real.seed)


def _missing(bench: Bench, record: Record, digests: Sequence[str], cache: RowCache | None) -> _Missing:
    stale = {}
    for index, digest in enumerate(digests):
        outcome = record.outcomes.get(digest)
        if (
            outcome is None
            or outcome.problem
            # It may be able to learn now what it could not.
            or not (outcome.prepared or outcome.caveats == [bench.unprepared(index)])
        ):
            stale[digest] = index
    pictured = cache is not None and cache.folder is not None and bench.subject.decode is not None
    return _Missing(stale, cache is not None and record.plots is None, pictured and record.picture is None)


def _row(each: SampleSet, record: Record, digests: Sequence[str]) -> Row:
    outcomes = [record.outcomes[digest] for digest in digests if digest in record.outcomes]
    return Row(
        each.name,
        record.n,
        [score for outcome in outcomes for score in outcome.scores],
        [*(outcome.problem for outcome in outcomes if outcome.problem), *record.problems],
        each.kind,
        each.entry,
        [line for outcome in outcomes if not outcome.prepared for line in outcome.caveats],
        [line for outcome in outcomes if outcome.prepared for line in outcome.caveats],
        record.plots,
        record.picture,
        record.seconds,
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, LsamplerError) else f"{type(error).__name__}: {lines[0]}"


@dataclass(frozen=True)
class _Run:
    """What all tasks of a run have in common.

    Attributes:
        token: names this run alone: what a worker keeps of it must not outlive a change of the files.
        reopen: makes the subject again.
        reference: its name in messages, which do not depend on the process that writes them.
        evaluators: names and parameters.
        seed: of the draws and of what is compared with them.
        rows: how many train vectors samples are compared with.
    """

    token: str
    reopen: Callable[[], Subject]
    reference: str
    evaluators: tuple[PluginName, ...]
    seed: int
    rows: int


@dataclass(frozen=True)
class _Task:
    """A set to be scored by a worker, and what is missing of its row."""

    run: _Run
    each: SampleSet
    missing: _Missing


def _ask_workers(bench: Bench, jobs: Sequence[tuple[SampleSet, _Missing]]) -> Iterator[Record] | None:
    """What workers find, in order; None if sets are scored in this process."""
    subject, real = bench.subject, bench.real
    if not bench.is_remote or subject.reopen is None:
        return None
    evaluators = tuple(map(PluginName.of, bench.evaluators))
    run = _Run(uuid.uuid4().hex, subject.reopen, subject.reference.name, evaluators, real.seed, real.rows)
    return iter(current_engine().map(_score_on_worker, [_Task(run, each.portable(), job) for each, job in jobs]))


# Plugins are promised that they run alone, and a worker may have several threads.
_alone = threading.Lock()
_benches: dict[str, Bench] = {}


def _score_on_worker(task: _Task) -> Record:
    with _alone:
        with _as_here():
            bench = _bench_on_worker(task.run)
            task.each.check(bench.subject)
        found = Record()
        bench.score(task.each, task.missing, found)
        return found


def _bench_on_worker(run: _Run) -> Bench:
    if run.token not in _benches:
        _benches.clear()
        subject = run.reopen()
        subject.reference.name = run.reference
        evaluators = [name.plugin() for name in run.evaluators]
        _benches[run.token] = Bench(subject, evaluators, seed=run.seed, rows=run.rows)
    return _benches[run.token]


@contextlib.contextmanager
def _as_here() -> Iterator[None]:
    """What the caller has found, a worker must find as well."""
    try:
        yield
    except (LsamplerError, ImportError, AttributeError) as error:
        raise LsamplerError(f"a worker lacks what is here, a file or a plugin: {error}") from error
