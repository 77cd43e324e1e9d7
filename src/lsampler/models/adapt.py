"""An autoencoder from two live objects: modules, functions, Keras models, or transformers of scikit-learn."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsampler.compute.arrays import as_numbers, column_names
from lsampler.data.items import Item, Kind
from lsampler.errors import LsamplerError
from lsampler.models.adapter import AdaptedAutoencoder, Apply, ChannelOrder, Layout
from lsampler.models.foreign_loader import module_digest

MOST_EXAMPLES = 16
CHANNELS = (1, 3)


class ItemSettings(TypedDict, total=False):
    """What an example does not show of an item; see :class:`lsampler.data.Item`."""

    kind: Kind
    shape: Sequence[int]
    names: Sequence[str]
    unit: str
    content: str
    value_range: tuple[float, float]


@dataclass(frozen=True)
class _Half:
    """One half as a call, and the object that holds its weights."""

    call: Apply
    owner: Any


def adapt(
    encoder: Any,
    decoder: Any = None,
    *,
    example: Any,
    name: str = "",
    fingerprint: str | None = None,
    channel_order: ChannelOrder | None = None,
    **item: Unpack[ItemSettings],
) -> AdaptedAutoencoder:
    """Make an autoencoder of two live objects, for everything in lsampler that takes one.

    Each half is a ``torch.nn.Module``, which is put in evaluation mode; a Keras model; an object with ``transform`` and
    ``inverse_transform``, or ``predict``, as those of scikit-learn; or a function. Functions get NumPy arrays, or
    tensors if the example is one. The example is sent through both halves in batches of two sizes and in another order,
    so that a pair that does not fit, mixes the items of a batch, or takes the rows of an image for items is refused at
    once.

    Args:
        encoder: items (B, ...) -> latents (B, D) or (B, ...), which are flattened.
        decoder: such latents -> items. None for an object that is both: with ``encode`` and ``decode``, ``encoder`` and
            ``decoder``, or ``transform`` and ``inverse_transform``.
        example: two or more items as the encoder takes them, such as ``X[:2]``; their shape says what the items are:
            (B, F) a table, (B, C, L) signals, (B, C, H, W) or (B, H, W, C) with 1 or 3 channels images, anything else
            arrays. A DataFrame brings the names of its columns.
        name: what messages call the model; by default the name of the encoder's class.
        fingerprint: a text that changes with the weights; by default made of the weights, or, where there are none,
            of what the example becomes.
        channel_order: ``last`` for images (B, H, W, C) and signals (B, L, C); needed where the example does not tell.
        **item: what the example does not show: ``shape``, such as (1, 8, 8), for a model that takes images as flat
            rows; ``value_range`` for images whose black and white are not 0 and 1; and ``kind``, ``names``, ``unit``
            and ``content``, as of :class:`lsampler.data.Item`.

    Raises:
        LsamplerError: an object that is no half of a model, an example that is no array of items, or a pair that does
            not work; one line says which, and what to do.

    Example:
        >>> import numpy as np
        >>> from sklearn.decomposition import PCA
        >>> import lsampler
        >>> X = np.random.default_rng(0).normal(size=(100, 5)).astype("float32")
        >>> model = lsampler.adapt(PCA(2).fit(X), example=X[:2])
        >>> model.item.words, model.dimension
        ('a row of 5 features', 2)
    """
    rows = as_numbers(example, "`example`", "give items as the encoder takes them", "(B, ...)")
    if rows.ndim < 2 or len(rows) < 2 or 0 in rows.shape:
        raise LsamplerError(f"`example`: shape {rows.shape}; give two or more items, (B, ...), such as X[:2]")
    rows = rows[:MOST_EXAMPLES]
    what, order, flat = _described(rows, column_names(example), channel_order, item)
    halves = _halves(encoder, decoder, tensors=isinstance(example, Tensor))
    called = name or type(halves[0].owner).__name__
    owners = [half.owner for half in halves]
    modules = [owner for owner in owners if isinstance(owner, nn.Module)]

    def move(device: torch.device) -> None:
        for module in modules:
            module.to(device)

    adapted = AdaptedAutoencoder(
        called,
        _alone(called, "encoder", halves[0].call),
        _alone(called, "decoder", halves[1].call),
        item=what,
        fingerprint=fingerprint or "",
        layout=Layout(order, flat=flat, example=torch.from_numpy(rows.astype(np.float32))),
        move=move if len(modules) == len(owners) else None,
    )
    if fingerprint is None:
        settings = json.dumps([what.as_dict(), order, flat])
        digest = _digest(owners) or _behaviour(adapted, rows)
        adapted.fingerprint = hashlib.sha256(f"{digest} {settings}".encode()).hexdigest()[:32]
    return adapted


def _described(
    rows: NDArray[Any], names: Sequence[str] | None, order: ChannelOrder | None, given: ItemSettings
) -> tuple[Item, ChannelOrder, bool]:
    """What the items of an example are, the order of its channels, and whether it holds them as flat rows."""
    own = tuple(rows.shape[1:])
    shape = tuple(given.get("shape", ()))
    flat = bool(shape) and own == (math.prod(shape),) and len(shape) > 1
    kind: Kind | None = given.get("kind")
    if not shape:
        last = order == "last" or (order is None and len(own) == 3 and own[0] not in CHANNELS and own[-1] in CHANNELS)
        if last and len(own) > 1:
            order, shape = "last", (own[-1], *own[:-1])
        else:
            shape = own
    elif not flat and own not in (shape, (*shape[1:], shape[0])):
        raise LsamplerError(
            f"`example`: items of shape {own}, where `shape={shape}` is declared; leave out `shape=...`"
        )
    item = Item.guessed(shape)
    kind = kind or item.kind
    settings: dict[str, Any] = {key: given[key] for key in ("unit", "content", "value_range") if key in given}
    found = Item(kind, shape, tuple(given.get("names", names if names and kind == "table" else ())), **settings)
    low, high = found.value_range
    if found.is_image and (rows.min() < low - 0.01 * (high - low) or rows.max() > high + 0.01 * (high - low)):
        raise LsamplerError(
            f"`example`: images with values in {rows.min():.3g}..{rows.max():.3g}; say what black and white are, such "
            f"as `value_range=(0, {255 if rows.max() > 16 else 16 if rows.max() > 1 else 1})`"
        )
    return found, order or "first", flat


def _halves(encoder: Any, decoder: Any, *, tensors: bool) -> tuple[_Half, _Half]:
    if decoder is not None:
        return (
            _half(encoder, "encoder", ("transform", "predict"), tensors=tensors),
            _half(decoder, "decoder", ("inverse_transform", "predict"), tensors=tensors),
        )
    for first, second in (("encode", "decode"), ("encoder", "decoder"), ("transform", "inverse_transform")):
        parts: tuple[Any, Any] = getattr(encoder, first, None), getattr(encoder, second, None)
        if all(map(callable, parts)):
            if isinstance(encoder, nn.Module):
                encoder.eval()
            if first == "encoder":
                return _halves(*parts, tensors=tensors)
            takes_tensors = tensors or isinstance(encoder, nn.Module)
            forward, back = (_Half(_converted(part, tensors=takes_tensors), encoder) for part in parts)
            return forward, back
    raise LsamplerError(
        f"adapt: {type(encoder).__name__} is no encoder and decoder in one; give the decoder, too: "
        "adapt(encoder, decoder, example=X[:2])"
    )


def _half(part: Any, which: str, methods: Sequence[str], *, tensors: bool) -> _Half:
    """One half of a model as a function of tensors."""
    if isinstance(part, nn.Module) and not _is_keras(part):
        part.eval()
        return _Half(_of_module(part), part)
    if _is_keras(part):
        return _Half(lambda given: part(given.cpu().numpy(), training=False), part)
    for method in methods:
        if callable(getattr(part, method, None)):
            return _Half(_converted(getattr(part, method), tensors=False), part)
    if not callable(part):
        raise LsamplerError(
            f"adapt: the {which} is of type {type(part).__name__}; give a module, a Keras model, a function, or an "
            f"object with {' or '.join(methods)}"
        )
    return _Half(_converted(part, tensors=tensors), getattr(part, "__self__", part))


def _is_keras(part: Any) -> bool:
    return any(base.__module__.split(".")[0] in ("keras", "tf_keras") for base in type(part).__mro__)


def _of_module(module: nn.Module) -> Apply:
    """A module, given its input where its weights are, and in their precision."""

    def call(given: Tensor) -> Any:
        weight = next((each for each in module.parameters() if each.is_floating_point()), None)
        return module(given if weight is None else given.to(weight.device, weight.dtype))

    return call


def _converted(call: Callable[[Any], Any], *, tensors: bool) -> Apply:
    return call if tensors else lambda given: call(given.cpu().numpy())


def _alone(name: str, which: str, call: Apply) -> Apply:
    """A half of which one array is expected: what else it gives is refused, with what to do."""
    what = "latent vectors" if which == "encoder" else "items"

    def checked(given: Tensor) -> Any:
        result = call(given)
        if isinstance(result, tuple | list | dict) or not (hasattr(result, "__array__") or isinstance(result, Tensor)):
            first = f"[{next(iter(result), '')!r}]" if isinstance(result, dict) else "[0]"
            length = f" of {len(result)}" if hasattr(result, "__len__") else ""
            raise LsamplerError(
                f"{name}: the {which} gave a {type(result).__name__}{length}; give a function that returns the {what} "
                f"alone, such as lambda x: {which}(x){first}"
            )
        return result

    return checked


def _digest(owners: Sequence[Any]) -> str:
    """A digest of the weights; empty where an object has none that are known."""
    parts = []
    for owner in owners:
        if isinstance(owner, nn.Module) and not _is_keras(owner) and owner.state_dict():
            parts.append(module_digest([owner]))
        elif _is_keras(owner) and owner.get_weights():
            arrays = [np.ascontiguousarray(weight) for weight in owner.get_weights()]
            parts.append(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
        else:
            return ""
    return " ".join(parts)


def _behaviour(model: AdaptedAutoencoder, rows: NDArray[Any]) -> str:
    """A digest of what an example becomes, in half precision: rounding does not change it."""
    latents = model.encode(model.own_items(torch.from_numpy(rows.astype(np.float32))))
    found = [part.to(torch.float16).cpu().numpy().tobytes() for part in (latents, model.decode(latents))]
    return hashlib.sha256(b"".join(found)).hexdigest()
