"""Scores of samples that strategies are yet to draw, or that are in files.

On a cluster a set is a task: a worker opens model and store itself, draws, and scores what it has
drawn. Tasks hold names and plain values only.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lsampler.compute.engine import current_engine
from lsampler.errors import LsamplerError
from lsampler.plugins.registry import registry
from lsampler.progress import Progress, track
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.evaluator import (
    Evaluation,
    Evaluator,
    RealData,
    Row,
    Samples,
    check_samples,
    check_shape,
    compared_rows,
    evaluate,
    prepare,
    real_rows,
    rows_by_index,
    score_row,
    table,
)
from lsampler.store.latent_store import LatentStore
from lsampler.store.opening import open_store
from lsampler.workspace import Opened, Workspace

__all__ = ["Drawn", "Stored", "score_sets"]

MOST_BYTES = 1 << 28
"""Of samples from one file: 262,144 at D = 256, enough for shares to two thousandths."""


@dataclass(frozen=True)
class Drawn:
    """Samples that a strategy is to draw.

    Attributes:
        strategy: its name.
        parameters: all of them, as JSON.
        n: how many samples.
        required: raise if the strategy cannot be fitted, in place of leaving it out.
    """

    strategy: str
    parameters: str
    n: int
    required: bool = True

    @classmethod
    def of(cls, strategy: LatentSampler, n: int, *, required: bool = True) -> Drawn:
        """``n`` samples of a strategy with these parameters."""
        return cls(strategy.name, strategy.settings_json(), n, required)

    def check(self, workspace: Workspace) -> int:
        """How many samples. Raises LsamplerError if there is no such strategy."""
        self._built()
        return self.n

    def samples(self, workspace: Workspace, seed: int, progress: Progress | None) -> Samples:
        """Fit and draw."""
        fitted = self._built().fit(workspace.reference, progress=progress)
        decode, encode = workspace.both_ways()
        return Samples.drawn_by(fitted, self.n, seed=seed, decode=decode, encode=encode)

    def caveat(self, workspace: Workspace) -> str | None:
        """All that are drawn are scored."""
        return None

    def absolute(self) -> Drawn:
        """The same anywhere."""
        return self

    def _built(self) -> LatentSampler:
        built: LatentSampler = registry().get("sampler", self.strategy)(**json.loads(self.parameters))
        return built


@dataclass(frozen=True)
class Stored:
    """Samples in a store: all of them, or of very many every k-th."""

    path: str
    required: bool = field(default=True, init=False)

    def check(self, workspace: Workspace) -> int:
        """How many samples. Raises LsamplerError unless they can be vectors of this latent space."""
        stored = self._opened(workspace)
        check_shape(Path(self.path).name, (len(stored), stored.dimension), workspace.reference)
        return _few(stored)

    def samples(self, workspace: Workspace, seed: int, progress: Progress | None) -> Samples:
        """Read them."""
        stored = self._opened(workspace)
        few = _few(stored)
        # The samples of several runs may stand in a file one after the other.
        evenly = np.arange(few) * len(stored) // few
        blocks = track(stored.chunks(None), progress, "reading", len(stored), len)
        latents = rows_by_index(blocks, stored.dimension, evenly)
        return Samples(Path(self.path).name, latents, *workspace.both_ways())

    def caveat(self, workspace: Workspace) -> str | None:
        """What is said if not all are scored."""
        stored = self._opened(workspace)
        few, total = _few(stored), len(stored)
        return f"{self.path}: {few:,} of {total:,} vectors are scored, evenly chosen" if few < total else None

    def absolute(self) -> Stored:
        """The same from any folder."""
        return Stored(str(Path(self.path).absolute()))

    def _opened(self, workspace: Workspace) -> LatentStore:
        stored, expected = open_store(self.path), workspace.reference.fingerprint
        if stored.fingerprint and expected and stored.fingerprint != expected:
            raise LsamplerError(f"{self.path}: its vectors belong to another encoder than {workspace.reference.name}")
        return stored


def _few(stored: LatentStore) -> int:
    return min(len(stored), max(1, MOST_BYTES // (4 * stored.dimension)))


def score_sets(
    sets: Sequence[Drawn | Stored],
    workspace: Workspace,
    evaluators: Sequence[Evaluator],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Evaluation, list[str]]:
    """Score sets of samples by every evaluator, beside real vectors, on the current engine.

    The table is the same whatever the engine.

    Args:
        sets: of samples.
        workspace: what they belong to.
        evaluators: which scores; not prepared yet.
        seed: of the draws and of what is compared with them.
        progress: where to show the advance.

    Returns:
        The table, and why sets that are not required were left out.

    Raises:
        LsamplerError: see :func:`evaluate`; a set that is required cannot be had, or none can.
    """
    work = _on_workers if current_engine().remote else _here
    result, left_out = work(sets, workspace, evaluators, seed, progress)
    caveats = [caveat for each in sets if (caveat := each.caveat(workspace))]
    return replace(result, caveats=[*result.caveats, *caveats]), left_out


def _here(
    sets: Sequence[Drawn | Stored],
    workspace: Workspace,
    evaluators: Sequence[Evaluator],
    seed: int,
    progress: Progress | None,
) -> tuple[Evaluation, list[str]]:
    made = [_made(each, workspace, seed, progress) for each in sets]
    left_out = [found for found in made if isinstance(found, str)]
    samples = [found for found in made if isinstance(found, Samples)]
    if not samples:
        raise LsamplerError(left_out[0])
    decode, encode = workspace.both_ways()
    return evaluate(samples, workspace.reference, evaluators, decode=decode, encode=encode, seed=seed), left_out


def _made(each: Drawn | Stored, workspace: Workspace, seed: int, progress: Progress | None) -> Samples | str:
    """The samples, or why they are left out."""
    try:
        return each.samples(workspace, seed, progress)
    except LsamplerError as error:
        if each.required:
            raise
        return str(error)


@dataclass(frozen=True)
class _Run:
    """What all tasks of a run have in common.

    Attributes:
        opened: the workspace.
        reference: its name in messages, which do not tell who wrote them.
        evaluators: names and parameters, as JSON.
        seed: see :func:`score_sets`.
        rows: see :class:`RealData`.
        token: of this run alone: what a worker keeps must not outlive a change of the files.
    """

    opened: Opened
    reference: str
    evaluators: tuple[tuple[str, str], ...]
    seed: int
    rows: int
    token: str


@dataclass(frozen=True)
class _Task:
    """A set of samples, or the real vectors."""

    run: _Run
    each: Drawn | Stored | None


@dataclass(frozen=True)
class _Scored:
    """What came of a task."""

    rows: list[Row]
    caveats: list[str] = field(default_factory=list)
    left_out: str | None = None


def _on_workers(
    sets: Sequence[Drawn | Stored],
    workspace: Workspace,
    evaluators: Sequence[Evaluator],
    seed: int,
    progress: Progress | None,
) -> tuple[Evaluation, list[str]]:
    sizes = [each.check(workspace) for each in sets]
    named = tuple((evaluator.name, evaluator.settings_json()) for evaluator in evaluators)
    reference, rows = workspace.reference.name, compared_rows(sizes)
    run = _Run(workspace.opened.absolute(), reference, named, seed, rows, uuid.uuid4().hex)
    tasks = [_Task(run, each) for each in (*(each.absolute() for each in sets), None)]
    *scored, real = track(current_engine().map(_scored, tasks), progress, "scoring", len(tasks), lambda result: 1)
    left_out = [found.left_out for found in scored if found.left_out]
    had = [place for place, found in enumerate(scored) if not found.left_out]
    if not had:
        raise LsamplerError(left_out[0])
    if compared_rows([sizes[place] for place in had]) != rows:
        # The largest sets are left out: the others are compared with fewer rows than were prepared.
        return _on_workers([sets[place] for place in had], workspace, evaluators, seed, progress)[0], left_out
    return table(reference, real.rows, [row for found in scored for row in found.rows], real.caveats), left_out


# Plugins are promised that they run alone, and a worker may have several threads.
_alone = threading.Lock()


def _scored(task: _Task) -> _Scored:
    """On a worker."""
    run, each = task.run, task.each
    with _alone:
        workspace = _workspace(run)
        if each is None:
            real, ready, problems = _prepared(run)
            caveats = [*problems, *(caveat for evaluator in ready for caveat in evaluator.caveats())]
            return _Scored(real_rows(real, ready), caveats)
        with _as_here():
            each.check(workspace)
        samples = _made(each, workspace, run.seed, None)
        if isinstance(samples, str):
            return _Scored([], left_out=samples)
        check_samples(samples, workspace.reference)
        return _Scored([score_row(samples, _prepared(run)[1])])


@lru_cache(maxsize=1)
def _workspace(run: _Run) -> Workspace:
    with _as_here():
        workspace = run.opened.workspace()
    workspace.reference.name = run.reference
    return workspace


@lru_cache(maxsize=1)
def _prepared(run: _Run) -> tuple[RealData, list[Evaluator], list[str]]:
    """The evaluators that could be prepared, and why the others could not: the same for all sets."""
    workspace = _workspace(run)
    with _as_here():
        evaluators = [registry().get("evaluator", name)(**json.loads(text)) for name, text in run.evaluators]
    decode, encode = workspace.both_ways()
    real = RealData(workspace.reference, decode=decode, encode=encode, seed=run.seed, rows=run.rows)
    return real, *prepare(evaluators, real)


@contextlib.contextmanager
def _as_here() -> Iterator[None]:
    """What the caller has found, a worker must find as well."""
    try:
        yield
    except LsamplerError as error:
        raise LsamplerError(f"a worker lacks what is here, a file or a plugin: {error}") from error
