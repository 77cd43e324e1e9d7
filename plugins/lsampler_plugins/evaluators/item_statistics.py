"""item-statistics: how the features of decoded samples are distributed, beside those of real items."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import frechet_distance, moments_of, one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, RealItems, Samples, Score, bootstrap_score
from lsampler_plugins.evaluators.features import NamedFeatures, digests, short_name
from lsampler_plugins.evaluators.item_values import (
    ITEMS,
    Rows,
    as_floats,
    item_digests,
    origin_caveats,
    value_names,
    values,
)

Indices = NDArray[np.int64]
GROUP = "decoded items"
KS = Metric(
    "item-ks",
    group=GROUP,
    label="KS of\nfeatures",
    better="lower",
    about="Largest difference of the shares of items below a value of a feature, 0 to 1, averaged over the features. "
    "It does not see how features depend on each other. It grows for few samples: compare sets of one size.",
)
WORST = Metric(
    "item-ks-worst",
    group=GROUP,
    label="KS of the\nworst feature",
    better="lower",
    about="The same of the feature for which it is largest, which is named below the number.",
)
CORRELATIONS = Metric(
    "item-correlation-error",
    group=GROUP,
    label="error of\ncorrelations",
    better="lower",
    about="How far linear correlations of two features are off, 0 to 2, as a root mean square over all pairs. It sees "
    "nothing else. It grows for few samples: compare sets of one size.",
)


class ItemStatistics(Evaluator):
    """Distances between features of decoded samples and of real items: single ones, correlations, and moments.

    - item-ks: two-sample Kolmogorov-Smirnov statistic of a feature, averaged; item-ks-worst is the largest, and names
      its feature;
    - item-correlation-error: root mean square difference of the Pearson correlations of two features. Features that are
      constant in the real items take no part;
    - item-frechet: squared Frechet distance of the moments (Dowson and Landau 1982) of the items, each feature in
      standard deviations of the real ones; or of features that you name.

    All are 0 or above, and lower is better. Of items of more than 256 numbers, such as long signals, 256 evenly spaced
    ones are the features. Samples are compared with the items of random train vectors: those that were encoded, where a
    store of lsampler.encode knows them or ``items`` names their file, elsewhere decoded vectors. Rows of real vectors
    are scored by their items in the same way. The intervals are those of the samples.

    'module:callable' imports that module and runs its code. A TorchScript file (.pt, .ts) can run code as well, and is
    opened with trusted=true only; an ONNX file (.onnx) cannot.
    """

    name = "item-statistics"
    by_default = False
    made_for = ("signal", "table", "array")
    compares_with_train = True

    items: str | None = Field(default=None, description=ITEMS)
    features: str | None = Field(
        default=None,
        description="module:callable from items (B, *shape) to features (B, F), or a .pt, .ts or .onnx file, for the "
        "Frechet distance; none: the items themselves, in standard deviations",
    )
    resamples: int = Field(default=50, ge=2, le=1000, description="of the bootstrap")
    trusted: bool = Field(default=False, description="whether a TorchScript file, which can run code, may be opened")

    _items: RealItems = PrivateAttr()
    _extract: NamedFeatures | None = PrivateAttr(default=None)
    _known: Rows = PrivateAttr()
    _moments: tuple[Rows, Rows] = PrivateAttr()
    _caveats: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._items = RealItems(real, self.items)
        self._extract = None
        if self.features:
            self._extract = NamedFeatures(self.features, "items (B, *shape)", trusted=self.trusted)
        train = self._items.train
        if len(train) < 2:
            raise LsamplerError("a single real item has no covariance; encode more items")
        self._known = values(train)
        self._moments = moments_of(self._features_of(train))
        self._caveats = [self._loss()] if self._items.originals else origin_caveats(self._items)

    def depends_on(self) -> Sequence[str]:
        return [*digests(self.features), *item_digests(self.items)]

    def caveats(self) -> list[str]:
        return self._caveats

    def score(self, samples: Samples) -> list[Score]:
        items = self._items.of(samples)
        rows = values(items)
        if len(rows) < 2:
            raise LsamplerError("a single sample has no covariance; draw more")
        if rows.shape[1] != self._known.shape[1]:
            raise LsamplerError("items of another shape than the real ones")
        steps = Steps(rows, self._known)
        worst = int(steps.distances(np.arange(len(rows))).argmax())
        with one_thread():  # many small products: more threads would wait for each other
            return [
                self._score(KS, lambda i: float(steps.distances(i).mean()), rows),
                replace(
                    self._score(WORST, lambda i: float(steps.distances(i).max()), rows),
                    note=value_names(self._items.item)[worst],
                ),
                *self._correlations(rows),
                self._frechet(self._features_of(items)),
            ]

    def _correlations(self, rows: Rows) -> list[Score]:
        varying = np.flatnonzero(_spread(self._known) > 0)
        if len(varying) < 2:
            return []
        pairs = np.triu_indices(len(varying), 1)
        expected = _correlations(self._known[:, varying])[pairs]

        def error(i: Indices) -> float:
            return float(np.sqrt(np.mean(np.square(_correlations(rows[i][:, varying])[pairs] - expected))))

        return [self._score(CORRELATIONS, error, rows)]

    def _frechet(self, features: Rows) -> Score:
        if features.shape[1] != len(self._moments[0]):
            raise LsamplerError("features of another number than those of the real items")
        of = short_name(self.features) if self.features else "standardised"
        metric = Metric(
            "item-frechet",
            group=GROUP,
            label=f"Frechet distance\n{of}",
            better="lower",
            about=f"Difference of means and covariances of the features ({of}) from those of real items in one number, "
            "0 or above. It sees no other shape. It grows for few samples: compare sets of one size.",
        )

        def distance(i: Indices) -> float:
            return frechet_distance(*self._moments, *moments_of(features[i]))

        return self._score(metric, distance, features)

    def _features_of(self, items: NDArray[np.generic]) -> Rows:
        if self._extract is not None:
            return self._extract.of(as_floats(items))
        spread = _spread(self._known)
        found: Rows = (values(items) - self._known.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        return found

    def _loss(self) -> str:
        """What decoded train vectors score against the items that they were encoded from."""
        decoded = self._items.decoded_train
        ks = Steps(values(decoded), self._known).distances(np.arange(len(decoded))).mean()
        frechet = frechet_distance(*self._moments, *moments_of(self._features_of(decoded)))
        return (
            f"decoded real vectors have an item-ks of {ks:.2g} and an item-frechet of {frechet:.3g} from the items "
            "that they were encoded from: so much the autoencoder loses, whatever the strategy"
        )

    def _score(self, metric: Metric, statistic: Callable[[Indices], float], rows: Rows) -> Score:
        score = bootstrap_score(metric, statistic, len(rows), resamples=self.resamples, seed=self._real.seed)
        return replace(score, low=max(score.low, 0.0))


class Steps:
    """The two empirical distribution functions of every feature, ready for resampled rows."""

    def __init__(self, rows: Rows, known: Rows) -> None:
        self._n, together = len(rows), np.concatenate([rows, known])
        self._order = np.argsort(together, axis=0)
        ordered = np.take_along_axis(together, self._order, axis=0)
        # Within equal values the functions are compared after the last one only.
        self._last = np.concatenate([ordered[1:] > ordered[:-1], np.ones((1, together.shape[1]), bool)])
        self._weights = np.concatenate([np.empty(len(rows)), np.full(len(known), -1 / len(known))])

    def distances(self, i: Indices) -> Rows:
        """The Kolmogorov-Smirnov statistic of every feature, of the rows of these indices."""
        self._weights[: self._n] = np.bincount(i, minlength=self._n) / self._n
        difference = np.abs(np.cumsum(self._weights[self._order], axis=0))
        found: Rows = np.where(self._last, difference, 0.0).max(axis=0)
        return found


def _spread(rows: Rows) -> Rows:
    """Standard deviations; 0 for features that are constant but for rounding."""
    spread = rows.std(axis=0)
    return np.where(spread > 1e-7 * np.abs(rows.mean(axis=0)), spread, 0.0)


def _correlations(rows: Rows) -> Rows:
    """Pearson correlations; those of a feature that is constant are 0."""
    spread = _spread(rows)
    scaled = (rows - rows.mean(axis=0)) * np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    found: Rows = scaled.T @ scaled / len(rows)
    return found


lsampler_evaluators = offers(ItemStatistics)
