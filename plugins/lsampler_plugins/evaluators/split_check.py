"""Whether held-out vectors differ from train vectors, as they do where sorted data were split at a row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute import one_thread
from lsampler.scoring import Metric, RealData, Score, bootstrap_score
from lsampler_plugins.evaluators.roc_area import RocArea

FEWEST = 50
CHECK_SPLIT = "whether to warn where held-out vectors can be told from train vectors"
AREA = Metric("held-out-auc", group="split", label="AUC", better="lower")


def split_area(real: RealData) -> Score | None:
    """How well boosted trees tell held-out vectors from train vectors, as an AUC; None for fewer than 50 of a kind.

    Half of them teach the trees, and the others are judged, so that the interval of a random split holds 0.5.
    """
    held_out, train = real.held_out, real.other
    n = min(len(held_out), len(train), real.rows)
    if n < FEWEST:
        return None
    held_out = held_out[np.random.default_rng(real.seed).permutation(len(held_out))[:n]]
    learn, judge = (
        classifier_features(real, np.concatenate([train[start:n:2], held_out[start:n:2]])) for start in (0, 1)
    )
    labels = np.arange(len(learn)) >= len(learn) // 2
    with one_thread():
        found = boosted_trees(real.seed).fit(learn, labels).decision_function(judge)
    judged = len(judge) // 2
    area = RocArea(found[:judged], found[judged:])
    return bootstrap_score(AREA, lambda i: area(i, i), judged, seed=real.seed)


def split_warning(real: RealData) -> list[str]:
    """One line if held-out vectors can be told from train vectors; none if not."""
    score = split_area(real)
    if score is None or score.low <= 0.5:
        return []
    return [
        f"the held-out vectors differ from the train vectors (AUC {score.value:.2f}, interval {score.low:.2f} to "
        f"{score.high:.2f}), which makes every strategy look worse; unless whole groups are held out on purpose, "
        "split at random: 'lsampler encode --held-out N', or 'lsampler store import --held-out N'"
    ]


def classifier_features(real: RealData, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Latent vectors (n, D) whitened by the reference's principal components, their squares, and the radius."""
    statistics = real.reference.statistics()
    white = statistics.whitening(statistics.judged).forward(rows)
    return np.column_stack([white, np.square(white), np.linalg.norm(white, axis=1)]).astype(np.float32)


def boosted_trees(seed: int) -> Any:
    """Gradient-boosted trees that learn in seconds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Deeper trees, finer bins or all features at every split take five times as long and tell no more apart.
    return HistGradientBoostingClassifier(
        max_iter=100, max_depth=4, max_bins=63, max_features=0.25, early_stopping=False, random_state=seed % 2**32
    )
