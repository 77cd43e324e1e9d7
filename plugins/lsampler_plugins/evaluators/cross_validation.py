"""The area under the ROC curve of a classifier between real and drawn rows, each judged by one that did not see it."""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler import LsamplerError
from lsampler.compute import one_thread
from lsampler.scoring import Metric, Score, bootstrap_score
from lsampler_plugins.evaluators.roc_area import RocArea
from lsampler_plugins.evaluators.split_check import boosted_trees

Learner: TypeAlias = Literal["boosting", "logistic"]
LEARNER = "gradient-boosted trees, or logistic regression, which is faster and sees less"
LEAST_A_FOLD = 10


def require_rows(n: int, folds: int, what: str = "vectors") -> None:
    """Raise LsamplerError if there are too few rows of a kind to cross-validate."""
    if n < LEAST_A_FOLD * folds:
        raise LsamplerError(f"{n} {what} of a kind; cross-validation in {folds} folds needs {LEAST_A_FOLD * folds}")


def cross_validated_auc(
    metric: Metric, real: NDArray[Any], drawn: NDArray[Any], *, learner: Learner, folds: int, seed: int
) -> Score:
    """The area between as many real (n, F) and drawn (n, F) rows of features, with its interval."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    n = len(real)
    labels = np.repeat([0, 1], n)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    with one_thread():  # so small a task is no faster with more threads, and much slower where they wait
        found = cross_val_predict(
            _classifier(learner, seed), np.concatenate([real, drawn]), labels, cv=split, method="decision_function"
        )

    area = RocArea(found[:n], found[n:])
    return bootstrap_score(metric, lambda i: area(i, i), n, seed=seed)


def _classifier(learner: Learner, seed: int) -> Any:
    if learner == "logistic":
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    return boosted_trees(seed)
