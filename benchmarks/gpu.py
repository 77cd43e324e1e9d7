"""Strategies and the decoder on a GPU, beside its memory bandwidth and the bare decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.encoding import AT_ONCE, bare
from benchmarks.measuring import DIMENSION, Row, Settings, in_turn
from benchmarks.sampling import draw, fitted
from lsampler import load_bundle
from lsampler.models.decoding import image_stream
from lsampler.plugins import plugin_names

ROWS = 4_000_000
IMAGES = 16_384


def measure(settings: Settings) -> Iterator[Row]:
    """Rows for every strategy and the decoder; none without a GPU."""
    if not torch.cuda.is_available():
        return
    rows = settings.rows(ROWS)
    written = torch.empty(rows, DIMENSION, device="cuda")
    for name in plugin_names("sampler"):
        sampler = fitted(name)
        ours, theirs = in_turn(
            [_waited(partial(draw, sampler, rows, "cuda")), _waited(written.zero_)], settings.repeats
        )
        yield Row(f"{name} on the GPU", "memory bandwidth: the same rows, filled with zeros", ours, theirs, rows)
    del written
    yield _decoding(settings)


def _decoding(settings: Settings) -> Row:
    autoencoder = load_bundle().autoencoder.to("cuda")
    latents = torch.randn(settings.rows(IMAGES), autoencoder.dimension)
    ready = list(torch.split(latents.cuda(), AT_ONCE))

    def whole() -> None:
        for _ in image_stream(autoencoder, [latents]):
            pass

    ours, theirs = in_turn([_waited(whole), _waited(partial(bare, autoencoder.decoder, ready))], settings.repeats)
    return Row(
        "decode on the GPU", "the bare decoder", ours, theirs, len(latents), "images", limit="transfer to the CPU"
    )


def _waited(run: Callable[[], object]) -> Callable[[], None]:
    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited
