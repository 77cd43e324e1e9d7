"""How commands end when something unusual happens."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Answer

from lsampler import LsamplerError
from lsampler.store import LatentStore

Cli = Callable[..., Answer]


@pytest.fixture
def failing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Answer]:
    """The answer of ``lsampler plugins`` where another library warns and an error is raised."""

    def run(error: Exception) -> Answer:
        def fail() -> None:
            warnings.warn_explicit("tag data larger than file", UserWarning, "Tiff.py", 946, "PIL.TiffImagePlugin")
            raise error

        monkeypatch.setattr("lsampler.plugins.registry.registry", fail)
        return cli("plugins")

    return run


def test_terminal_escapes_of_a_name_do_not_reach_the_terminal(failing: Callable[..., Answer]) -> None:
    answer = failing(LsamplerError("\x1b[31mred\x1b[0m.h5: is\nempty\x07"))
    assert answer == Answer(2, "", "lsampler: ?[31mred?[0m.h5: is empty?\n")


def test_what_looks_like_an_argument_in_the_name_of_a_file_is_kept(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "`seed=1`.h5"
    answer = cli("sample", "-p", "gaussian", "--store", path, "--out", tmp_path / "z.h5")
    assert answer == Answer(2, "", f"lsampler: {path}: no such latent store; check the path\n")


def test_a_long_message_keeps_beginning_and_end(failing: Callable[..., Answer]) -> None:
    answer = failing(LsamplerError("file: " + "x" * 100_000 + " the fix"))
    assert answer.code == 2
    assert len(answer.err) < 2000
    assert answer.err.startswith("lsampler: file: x")
    assert answer.err.endswith("x the fix\n")


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("maximum depth"), OverflowError("too large")])
def test_exhausted_resources_are_one_line(failing: Callable[..., Answer], error: Exception) -> None:
    answer = failing(error)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert type(error).__name__ in answer.err


@pytest.mark.parametrize(
    "error", [ValueError("went\nwrong"), SystemExit(0), BaseException(), OSError(5, "broken", "a")]
)
def test_what_nobody_foresaw_is_one_line_and_never_a_success(
    failing: Callable[..., Answer], error: BaseException
) -> None:
    answer = failing(error)  # type: ignore[arg-type]
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"failed with {type(error).__name__}" in answer.err


def test_ctrl_c_that_other_code_turns_into_an_error_is_still_ctrl_c(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: torch's C code did so, and the command blamed a plugin or a file, with exit code 2."""

    def fail() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as interrupt:
            raise LsamplerError("model.safetensors: could not be read; save it again") from interrupt

    monkeypatch.setattr("lsampler.plugins.registry.registry", fail)
    assert cli("plugins") == Answer(130, "", "lsampler: interrupted\n")


@pytest.mark.parametrize("arguments", [("--version",), ("plugins", "show", "gaussian")])
def test_output_that_cannot_be_written_is_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lsampler", *arguments]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("lsampler: standard output: could not be written (No space left on device)")


def test_a_reader_that_stops_ends_a_command_silently() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lsampler", "plugins", "show", "gaussian"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("name", [b"\x1b[31mred.h5", b"not \xff text.h5"])
def test_names_that_are_no_plain_text_reach_no_terminal_and_break_no_message(
    name: bytes, ok: Cli, tiny_store: LatentStore, tmp_path: Path
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(tiny_store.path.read_bytes())
    for arguments in (
        ("store", "info", path),
        ("sample", "-p", "gaussian", "--store", path, "--out", tmp_path / "z.h5"),
    ):
        out = ok(*arguments).out
        assert all(letter.isprintable() for letter in out.replace("\n", ""))
        assert os.fsdecode(name)[-6:] in out


def test_clean_removes_what_killed_commands_left_and_nothing_else(ok: Cli, cli: Cli, tmp_path: Path) -> None:
    dead, alive = (tmp_path / f".lsampler-{digits}-z.h5" for digits in ("0123456789ab", "ba9876543210"))
    for room in (dead, alive):
        room.mkdir()
        (room / "z.h5").write_bytes(b"x" * 100_000)
    (tmp_path / ".mine").mkdir()
    lock = os.open(alive, os.O_RDONLY)  # as the command that still runs holds it
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        assert "1 hidden folders to remove, 0.1 MB" in ok("clean", tmp_path, "--dry-run").out
        assert dead.exists()
        ok("clean", tmp_path)
    finally:
        os.close(lock)
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, ".mine"}
    assert "no such folder" in cli("clean", tmp_path / "no").err
