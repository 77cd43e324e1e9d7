"""Real data and a model for reports."""

from __future__ import annotations

import pytest
import torch
from compared import D, rows

from lsampler.data import Preprocess
from lsampler.models import ConvAutoencoder, ConvConfig
from lsampler.store import MemoryStore


@pytest.fixture(scope="module")
def real() -> MemoryStore:
    """1,600 vectors and 600 held out."""
    return MemoryStore(rows(1600), rows(600, 1), name="normal <b>&")


@pytest.fixture(scope="module")
def untrained() -> ConvAutoencoder:
    """Decodes to noise."""
    torch.manual_seed(7)
    config = ConvConfig(image_size=8, channels=1, filters=(4, 8), latent_dim=D)
    return ConvAutoencoder(config, preprocess=Preprocess(8, "none", 1)).eval()
