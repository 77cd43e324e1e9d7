"""Any picture becomes an array: crops, sizes, colours and kinds of files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encoded, noise, png
from PIL import Image, ImageOps

from lsampler import LsamplerError
from lsampler.data import Preprocess, open_images
from lsampler.data.image_sources import ImageError

# Crops, sizes, colours


@pytest.mark.parametrize(("height", "width"), [(218, 178), (109, 89), (40, 60), (60, 40), (33, 33)])
@pytest.mark.parametrize("crop", ["centre", "celeba", "none"])
def test_crop_and_resize_as_pillow_does(height: int, width: int, crop: Any) -> None:
    pixels = noise(height, width)
    image = Image.fromarray(pixels)
    if crop != "none":
        edge = min(height, width, round(width * 148 / 178) if crop == "celeba" else width)
        left, top = (width - edge) // 2, (height - edge) // 2
        image = image.crop((left, top, left + edge, top + edge))
    wanted = np.asarray(image.resize((24, 24), Image.Resampling.LANCZOS)).transpose(2, 0, 1) / 255
    got = Preprocess(24, crop, 3)(pixels)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = noise(16, 16)
    np.testing.assert_array_equal(np.rint(Preprocess(16, "none", 3)(pixels) * 255), pixels.transpose(2, 0, 1))


def test_grey_from_colour_and_colour_from_grey() -> None:
    pixels = noise(12, 12)
    luma = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
    got = Preprocess(12, "none", 1)(pixels) * 255
    # Pillow rounds in fixed point.
    assert np.abs(got[0] - luma).max() <= 1.01
    grey = noise(12, 12, 1)
    colour = Preprocess(12, "none", 3)(grey)
    for channel in colour:
        np.testing.assert_allclose(channel * 255, grey[..., 0], atol=1e-4)


def test_float_and_integer_images_give_the_same_result() -> None:
    # Smooth: Pillow rounds and clips 8-bit images between its two passes.
    pixels = np.asarray(Image.fromarray(noise(6, 6)).resize((30, 30), Image.Resampling.BICUBIC))
    as_float = Preprocess(16, "centre", 3)((pixels / 255).astype(np.float32))
    as_integer = Preprocess(16, "centre", 3)(pixels)
    assert np.abs(as_float - as_integer).max() <= 1.5 / 255


def test_resampling_of_floats_stays_in_range() -> None:
    edge = np.zeros((32, 32, 1), np.float32)
    edge[:, 16:] = 1
    got = Preprocess(13, "none", 1)(edge)
    assert got.min() >= 0
    assert got.max() <= 1


@pytest.mark.parametrize(
    ("settings", "part"),
    [((96, "center", 3), "did you mean 'centre'"), ((96, "none", 4), "channels"), ((3, "none", 3), "image size")],
)
def test_wrong_preprocessing_is_told_in_one_line(settings: tuple[Any, Any, Any], part: str) -> None:
    with pytest.raises(LsamplerError, match=part):
        Preprocess(*settings)


# Kinds of pictures


def read_one(tmp_path: Path, data: bytes, name: str = "a.png") -> NDArray[Any]:
    folder = tmp_path / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return open_images(folder).read(0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise(16, 12)).convert(mode)
    kind, name = ("TIFF", "a.tif") if mode == "CMYK" else ("PNG", "a.png")
    pixels = read_one(tmp_path, encoded(image, kind), name)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (16, 12, 1 if mode in ("1", "L", "LA") else 3)
    if mode == "CMYK":
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
        pixels = read_one(tmp_path / "b", encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG"), "a.jpg")
        assert pixels[0, 0, 0] < 20 < 235 < pixels[0, 0, 2]


def test_transparent_pixels_are_white_whatever_colour_they_hide(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    rgba = Image.new("RGBA", (8, 8), (200, 10, 20, 0))
    rgba.putpixel((3, 0), (30, 40, 50, 255))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7, 30, 40, 50])
    palette.putpixel((3, 0), 2)
    for data in (encoded(rgba), encoded(palette, transparency=bytes([255, 0, 255]))):
        pixels = read_one(tmp_path, data)
        assert (pixels[0, 0].tolist(), pixels[0, 3].tolist()) == ([255, 255, 255], [30, 40, 50])
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, kind: str) -> None:
    values = np.zeros((8, 8), np.uint16)
    values[0, :3] = [65535, 32768, 256]
    pixels = read_one(tmp_path, encoded(Image.fromarray(values), kind), "a.png" if kind == "PNG" else "a.tif")
    assert pixels.dtype == np.float32
    assert pixels.shape == (8, 8, 1)
    np.testing.assert_allclose(pixels[0, :4, 0], [1.0, 32768 / 65535, 256 / 65535, 0.0], rtol=1e-6)
    assert Preprocess(8, "none", 3)(pixels).max() == 1.0


def test_float_tiff_in_range_is_taken_and_others_are_not(tmp_path: Path) -> None:
    good = read_one(tmp_path, encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF"), "a.tif")
    assert good.dtype == np.float32
    assert (good == 0.5).all()
    with pytest.raises(ImageError, match="scale floats"):
        read_one(tmp_path, encoded(Image.fromarray(np.full((8, 8), 99, np.float32)), "TIFF"), "a.tif")
    with pytest.raises(ImageError, match="NaN"):
        read_one(tmp_path, encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(noise(16, 24)).resize((48, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=95, exif=exif)
    with Image.open(BytesIO(data)) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened))
    pixels = read_one(tmp_path, data, "a.jpg")
    assert pixels.shape[:2] == ((48, 32) if orientation >= 5 else (32, 48))
    np.testing.assert_array_equal(pixels, wanted)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_one(tmp_path, data, "a.gif")[0, 0].tolist() == [255, 0, 0]


def claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims any size."""
    header = struct.pack(">II", width, height) + bytes([8, 2, 0, 0, 0])
    chunk = b"IHDR" + header
    data = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + data + png()[33:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (80_000_000, 1), (1, 80_000_000)])
def test_a_picture_that_claims_a_huge_size_is_skipped(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"far too large|exceeds limit"):
        read_one(tmp_path, claiming(*size))
