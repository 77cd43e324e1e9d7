"""The checks of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor

from lsampler.data.items import Item
from lsampler.data.preprocess import Preprocess
from lsampler.models.adapter import made_up
from lsampler.models.protocols import Autoencoder, item_of
from lsampler.testing.checks import CPU, Subject, refuses, require, require_tensor
from lsampler.testing.devices import accelerators

BATCH = 5
TOLERANCE = 1e-4  # kernels for other batch sizes add up in another order
MEMBERS = ("encode", "decode", "to", "dimension", "fingerprint")


class AutoencoderChecks(Subject):
    """An autoencoder under test, and a few items for it."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.model, self.label = autoencoder, type(autoencoder).__name__

    @cached_property
    def item(self) -> Item:
        return item_of(self.model)

    @cached_property
    def items(self) -> Tensor:
        """(5, *shape): of images black, white, a ramp, and noise in [0, 1]; of others zeros, ones, and noise."""
        noise, shape = torch.Generator().manual_seed(0), (BATCH, *self.item.shape)
        items = torch.rand(shape, generator=noise) if self.item.is_image else torch.randn(shape, generator=noise)
        items[0], items[1], items[2] = 0.0, 1.0, made_up(self.item)[0]
        return items

    @cached_property
    def latents(self) -> Tensor:
        return self.model.encode(self.items.clone()).detach()

    @cached_property
    def decoded(self) -> Tensor:
        """The items decoded from these vectors, and from one far away."""
        return self.model.decode(torch.cat([self.latents, 100 * self.latents[-1:]])).detach()

    def methods(self) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Tensor]]:
        yield "encode()", self.model.encode, self.items
        yield "decode()", self.model.decode, self.latents

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        for name, call, given in self.methods():
            yield name, partial(call, given)

    def check_has_all_members(self) -> None:
        """It has encode, decode, to, dimension and fingerprint, and item or preprocess, of the right types."""
        missing = [name for name in MEMBERS if not hasattr(self.model, name)]
        require(not missing, f"has no {', '.join(missing)}; see lsampler.models.Autoencoder")
        said = any(
            isinstance(getattr(self.model, name, None), kind)
            for name, kind in (("item", Item), ("preprocess", Preprocess))
        )
        require(
            said, "has no item, an lsampler.data.Item, and no preprocess, an lsampler.data.Preprocess; give one of them"
        )
        dimension, fingerprint = self.model.dimension, self.model.fingerprint
        require(type(dimension) is int and dimension > 0, f"dimension is {dimension!r}; give a whole number from 1")
        require(isinstance(fingerprint, str) and fingerprint, f"fingerprint is {fingerprint!r}; give a text, not empty")

    def check_encodes(self) -> None:
        """encode() maps items (B, *shape) float32 to (B, D) float32, finite, also one item or a black image."""
        for items in (self.items, self.items[:1]):
            require_tensor("encode()", self.model.encode(items), (len(items), self.model.dimension))
        same = _close(self.latents[0], self.latents[1])
        names = ("black", "white") if self.item.is_image else ("zeros", "ones")
        require(not same, f"{' and '.join(names)} have one latent vector; see encode()")

    def check_decodes(self) -> None:
        """decode() maps (B, D), and vectors far away, to (B, *shape) float32, finite; images in [0, 1]."""
        for count, found in ((BATCH + 1, self.decoded), (1, self.model.decode(self.latents[:1]))):
            require_tensor("decode()", found, (count, *self.items.shape[1:]))
        low, high = float(self.decoded.min()), float(self.decoded.max())
        if not self.item.is_image:
            return
        require(low >= 0 and high <= 1, f"decode() gave values in {low:.3g} .. {high:.3g}; clamp them to 0 .. 1")

    def check_same_result(self) -> None:
        """The same input gives the same result: no dropout, no noise, no sampling of the latent vector."""
        for name, call, given in self.methods():
            same = torch.equal(call(given), call(given))
            require(same, f"{name} twice gave other results; call .eval(), and return the mean of random latents")

    def check_batch_does_not_matter(self) -> None:
        """An item has the same latent vector, and a vector the same item, whatever else is in the batch."""
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
        """Results carry no gradient, which would keep the memory of thousands of items."""
        with torch.enable_grad():
            tracked = [name for name, call, given in self.methods() if call(given).requires_grad]
        require(not tracked, f"{' and '.join(tracked)} keep a gradient; decorate with torch.inference_mode()")

    def check_fingerprint_stays(self) -> None:
        """The fingerprint never changes, also after use and a move to a device."""
        before = self.model.fingerprint
        self.model.decode(self.model.encode(self.items))
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
                items = self.model.decode(self.model.encode(self.items).cpu())
            finally:
                self.model.to(CPU)
            off = float((items.cpu() - expected).abs().max())
            require(off < 0.02, f"on {name} decoded values are off by {off:.2g}; move all weights and buffers")

    def check_wrong_shapes_refused(self) -> None:
        """Items and latent vectors of a wrong shape are refused in one line."""
        first, *others = self.item.shape[1:] or self.item.shape
        longer = (
            (2, 3, first + 3, *others) if self.item.is_image else (2, *self.item.shape[:-1], self.item.shape[-1] + 3)
        )
        dimension = self.model.dimension
        for what, call, given in (
            (f"encode() of items {longer[1:]}", self.model.encode, torch.zeros(longer)),
            ("encode() of one item without batch", self.model.encode, self.items[0]),
            (f"decode() of D = {dimension + 1}", self.model.decode, torch.zeros(2, dimension + 1)),
            ("decode() of one vector without batch", self.model.decode, torch.zeros(dimension)),
        ):
            refuses(what, partial(call, given))


def _close(first: Tensor, second: Tensor) -> bool:
    first, second = first.detach(), second.detach()
    return float((first - second).abs().max()) <= TOLERANCE * (float(second.abs().max()) + 1e-30)
