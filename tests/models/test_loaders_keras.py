"""Keras files made for other backends: what PyTorch computes as they do is right, and what it does not is refused."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lsampler import LsamplerError, load_autoencoder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def import_keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras


def saved(folder: Path, name: str, shape: tuple[int, ...], layers: Callable[[Any, Any], Any]) -> Path:
    keras = import_keras()
    keras.utils.set_random_seed(3)
    entry = keras.Input(shape)
    keras.Model(entry, layers(keras, entry)).save(folder / name)
    return folder / name


def pair(folder: Path, encode: Callable[[Any, Any], Any]) -> str:
    """An encoder of images of 7 x 7, and some decoder."""
    encoder = saved(folder, "e.keras", (7, 7, 1), lambda keras, x: keras.layers.Flatten()(encode(keras, x)))
    dimension = import_keras().saving.load_model(encoder).output_shape[-1]
    decoder = saved(
        folder,
        "d.keras",
        (dimension,),
        lambda keras, z: keras.layers.Reshape((7, 7, 1))(keras.layers.Dense(49, "sigmoid")(z)),
    )
    return f"{encoder}+{decoder}"


def transposed_convolution(images: NDArray[Any], kernel: NDArray[Any], stride: int) -> NDArray[Any]:
    """As its definition says: the gradient of a convolution with padding 'same', written as a sum of stamps."""
    count, height, width, _ = images.shape
    size = kernel.shape[0]
    full = np.zeros((count, (height - 1) * stride + size, (width - 1) * stride + size, kernel.shape[2]))
    for row in range(height):
        for column in range(width):
            stamp = np.einsum("ni,hwoi->nhwo", images[:, row, column], kernel)
            full[:, row * stride : row * stride + size, column * stride : column * stride + size] += stamp
    before = (size - stride) // 2
    return full[:, before : before + height * stride, before : before + width * stride]


@pytest.mark.parametrize("size", [3, 4, 5])
def test_transposed_convolutions_are_what_their_definition_says(size: int, tmp_path: Path) -> None:
    """Keras before 3.15 shifted those of odd sizes on PyTorch."""

    def decode(keras: Any, latents: Any) -> Any:
        hidden = keras.layers.Reshape((4, 4, 2))(latents)
        return keras.layers.Conv2DTranspose(1, size, strides=2, padding="same", bias_initializer="uniform")(hidden)

    decoder = saved(tmp_path, "d.keras", (32,), decode)
    encoder = saved(tmp_path, "e.keras", (8, 8, 1), lambda keras, x: keras.layers.Dense(32)(keras.layers.Flatten()(x)))
    kernel, bias = (weight.numpy() for weight in import_keras().saving.load_model(decoder).layers[-1].weights)
    latents = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    expected = transposed_convolution(latents.reshape(3, 4, 4, 2), kernel, 2) + bias
    found = load_autoencoder(f"{encoder}+{decoder}").decode(torch.from_numpy(latents))
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected.clip(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 1), (3, 2), (5, 2)])
def test_average_pooling_that_is_accepted_leaves_padding_out_of_the_mean(
    size: int, stride: int, tmp_path: Path
) -> None:
    spec = pair(tmp_path, lambda keras, x: keras.layers.AveragePooling2D(size, stride, padding="same")(x))
    images = torch.rand(3, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    edge = -(-7 // stride)
    before = max(0, (edge - 1) * stride + size - 7) // 2
    expected = np.empty((3, edge, edge))
    for row in range(edge):
        for column in range(edge):
            top, left = row * stride - before, column * stride - before
            window = images[:, 0, max(0, top) : top + size, max(0, left) : left + size]
            expected[:, row, column] = window.mean(dim=(1, 2))
    found = load_autoencoder(spec).encode(images)
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=0, atol=1e-6)


def nested_pool(keras: Any, entry: Any) -> Any:
    """It pads evenly where the inner model was built, and unevenly where it is called."""
    inner = keras.Sequential([keras.layers.AveragePooling2D(3, 2, padding="same")])
    return inner(keras.layers.ZeroPadding2D(((1, 0), (1, 0)))(entry))


REFUSED: list[tuple[str, Callable[[Any, Any], Any], str]] = [
    ("pooling", lambda k, x: k.layers.AveragePooling2D(4, 1, padding="same")(x), "AveragePooling2D 'average_pooling2d"),
    ("nested", nested_pool, "AveragePooling2D 'average_pooling2d"),
    (
        "in a layer",
        lambda k, x: k.layers.TimeDistributed(k.layers.AveragePooling1D(4, 2, padding="same"))(x),
        "AveragePooling1D",
    ),
    ("as an operation", lambda k, x: k.ops.average_pool(x, 4, 2, padding="same"), "AveragePool 'average_pool"),
    ("bicubic", lambda k, x: k.layers.UpSampling2D(2, interpolation="bicubic")(x), "UpSampling2D 'up_sampling2d"),
    ("resized", lambda k, x: k.layers.Resizing(14, 14, interpolation="bicubic")(x), "Resizing 'resizing"),
    ("resize", lambda k, x: k.ops.image.resize(x, (14, 14), interpolation="bicubic"), "Resize 'resize"),
]


@pytest.mark.parametrize(("encode", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_layers_that_give_other_numbers_on_pytorch_are_refused_by_name(
    encode: Callable[[Any, Any], Any], named: str, tmp_path: Path
) -> None:
    spec = pair(tmp_path, encode)
    with pytest.raises(LsamplerError, match=f"{named}.* gives other numbers here .* model.export"):
        load_autoencoder(spec)
    assert load_autoencoder(spec, backend="torch").preprocess.size == 7


def test_a_keras_that_is_older_than_the_file_or_wrong_is_named_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = pair(tmp_path, lambda keras, x: x)
    with zipfile.ZipFile(tmp_path / "e.keras") as whole, zipfile.ZipFile(tmp_path / "n.keras", "w") as newer:
        newer.writestr("metadata.json", '{"keras_version": "9.1.0", "date_saved": "2030-01-01"}')
        newer.writestr("config.json", whole.read("config.json").replace(b"Flatten", b"Flatter"))
        newer.writestr("model.weights.h5", whole.read("model.weights.h5"))
    keras = import_keras()
    with pytest.raises(
        LsamplerError, match=rf"n\.keras: was saved by Keras 9\.1\.0, and Keras {keras.__version__} cann"
    ):
        load_autoencoder(f"{tmp_path / 'n.keras'}+{tmp_path / 'd.keras'}")
    monkeypatch.setattr(keras, "__version__", "3.14.2")
    with pytest.raises(LsamplerError, match=r"Keras 3\.14\.2 computes transposed convolutions wrongly.*keras>=3\.15"):
        load_autoencoder(spec)
