"""Encoding and decoding as lsampler does them, beside the network alone on batches that are ready.

Both sides have the same weights, layout (channels last) and inference mode. A ratio of 1 means that
reading and preparing images and writing the store cost nothing beside the forward pass; above 1, the
forward pass itself is faster in the smaller batches into which ``ConvAutoencoder`` splits a batch. In a
second row both sides use these.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import Row, Settings, in_turn, own_process
from lsampler import load_bundle
from lsampler.data import open_images
from lsampler.data.image_sources import ImageSource
from lsampler.models import EncodeOptions, TrainedAutoencoder, encode_to_store
from lsampler.models.decoding import BATCH, image_stream
from lsampler.models.protocols import preprocess_of

COUNT = 2000
AT_ONCE = 128


class First:
    """The first images of a source."""

    def __init__(self, source: ImageSource, count: int) -> None:
        self._source, self.name, self.ids = source, source.name, source.ids[:count]
        self.load: Callable[[int], Any] = getattr(source, "load", source.read)

    def read(self, index: int) -> NDArray[Any]:
        """See :class:`ImageSource`."""
        return self._source.read(index)


def encode_all(autoencoder: TrainedAutoencoder, source: ImageSource) -> None:
    """From the files of the images to the finished store."""
    with tempfile.TemporaryDirectory() as folder:
        encode_to_store(autoencoder, source, Path(folder) / "store.h5", held_out=0, options=EncodeOptions(AT_ONCE))


def decode_all(autoencoder: TrainedAutoencoder, latents: torch.Tensor) -> None:
    """To images as bytes, dropped batch by batch, as a writer of files would."""
    for _ in image_stream(autoencoder, [latents]):
        pass


def normal_latents(autoencoder: TrainedAutoencoder) -> torch.Tensor:
    """Vectors of the latents' size, which is 1 by construction."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((COUNT, autoencoder.dimension), dtype=np.float32))


def once(what: str, images: str = "") -> None:
    """For a process whose memory is measured."""
    autoencoder = load_bundle().autoencoder
    if what == "encode":
        encode_all(autoencoder, First(open_images(images), COUNT))
    else:
        decode_all(autoencoder, normal_latents(autoencoder))


@torch.inference_mode()
def bare(network: Callable[[torch.Tensor], object], batches: Sequence[torch.Tensor]) -> None:
    """The network alone."""
    for batch in batches:
        network(batch)


def ready_batches(autoencoder: TrainedAutoencoder, source: ImageSource) -> list[torch.Tensor]:
    """All images as the encoder expects them."""
    images = np.stack([preprocess_of(autoencoder)(source.read(k)) for k in range(len(source.ids))])
    batches = torch.split(torch.from_numpy(images), AT_ONCE)
    return [batch.contiguous(memory_format=torch.channels_last) for batch in batches]


def measure(settings: Settings) -> Iterator[Row]:
    """Rows for encoding, if there are images, and for decoding."""
    if settings.images.exists():
        yield from _encoding(settings)
    yield from _decoding(settings)


def _encoding(settings: Settings) -> Iterator[Row]:
    autoencoder, source = load_bundle().autoencoder, First(open_images(settings.images), COUNT)
    ready = ready_batches(autoencoder, source)
    runs: list[Callable[[], object]] = [
        lambda: encode_all(autoencoder, source),
        lambda: bare(autoencoder.encoder, ready),
        lambda: bare(autoencoder.encode, ready),
    ]
    ours, network, pieces = in_turn(runs, settings.repeats)
    memory = own_process("encoding", f"once('encode', {str(settings.images.resolve())!r})").peak_mb
    step, count = "encode images of a zip archive to a store", len(source.ids)
    limit = "reading JPEG files on the cores that the network needs"
    peer = f"bare forward pass on ready batches of {AT_ONCE}"
    yield Row(step, peer, ours, network, count, "images", target=0.9, memory_mb=memory, limit=limit)
    yield Row(step, "the same, in the smaller batches that lsampler uses", ours, pieces, count, "images")


def _decoding(settings: Settings) -> Iterator[Row]:
    autoencoder = load_bundle().autoencoder
    latents = normal_latents(autoencoder)
    ready = list(torch.split(latents, BATCH))
    runs: list[Callable[[], object]] = [
        lambda: decode_all(autoencoder, latents),
        lambda: bare(autoencoder.decoder, ready),
    ]
    ours, network = in_turn(runs, settings.repeats)
    memory = own_process("encoding", "once('decode')").peak_mb
    peer = f"bare decoder on ready batches of {BATCH}"
    step, limit = "decode to images as bytes", "the network"
    yield Row(step, peer, ours, network, COUNT, "images", target=0.9, memory_mb=memory, limit=limit)
