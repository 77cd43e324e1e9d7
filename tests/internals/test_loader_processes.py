"""Loading in processes gives what loading in threads gives, and leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lsampler import LsamplerError
from lsampler.data import Preprocess, open_images
from lsampler.data.batches import ImageBatches, PixelBatch
from lsampler.models import ConvAutoencoder, EncodeOptions, encode_to_store

PREPROCESS = Preprocess(8, "none", 1)


class Deadly:
    """A source whose images end the process that loads them."""

    name, ids = "deadly", ["0", "1"]

    def read(self, index: int) -> NDArray[Any]:
        os._exit(3)


class Wrong:
    """A source with a mistake in its code."""

    name, ids = "wrong", ["0", "1"]

    def read(self, index: int) -> NDArray[Any]:
        raise KeyError("a mistake")


@pytest.fixture
def folder(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    """Twenty digits as PNG; the batch 8 to 11 and number 14 are damaged."""
    path = tmp_path / "images"
    path.mkdir()
    for k, digit in enumerate(digits[:20]):
        Image.fromarray((digit * 255).astype(np.uint8)).save(path / f"{k:02d}.png")
        if k in (8, 9, 10, 11, 14):
            (path / f"{k:02d}.png").write_bytes(b"no picture")
    return path


def pixels(path: Path, processes: int, start: int = 0, stop: int | None = None) -> list[PixelBatch]:
    return list(ImageBatches(open_images(path), PREPROCESS, processes=processes).pixels(4, start, stop))


def loading_processes() -> int:
    """How many processes this one has started, but for those of the cluster that other tests share."""
    return sum(not child.name.startswith("Dask") for child in multiprocessing.active_children())


def test_processes_give_what_threads_give(folder: Path) -> None:
    before = torch.get_rng_state()
    for processes, bounds in ((2, (0, None)), (1, (3, 18))):
        by_threads, by_processes = pixels(folder, 0, *bounds), pixels(folder, processes, *bounds)
        assert [b.indices for b in by_processes] == [b.indices for b in by_threads]
        assert [b.skipped for b in by_processes] == [b.skipped for b in by_threads]
        for one, other in zip(by_processes, by_threads, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
            assert one.pixels.dtype == other.pixels.dtype == np.uint8
    assert sum(len(b.skipped) for b in by_processes) == 5
    assert torch.equal(torch.get_rng_state(), before)
    assert loading_processes() == 0


@pytest.mark.parametrize("processes", [0, 2])
def test_nothing_left_to_load_gives_no_batch(folder: Path, processes: int) -> None:
    assert pixels(folder, processes, 20) == []


def test_reader_left_early_ends_its_processes(folder: Path) -> None:
    batches = ImageBatches(open_images(folder), PREPROCESS, processes=1).pixels(4)
    next(batches)
    assert loading_processes() == 1
    batches.close()  # type: ignore[attr-defined]
    assert loading_processes() == 0


class Local(Deadly):
    """Its lock cannot be sent to a process."""

    name = "local"

    def __init__(self) -> None:
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Deadly(), "^deadly: a process that loads images died.*$"),
        (Local(), "local: cannot be sent to other processes .* `workers=0`"),
    ],
)
def test_processes_that_cannot_load_are_one_line_and_gone(source: Any, message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        list(ImageBatches(source, PREPROCESS, processes=1).pixels(1))
    assert loading_processes() == 0


def test_a_mistake_of_a_source_is_raised_here() -> None:
    with pytest.raises(KeyError, match="a mistake"):
        list(ImageBatches(Wrong(), PREPROCESS, processes=1).pixels(1))


def test_workers_do_not_change_the_store(tiny_model: ConvAutoencoder, folder: Path, tmp_path: Path) -> None:
    found = []
    for workers in (0, 1):
        out, options = tmp_path / f"{workers}.h5", EncodeOptions(4, workers=workers)
        done = encode_to_store(tiny_model, open_images(folder), out, held_out=5, options=options)
        store = done.store
        found.append((store.read().tolist(), store.ids(), store.splits(), done.skipped))
    assert found[0] == found[1]
    assert len(found[0][3]) == 5


def test_a_negative_number_of_workers_is_refused(tiny_model: ConvAutoencoder, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LsamplerError, match="`workers=-1`"):
        encode_to_store(
            tiny_model, open_images(folder), tmp_path / "s.h5", held_out=5, options=EncodeOptions(workers=-1)
        )
    assert not (tmp_path / "s.h5").exists()
