"""Latent vectors -> images, in batches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.compute.dense import dense_tensor
from lsampler.compute.prefetch import one_behind
from lsampler.data.pictures import image_grid
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.files import MARK, check_folder, mark_folder, new_directory, new_file
from lsampler.models.protocols import Decoder, Encoder
from lsampler.progress import Progress, track

BATCH = 256
LARGE_BATCH = 1 << 20
"""Pixels of images larger than 128 x 128 that are decoded at a time: a network holds hundreds of numbers for each."""
MAX_GRID_IMAGES = 4096


def decode_images(decoder: Decoder, latents: NDArray[np.float32] | torch.Tensor) -> NDArray[np.uint8]:
    """Latent vectors (n, D) -> images (n, H, W, C) uint8, decoded in batches."""
    return np.concatenate(list(decode_stream(decoder, [torch.as_tensor(latents)])))


def encode_pixels(encoder: Encoder, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decoded images (n, H, W, C) uint8 -> latent vectors (n, D), in batches: the way back."""
    encoded = []
    step = _batch_of(encoder)
    for start in range(0, len(images), step):
        pixels = torch.from_numpy(images[start : start + step].transpose(0, 3, 1, 2).copy())
        batch = pixels.float().div_(255)
        with torch.inference_mode(), plugin_errors("encoding"):
            encoded.append(dense_tensor(encoder.encode(batch)).float().cpu().numpy())
    return np.concatenate(encoded)


def decode_stream(
    decoder: Decoder, blocks: Iterable[torch.Tensor], origin: str = "the latent vectors"
) -> Iterator[NDArray[np.uint8]]:
    """Blocks of latent vectors -> batches of images (b, H, W, C) uint8; messages name the origin of the vectors.

    Raises:
        LsamplerError: the decoder gives NaN or something that is not images.
    """
    for pixels, extremes in one_behind(_launched(decoder, blocks)):
        if not torch.isfinite(extremes).all():
            raise LsamplerError(
                f"{origin}: decoded to NaN or infinite values; give vectors as large as the model's own latents, or a "
                "model whose weights are finite"
            )
        yield pixels.cpu().numpy()


def _launched(decoder: Decoder, blocks: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images (b, H, W, C) uint8 and their extremes, which a GPU may still be at work on."""
    for block in blocks:
        for batch in torch.split(block, _batch_of(decoder)):
            with plugin_errors("decoding"):
                images = dense_tensor(decoder.decode(batch.float())).float()
            if images.ndim != 4 or len(images) != len(batch):
                raise LsamplerError(f"the decoder gave shape {tuple(images.shape)}, expected (B, C, H, W)")
            yield _as_bytes(images)


def _batch_of(model: Encoder | Decoder) -> int:
    """How many images go through a model at a time."""
    pixels = getattr(getattr(model, "preprocess", None), "size", 0) ** 2
    return BATCH if pixels <= 128**2 else max(1, LARGE_BATCH // pixels)


@torch.inference_mode()
def _as_bytes(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (b, C, H, W) float32 as (b, H, W, C) uint8, where they are: a quarter to copy; and their extremes."""
    pixels = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    extremes = torch.stack(images.aminmax()) if images.numel() else images.new_zeros(2)
    return pixels.permute(0, 2, 3, 1).contiguous(), extremes


def save_grid(images: NDArray[np.uint8], path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write images (n, H, W, C) uint8 as one picture, in rows as square as possible."""
    with new_file(path, force=force) as beside:
        image_grid(images).save(beside)


def save_folder(
    batches: Iterable[NDArray[np.uint8]],
    total: int,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write images as numbered PNG files in a folder, which appears when all are there."""
    from PIL import Image

    _check_folder(Path(path))
    digits = max(6, len(str(total - 1)))
    with new_directory(path, force=force) as beside:
        mark_folder(beside, "images", Path(path))
        index = 0
        for batch in track(batches, progress, "writing images", total, len):
            for image in batch:
                pixels = image[..., 0] if image.shape[-1] == 1 else image
                Image.fromarray(pixels).save(beside / f"{index:0{digits}d}.png")
                index += 1


def _check_folder(path: Path) -> None:
    """The folder is replaced as a whole: what the user added to it shall not go, either."""
    check_folder(path, "images")
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.name != MARK and not re.fullmatch(r"\d{6,}\.png", entry.name):
            raise LsamplerError(f"{path}: holds '{entry.name}', so it is not replaced; choose another folder")
