"""Models of other libraries, made by those libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_models import keras_pair, kl_model, pythae_model


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of each library, and 60 images."""
    place = tmp_path_factory.mktemp("made")
    pythae_model().save(str(place / "vae"))
    kl_model().save_pretrained(place / "kl")
    encoder, decoder = keras_pair()
    encoder.save(place / "encoder.keras")
    decoder.save(place / "decoder.keras")
    np.save(place / "images.npy", np.random.default_rng(0).random((60, 8, 8), dtype=np.float32))
    return place
