"""strong-classifier: whether classifiers that see all train vectors can tell samples from real ones."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score
from lsampler_plugins.evaluators.roc_area import RocArea
from lsampler_plugins.evaluators.split_check import CHECK_SPLIT, split_warning

FEWEST = 50
DRAWS = 2
"""So many draws for every train vector."""
VALIDATION = 0.1
HIDDEN = (256, 128)
DROPOUT, LEARNING_RATE, WEIGHT_DECAY, BATCH = 0.5, 1e-3, 2e-2, 256
PATIENCE = 20

Rows = NDArray[np.float32]
Scores = NDArray[np.float64]


def _metric(name: str, label: str, about: str) -> Metric:
    group = "can a classifier that sees all train vectors tell them apart"
    return Metric(name, group=group, label=label, better="lower", about=about)


STRONG = _metric(
    "strong-auc",
    "AUC\nstrong",
    "The larger of the areas of trees and network, which learn from train vectors and from draws and judge held-out "
    "vectors and draws that they have not seen: 0.5 is guessing, the best, and 1 is no mistake. It sees more with "
    "more train vectors: compare it between strategies on the same data only.",
)
TREES = _metric("strong-auc-trees", "trees", "The area of gradient-boosted trees alone.")
NETWORK = _metric("strong-auc-network", "network", "The area of a network with two hidden layers alone.")
RISE = _metric(
    "strong-auc-rise",
    "gained by\nthe second half",
    "By how much the strong area rises when the better classifier learns from all vectors instead of half of them. "
    "Where it is clearly above 0, more train vectors would tell the samples apart even better.",
)


@dataclass(frozen=True)
class Task:
    """What classifiers learn from, and what they judge; of each the real rows and the drawn ones."""

    learn: tuple[Rows, Rows]
    judge: tuple[Rows, Rows]

    def half(self) -> "Task":
        """The same with half of the rows to learn from."""
        real, drawn = self.learn
        return Task((real[: len(real) // 2], drawn[: len(drawn) // 2]), self.judge)

    def area(self, found: Scores) -> Callable[[NDArray[np.int64]], float]:
        """The area under the ROC curve of what was found for the judged rows, for resampled rows of both kinds."""
        real, drawn = map(len, self.judge)
        area = RocArea(found[:real], found[real:])
        return lambda i: area(i, i % drawn)


class StrongClassifier(Evaluator):
    """Area under the ROC curve of trees and a network that learn from all train vectors and twice as many draws.

    The classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545) with as much data as there is: real
    train vectors against fresh draws of the strategy, judged on held-out vectors against draws that the classifiers
    have not seen. Features are the whitened latent vectors, their squares and the radius. Gradient-boosted trees and a
    network of two hidden layers (256, 128) each stop early on a tenth of the rows; the larger area is the headline.
    AUC = P(a sample looks more like a sample than a real vector does): 0.5 is guessing, 1 is no mistake. Lower is
    better.

    ``strong-auc-rise`` says whether the area is still rising with the number of vectors. The row of other real vectors
    is the yardstick: one half of the train vectors against the other half, judged on two halves of the held-out
    vectors. Samples without a strategy (those of a store or an array) are split: half of them, at most, are judged.

    The intervals are those of the judged vectors; another seed of the classifiers moves the area by about 0.01.
    """

    name = "strong-classifier"
    by_default = False
    takes_minutes = True
    compares_with_train = True

    rows: int = Field(default=20_000, ge=2 * FEWEST, le=1_000_000, description="at most so many train vectors are used")
    epochs: int = Field(default=24, ge=1, le=1000, description="passes of the network over the vectors, at most")
    trees: int = Field(default=400, ge=1, le=10_000, description="boosted trees, at most")
    curve: bool = Field(default=True, description="whether to learn from half the vectors as well, for the rise")
    check_split: bool = Field(default=True, description=CHECK_SPLIT)

    _warning: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        if len(real.held_out) < FEWEST:
            raise LsamplerError(f"{len(real.held_out)} held-out vectors; a classifier is judged on {FEWEST} or more")
        self._warning = split_warning(real) if self.check_split else []

    def caveats(self) -> list[str]:
        return self._warning

    def score(self, samples: Samples) -> list[Score]:
        task, seed = self._task(samples), self._real.seed
        with one_thread():
            areas = {learner: task.area(learner(task)) for learner in (self._trees, self._network)}
            everything = np.arange(len(task.judge[0]))
            better = max(areas, key=lambda learner: areas[learner](everything))
            found = {STRONG: areas[better], TREES: areas[self._trees], NETWORK: areas[self._network]}
            if self.curve:
                part = task.area(better(task.half()))
                found[RISE] = lambda i: areas[better](i) - part(i)
        return [bootstrap_score(metric, area, len(everything), seed=seed) for metric, area in found.items()]

    def _task(self, samples: Samples) -> Task:
        if samples.kind == "held-out":
            raise LsamplerError("held-out vectors are what the others are judged against; see other real vectors")
        rng = np.random.default_rng(self._real.seed)
        train, held_out = self._real.reference.latents(), self._real.held_out
        train = train[rng.permutation(len(train))[: self.rows]]
        if samples.kind == "train":
            middle = len(train) // 2
            learn, judge = (train[:middle], train[middle:]), (held_out[::2], held_out[1::2])
        else:
            drawn = samples.latents
            if samples.more is not None:
                drawn = samples.more(DRAWS * len(train) + len(held_out))
            judged = min(len(held_out), len(drawn) // 2)
            learn, judge = (train, drawn[judged:]), (held_out, drawn[:judged])
        fewest = min(map(len, (*learn, *judge)))
        if fewest < FEWEST // 2:
            raise LsamplerError(f"too few vectors: {fewest} of one kind to learn from or to judge; draw or encode more")
        return Task(
            (self._features(learn[0]), self._features(learn[1])), (self._features(judge[0]), self._features(judge[1]))
        )

    def _features(self, rows: Rows) -> Rows:
        statistics = self._real.reference.statistics()
        white = statistics.whitening(statistics.judged).forward(rows)
        features = np.column_stack([white, (np.square(white) - 1) / np.sqrt(2), np.linalg.norm(white, axis=1)])
        features[:, -1] -= np.sqrt(white.shape[1])
        return features.astype(np.float32)

    def _trees(self, task: Task) -> Scores:
        from sklearn.ensemble import HistGradientBoostingClassifier

        # Deeper trees, finer bins or all features at every split take several times as long and tell no more apart.
        classifier = HistGradientBoostingClassifier(
            max_iter=self.trees,
            max_depth=4,
            max_bins=63,
            max_features=0.25,
            early_stopping=True,
            validation_fraction=VALIDATION,
            n_iter_no_change=PATIENCE,
            class_weight="balanced",
            random_state=self._real.seed % 2**32,
        )
        labels = np.repeat([0, 1], [len(rows) for rows in task.learn])
        classifier.fit(np.concatenate(task.learn), labels)
        found: Scores = classifier.decision_function(np.concatenate(task.judge))
        return found

    def _network(self, task: Task) -> Scores:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = _Network(task.learn, device, self._real.seed)
        best, found = 0.0, np.zeros(sum(map(len, task.judge)))
        judged = torch.from_numpy(np.concatenate(task.judge)).to(device)
        for epoch in range(self.epochs):
            network.learn(epoch / self.epochs)
            area = network.validation_area()
            if area > best:
                best, found = area, network.scores(judged)
        return found


class _Network:
    """A network of two hidden layers with dropout, trained by AdamW; its random choices depend on the seed alone."""

    def __init__(self, learn: tuple[Rows, Rows], device: torch.device, seed: int) -> None:
        self._device, self._generator = device, torch.Generator().manual_seed(seed)
        labels = torch.repeat_interleave(torch.tensor([0.0, 1.0]), torch.tensor([len(rows) for rows in learn]))
        rows = torch.from_numpy(np.concatenate(learn))
        order = self._shuffled(len(rows))
        kept = max(2, int(VALIDATION * len(rows)))
        self._rows, self._labels = rows[order[kept:]].to(device), labels[order[kept:]].to(device)
        self._validation, self._truth = rows[order[:kept]].to(device), labels[order[:kept]].numpy()
        self._weight = torch.tensor(len(learn[0]) / len(learn[1]), device=device)
        widths = (rows.shape[1], *HIDDEN, 1)
        self._weights: list[Tensor] = []
        for width, following in itertools.pairwise(widths):
            bound = width**-0.5
            start = (torch.rand((width + 1, following), generator=self._generator) * 2 - 1) * bound
            self._weights.append(start.to(device).requires_grad_())
        self._optimizer = torch.optim.AdamW(self._weights, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self._generator)

    def _apply(self, rows: Tensor, *, drop: bool) -> Tensor:
        for index, weights in enumerate(self._weights):
            rows = torch.addmm(weights[-1], rows, weights[:-1])
            if index < len(HIDDEN):
                rows = torch.nn.functional.gelu(rows)
                if drop:
                    kept = torch.rand(rows.shape, generator=self._generator).to(self._device) >= DROPOUT
                    rows = rows * kept / (1 - DROPOUT)
        return rows[:, 0]

    def learn(self, done: float) -> None:
        """One pass over all rows; ``done`` is the share of the training before it, along which the steps shrink."""
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * done))
        for batch in torch.split(self._shuffled(len(self._rows)), BATCH):
            found = self._apply(self._rows[batch], drop=True)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                found, self._labels[batch], pos_weight=self._weight
            )
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    @torch.no_grad()
    def scores(self, rows: Tensor) -> Scores:
        """(n,) larger for rows that look drawn."""
        found: Scores = self._apply(rows, drop=False).double().cpu().numpy()
        return found

    def validation_area(self) -> float:
        """The area for the rows that are not learned from; 0.5 if all of them are of one kind."""
        if len(np.unique(self._truth)) < 2:
            return 0.5
        found = self.scores(self._validation)
        return RocArea(found[self._truth == 0], found[self._truth == 1])()


lsampler_evaluators = offers(StrongClassifier)
