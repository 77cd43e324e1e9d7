"""The layers that lsampler's own autoencoders are made of: activations, first weights, and batches on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from lsampler.compute.one_thread import one_kernel_thread

LEAKY_SLOPE = 0.1
# A kernel size that is a multiple of the stride avoids a checkerboard in the decoded item.
TRANSPOSED_KERNEL = 4

ACTIVATIONS: dict[str, Any] = {
    "leaky-relu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def initialise(layers: nn.Sequential) -> None:
    """Weights of the size that keeps the signal's variance from layer to layer (He et al. 2015).

    PyTorch's default shrinks it sixfold per layer, which the first epochs would have to undo.
    """
    weighted = [layer for layer in layers if isinstance(layer, WEIGHTED)]
    if weighted[0].weight.is_meta:  # a file's weights follow; to draw none, PyTorch would import its compiler: 2 s
        return
    for layer in weighted:
        fan_in = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            # Its weight is (in, out, k, ...), and a stride of 2 skips every other place along each axis.
            fan_in = layer.in_channels * (TRANSPOSED_KERNEL // 2) ** (layer.weight.ndim - 2)
        gain = 1.0 if layer is weighted[-1] else 2 / (1 + LEAKY_SLOPE**2)
        nn.init.normal_(layer.weight, std=(gain / fan_in) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def in_batches(call: Callable[[Tensor], Tensor], batch: Tensor, size: int) -> Tensor:
    """``call(batch)``; on a CPU in small batches side by side, with the same result for any number of threads."""
    plain = not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    if batch.device.type != "cpu" or not plain:
        return call(batch)
    batches, threads = torch.split(batch, size), torch.get_num_threads()
    if threads == 1:
        return torch.cat([call(part) for part in batches])
    # Threads within a layer wait for each other after every layer, and round differently; one thread per batch does
    # neither.
    with ThreadPoolExecutor(min(threads, len(batches)), initializer=one_kernel_thread) as pool:
        return torch.cat(list(pool.map(torch.inference_mode()(call), batches)))
