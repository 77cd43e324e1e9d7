"""two-sample-classifier: whether a classifier can tell samples from held-out real vectors."""

from pydantic import Field, PrivateAttr

from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score
from lsampler_plugins.evaluators.cross_validation import LEARNER, Learner, cross_validated_auc, require_rows
from lsampler_plugins.evaluators.split_check import CHECK_SPLIT, classifier_features, split_warning


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
    learner: Learner = Field(default="boosting", description=LEARNER)
    check_split: bool = Field(default=True, description=CHECK_SPLIT)

    _warning: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        _ = real.held_out
        self._warning = split_warning(real) if self.check_split else []

    def caveats(self) -> list[str]:
        return self._warning

    def score(self, samples: Samples) -> list[Score]:
        real, drawn = self._real.held_out_for(samples), samples.latents
        n = min(len(real), len(drawn), self._real.rows)
        require_rows(n, self.folds)
        metric = Metric(
            "classifier-auc",
            group="can a classifier tell them apart",
            label=f"AUC\n{self.learner}",
            better="lower",
            about="How well a classifier tells samples from held-out real vectors: 0.5 is guessing, the best, and 1 is "
            "no mistake. It does not see what this classifier cannot learn from so few vectors.",
        )
        features = [classifier_features(self._real, rows[:n]) for rows in (real, drawn)]
        return [cross_validated_auc(metric, *features, learner=self.learner, folds=self.folds, seed=self._real.seed)]


lsampler_evaluators = offers(TwoSampleClassifier)
