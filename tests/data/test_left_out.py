"""What is left out of a folder or an archive is said, and what is linked is found."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from support import Answer

from lsampler import LsamplerError
from lsampler.data import Preprocess, open_images
from lsampler.data.batches import ImageBatches
from lsampler.data.image_sources import left_out

HIDDEN = (
    *(".ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png/THUMB.jpg", ".Trash-1000/files/b.png", "sub/._a.png"),
    *("__MACOSX/._a.png", "sub/__MACOSX/x.png", ".DS_Store", "sub/Thumbs.db", "#recycle/c.png", "$RECYCLE.BIN/d.png"),
)


def picture() -> bytes:
    Image.new("RGB", (8, 8), "red").save(stream := BytesIO(), "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, and what systems and people keep beside them."""
    folder = tmp_path / "photos"
    for name in ("a.png", "sub/b.jfif", *HIDDEN, "new.heic", "sub/new.HEIC", "notes.txt", "README"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())
    return folder


def test_hidden_and_system_files_are_left_out_at_any_depth_and_all_is_said_in_one_line(
    photos: Path, tiny_model_file: Path, ok: Callable[..., Answer], tmp_path: Path
) -> None:
    others = "2 .heic, 1 .txt, 1 without a suffix"
    source = open_images(photos)
    assert source.ids == ["a.png", "sub/b.jfif"]
    assert left_out(source) == f"left out 14 (10 hidden or of the system, {others})"
    said = ok("encode", photos, "--model", tiny_model_file, "--held-out", 0, "--out", tmp_path / "x.h5").out
    assert said.startswith(f"photos: 2 images; {left_out(source)}\n")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(photos.rglob("*")):
            if path.is_file():
                archive.write(path, f"set/{path.relative_to(photos)}")
    archived = open_images(tmp_path / "photos.zip")
    assert archived.ids == ["set/a.png", "set/sub/b.jfif"]
    assert left_out(archived) == left_out(source)


def test_a_folder_of_other_files_says_what_they_are(tmp_path: Path) -> None:
    for k in range(9):
        (tmp_path / f"{k}.heic").write_bytes(b"x")
        (tmp_path / f"a.{k}").write_bytes(b"x")
    said = r"left out 18 \(9 \.heic, 1 \.0, 1 \.1, 1 \.2, 1 \.3, 1 \.4, and others of 4 more kinds\)$"
    with pytest.raises(LsamplerError, match=rf"holds no images \(.*\); it was searched, and {said}"):
        open_images(tmp_path)


def test_linked_folders_are_searched_once_and_circles_end(photos: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    (links / "real").mkdir(parents=True)
    (links / "real" / "z.png").write_bytes(picture())
    (links / "again").symlink_to(links / "real")
    (links / "real" / "up").symlink_to(links)
    (links / "train").symlink_to(photos)
    (links / "train2").symlink_to(photos / "sub")
    (links / "one.png").symlink_to(photos / "a.png")
    source = open_images(links)
    assert source.ids == ["one.png", "real/z.png", "train/a.png", "train/sub/b.jfif"]
    assert "3 links to folders searched already" in left_out(source)
    assert all(source.read(index).shape == (8, 8, 3) for index in range(4))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipes_devices_and_broken_links_are_left_out_and_refused_as_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture())
    os.mkfifo(folder / "b.png")
    (folder / "c.png").symlink_to("/dev/zero")
    (folder / "d.png").symlink_to(tmp_path / "nowhere")
    (folder / "e.png").symlink_to(folder / "e.png")
    source = open_images(folder)
    assert (source.ids, left_out(source)) == (["a.png"], "left out 4 (4 not regular files)")
    for suffix in ("npy", "npz", "h5", "zip"):
        os.mkfifo(folder / f"pipe.{suffix}")
        (folder / f"zero.{suffix}").symlink_to("/dev/zero")
        for name in ("pipe", "zero"):
            with pytest.raises(LsamplerError, match=rf"{name}\.{suffix}: "):
                open_images(folder / f"{name}.{suffix}")


def test_compressible_members_of_a_zip_do_no_harm_and_a_bomb_is_one_skipped_image(tmp_path: Path) -> None:
    Image.new("RGB", (1500, 1500)).save(flat := BytesIO(), "BMP")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", bytes(40 << 20))
        archive.writestr("../outside.txt", b"never read")
        archive.writestr("black.bmp", flat.getvalue())
        archive.writestr("bomb.png", bytes(40 << 20))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "black.bmp")
        archive.writestr("x" * 5000 + ".png", b"")
    source = open_images(tmp_path / "a.zip")
    reader = ImageBatches(source, Preprocess(8, "none", 3))
    assert [len(images) for _, images in reader.read(4)] == [1]
    assert list(reader.skipped) == ["bomb.png"]
    assert "would unpack to 42 MB" in reader.skipped["bomb.png"]
    assert left_out(source) == "left out 4 (1 .csv, 1 .txt, 1 links, 1 with a name that is too long)"
