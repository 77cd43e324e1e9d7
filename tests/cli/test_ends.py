"""How commands end when something unusual happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
from support import Answer

from lsampler import LsamplerError

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


def test_sigterm_ends_a_command_as_ctrl_c_does() -> None:
    code = (
        "import os, signal, sys\nfrom lsampler.plugins import registry\n"
        "def stop(): os.kill(os.getpid(), signal.SIGTERM)\n"
        "registry.registry = stop\nfrom lsampler.cli import main\nsys.argv = ['lsampler', 'plugins']\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "lsampler: interrupted\n")
