"""What is done to each image before it is encoded: crop, resize, colour or grey, scale."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsampler.errors import LsamplerError, nearest_name

Crop = Literal["centre", "celeba", "none"]
CELEBA_WIDTH, CELEBA_CROP = 178, 148
LUMA_PIXELS = 1 << 22


@dataclass(frozen=True)
class Preprocess:
    """Crop, resize (Lanczos), convert to colour or grey, and scale to [0, 1].

    Args:
        size: edge of the square result in pixels.
        crop: ``centre`` takes the largest centred square; ``celeba`` the centred square of
            148/178 of the width, which frames the face in the official aligned images;
            ``none`` takes the whole image and changes its aspect ratio if it is not square.
        channels: 3 for colour, 1 for grey.

    Raises:
        LsamplerError: a setting is out of range or unknown.
    """

    size: int = 96
    crop: Crop = "celeba"
    channels: int = 3

    @property
    def words(self) -> str:
        """What the images are, such as ``96 x 96 colour images``."""
        return f"{self.size} x {self.size} {'grey' if self.channels == 1 else 'colour'} images"

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise LsamplerError(f"crop '{self.crop}' is unknown{nearest_name(self.crop, get_args(Crop))}")
        if self.channels not in (1, 3):
            raise LsamplerError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if not 4 <= self.size <= 4096:
            raise LsamplerError(f"image size must be between 4 and 4096 pixels, not {self.size}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for a file's metadata."""
        return asdict(self)

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Convert (H, W, C) uint8 or float32 to (channels, size, size) float32 in [0, 1]."""
        return np.ascontiguousarray(scaled(self.pixels(image)).transpose(2, 0, 1))

    def pixels(self, image: NDArray[Any]) -> NDArray[Any]:
        """Crop and resize to (size, size, channels): uint8, to be divided by 255, or float32 in [0, 1]."""
        height, width = image.shape[:2]
        if self.crop != "none":
            edge = min(height, width)
            if self.crop == "celeba":
                edge = min(edge, max(1, round(width * CELEBA_CROP / CELEBA_WIDTH)))
            top, left = (height - edge) // 2, (width - edge) // 2
            image = image[top : top + edge, left : left + edge]
        image = _with_channels(image, self.channels)
        return image if image.shape[:2] == (self.size, self.size) else _resized(image, self.size)


def scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Convert uint8 or float pixels to float32 in [0, 1]."""
    values = pixels.astype(np.float32)
    return values / np.float32(255) if pixels.dtype == np.uint8 else values


def _with_channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # By rows: the product needs several times the memory of a large image.
    rows = max(1, LUMA_PIXELS // pixels.shape[1])
    return np.concatenate([_luma(pixels[at : at + rows]) for at in range(0, len(pixels), rows)])


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """ITU-R 601-2 luma, the weights Pillow uses for mode "L"."""
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey = np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else grey
    return grey[..., np.newaxis]


def _resized(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    def resized(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.LANCZOS))

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return resized(pixels)
    planes = np.stack([resized(pixels[..., channel]) for channel in range(pixels.shape[2])], axis=2)
    # Lanczos overshoots at edges. Pillow clips uint8 values, but not floats.
    return planes if planes.dtype == np.uint8 else np.clip(planes, 0.0, 1.0)
