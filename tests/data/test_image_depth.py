"""What a file says of its depth, its black and its white counts, and not the mode that Pillow opens it with."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lsampler.data import open_images
from lsampler.data.image_sources import ImageError

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
RAMP = np.linspace(0, 1, 16).reshape(2, 8)


def tiff(data: bytes, bits: int, kind: int = UNSIGNED, zero: int = BLACK_IS_ZERO, order: str = "<") -> bytes:
    """A grey TIFF of 2 x 8 pixels, uncompressed."""
    tags = {256: 8, 257: 2, 258: bits, 259: 1, 262: zero, 273: 8, 277: 1, 278: 2, 279: len(data), 339: kind}
    entries = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark + struct.pack(order + "I", 8 + len(data)) + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)
    )


def packed(values: NDArray[np.int64]) -> bytes:
    """Numbers of 12 bits."""
    bits = "".join(f"{value:012b}" for value in values.flat)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def read(folder: Path, content: bytes, name: str = "a.tif") -> NDArray[np.float64]:
    (folder / name).write_bytes(content)
    pixels = open_images(folder).read(0)[..., 0]
    return pixels / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float64)


def scaled(bits: int, kind: str) -> bytes:
    return np.rint(RAMP * (2**bits - 1)).astype(kind).tobytes()


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (tiff(scaled(8, "u1"), 8), 255),
        (tiff(scaled(8, "u1")[::-1], 8, zero=WHITE_IS_ZERO), 255),
        (tiff(packed(np.rint(RAMP * 4095).astype(np.int64)), 12), 4095),
        (tiff(scaled(16, "<u2"), 16), 65535),
        (tiff(scaled(16, ">u2"), 16, order=">"), 65535),
        (tiff(np.rint((1 - RAMP) * 65535).astype("<u2").tobytes(), 16, zero=WHITE_IS_ZERO), 65535),
        (tiff(RAMP.astype("<f4").tobytes(), 32, FLOAT), 1e6),
    ],
    ids=["8", "8 inverted", "12", "16", "16 big-endian", "16 inverted", "float"],
)
def test_a_ramp_from_black_to_white_is_one_at_every_depth(tmp_path: Path, content: bytes, step: float) -> None:
    np.testing.assert_allclose(read(tmp_path, content), RAMP, rtol=0, atol=0.51 / step + 1e-7)


def test_transparent_grey_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.rint(RAMP * 65535).astype(np.uint16)).save(stream := BytesIO(), "PNG", transparency=0)
    np.testing.assert_allclose(read(tmp_path, stream.getvalue(), "a.png"), np.where(RAMP == 0, 1, RAMP), atol=1e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tiff((RAMP * 255).astype("<i4").tobytes(), 32, SIGNED), "signed integers"),
        (tiff((RAMP * 255).astype("<u4").tobytes(), 32), "32-bit integers"),
        (tiff((RAMP * 255).astype("<i2").tobytes(), 16, SIGNED), "signed integers"),
        (tiff((RAMP * 127).astype("i1").tobytes(), 8, SIGNED), "signed integers"),
    ],
)
def test_integers_of_which_none_is_known_to_be_white_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=f"holds {said}, of which none is known to be"):
        read(tmp_path, content)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\xff", b"Exif\0\0nonsense"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_with_broken_exif_data_is_used_as_it_is(tmp_path: Path, kind: str, exif: bytes) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    plain, broken = BytesIO(), BytesIO()
    Image.fromarray(pixels).save(plain, kind)
    Image.fromarray(pixels).save(broken, kind, exif=exif)
    found = []
    for name, stream in (("plain", plain), ("broken", broken)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"a.{kind.lower()}").write_bytes(stream.getvalue())
        found.append(open_images(tmp_path / name).read(0))
    np.testing.assert_array_equal(*found)


def test_postscript_named_as_an_image_never_reaches_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: Any = Mock(side_effect=OSError)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    Image.new("L", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="damaged, or none of BMP, GIF, JPEG, PNG, TIFF, WEBP"):
        open_images(tmp_path).read(0)
    started.assert_not_called()
