"""What is promised of an autoencoder, each promise a function that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lsampler.data.preprocess import Preprocess
from lsampler.models.protocols import Autoencoder
from lsampler.testing._ask import leaves_global_state, refusal, require
from lsampler.testing._devices import accelerators

__all__ = ["AUTOENCODER_CHECKS", "AutoencoderSubject"]

BATCH = 5
# Kernels for other batch sizes add up in another order.
TOLERANCE = 1e-4
MEMBERS = ("encode", "decode", "to", "dimension", "fingerprint", "preprocess")
CPU = torch.device("cpu")


class AutoencoderSubject:
    """An autoencoder under test, and a few images for it."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder, self.label = autoencoder, type(autoencoder).__name__

    @cached_property
    def images(self) -> Tensor:
        """(5, C, H, W) in [0, 1]: black, white, a ramp, and noise."""
        preprocess = self.autoencoder.preprocess
        shape = (BATCH, preprocess.channels, preprocess.size, preprocess.size)
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        images[0], images[1] = 0.0, 1.0
        images[2] = torch.linspace(0, 1, preprocess.size)
        return images

    @cached_property
    def latents(self) -> Tensor:
        """What the encoder makes of them."""
        return self.autoencoder.encode(self.images.clone()).detach()

    @cached_property
    def decoded(self) -> Tensor:
        """What the decoder makes of these, and of one far away."""
        return self.autoencoder.decode(torch.cat([self.latents, 100 * self.latents[-1:]])).detach()


def has_all_members(subject: AutoencoderSubject) -> None:
    """encode, decode, to, dimension, fingerprint and preprocess are there, of the right types."""
    autoencoder = subject.autoencoder
    missing = [name for name in MEMBERS if not hasattr(autoencoder, name)]
    require(not missing, f"has no {', '.join(missing)}; see lsampler.Autoencoder")
    dimension, fingerprint = autoencoder.dimension, autoencoder.fingerprint
    require(type(dimension) is int and dimension > 0, f"dimension is {dimension!r}; give a whole number from 1")
    require(isinstance(fingerprint, str) and fingerprint, f"fingerprint is {fingerprint!r}; give a text, not empty")
    require(
        isinstance(autoencoder.preprocess, Preprocess),
        f"preprocess is {type(autoencoder.preprocess).__name__}; give a lsampler.Preprocess",
    )


def encodes(subject: AutoencoderSubject) -> None:
    """encode() takes (B, C, H, W) float32 in [0, 1] to (B, D) float32, finite, also for one image, or black ones."""
    dimension = subject.autoencoder.dimension
    for images in (subject.images, subject.images[:1]):
        latents = subject.autoencoder.encode(images)
        _require_tensor("encode()", latents, (len(images), dimension))
    require(not _close(subject.latents[0], subject.latents[1]), "black and white have one latent vector; see encode()")


def decodes(subject: AutoencoderSubject) -> None:
    """decode() takes the encoder's (B, D), and far vectors, to (B, C, H, W) float32 within [0, 1], finite."""
    shape = tuple(subject.images.shape[1:])
    _require_tensor("decode()", subject.decoded, (BATCH + 1, *shape))
    _require_tensor("decode()", subject.autoencoder.decode(subject.latents[:1]), (1, *shape))
    low, high = float(subject.decoded.min()), float(subject.decoded.max())
    require(low >= 0 and high <= 1, f"decode() gave values in {low:.3g} .. {high:.3g}; clamp them to 0 .. 1")


def same_result(subject: AutoencoderSubject) -> None:
    """The same input has the same result: no dropout, no noise, no sampling of the latent vector."""
    autoencoder = subject.autoencoder
    require(
        torch.equal(autoencoder.encode(subject.images), autoencoder.encode(subject.images)),
        "encode() twice gave other latents; call .eval(), and return the mean where latents are random",
    )
    require(
        torch.equal(autoencoder.decode(subject.latents), autoencoder.decode(subject.latents)),
        "decode() twice gave other images; call .eval()",
    )


def batch_does_not_matter(subject: AutoencoderSubject) -> None:
    """An image has the same latent vector, and a vector the same image, whatever else is in the batch."""
    autoencoder = subject.autoencoder
    for name, call, batch in (
        ("encode", autoencoder.encode, subject.images),
        ("decode", autoencoder.decode, subject.latents),
    ):
        alone = torch.cat([call(part) for part in torch.split(batch, 1)])
        require(
            _close(alone, call(batch)),
            f"{name}() of one by one and of all differ; call .eval(), use no statistics of the batch",
        )


