"""Fixtures for all tests: small models and data that the project makes itself, real images if there are any."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from support import Answer

from lsampler import open_store
from lsampler.cli import main
from lsampler.data import Preprocess, open_images
from lsampler.models import ConvAutoencoder, ConvConfig, encode_to_store
from lsampler.store import HeldOut, LatentStore, MemoryStore

CELEBA_ARCHIVE = "img_align_celeba.zip"
# The same examples in every run, however long one takes.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trainings of several processes spend their time waiting: at the end, nothing would be left to do meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_training_processes.py")


def pytest_collection_finish() -> None:
    """Look for garbage less often among what stays: modules that are imported by now, and objects that got old.

    Python's own pace takes a tenth of the time of all tests.
    """
    gc.freeze()
    gc.set_threshold(700, 10, 50)


@pytest.fixture(scope="session")
def celeba_zip() -> Path:
    """The CelebA images, from LSAMPLER_TEST_DATA or a folder beside the checkout."""
    places = [os.environ.get("LSAMPLER_TEST_DATA", ""), str(Path(__file__).parents[2] / "shared" / "data")]
    for place in filter(None, places):
        if (Path(place) / CELEBA_ARCHIVE).is_file():
            return Path(place) / CELEBA_ARCHIVE
    pytest.skip(f"{CELEBA_ARCHIVE} not found; set LSAMPLER_TEST_DATA to its folder")


@pytest.fixture(scope="session")
def digits() -> NDArray[np.float32]:
    """1797 handwritten digits, (N, 8, 8) float32 in [0, 1]; they come with scikit-learn."""
    images: NDArray[np.float64] = load_digits().images / 16.0
    return images.astype(np.float32)


@pytest.fixture(scope="session")
def digits_npy(digits: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as an array file."""
    path: Path = tmp_path_factory.mktemp("digits") / "digits.npy"
    np.save(path, digits)
    return path


def untrained() -> ConvAutoencoder:
    torch.manual_seed(7)
    config = ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=6)
    return ConvAutoencoder(config, preprocess=Preprocess(8, "none", 1)).eval()


@pytest.fixture
def tiny_model() -> ConvAutoencoder:
    """An untrained autoencoder for 8 x 8 grey images, D = 6; always the same weights."""
    return untrained()


@pytest.fixture(scope="session")
def tiny_model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the tiny model."""
    path: Path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    untrained().save(path)
    return path.read_bytes()


@pytest.fixture
def tiny_model_file(tiny_model_bytes: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(tiny_model_bytes)
    return path


@pytest.fixture(scope="session")
def tiny_store_bytes(digits_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the tiny store."""
    path: Path = tmp_path_factory.mktemp("tiny") / "tiny.h5"
    encode_to_store(untrained(), open_images(digits_npy), path, held_out=HeldOut(297, "last"))
    return path.read_bytes()


@pytest.fixture
def tiny_store(tiny_store_bytes: bytes, tmp_path: Path) -> LatentStore:
    """The digits encoded by the tiny model, the last 297 held out."""
    (tmp_path / "tiny.h5").write_bytes(tiny_store_bytes)
    return open_store(tmp_path / "tiny.h5")


@pytest.fixture(scope="session")
def correlated() -> NDArray[np.float32]:
    """4,000 vectors of a correlated normal with D = 12, centre off the origin."""
    rng = np.random.default_rng(20)
    mixing = rng.normal(size=(12, 12)) * np.linspace(2.0, 0.3, 12)
    return (rng.normal(size=(4000, 12)) @ mixing + rng.normal(size=12)).astype(np.float32)


@pytest.fixture
def reference(correlated: NDArray[np.float32]) -> MemoryStore:
    """The correlated vectors, the last 1,000 held out."""
    return MemoryStore(correlated[:3000], correlated[3000:], name="correlated")


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Small fits gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Dask cluster of two workers; each imports torch.

    It lives as long as the tests do. Watching itself as closely as usual, it would take a tenth of a core all the time.
    """
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    seldom = {
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.worker.memory.monitor-interval": "5s",
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(seldom), distributed.LocalCluster(n_workers=2, **options) as started:
        yield started


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command line in the process of the test, which saves the import of torch."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lsampler", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return Answer(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def ok(cli: Callable[..., Answer]) -> Callable[..., Answer]:
    """The fixture ``cli`` for commands that succeed."""

    def run(*arguments: object) -> Answer:
        answer = cli(*arguments)
        assert answer.code == 0, answer.err
        return answer

    return run


@pytest.fixture
def lsampler() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in its own process, as a user does."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lsampler", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload,no-any-return]

    return run
