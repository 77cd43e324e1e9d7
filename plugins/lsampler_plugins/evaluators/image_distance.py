"""image-distance: Frechet and kernel distances between features of decoded samples and of decoded real vectors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.compute import frechet_distance, moments_of, one_thread
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score, normal_score
from lsampler_plugins.evaluators.features import Features, NamedFeatures, digests, short_name

IMAGES = "images (B, C, H, W) in [0, 1]"
BLOCK = 256


class ImageDistance(Evaluator):
    """Frechet and kernel distance between features of decoded samples and of decoded train vectors.

    - image-frechet: the formula of the Frechet Inception distance (Heusel et al. 2017, arXiv 1706.08500), in squared
      units of the features, 0 or above. It grows for few images. The interval is that of the samples;
    - image-kernel: that of the Kernel Inception distance (Binkowski et al. 2018, arXiv 1801.01401), the unbiased
      squared maximum mean discrepancy with the kernel (x y / F + 1)^3 of F features. About 0, or slightly below, for
      one distribution, whatever the number of images. The interval is that of the statistic's linear part. It compares
      the first three moments only, and depends on the unit of the features.

    Both are lower for better samples, and use features of your choice. By default they are those of the autoencoder's
    own encoder, which judges its own decoder kindly; an independent network is better. No network is downloaded.
    'module:callable' imports that module and runs its code. A TorchScript file (.pt, .ts) can run code as well, and is
    opened with trusted=true only; an ONNX file (.onnx) cannot.

    Decoded real vectors, not photographs, are the mark: what the autoencoder itself loses does not count. Values of
    different features cannot be compared, nor can Frechet distances of different numbers of images.
    """

    name = "image-distance"
    by_default = False
    made_for = ("image",)
    needs_images = True
    compares_with_train = True

    features: str | None = Field(
        default=None,
        description="module:callable from images (B, C, H, W) in [0, 1] to features (B, F), or a .pt, .ts or .onnx "
        "file; none: the autoencoder's own encoder",
    )
    images: int = Field(
        default=2000, ge=2, le=10_000, description="so many samples and train vectors are decoded, or all"
    )
    resamples: int = Field(default=50, ge=2, le=1000, description="of the bootstrap")
    trusted: bool = Field(default=False, description="whether a TorchScript file, which can run code, may be opened")

    _extract: NamedFeatures | None = PrivateAttr(default=None)
    _known: Features = PrivateAttr()
    _moments: tuple[Features, Features] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._extract = NamedFeatures(self.features, IMAGES, trusted=self.trusted) if self.features else None
        rows = real.samples("train", real.train).head(self.images)
        if len(rows.latents) < 2:
            raise LsamplerError("a single train vector has no covariance; encode more items")
        self._known = self._features_of(rows)
        self._moments = moments_of(self._known)

    def score(self, samples: Samples) -> list[Score]:
        n = min(len(self._real.train), self.images)
        features = self._features_of(samples.head(n))
        if len(features) < 2:
            raise LsamplerError("a single sample has no covariance; draw more")
        if features.shape[1] != len(self._moments[0]):
            raise LsamplerError("features of another number than those of the train vectors")
        return [self._frechet(features), self._kernel(features)]

    def _frechet(self, features: Features) -> Score:
        def distance(i: NDArray[np.int64]) -> float:
            with one_thread():  # small products: more threads would wait for each other
                return frechet_distance(*self._moments, *moments_of(features[i]))

        extractor = self._extractor_name()
        metric = Metric(
            "image-frechet",
            group="decoded items",
            label=f"Frechet distance\n{extractor}",
            better="lower",
            about="Difference of the decoded images from decoded real ones, as means and covariances of features "
            f"({extractor}) see them; 0 or above, lower is better. It grows for few samples, and sees only what the "
            "features see.",
        )
        score = bootstrap_score(metric, distance, len(features), resamples=self.resamples, seed=self._real.seed)
        return replace(score, low=max(score.low, 0.0))

    def _kernel(self, features: Features) -> Score:
        extractor, n = self._extractor_name(), min(len(features), len(self._known))
        metric = Metric(
            "image-kernel",
            group="decoded items",
            label=f"kernel distance\n{extractor}",
            better="lower",
            about="Difference of the decoded images from decoded real ones, as three moments of features "
            f"({extractor}) see them: about 0, or slightly below, for real images, more is worse. It does not grow for "
            "few samples, and sees only what the features see.",
        )
        with one_thread():  # so that the last digits do not depend on the number of threads
            parts = discrepancies(self._known[:n], features[:n])
        return normal_score(metric, float(parts.mean()), 2 * float(parts.std(ddof=1) / np.sqrt(n)), n)

    def _extractor_name(self) -> str:
        return short_name(self.features) if self.features else "own encoder"

    def depends_on(self) -> Sequence[str]:
        return digests(self.features)

    def _features_of(self, samples: Samples) -> Features:
        if self._extract is None:
            return samples.encoded_again.astype(np.float64)
        return self._extract.of(samples.images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def discrepancies(first: Features, second: Features) -> Features:
    """Each pair's part (n,) of the unbiased squared discrepancy of two sets (n, F), which is their mean.

    The kernel is (x y / F + 1)^3; it is computed in blocks of rows.
    """
    n, parts = len(first), np.zeros(len(first))
    for start in range(0, n, BLOCK):
        here = slice(start, min(start + BLOCK, n))
        rows = np.arange(here.stop - here.start)
        for one, other, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            kernel = (one[here] @ other.T / one.shape[1] + 1) ** 3
            kernel[rows, start + rows] = 0.0  # a vector with itself, or with the other of its pair
            parts[here] += sign * kernel.sum(axis=1)
    return parts / (n - 1)


lsampler_evaluators = offers(ImageDistance)
