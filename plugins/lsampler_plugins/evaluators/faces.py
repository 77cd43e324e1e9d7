"""faces: the share of decoded images in which a face is detected (extra ``faces``)."""

import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lsampler.extras import require_extra
from lsampler.plugins import offers
from lsampler.scoring import Evaluator, Metric, Samples, Score, share_score

WITH_FACE = Metric(
    "faces",
    group="decoded items",
    label="with a face",
    better="higher",
    about="Share of decoded images in which dlib's frontal detector sees a face. "
    "Images near the mean, though all alike, score best.",
)


# The detector keeps buffers: used by two threads at once, it ends the process.
_one_at_a_time = threading.Lock()


class Faces(Evaluator):
    """Share of decoded images in which dlib's built-in frontal detector sees a face (extra 'faces').

    The detector uses histograms of gradients (Dalal and Triggs 2005; King 2009) and needs no weights. The range is 0 to
    1, higher is better; but samples near the centre, which are all alike, score best.
    """

    name = "faces"
    by_default = False
    made_for = ("faces",)
    needs_images = True

    images: int = Field(default=500, ge=1, le=10_000, description="how many samples are decoded and searched for faces")
    enlarge: int = Field(default=2, ge=0, le=4, description="how often the image is doubled in size before detection")

    def score(self, samples: Samples) -> list[Score]:
        detector = _detector(require_extra("dlib", extra="faces", user="the face detector"))

        def seen(image: NDArray[np.uint8]) -> bool:
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            with _one_at_a_time:
                return len(detector(np.ascontiguousarray(pixels), self.enlarge)) > 0

        images = samples.head(self.images).images
        return [share_score(WITH_FACE, sum(map(seen, images)), len(images))]


@cache  # it takes longer to load than to look at a few images
def _detector(dlib: Any) -> Any:
    return dlib.get_frontal_face_detector()


lsampler_evaluators = offers(Faces)
