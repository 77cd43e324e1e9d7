"""What a training minimises: the squared error of the posts, or a loss that asks for more detail."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from lsampler.data.items import Item
from lsampler.errors import LsamplerError
from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.models.training.options import Loss

OF_IMAGES = ("laplacian", "ms-ssim")
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The Gaussian kernel of Burt and Adelson (1983), along each axis."""
SMALLEST_LEVEL = 4
"""Pixels; an image with a shorter edge is not divided any further."""
SHARE = 0.84
"""Of the structural similarity, beside the absolute error (Zhao et al. 2017)."""
SCALES = {22: 2, 44: 3, 99: 4, 176: 5}
"""From which edge on, in pixels, how many scales: each must hold the window of 11 pixels."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first (Wang et al. 2003); those of the first few are divided by their sum."""


def check_loss(loss: str, item: Item) -> None:
    """Raise LsamplerError unless items of this kind and size can be trained with a loss of this name."""
    known = get_args(Loss)
    if loss not in known:
        raise LsamplerError(f"`loss={loss}`: no such loss; choose {', '.join(known[:-1])} or {known[-1]}")
    if loss in OF_IMAGES and not item.is_image:
        raise LsamplerError(f"`loss={loss}` is a loss of images, and these are {item.plural}; choose mse or l1")
    if loss == "ms-ssim" and min(item.shape[1:]) < min(SCALES):
        height, width = item.shape[1:]
        raise LsamplerError(
            f"`loss=ms-ssim` needs images of {min(SCALES)} x {min(SCALES)} pixels or more, and these have {height} x "
            f"{width}; choose laplacian or l1, or larger images"
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
    left = (decoded - items).contiguous()  # a pyramid is linear: that of the difference is the difference
    total = left.new_zeros(())
    while min(left.shape[-2:]) >= SMALLEST_LEVEL:
        blurred = _blurred(left)
        total = total + (left - blurred).abs().mean()
        left = blurred[..., ::2, ::2]
    return total + left.abs().mean()


def _blurred(images: Tensor) -> Tensor:
    line = images.new_tensor(BINOMIAL)
    channels, reach = images.shape[1], len(BINOMIAL) // 2
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel, groups=channels)


def similarity_loss(decoded: Tensor, items: Tensor) -> Tensor:
    """0.84 (1 - MS-SSIM) + 0.16 L1 of images (B, C, H, W) in [0, 1].

    The multi-scale structural similarity of Wang et al. (2003) with a Gaussian window of 11 pixels, as torchmetrics
    computes it; mixed as by Zhao et al. (2017), "Loss functions for image restoration with neural networks". Images
    with a short edge below 176 pixels have fewer than five scales: three at 96.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as similarity

    scales = SCALES[max(edge for edge in SCALES if edge <= min(items.shape[-2:]))]
    total = sum(SCALE_WEIGHTS[:scales])
    weights = tuple(weight / total for weight in SCALE_WEIGHTS[:scales])
    absolute = functional.l1_loss(decoded, items)
    # A GPU rounds products of dense convolutions to 10 bits (TF32), too few for variances. Those of separate channels,
    # of which two or more lie one after the other, are exact.
    pair = [images.contiguous().expand(-1, max(images.shape[1], 2), -1, -1) for images in (decoded, items)]
    return SHARE * (1 - similarity(*pair, data_range=1.0, betas=weights)) + (1 - SHARE) * absolute
