"""Small models at random, made by pythae, diffusers and Keras."""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch


def images(channels: int = 1, size: int = 8, seed: int = 3) -> torch.Tensor:
    return torch.rand(5, channels, size, size, generator=torch.Generator().manual_seed(seed))


def pythae_model(name: str = "VAE", shape: tuple[int, ...] = (1, 8, 8), networks: tuple[str, str] | None = None) -> Any:
    """A model with pythae's default networks, or with these of pythae's benchmarks."""
    from pythae import models

    config_class = getattr(models, f"{name}Config", None) or getattr(models, f"{name}_Config")
    config = config_class(input_dim=shape, latent_dim=3)
    torch.manual_seed(1)
    if networks is None:
        return getattr(models, name)(config).eval()
    place = importlib.import_module(f"pythae.models.nn.benchmarks.{networks[0].rsplit('_', 1)[1].lower()}")
    encoder, decoder = (getattr(place, network)(config) for network in networks)
    return getattr(models, name)(config, encoder, decoder).eval()


def kl_model(channels: int = 1) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    widths = {"block_out_channels": (4, 8), "norm_num_groups": 2, "layers_per_block": 1, "latent_channels": 2}
    return AutoencoderKL(channels, channels, **blocks, **widths, sample_size=8).eval()


def tiny_kl_model() -> Any:
    from diffusers import AutoencoderTiny

    torch.manual_seed(2)
    encoder = {"encoder_block_out_channels": (4, 4, 4), "num_encoder_blocks": (1, 1, 1)}
    decoder = {"decoder_block_out_channels": (4, 4, 4), "num_decoder_blocks": (1, 1, 1)}
    return AutoencoderTiny(3, 3, **encoder, **decoder, latent_channels=2).eval()


def import_keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras


def keras_pair(order: str = "last", size: int | None = 8) -> tuple[Any, Any]:
    """Encoder and decoder; a convolutional one of any size if there is none."""
    keras = import_keras()
    layers, conv = keras.layers, {"padding": "same", "strides": 2, "data_format": f"channels_{order}"}
    shape = (size, size, 1) if order == "last" else (1, size, size)
    entry = keras.Input(shape)
    hidden = layers.Conv2D(4, 3, activation="relu", **conv)(entry)
    if size is None:
        code = keras.Input((None, None, 4))
        return keras.Model(entry, hidden), keras.Model(code, layers.Conv2DTranspose(1, 3, **conv)(code))
    flat = layers.Flatten()(hidden)
    encoder = keras.Model(entry, [layers.Dense(3)(flat), layers.Dense(3)(flat)], name="encoder")
    code = keras.Input((3,))
    small = (size // 2, size // 2, 4) if order == "last" else (4, size // 2, size // 2)
    back = layers.Reshape(small)(layers.Dense(size * size)(code))
    decoder = keras.Model(code, layers.Conv2DTranspose(1, 3, activation="sigmoid", **conv)(back), name="decoder")
    return encoder, decoder
