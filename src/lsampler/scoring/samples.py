"""What evaluators are given: samples, and the real data that they are judged against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.data.item_plots import PLOTTED, plot_html
from lsampler.data.item_rows import as_rows, bad_rows
from lsampler.data.items import Item
from lsampler.data.pictures import EXAMPLES, grid_html, to_uint8
from lsampler.errors import LsamplerError
from lsampler.models.in_memory import as_pixels
from lsampler.models.protocols import Autoencoder, item_of
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import calibration_split
from lsampler.scoring.scores import seed_of
from lsampler.scoring.subject import Decode, Encode, ItemDecoder, Latents, Subject, as_subject
from lsampler.showing import About, Shown, counted, if_possible, name_of, paragraph
from lsampler.store.opening import ReferenceLike
from lsampler.store.reference import Reference

MOST_ROWS = 2000
"""How many train vectors samples are compared with, at most."""
BLOCK = 64
Kind = Literal["drawn", "held-out", "train"]
LogProb: TypeAlias = Callable[[Latents], NDArray[np.float64]]
More: TypeAlias = Callable[[int], Latents]


class Samples(Shown):
    """Latent vectors to be scored, decoded when an evaluator first needs their items.

    Args:
        name: the row's name.
        latents: (n, D) float32, finite.
        decode: latent vectors -> images (n, H, W, C) uint8, or other items (n, *shape) float32; None if there is no
            decoder.
        encode: the way back, to latent vectors (n, D); None if there is no encoder.
        kind: ``drawn``; ``held-out`` or ``train`` for rows of real data.
        log_prob: the density they were drawn from: vectors (n, D) -> (n,) in nats; None if there is none.
        more: draws so many other vectors (m, D) from the same distribution; None if there are no more than these.

    Attributes:
        note: what the strategy that drew them says of its fit; empty if there is nothing.
        are_decoded: whether the items are decoded latent vectors, and not items made by something else.
    """

    note: str = ""
    are_decoded: bool = True

    def __init__(
        self,
        name: str,
        latents: Latents,
        *,
        decode: Decode | None = None,
        encode: Encode | None = None,
        kind: Kind = "drawn",
        log_prob: LogProb | None = None,
        more: More | None = None,
    ) -> None:
        self.name, self.latents, self.kind, self.log_prob, self.more = name, latents, kind, log_prob, more
        self._decode, self._encode = decode, encode
        self._items = _Growing(self._decoded, len(latents))
        self._again = _Growing(self._encoded, len(latents))
        self._heads: dict[int, Samples] = {}

    @classmethod
    def drawn_by(
        cls,
        sampler: LatentSampler,
        n: int,
        *,
        seed: int = 0,
        name: str | None = None,
        decode: Decode | None = None,
        encode: Encode | None = None,
    ) -> Samples:
        """Vectors drawn by a fitted strategy, with its density if it has one.

        Args:
            sampler: a fitted strategy.
            n: how many vectors.
            seed: of the draws.
            name: the row's name; by default that of the strategy.
            decode: latent vectors -> items; by default the decoder of the autoencoder whose latents the strategy was
                fitted to, if it is known: that of a bundle, or of a store made by :func:`lsampler.encode`.
            encode: the way back; by default of the same autoencoder.
        """
        if decode is None and encode is None and sampler.autoencoder is not None:
            decode = ItemDecoder(sampler.autoencoder)
            encode = decode.back
        log_prob = sampler.log_prob if sampler.has_density() else None
        latents: Latents = sampler.sample(n, seed=seed).numpy()

        def more(count: int) -> Latents:
            found: Latents = sampler.sample(n + count, seed=seed)[n:].numpy()
            return found

        given: dict[str, Any] = {"decode": decode, "encode": encode, "log_prob": log_prob, "more": more}
        samples = cls(name or sampler.name, latents, **given)
        samples.note = sampler.note()
        return samples

    @classmethod
    def of_items(cls, name: str, items: Any, autoencoder: Autoencoder, *, kind: Kind = "drawn") -> Samples:
        """Items that something else has made, such as a model of the raw data, to be scored beside decoded samples.

        Scores of items look at the items as they are given; scores of latent vectors at the vectors to which the
        autoencoder encodes them. The items are shuffled, because other libraries may draw them in groups, and some
        scores take the first ones.

        Args:
            name: the row's name.
            items: (n, *shape) in the units of the model: an array, tensor, list or DataFrame, or the path of a file
                that :func:`lsampler.data.open_items` reads, as :func:`lsampler.encode` takes them.
            autoencoder: that of the reference.
            kind: ``drawn``, or what the rows of real data are.

        Raises:
            LsamplerError: items of another shape than the model takes, or NaN.
        """
        decode, item = ItemDecoder(autoencoder), item_of(autoencoder)
        source = as_rows(as_pixels(items, item), item)
        rows = source.rows(0, len(source.ids))
        for row, reason in bad_rows(rows, item).items():
            raise LsamplerError(f"{name}: item {row} {reason}; leave it out")
        low, high = item.value_range
        shown: NDArray[Any] = to_uint8((rows - low) / (high - low)) if item.is_image else rows
        shown = shown[np.random.default_rng(0).permutation(len(shown))]
        samples = cls(name, decode.back(shown), decode=decode, encode=decode.back, kind=kind)
        samples.are_decoded, samples._items = False, _Growing(lambda start, stop: shown[start:stop], len(shown))
        return samples

    def digest(self) -> str:
        """A digest of the name, the vectors and, if they were not decoded, the items."""
        items = b"" if self.are_decoded else np.ascontiguousarray(self.items).tobytes()
        found = hashlib.blake2b(f"{self.name}\n{self.latents.shape}".encode(), digest_size=16)
        found.update(np.ascontiguousarray(self.latents).tobytes())
        found.update(items)
        return found.hexdigest()

    @property
    def item(self) -> Item | None:
        """What the items are; None if there is no decoder, or if it does not say."""
        return getattr(self._decode, "item", None)

    def decoded_by(self, decode: Decode | None, encode: Encode | None) -> Samples:
        """The same with a decoder and the way back, if they have none of their own."""
        if decode is None or self._decode is not None:
            return self
        given: dict[str, Any] = {"kind": self.kind, "log_prob": self.log_prob, "more": self.more}
        found = Samples(self.name, self.latents, decode=decode, encode=encode, **given)
        found.note = self.note
        return found

    def _about(self) -> About:
        density = "with a density" if self.log_prob else ""
        decoder = "with a decoder" if self._decode else ""
        n, dimension = (*self.latents.shape, 0)[:2]
        return About("Samples", self.name, [self.kind, counted(n, "vector"), f"D = {dimension}", density, decoder])

    def _parts(self) -> Iterator[Markup]:
        if self.note:
            yield paragraph(self.note)
        yield from if_possible(self._examples)

    def _examples(self) -> Markup | None:
        if self._decode is None:
            return None
        some = self.head(EXAMPLES if self.item is None or self.item.is_image else PLOTTED)
        words = "decoded" if self.are_decoded else "as they were given"
        if some.items.dtype == np.uint8:
            return grid_html(some.items, f"The first samples, {words}.")
        item = self.item or Item.guessed(some.items.shape[1:])
        return plot_html(some.items, item, f"{counted(len(some.latents), 'sample')}, {words}.")

    def head(self, n: int) -> Samples:
        """The first ``n`` samples, or all if there are fewer.

        All heads share the items that were decoded. An evaluator of items asks for those that it scores, because a
        set may hold more samples than there is memory for their items.
        """
        if n >= len(self.latents):
            return self
        if n not in self._heads:
            given: dict[str, Any] = {"decode": self._decode, "encode": self._encode, "log_prob": self.log_prob}
            given["more"] = self.more
            head = Samples(self.name, self.latents[:n], kind=self.kind, **given)
            head._items, head._again, head.are_decoded = self._items, self._again, self.are_decoded
            self._heads[n] = head
        return self._heads[n]

    @cached_property
    def items(self) -> NDArray[Any]:
        """The items, decoded or as they were given: images (n, H, W, C) uint8, others (n, *shape) float32.

        Raises:
            LsamplerError: there is no decoder.
        """
        return self._items.first(len(self.latents))

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(n, H, W, C) uint8. Raises LsamplerError if there is no decoder, or it makes no images."""
        items = self.items
        if items.dtype != np.uint8:
            raise LsamplerError(f"needs images; the model makes items of shape {items.shape[1:]}")
        return items

    @cached_property
    def encoded_again(self) -> Latents:
        """(n, D): the items encoded, which for decoded samples is again. Raises LsamplerError without a model."""
        return self._again.first(len(self.latents))

    def _decoded(self, start: int, stop: int) -> NDArray[Any]:
        if self._decode is None:
            raise LsamplerError("needs decoded items; give `model=...`")
        return self._decode(self.latents[start:stop])

    def _encoded(self, start: int, stop: int) -> NDArray[Any]:
        if self._encode is None:
            raise LsamplerError("needs an encoder; give `model=...`")
        return self._encode(self._items.first(stop)[start:])


