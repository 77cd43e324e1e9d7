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
        size: edge of the square result in pixels, or its height and width.
        crop: ``centre`` takes the largest centred part that has the result's aspect ratio; ``celeba`` the centred one
            of 148/178 of the width, which frames the face in the official aligned images;
            ``none`` takes the whole image and changes its aspect ratio if it is another one.
        channels: 3 for colour, 1 for grey.

    Raises:
        LsamplerError: a setting is out of range or unknown.
    """

    size: int | tuple[int, int] = 96
    crop: Crop = "celeba"
    channels: int = 3

    @property
    def words(self) -> str:
        """What the images are, such as ``96 x 96 colour images``."""
        return f"{self.height} x {self.width} {'grey' if self.channels == 1 else 'colour'} images"

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise LsamplerError(f"crop '{self.crop}' is unknown{nearest_name(self.crop, get_args(Crop))}")
        if self.channels not in (1, 3):
            raise LsamplerError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if isinstance(self.size, list | tuple):  # a square has one size, so that equal settings are equal
            edges = tuple(map(int, self.size))
            object.__setattr__(self, "size", edges[0] if len(edges) == 2 and edges[0] == edges[1] else edges)
        if isinstance(self.size, tuple) and len(self.size) != 2:
            raise LsamplerError(f"image size {self.size}: give one edge, or height and width")
        if not all(4 <= edge <= 4096 for edge in (self.height, self.width)):
            raise LsamplerError(f"image size must be between 4 and 4096 pixels, not {self.size_text}")

    @property
    def height(self) -> int:
        """H of the result in pixels."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """W of the result in pixels."""
        return self.size if isinstance(self.size, int) else self.size[1]

    @property
    def size_text(self) -> str:
        """The size in words: ``96``, or ``64x48`` for height and width."""
        return str(self.size) if isinstance(self.size, int) else f"{self.height}x{self.width}"

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for a file's metadata."""
        return asdict(self) | {"size": self.size if isinstance(self.size, int) else list(self.size)}

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Convert (H, W, C) uint8 or float32 to (channels, height, width) float32 in [0, 1]."""
        return np.ascontiguousarray(scaled(self.pixels(image)).transpose(2, 0, 1))

    def pixels(self, image: NDArray[Any]) -> NDArray[Any]:
        """Crop and resize to (height, width, channels): uint8, to be divided by 255, or float32 in [0, 1]."""
        if self.crop != "none":
            top, left, height, width = self._part(*image.shape[:2])
            image = image[top : top + height, left : left + width]
        image = _with_channels(image, self.channels)
        wanted = self.height, self.width
        return image if image.shape[:2] == wanted else _resized(image, *wanted)

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part of an image that the crop keeps."""
        aspect = self.height / self.width
        across = max(1, round(width * CELEBA_CROP / CELEBA_WIDTH)) if self.crop == "celeba" else width
        across = max(1, min(across, round(height / aspect)))
        down = max(1, min(height, round(across * aspect)))
        return (height - down) // 2, (width - across) // 2, down, across


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


def _resized(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    def resized(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.LANCZOS))

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return resized(pixels)
    planes = np.stack([resized(pixels[..., channel]) for channel in range(pixels.shape[2])], axis=2)
    # Lanczos overshoots at edges. Pillow clips uint8 values, but not floats.
    return planes if planes.dtype == np.uint8 else np.clip(planes, 0.0, 1.0)
