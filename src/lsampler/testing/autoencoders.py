"""The checks of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor

from lsampler.data.preprocess import Preprocess
from lsampler.models.protocols import Autoencoder
from lsampler.testing.checks import CPU, Subject, refuses, require, require_tensor
from lsampler.testing.devices import accelerators

BATCH = 5
TOLERANCE = 1e-4  # kernels for other batch sizes add up in another order
MEMBERS = ("encode", "decode", "to", "dimension", "fingerprint", "preprocess")


class AutoencoderChecks(Subject):
    """An autoencoder under test, and a few images for it."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.model, self.label = autoencoder, type(autoencoder).__name__

    @cached_property
    def images(self) -> Tensor:
        """(5, C, H, W) in [0, 1]: black, white, a ramp, and noise."""
        preprocess = self.model.preprocess
        shape = (BATCH, preprocess.channels, preprocess.size, preprocess.size)
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        images[0], images[1] = 0.0, 1.0
        images[2] = torch.linspace(0, 1, preprocess.size)
        return images

    @cached_property
    def latents(self) -> Tensor:
        return self.model.encode(self.images.clone()).detach()

    @cached_property
    def decoded(self) -> Tensor:
        """The images decoded from these vectors, and from one far away."""
        return self.model.decode(torch.cat([self.latents, 100 * self.latents[-1:]])).detach()

    def methods(self) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Tensor]]:
        yield "encode()", self.model.encode, self.images
        yield "decode()", self.model.decode, self.latents

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        for name, call, given in self.methods():
            yield name, partial(call, given)

    def check_has_all_members(self) -> None:
        """It has encode, decode, to, dimension, fingerprint and preprocess, of the right types."""
        missing = [name for name in MEMBERS if not hasattr(self.model, name)]
        require(not missing, f"has no {', '.join(missing)}; see lsampler.Autoencoder")
        dimension, fingerprint, preprocess = self.model.dimension, self.model.fingerprint, self.model.preprocess
        require(type(dimension) is int and dimension > 0, f"dimension is {dimension!r}; give a whole number from 1")
        require(isinstance(fingerprint, str) and fingerprint, f"fingerprint is {fingerprint!r}; give a text, not empty")
        kind = type(preprocess).__name__
        require(isinstance(preprocess, Preprocess), f"preprocess is {kind}; give a lsampler.Preprocess")

    def check_encodes(self) -> None:
        """encode() maps (B, C, H, W) float32 in [0, 1] to (B, D) float32, finite, also one image or a black one."""
        for images in (self.images, self.images[:1]):
            require_tensor("encode()", self.model.encode(images), (len(images), self.model.dimension))
        same = _close(self.latents[0], self.latents[1])
        require(not same, "black and white have one latent vector; see encode()")

    def check_decodes(self) -> None:
        """decode() maps the encoder's (B, D), and vectors far away, to (B, C, H, W) float32 in [0, 1], finite."""
        for count, found in ((BATCH + 1, self.decoded), (1, self.model.decode(self.latents[:1]))):
            require_tensor("decode()", found, (count, *self.images.shape[1:]))
        low, high = float(self.decoded.min()), float(self.decoded.max())
        require(low >= 0 and high <= 1, f"decode() gave values in {low:.3g} .. {high:.3g}; clamp them to 0 .. 1")

    def check_same_result(self) -> None:
        """The same input gives the same result: no dropout, no noise, no sampling of the latent vector."""
        for name, call, given in self.methods():
            same = torch.equal(call(given), call(given))
            require(same, f"{name} twice gave other results; call .eval(), and return the mean of random latents")

    def check_batch_does_not_matter(self) -> None:
        """An image has the same latent vector, and a vector the same image, whatever else is in the batch."""
        for name, call, given in self.methods():
            alone = torch.cat([call(one) for one in torch.split(given, 1)])
            message = f"{name} one by one and in a batch differ; call .eval(), use no statistics of the batch"
            require(_close(alone, call(given)), message)

    def check_inputs_untouched(self) -> None:
        """encode() and decode() do not write into their arguments."""
        for name, call, given in self.methods():
            copy = given.clone()
            call(copy)
            require(torch.equal(copy, given), f"{name} changes its argument; avoid in-place operations")

    def check_no_gradient(self) -> None:
        """Results carry no gradient, which would keep the memory of thousands of images."""
        with torch.enable_grad():
            tracked = [name for name, call, given in self.methods() if call(given).requires_grad]
        require(not tracked, f"{' and '.join(tracked)} keep a gradient; decorate with torch.inference_mode()")

    def check_fingerprint_stays(self) -> None:
        """The fingerprint never changes, also after use and a move to a device."""
        before = self.model.fingerprint
        self.model.decode(self.model.encode(self.images))
        self.model.to(CPU)
        same = self.model.fingerprint == before
        require(same, "fingerprint changes with use; make it of the weights and settings only")

    def check_moves(self) -> None:
        """to(device) returns self; on a GPU, if there is one, it works as well, also on latents from the CPU."""
        require(self.model.to(CPU) is self.model, "to(torch.device('cpu')) does not return self; return it")
        expected = self.decoded[:BATCH]
        for name in accelerators():
            self.model.to(torch.device(name))
            try:
                images = self.model.decode(self.model.encode(self.images).cpu())
            finally:
                self.model.to(CPU)
            off = float((images.cpu() - expected).abs().max())
            require(off < 0.02, f"on {name} decoded values are off by {off:.2g}; move all weights and buffers")

    def check_wrong_shapes_refused(self) -> None:
        """Images and latent vectors of a wrong shape are refused in one line."""
        size, dimension = self.images.shape[-1], self.model.dimension
        for what, call, given in (
            (f"encode() of images {size + 3} pixels high", self.model.encode, torch.zeros(2, 3, size + 3, size)),
            ("encode() of one image without batch", self.model.encode, self.images[0]),
            (f"decode() of D = {dimension + 1}", self.model.decode, torch.zeros(2, dimension + 1)),
            ("decode() of one vector without batch", self.model.decode, torch.zeros(dimension)),
        ):
            refuses(what, partial(call, given))


def _close(first: Tensor, second: Tensor) -> bool:
    first, second = first.detach(), second.detach()
    return float((first - second).abs().max()) <= TOLERANCE * (float(second.abs().max()) + 1e-30)
