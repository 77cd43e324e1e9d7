"""Fixtures of the tests of autoencoders of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Answer
from torch_models import Made

from lsampler import load_autoencoder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def opened(made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Open a specification, in which {dir} is the folder of what was made."""
    monkeypatch.chdir(made.folder)
    return lambda spec, **parameters: load_autoencoder(spec.format(dir=made.folder), **parameters)


@pytest.fixture
def refusal(
    cli: Callable[..., Answer],
    digits_npy: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path, str, str], str]:
    """The one line that encode, in a folder, says about a model; its parameters are separated by spaces."""

    def run(folder: Path, spec: str, parameters: str) -> str:
        monkeypatch.chdir(folder)
        out = tmp_path_factory.mktemp("refused")
        options = [part for setting in parameters.split() for part in ("--model-param", setting)]
        answer = cli("encode", digits_npy, "--model", spec, *options, "--out", out / "x.h5")
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
        assert answer.err.startswith("lsampler: ")
        assert list(out.iterdir()) == []
        return answer.err

    return run
