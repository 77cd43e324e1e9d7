"""Outputs are complete or absent; progress is reported to whoever asks."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from lsampler import LsamplerError
from lsampler.data.pictures import image_grid
from lsampler.files import (
    FOLDERS,
    MARK,
    FolderKind,
    check_folder,
    check_output,
    existing_file,
    leftovers,
    mark_folder,
    new_directory,
    new_file,
    only_writer,
    remove_leftovers,
)
from lsampler.models import ConvAutoencoder
from lsampler.models.training.figures import reconstruction_grid, training_curve
from lsampler.models.writing import save_folder
from lsampler.progress import rich_progress, track


class StopError(Exception):
    """Any failure in the middle of writing."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write_and_fail(path: Path, failure: type[BaseException]) -> None:
    path.write_text("half")
    raise failure("stop")


# One file or folder

BOTH = pytest.mark.parametrize("new", [new_file, new_directory])
New = Callable[..., AbstractContextManager[Path]]


def inside(output: Path) -> Path:
    """The file, or a file in the folder."""
    return output / "inside" if output.is_dir() else output


def write_old(new: New, target: Path) -> None:
    if new is new_directory:
        target.mkdir()
    inside(target).write_text("old")


@BOTH
def test_an_output_appears_when_the_block_ends_well(tmp_path: Path, new: New) -> None:
    target, usual = tmp_path / "a.txt", tmp_path / "usual"
    write_old(new, usual)
    with new(target) as beside:
        inside(beside).write_text("all of it")
        assert new is new_directory or (beside.parent.parent, beside.name) == (tmp_path, "a.txt")
        assert not target.exists()
    assert inside(target).read_text() == "all of it"
    assert target.stat().st_mode == usual.stat().st_mode
    assert names(tmp_path) == ["a.txt", "usual"]


def test_the_umask_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: it was set to 0 and back around every new file, for all threads of the process."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("another thread could see it"))
    with new_file(tmp_path / "a.txt"), new_directory(tmp_path / "b"):
        pass
    assert names(tmp_path) == ["a.txt", "b"]