def inputs_untouched(subject: AutoencoderSubject) -> None:
    """encode() and decode() do not write into what they are given."""
    images, latents = subject.images.clone(), subject.latents.clone()
    subject.autoencoder.encode(images)
    subject.autoencoder.decode(latents)
    require(torch.equal(images, subject.images), "encode() changes the images; avoid in-place operations")
    require(torch.equal(latents, subject.latents), "decode() changes the latents; avoid in-place operations")


def no_gradient(subject: AutoencoderSubject) -> None:
    """Results need no gradient: with one, the memory of thousands of images is kept."""
    with torch.enable_grad():
        latents = subject.autoencoder.encode(subject.images)
        images = subject.autoencoder.decode(subject.latents)
    tracked = [name for name, tensor in (("encode", latents), ("decode", images)) if tensor.requires_grad]
    require(not tracked, f"{'() and '.join(tracked)}() keep a gradient; decorate with torch.inference_mode()")


def fingerprint_stays(subject: AutoencoderSubject) -> None:
    """The fingerprint is the same whenever it is asked for, and after use and a move."""
    autoencoder = subject.autoencoder
    before = autoencoder.fingerprint
    autoencoder.decode(autoencoder.encode(subject.images))
    autoencoder.to(CPU)
    require(autoencoder.fingerprint == before, "fingerprint changes with use; make it of the weights and settings only")


def moves(subject: AutoencoderSubject) -> None:
    """to(device) returns self; where there is a GPU it works there and back, on latents from the CPU as well."""
    autoencoder = subject.autoencoder
    require(autoencoder.to(CPU) is autoencoder, "to(torch.device('cpu')) does not return self; return it")
    expected = subject.decoded
    for name in accelerators():
        autoencoder.to(torch.device(name))
        try:
            latents = autoencoder.encode(subject.images)
            images = autoencoder.decode(latents.cpu())
        finally:
            autoencoder.to(CPU)
        off = float((images.cpu() - expected[:BATCH]).abs().max())
        require(off < 0.02, f"on {name} decoded values are off by {off:.2g}; move all weights and buffers")


def wrong_shapes_refused(subject: AutoencoderSubject) -> None:
    """Images and latent vectors of a wrong shape are refused in one line."""
    autoencoder, size = subject.autoencoder, subject.images.shape[-1]
    dimension = autoencoder.dimension
    refusal(f"encode() of images {size + 3} pixels high", lambda: autoencoder.encode(torch.zeros(2, 3, size + 3, size)))
    refusal("encode() of one image without batch", lambda: autoencoder.encode(subject.images[0]))
    refusal(f"decode() of D = {dimension + 1}", lambda: autoencoder.decode(torch.zeros(2, dimension + 1)))
    refusal("decode() of one vector without batch", lambda: autoencoder.decode(torch.zeros(dimension)))


def global_state_untouched(subject: AutoencoderSubject) -> None:
    """encode() and decode() leave global random states, thread counts and default types alone."""
    with leaves_global_state("encode() or decode()"):
        subject.autoencoder.decode(subject.autoencoder.encode(subject.images))


AUTOENCODER_CHECKS: tuple[Callable[[Any], None], ...] = (
    has_all_members,
    encodes,
    decodes,
    same_result,
    batch_does_not_matter,
    inputs_untouched,
    no_gradient,
    fingerprint_stays,
    moves,
    wrong_shapes_refused,
    global_state_untouched,
)


def _require_tensor(what: str, tensor: Any, shape: tuple[int, ...]) -> None:
    require(isinstance(tensor, Tensor), f"{what} gave {type(tensor).__name__}, expected a tensor")
    require(tuple(tensor.shape) == shape, f"{what} gave shape {tuple(tensor.shape)}, expected {shape}")
    require(tensor.dtype == torch.float32, f"{what} gave {tensor.dtype}, expected float32; write .float()")
    require(bool(torch.isfinite(tensor).all()), f"{what} gave NaN or infinite values; check the weights")


def _close(first: Tensor, second: Tensor) -> bool:
    first, second = first.detach(), second.detach()
    return float((first - second).abs().max()) <= TOLERANCE * (float(second.abs().max()) + 1e-30)
