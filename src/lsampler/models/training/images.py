"""The images of a training."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from lsampler.data.batches import ImageBatches, PixelBatch, require_some
from lsampler.data.image_sources import ImageSource
from lsampler.data.preprocess import Preprocess
from lsampler.models.training.options import Plan
from lsampler.models.training.prepared import PreparedItems
from lsampler.progress import ProgressLike, track

PREPARE_BATCH = 256


class PreparedImages(PreparedItems):
    """Images (N, C, H, W) uint8, cropped and resized; those that cannot be used are skipped."""

    what, dtype = "images", np.uint8

    def __init__(
        self,
        source: ImageSource,
        preprocess: Preprocess,
        out: Path,
        plan: Plan,
        *,
        resume: bool,
        progress: ProgressLike,
    ) -> None:
        super().__init__(source, out, plan, resume=resume, progress=progress)
        self._images, self._preprocess = source, preprocess
        self.shape = (preprocess.channels, preprocess.height, preprocess.width)

    def _wanted(self) -> dict[str, Any]:
        return self._from_source() | {"preprocess": self._preprocess.as_dict()}

    def _write(self, handle: IO[bytes]) -> dict[str, str]:
        source = self._images
        reader, kept = ImageBatches(source, self._preprocess, strict=self._plan.strict), 0
        batches = reader.pixels(PREPARE_BATCH)
        for batch in track(batches, self._progress, "preparing images", len(source.ids), _size):
            pixels = batch.pixels if batch.pixels.dtype == np.uint8 else np.rint(batch.pixels * 255)
            handle.write(pixels.astype(np.uint8).transpose(0, 3, 1, 2).tobytes())
            kept += len(batch.indices)
        require_some(kept, source.name, reader.skipped)
        return reader.skipped


def _size(batch: PixelBatch) -> int:
    return len(batch.indices) + len(batch.skipped)
