"""What a training minimises: the squared error of the posts, or a loss that asks for more detail."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from lsampler.data.items import Item
from lsampler.errors import LsamplerError, nearest_name
from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.models.training.options import Loss

OF_IMAGES = ("laplacian", "ms-ssim")
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The Gaussian kernel of Burt and Adelson (1983), along each axis."""
SMALLEST_LEVEL = 4
"""Pixels; an image with a shorter edge is not divided any further."""
SHARE = 0.84
"""Of the structural similarity, beside the absolute error (Zhao et al. 2017)."""
WINDOW, WIDTH = 11, 1.5
"""Of structural similarity: the edge of the Gaussian window, and its standard deviation, in pixels."""
LUMINANCE, CONTRAST = 0.01**2, 0.03**2
"""What keeps the quotients of flat images finite (Wang et al. 2003), for values in [0, 1]."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first (Wang et al. 2003); of an image with fewer scales, divided by their sum."""
FLOOR = 1e-4
"""Least similarity of a scale: a negative one has no power, and the slope at 0 is infinite."""
SMALLEST_IMAGE = 2 * WINDOW
"""Edge in pixels from which on there are two scales."""
GRADIENTS = {"mse": 1, "l1": 7, "laplacian": 25, "ms-ssim": 40}
"""How many times as long as those of the squared error gradients are, near the end of a training on faces."""


def check_loss(loss: str, item: Item) -> None:
    """Raise LsamplerError unless items of this kind and size can be trained with a loss of this name."""
    known = get_args(Loss)
    if loss not in known:
        raise LsamplerError(f"`loss={loss}` is unknown{nearest_name(loss, known)}")
    if loss in OF_IMAGES and not item.is_image:
        raise LsamplerError(f"`loss={loss}` is a loss of images, and these are {item.plural}; choose mse or l1")
    if loss == "ms-ssim" and min(item.shape[1:]) < SMALLEST_IMAGE:
        _, height, width = item.shape
        raise LsamplerError(
            f"`loss=ms-ssim` needs images of {SMALLEST_IMAGE} x {SMALLEST_IMAGE} pixels or more, and these have "
            f"{height} x {width}; choose laplacian or l1, or larger images"
        )


def loss_of(loss: Loss, model: TrainedAutoencoder) -> Callable[[Tensor, Tensor], Tensor]:
    """The function from decoded items and items (B, *shape) to the loss, a number; in single precision throughout."""
    of: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mse": model.reconstruction_error,
        "l1": model.absolute_error,
        "laplacian": laplacian_loss,
        "ms-ssim": similarity_loss,
    }

    def exact(decoded: Tensor, items: Tensor) -> Tensor:
        with torch.autocast(decoded.device.type, enabled=False):
            return of[loss](decoded.float(), items.float())

    return exact


def laplacian_loss(decoded: Tensor, items: Tensor) -> Tensor:
    """The L1 distance of the Laplacian pyramids of images (B, C, H, W).

    sum_j 4^j |L_j(x) - L_j(y)|_1, divided by the number of values of an image (Bojanowski et al. 2018, "Optimizing the
    latent space of generative networks"). Level j has 4^j times fewer values than the image, so this is the sum of the
    levels' mean absolute differences. L_j = G_j - b(G_j), and G_{j+1} is every second pixel of b(G_j), where b blurs
    with the kernel of Burt and Adelson (1983) and edges are mirrored; the last level is what is left, G itself.
    """
    left = decoded - items  # a pyramid is linear: that of the difference is the difference
    total = left.new_zeros(())
    reach = len(BINOMIAL) // 2
    while min(left.shape[-2:]) >= SMALLEST_LEVEL:
        blurred = _filtered(functional.pad(left, (reach,) * 4, mode="reflect"), BINOMIAL)
        total = total + (left - blurred).abs().mean()
        left = blurred[..., ::2, ::2]
    return total + left.abs().mean()


def similarity_loss(decoded: Tensor, items: Tensor) -> Tensor:
    """0.84 (1 - MS-SSIM) + 0.16 L1 of images (B, C, H, W) in [0, 1], as mixed by Zhao et al. (2017).

    Source: "Loss functions for image restoration with neural networks".
    """
    absolute = functional.l1_loss(decoded, items)
    return SHARE * (1 - multi_scale_similarity(decoded, items).mean()) + (1 - SHARE) * absolute


def multi_scale_similarity(first: Tensor, second: Tensor) -> Tensor:
    """The multi-scale structural similarity (B,) of images (B, C, H, W) in [0, 1] (Wang et al. 2003), 1 if equal.

    A Gaussian window of 11 pixels with a standard deviation of 1.5, wholly inside the image, on up to five scales; each
    must hold the window, so images with an edge below 176 pixels have fewer: four at 96.
    """
    found: list[Tensor] = []
    while len(found) < len(SCALE_WEIGHTS) and min(first.shape[-2:]) >= WINDOW:
        structure, whole = _similarities(first, second)
        found.append(structure)
        first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    found[-1] = whole  # the luminance is compared on the coarsest scale alone
    weights = first.new_tensor(SCALE_WEIGHTS[: len(found)])
    return torch.stack(found, dim=1).clamp_min(FLOOR).pow(weights / weights.sum()).prod(dim=1)


def _similarities(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Of each image, the mean over its windows of contrast and structure (B,), and of these times luminance (B,)."""
    line = [math.exp(-((place / WIDTH) ** 2) / 2) for place in range(-(WINDOW // 2), WINDOW // 2 + 1)]
    taps = tuple(weight / sum(line) for weight in line)
    parts = torch.cat([first, second, first**2, second**2, first * second])
    mean1, mean2, square1, square2, product = _filtered(parts, taps).chunk(5)
    variances, covariance = square1 - mean1**2 + square2 - mean2**2, product - mean1 * mean2
    structure = (2 * covariance + CONTRAST) / (variances + CONTRAST)
    luminance = (2 * mean1 * mean2 + LUMINANCE) / (mean1**2 + mean2**2 + LUMINANCE)
    return structure.mean(dim=(1, 2, 3)), (luminance * structure).mean(dim=(1, 2, 3))


def _filtered(images: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Images filtered by a kernel along both axes, where it lies wholly inside.

    By products with band matrices: several times faster than convolutions of separate channels, and exact to single
    precision on a GPU, which rounds the products of convolutions to 10 bits (TF32), too few for variances.
    """
    height, width = (_band(edge, taps, images.device) for edge in images.shape[-2:])
    return height.T @ (images @ width)


@functools.lru_cache(maxsize=64)
def _band(edge: int, taps: tuple[float, ...], device: torch.device) -> Tensor:
    """A matrix (edge, edge - len(taps) + 1) whose product with a row filters it."""
    with torch.inference_mode(mode=False):  # what is measured first, without gradients, serves training as well
        band = torch.zeros(edge, edge - len(taps) + 1)
        for below, weight in enumerate(taps):
            band.diagonal(-below).fill_(weight)
        return band.to(device)
