"""One analysis of the numbers and one report, which several test modules read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from analysis_support import EVERY_SECTION, PAIRS, Bars, Full, analyzed, reference, reference_named


@pytest.fixture(scope="session")
def measured() -> Mapping[str, Mapping[str, Any]]:
    """All sections on the same latents, with other pairs than the default ones for the origin."""
    return analyzed(reference(), sections=EVERY_SECTION, pairs=PAIRS).measured


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    path, bars = tmp_path_factory.mktemp("full") / "report", Bars()
    return Full(path, analyzed(reference_named(), path, threshold=0.3, progress=bars), bars)
