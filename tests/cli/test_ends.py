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
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let ``lsampler plugins`` raise an error."""

    def prepare(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr("lsampler.plugins.registry.registry", fail)

    return prepare


def test_terminal_escapes_of_a_name_do_not_reach_the_terminal(cli: Cli, failing: Callable[..., None]) -> None:
    failing(LsamplerError("\x1b[31mred\x1b[0m.h5: is\nempty\x07"))
    assert cli("plugins") == Answer(2, "", "lsampler: ?[31mred?[0m.h5: is empty?\n")


def test_a_long_message_keeps_beginning_and_end(cli: Cli, failing: Callable[..., None]) -> None:
    failing(LsamplerError("file: " + "x" * 100_000 + " the fix"))
    answer = cli("plugins")
    assert answer.code == 2
    assert len(answer.err) < 2000
    assert answer.err.startswith("lsampler: file: x")
    assert answer.err.endswith("x the fix\n")


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("maximum depth"), OverflowError("too large")])
def test_exhausted_resources_are_one_line(cli: Cli, failing: Callable[..., None], error: Exception) -> None:
    failing(error)
    answer = cli("plugins")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert type(error).__name__ in answer.err


def test_warnings_of_other_libraries_are_not_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn() -> None:
        warnings.warn_explicit(
            "tag data larger than file", UserWarning, "TiffImagePlugin.py", 946, "PIL.TiffImagePlugin"
        )
        raise LsamplerError("said")

    monkeypatch.setattr("lsampler.plugins.registry.registry", warn)
    assert cli("plugins") == Answer(2, "", "lsampler: said\n")


def test_sigterm_ends_a_command_as_ctrl_c_does() -> None:
    code = (
        "import os, signal, sys\nfrom lsampler.plugins import registry\n"
        "def stop(): os.kill(os.getpid(), signal.SIGTERM)\n"
        "registry.registry = stop\nfrom lsampler.cli import main\nsys.argv = ['lsampler', 'plugins']\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "lsampler: interrupted\n")
