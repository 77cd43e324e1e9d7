"""Images in HDF5 and NumPy files: where they lie, how they are compressed, and what a file only claims."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import Answer

from lsampler import LsamplerError
from lsampler.data import open_images

IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)


def in_group(file: h5py.File) -> None:
    file["train/images"] = IMAGES
    file["train/labels"] = np.arange(3)
    file["train/up"] = h5py.SoftLink("/train")  # a circle


def behind_a_link(file: h5py.File) -> None:
    file["hidden/pixels"] = IMAGES
    file["hidden/labels"] = np.arange(3)
    file["images"] = h5py.SoftLink("/hidden/pixels")


def alone_in_a_group(file: h5py.File) -> None:
    file["a/b/pixels"] = IMAGES


@pytest.mark.parametrize("write", [in_group, behind_a_link, alone_in_a_group])
def test_images_are_found_in_groups_and_behind_links(write: Callable[[h5py.File], None], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    source = open_images(tmp_path / "a.h5")
    np.testing.assert_array_equal(source.read(2)[..., 0], IMAGES[2])


def two_of_that_name(file: h5py.File) -> None:
    file["test/images"] = file["train/images"] = IMAGES


def unknown_filter(file: h5py.File) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((3, 8, 8))
    settings.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((3, 8, 8)), settings)


def claims(shape: tuple[int, ...], **options: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        file.create_dataset("images", shape, "u1", **options)

    return write


def elsewhere(file: h5py.File) -> None:
    file["images"] = h5py.ExternalLink("other.h5", "images")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("gone.h5", "images", (3, 8, 8))
    file.create_virtual_dataset("images", layout)


def partly_written(file: h5py.File) -> None:
    file.create_dataset("images", (4, 8, 8), "u1", chunks=(1, 8, 8))[:3] = IMAGES


REFUSED: list[tuple[str, Callable[[h5py.File], None], str]] = [
    ("two", two_of_that_name, "holds 'test/images', 'train/images'; give the array of the images the name 'images'"),
    ("filter", unknown_filter, "'images' is compressed with a filter (32001"),
    ("filter, what to do", unknown_filter, "that is not installed; install it with: pip install hdf5plugin"),
    ("link", elsewhere, "holds no arrays; give the array of the images the name 'images', at the top; 'images' leads to other.h5:images, which is not read"),
    ("virtual", virtual, "'images' is a virtual dataset of other files ('gone.h5'), which are not read"),
    ("2^32", claims((2**32, 8, 8), chunks=(1, 8, 8)), "declares the shape (4294967296, 8, 8), but nothing of it was written"),
    ("contiguous", claims((10**6, 8, 8)), "declares the shape (1000000, 8, 8), but nothing of it was written"),
    ("part", partly_written, "declares the shape (4, 8, 8), but only "),
]  # fmt: skip


@pytest.mark.parametrize(("write", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_read_or_is_only_claimed_is_refused_in_one_line(
    write: Callable[[h5py.File], None], message: str, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    answer = cli("encode", tmp_path / "a.h5", "--out", tmp_path / "x.h5")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"{tmp_path / 'a.h5'}: " in answer.err
    assert message in answer.err


def header(*shape: int) -> bytes:
    np.lib.format.write_array_header_1_0(stream := BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_arrays_that_do_not_fit_in_memory_are_refused_by_their_headers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header(2**40, 8, 8))
    with pytest.raises(LsamplerError, match=r"a\.npz: 'images' takes 70,368\.7 GB of memory; save it as \.npy or \.h5"):
        open_images(tmp_path / "a.npz")
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(header(1, 20_000, 20_000))
        file.truncate(500_000_000)  # it takes no room on the disk
    with pytest.raises(LsamplerError, match=r"a\.npy: shape \(1, 20000, 20000\), its images are far too large"):
        open_images(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(header(-5, 8, 8))
    with pytest.raises(LsamplerError, match=r"a\.npy: not a readable array file"):
        open_images(tmp_path / "a.npy")
