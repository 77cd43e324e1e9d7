"""Pictures: grids of images and training curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsampler.files import new_file
from lsampler.plots import BLUE, VERMILION, house_style, save_figure, single

if TYPE_CHECKING:
    from lsampler.models.conv_autoencoder import ConvAutoencoder

__all__ = ["image_grid", "reconstruction_grid", "to_uint8", "training_curve"]

GAP = 2
READABLE_EDGE = 64


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images (N, C, H, W) in [0, 1] -> (N, H, W, C) uint8."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def image_grid(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """Images (N, H, W, C) uint8 in rows, as square as possible unless ``columns`` is given."""
    count, height, width, channels = images.shape
    columns = columns or max(1, round(float(np.sqrt(count * height / width))))
    rows = -(-count // columns)
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def reconstruction_grid(model: ConvAutoencoder, images: NDArray[np.uint8], path: Path) -> None:
    """Originals (N, C, H, W) uint8 above their reconstructions, eight to a row."""
    import torch

    device = model.device
    decoded = model.decode(model.encode(torch.from_numpy(images.copy()).float().to(device) / 255))
    originals = images.transpose(0, 2, 3, 1)
    restored = to_uint8(decoded.cpu().numpy())
    per_row = min(8, len(images))
    rows: list[NDArray[np.uint8]] = []
    for start in range(0, len(images) - per_row + 1, per_row):
        rows += [originals[start : start + per_row], restored[start : start + per_row]]
    pixels = np.concatenate(rows)
    enlarge = max(1, READABLE_EDGE // max(pixels.shape[1:3]))
    pixels = pixels.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    with new_file(path, force=True) as beside:
        image_grid(pixels, per_row).save(beside)


def training_curve(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Mean squared error per epoch, for the training and the held-out images."""
    with house_style(), new_file(path, force=True) as beside:
        save_figure(_training_figure(rows), beside)


def _training_figure(rows: Sequence[dict[str, float]]) -> Any:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    figure, axes = single(height=4.0)
    epochs = [row["epoch"] for row in rows]
    curves = (("train_mse", "training images", BLUE, "-"), ("held_out_mse", "held-out images", VERMILION, "--"))
    for key, label, colour, style in curves:
        # With the marker a single epoch can be seen too.
        axes.plot(epochs, [row[key] for row in rows], style, marker=".", color=colour, label=label)
    axes.set(xlabel="epoch", ylabel="mean squared error", title="Reconstruction error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    errors = [row[key] for row in rows for key, *_ in curves]
    if max(errors) > 2 * min(errors):  # a logarithmic axis needs some room for its ticks
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(which="both")
    axes.legend()
    return figure
