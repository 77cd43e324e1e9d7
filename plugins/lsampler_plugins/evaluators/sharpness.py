"""sharpness: whether decoded samples are as sharp as reconstructions of real images."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, RealData, Samples, Score, bootstrap_score

LUMINANCE = (0.299, 0.587, 0.114)
SHARPNESS = Metric(
    "sharpness",
    group="decoded items",
    label="sharpness\nratio",
    better="real",
    about="Sharpness of the decoded samples over that of decoded real vectors: 1 is as sharp, below 1 is blurred, "
    "above 1 is noisy or harsh. It does not see what the images show.",
)


class Sharpness(Evaluator):
    """Sharpness of the decoded samples over that of reconstructions of held-out images.

    The variance of the Laplacian (3 x 3) of the luminance in [0, 1], per image (Pech-Pacheco et
    al. 2000); median over the samples, over the median of as many decoded held-out vectors. 0 or
    above, 1 is as sharp as the decoder is with real vectors; noise is above 1, blur below. The
    interval is that of the samples.
    """

    name = "sharpness"
    by_default = False
    made_for = ("image",)
    needs_images = True

    images: int = Field(
        default=500, ge=1, le=10_000, description="how many samples, and how many held-out vectors, are decoded"
    )

    _known: dict[bool, float] = PrivateAttr(default_factory=dict)

    def prepare(self, real: RealData) -> None:
        super().prepare(real)
        self._known.clear()
        _ = real.held_out
        if real.decode is None:
            raise LsamplerError("needs decoded items; give `model=...`")

    def score(self, samples: Samples) -> list[Score]:
        typical, found = self._reconstructions(samples), laplacian_variances(samples.head(self.images).images)

        def ratio(i: NDArray[np.int64]) -> float:
            return float(np.median(found[i])) / typical

        return [bootstrap_score(SHARPNESS, ratio, len(found))]

    def _reconstructions(self, samples: Samples) -> float:
        halved = samples.kind == "held-out"
        if halved not in self._known:
            rows = self._real.held_out_for(samples)[: self.images]
            images = self._real.samples("reconstructions", rows).images
            self._known[halved] = float(np.median(laplacian_variances(images)))
        if self._known[halved] == 0:
            raise LsamplerError("decoded held-out vectors are flat images: nothing is as sharp as these")
        return self._known[halved]


def laplacian_variances(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Images (n, H, W, C) uint8 -> (n,): the variance of the Laplacian of the luminance in [0, 1]."""
    from scipy.ndimage import laplace

    channels = images.shape[-1]
    weights = np.array(LUMINANCE if channels == 3 else [1 / channels] * channels) / 255
    return np.array([laplace(image @ weights).var() for image in images])


lsampler_evaluators = offers(Sharpness)
