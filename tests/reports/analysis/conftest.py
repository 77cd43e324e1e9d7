"""One analysis of the numbers and one report, which several test modules read."""

from __future__ import annotations

from typing import Any

import pytest
from analysis_support import EVERY_SECTION, NAME, PAIRS, Bars, Full, analyzed, reference, reference_named


@pytest.fixture(scope="session")
def measured() -> dict[str, dict[str, Any]]:
    """All sections on the same latents, with other pairs than the default ones for the origin."""
    found = analyzed(reference(), sections=EVERY_SECTION, pairs=PAIRS).measured
    return {key: dict(values) for key, values in found.items()}


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    path, bars = tmp_path_factory.mktemp("full") / "report", Bars()
    return Full(path, analyzed(reference_named(NAME), path, threshold=0.3, progress=bars), bars)
