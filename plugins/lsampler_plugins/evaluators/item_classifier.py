"""item-classifier: whether a classifier can tell decoded samples from real items."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, RealItems, Samples, Score
from lsampler_plugins.evaluators.cross_validation import LEARNER, Learner, cross_validated_auc, require_rows
from lsampler_plugins.evaluators.item_values import ITEMS, Rows, item_digests, origin_caveats, values

SMALLEST = 1e-6
"""Variance of a principal component, of the largest: below it a component is rounding."""
GROUP = "can a classifier tell items apart"
OF_ITEMS = Metric(
    "item-auc",
    group=GROUP,
    label="AUC\nreal items",
    better="lower",
    about="How well a classifier tells samples from the held-out items that were encoded: 0.5 is guessing, the best, "
    "and 1 is no mistake. What the autoencoder loses counts. It does not see what this classifier cannot learn.",
)
OF_RECONSTRUCTIONS = Metric(
    "reconstruction-auc",
    group=GROUP,
    label="AUC\ndecoded real vectors",
    better="lower",
    about="How well a classifier tells decoded samples from decoded held-out vectors: 0.5 is guessing, the best, and 1 "
    "is no mistake. What the autoencoder loses does not count. It does not see what this classifier cannot learn.",
)


class ItemClassifier(Evaluator):
    """Area under the ROC curve of a classifier between decoded samples and held-out items, cross-validated.

    The classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545), as two-sample-classifier, but on items:
    features are the numbers of an item in standard deviations (256 evenly spaced ones of longer items), their principal
    components whitened by the real items, the radius, and for logistic regression the squares of the components.
    AUC = P(a sample looks more like a sample than a real item does): 0.5 is guessing, 1 is no mistake; by chance it may
    fall below 0.5. Lower is better.

    - item-auc: against the held-out items that were encoded, where a store of lsampler.encode knows them or ``items``
      names their file. It can be compared with samples of any other model of the same data;
    - reconstruction-auc: against decoded held-out vectors, which is fair to the strategy, since both went through the
      decoder. Items that were made by something else have none.

    Rows of real vectors are scored by their own items, and by these decoded.
    """

    name = "item-classifier"
    by_default = False
    made_for = ("signal", "table", "array")

    items: str | None = Field(default=None, description=ITEMS)
    folds: int = Field(default=5, ge=2, le=100, description="of the cross-validation")
    learner: Learner = Field(default="boosting", description=LEARNER)

    _items: RealItems = PrivateAttr()
    _of_items: "_Features | None" = PrivateAttr(default=None)
    _of_decoded: "_Features" = PrivateAttr()
    _caveats: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        _ = real.held_out
        if len(real.train) < 2:
            raise LsamplerError("a single real item has no covariance; encode more items")
        self._items = RealItems(real, self.items)
        self._of_decoded = _Features(values(self._items.decoded_train), self.learner)
        self._of_items = _Features(values(self._items.train), self.learner) if self._items.originals else None
        self._caveats = origin_caveats(self._items) if self._of_items is None else self._loss(self._of_items)

    def depends_on(self) -> Sequence[str]:
        return item_digests(self.items)

    def caveats(self) -> list[str]:
        return self._caveats

    def score(self, samples: Samples) -> list[Score]:
        found = []
        if self._of_items is not None:
            real = self._real.held_out_for(samples, self._items.held_out)
            found.append(self._area(OF_ITEMS, self._of_items, real, self._items.of(samples)))
        if samples.are_decoded:
            real = self._real.held_out_for(samples, self._items.decoded_held_out)
            found.append(self._area(OF_RECONSTRUCTIONS, self._of_decoded, real, samples.head(self._real.rows).items))
        return found

    def _area(
        self, metric: Metric, features: "_Features", real: NDArray[np.generic], drawn: NDArray[np.generic]
    ) -> Score:
        n = min(len(real), len(drawn), self._real.rows)
        require_rows(n, self.folds, "items")
        rows = [features.of(values(items[:n])) for items in (real, drawn)]
        return cross_validated_auc(metric, *rows, learner=self.learner, folds=self.folds, seed=self._real.seed)

    def _loss(self, features: "_Features") -> list[str]:
        """How well decoded held-out vectors are told from the other held-out items: none, if these are too few."""
        try:
            area = self._area(OF_ITEMS, features, self._items.held_out[::2], self._items.decoded_held_out[1::2])
        except LsamplerError:
            return []
        return [
            f"decoded held-out vectors are told from real items with an AUC of {area.value:.2f}: so much the "
            "autoencoder loses, whatever the strategy"
        ]


class _Features:
    """Rows of numbers in standard deviations, their whitened principal components, and the radius.

    Trees find what lies far to both sides of the centre by themselves; a linear learner is given squares.
    """

    def __init__(self, known: Rows, learner: Learner) -> None:
        self._squares = learner == "logistic"
        self._mean, spread = known.mean(axis=0), known.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        covariance = np.atleast_2d(np.cov(self._scaled(known).T))
        variances, axes = np.linalg.eigh(covariance)
        kept = variances > SMALLEST * max(variances[-1], 0.0)
        self._axes = axes[:, kept] / np.sqrt(variances[kept])

    def _scaled(self, rows: Rows) -> Rows:
        found: Rows = (rows - self._mean) / self._scale
        return found

    def of(self, rows: Rows) -> NDArray[np.float32]:
        """(n, V) -> (n, F) float32."""
        scaled = self._scaled(rows)
        white = scaled @ self._axes
        squares = [np.square(white)] if self._squares else []
        return np.column_stack([scaled, white, *squares, np.linalg.norm(white, axis=1)]).astype(np.float32)


lsampler_evaluators = offers(ItemClassifier)
