"""Strategies and the decoder on a GPU, beside its memory bandwidth and the bare decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.encoding import AT_ONCE, bare
from benchmarks.measuring import DIMENSION, Row, Settings, in_turn
from benchmarks.sampling import draw, fitted
from lsampler import load_bundle, plugin_names
from lsampler.models.decoding import decode_stream

ROWS = 4_000_000
IMAGES = 16_384
# On a GPU, drawing is checked against the CPU's: mean and spread of so many rows, in standard errors.
CHECKED_ROWS = 200_000
STANDARD_ERRORS = 6.0


def measure(settings: Settings) -> Iterator[Row]:
    """Rows for every strategy and the decoder; none without a GPU."""
    if not torch.cuda.is_available():
        return
    rows = settings.rows(ROWS)
    written = torch.empty(rows, DIMENSION, device="cuda")
    for name in plugin_names("sampler"):
        sampler = fitted(name)
        if not torch.equal(sampler.sample(5000, seed=0, device="cuda"), sampler.sample(5000, seed=0, device="cuda")):
            raise RuntimeError(f"{name}: two draws with one seed differ on the GPU")
        _check_distribution(
            name, sampler.sample(CHECKED_ROWS, seed=0, device="cuda").cpu(), sampler.sample(CHECKED_ROWS, seed=0)
        )
        ours, theirs = in_turn(
            [_waited(partial(draw, sampler, rows, "cuda")), _waited(written.zero_)], settings.repeats
        )
        peer = "memory bandwidth: the same rows, filled with zeros"
        yield Row(f"{name} on the GPU", peer, "rows", ours, rows, theirs, rows)
    del written
    yield _decoding(settings)


def _decoding(settings: Settings) -> Row:
    autoencoder = load_bundle().autoencoder.to("cuda")
    latents = torch.randn(settings.rows(IMAGES), autoencoder.dimension)
    ready = list(torch.split(latents.cuda(), AT_ONCE))

    def ours() -> None:
        for _ in decode_stream(autoencoder, [latents]):
            pass

    mine, network = in_turn([_waited(ours), _waited(partial(bare, autoencoder.decoder, ready))], settings.repeats)
    count = len(latents)
    return Row(
        "decode on the GPU", "the bare decoder", "images", mine, count, network, count, limit="transfer to the CPU"
    )


def _waited(run: Callable[[], object]) -> Callable[[], None]:
    def whole() -> None:
        run()
        torch.cuda.synchronize()

    return whole


def _check_distribution(name: str, gpu: torch.Tensor, cpu: torch.Tensor) -> None:
    gap = (gpu.double().mean(0) - cpu.double().mean(0)).abs()
    error = (gpu.double().var(0) / len(gpu) + cpu.double().var(0) / len(cpu)).sqrt()
    if bool((gap > STANDARD_ERRORS * error).any()):
        raise RuntimeError(f"{name}: the GPU's mean differs from the CPU's")
