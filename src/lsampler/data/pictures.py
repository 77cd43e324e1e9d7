"""Grids of images, for people to look at."""

from __future__ import annotations

import io

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from lsampler.showing import picture

GAP = 2
EXAMPLES = 8
"""How many images an object shows in a notebook."""
READABLE_EDGE, QUALITY = 64, 85


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert images (N, C, H, W) in [0, 1] to (N, H, W, C) uint8."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def enlarged(images: NDArray[np.uint8], edge: int = READABLE_EDGE) -> NDArray[np.uint8]:
    """Images (N, H, W, C) whose pixels are repeated until their longer edge is as long as still fits into ``edge``."""
    times = max(1, edge // max(images.shape[1:3]))
    return images.repeat(times, axis=1).repeat(times, axis=2) if times > 1 else images


def image_grid(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """Arrange images (N, H, W, C) uint8 in rows; the grid is as square as possible unless ``columns`` is given."""
    count, height, width, channels = images.shape
    columns = columns or max(1, round(float(np.sqrt(count * height / width))))
    rows = -(-count // columns)
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def grid_html(images: NDArray[np.uint8], caption: str) -> Markup:
    """A few images (n, H, W, C) uint8 in one row, as a picture for a notebook."""
    buffer = io.BytesIO()
    image_grid(enlarged(images), len(images)).save(buffer, format="JPEG", quality=QUALITY)
    return picture(buffer.getvalue(), caption)
