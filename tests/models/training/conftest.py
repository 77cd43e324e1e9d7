"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import Answer
from trained import SHAPE, run, train


@pytest.fixture(autouse=True, scope="module")
def _trains(one_torch_thread: None) -> None:
    pytest.importorskip("lightning", reason="needs the extra 'train'")


@pytest.fixture(scope="session")
def few_npy(digits: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits, enough for trainings whose error does not matter."""
    path: Path = tmp_path_factory.mktemp("few") / "few.npy"
    np.save(path, digits[:300])
    return path


@pytest.fixture(scope="session")
def trained(digits_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A whole training by the command line."""
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = ("--epochs", 8, "--held-out", 297, "--held-out-by", "last", "--learning-rate", 1e-2, "--batch-size", 64)
    done = run(digits_npy, *SHAPE, *settings, "--out", out)
    return out, Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def whole(few_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training of three epochs."""
    out: Path = tmp_path_factory.mktemp("whole") / "run"
    train(few_npy, out, epochs=3)
    return out
