"""Limits that only very large data reach, lowered for the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lsampler import LsamplerError
from lsampler.data import open_images
from lsampler.store import LatentStore, StoreWriter


def test_of_a_file_with_very_many_samples_an_even_choice_is_scored(
    ok: Callable[..., Any], tiny_store: LatentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.concatenate([tiny_store.read(), 1000 + tiny_store.read()])
    with StoreWriter(tmp_path / "two.h5", rows.shape[1], {}) as writer:
        writer.append(rows)
    monkeypatch.setattr("lsampler.scoring.sample_sets.MOST_BYTES", 100 * 4 * tiny_store.dimension)
    answer = ok("evaluate", tmp_path / "two.h5", "--store", tiny_store.path, "--json", tmp_path / "a.json")
    assert f"100 of {len(rows):,} vectors are scored, evenly spaced" in answer.out
    row = json.loads((tmp_path / "a.json").read_text())["rows"][-1]
    assert row["n"] == 100
    inside = {score["metric"]: score["value"] for score in row["scores"]}
    # Half of them are far away: the first 100 alone would all be real ones.
    assert inside["ellipsoid/calibrated"] == pytest.approx(0.475, abs=0.05)


def test_a_chunk_of_many_images_is_decompressed_once(tmp_path: Path) -> None:
    """Otherwise each image decompresses it anew: 300 times as slow for 1,000 images in a chunk."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=np.zeros((2000, 80, 80, 3), "u1"), chunks=(1000, 80, 80, 3), compression=1)
    source: Any = open_images(tmp_path / "a.h5")
    _, cached, _ = source._data.id.get_access_plist().get_chunk_cache()
    assert cached >= 2 * 1000 * 80 * 80 * 3


def test_more_images_than_ids_fit_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsampler.data.image_arrays.MOST_IMAGES", 4)
    np.save(tmp_path / "a.npy", np.zeros((5, 8, 8), "u1"))
    with pytest.raises(LsamplerError, match="5 images; encode files of at most 4 one by one"):
        open_images(tmp_path / "a.npy")
