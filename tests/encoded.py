"""What the tests of encoding share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsampler import LsamplerError
from lsampler.data import open_images
from lsampler.models import ConvAutoencoder, EncodeOptions, encode_to_store
from lsampler.store import HeldOut, LatentStore

IMAGES, HELD_OUT, COMMIT = 1797, 297, 1024


class Counting:
    """The tiny model, counting the images it encodes, and failing or being interrupted when told to."""

    def __init__(self, model: ConvAutoencoder) -> None:
        self.model = model
        self.encoded = 0
        self.stop_after: int | None = None
        self.exception: type[BaseException] = KeyboardInterrupt
        self.dimension, self.fingerprint, self.preprocess = model.dimension, model.fingerprint, model.preprocess

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        if self.stop_after is not None and self.encoded >= self.stop_after:
            raise self.exception
        self.encoded += len(images)
        return self.model.encode(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.model.decode(latents)

    def to(self, device: torch.device) -> Counting:
        return self


def same_content(one: LatentStore, other: LatentStore) -> None:
    np.testing.assert_array_equal(one.read(), other.read())
    assert one.ids() == other.ids()
    assert one.splits() == other.splits()
    passing = ("created", "run")
    assert {k: v for k, v in one.attributes.items() if k not in passing} == {
        k: v for k, v in other.attributes.items() if k not in passing
    }


def encode(
    model: Any, source: Path, out: Path, *, held_out: int | HeldOut = HELD_OUT, force: bool = False, **options: Any
) -> Any:
    """Encode images, of which the last are held out where only their number is given."""
    split = held_out if isinstance(held_out, HeldOut) else HeldOut(held_out, "last")
    return encode_to_store(
        model, open_images(source), out, held_out=split, force=force, options=EncodeOptions(**options)
    )


def interrupt(counting: Counting, source: Path, out: Path, after: int, **options: Any) -> None:
    counting.stop_after = after
    with pytest.raises((counting.exception, LsamplerError)):  # an error of the model becomes one line
        encode(counting, source, out, **options)
    counting.stop_after, counting.encoded = None, 0
