"""Tiny autoencoders of five libraries for items of four kinds, each beside what the library itself computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_models import import_keras
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch_models import export_onnx

import lsampler

Array = NDArray[Any]
D = 3
SHAPES: dict[str, tuple[int, ...]] = {
    "image": (1, 8, 8),
    "wide-image": (3, 4, 6),
    "signal": (2, 16),
    "table": (7,),
}


def items_of(kind: str, count: int = 130) -> Array:
    """Items (count, *shape) of four hidden numbers, and noise; images are within [0, 1]."""
    shape, generator = SHAPES[kind], np.random.default_rng(5)
    waves = generator.normal(size=(4, math.prod(shape)))
    rows = generator.normal(size=(count, 4)) @ waves + 0.1 * generator.normal(size=(count, waves.shape[1]))
    rows = 1 / (1 + np.exp(-rows)) if "image" in kind else 3 * rows - 2
    return rows.reshape(-1, *shape).astype(np.float32)


@dataclass
class Live:
    """An autoencoder in lsampler, and the library's own two halves, of items (B, *shape)."""

    model: Any
    items: Array
    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]


def linear_pair(shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    values = math.prod(shape)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(values, D))
        decoder = nn.Sequential(nn.Linear(D, values), nn.Unflatten(1, shape))
    return encoder.eval(), decoder.eval()


def of_torch(kind: str, _: Path) -> Live:
    """Two modules."""
    items, (encoder, decoder) = items_of(kind), linear_pair(SHAPES[kind])
    model = lsampler.adapt(encoder, decoder, example=items[:2])
    return Live(model, items, _called(encoder), _called(decoder))


def _called(module: nn.Module) -> Callable[[Array], Array]:
    def call(given: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(given))).numpy()

    return call


def of_functions(kind: str, _: Path) -> Live:
    """Two functions of NumPy arrays, with the channels last where items have several axes."""
    items, shape = items_of(kind), SHAPES[kind]
    weights = np.random.default_rng(3).normal(size=(math.prod(shape), D)).astype(np.float32) / 4

    def encode(given: Array) -> Array:
        return given.reshape(len(given), -1) @ weights

    def last(given: Array) -> Array:
        return np.moveaxis(given, 1, -1) if len(shape) > 1 else given

    def decode(latents: Array) -> Array:
        back = 0.2 * np.tanh(latents @ weights.T)
        return back.reshape(-1, *shape[1:], shape[0]) if len(shape) > 1 else back

    order: Any = "last" if len(shape) > 1 else None
    model = lsampler.adapt(encode, decode, example=last(items)[:2], channel_order=order)
    first = (lambda given: np.moveaxis(given, -1, 1)) if len(shape) > 1 else (lambda given: given)
    return Live(model, items, lambda given: encode(last(given)), lambda latents: first(decode(latents)))


def of_keras(kind: str, _: Path) -> Live:
    """Two Keras models, which take channels last."""
    keras, items, shape = import_keras(), items_of(kind), SHAPES[kind]
    own = (*shape[1:], shape[0]) if len(shape) > 1 else shape
    keras.utils.set_random_seed(4)
    layers = keras.layers
    encoder = keras.Sequential([keras.Input(own), layers.Flatten(), layers.Dense(D)])
    decoder = keras.Sequential([keras.Input((D,)), layers.Dense(math.prod(own)), layers.Reshape(own)])

    def last(given: Array) -> Array:
        return np.moveaxis(given, 1, -1) if len(shape) > 1 else given

    def first(given: Array) -> Array:
        return np.moveaxis(given, -1, 1) if len(shape) > 1 else given

    order: Any = "last" if len(shape) > 1 else None
    model = lsampler.adapt(encoder, decoder, example=last(items)[:2], channel_order=order)
    return Live(
        model,
        items,
        lambda given: encoder.predict(last(given), verbose=0),
        lambda latents: first(decoder.predict(latents, verbose=0)),
    )


def of_sklearn(kind: str, _: Path) -> Live:
    """A pipeline that takes items as flat rows."""
    items, shape = items_of(kind), SHAPES[kind]
    flat = items.reshape(len(items), -1)
    pipeline = make_pipeline(StandardScaler(), PCA(D, random_state=0)).fit(flat)
    settings: Any = {"shape": shape} if len(shape) > 1 else {}
    model = lsampler.adapt(pipeline, example=flat[:2], **settings)
    return Live(
        model,
        items,
        lambda given: pipeline.transform(given.reshape(len(given), -1)),
        lambda latents: pipeline.inverse_transform(latents).reshape(-1, *shape),
    )


def of_onnx(kind: str, folder: Path) -> Live:
    """Two files, opened by their path and run by onnxruntime."""
    import onnxruntime

    items, shape = items_of(kind), SHAPES[kind]
    paths = folder / "encoder.onnx", folder / "decoder.onnx"
    for module, path, example in zip(
        linear_pair(shape), paths, (torch.zeros(2, *shape), torch.zeros(2, D)), strict=True
    ):
        export_onnx(module, path, example)
    encoder, decoder = (onnxruntime.InferenceSession(path) for path in paths)
    declared: dict[str, Any] = {} if "image" in kind else {"kind": kind, "shape": "x".join(map(str, shape))}
    model = lsampler.load_autoencoder(f"{paths[0]}+{paths[1]}", **declared)
    return Live(
        model,
        items,
        lambda given: encoder.run(None, {"given": given})[0],
        lambda latents: decoder.run(None, {"given": latents})[0],
    )


LIBRARIES: dict[str, Callable[[str, Path], Live]] = {
    "torch": of_torch,
    "functions": of_functions,
    "keras": of_keras,
    "sklearn": of_sklearn,
    "onnx": of_onnx,
}
