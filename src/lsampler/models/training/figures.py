"""Pictures of a training: the error per epoch, and reconstructions of held-out items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.data.pictures import enlarged, image_grid, to_uint8
from lsampler.errors import shortened
from lsampler.files import new_file
from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.models.training.options import Loss
from lsampler.plots import BLUE, INK, PAGE_WIDTH, VERMILION, house_style, panels, save_figure, single

PER_ROW = 8
SIGNALS, COLUMNS = 12, 4
MOST_FEATURES = 40
LONGEST_NAME = 28
LOSS_NAMES: dict[Loss, str] = {
    "l1": "mean absolute error",
    "laplacian": "L1 distance of Laplacian pyramids",
    "ms-ssim": "0.84 (1 - MS-SSIM) + 0.16 L1",
}


def reconstructions(model: TrainedAutoencoder, items: NDArray[Any], path: Path) -> None:
    """Draw held-out items (n, *shape), and what becomes of them, as suits their kind; images are uint8."""
    if model.item.is_image:
        reconstruction_grid(model, items, path)
        return
    batch = torch.from_numpy(items.copy())
    decoded = model.decode(model.encode(batch)).cpu().numpy()
    with house_style(), new_file(path, force=True) as beside:
        signals = model.item.kind == "signal"
        save_figure(_signals(items, decoded, model) if signals else _explained(items, decoded, model), beside)


def reconstruction_grid(model: TrainedAutoencoder, images: NDArray[np.uint8], path: Path) -> None:
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


def _signals(items: NDArray[np.float32], decoded: NDArray[np.float32], model: TrainedAutoencoder) -> Any:
    """The first held-out signals in grey, and their reconstructions over them; channels are shifted apart."""
    figure, axes = panels(min(len(items), SIGNALS), COLUMNS, height=1.6)
    apart = 1.1 * float(np.ptp(items[:SIGNALS])) if items.shape[1] > 1 else 0.0
    lines: list[Any] = []
    for axis, signal, restored in zip(axes, items, decoded, strict=False):
        for channel, (values, again) in enumerate(zip(signal, restored, strict=True)):
            lines = axis.plot(values - channel * apart, color=INK, alpha=0.35, linewidth=2.4)
            lines += axis.plot(again - channel * apart, color=VERMILION, linewidth=1.0)
        axis.margins(x=0)
        axis.tick_params(left=not apart, labelleft=not apart)
    figure.legend(lines, ["held out", "reconstructed"], loc="outside upper right", ncols=2)
    figure.supxlabel("step", fontsize=9)
    return figure


def _explained(items: NDArray[np.float32], decoded: NDArray[np.float32], model: TrainedAutoencoder) -> Any:
    """For each value the share of its variance that the reconstructions of held-out items keep; the worst last."""
    known, again = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (items, decoded))
    names = model.item.features if model.item.kind == "table" else [str(k) for k in range(known.shape[1])]
    variance = known.var(axis=0)
    varying = np.flatnonzero(variance > 0)
    kept = 1 - ((again - known) ** 2).mean(axis=0)[varying] / variance[varying]
    order = np.argsort(-kept)
    shown = order if len(order) <= MOST_FEATURES else np.concatenate([order[:5], order[5 - MOST_FEATURES :]])
    figure, axis = single(height=max(2.0, 0.7 + 0.19 * len(shown)), width=6.4)
    axis.barh(range(len(shown)), np.clip(kept[shown], 0, 1), color=BLUE, height=0.7)
    axis.set_yticks(range(len(shown)), [shortened(names[varying[place]], LONGEST_NAME) for place in shown])
    axis.invert_yaxis()
    left_out = f"; the 5 best and the {MOST_FEATURES - 5} worst" if len(shown) < len(order) else ""
    axis.set(xlim=(0, 1), xlabel="share of the variance that is kept", title=f"Held-out {model.item.plural}{left_out}")
    axis.margins(y=0.01)
    axis.grid(axis="x")
    return figure


def training_curve(rows: Sequence[dict[str, float]], path: Path, what: str = "images", loss: Loss = "mse") -> None:
    """Draw the mean squared error per epoch, for the training and the held-out items, and the loss if it is another."""
    with house_style(), new_file(path, force=True) as beside:
        alone = loss == "mse"
        figure, (error, *other) = panels(1 if alone else 2, 2, height=4.0, width=6.4 if alone else PAGE_WIDTH)
        unit = "" if what == "images" else ", in units of the variance"
        _curves(error, rows, "mse", what)
        error.set(ylabel=f"mean squared error{unit}", title="Reconstruction error")
        for axis in other:
            _curves(axis, rows, "loss", what)
            axis.set(ylabel=LOSS_NAMES[loss], title="Loss, which the training minimises")
        save_figure(figure, beside)


def _curves(axes: Any, rows: Sequence[dict[str, float]], name: str, what: str) -> None:
    """One measure per epoch, of the training and the held-out items."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    epochs = [row["epoch"] for row in rows]
    curves = (
        (f"train_{name}", f"training {what}", BLUE, "-"),
        (f"held_out_{name}", f"held-out {what}", VERMILION, "--"),
    )
    marker = "." if len(rows) <= 50 else ""  # it makes a single epoch visible
    for key, label, colour, style in curves:
        axes.plot(epochs, [row[key] for row in rows], style, marker=marker, color=colour, label=label)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    errors = [row[key] for row in rows for key, *_ in curves]
    if max(errors) > 2 * min(errors):  # a logarithmic axis needs some room for its ticks
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(which="both")
    axes.legend()
