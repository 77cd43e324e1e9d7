"""Which strategy to use: candidates are fitted to some train vectors and judged on the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from markupsafe import Markup

from lsampler.errors import LsamplerError, nearest_name
from lsampler.plugins.by_name import load_evaluator, load_sampler
from lsampler.progress import ProgressLike, shows_progress
from lsampler.samplers.base import LatentSampler, SamplerLike, as_samplers
from lsampler.samplers.whitened import WhitenedSampler
from lsampler.scoring.entries import Entry
from lsampler.scoring.evaluation import Evaluation, evaluate
from lsampler.scoring.row_cache import Row
from lsampler.scoring.sample_sets import OTHER_ROW, Drawn
from lsampler.scoring.score_tables import scores_frame
from lsampler.scoring.scores import Score
from lsampler.showing import About, Shown, counted, fold, paragraph
from lsampler.store.memory_store import MemoryStore
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

Wish = Literal["balanced", "varied", "clean"]
CANDIDATES: Sequence[tuple[str, Mapping[str, object]]] = (
    ("multivariate-normal", MappingProxyType({})),
    ("elliptical", MappingProxyType({})),
    ("gaussian-copula", MappingProxyType({})),
    ("multivariate-normal", MappingProxyType({"temperature": 0.8})),
    ("elliptical", MappingProxyType({"temperature": 0.8})),
    ("pca-ellipse", MappingProxyType({})),
    ("gaussian-mixture", MappingProxyType({})),
    ("gaussian-mixture", MappingProxyType({"covariance": "full", "components": 10})),
    ("kde", MappingProxyType({})),
    ("flow", MappingProxyType({})),
    ("factor-mixture", MappingProxyType({})),
    ("refined", MappingProxyType({})),
)
"""Strategies and parameters, the simplest first: of those that cannot be told apart the first is chosen."""
TAKES_MINUTES = "refined"
STRONG_AREA, QUICK_AREA = "strong-auc", "classifier-auc"
FEWEST = 250
VECTORS_EACH = 10
"""Of fewer vectors than components, so many are needed for each principal component that a candidate keeps."""
JUDGES = 0.2
"""Share of the train vectors that the candidates are not fitted to, and on which they are judged."""
MANY_COPIES = 0.05
MORE_NEARER = 0.1
"""By how much the share of samples nearer to train vectors may exceed that of real ones."""


@dataclass(frozen=True, repr=False)
class Choice(Shown):
    """The strategy that was chosen, and why.

    Attributes:
        sampler: fitted to all train vectors.
        label: its name, with the parameters that are not at their default.
        why: one sentence with the scores that decided.
        evaluation: the scores of all candidates, on train vectors that they were not fitted to.
    """

    sampler: LatentSampler
    label: str
    why: str
    evaluation: Evaluation

    def to_frame(self, *, wide: bool = False) -> Any:
        """The scores of all candidates as a ``pandas.DataFrame``, with a column ``chosen``.

        Args:
            wide: whether metrics are columns, as in :meth:`Evaluation.to_frame`.

        Raises:
            LsamplerError: pandas is not installed.
        """
        chosen = {row.name: row.name == self.label for row in self.evaluation.rows}
        return scores_frame(self.evaluation.rows, "Choice", wide=wide, more={"chosen": chosen})

    def _about(self) -> About:
        candidates = sum(row.kind == "drawn" for row in self.evaluation.rows)
        return About("Choice", self.label, [f"of {counted(candidates, 'candidate')}", f"D = {self.sampler.dimension}"])

    def _parts(self) -> Iterator[Markup]:
        yield paragraph(self.why)
        yield fold("The candidates", *self.evaluation._parts())


@shows_progress
def choose(
    latents: ReferenceLike,
    *,
    wish: Wish = "balanced",
    candidates: SamplerLike | Iterable[SamplerLike] | None = None,
    quick: bool = False,
    seed: int = 0,
    progress: ProgressLike = None,
) -> Choice:
    """Choose a strategy for latent vectors, and fit it.

    The candidates are fitted to 80 % of the train vectors and judged on the other 20 %; the held-out vectors take no
    part, so that scores on them stay honest. Candidates that copy train vectors are left out. Of the others

    - ``balanced`` takes the one that the classifiers of ``strong-classifier`` tell least from real vectors;
    - ``varied`` takes, of those whose recall is at least that of real vectors (within its interval), the one of the
      highest precision; if there is none, the one of the highest recall;
    - ``clean`` takes, of those whose precision is at least that of real vectors, the one of the highest recall;
      if there is none, the one of the highest precision.

    Of candidates that are as good as the best, the simplest is chosen.

    Args:
        latents: a store, the path of one, or an array (N, D), with 250 train vectors or more.
        wish: what the samples are for.
        candidates: strategies to choose from, the simplest first: names, classes or instances; by default twelve of
            those that come with lsampler, and ``channel-normal`` for spatial latents. For fewer vectors than components
            they keep a tenth as many principal components as there are vectors. Those that cannot be fitted are left
            out.
        quick: judge by ``two-sample-classifier``, which takes seconds and sees less, and leave ``refined`` out, which
            takes minutes.
        seed: of the split and of the judges.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: an unknown wish, too few vectors, or no candidate that can be fitted and does not copy.
    """
    if wish not in get_args(Wish):
        raise LsamplerError(
            f"`wish={wish}` is unknown{nearest_name(wish, get_args(Wish))}; use balanced, varied or clean"
        )
    reference = as_reference(latents)
    samplers = as_samplers(_candidates(reference, quick) if candidates is None else candidates, "candidates")
    entries = {entry.label: entry for entry in map(Entry.of, samplers)}
    table = _judged(reference, list(entries.values()), quick=quick, seed=seed, progress=progress)
    best, why = _best(table.rows, wish, QUICK_AREA if quick else STRONG_AREA)
    sampler = entries[best.name].sampler.model_copy().fit(reference, progress=progress)
    return Choice(sampler, best.name, f"{best.name} {why}", table)


def _candidates(reference: Reference, quick: bool) -> list[LatentSampler]:
    """The candidates, with as many principal components as the number of vectors supports."""
    named = [*CANDIDATES, *([("channel-normal", {})] if reference.latent_shape else [])]
    samplers = [load_sampler(name, **settings) for name, settings in named if not (quick and name == TAKES_MINUTES)]
    count = reference.statistics().count
    if count > reference.dimension:
        return samplers
    few = {"components": max(int(count * (1 - JUDGES)) // VECTORS_EACH, 1)}
    return [
        one.model_copy(update=few) if isinstance(one, WhitenedSampler) and one.components is None else one
        for one in samplers
    ]


def _judged(
    reference: Reference, entries: Sequence[Entry], *, quick: bool, seed: int, progress: ProgressLike
) -> Evaluation:
    """The scores of all candidates, fitted to some of the train vectors, against the others."""
    if not entries:
        raise LsamplerError("`candidates` is empty; give at least one strategy")
    if not reference.has_latents:
        raise LsamplerError(
            f"{reference.name} holds statistics only; give `store=...`: strategies are judged on vectors"
        )
    fitted_to, judges = _split(reference.latents(), seed, reference.name)
    settings = {} if quick else {"curve": False}
    # The judges are random train vectors: there is no split to check.
    classifier = load_evaluator(
        "two-sample-classifier" if quick else "strong-classifier", check_split=False, **settings
    )
    scores = [classifier, load_evaluator("fidelity-diversity"), load_evaluator("novelty")]
    sets = [Drawn.of(entry, max(FEWEST, min(2000, len(judges))), required=False) for entry in entries]
    known = MemoryStore(fitted_to, judges, latent_shape=reference.latent_shape)
    return evaluate(sets, known, scores, seed=seed, progress=progress)


def _split(train: np.ndarray, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    if len(train) < FEWEST:
        raise LsamplerError(f"{name}: {len(train)} train vectors; a choice needs {FEWEST} or more")
    order = np.random.default_rng(seed).permutation(len(train))
    judges = round(JUDGES * len(train))
    return train[order[judges:]], train[order[:judges]]


def _best(rows: Sequence[Row], wish: Wish, area: str) -> tuple[Row, str]:
    """The row that fulfils a wish best, and why."""
    real = next(row for row in rows if row.name == OTHER_ROW)
    needed = {area, "precision", "recall", "near-copies", "nearer-train"}
    drawn = [row for row in rows if row.kind == "drawn" and needed <= set(row.by_metric)]
    if not drawn:
        raise LsamplerError("none of the candidates could be fitted and judged; name others in `candidates`")
    fair = [row for row in drawn if not _copies(row, real)]
    if not fair:
        raise LsamplerError("all candidates copy train vectors; name others in `candidates`")
    if wish == "balanced":
        return _least_told_apart(fair, real, area)
    goal, other = ("recall", "precision") if wish == "varied" else ("precision", "recall")
    mark = real.by_metric[goal]
    enough = [row for row in fair if row.by_metric[goal].high >= mark.value]
    decides = other if enough else goal
    limit = max((enough or fair), key=lambda row: row.by_metric[decides].value).by_metric[decides].value
    best = next(row for row in enough or fair if row.by_metric[decides].high >= limit)
    words = "as varied as real vectors" if wish == "varied" else "as clean as real vectors"
    told = f"{goal} {best.by_metric[goal].text}, where real vectors have {mark.text}"
    if not enough:
        return best, f"comes nearest to being {words}: {told}"
    return (
        best,
        f"is {words} ({told}), and no other of these has a clearly higher {other}: {best.by_metric[other].text}",
    )


def _copies(row: Row, real: Row) -> bool:
    nearer, mark = row.by_metric["nearer-train"], real.by_metric.get("nearer-train")
    expected = mark.high if isinstance(mark, Score) else 0.5
    return row.by_metric["near-copies"].low > MANY_COPIES or nearer.low > expected + MORE_NEARER


def _clearly_above(one: Score, other: Score) -> bool:
    """Whether the difference of two scores exceeds its 95 % interval, were they independent."""
    return one.value - other.value > math.hypot(one.high - one.low, other.high - other.low) / 2


def _least_told_apart(rows: Sequence[Row], real: Row, area: str) -> tuple[Row, str]:
    ordered = sorted(rows, key=lambda row: row.by_metric[area].value)
    best = next(row for row in rows if not _clearly_above(row.by_metric[area], ordered[0].by_metric[area]))
    mark, found = real.by_metric.get(area), best.by_metric[area]
    text = f"is told from real vectors with an AUC of {found.value:.2f}"
    others = [row for row in ordered if row is not best]
    if others:
        relation = "the next" if others[0].by_metric[area].value >= found.value else "as good as, but simpler than,"
        text += f"; {relation} {others[0].name}, with {others[0].by_metric[area].value:.2f}"
    return best, text + (f", and two halves of real vectors with {mark.value:.2f}" if mark else "")
