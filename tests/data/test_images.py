"""Images in: folders, zips and arrays; crops and colours; what is refused and what is skipped."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lsampler import LsamplerError, Preprocess, open_images
from lsampler.data.batches import ImageBatches
from lsampler.data.image_sources import ImageError, ImageSource, source_digest

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0, edge: int = 8) -> bytes:
    return encoded(Image.fromarray(noise(edge, edge, seed=seed)))


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def read_all(source: ImageSource, preprocess: Preprocess, **options: Any) -> tuple[NDArray[np.float32], ImageBatches]:
    reader = ImageBatches(source, preprocess, **options)
    batches = [images for _, images in reader.read(3)]
    return np.concatenate(batches) if batches else np.empty((0,), np.float32), reader


def make_array(path: Path, images: NDArray[Any], **others: NDArray[Any]) -> Path:
    """A file of the kind that its suffix says, in lower or upper case; .npy holds the images alone."""
    kind = path.suffix.lower()
    if kind in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, array in {"images": images, **others}.items():
                file[name] = array
    else:
        with path.open("wb") as stream:
            np.save(stream, images) if kind == ".npy" else np.savez_compressed(stream, images=images, **others)
    return path


def refused_source(path: Path, *parts: object) -> None:
    """Check that an error of one line says all of this."""
    with pytest.raises(LsamplerError) as error:
        open_images(path)
    text = str(error.value)
    assert "\n" not in text
    assert not [part for part in (path, *parts) if str(part) not in text], text


# Sources


def test_folder_is_recursive_and_sorted_and_ignores_other_files(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/deep/er.Jpeg", "c.txt", "a/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "folder.png").mkdir()
    source = open_images(tmp_path)
    assert source.ids == ["a/deep/er.Jpeg", "a/z.JPG", "b.png"]
    assert source.read(0).shape == (8, 8, 3)


def test_zip_is_read_in_place_in_the_official_layout(tmp_path: Path) -> None:
    members = {f"img_align_celeba/{k:06d}.jpg": encoded(Image.fromarray(noise(109, 89)), "JPEG") for k in (2, 1, 3)}
    extras = {"img_align_celeba/readme.txt": b"text", "__MACOSX/img_align_celeba/._000001.jpg": b"resource fork"}
    path = make_zip(tmp_path / "img_align_celeba.zip", members | extras)
    before = sorted(tmp_path.rglob("*"))
    source = open_images(path)
    assert source.ids == [f"img_align_celeba/{k:06d}.jpg" for k in (1, 2, 3)]
    assert source.read(2).shape == (109, 89, 3)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("suffix", [".ZIP", ".Zip", ".NPY", ".NPZ", ".H5", ".HDF5"])
def test_case_of_the_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"images{suffix}"
    if suffix.lower() == ".zip":
        make_zip(path, {f"{k}.PNG": png(k) for k in range(5)})
    else:
        make_array(path, noise(5, 8, 8))
    assert len(open_images(path).ids) == 5


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW", "NHW1", "N1HW"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, ">f4"])
def test_every_array_layout_gives_the_same_images(tmp_path: Path, kind: str, layout: str, dtype: Any) -> None:
    wanted = np.random.default_rng(1).integers(0, 256, (4, 8, 10, 3), dtype=np.uint8)
    if layout not in ("NHWC", "NCHW"):
        wanted = wanted[..., :1]
    array = {"NHW": wanted[..., 0], "NHWC": wanted, "NHW1": wanted}.get(layout, wanted.transpose(0, 3, 1, 2))
    array = array if dtype is np.uint8 else (array / 255).astype(dtype)
    source = open_images(make_array(tmp_path / f"images.{kind}", array, labels=np.arange(4)))
    assert source.ids == ["0", "1", "2", "3"]
    got = source.read(2)
    assert got.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    scaled = got if dtype is np.uint8 else got * 255
    np.testing.assert_allclose(scaled, wanted[2], atol=0.1 if dtype is np.float16 else 1e-4)


def test_the_only_array_of_a_file_needs_no_name_and_its_content_tells_its_kind(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        np.savez(stream, faces=noise(2, 8, 8))
    with (tmp_path / "b.npz").open("wb") as stream:
        np.save(stream, noise(2, 8, 8))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["faces"] = noise(2, 8, 8)
        file.create_group("notes")
    assert [len(open_images(tmp_path / name).ids) for name in ("a.npy", "b.npz", "c.h5")] == [2, 2, 2]


def test_the_array_of_images_must_be_clear(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(2, 8, 8), y=noise(2, 8, 8))
    refused_source(tmp_path / "a.npz", "'x'", "images")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("group")
        file["dangling"] = h5py.SoftLink("/nowhere")
    refused_source(tmp_path / "a.h5", "no arrays")


def test_ids_sort_as_numbers_do(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((101, 4, 4), np.uint8))
    ids = open_images(tmp_path / "a.npy").ids
    assert ids[0] == "000"
    assert ids == sorted(ids)


def test_the_real_archive(celeba_zip: Path) -> None:
    source = open_images(celeba_zip)
    assert len(source.ids) == 10_000
    assert source.ids[0].endswith("000001.jpg")
    assert source.read(0).shape == (109, 89, 3)
    image = Preprocess(96, "celeba", 3)(source.read(0))
    assert image.shape == (3, 96, 96)
    assert 0 <= image.min() < image.max() <= 1


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


# Damaged and odd images


def test_neither_the_start_nor_the_number_of_threads_changes_the_images(digits_npy: Path) -> None:
    source, preprocess = open_images(digits_npy), Preprocess(12, "none", 1)
    wanted, _ = read_all(source, preprocess, threads=2)
    for threads in (1, 4):
        np.testing.assert_array_equal(read_all(source, preprocess, threads=threads)[0], wanted)
    for indices, images in ImageBatches(source, preprocess).read(100, start=1650):
        np.testing.assert_array_equal(images, wanted[indices])
    assert indices == list(range(1750, 1797))


def test_a_zip_may_be_read_from_many_threads(tmp_path: Path) -> None:
    source = open_images(make_zip(tmp_path / "a.zip", {f"{k:02d}.png": png(k) for k in range(40)}))

    def wrong(_: int) -> list[int]:
        return [k for k in range(40) if not np.array_equal(source.read(k), noise(8, 8, seed=k))]

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(wrong, range(4))] == [[]] * 4


def test_bad_values_in_float_images_are_skipped_with_a_reason(tmp_path: Path) -> None:
    images = np.full((6, 8, 8), 0.5, np.float32)
    images[1, 0, 0], images[2, 3, 3], images[3, 0, 0], images[4, 0, 0] = np.nan, np.inf, -0.5, 255
    np.save(tmp_path / "a.npy", images)
    got, reader = read_all(open_images(tmp_path / "a.npy"), Preprocess(8, "none", 1))
    assert len(got) == 2
    assert sorted(reader.skipped) == ["1", "2", "3", "4"]
    said = (("1", "NaN"), ("2", "NaN or infinite"), ("3", "-0.5"), ("4", "255"), ("4", "scale floats to [0, 1]"))
    assert all(part in reader.skipped[name] for name, part in said)


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


# Sources that are refused


def test_missing_empty_and_foreign_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("1,2")
    make_zip(tmp_path / "none.zip", {"readme.txt": b"text"})
    for name, part in (
        ("missing", "no such file"),
        ("empty", "holds no images"),
        ("a.csv", "not a source of images"),
        ("none.zip", "holds no images"),
    ):
        refused_source(tmp_path / name, part)


@pytest.mark.parametrize(
    "name",
    ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "..\\x.jpg", "a\\..\\..\\x.jpg", "\\x.jpg", "C:\\x.jpg", "c:x.jpg"],
)
def test_zip_members_that_point_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "a.zip", {"good.png": png(), name: png()})
    refused_source(path, name, "points outside")


def test_dots_inside_names_are_no_path_trick(tmp_path: Path) -> None:
    assert len(open_images(make_zip(tmp_path / "a.zip", {"a..b.png": png(), "./c.png": png()})).ids) == 2


@pytest.mark.parametrize("keep", [10, 0.5, 0.95])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: float) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{k}.png": png(k) for k in range(20)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep < 1 else int(keep)])
    refused_source(path, "not a readable zip")


def test_damaged_and_encrypted_members_of_a_zip_are_skipped(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{k}.png": png(k) for k in range(4)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        offset = archive.infolist()[1].header_offset
    data = bytearray(path.read_bytes())
    data[offset + 60 : offset + 90] = bytes(30)
    # zipfile cannot encrypt: set the flag in the first member's two headers.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    got, reader = read_all(open_images(path), Preprocess(8, "none", 3))
    assert len(got) == 2
    assert list(reader.skipped) == ["0.png", "1.png"]
    assert "encrypted" in reader.skipped["0.png"]
    assert "zip" in reader.skipped["1.png"]


class Evil:
    """Unpickling this would raise something that no reader expects."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("name", ["a.npy", "a.NPY", "a.npz", "bare.npy"])
def test_pickled_objects_are_never_loaded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    objects = np.array([Evil()], dtype=object)
    with path.open("wb") as stream:
        if name.startswith("bare"):
            stream.write(pickle.dumps(Evil()))
        else:
            np.savez(stream, images=objects) if name.endswith("z") else np.save(stream, objects, allow_pickle=True)
    refused_source(path, "never loaded")


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.6])
def test_truncated_arrays_are_refused(tmp_path: Path, kind: str, keep: float) -> None:
    path = make_array(tmp_path / f"a.{kind}", noise(50, 8, 8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    refused_source(path)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *((shape, np.uint8) for shape in ((8, 8), (0, 8, 8), (2, 8, 0), (2, 5, 8, 8), (2, 3, 8, 8, 8))),
        *(((2, 8, 8), dtype) for dtype in (np.int64, np.uint16, np.complex64, bool, "U3")),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    part = "shape" if dtype is np.uint8 else "uint8"
    refused_source(make_array(tmp_path / "a.npy", np.zeros(shape, dtype)), part)


def test_digest_depends_on_names_and_order() -> None:
    assert source_digest(["a", "b"]) == source_digest(["a", "b"])
    assert len({source_digest(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], [])}) == 4
