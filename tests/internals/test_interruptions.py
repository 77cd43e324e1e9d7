"""Ctrl-C and other signals, wherever they arrive."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import pytest
from support import Answer

from lsampler.progress import begin

Cli = Callable[..., Answer]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("lost", [False, True])
def test_signals_end_a_command_even_where_their_exception_is_lost(
    number: int, lost: bool, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C code that calls Python, as h5py's does, may lose an exception; the next step of the work raises it again."""

    def stop() -> None:
        with contextlib.suppress(*([BaseException] if lost else [])):
            os.kill(os.getpid(), number)
        begin(None, "steps", 2)(1)
        raise AssertionError("the work goes on")

    monkeypatch.setattr("lsampler.plugins.registry.registry", stop)
    assert cli("plugins") == Answer(128 + number, "", "lsampler: interrupted\n")