@BOTH
@pytest.mark.parametrize("failure", [StopError, KeyboardInterrupt, LsamplerError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_nothing_new(tmp_path: Path, new: New, failure: type[BaseException], existing: bool) -> None:
    target = tmp_path / "a"
    if existing:
        write_old(new, target)
    with pytest.raises(failure), new(target, force=existing) as beside:
        _write_and_fail(inside(beside), failure)
    assert names(tmp_path) == (["a"] if existing else [])
    assert not existing or inside(target).read_text() == "old"


@BOTH
def test_an_existing_output_is_kept_without_force_and_replaced_with_it(tmp_path: Path, new: New) -> None:
    target = tmp_path / "a"
    write_old(new, target)
    with pytest.raises(LsamplerError, match=r"exists already.*`force=True`"), new(target):
        pytest.fail("nothing may be written")
    with new(target, force=True) as beside:
        inside(beside).write_text("new")
        assert inside(target).read_text() == "old"
    assert inside(target).read_text() == "new"
    assert names(tmp_path) == ["a"]


@BOTH
def test_a_missing_parent_and_another_kind_of_output_are_named(tmp_path: Path, new: New) -> None:
    with pytest.raises(LsamplerError, match="missing does not exist; create it first"), new(tmp_path / "missing" / "a"):
        pytest.fail("nothing may be written")
    other, kind = (new_file, "file") if new is new_directory else (new_directory, "folder")
    write_old(other, tmp_path / "other")
    with pytest.raises(LsamplerError, match=f"is a {kind}"), new(tmp_path / "other", force=True):
        pytest.fail("nothing may be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LsamplerError, match="not writable"):
        check_output(tmp_path / "a")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path, code: int) -> None:
    target = tmp_path / "a.txt"
    write_old(new_file, target)
    with pytest.raises(LsamplerError) as error, new_file(target, force=True):
        raise OSError(code, os.strerror(code))
    assert str(target) in str(error.value)
    assert os.strerror(code) in str(error.value)
    assert "\n" not in str(error.value)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_while_a_model_is_saved(tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, before = ConvAutoencoder.load(tiny_model_file), tiny_model_file.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("lsampler.safetensors_files.save_file", full)
    with pytest.raises(LsamplerError, match="No space left"):
        model.save(tiny_model_file, force=True)
    assert tiny_model_file.read_bytes() == before
    assert names(tiny_model_file.parent) == [tiny_model_file.name]


def test_force_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    write_old(new_directory, tmp_path / "precious")
    (tmp_path / "out").symlink_to("precious", target_is_directory=True)
    with new_directory(tmp_path / "out", force=True) as beside:
        inside(beside).write_text("new")
    assert inside(tmp_path / "precious").read_text() == "old"
    assert inside(tmp_path / "out").read_text() == "new"
    assert names(tmp_path) == ["out", "precious"]


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Regression: Ctrl-C between the two renames deleted the old folder and the new one."""
    target, rename = tmp_path / "out", Path.rename
    write_old(new_directory, target)

    def refuse(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise failure
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    expected = LsamplerError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected), new_directory(target, force=True):
        pass
    assert inside(target).read_text() == "old"
    assert names(tmp_path) == ["out"]


# What runs that were killed have left


def killed(folder: Path, name: str, old: bool) -> Path:
    """The hidden folder of a run that was killed, perhaps while it replaced a folder."""
    room = folder / f".lsampler-{'0' * 12}-{name}"
    (room / ("old" if old else "new")).mkdir(parents=True)
    (room / ("old" if old else "new") / "inside").write_text("old")
    return room


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_was_being_replaced_is_put_back(tmp_path: Path, there: bool) -> None:
    target, room = tmp_path / "out", killed(tmp_path, "out", old=True)
    if there:
        mark_folder(target, "images")
    assert leftovers(tmp_path) == leftovers(tmp_path, "out") == [room]
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["out"]
    assert inside(target).exists() is not there


def test_only_what_no_process_uses_is_removed(tmp_path: Path) -> None:
    used, unused, other = (killed(tmp_path, name, old=False) for name in ("a.h5", "b.h5", "c.h5"))
    (tmp_path / ".lsampler-notes").mkdir()
    with only_writer(used):
        with pytest.raises(LsamplerError, match="another process or writer is writing it"):
            only_writer(used)
        remove_leftovers(tmp_path, "a.h5")
        assert used.exists()
        with new_file(tmp_path / "b.h5") as beside:
            assert [path.name for path in leftovers(tmp_path)] == [other.name]
            beside.write_text("new")
    assert names(tmp_path) == [used.name, other.name, ".lsampler-notes", "b.h5"]
    assert not unused.exists()


def test_where_there_are_no_locks_nothing_is_taken_for_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = killed(tmp_path, "a", old=False)
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks available")))
    assert leftovers(tmp_path) == []
    with new_file(tmp_path / "a") as beside, only_writer(room):
        beside.write_text("new")
    assert names(tmp_path) == [room.name, "a"]


# Folders that are written to again


@pytest.mark.parametrize("other", FOLDERS)
@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_is_written_to_again_only_by_what_made_it(tmp_path: Path, kind: FolderKind, other: FolderKind) -> None:
    out = tmp_path / "out"
    mark_folder(out, kind)
    check_folder(out, other)  # nothing is lost with an empty folder
    (out / "work").write_text("of hours")
    if kind == other:
        check_folder(out, other)
        return
    with pytest.raises(LsamplerError) as error:
        check_folder(out, other)
    assert str(error.value) == f"{out}: holds {FOLDERS[kind]}, not {FOLDERS[other]}; choose an empty or a new folder"


@pytest.mark.parametrize("mark", [None, b"", b"report\n", b"\xff\xfe"])
def test_a_folder_without_a_known_mark_is_refused(tmp_path: Path, mark: bytes | None) -> None:
    (tmp_path / "wedding.jpg").write_bytes(b"precious")
    if mark is not None:
        (tmp_path / MARK).write_bytes(mark)
    with pytest.raises(
        LsamplerError, match=f"{tmp_path}.*was not written by lsampler.*choose an empty or a new folder"
    ):
        check_folder(tmp_path, "images")


def test_new_and_empty_folders_are_free_and_files_are_not(tmp_path: Path) -> None:
    for free in (tmp_path, tmp_path / "new"):
        check_folder(free, "analysis report")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("x")
    for path, part in (("file", "file: is a file; choose another name"), ("missing/new", "missing does not exist")):
        with pytest.raises(LsamplerError, match=part):
            check_folder(tmp_path / path, "analysis report")


def test_images_do_not_replace_a_report(tmp_path: Path) -> None:
    mark_folder(tmp_path / "out", "comparison report")
    (tmp_path / "out" / "000001.png").write_bytes(b"precious")
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(LsamplerError, match="holds a comparison report, not decoded images"):
        save_folder([images], 2, tmp_path / "out", force=True)
    assert names(tmp_path / "out") == [MARK, "000001.png"]
    save_folder([images], 2, tmp_path / "images")
    save_folder([images[:1]], 1, tmp_path / "images", force=True)
    assert names(tmp_path / "images") == [MARK, "000000.png"]


# Inputs


def test_what_is_wrong_with_an_input_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "good").write_text("x")
    assert existing_file(str(tmp_path / "good"), "model file") == tmp_path / "good"
    for path, part in ((tmp_path / "none", "no such model file"), (tmp_path, "folder"), (tmp_path / "empty", "empty")):
        with pytest.raises(LsamplerError, match=f"{path}.*{part}"):
            existing_file(path, "model file")


# Progress


def test_progress_counts_what_was_worked_on() -> None:
    said: list[Any] = []
    progress: Any = SimpleNamespace(begin=lambda *begun: said.append(begun) or said.append)
    seen = [(item, len(said)) for item in track(["ab", "cde"], progress, "reading", 5, len)]
    assert seen == [("ab", 1), ("cde", 2)]
    assert said == [("reading", 5, 0), 2, 3]
    assert list(track([1, 2], None, "silent", 2, lambda _: 1)) == [1, 2]


@pytest.mark.parametrize("terminal", [False, True])
def test_bars_leave_standard_output_alone(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    redirected, shown = StringIO(), StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", redirected)
    monkeypatch.setattr(sys, "stderr", shown)
    with rich_progress() as progress:
        progress.begin("working", 2)(1)
        print("a line of the result")
    assert redirected.getvalue() == "a line of the result\n"
    assert "a line of the result" not in shown.getvalue()
    assert terminal or shown.getvalue() == ""


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image_in_its_place(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, channels), dtype=np.uint8)
    grid = np.asarray(image_grid(images, 3))
    assert grid.shape[:2] == (3 * 10 + 2, 3 * 10 + 2)
    grid = grid.reshape(32, 32, channels)
    for index in range(7):
        top, left = 2 + index // 3 * 10, 2 + index % 3 * 10
        np.testing.assert_array_equal(grid[top : top + 8, left : left + 8], images[index])
    assert (grid[22:, 12:] == 255).all()


@pytest.mark.parametrize(("shape", "least"), [((16, 16), 1.0), ((20, 10), 0.7)])
def test_a_grid_is_as_square_as_possible(shape: tuple[int, int], least: float) -> None:
    width, height = image_grid(np.zeros((64, *shape, 3), np.uint8)).size
    assert least <= width / height <= 1 / least


@pytest.mark.parametrize("count", [1, 13, 16])
def test_reconstructions_stand_below_their_originals(tiny_model: ConvAutoencoder, tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    reconstruction_grid(tiny_model, images, tmp_path / "a.png")
    grid = np.asarray(Image.open(tmp_path / "a.png"))
    # Small images are enlarged by whole pixels, here to 64.
    original, restored = grid[2:66:8, 2:66:8], grid[68:132:8, 2:66:8]
    np.testing.assert_array_equal(original, images[0, 0])
    decoded = tiny_model.decode(tiny_model.encode(torch.from_numpy(images[:1]).float() / 255)).numpy()
    assert np.abs(restored.astype(int) - np.rint(decoded[0, 0] * 255)).max() <= 1


@pytest.mark.parametrize("epochs", [1, 30])
def test_a_curve_is_drawn_from_the_first_epoch_on(tmp_path: Path, epochs: int) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"epoch": k, "train_mse": 0.1 / k, "held_out_mse": 0.12 / k} for k in range(1, epochs + 1)]
    training_curve(rows, tmp_path / "a.png")
    colours = {colour for _, colour in Image.open(tmp_path / "a.png").convert("RGB").getcolors(1 << 20) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours


@BOTH
def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path, new: New) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(LsamplerError, match=r"pipe\.h5: is a device or a pipe"), new(tmp_path / "pipe.h5", force=True):
        pass
    assert (tmp_path / "pipe.h5").is_fifo()
