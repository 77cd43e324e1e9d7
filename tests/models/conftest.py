"""Fixtures of the tests of encoding, and of autoencoders of other libraries."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoded import Counting
from numpy.typing import NDArray
from PIL import Image
from support import Answer
from torch_models import Made

from lsampler import load_autoencoder
from lsampler.models import ConvAutoencoder


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


@pytest.fixture
def counting(tiny_model: ConvAutoencoder) -> Counting:
    return Counting(tiny_model)


@pytest.fixture
def png_zip(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    """Thirty digits as PNG; number 11 is cut off, number 20 is no picture at all."""
    path = tmp_path / "digits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k, digit in enumerate(digits[:30]):
            stream = BytesIO()
            Image.fromarray((digit * 255).astype(np.uint8)).save(stream, "PNG")
            content = {11: stream.getvalue()[:60], 20: b"no picture"}.get(k, stream.getvalue())
            archive.writestr(f"ziffern/ä{k:03d}.png", content)
    return path


@pytest.fixture(scope="session")
def images_npy(made: Made, digits: NDArray[np.float32]) -> Path:
    path = made.folder / "images.npy"
    np.save(path, digits[:60])
    return path
