"""What the bundled model's training held out of the official archive."""

from __future__ import annotations

from pathlib import Path

from lsampler import load_bundle
from lsampler.data import open_images
from lsampler.models.trained_split import split_for, trained_split
from lsampler.store import HeldOut


def test_celeba96_holds_out_the_last_thousand_images_of_the_archive(celeba_zip: Path) -> None:
    """As ever: docs/choosing-a-strategy.md and docs/reproduction.md describe these."""
    model, source = load_bundle().autoencoder, open_images(celeba_zip)
    assert trained_split(model, source) == HeldOut(1000, "last")
    assert split_for(model, source) == split_for(model, source, 1000) == (HeldOut(1000, "last"), "as in training")
    assert split_for(model, source, by="random") == (HeldOut(1000), "")
