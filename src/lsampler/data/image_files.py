"""One picture in a file of a known format, as the array of its pixels."""

from __future__ import annotations

import contextlib
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Decided by a file's content. Pillow would start other programs for other formats, such as Ghostscript for PostScript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# A small file can claim a huge image, and Pillow itself refuses only at twice its own limit.
MAX_PIXELS = 89_478_485
MAX_EDGE = 65_535
# Of larger images only one is decoded at a time, so that threads do not need several times its memory.
LARGE_PIXELS = 1 << 24
_one_large_image = threading.Lock()
# Tags of TIFF.
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2


class ImageError(Exception):
    """An image that cannot be used; the reader skips and counts it, or stops if it is strict."""


def decode(file: BytesIO | Path) -> NDArray[Any]:
    """The image in a file as (H, W, C): 8-bit grey or colour as uint8, deeper grey as float32 in [0, 1].

    Raises:
        ImageError: it is of no format in ``FORMATS``, damaged, too large, or its black and white are not known.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_EDGE:
                raise ImageError(f"is {image.width} x {image.height} pixels, far too large")
            large = image.width * image.height > LARGE_PIXELS
            with _one_large_image if large else contextlib.nullcontext():
                image.load()
                with contextlib.suppress(Exception):  # broken EXIF data are no reason to lose the picture
                    ImageOps.exif_transpose(image, in_place=True)
                pixels = _pixels(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"cannot be decoded (damaged, or none of {', '.join(FORMATS)})") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise ImageError(f"cannot be decoded ({first_line(error)[:80]})") from error
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _pixels(image: Image.Image) -> NDArray[Any]:
    tags = getattr(image, "tag_v2", {})
    if tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED:
        raise ImageError(
            "holds signed integers, of which none is known to be black; save it with 8 or 16 unsigned bits"
        )
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image, tags)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def _deep(image: Image.Image, tags: Any) -> NDArray[np.float32]:
    """Grey of more than 8 bits. Pillow's mode is often wider than what the file holds, so the file's tags count."""
    values, white = np.asarray(image).astype(np.float32), 1
    if image.mode != "F":
        bits = tags.get(BITS, (16,))[0]
        if bits > 16:
            raise ImageError(
                f"holds {bits}-bit integers, of which none is known to be white; save it with 8 or 16 bits"
            )
        white = 2**bits - 1
    scaled = checked_floats(values / np.float32(white))
    scaled[values == image.info.get("transparency", -1)] = 1
    return 1 - scaled if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else scaled


def checked_floats(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Floats in [0, 1] as float32. Raises ImageError if some are outside."""
    if not np.isfinite(pixels).all():
        raise ImageError("holds NaN or infinite values")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ImageError(f"has values in {pixels.min():.3g}..{pixels.max():.3g}; scale floats to [0, 1] or give uint8")
    return pixels.astype(np.float32)


def first_line(error: Exception) -> str:
    """What an exception says, or its name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
