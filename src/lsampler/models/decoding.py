"""Latent vectors -> items, in batches: images as pixels, other items as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.compute.dense import dense_tensor
from lsampler.compute.prefetch import one_behind
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.models.protocols import Decoder, Encoder, item_of

BATCH = 256
LARGE_BATCH = 1 << 20
"""Pixels of images larger than 128 x 128 that are decoded at a time: a network holds hundreds of numbers for each."""
MOST_ROWS = 2048
"""Items that are no images, which are decoded at a time at most: a block."""


def decode(autoencoder: Decoder, latents: Any) -> NDArray[np.float32]:
    """Latent vectors (n, D) -> items (n, *shape) float32, in the units of the model.

    Images are (n, C, H, W) in the ``value_range`` of the model's item, [0, 1] if it states none.

    Args:
        autoencoder: any autoencoder, such as that of a bundle or one made by :func:`lsampler.adapt`.
        latents: an array, a tensor, or anything that NumPy makes an array of.

    Raises:
        LsamplerError: the vectors are not of the model's dimension, or the decoder gives NaN.
    """
    item = item_of(autoencoder)
    low, high = item.value_range if item.is_image else (0.0, 1.0)
    rows = latents if isinstance(latents, torch.Tensor) else torch.as_tensor(np.asarray(latents, dtype=np.float32))
    if rows.ndim != 2:
        raise LsamplerError(
            f"latent vectors of shape {tuple(rows.shape)}; give (n, D), such as `latents[None]` for one"
        )
    if not len(rows):
        return np.empty((0, *item.shape), np.float32)
    parts = [items.float().cpu().numpy() for items in _decoded_batches(autoencoder, [rows], "the latent vectors")]
    found: NDArray[np.float32] = np.concatenate(parts)
    return found * np.float32(high - low) + np.float32(low) if (low, high) != (0.0, 1.0) else found


def decode_images(decoder: Decoder, latents: NDArray[np.float32] | torch.Tensor) -> NDArray[np.uint8]:
    """Latent vectors (n, D) -> images (n, H, W, C) uint8, decoded in batches."""
    return np.concatenate(list(image_stream(decoder, [torch.as_tensor(latents)])))


def encode_pixels(encoder: Encoder, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decoded images (n, H, W, C) uint8 -> latent vectors (n, D), in batches: the way back."""
    return _encoded(encoder, images, lambda pixels: pixels.permute(0, 3, 1, 2).contiguous().float().div_(255))


def decode_rows(decoder: Decoder, latents: NDArray[np.float32] | torch.Tensor) -> NDArray[np.float32]:
    """Latent vectors (n, D) -> items that are no images (n, *shape) float32, decoded in batches."""
    return np.concatenate(list(row_stream(decoder, [torch.as_tensor(latents)])))


def encode_rows(encoder: Encoder, items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Items that are no images (n, *shape) -> latent vectors (n, D), in batches: the way back."""
    return _encoded(encoder, items, lambda rows: rows)


def _encoded(
    encoder: Encoder, items: NDArray[Any], prepare: Callable[[torch.Tensor], torch.Tensor]
) -> NDArray[np.float32]:
    encoded = []
    step = _batch_of(encoder)
    for start in range(0, len(items), step):
        batch = prepare(torch.from_numpy(np.ascontiguousarray(items[start : start + step])))
        with torch.inference_mode(), plugin_errors("encoding"):
            encoded.append(dense_tensor(encoder.encode(batch)).float().cpu().numpy())
    found: NDArray[np.float32] = np.concatenate(encoded)
    return found


def item_stream(
    autoencoder: Decoder, blocks: Iterable[torch.Tensor], origin: str = "the latent vectors"
) -> Iterator[NDArray[Any]]:
    """Blocks of latent vectors -> batches of items: images (b, H, W, C) uint8, others (b, *shape) float32.

    Messages name the origin of the vectors.

    Raises:
        LsamplerError: the decoder gives NaN or other items than the model says.
    """
    stream: Any = image_stream if item_of(autoencoder).is_image else row_stream
    return iter(stream(autoencoder, blocks, origin))


def row_stream(
    decoder: Decoder, blocks: Iterable[torch.Tensor], origin: str = "the latent vectors"
) -> Iterator[NDArray[np.float32]]:
    """Blocks of latent vectors -> batches of items that are no images (b, *shape) float32."""
    for items in _decoded_batches(decoder, blocks, origin):
        yield items.float().cpu().numpy()


def image_stream(
    decoder: Decoder, blocks: Iterable[torch.Tensor], origin: str = "the latent vectors"
) -> Iterator[NDArray[np.uint8]]:
    """Blocks of latent vectors -> batches of images (b, H, W, C) uint8."""
    for pixels, extremes in one_behind(_launched(decoder, blocks)):
        _check_finite(extremes, origin)
        yield pixels.cpu().numpy()


def _check_finite(values: torch.Tensor, origin: str) -> None:
    if not torch.isfinite(values).all():
        raise LsamplerError(
            f"{origin}: decoded to NaN or infinite values; give vectors as large as the model's own latents, or a "
            "model whose weights are finite"
        )


def _launched(decoder: Decoder, blocks: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images (b, H, W, C) uint8 and their extremes, which a GPU may still be at work on."""
    for images in _decoded_batches(decoder, blocks):
        if images.ndim != 4:
            raise LsamplerError(f"the decoder gave shape {tuple(images.shape)}, expected (B, C, H, W)")
        yield _as_bytes(images.float())


def _decoded_batches(
    decoder: Decoder, blocks: Iterable[torch.Tensor], origin: str | None = None
) -> Iterator[torch.Tensor]:
    """Batches as the decoder gives them; with an origin they are checked for NaN, which waits for a GPU."""
    for block in blocks:
        for batch in torch.split(block, _batch_of(decoder)):
            with plugin_errors("decoding"):
                items = dense_tensor(decoder.decode(batch.float()))
            if len(items) != len(batch):
                raise LsamplerError(f"the decoder gave shape {tuple(items.shape)} for {len(batch)} latent vectors")
            if origin is not None:
                _check_finite(items, origin)
            yield items


def _batch_of(model: Encoder | Decoder) -> int:
    """How many items go through a model at a time."""
    try:
        item = item_of(model)
    except LsamplerError:  # a decoder alone need not say what it makes
        return BATCH
    values = math.prod(item.shape[1:] if item.is_image else item.shape)
    if item.is_image:
        return BATCH if values <= 128**2 else max(1, LARGE_BATCH // values)
    return max(1, min(MOST_ROWS, LARGE_BATCH // values))


@torch.inference_mode()
def _as_bytes(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (b, C, H, W) float32 as (b, H, W, C) uint8, where they are: a quarter to copy; and their extremes."""
    pixels = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    extremes = torch.stack(images.aminmax()) if images.numel() else images.new_zeros(2)
    return pixels.permute(0, 2, 3, 1).contiguous(), extremes
