"""Limits that only very large data reach, lowered for the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsampler import LatentStore, StoreWriter


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
