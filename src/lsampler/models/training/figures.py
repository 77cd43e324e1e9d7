"""Pictures of a training: the error per epoch, and reconstructions of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.data.pictures import enlarged, image_grid, to_uint8
from lsampler.files import new_file
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.plots import BLUE, VERMILION, house_style, save_figure, single

PER_ROW = 8


def reconstruction_grid(model: ConvAutoencoder, images: NDArray[np.uint8], path: Path) -> None:
    """Draw images (N, C, H, W) uint8 above their reconstructions, eight per row."""
    batch = torch.from_numpy(images.copy()).float().to(model.device) / 255
    restored = to_uint8(model.decode(model.encode(batch)).cpu().numpy())
    originals = images.transpose(0, 2, 3, 1)
    per_row = min(PER_ROW, len(images))
    rows: list[NDArray[np.uint8]] = []
    for start in range(0, len(images) - per_row + 1, per_row):
        rows += [originals[start : start + per_row], restored[start : start + per_row]]
    pixels = np.concatenate(rows)
    with new_file(path, force=True) as beside:
        image_grid(enlarged(pixels), per_row).save(beside)


def training_curve(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the mean squared error per epoch, for the training and the held-out images."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    with house_style(), new_file(path, force=True) as beside:
        figure, axes = single(height=4.0)
        epochs = [row["epoch"] for row in rows]
        curves = (("train_mse", "training images", BLUE, "-"), ("held_out_mse", "held-out images", VERMILION, "--"))
        for key, label, colour, style in curves:
            # The marker makes a single epoch visible.
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
        save_figure(figure, beside)
