"""Images in: folders, zips and arrays; what is refused and what is skipped."""

from __future__ import annotations

import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encoded, noise, png
from PIL import Image

from lsampler import LsamplerError
from lsampler.data import Preprocess, open_images
from lsampler.data.batches import ImageBatches
from lsampler.data.image_sources import ImageSource, source_digest


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
