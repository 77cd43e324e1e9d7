"""two-sample-classifier: whether a classifier can tell samples from held-out real vectors."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score
from lsampler_plugins.evaluators.split_check import CHECK_SPLIT, boosted_trees, classifier_features, split_warning

LEAST_A_FOLD = 10


class TwoSampleClassifier(Evaluator):
    """Area under the ROC curve of a classifier between samples and held-out real vectors, cross-validated.

    The classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545). Features are the
    latent vectors whitened by the reference's principal components, their squares, and the
    radius; there are as many samples as held-out vectors. Every vector is judged by a classifier that did
    not see it. AUC = P(a sample looks more like a sample than a real vector does): 0.5 is guessing, 1 is no
    mistake; by chance it may fall below 0.5. Lower is better.

    A warning says where the held-out vectors themselves can be told from train vectors, as in sorted data.
    """

    name = "two-sample-classifier"
    by_default = False

    folds: int = Field(default=5, ge=2, le=100, description="of the cross-validation")
    learner: Literal["boosting", "logistic"] = Field(
        default="boosting", description="gradient-boosted trees, or logistic regression, which is faster and sees less"
    )
    check_split: bool = Field(default=True, description=CHECK_SPLIT)

    _warning: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        _ = real.held_out
        self._warning = split_warning(real) if self.check_split else []

    def caveats(self) -> list[str]:
        return self._warning

    def score(self, samples: Samples) -> list[Score]:
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        real, drawn = self._real.held_out_for(samples), samples.latents
        n = min(len(real), len(drawn), self._real.rows)
        if n < LEAST_A_FOLD * self.folds:
            raise LsamplerError(
                f"{n} vectors of a kind; cross-validation in {self.folds} folds needs {LEAST_A_FOLD * self.folds}"
            )
        features = classifier_features(self._real, np.concatenate([real[:n], drawn[:n]]))
        labels = np.repeat([0, 1], n)
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self._real.seed % 2**32)
        with one_thread():  # so small a task is no faster with more threads, and much slower where they wait
            found = cross_val_predict(self._classifier(), features, labels, cv=folds, method="decision_function")

        def area(i: NDArray[np.int64]) -> float:
            return float(roc_auc_score(labels, np.concatenate([found[:n][i], found[n:][i]])))

        metric = Metric(
            "classifier-auc",
            group="can a classifier tell them apart",
            label=f"AUC\n{self.learner}",
            better="lower",
            about="How well a classifier tells samples from held-out real vectors: 0.5 is guessing, the best, and 1 is "
            "no mistake. It does not see what this classifier cannot learn from so few vectors.",
        )
        return [bootstrap_score(metric, area, n, seed=self._real.seed)]

    def _classifier(self) -> Any:
        if self.learner == "logistic":
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        return boosted_trees(self._real.seed)


lsampler_evaluators = offers(TwoSampleClassifier)