class _Growing:
    """The first rows of an array that is computed in whole blocks when they are needed.

    Blocks begin at multiples of 64, so that rows are computed with the same neighbours whoever asks for them first.

    Args:
        compute: from the first row and the one after the last to the rows between.
        count: how many there are.
    """

    def __init__(self, compute: Callable[[int, int], NDArray[Any]], count: int) -> None:
        self._compute, self._count = compute, count
        self._rows: NDArray[Any] | None = None

    def first(self, n: int) -> NDArray[Any]:
        """The first n rows."""
        rows, stop = self._rows, min(-(-n // BLOCK) * BLOCK, self._count)
        if rows is None:
            rows = self._compute(0, stop)
        elif len(rows) < n:
            rows = np.concatenate([rows, self._compute(len(rows), stop)])
        self._rows = rows
        return rows[:n]


class RealData(Shown):
    """What samples are judged against: a reference, its real vectors, and its autoencoder.

    Args:
        subject: a store, an array, or a bundle, which has no vectors; with an autoencoder a :class:`Subject`.
        seed: of the random choice of vectors.
        rows: how many train vectors samples are compared with where all would be too many.
    """

    def __init__(
        self,
        subject: ReferenceLike | Subject,
        *,
        seed: int = 0,
        rows: int = MOST_ROWS,
    ) -> None:
        self.subject, self.seed, self.rows = as_subject(subject), seed, rows
        self.reference = self.subject.reference
        self.decode, self.encode, self.item = self.subject.decode, self.subject.encode, self.subject.item

    def _about(self) -> About:
        decoder = "with a decoder" if self.decode else ""
        facts = [f"D = {self.reference.dimension}", f"at most {self.rows:,} vectors compared", decoder]
        return About("RealData", name_of(self.reference.name), [*facts, f"seed {self.seed}"])

    def _parts(self) -> Iterator[Markup]:
        yield paragraph(repr(self.reference), "dim")

    @cached_property
    def held_out(self) -> Latents:
        """(m, D) vectors that nothing was fitted to. Raises LsamplerError if there are none."""
        rows = self.reference.held_out()
        if not len(rows):
            raise LsamplerError(f"{self.reference.name} holds no held-out vectors; encode again, and hold some out")
        return rows

    def held_out_for(self, samples: Samples, values: NDArray[Any] | None = None) -> NDArray[Any]:
        """The held-out vectors, or ``values`` of theirs, that ``samples`` are compared with; other than themselves."""
        values = self.held_out if values is None else values
        return calibration_split(values)[0] if samples.kind == "held-out" else values

    @cached_property
    def train(self) -> Latents:
        """(k, D) random train vectors, at most ``rows`` and half of all: samples are compared with them."""
        return self._halves[0]

    @cached_property
    def other(self) -> Latents:
        """As many other train vectors: the best that any sampler can reach against :attr:`train`."""
        return self._halves[1]

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """(2, k): which train vectors, in the order of the store, :attr:`train` and :attr:`other` are."""
        count = self.reference.statistics().count
        rows = min(self.rows, count // 2)
        rng = np.random.default_rng([self.seed, seed_of("halves")])
        return rng.choice(count, 2 * rows, replace=False).reshape(2, rows)

    @cached_property
    def _halves(self) -> tuple[Latents, Latents]:
        taken = rows_by_index(self.reference.chunks(), self.reference.dimension, self.chosen.ravel())
        return taken[: len(taken) // 2], taken[len(taken) // 2 :]

    def rows_of(self, samples: Samples) -> Latents:
        """At most as many samples as :attr:`train` has rows, so that all sets are of one size."""
        return samples.latents[: len(self.train)]

    def samples(self, name: str, latents: Latents, kind: Kind = "drawn") -> Samples:
        """Samples of this latent space, which its autoencoder decodes."""
        return Samples(name, latents, decode=self.decode, encode=self.encode, kind=kind)


def compared_rows(sizes: Sequence[int]) -> int:
    """How many train vectors sets of samples of these sizes are compared with."""
    return min(MOST_ROWS, max(sizes, default=MOST_ROWS))


def check_samples(samples: Samples, reference: Reference) -> None:
    """Raise LsamplerError unless samples are vectors (n, D) of finite numbers."""
    check_shape(samples.name, samples.latents.shape, reference)
    if not np.isfinite(samples.latents).all():
        raise LsamplerError(f"{samples.name}: holds NaN or infinite latents; draw them again")


def check_shape(name: str, shape: tuple[int, ...], reference: Reference) -> None:
    """Raise LsamplerError unless this is the shape of latent vectors of the reference, (n, D)."""
    if len(shape) != 2 or shape[1] != reference.dimension:
        raise LsamplerError(f"{name}: latents of shape {shape}, D of {reference.name} is {reference.dimension}")
    if not shape[0]:
        raise LsamplerError(f"{name}: holds no latents; draw at least one")


def rows_by_index(chunks: Iterable[Latents], dimension: int, indices: NDArray[np.int64]) -> Latents:
    """Vectors by their indices, in that order, from one pass over all chunks."""
    result = np.empty((len(indices), dimension), dtype=np.float32)
    order = np.argsort(indices)
    ascending = indices[order]
    start = 0
    for chunk in chunks:
        first, last = np.searchsorted(ascending, [start, start + len(chunk)])
        result[order[first:last]] = chunk[ascending[first:last] - start]
        start += len(chunk)
    return result
