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
    enlarge = max(1, READABLE_EDGE // max(images.shape[1:3]))
    buffer = io.BytesIO()
    grid = image_grid(images.repeat(enlarge, axis=1).repeat(enlarge, axis=2), len(images))
    grid.save(buffer, format="JPEG", quality=QUALITY)
    return picture(buffer.getvalue(), caption)
